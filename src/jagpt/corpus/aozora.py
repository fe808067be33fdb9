"""Aozora Bunko's text format, reduced to the author's own text.

Ruby is removed, its base text stays; the typist's notes (［＃…］) are removed, a character missing
from JIS X 0208 is replaced by its Unicode form if its note names it, accented letters are composed,
and the header, the explanation of the marks and the colophon are left out.
https://www.aozora.gr.jp/annotation/
"""

from __future__ import annotations

import re
import unicodedata

GETA = "〓"
"""Replaces, as in print, a character that cannot be identified."""
_RULE = re.compile(r"-{20,}")
_EXPLANATION = re.compile("テキスト中に現れる記号|《》")
_COLOPHON = re.compile(r"底本[：:「]")
_RUBY = re.compile(r"《[^《》\n]*》")
_GAIJI = re.compile(r"※［＃([^［］]*)］")
_NOTE = re.compile(r"［＃[^［］]*］")
_PLACE_IN_JIS = re.compile(r"(?<![0-9-])([12])-([0-9]{1,2})-([0-9]{1,2})(?![0-9-])")
_UNICODE = re.compile(r"U\+([0-9A-Fa-f]{4,6})")
_ACCENTED = re.compile(r"〔([^〔〕\n]*)〕")
_ACCENT = re.compile(r"([A-Za-z])(['`^:~,&_])")
_WHOLE = {
    "AE&": "Æ", "ae&": "æ", "OE&": "Œ", "oe&": "œ", "s&": "ß", "O/": "Ø", "o/": "ø", "D/": "Đ",
    "d/": "đ", "L/": "Ł", "l/": "ł", "!@": "¡", "?@": "¿",
}  # fmt: skip
_WHOLE_PATTERN = re.compile("|".join(map(re.escape, _WHOLE)))
_COMBINING = {
    "'": "\u0301", "`": "\u0300", "^": "\u0302", ":": "\u0308", "~": "\u0303", ",": "\u0327",
    "&": "\u030a", "_": "\u0304",
}  # fmt: skip


def read(text: str) -> tuple[str, str]:
    """The title, which is the first line, and the text."""
    lines = text.replace("\r", "").strip().split("\n")
    return plain(lines[0]).strip(), "\n".join(map(plain, _body(lines))).strip("\n")


def plain(line: str) -> str:
    """A line as it would be printed, without ruby."""
    line = _RUBY.sub("", line).replace("｜", "")
    if "［＃" in line:
        line = _NOTE.sub("", _GAIJI.sub(_character, line))
    return _ACCENTED.sub(_composed, line) if "〔" in line else line


def _body(lines: list[str]) -> list[str]:
    """The text between header and colophon.

    The header ends with the second rule around the explanation of the marks or, if there is
    none, with the first blank line (other rules part scenes); the colophon begins after a blank
    line.
    """
    rules = [number for number, line in enumerate(lines[:100]) if _RULE.fullmatch(line.strip())]
    between = lines[rules[0] : rules[1]] if len(rules) > 1 else []
    blank = (number for number, line in enumerate(lines) if not line.strip())
    start = rules[1] + 1 if any(map(_EXPLANATION.search, between)) else next(blank, 0)
    ends = (
        number
        for number in range(start + 1, len(lines))
        if _COLOPHON.match(lines[number]) and not lines[number - 1].strip()
    )
    return lines[start : next(ends, len(lines))]


def _character(note: re.Match[str]) -> str:
    """The character that a note describes by its code in JIS X 0213 or Unicode."""
    if place := _PLACE_IN_JIS.search(note[1]):
        plane, row, cell = map(int, place.groups())
        prefix = b"" if plane == 1 else b"\x8f"
        try:
            return (prefix + bytes([0xA0 + row, 0xA0 + cell])).decode("euc_jis_2004")
        except ValueError:
            return GETA
    if (code := _UNICODE.search(note[1])) and int(code[1], 16) <= 0x10FFFF:
        found = chr(int(code[1], 16))
        return found if found.isprintable() else GETA
    return GETA


def _composed(stretch: re.Match[str]) -> str:
    """〔Moulin de la Galette ae&〕: the accented letters that this spells, if any."""
    text = _WHOLE_PATTERN.sub(lambda found: _WHOLE[found[0]], stretch[1])
    text = _ACCENT.sub(_letter, text)
    return text if text != stretch[1] else stretch[0]


def _letter(found: re.Match[str]) -> str:
    composed = unicodedata.normalize("NFC", found[1] + _COMBINING[found[2]])
    return composed if len(composed) == 1 else found[0]
