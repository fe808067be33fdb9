"""The facts of a run, gathered from what its stages left: for the final table, report and card.

Each part is None (or empty) where its stage has not come that far; `Summary.missing` says which.
Nothing here imports torch, and nothing is measured: no stage wrote it down, no figure.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from jagpt import files
from jagpt.errors import DataError, RecipeError
from jagpt.files import FileEntry, Manifest
from jagpt.recipe import Recipe, parse
from jagpt.rundir import STAGE_DIRECTORIES, RunDirectory

T = TypeVar("T")
Row = dict[str, float]
"""One row of `logs/metrics.jsonl`: name → finite number."""

SAMPLES = "samples.json"
MAX_HEADER = 100 << 20
"""Bytes: the limit that safetensors itself sets to a file's header."""


@dataclass(frozen=True)
class SourceFile:
    """A file that documents were read from; `name` is its source's and a number."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """One source of documents and what was found in it; counts are of pages and documents."""

    name: str
    kind: str
    licence: str
    wiki: str | None
    date: str | None
    files: tuple[SourceFile, ...]
    pages: int
    redirects: int
    other_namespaces: int
    documents: int
    dataset: str | None = None
    """Of a hub data set: its id, and the revision that was read."""
    revision: str | None = None


@dataclass(frozen=True)
class SplitSize:
    """Documents of a split, and the characters (code points) and UTF-8 bytes of their texts."""

    documents: int
    characters: int
    bytes: int


@dataclass(frozen=True)
class Corpus:
    """`corpus/stats.json`. `lengths` pairs a label (`100–200` characters) with documents."""

    sources: tuple[Source, ...]
    splits: dict[str, SplitSize]
    dropped: dict[str, int]
    unknown_templates: tuple[tuple[str, int], ...]
    lengths: tuple[tuple[str, int], ...]

    @property
    def documents(self) -> int:
        return sum(split.documents for split in self.splits.values())

    @property
    def characters(self) -> int:
        return sum(split.characters for split in self.splits.values())


@dataclass(frozen=True)
class Tokens:
    """`tokens/index.json`: the size of the vocabulary, and split → tokens."""

    vocab_size: int
    splits: dict[str, int]


@dataclass(frozen=True)
class Training:
    """Where training stands: the checkpoints kept (steps), and what the best one reached."""

    best_step: int | None
    last_step: int | None
    valid_loss: float | None
    tokens: int | None

    @property
    def valid_perplexity(self) -> float | None:
        return None if self.valid_loss is None else perplexity(self.valid_loss)


@dataclass(frozen=True)
class Memorization:
    """Of `spans` spans of `span_characters` characters in `samples` generated texts, `found` stand
    verbatim in the train split."""

    span_characters: int
    samples: int
    spans: int
    found: int

    @property
    def share(self) -> float:
        return self.found / self.spans


@dataclass(frozen=True)
class Evaluation:
    """`evaluation/test.json`: natural logarithms a token, bits a character and byte.

    `intervals` maps a figure's name to its bootstrap interval over documents, where there is one.
    """

    split: str
    checkpoint: str
    step: int
    documents: int
    tokens: int
    characters: int
    bytes: int
    nats: float
    loss: float
    perplexity: float
    bits_per_character: float
    bits_per_byte: float
    windows: str = "blocks"
    block_size: int | None = None
    stride: int | None = None
    precision: str = "fp32"
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    memorization: Memorization | None = None


@dataclass(frozen=True)
class StageTime:
    """Wall-clock of a stage; `finished` is None where it was left early."""

    seconds: float
    started: str | None
    finished: str | None


@dataclass(frozen=True)
class Sample:
    """A prompt and its continuations (without the prompt)."""

    prompt: str
    continuations: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """All that is known of a run."""

    name: str
    root: Path
    recipe: Recipe | None = None
    corpus: Corpus | None = None
    tokenizer: dict[str, Any] | None = None
    tokens: Tokens | None = None
    training: Training | None = None
    evaluation: Evaluation | None = None
    parameters: int | None = None
    train_rows: tuple[Row, ...] = ()
    valid_rows: tuple[Row, ...] = ()
    times: dict[str, StageTime] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    files: dict[str, tuple[FileEntry, ...]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Wall-clock of all stages together."""
        return sum(time.seconds for time in self.times.values()) if self.times else None


