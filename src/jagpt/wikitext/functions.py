"""Parser functions: {{#if:…}}, {{#switch:…}}, {{#expr:…}}, {{lc:…}} and the like.

A function gets the raw pieces between its bars, since an equals sign names nothing here. A value
that depends on one that is not in the dump is `VOID` too. Source: mediawiki.org,
Help:Extension:ParserFunctions and Help:Magic words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from jagpt.wikitext.entities import decode_entities, encode_markup
from jagpt.wikitext.expressions import evaluate, shown
from jagpt.wikitext.extensions import KeptPieces, replace_extension
from jagpt.wikitext.marks import GAP, UNKNOWN, VOID
from jagpt.wikitext.options import WikitextOptions


@dataclass(frozen=True)
class PageContext:
    """What a function may ask about its page."""

    title: str
    kept: KeptPieces
    options: WikitextOptions


Function = Callable[[list[str], PageContext], str]

_MISSING = re.compile(f"[{GAP}{VOID}{UNKNOWN}]")
_LONGEST_PADDING = 500
_NUMBER = re.compile(r"[-+−]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_ERROR = re.compile(r'class="[^"]*\berror\b')
_WRONG = f'<strong class="error">{VOID}</strong>'
"""Where MediaWiki shows what is wrong with an expression."""


def is_missing(text: str) -> bool:
    """Whether a value that is not in the dump is part of `text`."""
    return _MISSING.search(text) is not None


def format_number(number: str) -> str:
    """1234567.8 → 1,234,567.8; anything but a plain number stays."""
    whole, point, fraction = number.partition(".")
    sign = whole[:1] if whole[:1] in ("-", "+", "−") else ""
    digits = whole[len(sign) :]
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 30:
        return number
    return f"{sign}{int(digits):,}{point}{fraction}" if digits[:1] != "0" else number


def _argument(parts: list[str], position: int) -> str:
    return parts[position].strip() if position < len(parts) else ""


def _value(parts: list[str], position: int) -> str:
    """An argument as characters: a template's output may contain bars as references."""
    return decode_entities(_argument(parts, position))


def _if(parts: list[str], page: PageContext) -> str:
    condition = _argument(parts, 0).replace(GAP, "").strip()
    if UNKNOWN in condition and not condition.replace(UNKNOWN, "").strip():
        return _undecided(parts[1:3], UNKNOWN)
    return _argument(parts, 1 if condition else 2)


def _ifeq(parts: list[str], page: PageContext) -> str:
    left, right = _value(parts, 0), _value(parts, 1)
    if is_missing(left) or is_missing(right):
        return _undecided(parts[2:4])
    return _argument(parts, 2 if _equal(left, right) else 3)


def _equal(left: str, right: str) -> bool:
    """Numbers are compared as numbers, as PHP does."""
    if _NUMBER.fullmatch(left) and _NUMBER.fullmatch(right):
        return float(left.replace("−", "-")) == float(right.replace("−", "-"))
    return left == right


def _undecided(branches: list[str], mark: str = VOID) -> str:
    """The result of an undecidable condition: `mark` unless all outcomes are the same."""
    distinct = {branch.strip() for branch in branches}
    return distinct.pop() if len(distinct) == 1 and len(branches) > 1 else mark


def _lost(text: str) -> str:
    """What comes of a number with a value in it that is missing, or wrong."""
    return _WRONG if _ERROR.search(decode_entities(text)) else VOID


def _ifexpr(parts: list[str], page: PageContext) -> str:
    if is_missing(_argument(parts, 0)):
        return _undecided(parts[1:3])
    value = evaluate(_value(parts, 0)) if _argument(parts, 0) else 0.0
    return _WRONG if value is None else _argument(parts, 1 if value else 2)


def _iferror(parts: list[str], page: PageContext) -> str:
    if _ERROR.search(_value(parts, 0)):
        return _argument(parts, 1)
    right = _argument(parts, 2 if len(parts) > 2 else 0)
    return _undecided([_argument(parts, 1), right]) if VOID in parts[0] else right


def _switch(parts: list[str], page: PageContext) -> str:
    """The case that equals the first argument; cases without = fall through to the next one with
    it.
    """
    wanted = _value(parts, 0)
    if is_missing(wanted):
        return VOID
    default, found, defaulting = "", False, False
    for position, part in enumerate(parts[1:], 1):
        name, equals, result = part.partition("=")
        name = decode_entities(name).strip()
        if not equals:
            if position == len(parts) - 1:
                return part.strip()
            found = found or _equal(name, wanted)
            defaulting = defaulting or name == "#default"
        elif found or _equal(name, wanted):
            return result.strip()
        elif defaulting or name == "#default":
            default, defaulting = result.strip(), False
    return default


def _expr(parts: list[str], page: PageContext) -> str:
    expression = _value(parts, 0)
    if is_missing(expression):
        return _lost(expression)
    value = evaluate(expression) if expression else None
    return shown(value) if value is not None else _WRONG if expression else ""


