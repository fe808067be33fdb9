"""Several models on one text, on pairs of sentences, or on tasks."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from jagpt import files, models
from jagpt.errors import UsageError
from jagpt.evaluation import pairs, texts
from jagpt.evaluation.measures import DocumentNats
from jagpt.evaluation.pairs import Pair
from jagpt.evaluation.result import TaskFigures, TextFigures
from jagpt.evaluation.texts import Text
from jagpt.evaluation.windows import Kind, Windows
from jagpt.models import ModelFolder
from jagpt.progress import Progress
from jagpt.recipe import Evaluate, Execution, Section
from jagpt.records import optional

if TYPE_CHECKING:
    from jagpt.evaluation.scoring import Scores

DEFAULT_WINDOW = 1024
"""Tokens per window if a model gives no context length."""


@dataclass(frozen=True)
class MeasureSettings:
    """How to measure; None leaves the choice to the model or the machine.

    Raises `UsageError` for a value that does not exist.
    """

    windows: Kind = "blocks"
    block_size: int | None = None
    stride: int | None = None
    precision: str = "auto"
    device: str = "auto"
    end_token: bool = True
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        known = {
            "windows": get_args(Kind),
            "precision": ("auto", *_values(Evaluate, "precision")),
            "device": _values(Execution, "device"),
        }
        for name, choices in known.items():
            if (found := getattr(self, name)) not in choices:
                raise UsageError(f"--{name} {found}: expected {', '.join(choices)}")
        for name in ("block_size", "stride"):
            found = getattr(self, name)
            whole = isinstance(found, Integral) and not isinstance(found, bool)
            if found is not None and not (whole and found >= 1):
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} {found}: expected a whole number, 1 or more")


def _values(section: type[Section], key: str) -> tuple[str, ...]:
    """What a recipe allows for a key."""
    return get_args(section.model_fields[key].annotation)


@dataclass(frozen=True, kw_only=True)
class ModelMeasured:
    """Results for one model; None for what was not requested."""

    model: str
    fingerprint: str
    text: TextFigures | None = optional()
    pairs: dict[str, Any] | None = optional()
    tasks: dict[str, TaskFigures] | None = optional()
    precision: str
    device: str


def compare(
    models: Sequence[str],
    *,
    settings: MeasureSettings,
    progress: Progress,
    text: Text | None = None,
    sentences: Sequence[Pair] = (),
    tasks: Sequence[str] = (),
    ensemble: bool = False,
) -> list[ModelMeasured]:
    """For each model, what was requested; one model is in memory at a time.

    With `ensemble`, all of them as one come last (all are in memory then; it has no tasks);
    `UsageError` if their ids differ.

    `text` gives loss, perplexity and bits, `sentences` the accuracy on minimal pairs, `tasks` the
    results of lm-evaluation-harness.
    """
    if tasks:
        from jagpt.evaluation import harness

        harness.require()
    if text is not None and text.had_crlf:
        progress.say(f"{text.path}: lines end with CR LF; they are measured with LF only")
    if ensemble:
        _check_ensemble(models, settings)
    found = [_measured(name, settings, progress, text, sentences, tasks) for name in models]
    if ensemble:
        found.append(_measured_together(models, settings, progress, text, sentences))
    return found


def _measured(
    name: str,
    settings: MeasureSettings,
    progress: Progress,
    text: Text | None,
    sentences: Sequence[Pair],
    tasks: Sequence[str],
) -> ModelMeasured:
    from jagpt import devices
    from jagpt.evaluation.scoring import Scorer, choose

    device, precision = choose(settings.device, settings.precision)
    if warning := devices.emulation_warning(device, precision, "--precision"):
        progress.say(warning)
    subject = _opened(name, settings).read()
    with devices.explained(device, "--device"):
        scorer = Scorer(subject.network, device, precision)
        figures = measure_text(subject, scorer, text, settings, progress) if text else None
        accuracies = pairs.measure(subject, scorer, sentences, progress) if sentences else None
    results = None
    if tasks:
        from jagpt.evaluation import harness

        results = harness.measure(subject, tasks)
    return ModelMeasured(
        model=name,
        fingerprint=subject.fingerprint(),
        text=figures,
        pairs=accuracies,
        tasks=results,
        precision=precision,
        device=device.type,
    )


def _opened(name: str, settings: MeasureSettings) -> ModelFolder:
    return models.open(name, tokenizer=settings.tokenizer, where="--model")


def _check_ensemble(names: Sequence[str], settings: MeasureSettings) -> None:
    from jagpt.evaluation import ensemble

    ensemble.check([_opened(name, settings) for name in names])


def _measured_together(
    names: Sequence[str],
    settings: MeasureSettings,
    progress: Progress,
    text: Text | None,
    sentences: Sequence[Pair],
) -> ModelMeasured:
    """The mean of the models' probabilities, in windows that suit the shortest context."""
    from jagpt import devices
    from jagpt.evaluation import ensemble
    from jagpt.evaluation.scoring import Scorer, choose

    device, precision = choose(settings.device, settings.precision)
    subjects = [_opened(name, settings).read() for name in names]
    shortest = min(subjects, key=lambda one: one.context or math.inf)
    subject = replace(shortest, name=ensemble.NAME)
    with devices.explained(device, "--device"):
        scorer = ensemble.Ensemble([Scorer(one.network, device, precision) for one in subjects])
        figures = measure_text(subject, scorer, text, settings, progress) if text else None
        accuracies = pairs.measure(subject, scorer, sentences, progress) if sentences else None
    return ModelMeasured(
        model=ensemble.NAME,
        fingerprint=files.fingerprint_of(sorted(one.fingerprint() for one in subjects)),
        text=figures,
        pairs=accuracies,
        precision=precision,
        device=device.type,
    )


