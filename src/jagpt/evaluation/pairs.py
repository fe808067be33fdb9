"""Minimal pairs: two sentences that differ in one thing, of which a speaker accepts only one.

A model is right if it gives the good one the higher probability as a whole (Warstadt et al.
2020, BLiMP, arXiv:1912.00582). The bundled set was written for this project
(`docs/evaluation.md`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt import files
from jagpt.compressed import Reader
from jagpt.corpus.rows import RowError, exact, json_objects
from jagpt.errors import DataError
from jagpt.evaluation.measures import wilson
from jagpt.models import ModelFolder
from jagpt.models.tokenizer import token_ids
from jagpt.progress import Progress

if TYPE_CHECKING:
    from jagpt.evaluation.scoring import Scores

SHIPPED = "shipped"
"""The name of the bundled set."""
KEYS = (
    ("phenomenon", "linguistics_term"),
    ("good", "good_sentence", "sentence_good"),
    ("bad", "bad_sentence", "sentence_bad"),
)
"""A pair's keys: ours, those of JBLiMP (github.com/osekilab/JBLiMP), those of BLiMP."""


@dataclass(frozen=True)
class Pair:
    """A good sentence, a bad one, and what is wrong with it."""

    phenomenon: str
    good: str
    bad: str


def shipped_path() -> Path:
    """The bundled set of Japanese pairs."""
    return Path(str(resources.files("jagpt") / "minimal_pairs" / "japanese.jsonl"))


def read(path: Path) -> list[Pair]:
    """The pairs of a JSON Lines file with `phenomenon`, `good` and `bad`, or the names in JBLiMP
    and BLiMP.

    `DataError` with the line if one lacks a key, is empty, is not text, or has two equal
    sentences.
    """
    files.regular_file(
        path, missing="no such file; expected minimal pairs, one JSON object per line"
    )
    found = [_pair(value, f"{path}: line {number}") for number, value in json_objects(Reader(path))]
    if not found:
        raise DataError(f"{path}: it contains no pairs")
    return found


def _pair(value: dict[str, Any], place: str) -> Pair:
    pair = Pair(*(_text(value, keys, place) for keys in KEYS))
    if pair.good == pair.bad:
        raise DataError(f"{place}: both sentences are the same")
    return pair


def _text(value: dict[str, Any], keys: Sequence[str], place: str) -> str:
    for key in keys:
        if isinstance(found := value.get(key), str) and found.strip():
            try:
                return exact(found, key)
            except RowError as error:
                raise DataError(f"{place}: {error}") from None
    raise DataError(f"{place}: expected the key {keys[0]!r} with a string")


def measure(
    subject: ModelFolder, scorer: Scores, pairs: Sequence[Pair], progress: Progress
) -> dict[str, Any]:
    """Share of pairs whose good sentence is more likely, in total and by phenomenon, with the 95 %
    interval of each share.

    A tie does not count as right.
    """
    from jagpt.evaluation.scoring import sequence_nats

    sentences = [sentence for pair in pairs for sentence in (pair.good, pair.bad)]
    encoded = _encoded(subject, sentences)
    with progress.bar("evaluate pairs", len(encoded), "sentences") as bar:
        nats = sequence_nats(scorer, encoded, bar.advance)
    good, bad = nats[0::2], nats[1::2]
    by_phenomenon: dict[str, list[bool]] = defaultdict(list)
    for pair, right in zip(pairs, (good < bad).tolist(), strict=True):
        by_phenomenon[pair.phenomenon].append(right)
    return {
        **_share([right for some in by_phenomenon.values() for right in some]),
        "phenomena": {name: _share(some) for name, some in by_phenomenon.items()},
    }


def _share(right: Sequence[bool]) -> dict[str, Any]:
    count, good = len(right), sum(right)
    interval = wilson(good, count)
    return {"pairs": count, "right": good, "accuracy": good / count, "interval": interval}


def _encoded(subject: ModelFolder, sentences: Sequence[str]) -> list[list[int]]:
    """Each sentence's tokens after the token that begins a text; `DataError` if one is too long."""
    start = subject.start_id()
    before = [] if start is None else [start]
    found = token_ids(subject.tokenizer, sentences)
    rows = [[*before, *ids] for ids in found]
    for row, sentence in zip(rows, sentences, strict=True):
        if len(row) < 2:
            raise DataError(f"{subject.name}: fewer than two tokens in the sentence {sentence!r}")
        if subject.context is not None and len(row) - 1 > subject.context:
            raise DataError(
                f"{subject.name}: a sentence has {len(row):,} tokens, but the model's context is "
                f"{subject.context:,}: {sentence[:40]}…"
            )
    return rows
