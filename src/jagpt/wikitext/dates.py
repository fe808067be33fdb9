"""Dates, ages, eras and years as Japanese Wikipedia prints them."""

import re
from calendar import isleap
from datetime import date

from jagpt.wikitext.marks import VOID
from jagpt.wikitext.templates import Arguments

_MONTHS = dict(
    zip(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        map(str, range(1, 13)),
        strict=True,
    )
)
_ERAS = ((2019, "令和"), (1989, "平成"), (1926, "昭和"), (1912, "大正"), (1868, "明治"))
_ISO = re.compile(r"([0-9]{3,4})(?:[-/‐–]([0-9]{1,2})(?:[-/‐–]([0-9]{1,2}))?)?")
_WEEKDAYS = "月火水木金土日"
_GREGORIAN = 1582


def _parts(arguments: Arguments, first: int = 1) -> tuple[str, str, str]:
    year, month, day = (arguments.get(str(first + i), "") for i in range(3))
    return year, _MONTHS.get(month[:3].lower(), month), day


def japanese_date(year: str, month: str, day: str) -> str:
    """2001年2月3日, as far as the parts are known; a part that is not a number ends it."""
    text = ""
    for part, unit in ((year, "年"), (month, "月"), (day, "日")):
        if not part.isdecimal():
            return text or (part if unit == "年" else "")
        text += f"{int(part) if len(part) < 10 else part}{unit}"
    return text


def date_of_text(written: str) -> str:
    """2001-02-03 → 2001年2月3日; anything else stays."""
    match = _ISO.fullmatch(written)
    if match is None:
        return written
    return japanese_date(match[1], match[2] or "", match[3] or "")


def start_date(arguments: Arguments) -> str:
    """{{生年月日と年齢|1950|4|3}} → 1950年4月3日."""
    year, month, day = _parts(arguments)
    return date_of_text(year) if not month else japanese_date(year, month, day)


def death_date(arguments: Arguments) -> str:
    """{{死亡年月日と没年齢|1901|2|3|1980|4|5}} → 1980年4月5日（79歳没）."""
    died = _parts(arguments, 4)
    if not died[0]:
        return ""
    years = _age(_parts(arguments), died)
    return japanese_date(*died) + (f"（{years}歳没）" if years is not None else "")


def age_at_death(arguments: Arguments) -> str:
    """{{没年齢|1901|2|3|1980|4|5}} → 79歳没; VOID if the second date is today's."""
    died = _parts(arguments, 4)
    years = _age(_parts(arguments), died)
    return f"{years}歳没" if years is not None else "" if died[0] else VOID


def years_between(arguments: Arguments) -> str:
    """{{年数|1901|2|3|1980|4|5}} → 79; VOID if the second date is today's, or one is wrong."""
    years = _age(_parts(arguments), _parts(arguments, 4))
    return str(years) if years is not None else VOID


def _age(born: tuple[str, str, str], died: tuple[str, str, str]) -> int | None:
    try:
        birth, death = (date(*map(int, day)) for day in (born, died))
    except (ValueError, OverflowError):
        return None
    years = death.year - birth.year - ((death.month, death.day) < (birth.month, birth.day))
    return years if years >= 0 else None


def japanese_era(arguments: Arguments) -> str:
    """{{和暦|1964}} → 昭和39年; a year before 明治 keeps its number."""
    year = arguments.get("1", "").removesuffix("年")
    if not (year.isascii() and year.isdecimal() and len(year) <= 4):
        return year
    for first, era in _ERAS:
        if int(year) >= first:
            count = int(year) - first + 1
            return f"{era}{'元' if count == 1 else count}年"
    return f"{year}年"


def year_definition(arguments: Arguments) -> str:
    """{{year-definition|600}} → 600年（600 ねん）は、西暦（ユリウス暦）による、閏年。"""
    written = arguments.get("1", "").removesuffix("年")
    if not (written.isascii() and written.isdecimal() and 0 < len(written) <= 4 and int(written)):
        return ""
    year = int(written)
    head = f"{year}年（{year} ねん）は、西暦"
    if year < _GREGORIAN:
        return f"{head}（ユリウス暦）による、{_kind(leap=year % 4 == 0)}。"
    weekday = _WEEKDAYS[date(year, 1, 1).weekday()]
    return f"{head}（グレゴリオ暦）による、{weekday}曜日から始まる{_kind(leap=isleap(year))}。"


def _kind(*, leap: bool) -> str:
    return "閏年" if leap else "平年"
