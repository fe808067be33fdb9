"""The header of a GGUF file, field by field, so that each can be made to lie.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
STRING, ARRAY = 8, 9
ODD = (
    0, 1, 2, 7, 8, 9, 31, 33, 64, 255, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
TEXTS = (
    b"", b"\xff", b"x", b"a\0b", b"general.architecture", b"general.alignment", b"llama", b"mamba",
    b"rwkv6", b"t5", b"bert", b"clip", b"gpt2", b"bpe", b"../x", b"token_embd.weight", b"A" * 99,
    b"%s%n%n", "東京".encode(), b"split.count", b"tokenizer.chat_template", b"{{ 1/0 }}",
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """Bytes `start` to `end`: a number by its `struct` format, or a text with its length."""

    kind: str
    start: int
    end: int
    format: str = ""


@dataclass
class Header:
    """What a file says before its tensors."""

    raw: bytes
    fields: list[Field] = field(default_factory=list)
    entries: list[Field] = field(default_factory=list)
    """Each key with its value, each tensor's description."""
    at: int = 0

    @classmethod
    def of(cls, raw: bytes) -> Header:
        found = cls(raw)
        found._number("magic", "<I")
        found._number("version", "<I")
        tensors = found._number("count of tensors", "<Q")
        for _ in range(found._number("count of keys", "<Q")):
            found._entry(found._key)
        for _ in range(tensors):
            found._entry(found._tensor)
        return found

    def _entry(self, read: Callable[[], None]) -> None:
        start = self.at
        read()
        self.entries.append(Field("entry", start, self.at))

    def _key(self) -> None:
        self._text("key")
        self._value(self._number("type", "<I"), "value")

    def _value(self, kind: int, what: str) -> None:
        if kind == STRING:
            self._text(f"{what} of text")
        elif kind == ARRAY:
            of = self._number("type of an array", "<I")
            for _ in range(self._number("length of an array", "<Q")):
                self._value(of, "item")
        else:
            self._number(what, NUMBERS[kind])

    def _tensor(self) -> None:
        self._text("tensor's name")
        for _ in range(self._number("count of dimensions", "<I")):
            self._number("dimension", "<Q")
        self._number("tensor's type", "<I")
        self._number("tensor's offset", "<Q")

    def _number(self, kind: str, code: str) -> int:
        (found,) = struct.unpack_from(code, self.raw, self.at)
        end = self.at + struct.calcsize(code)
        self.fields.append(Field(kind, self.at, end, code))
        self.at = end
        return found  # type: ignore[no-any-return]

    def _text(self, kind: str) -> None:
        start = self.at
        length = self._number(f"length of a {kind}", "<Q")
        self.at += length
        self.fields.append(Field(kind, start, self.at))

    def lies(self, rng: random.Random) -> bytes:
        """The file with one to three fields changed, entries left out or doubled, or cut short."""
        data = bytearray(self.raw)
        kinds = [*sorted({each.kind for each in self.fields}), "entry", "entry"]
        chosen = [self._one(rng.choice(kinds), rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        last = len(data)
        for place in sorted(chosen, key=lambda place: -place.start):
            if place.end <= last:  # a text and its own length are not both changed
                data[place.start : place.end] = self._changed(place, rng)
                last = place.start
        return bytes(data[: rng.randrange(self.at + 64)] if rng.random() < 0.05 else data)

    def _one(self, kind: str, rng: random.Random) -> Field:
        return rng.choice(
            self.entries if kind == "entry" else [e for e in self.fields if e.kind == kind]
        )

    def _changed(self, place: Field, rng: random.Random) -> bytes:
        if place.kind == "entry":
            return self.raw[place.start : place.end] * rng.choice((0, 2))
        if not place.format:
            text = rng.choice(TEXTS)
            return struct.pack("<Q", len(text)) + text
        if place.format in ("<f", "<d"):
            value = rng.choice((0.0, -1.0, 1e-38, 3e38, float("inf"), float("nan")))
            return struct.pack(place.format, value)
        size = struct.calcsize(place.format)
        if rng.random() < 0.3:  # near what it was
            (number,) = struct.unpack_from(place.format, self.raw, place.start)
            number += rng.choice((-1, 1, 32, -32))
        else:
            number = rng.choice(ODD)
        return (int(number) % 256**size).to_bytes(size, "little")


def lies(raw: bytes, seed: str, count: int) -> Iterator[bytes]:
    """`count` versions of a file whose header lies."""
    header = Header.of(raw)
    for number in range(count):
        yield header.lies(random.Random(f"{seed} {number}"))
