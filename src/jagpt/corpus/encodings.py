"""Detects the encoding of a text whose owner does not know it."""

from __future__ import annotations

from codecs import getincrementaldecoder
from importlib.util import find_spec

from jagpt.errors import MissingExtraError

AUTO, UTF_8 = "auto", "utf-8"
SAMPLE_BYTES = 64 * 1024
"""How much of a file is examined."""
_NAMES = {"cp932": "cp932", "euc_jp": "euc_jp", "iso2022_jp": "iso2022_jp"}
"""Names of Japanese encodings in charset-normalizer, and ours."""


def check_library() -> None:
    """Raise `MissingExtraError` if the library that detects encodings is not installed."""
    if not _has_library():
        raise MissingExtraError('encoding = "auto"', "encodings")


def _has_library() -> bool:
    return find_spec("charset_normalizer") is not None


def guessed(data: bytes) -> str | None:
    """The encoding of a file that begins like this: UTF-8 if possible, or a Japanese one.

    None if it fits none of them.
    """
    data = data[: data.rfind(b"\n", 0, SAMPLE_BYTES) + 1] or data[:SAMPLE_BYTES]
    if b"\x1b" not in data and _decodes(data, UTF_8):
        return UTF_8
    from charset_normalizer import from_bytes

    possible = [name for name in _NAMES if _decodes(data, name)]
    if len(possible) < 2:
        return possible[0] if possible else None
    best = from_bytes(data, cp_isolation=possible, threshold=1.0).best()
    return _NAMES.get(best.encoding) if best else None


def likely(data: bytes, wrong: str) -> str:
    """What to do about a text that is not in the `wrong` encoding."""
    found = guessed(data) if _has_library() else None
    if found is None or found == wrong:
        return "set the source's `encoding` to its name, or convert it, for instance with iconv"
    return (
        f'it looks like {found}: set `encoding = "{found}"` (of kind = "text") or convert it, for '
        f"instance with iconv -f {found}"
    )


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return False
    return True
