"""A corpus too small for its recipe: all that is wrong is told together, with what would do.

A stage tells only what stops it, and so a recipe for a large corpus would fail three times over a
folder of notes: an empty split, too large a vocabulary, too few tokens for a step. The texts are
here when the first of them stops, and small: the rest is tried out on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from jagpt import units
from jagpt.corpus import splits, text_files
from jagpt.corpus.documents import SPLITS, identity
from jagpt.corpus.shards import read_rows, shard_name
from jagpt.corpus.writing import piece_of
from jagpt.errors import DataError, RecipeError, TooLittleTextError
from jagpt.recipe import AUTO, Recipe, Source, Tokenizer, validated
from jagpt.rundir import RunDirectory
from jagpt.stages import CORPUS, TOKENIZER

MOST_CHARACTERS = 1_000_000
"""Of a corpus that is called small: a tokenizer learns it in seconds."""
PIECES, LEAST_PIECE, LONGEST_PIECE = 30, 100, 2000
"""Into how many pieces the only text is cut, and how long they are."""
SEQUENCES_AN_EPOCH = 8
SPARE = 0.9
"""Tokens are counted with a tokenizer that may turn out a little different."""

Settings = dict[str, Any]
"""SECTION.KEY → value, as `--set` takes them."""


@dataclass(frozen=True)
class _Text:
    source: Source
    id: str
    text: str


def explained(
    error: TooLittleTextError, stage: str, recipe: Recipe, run: RunDirectory
) -> TooLittleTextError:
    """The error of `stage` with everything else that is wrong, and keys with which it would run.

    The error itself if the corpus is large, or nothing but more text would do, or what is tried out
    fails for another reason, which the next run will tell.
    """
    try:
        return _explained(error, stage, recipe, run)
    except DataError:
        return error


def _explained(
    error: TooLittleTextError, stage: str, recipe: Recipe, run: RunDirectory
) -> TooLittleTextError:
    from jagpt.tokens.index import TokenIndex

    texts = list(_texts(recipe, run.corpus))
    documents, characters = len(texts), sum(len(one.text) for one in texts)
    if not 0 < characters <= MOST_CHARACTERS:
        return error
    problems, settings = [str(error)], dict[str, Any]()
    if stage == CORPUS.name:
        settings, texts = _splitting(recipe, texts)
        if not settings:
            return error
    train = _train_split(_changed(recipe, settings), texts)
    tokenizer = recipe.tokenizer
    if tokenizer.from_ is None and not tokenizer.size_is_open:
        problem = str(error) if stage == TOKENIZER.name else _vocabulary(train, tokenizer)
        if problem is not None:
            settings["tokenizer.vocab_size"] = AUTO
            problems += [problem] if problem not in problems else []
    early = stage in (CORPUS.name, TOKENIZER.name)
    changed = _changed(recipe, settings)
    tokens = _tokens(train, changed) if early else TokenIndex.read(run.tokens).counts["train"]
    problem, fitting = _steps(recipe, tokens)
    if problem is not None:
        settings |= fitting
        problems += [problem] if early else []
    if not settings:
        return error
    return TooLittleTextError(_message(recipe, documents, characters, problems, settings))


def _message(
    recipe: Recipe, documents: int, characters: int, problems: list[str], settings: Settings
) -> str:
    of = f"a corpus of {units.counted(documents, 'document')} with {characters:,} characters"
    listed = "\n".join(f"  - {problem}" for problem in problems)
    try:
        _changed(recipe, settings)
    except RecipeError:  # other keys stand in the way
        return f"{recipe.name}: {of} is too small for this recipe:\n{listed}"
    return (
        f"{recipe.name}: {of} is too small for this recipe:\n{listed}\n"
        f"With these keys it runs:\n\n{snippet(recipe, settings)}"
    )


def snippet(recipe: Recipe, settings: Mapping[str, Any]) -> str:
    """The settings as TOML, to be put into the recipe."""
    tables: dict[str, dict[str, Any]] = {}
    sources = []
    for place, value in settings.items():
        section, _, key = place.partition(".")
        if section == "corpus" and key.startswith("source."):
            _, number, name = key.split(".")
            source = recipe.corpus.source[int(number)].name
            sources.append(f"[[corpus.source]]  # {source}\n{tomli_w.dumps({name: value})}")
        else:
            tables.setdefault(section, {})[key] = value
    corpus = tomli_w.dumps({"corpus": tables.pop("corpus")}) if "corpus" in tables else ""
    return "\n".join(filter(None, [corpus, *sources, tomli_w.dumps(tables)]))


def _changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with these settings; `RecipeError` if they do not go with the rest."""
    value: dict[str, Any] = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    for place, setting in settings.items():
        *path, key = place.split(".")
        target: Any = value
        for part in path:
            target = target[int(part)] if isinstance(target, list) else target[part]
        target[key] = setting
    return validated(value, recipe.name)


# --- splits ---------------------------------------------------------------------------------------


