"""What a GGUF file says before its tensors, checked before llama.cpp sees it.

llama.cpp has a hundred architectures, renders chat templates, and trusts many a number that it
reads. A file that jagpt exported needs little of that, so a file that says anything else than
its model is refused.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from jagpt import files
from jagpt.errors import DataError
from jagpt.text import shortened

if TYPE_CHECKING:
    from jagpt.formats.source import ModelSource

LARGEST = 64 * 1024**2
"""Bytes of all keys and values; a vocabulary of a million pieces has about 30 MB."""
_LONGEST = 64 * 1024
"""Bytes of a text."""
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}  # fmt: skip
_BYTES, _INT32, _FLOAT32, _STRING, _ARRAY = (0, 1), 5, 6, 8, 9

_ANY = frozenset({
    "general.name", "general.file_type", "general.quantization_version",
    "gpt2.attention.layer_norm_epsilon",
    "tokenizer.ggml.add_space_prefix", "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token",
})  # fmt: skip
"""Keys with any name, number or switch."""
_CHARSMAP = "tokenizer.ggml.precompiled_charsmap"
_IDS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("bos", "eos", "padding", "unknown"))


@dataclass(frozen=True)
class Items:
    """An array: the type and the number of its items."""

    kind: int
    count: int


def check(path: Path, source: ModelSource) -> None:
    """`DataError` if the file is damaged, or is not what jagpt exports of this model."""
    size, wanted = files.regular_file(path, "GGUF file"), _wanted(source)
    missing = wanted.keys() - {*_IDS}
    try:
        with path.open("rb") as file:
            for key, value in _Reader(file, min(size, LARGEST)).entries():
                if not _is_free(key, value) and value not in wanted.get(key, ()):
                    said = shortened(f"{key!r} is {value!r}", 100)
                    raise ValueError(f"{said}, which is not what this model needs")
                missing.discard(key)
        if missing:
            raise ValueError(f"it has no {min(missing)}")
    except (ValueError, struct.error) as error:
        raise DataError(
            f"{path}: not a GGUF file that jagpt made of this model ({error}); delete the folder "
            "and run `jagpt export` again"
        ) from None


def _is_free(key: str, value: Any) -> bool:
    if key == _CHARSMAP:
        return isinstance(value, Items) and value.kind in _BYTES
    return key in _ANY and not isinstance(value, Items)


def _wanted(source: ModelSource) -> dict[str, Container[Any]]:
    """What the other keys may be."""
    pieces, ids = source.vocab_size, range(source.vocab_size)
    return {
        "general.architecture": ("gpt2",),
        "gpt2.context_length": (source.n_positions,),
        "gpt2.embedding_length": (source.n_embd,),
        "gpt2.feed_forward_length": (source.n_inner,),
        "gpt2.block_count": (source.n_layer,),
        "gpt2.attention.head_count": (source.n_head,),
        "gpt2.vocab_size": (pieces,),
        "tokenizer.ggml.model": ("t5", "llama"),
        "tokenizer.ggml.pre": ("default",),
        "tokenizer.ggml.tokens": (Items(_STRING, pieces),),
        "tokenizer.ggml.scores": (Items(_FLOAT32, pieces),),
        "tokenizer.ggml.token_type": (Items(_INT32, pieces),),
        **dict.fromkeys(_IDS, ids),
    }


class _Reader:
    """Reads the keys and values at the beginning of a file, and never beyond `end`."""

    def __init__(self, file: IO[bytes], end: int) -> None:
        self._file, self._left = file, end

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Each key with its value: a number, a text, or the `Items` of an array."""
        magic, version = self._take(4), self._number("I")
        if (magic, version) != (b"GGUF", 3):
            raise ValueError(f"it begins with {magic!r} in version {version}")
        self._number("Q")  # of tensors, which llama.cpp counts
        for _ in range(self._number("Q")):
            yield self._text(), self._value(self._number("I"))

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_code(kind))
        found = Items(self._number("I"), self._number("Q"))
        if found.kind == _STRING:
            for _ in range(found.count):
                self._text()
        else:
            self._pass(found.count * struct.calcsize(_code(found.kind)))
        return found

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(f"<{code}")))[0]

    def _text(self) -> str:
        length = self._number("Q")
        if length > _LONGEST:
            raise ValueError(f"a text of {length:,} bytes")
        return self._take(length).decode("utf-8", "replace")

    def _take(self, count: int) -> bytes:
        self._spend(count)
        return self._file.read(count)

    def _pass(self, count: int) -> None:
        self._spend(count)
        self._file.seek(count, os.SEEK_CUR)

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError("it ends within its keys")


def _code(kind: int) -> str:
    """The `struct` format of a number's type."""
    if kind not in _NUMBERS:
        raise ValueError(f"a value of type {kind}")
    return _NUMBERS[kind]
