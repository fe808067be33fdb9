"""Templates whose text takes more than a format: language names, dates, units, flags."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from jagpt.wikitext.templates import Arguments, Rule, table


def named_rule(function: str, name: str) -> Rule:
    """The rule that a row's `function` makes for the template `name`; KeyError without one."""
    return _FUNCTIONS[function](name)


def _language(name: str) -> Rule:
    """{{lang-fr|mot}} → フランス語: mot; {{lang-fr-short|mot}} → 仏: mot."""
    code = name.lower().removeprefix("rtl-").removeprefix("lang-").strip(" -")
    short = code.endswith("-short")
    code = code.removesuffix("-short")
    label = _short_name(code) if short else language_name(code)
    return lambda arguments: _labelled(label, arguments.get("1", ""))


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if label and text else text


def language_name(code: str) -> str:
    """A language's Japanese name, "" for an unknown one; a variant has its language's name."""
    languages: Mapping[str, str] = table()["languages"]
    code = code.lower()
    return languages.get(code) or languages.get(code.partition("-")[0], "")


def _short_name(code: str) -> str:
    short: Mapping[str, str] = table()["language_abbreviations"]
    return short.get(code) or language_name(code)


def _language_by_code(arguments: Arguments) -> str:
    return _labelled(language_name(arguments.get("1", "")), arguments.get("2", ""))


def _language_tag(name: str) -> Rule:
    """{{en|text}} marks a language; a bare {{en}} is an icon, and says nothing."""
    return lambda arguments: arguments.get("1", "")


def _pronunciation(name: str) -> Rule:
    """{{IPA-fr|fʁɑ̃s}} → フランス語発音: [fʁɑ̃s]; a second argument chooses the label."""
    language = language_name(name.split("-", 1)[1])
    labels = {"": "", "lang": language, "pron": "発音", "ipa": "IPA"}

    def render(arguments: Arguments) -> str:
        sound = arguments.get("1", "")
        label = labels.get(arguments.get("2", "?").lower(), f"{language}発音")
        return _labelled(label, f"[{sound}]") if sound else ""

    return render


def _formatnum(arguments: Arguments) -> str:
    """1234567.8 → 1,234,567.8; R takes the commas out; what is no plain number stays."""
    number = arguments.get("1", "")
    if arguments.get("2") == "R":
        return number.replace(",", "")
    whole, point, fraction = number.partition(".")
    sign = whole[:1] if whole[:1] in ("-", "+", "−") else ""
    digits = whole[len(sign) :]
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 30:
        return number
    return f"{sign}{int(digits):,}{point}{fraction}" if digits[:1] != "0" else number


_OFFSETS = {"C": (1.0, 273.15), "F": (5 / 9, 459.67 * 5 / 9), "K": (1.0, 0.0)}


def _convert(arguments: Arguments) -> str:
    """{{convert|5|mi|km}} → 5マイル (8.0 km), rounded as the source's precision allows."""
    units: Mapping[str, list[Any]] = table()["units"]
    number, unit = arguments.get("1", ""), arguments.get("2", "")
    source = units.get(unit)
    if source is None:
        return f"{number} {unit}".strip()
    shown = _quantity(_formatnum({"1": number}), source[0])
    target_unit = arguments.get("3", "")
    target = units.get(target_unit) or units.get(source[3])
    value = _number(number)
    if target is None or value is None or target[1] != source[1]:
        return shown
    if source[1] == "temperature":
        converted = _temperature(value, unit, target_unit if target_unit in units else source[3])
    else:
        converted = value * source[2] / target[2]
    return f"{shown} ({_quantity(_rounded(converted, number), target[0])})"


def _quantity(number: str, unit: str) -> str:
    """A space parts a number from a symbol, not from a Japanese word."""
    return number + unit if unit >= "\u3000" else f"{number} {unit}"


def _temperature(value: float, source: str, target: str) -> float:
    factor, offset = _OFFSETS[source]
    kelvin = value * factor + offset
    factor, offset = _OFFSETS[target]
    return (kelvin - offset) / factor


def _number(text: str) -> float | None:
    try:
        value = float(text.replace(",", "").replace("−", "-"))
    except ValueError:
        return None
    return value if abs(value) < 1e15 else None


def _rounded(value: float, source: str) -> str:
    """`value` as precise as `source` was written: whole numbers for three digits and more."""
    digits = source.replace(",", "").replace(".", "").strip("-−").lstrip("0")
    decimals = max(2, len(digits)) - len(str(int(abs(value))))
    return f"{value:,.{min(max(0, decimals), 6)}f}"