def _formatnum(parts: list[str], page: PageContext) -> str:
    """1234567.8 → 1,234,567.8; R takes the commas out."""
    number = _argument(parts, 0)
    if is_missing(number):
        return _lost(number)
    if _argument(parts, 1).upper() == "R":
        return number.replace(",", "")
    return number if _argument(parts, 1).upper() == "NOSEP" else format_number(number)


def _tag(parts: list[str], page: PageContext) -> str:
    """{{#tag:ref|…}} as the tag itself would show."""
    name = _argument(parts, 0).lower()
    content = decode_entities(_argument(parts, 1)) if name in ("nowiki", "pre") else parts[1:2]
    text = content if isinstance(content, str) else "".join(content)
    attributes = " ".join(part.strip() for part in parts[2:] if "=" in part)
    math, markdown = page.options.math, page.options.markdown
    return replace_extension(name, attributes, text, page.kept, math=math, markdown=markdown)


def _of_characters(compute: Callable[[list[str]], str]) -> Function:
    """A function that counts, cuts or changes characters: it gets those that a reader would see,
    and its result is as little markup as they were.
    """

    def function(parts: list[str], page: PageContext) -> str:
        if any(VOID in part or UNKNOWN in part for part in parts):
            return VOID
        shown = [page.kept.restore(decode_entities(part).replace(GAP, "")) for part in parts]
        result = compute(shown)
        return result if shown == parts else encode_markup(result)

    return function


def _padded(parts: list[str], *, left: bool) -> str:
    text, pad = _argument(parts, 0), _argument(parts, 2) or "0"
    width = _argument(parts, 1)
    count = min(int(width) if width.isdecimal() and len(width) < 5 else 0, _LONGEST_PADDING)
    missing = max(0, count - len(text))
    padding = (pad * (missing // len(pad) + 1))[:missing]
    return padding + text if left else text + padding


def _titleparts(parts: list[str]) -> str:
    pieces = _argument(parts, 0).split("/")
    count, first = _whole(_argument(parts, 1)), _whole(_argument(parts, 2))
    start = first - 1 if first > 0 else len(pieces) + first if first < 0 else 0
    chosen = pieces[max(start, 0) :]
    return "/".join(chosen[:count] if count else chosen)


def _whole(text: str) -> int:
    digits = text.lstrip("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else 0


def _sub(parts: list[str]) -> str:
    text, start, length = _argument(parts, 0), _whole(_argument(parts, 1)), _argument(parts, 2)
    return text[start:][: _whole(length)] if length and _whole(length) else text[start:]


def _replace(parts: list[str]) -> str:
    text, old, new = (_argument(parts, position) for position in range(3))
    found = text.count(old) if old else 0
    return text.replace(old, new) if old and found * len(new) <= len(text) + 1000 else text


def _plural(parts: list[str], page: PageContext) -> str:
    if is_missing(_argument(parts, 0)):
        return VOID
    one = evaluate(_value(parts, 0)) == 1
    return _argument(parts, 1 if one or len(parts) < 3 else 2)


def _page_name(parts: list[str], page: PageContext) -> str:
    """{{PAGENAME:甲}}: the name without its namespace."""
    return _argument(parts, 0)


def _on_first(change: Callable[[str], str]) -> Function:
    return lambda parts, page: change(_argument(parts, 0))


def _nothing(parts: list[str], page: PageContext) -> str:
    return ""


def _void(parts: list[str], page: PageContext) -> str:
    return VOID


FUNCTIONS: dict[str, Function] = {
    "#if": _if,
    "#ifeq": _ifeq,
    "#ifexpr": _ifexpr,
    "#ifexist": lambda parts, page: _undecided(parts[1:3]),
    "#iferror": _iferror,
    "#switch": _switch,
    "#expr": _expr,
    "#tag": _tag,
    "#titleparts": _of_characters(_titleparts),
    "#len": _of_characters(lambda parts: str(len(_argument(parts, 0)))),
    "#sub": _of_characters(_sub),
    "#replace": _of_characters(_replace),
    "#language": _on_first(lambda text: text),
    "#time": _void,
    "#timel": _void,
    "#property": _void,
    "#statements": _void,
    "#dateformat": _on_first(lambda text: text),
    "#formatdate": _on_first(lambda text: text),
    "formatnum": _formatnum,
    "lc": _on_first(str.lower),
    "uc": _on_first(str.upper),
    "lcfirst": _on_first(lambda text: text[:1].lower() + text[1:]),
    "ucfirst": _on_first(lambda text: text[:1].upper() + text[1:]),
    "padleft": _of_characters(lambda parts: _padded(parts, left=True)),
    "padright": _of_characters(lambda parts: _padded(parts, left=False)),
    "plural": _plural,
    "gender": lambda parts, page: _argument(parts, len(parts) - 1),
    "urlencode": _of_characters(lambda parts: quote(_argument(parts, 0))),
    "anchorencode": _on_first(lambda text: text.replace(" ", "_")),
    "pagename": _page_name,
    "ns": _on_first(lambda text: text),
}
"""By the name before the colon, in lower case."""