def _texts(recipe: Recipe, corpus: Path) -> Iterator[_Text]:
    """The documents that the corpus stage kept, up to a few more than a small corpus has."""
    sources = {source.name: source for source in recipe.corpus.source}
    characters = 0
    for split in SPLITS:
        shard = corpus / shard_name(split, 0)
        for row in read_rows(shard, ("id", "source", "text")) if shard.is_file() else ():
            characters += len(row["text"])
            if characters > MOST_CHARACTERS + 1:
                return
            yield _Text(sources.get(row["source"], Source(name="shared")), row["id"], row["text"])


def _splitting(recipe: Recipe, texts: list[_Text]) -> tuple[Settings, list[_Text]]:
    """Shares that leave no split empty, and texts that are cut where there are fewer than three."""
    if recipe.corpus.split != "hash":
        return {}, texts
    settings: Settings = {}
    if len(texts) < len(SPLITS):
        settings, texts = _cutting(recipe, texts)
    free = [one for one in texts if one.source.split is None]
    fixed = Counter[str](one.source.split or "" for one in texts)
    open_shares = recipe.corpus.model_copy(update={"valid_share": None, "test_share": None})
    places = [splits.unit_hash(one.source.name, one.id) for one in free]
    shares = splits.shares_for(open_shares, places, fixed)
    for digits in (2, 4, 8, 16):
        valid, test = (round(share, digits) for share in shares)
        found = {splits.hash_split(place, valid, test) for place in places} | fixed.keys()
        if found >= set(SPLITS):
            return settings | {"corpus.valid_share": valid, "corpus.test_share": test}, texts
    return {}, texts


def _cutting(recipe: Recipe, texts: list[_Text]) -> tuple[Settings, list[_Text]]:
    """Pieces of whole files."""
    settings, pieces = dict[str, Any](), []
    for number, source in enumerate(recipe.corpus.source):
        own = [one for one in texts if one.source == source]
        if source.kind == "text" and source.layout == "file" and source.split_characters is None:
            longest = max((len(one.text) for one in own), default=0)
            most = min(max(longest // PIECES, LEAST_PIECE), LONGEST_PIECE)
            settings[f"corpus.source.{number}.split_characters"] = most
            cut = (piece for one in own for piece in text_files.cut(one.text, most))
            kept = [piece for piece in cut if len(piece) >= recipe.corpus.min_characters]
            own = [_Text(source, identity("", piece), piece) for piece in kept]
        pieces += own
    return settings, pieces


def _train_split(recipe: Recipe, texts: list[_Text]) -> list[str]:
    splitter = splits.Splitter(recipe.corpus, recipe.corpus.shares)
    by_lines = recipe.corpus.split == "first-lines"
    return [
        piece_of(one.text, piece) if by_lines else one.text
        for one in texts
        for piece in splitter.pieces(
            one.source,
            splits.unit_hash(one.source.name, one.id),
            len(splits.original_lines(one.text)),
        )
        if piece.split == "train"
    ]


# --- vocabulary and tokens ------------------------------------------------------------------------


def _learnt(train: list[str], settings: Tokenizer) -> bytes:
    from jagpt.tokenizer import learning
    from jagpt.tokenizer.sample import split_sentences

    return learning.train([part for text in train for part in split_sentences(text)], settings)


def _vocabulary(train: list[str], settings: Tokenizer) -> str | None:
    """What is wrong with the size of the vocabulary."""
    try:
        _learnt(train, settings)
    except TooLittleTextError as error:
        return str(error)
    return None


def _tokens(train: list[str], recipe: Recipe) -> int:
    """About as many tokens as the train split will have."""
    if recipe.tokenizer.from_ is not None:  # a piece has a character at least, or so
        return int(SPARE * sum(map(len, train)))
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=_learnt(train, recipe.tokenizer))
    return int(SPARE * sum(len(ids) + 1 for ids in processor.encode(train)))


def _steps(recipe: Recipe, tokens: int) -> tuple[str | None, Settings]:
    """What is wrong with the size of a step, and one that suits."""
    block, sequences, train = recipe.block_size, recipe.train.sequences, recipe.train
    if tokens > block and sequences <= tokens // block:
        return None, {}
    problem = (
        f"a step takes {units.counted(sequences, 'sequence')} of {block:,} tokens, and the train "
        f"split has about {units.amount(tokens)} tokens"
    )
    while block > 8 and tokens < SEQUENCES_AN_EPOCH * block:
        block //= 2
    sequences = max(1, min(sequences, tokens // (2 * block)))
    found: Settings = {"train.block_size": block}
    if train.sequences_per_step is not None:
        found["train.sequences_per_step"] = sequences
    if not train.batch_is_open:
        found |= {"train.batch_size": sequences, "train.grad_accum_steps": 1}
    if train.max_epochs is not None:
        steps = max(1, int(train.max_epochs * tokens / (sequences * block)))
        if train.warmup_steps > steps:
            found["train.warmup_steps"] = steps // 10
    if recipe.evaluate.stride is not None and recipe.evaluate.stride > block:
        found["evaluate.stride"] = block
    return problem, found
