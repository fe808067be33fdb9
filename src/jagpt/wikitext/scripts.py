"""Superscripts and subscripts in plain text: 10⁸, H₂O, 10^(n+1), a_(n+1)."""

import re

from jagpt.wikitext.entities import decode_entities

_SUPER = dict(zip("0123456789+-−–=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁼⁽⁾ⁿⁱ", strict=True))
_SUB = dict(zip("0123456789+-−–=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₋₌₍₎", strict=True))
_TAG = re.compile(r"<(su[bp])\b[^<>]*+>([^<>]*+)</\1\s*+>", re.IGNORECASE)
_MADE = "".join(dict.fromkeys([*_SUPER.values(), *_SUB.values()]))
# Numeric content: contains a digit, a sign or a script that was made, and only what formulas are
# made of.
_FORMULA = re.compile(
    rf"(?![\^_])(?=.*[0-9+\-−–{_MADE}^])(?=.*[0-9A-Za-z+\-−–])"
    rf"[0-9A-Za-z{_MADE}^_+\-−–±×·/.,()= π]+"
)
_SIMPLE = re.compile(r"[+\-−–]?[0-9A-Za-z.,]+")
_ORDINALS = frozenset("adeor")
_DEEPEST = 8


def resolve_scripts(text: str) -> str:
    """`text` with the contents of its <sup> and <sub> as Unicode scripts, where they exist."""
    for _ in range(_DEEPEST):  # an inner one first: it is part of what the outer one raises
        text, found = _TAG.subn(_resolve, text)
        if not found:
            break
    return text


def _resolve(match: re.Match[str]) -> str:
    raised = match[1].lower() == "sup"
    start = match.start()
    before = match.string[start - 1 : start]
    content = decode_entities(match[2])
    shown = superscript(content, before) if raised else subscript(content)
    return match[2] if shown == content else shown


def superscript(content: str, before: str = "") -> str:
    """`content` as superscript; `before` is the character before it."""
    raised = _mapped(content, _SUPER)
    if raised and (len(content) > 1 or not content.isalpha() or before.isascii()):
        return raised
    power = content.strip()
    if _FORMULA.fullmatch(power):
        return _marked("^", power)
    if _is_letter(power) and before.isascii() and before.isalnum():
        return content if before.isdigit() and power in _ORDINALS else f"^{power}"
    return content


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text.isalpha()


def subscript(content: str) -> str:
    """`content` as subscript."""
    return _mapped(content, _SUB) or (
        _marked("_", content)
        if content
        and _FORMULA.fullmatch(content)
        and (content[0].isdigit() or not content.isalnum())
        else content
    )


def _mapped(content: str, scripts: dict[str, str]) -> str:
    """`content` in the characters of `scripts`; "" if one of them is missing."""
    found = [scripts.get(character, "") for character in content.strip()]
    return "".join(found) if all(found) else ""


def _marked(mark: str, content: str) -> str:
    return f"{mark}{content}" if _SIMPLE.fullmatch(content) else f"{mark}({content})"
