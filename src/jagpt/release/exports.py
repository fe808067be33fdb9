"""The further formats of a run that go into its release, each with the proof that it is equal."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.errors import DataError
from jagpt.export.formats import FORMATS
from jagpt.rundir import RunDirectory

PARITY = "parity.json"
WEIGHTS = "model.safetensors"
BESIDE_THE_MODEL = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "*.gguf")
"""Files whose readers look for them in the model's own folder, with its configuration."""


@dataclass(frozen=True)
class Export:
    """One format: its files under their names in the release, and its parity."""

    name: str
    files: Mapping[str, Path]
    parity: Mapping[str, Any]

    @property
    def family(self) -> str:
        """The runtime: `gguf` of `gguf-q8_0`."""
        return self.name.partition("-")[0]

    def facts(self) -> list[str]:
        """What was compared, in columns: precision, difference, greedy tokens, ids, perplexity."""
        if self.parity.get("compared") == "tensors":
            return [self._text("precision"), "every tensor equal", "–", "–", "–"]
        return [
            self._text("precision"),
            self._number("logit_difference", "%.1e"),
            self._greedy(),
            self._share("texts_equal", "texts"),
            f"{self._number('perplexity', '%.4f')} ({self._number('perplexity_pytorch', '%.4f')})",
        ]

    @property
    def byte_texts(self) -> str | None:
        """How many lines with byte pieces get the same ids; None where there were none."""
        return self._share("byte_texts_equal", "byte_texts") if self._value("byte_texts") else None

    def _greedy(self) -> str:
        ties = self._value("greedy_ties")
        share = self._share("greedy_equal", "prompts")
        return f"{share}, {ties:.0f} tied" if ties else share

    def _share(self, part: str, whole: str) -> str:
        """`19 of 20`; a dash where nothing was asked."""
        found, of = self._value(part), self._value(whole)
        return f"{found:.0f} of {of:.0f}" if of and found is not None else "–"

    def _number(self, key: str, form: str) -> str:
        value = self._value(key)
        return "–" if value is None else form % value

    def _value(self, key: str) -> float | None:
        value = self.parity.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        return None

    def _text(self, key: str) -> str:
        value = self.parity.get(key)
        return value if isinstance(value, str) else "–"


def found(run: RunDirectory) -> tuple[Export, ...]:
    """The finished exports of a run, by name.

    Raises `DataError` for a folder that is none of `FORMATS`, for one without `parity.json` (it was
    left unfinished) and for one that was made from another model than the run's.
    """
    root = run.formats
    folders = sorted(path for path in root.glob("[!.]*") if path.is_dir())
    model = files.sha256(run.model / WEIGHTS) if folders else ""
    return tuple(_read(folder, model) for folder in folders)


def released(folder: Path) -> tuple[Export, ...]:
    """The formats in a release folder, by the proofs that it keeps."""
    if not (folder / PARITY).is_file():
        return ()
    proofs = files.read_json(folder / PARITY, "record of parity")
    return tuple(Export(_known(name, folder), {}, proof) for name, proof in proofs.items())


def _known(name: str, folder: Path) -> str:
    """The name of a format; it goes into programs and paths, so that no other may pass."""
    if name in FORMATS:
        return name
    raise DataError(
        f"{folder}: {name!r} is no format that jagpt makes (there are {', '.join(FORMATS)}); "
        "move it out of there"
    )


def _read(folder: Path, model: str) -> Export:
    _known(folder.name, folder.parent)
    again = f"`jagpt export RECIPE --format {folder.name}` makes it anew"
    if not (folder / PARITY).is_file():
        raise DataError(f"{folder}: this export has no {PARITY}: it was not finished; {again}")
    parity = files.read_json(folder / PARITY, "record of parity")
    if parity.get("source", model) != model:
        raise DataError(f"{folder}: made from another model than the run's {WEIGHTS}; {again}")
    return Export(folder.name, dict(_placed(folder)), parity)


def _placed(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name in the release → file. What stands beside the model brings no second configuration."""
    names = [name for name in files.list_files(folder) if name != PARITY]
    beside = [name for name in names if _beside(name)]
    for name in beside or names:
        yield (name if beside else f"{folder.name}/{name}"), folder / name


def _beside(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in BESIDE_THE_MODEL)
