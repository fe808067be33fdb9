"""{{convert|5|mi|km}} → 5マイル (8.0 km); ranges, several units, and units that convert to none."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jagpt.wikitext.functions import format_number, is_missing
from jagpt.wikitext.marks import VOID
from jagpt.wikitext.templates import Arguments, numbered, table

_OFFSETS = {"°C": (1.0, 273.15), "°F": (5 / 9, 459.67 * 5 / 9), "K": (1.0, 0.0)}
_JOINERS = {
    "to": "から", "-": "–", "–": "–", "and": "と", "or": "または", "x": "×", "by": "×", "*": "×",
    "×": "×", "xx": "×", "by(x)": "×", "+/-": "±", "±": "±", "to(-)": "から", "から": "から",
    "〜": "〜", "～": "～", "+": "+", ",": "、", "、": "、", "と": "と", "&": "と", "/": "/",
    "to about": "から約",
}  # fmt: skip
_MOST_ARGUMENTS = 20
_NUMBER = re.compile(
    r"[-+−]?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:e[-+]?[0-9]+)?", re.IGNORECASE
)
_PLACES = re.compile("-?[0-9]")
_FIGURES = re.compile("[1-9]")
_MOST_PLACES = 12
_FRACTION = re.compile(r"(?:([0-9]+)[+ ])?([0-9]+)/+([1-9][0-9]*)")


_Decimals = Callable[[float], int]


@dataclass(frozen=True)
class _Unit:
    """A row of the table: how it is called, its dimension, its size in the dimension's base."""

    name: str
    dimension: str
    factor: float
    target: str
    symbol: str


def convert(arguments: Arguments) -> str:
    """The quantity and, in brackets, what it is in the other units.

    Rounded as the template says, or as the source's precision allows; anything without a number or
    known unit stays as written.
    """
    values = numbered(arguments)[:_MOST_ARGUMENTS]
    if not values or any(map(is_missing, values)):
        return VOID if values else ""
    numbers, joiners, rest = _amounts(values)
    if not numbers:
        return " ".join(values[:2])
    source = _unit(rest[0]) if rest else None
    written = [format_number(number) for number in numbers]
    if source is None:
        return f"{_joined(written, joiners)} {rest[0] if rest else ''}".strip()
    if arguments.get("abbr") in ("on", "values"):
        source = replace(source, name=source.symbol)
    shown, total, smallest, rest = _compound(_joined(written, joiners), numbers, source, rest)
    targets = [unit for unit in _targets(rest[1:], source) if unit.dimension == source.dimension]
    if total is None or not targets or arguments.get("disp") in ("number", "unit"):
        return shown
    asked = _decimals_asked(rest[1:3], arguments.get("sigfig", ""))
    kept = _decimals_kept(total, numbers, source, smallest)
    results = [
        _in_unit(total, joiners, source, target, asked or kept(target)) for target in targets
    ]
    if arguments.get("disp") in ("out", "output only", "output number only"):
        return "; ".join(results)
    if arguments.get("order") == "flip" or arguments.get("disp") == "flip":
        return f"{results[0]} ({'; '.join([shown, *results[1:]])})"
    return f"{shown} ({'; '.join(results)})"


