"""The results of a measurement: figures for any text, and `evaluation/test.json` of a run."""

from __future__ import annotations

from dataclasses import dataclass

from jagpt.records import Count, Record, optional, remake

Limits = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Bootstrap intervals over documents, each from its lower to its upper bound."""

    level: float
    resamples: Count
    loss: Limits
    perplexity: Limits
    bits_per_character: Limits
    bits_per_byte: Limits


@dataclass(frozen=True, kw_only=True)
class Memorization:
    """Of `spans` spans of `span_characters` characters in `samples` generated texts, `found` occur
    verbatim in the train split."""

    span_characters: Count
    samples: Count
    spans: Count
    found: Count
    share: float


@dataclass(frozen=True, kw_only=True)
class TaskFigures:
    """The result of a task of lm-evaluation-harness: `metrics` as it names them, over `examples`
    of a `dataset` with `shots` solved ones before; `version` is the task's, `prompt` its
    template.
    """

    harness: str
    version: str
    shots: Count
    examples: Count
    dataset: str
    prompt: str
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of some documents: `loss` in natural logarithms (nats) per token, bits per character and
    byte.

    `interval` is None if there is one document.
    """

    documents: Count
    tokens: Count
    characters: Count
    bytes: Count
    nats: float
    loss: float
    perplexity: float
    bits_per_character: float
    bits_per_byte: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A split, and the checkpoint of the run (or, without a step, any other model's folder)."""

    split: str
    checkpoint: str
    step: Count | None = optional()


@dataclass(frozen=True, kw_only=True)
class Evaluation(Figures, _Measured, Record):
    """The figures of a checkpoint on a split, and how they were measured."""

    FILE = "test.json"
    KIND = "record of the evaluation"
    REMEDY = remake("evaluate")

    windows: str
    block_size: Count
    stride: Count
    precision: str
    memorization: Memorization | None = optional()
    tasks: dict[str, TaskFigures] = optional(dict)


@dataclass(frozen=True, kw_only=True)
class _MeasuredText:
    """A file of text."""

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TextFigures(Figures, _MeasuredText):
    """The figures of a model on a text, how they were measured, and how fast."""

    windows: str
    block_size: Count
    stride: Count
    tokens_per_second: float