def _year_month_day(arguments: Arguments, first: int = 1) -> tuple[str, str, str]:
    year, month, day = (arguments.get(str(first + i), "") for i in range(3))
    return year, _MONTHS.get(month[:3].lower(), month), day


_MONTHS = dict(
    zip(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        map(str, range(1, 13)),
        strict=True,
    )
)


def _japanese_date(year: str, month: str, day: str) -> str:
    """2001年2月3日, as far as the parts are known; a part that is no number ends it."""
    text = ""
    for part, unit in ((year, "年"), (month, "月"), (day, "日")):
        if not part.isdecimal():
            return text or (part if unit == "年" else "")
        text += f"{int(part) if len(part) < 10 else part}{unit}"
    return text


def _date(arguments: Arguments) -> str:
    return _japanese_date(*_year_month_day(arguments))


def _death_date(arguments: Arguments) -> str:
    """{{死亡年月日と没年齢|1901|2|3|1980|4|5}} → 1980年4月5日（79歳没）."""
    died = _year_month_day(arguments, 4)
    if not died[0]:
        return ""
    years = _age(_year_month_day(arguments), died)
    return _japanese_date(*died) + (f"（{years}歳没）" if years is not None else "")


def _age_at_death(arguments: Arguments) -> str:
    years = _age(_year_month_day(arguments), _year_month_day(arguments, 4))
    return f"{years}歳没" if years is not None else ""


def _age(born: tuple[str, str, str], died: tuple[str, str, str]) -> int | None:
    try:
        birth, death = (date(*map(int, day)) for day in (born, died))
    except (ValueError, OverflowError):
        return None
    return death.year - birth.year - ((death.month, death.day) < (birth.month, birth.day))


_ERAS = ((2019, "令和"), (1989, "平成"), (1926, "昭和"), (1912, "大正"), (1868, "明治"))


def _japanese_era(arguments: Arguments) -> str:
    """{{和暦|1964}} → 昭和39年; a year before 明治 keeps its number."""
    year = arguments.get("1", "").removesuffix("年")
    if not (year.isascii() and year.isdecimal() and len(year) <= 4):
        return year
    for first, era in _ERAS:
        if int(year) >= first:
            count = int(year) - first + 1
            return f"{era}{'元' if count == 1 else count}年"
    return f"{year}年"


def _fraction(arguments: Arguments) -> str:
    """{{frac|1|2|3}} → 1 2/3; {{frac|2|3}} → 2/3; {{frac|3}} → 1/3."""
    parts = [arguments[key] for key in ("1", "2", "3") if arguments.get(key)]
    if len(parts) == 3:
        return f"{parts[0]} {parts[1]}/{parts[2]}"
    return "/".join(parts if len(parts) == 2 else ["1", *parts]) if parts else ""


def _author_year(arguments: Arguments) -> str:
    """{{Harvtxt|Cox|Li|2014}} → Cox & Li (2014)."""
    parts = [arguments[key] for key in ("1", "2", "3", "4", "5") if arguments.get(key)]
    if len(parts) < 2:
        return "".join(parts)
    *names, year = parts
    authors = " & ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"{authors} ({year})"


def _flag(arguments: Arguments) -> str:
    """{{flag|Japan}} → 日本; a name that the table lacks stands for itself."""
    countries: Mapping[str, str] = table()["countries"]
    name = arguments.get("name") or arguments.get("1", "")
    return countries.get(name) or countries.get(name.upper(), name)


def _condition(arguments: Arguments) -> str:
    return arguments.get("2" if arguments.get("1") else "3", "")


def _lower(arguments: Arguments) -> str:
    return arguments.get("1", "").lower()


def _upper(name: str) -> Rule:
    if name.lower().startswith("ucfirst"):
        return lambda arguments: arguments.get("1", "")[:1].upper() + arguments.get("1", "")[1:]
    return lambda arguments: arguments.get("1", "").upper()


def _always(rule: Rule) -> Callable[[str], Rule]:
    return lambda name: rule


_FUNCTIONS: dict[str, Callable[[str], Rule]] = {
    "language": _language,
    "language_by_code": _always(_language_by_code),
    "language_tag": _language_tag,
    "pronunciation": _pronunciation,
    "formatnum": _always(_formatnum),
    "convert": _always(_convert),
    "date": _always(_date),
    "death_date": _always(_death_date),
    "age_at_death": _always(_age_at_death),
    "japanese_era": _always(_japanese_era),
    "fraction": _always(_fraction),
    "author_year": _always(_author_year),
    "flag": _always(_flag),
    "condition": _always(_condition),
    "lower": _always(_lower),
    "upper": _upper,
}