def _amounts(values: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Numbers, the words that join them, and the units that follow."""
    numbers, joiners = [values[0]], []
    position = 1
    if _value(values[0]) is None:
        return [], [], values
    while position + 1 < len(values):
        joiner = values[position]
        if joiner not in _JOINERS or _value(values[position + 1]) is None:
            break
        joiners.append(_JOINERS[joiner])
        numbers.append(values[position + 1])
        position += 2
    return numbers, joiners, values[position:]


def _compound(
    shown: str, numbers: list[str], source: _Unit, rest: list[str]
) -> tuple[str, list[float] | None, _Unit | None, list[str]]:
    """{{convert|6|ft|2|in}}: the units that a quantity is written in, its value in the first, the
    last unit where there are several, and what follows."""
    smallest = None
    shown = _quantity(shown, source.name)
    values = [_value(number) for number in numbers]
    if any(value is None for value in values):
        return shown, None, None, rest
    total = [value for value in values if value is not None]
    named = source.name != source.symbol
    while len(rest) >= 3 and _value(rest[1]) is not None:
        unit, value = _unit(rest[2]), _value(rest[1])
        if unit is None or value is None or unit.dimension != source.dimension:
            break
        more = _quantity(format_number(rest[1]), unit.name if named else unit.symbol)
        shown += more if named else f" {more}"
        total = [total[0] + value * unit.factor / source.factor]
        smallest, rest = unit, rest[:1] + rest[3:]
    return shown, total, smallest, rest


def _targets(rest: list[str], source: _Unit) -> list[_Unit]:
    """The units to convert to: several separated by a space, or the usual one for the source."""
    wanted = rest[0] if rest and not rest[0].isdecimal() else ""
    whole = _unit(wanted)
    units = [whole] if whole else [_unit(code) for code in wanted.split()]
    known = [unit for unit in units if unit is not None]
    if not known and source.target and (usual := _unit(source.target)):
        known = [usual]
    return known


def _decimals_asked(rest: list[str], figures: str) -> _Decimals | None:
    """How many decimals the template asks for: -1 for tens, or as many as give these figures."""
    places = [int(value) for value in rest if _PLACES.fullmatch(value)]
    if places:
        return lambda value: places[0]
    if not _FIGURES.fullmatch(figures):
        return None
    more = int(figures) - 1
    return lambda value: min(more - int(f"{value:.{more}e}".partition("e")[2]), _MOST_PLACES)


def _decimals_kept(
    total: list[float], numbers: list[str], source: _Unit, smallest: _Unit | None
) -> Callable[[_Unit], _Decimals]:
    """How many decimals a value keeps: as precise as the source, or the last of its units."""

    def kept(target: _Unit) -> _Decimals:
        if smallest is not None:
            count = max(0, math.ceil(-math.log10(smallest.factor / target.factor)))
        else:
            values = [_converted(value, source, target) for value in total]
            count = max(map(_decimals, values, numbers))
        return lambda value: count

    return kept


def _in_unit(
    total: list[float], joiners: list[str], source: _Unit, target: _Unit, decimals: _Decimals
) -> str:
    values = [_converted(value, source, target) for value in total]
    rounded = [_rounded(value, decimals(value)) for value in values]
    return _quantity(_joined(rounded, joiners), target.symbol)


def _rounded(value: float, places: int) -> str:
    return f"{value:,.{places}f}" if places >= 0 else f"{round(value, places):,.0f}"


def _converted(value: float, source: _Unit, target: _Unit) -> float:
    if source.dimension == "temperature":
        factor, offset = _OFFSETS[source.symbol]
        kelvin = value * factor + offset
        factor, offset = _OFFSETS[target.symbol]
        return (kelvin - offset) / factor
    return value * source.factor / target.factor


def _joined(numbers: list[str], joiners: list[str]) -> str:
    return "".join(a + b for a, b in zip(numbers, [*joiners, ""], strict=False))


def _quantity(number: str, unit: str) -> str:
    """A space separates a number from a symbol, not from a Japanese word."""
    return number + unit if unit >= "\u3000" else f"{number} {unit}"


def _unit(code: str) -> _Unit | None:
    units: Mapping[str, list[Any]] = table()["units"]
    row = units.get(code)
    if row is None:
        return None
    name, dimension, factor, target, *symbol = row
    return _Unit(name, dimension, factor, target, symbol[0] if symbol else name)


def _value(text: str) -> float | None:
    fraction = _FRACTION.fullmatch(text)
    if fraction and len(text) < 30:
        whole, top, bottom = fraction.groups()
        return int(whole or 0) + int(top) / int(bottom)
    if len(text) > 30 or not _NUMBER.fullmatch(text):
        return None
    value = float(text.replace(",", "").replace("−", "-"))
    return value if abs(value) < 1e15 else None


def _decimals(value: float, source: str) -> int:
    """How precisely `source` was written: integers for three digits and more."""
    digits = re.sub(r"[^0-9]", "", source).lstrip("0")
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return min(max(0, max(2, len(digits)) - magnitude - 1), 6)