@dataclass(frozen=True)
class MeasuredDocuments:
    """What each document of a text costs a model, in which windows, and how long that took."""

    nats: DocumentNats
    windows: Windows
    seconds: float

    def figures(self, text: Text) -> TextFigures:
        """Loss, perplexity and bits of the whole text."""
        return TextFigures(
            file=str(text.path),
            sha256=text.sha256,
            **vars(self.nats.figures()),
            windows=self.windows.kind,
            block_size=self.windows.block_size,
            stride=self.windows.stride,
            tokens_per_second=round(int(self.nats.tokens.sum()) / self.seconds, 1),
        )


def measure_text(
    subject: ModelFolder, scorer: Scores, text: Text, settings: MeasureSettings, progress: Progress
) -> TextFigures:
    """Loss, perplexity and bits of a text, and how fast it went (tokens per second)."""
    return measure_documents(subject, scorer, text, settings, progress).figures(text)


def measure_documents(
    subject: ModelFolder, scorer: Scores, text: Text, settings: MeasureSettings, progress: Progress
) -> MeasuredDocuments:
    """The same, document by document."""
    from jagpt.evaluation.scoring import document_nats

    block_size = settings.block_size or subject.context or DEFAULT_WINDOW
    windows = Windows.of(settings.windows, _within(block_size, subject), settings.stride)
    if doubt := texts.disagreement(text, subject):
        progress.say(f"note: {doubt}")
    encoded = texts.encode(text, subject, settings.end_token)
    what = f"evaluate {Path(subject.name).name}"
    started = time.perf_counter()
    with progress.bar(what, encoded.n_tokens - 1, "tokens") as bar:
        found = document_nats(scorer, encoded, windows, text.sizes, bar.advance)
    return MeasuredDocuments(found, windows, time.perf_counter() - started)


def _within(block_size: int, subject: ModelFolder) -> int:
    if subject.context is not None and block_size > subject.context:
        raise UsageError(
            f"--block-size {block_size}: {subject.name} has a context of {subject.context:,} tokens"
        )
    return block_size