def collect(run: RunDirectory) -> Summary:
    """What the stages of `run` left, however far they came; `DataError` where a file is damaged."""
    recipe = _recipe(run)
    train_rows, valid_rows = read_metrics(run.logs / "metrics.jsonl")
    times, machine = _timing(run.logs / "timing.json")
    return Summary(
        name=recipe.name if recipe else run.root.name,
        root=run.root,
        recipe=recipe,
        corpus=_with_datasets(_part(run.corpus / "stats.json", _corpus), run.corpus),
        tokenizer=_part(run.tokenizer / "stats.json", dict),
        tokens=_part(run.tokens / "index.json", _tokens),
        training=_training(run.checkpoints),
        evaluation=_part(run.evaluation / "test.json", _evaluation),
        parameters=_parameters(run),
        train_rows=train_rows,
        valid_rows=valid_rows,
        times=times,
        machine=machine,
        samples=_part(run.release / SAMPLES, _samples) or (),
        files=dict(_finished_files(run)),
        missing=tuple(_missing(run)),
    )


def perplexity(loss: float) -> float:
    """exp of nats a token; infinite where it is too large to be told."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def read_metrics(path: Path) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Training and validation rows of a metrics log, in the order of steps.

    Lines that are no row (a killed run's torn end) are passed over; where a resumed run wrote a
    step again, its last row holds.
    """
    rows: dict[str, dict[float, Row]] = {"train": {}, "valid": {}}
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as log:
            for line in log:
                kind, row = _metrics_row(line)
                if kind in rows and "step" in row:
                    rows[kind][row["step"]] = row
    train, valid = (tuple(row for _, row in sorted(rows[k].items())) for k in ("train", "valid"))
    return train, valid


def _metrics_row(line: str) -> tuple[str, Row]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "", {}
    if not isinstance(value, dict):
        return "", {}
    numbers = {
        name: float(number)
        for name, number in value.items()
        if isinstance(number, (int, float)) and not isinstance(number, bool)
    }
    kind = value.get("kind")
    return (kind if isinstance(kind, str) else ""), {
        name: number for name, number in numbers.items() if math.isfinite(number)
    }


# --- the parts ------------------------------------------------------------------------------------


def _part(path: Path, build: Callable[[Any], T]) -> T | None:
    """What `build` makes of the JSON at `path`; None where there is no file."""
    if not path.is_file():
        return None
    value = files.read_json(path)
    try:
        return build(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: not as jagpt writes it ({error!r}); make its stage anew"
        ) from None


def _recipe(run: RunDirectory) -> Recipe | None:
    """The run's recipe; None where it is not there or of a jagpt with other keys."""
    if not run.recipe.is_file():
        return None
    try:
        return parse(run.recipe.read_bytes(), origin=str(run.recipe))
    except RecipeError:
        return None


def _corpus(value: Mapping[str, Any]) -> Corpus:
    return Corpus(
        sources=tuple(_source(source) for source in value["sources"]),
        splits={
            str(name): SplitSize(*(int(split[key]) for key in ("documents", "characters", "bytes")))
            for name, split in value["splits"].items()
        },
        dropped={str(reason): int(count) for reason, count in value["dropped"].items()},
        unknown_templates=tuple(
            (str(template["name"]), int(template["characters"]))
            for template in value.get("unknown_templates", [])
        ),
        lengths=tuple(_lengths(value.get("lengths", {}))),
    )


def _source(value: Mapping[str, Any]) -> Source:
    def optional(key: str) -> str | None:
        return None if value.get(key) is None else str(value[key])

    return Source(
        name=str(value["name"]),
        kind=str(value["kind"]),
        licence=str(value["licence"]),
        wiki=optional("wiki"),
        date=optional("date"),
        files=tuple(
            SourceFile(f"{value['name']} {number}", int(f["size"]), str(f["sha256"]))
            for number, f in enumerate(value["files"], 1)
        ),
        pages=int(value.get("pages", 0)),
        redirects=int(value.get("redirects", 0)),
        other_namespaces=int(value.get("other_namespaces", 0)),
        documents=int(value["documents"]),
    )


def _with_datasets(corpus: Corpus | None, directory: Path) -> Corpus | None:
    """The corpus with its hub data sets, which stand in the manifest's section alone."""
    if corpus is None or not (directory / files.MANIFEST).is_file():
        return corpus
    section = Manifest.read(directory).section.get("corpus")
    rows = section.get("source") if isinstance(section, dict) else None
    named = {str(row.get("name")): row for row in rows or () if isinstance(row, dict)}
    sources = (
        replace(source, dataset=row.get("dataset"), revision=row.get("revision"))
        if (row := named.get(source.name)) and source.kind == "hf"
        else source
        for source in corpus.sources
    )
    return replace(corpus, sources=tuple(sources))


