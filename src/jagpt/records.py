"""Records: what a stage leaves as JSON, one frozen dataclass per file.

A record writes itself and checks what it reads, which may come from a stranger: types are strict,
numbers are finite and fit 64 bits, the file is a regular one of bounded size. Keys that a class
does not have are ignored, so that additions by a later jagpt do no harm.
"""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from jagpt import files
from jagpt.errors import DataError

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""Of a file in the record's own directory."""

_OPTIONAL = "optional"


def optional(empty: Callable[[], Any] = NoneType) -> Any:
    """A field that is left out of the file if it is empty: None, or a `tuple` or `dict`."""
    return field(default_factory=empty, metadata={_OPTIONAL: True})


@dataclass(frozen=True)
class Record:
    """Base of the records; `FILE` is the file's name in its directory.

    `KIND` is what messages call it, `REMEDY` what to do about a damaged one.
    """

    FILE: ClassVar[str]
    KIND: ClassVar[str]
    REMEDY: ClassVar[str]
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, allow_inf_nan=False)

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON values, in the order of its fields."""
        value: dict[str, Any] = plain(self)
        return value

    def write(self, directory: Path) -> None:
        """Put the record into `directory`."""
        files.write_json(directory / self.FILE, self.as_json())

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The record in `directory`; `DataError` names the file and the key that is wrong."""
        return cls.read_file(directory / cls.FILE)

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """The record in `directory`, or None if there is no such file."""
        return cls.read(directory) if (directory / cls.FILE).exists() else None

    @classmethod
    def read_file(cls, path: Path) -> Self:
        """The record in a file of any name; raises as `read` does."""
        found: Self = read_json(cls, path, cls.KIND, cls.REMEDY)
        return found


class Versioned(Record):
    """A record whose file states the version of its format."""

    VERSION: ClassVar[int]

    def as_json(self) -> dict[str, Any]:
        return {"version": self.VERSION, **super().as_json()}

    @classmethod
    def read_file(cls, path: Path) -> Self:
        cls.check_version(path)
        return super().read_file(path)

    @classmethod
    def check_version(cls, path: Path) -> None:
        """`NewerVersionError` if a newer jagpt wrote it, `DataError` for any other version."""
        files.check_version(path, files.read_json(path, cls.KIND).get("version"), cls.VERSION)


def read_json(shape: Any, path: Path, kind: str, remedy: str) -> Any:
    """The value of type `shape` in the JSON at `path`; `DataError` if it is something else."""
    raw = files.read_bytes(path, kind, files.MAX_JSON_BYTES)
    try:
        return _adapter(shape).validate_json(raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise DataError(
            f"{path}: this {kind} is damaged: {_problem(details[0])}{more}; {remedy}"
        ) from None


def read_lines(shape: Any, path: Path) -> Iterator[Any]:
    """The values of type `shape` in a log of JSON lines; none where there is no such file.

    Lines that do not hold one (such as the torn end of a killed run) are skipped.
    """
    if not path.exists():
        return
    files.regular_file(path, "log")
    with path.open("rb") as log:
        while line := log.readline(files.MAX_LINE_BYTES):
            with suppress(ValidationError):
                yield _adapter(shape).validate_json(line)


def restored(shape: Any, value: Any) -> Any:
    """The value of type `shape` from which `plain` made `value`."""
    return _adapter(shape).validate_python(value, strict=False)


def remake(stage: str) -> str:
    """The remedy for what a stage wrote."""
    return f"make it again with `jagpt {stage} RECIPE --force`"


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """The checker for values of a type, made when it is first needed."""
    return TypeAdapter(kind)


def plain(value: Any) -> Any:
    """`value`, which may contain dataclasses, as plain JSON values."""
    if is_dataclass(value):
        return {
            part.name: plain(item)
            for part in fields(value)
            if not _left_out(item := getattr(value, part.name), part.metadata)
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _left_out(value: Any, metadata: Mapping[str, Any]) -> bool:
    return _OPTIONAL in metadata and (value is None or value == () or value == {})


def _problem(detail: ErrorDetails) -> str:
    """A pydantic error in one line; untrusted text is shown shortened and escaped."""
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    if not detail["loc"]:
        return message
    key = reprlib.repr(".".join(map(str, detail["loc"])))[1:-1]
    if detail["type"] == "missing":
        return f"the key {key} is missing"
    return f"{key}: found {reprlib.repr(detail['input'])}; {message}"
