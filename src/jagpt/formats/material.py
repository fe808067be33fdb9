"""The real text that parity is measured on: from a run's test split, a file, or the sample."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.errors import DataError, UsageError
from jagpt.models.tokenizer import token_ids

WINDOW = 256
WINDOWS = 8
"""Longest windows, in tokens, for logits and perplexity."""
PROMPTS = 24
PROMPT_TOKENS = 16
GREEDY_TOKENS = 64
TEXTS = 200
TEXT_CHARACTERS = 300
FILE_BYTES = 1 << 20
"""Read of a file, which may be large: far more than windows and texts need."""


@dataclass(frozen=True)
class Material:
    """Token ids and texts; `origin` says where they come from.

    `windows` are consecutive tokens, `prompts` are beginnings to continue by `greedy_tokens`,
    `texts` are for comparing tokenizers.
    """

    origin: str
    windows: tuple[tuple[int, ...], ...]
    prompts: tuple[tuple[int, ...], ...]
    greedy_tokens: int
    texts: tuple[str, ...]


def of_split(tokens: Path, split: str, tokenizer: Any, context: int) -> Material:
    """The beginning of a run's token split; its texts are decoded from it."""
    from jagpt.tokens.dataset import TokenSplit

    opened = TokenSplit.open(tokens, split)
    ids = opened.slice(0, min(opened.n_tokens, _wanted(context))).tolist()
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return _cut(f"{split} split", ids, text, context)


def of_text(text: str, origin: str, tokenizer: Any, context: int) -> Material:
    """Any text."""
    (ids,) = token_ids(tokenizer, [text[: 20 * _wanted(context)]])
    return _cut(origin, ids[: _wanted(context)], text, context)


def of_file(path: Path, tokenizer: Any, context: int) -> Material:
    """The beginning of a file of UTF-8 text."""
    if not path.exists():
        raise UsageError(f"--text {path}: no such file")
    files.regular_file(path, "text")
    with path.open("rb") as file:
        raw = file.read(FILE_BYTES)
    try:  # the last character read may be cut
        text = getincrementaldecoder("utf-8")().decode(raw, len(raw) < FILE_BYTES)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from None
    return of_text(text.replace("\r\n", "\n"), path.name, tokenizer, context)


def of_sample(tokenizer: Any, context: int) -> Material:
    """The bundled sample's pages, as jagpt extracts them."""
    return of_text("\n".join(sample_texts()), "bundled sample", tokenizer, context)


def sample_texts() -> list[str]:
    """The text of each page of the bundled sample."""
    from jagpt import sample
    from jagpt.compressed import Reader
    from jagpt.corpus.articles import page_articles
    from jagpt.corpus.dump import Dump, parse_page
    from jagpt.corpus.parts import Counts
    from jagpt.recipe import Corpus

    dump = Dump(Reader(sample.path()))
    pages = (parse_page(raw, dump.header) for raw in dump)
    articles = page_articles(dump.header, pages, Corpus(), Counts())
    return [article.text for article in articles if article.text]


def _wanted(context: int) -> int:
    return WINDOWS * min(WINDOW, context)


def _cut(origin: str, ids: Sequence[int], text: str, context: int) -> Material:
    """Windows end to end; prompts from places spread over all of them."""
    window = min(WINDOW, context)
    if len(ids) < 2:
        raise DataError(f"{origin}: the text is too short to compare runtimes on")
    windows = [tuple(ids[start : start + window]) for start in range(0, len(ids), window)]
    length = min(PROMPT_TOKENS, max(1, context // 4), len(ids))
    last = len(ids) - length
    starts = sorted({number * last // (PROMPTS - 1) for number in range(PROMPTS)})
    lines = [line for line in text.split("\n") if line.strip()]
    return Material(
        origin,
        tuple(piece for piece in windows if len(piece) > 1),
        tuple(tuple(ids[start : start + length]) for start in starts),
        min(GREEDY_TOKENS, context - length),
        tuple(line[:TEXT_CHARACTERS] for line in lines[:TEXTS]),
    )