def _lengths(value: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Labelled bins of a histogram; a count beyond the last edge is open to the right."""
    edges = [int(edge) for edge in value.get("edges", [])]
    for number, count in enumerate(value.get("documents", [])):
        if number + 1 < len(edges):
            yield f"{edges[number]:,}–{edges[number + 1]:,}", int(count)
        elif edges:
            yield f"{edges[-1]:,}+", int(count)


def _tokens(value: Mapping[str, Any]) -> Tokens:
    splits = {
        str(name): sum(int(shard["tokens"]) for shard in shards)
        for name, shards in value["splits"].items()
    }
    return Tokens(int(value["vocab_size"]), splits)


def _training(directory: Path) -> Training | None:
    """Where the checkpoints stand; the tokens are those that the last one has seen."""

    def build(index: Mapping[str, Any]) -> Training:
        best, last = (_step(index.get(name)) for name in ("best", "last"))
        loss = index.get("best_loss")
        state = _part(directory / str(index.get("last")) / "state.json", dict)
        return Training(
            best_step=best,
            last_step=last,
            valid_loss=None if loss is None else float(loss),
            tokens=None if state is None else int(state["tokens"]),
        )

    return _part(directory / "index.json", build)


def _step(name: str | None) -> int | None:
    """The number in `step-00001000`."""
    return None if name is None else int(name.removeprefix("step-"))


def _evaluation(value: Mapping[str, Any]) -> Evaluation:
    convert: dict[str, Callable[[Any], Any]] = {"str": str, "int": int, "float": float}
    kinds = Evaluation.__annotations__.items()
    interval, repeated = value.get("interval") or {}, value.get("memorization")
    return Evaluation(
        **{
            name: convert[kind](value[name])
            for name, kind in kinds
            if kind in convert and (name in value or name not in ("windows", "precision"))
        },
        block_size=value.get("block_size"),
        stride=value.get("stride"),
        intervals={
            str(name): (float(bounds[0]), float(bounds[1]))
            for name, bounds in interval.items()
            if isinstance(bounds, list)
        },
        memorization=_memorization(repeated) if repeated and repeated["spans"] else None,
    )


def _memorization(value: Mapping[str, Any]) -> Memorization:
    return Memorization(**{name: int(value[name]) for name in Memorization.__annotations__})


def _samples(value: Mapping[str, Any]) -> tuple[Sample, ...]:
    return tuple(
        Sample(str(row["prompt"]), tuple(str(text) for text in row["continuations"]))
        for row in value["samples"]
    )


def _timing(path: Path) -> tuple[dict[str, StageTime], dict[str, Any]]:
    def build(value: Mapping[str, Any]) -> tuple[dict[str, StageTime], dict[str, Any]]:
        stages = {
            str(name): StageTime(float(row["seconds"]), row.get("started"), row.get("finished"))
            for name, row in value.get("stages", {}).items()
        }
        return stages, dict(value.get("machine", {}))

    return _part(path, build) or ({}, {})


def _parameters(run: RunDirectory) -> int | None:
    """Parameters of the exported model."""
    path = run.model / "model.safetensors"
    return count_parameters(path) if path.is_file() else None


def count_parameters(path: Path) -> int:
    """Numbers in a safetensors file, read from its header; a tied output matrix counts once."""
    try:
        with path.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > MAX_HEADER:
                raise ValueError(f"a header of {length:,} bytes")
            header = json.loads(handle.read(length))
        shapes = {
            name: [int(size) for size in entry["shape"]]
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: this safetensors file is damaged ({error})") from None
    output, embedding = shapes.get("lm_head.weight"), shapes.get("transformer.wte.weight")
    if output is not None and output == embedding:
        del shapes["lm_head.weight"]
    return sum(math.prod(shape) for shape in shapes.values())


def _finished_files(run: RunDirectory) -> Iterator[tuple[str, tuple[FileEntry, ...]]]:
    for stage in STAGE_DIRECTORIES:
        directory = run.stage(stage)
        if (directory / files.MANIFEST).is_file():
            yield stage, Manifest.read(directory).files


def _missing(run: RunDirectory) -> Iterator[str]:
    """The stages that are not finished."""
    for stage in STAGE_DIRECTORIES:
        if not (run.stage(stage) / files.MANIFEST).is_file():
            yield stage
