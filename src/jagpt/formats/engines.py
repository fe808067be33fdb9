"""The engines for a model's exports: which exist, and which one a name selects.

An export is in `RUN/export/<format>`, or `MODEL_DIR/export/<format>` for a folder that belongs to
no run. It counts if its `parity.json` says that it is within bounds and made from this very model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jagpt.errors import DataError, JagptError, UsageError
from jagpt.formats import gguf_header
from jagpt.formats.bounds import Parity
from jagpt.formats.source import ModelSource
from jagpt.formats.table import FORMATS, Format
from jagpt.generation.engine import Drawn, Engine, Session, SteppingEngine
from jagpt.models import ModelFolder, guard
from jagpt.rundir import is_run
from jagpt.runtimes import DrawingRuntime, StepRuntime, llamacpp
from jagpt.text import first_line

if TYPE_CHECKING:
    from torch import Tensor

    from jagpt.generation.sampling import Sampler
    from jagpt.runtimes import Drawing
    from jagpt.runtimes.base import Floats

PLAIN = "transformers"
AUTO, FASTEST = "auto", "fastest"

BY_SPEED = (
    "gguf-q8_0",
    "gguf-f16",
    "ctranslate2-int8",
    "gguf-f32",
    "onnx",
    "ctranslate2",
    "openvino",
)
"""Formats with an engine, the fastest for a single text first (`benchmarks/generation.py`)."""
ONE_BY_ONE = "gguf"
"""The family that continues several texts one after the other, and is then slower than others."""


@dataclass(frozen=True)
class UsableExport:
    """A usable export of a model."""

    format: Format
    folder: Path

    @property
    def full(self) -> bool:
        """Whether it computes in full precision."""
        return self.format.bounds.full


def find(model: ModelFolder) -> list[UsableExport]:
    """The exports of a model that passed parity and whose runtime is installed.

    Its files are read for that, and no note of what they once were is believed.
    """
    place = _place(model.folder)
    made = {name: parity for name in BY_SPEED if (parity := Parity.find(place / name))}
    source = model.fingerprint() if made else ""
    return [
        UsableExport(FORMATS[name], place / name)
        for name, parity in made.items()
        if parity.source == source and FORMATS[name].installed()
    ]


def choose(model: ModelFolder, wish: str, *, drawn: bool, rows: int = 1) -> UsableExport | None:
    """The export that a name selects, to continue `rows` texts at once; None for transformers.

    `auto` is the fastest in full precision, and `fastest` the fastest of all; each is transformers
    if there is none. With `drawn`, tokens are sampled, which not all can do reproducibly. Raises
    `UsageError` if a named format has no export.
    """
    if wish == PLAIN:
        return None
    found = find(model)
    if wish in (AUTO, FASTEST):
        able = [
            one
            for one in found
            if (wish == FASTEST or one.full) and not (drawn and _greedy_only(one.format.name))
        ]
        if rows > 1:
            able.sort(key=lambda one: _family(one) == ONE_BY_ONE)
        return able[0] if able else None
    family = [one for one in found if _family(one) == wish]
    if not family:
        raise UsageError(
            f"--engine {wish}: {_place(model.folder)} has no such export of this very model (an "
            "earlier jagpt's does not count); "
            f"`jagpt export RECIPE --format {_a_format(wish)}` makes one"
        )
    return min(family, key=lambda one: not one.full)


def engine(export: UsableExport, model: ModelFolder, threads: int | None = None) -> Engine:
    """The export's engine, ready to continue texts."""
    if export.format.runtime is None:
        raise AssertionError(f"{export.format.name} has no runtime")
    guard.check_folder(export.folder)
    with _export_to_blame(export):
        source = ModelSource(model)
        for weights in export.folder.glob("*.gguf"):
            gguf_header.check(weights, source)
            shape = source.n_layer, source.n_head, source.n_embd, source.n_positions
            llamacpp.check_loads(weights, source.n_positions, llamacpp.working_bytes(*shape))
        runtime = export.format.runtime(source, export.folder, threads)
        if runtime.vocab_size != source.vocab_size:
            raise ValueError(f"{runtime.vocab_size:,} tokens, the model has {source.vocab_size:,}")
    if isinstance(runtime, StepRuntime):
        return _Stepping(export, runtime)
    if isinstance(runtime, DrawingRuntime):
        return _Drawing(export, runtime)
    raise AssertionError(f"{export.format.name} can neither sample nor give logits")


@contextmanager
def _export_to_blame(export: UsableExport) -> Iterator[None]:
    """`DataError` for whatever a runtime says about the export's files: their errors have no common
    type.
    """
    try:
        yield
    except JagptError:
        raise
    except Exception as error:
        raise DataError(
            f"{export.folder}: {export.format.title} cannot run this "
            f"({first_line(error)}); delete the folder and run `jagpt export` again"
        ) from None


def note(export: UsableExport | None, wish: str) -> str | None:
    """What the user should know about the choice; None if nothing."""
    if export is None:
        return (
            f"--engine {wish}: no usable export of this model; using transformers"
            if (wish in (AUTO, FASTEST))
            else None
        )
    if export.full:
        return None
    return (
        f"--engine {wish}: {export.format.title} computes in {export.format.bounds.precision}, "
        "so texts may differ from the model's own"
    )


def _family(export: UsableExport) -> str:
    return export.format.name.partition("-")[0]


def _greedy_only(name: str) -> bool:
    return name.startswith("ctranslate2")


def _a_format(family: str) -> str:
    return next((name for name in reversed(BY_SPEED) if name.split("-")[0] == family), family)


def _place(model_dir: Path) -> Path:
    """Where a model folder's exports are."""
    run = model_dir.resolve().parent
    return run / "export" if is_run(run) else model_dir / "export"


# --- engines --------------------------------------------------------------------------------------


class _Stepping(SteppingEngine):
    """A runtime that gives logits; tokens are drawn as with transformers."""

    def __init__(self, export: UsableExport, runtime: StepRuntime) -> None:
        self.name, self._export, self._runtime = export.format.name, export, runtime
        self.context, self.vocab_size = runtime.context, runtime.vocab_size

    def begin(self, prompt: Sequence[int], rows: int) -> Session:
        return _Guarded(self._export, self._runtime.begin(prompt, rows))

    def sample(self, sampler: Sampler, logits: Tensor | Floats) -> list[tuple[int, float]]:
        """On one thread: others would keep spinning when the runtime needs the cores."""
        from jagpt import devices

        with devices.threads(1):
            return super().sample(sampler, logits)


class _Guarded:
    """A session whose errors name the export."""

    def __init__(self, export: UsableExport, session: Session) -> None:
        self._export, self._session = export, session

    def step(self, ids: Sequence[int] | None) -> Tensor | Floats:
        with _export_to_blame(self._export):
            return self._session.step(ids)


class _Drawing:
    """A runtime that draws tokens itself."""

    def __init__(self, export: UsableExport, runtime: DrawingRuntime) -> None:
        self.name, self._export, self._runtime = export.format.name, export, runtime
        self.context: int | None = runtime.context
        self.vocab_size = runtime.vocab_size

    def draw(self, prompt: Sequence[int], drawing: Drawing) -> Iterator[list[Drawn | None]]:
        """See `Engine.draw`."""
        steps = self._runtime.draw(prompt, drawing)
        while True:
            with _export_to_blame(self._export):
                step = next(steps, None)
            if step is None:
                return
            yield [
                None if token is None else Drawn(token[0], token[1], token[0] in drawing.end_ids)
                for token in step
            ]
