"""The other formats of a run that go into its release, each with the proof that it matches."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jagpt import manifests, models, units
from jagpt.errors import DataError
from jagpt.formats.bounds import TENSORS, Parity
from jagpt.formats.table import FORMATS
from jagpt.records import read_json, remake
from jagpt.rundir import RunDirectory

WEIGHTS = "model.safetensors"
ONNX = "onnx"
BESIDE_THE_MODEL = (
    *("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"),
    *("*.gguf", "*.Modelfile"),
)
"""Files whose readers look for them in the model's own folder, with its configuration."""


@dataclass(frozen=True)
class ReleasedFormat:
    """One format: its files under their names in the release, and its parity."""

    name: str
    files: Mapping[str, Path]
    parity: Parity

    @property
    def family(self) -> str:
        """The runtime: `gguf` of `gguf-q8_0`."""
        return self.name.partition("-")[0]

    def facts(self) -> list[str]:
        """What was compared, in columns: precision, size, difference, greedy, ids, perplexity."""
        found = self.parity
        size = "–" if found.size is None else units.size(found.size)
        if found.compared == TENSORS:
            return [found.precision, size, "every tensor equal", "–", "–", "–"]
        greedy = _share(found.greedy_equal, found.prompts)
        return [
            found.precision,
            size,
            _number(found.logit_difference, ".1e"),
            f"{greedy}, {found.greedy_ties} tied" if found.greedy_ties else greedy,
            _share(found.texts_equal, found.texts),
            f"{_number(found.perplexity, '.4f')} ({_number(found.perplexity_pytorch, '.4f')})",
        ]

    @property
    def byte_texts(self) -> str | None:
        """How many lines with byte pieces get the same ids; None if there were none."""
        found = self.parity
        return _share(found.byte_texts_equal, found.byte_texts) if found.byte_texts else None


def _share(found: int | None, of: int | None) -> str:
    """`19 of 20`; a dash if nothing was compared."""
    return f"{found} of {of}" if of and found is not None else "–"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def found(run: RunDirectory) -> tuple[ReleasedFormat, ...]:
    """The finished exports of a run, by name: those in the manifest of its formats.

    Raises `DataError` for a folder that is none of `FORMATS`, for one without `parity.json` (it is
    unfinished) and for one that was made from another model than the run's.
    """
    inside: dict[str, list[str]] = {}
    for path in manifests.listed(run.formats):
        folder, slash, name = path.partition("/")
        if slash and not folder.startswith("."):
            inside.setdefault(folder, []).append(name)
    model = models.open(run.model).fingerprint() if inside else ""
    return tuple(_read(run.formats / folder, inside[folder], model) for folder in sorted(inside))


def released(folder: Path) -> tuple[ReleasedFormat, ...]:
    """The formats in a release folder, by the proofs that it keeps."""
    path = folder / Parity.FILE
    if not path.exists():
        return ()
    proofs = read_json(dict[str, Parity], path, Parity.KIND, remake("release"))
    return tuple(ReleasedFormat(_known(name, folder), {}, proof) for name, proof in proofs.items())


def _known(name: str, folder: Path) -> str:
    """The name of a format; it goes into programs and paths, so that no other may pass."""
    if name in FORMATS:
        return name
    raise DataError(
        f"{folder}: {name!r} is not a format that jagpt makes (these are {', '.join(FORMATS)}); "
        "move it elsewhere"
    )


def _read(folder: Path, names: Sequence[str], model: str) -> ReleasedFormat:
    _known(folder.name, folder.parent)
    again = f"`jagpt export RECIPE --format {folder.name}` makes it again"
    parity = Parity.find(folder)
    if parity is None:
        raise DataError(f"{folder}: this export has no {Parity.FILE}: it was not finished; {again}")
    if parity.source != model:
        raise DataError(
            f"{folder}: made from another model than the run's, or by an earlier jagpt; {again}"
        )
    return ReleasedFormat(folder.name, dict(_placed(folder, names)), parity)


def _placed(folder: Path, listed: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Name in the release → file. Files next to the model bring no second configuration."""
    names = [name for name in listed if name != Parity.FILE]
    beside = [name for name in names if _beside(name)]
    graphs = [name for name in names if name.partition(".")[2].startswith("onnx")]
    if graphs and folder.name != ONNX:  # transformers.js looks for all precisions in one place
        yield from ((f"{ONNX}/{name}", folder / name) for name in graphs)
        return
    for name in beside or names:
        yield (name if beside else f"{folder.name}/{name}"), folder / name


def _beside(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in BESIDE_THE_MODEL)
