"""{{#expr:…}}: the arithmetic of MediaWiki's ParserFunctions, in floating point and bounded.

Precedence and words as in its ExprParser: unary and words like `sqrt` bind most, then `^`, `* / div
mod`, `+ -`, `round`, comparisons, `and`, `or`. Source: mediawiki.org,
Help:Extension:ParserFunctions.
"""

import math
import re
from collections.abc import Callable

LONGEST = 2_000
"""Longest expression that is evaluated; a typical one has about 50 characters."""
_TOKEN = re.compile(
    r"\s*(?:([0-9][0-9,]*(?:\.[0-9]*)?|\.[0-9]+)|([A-Za-z]+)|(<=|>=|<>|!=|[-+*/^()=<>−×÷]))"
)
_BINARY: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "e": (10, lambda a, b: a * _power(10.0, b)),
    "^": (8, lambda a, b: _power(a, b)),
    "*": (7, lambda a, b: a * b),
    "/": (7, lambda a, b: a / b),
    "mod": (7, lambda a, b: math.fmod(int(a), int(b))),
    "fmod": (7, math.fmod),
    "+": (6, lambda a, b: a + b),
    "-": (6, lambda a, b: a - b),
    "round": (5, lambda a, b: _rounded(a, b)),
    "=": (4, lambda a, b: float(a == b)),
    "<": (4, lambda a, b: float(a < b)),
    ">": (4, lambda a, b: float(a > b)),
    "<=": (4, lambda a, b: float(a <= b)),
    ">=": (4, lambda a, b: float(a >= b)),
    "!=": (4, lambda a, b: float(a != b)),
    "and": (3, lambda a, b: float(bool(a) and bool(b))),
    "or": (2, lambda a, b: float(bool(a) or bool(b))),
}
_UNARY: dict[str, Callable[[float], float]] = {
    "+": lambda a: a,
    "-": lambda a: -a,
    "not": lambda a: float(not a),
    "sqrt": math.sqrt,
    "abs": abs,
    "trunc": math.trunc,
    "floor": math.floor,
    "ceil": math.ceil,
    "ln": math.log,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
}
_SAME = {"div": "/", "<>": "!=", "−": "-", "×": "*", "÷": "/"}
_CONSTANTS = {"pi": math.pi, "e": math.e}
_OPENING, _CLOSING = "(", ")"
_UNARY_BINDS = 9


def evaluate(expression: str) -> float | None:
    """The value of `expression`; None for one that is wrong, too long or has no finite value."""
    if len(expression) > LONGEST:
        return None
    try:
        value = _value(_tokens(expression))
    except (ArithmeticError, ValueError, IndexError, TypeError):
        return None
    return value if math.isfinite(value) else None


def shown(value: float) -> str:
    """A number as PHP prints it: 14 significant digits, whole ones without a point."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    mantissa, e, exponent = f"{value:.14g}".partition("e")
    if not e:
        return mantissa
    return f"{mantissa}{'' if '.' in mantissa else '.0'}E{int(exponent):+d}"


def _tokens(expression: str) -> list[str | float]:
    tokens: list[str | float] = []
    position, end = 0, len(expression.rstrip())
    while position < end:
        match = _TOKEN.match(expression, position)
        if match is None:
            raise ValueError(expression)
        position = match.end()
        number, word, sign = match.groups()
        if number:
            tokens.append(float(number.replace(",", "")))
        else:
            name = (word or sign).lower()
            tokens.append(_SAME.get(name, name))
    return tokens


def _value(tokens: list[str | float]) -> float:
    """Shunting-yard: operands on one stack, operators on the other."""
    operands: list[float] = []
    operators: list[tuple[int, str, bool]] = []
    wants_operand = True
    for token in tokens:
        if isinstance(token, float):
            _expect(wants_operand)
            operands.append(token)
            wants_operand = False
        elif token in _CLOSING:
            _expect(not wants_operand)
            _reduce(operands, operators, 0)
            operators.pop()
        elif wants_operand:
            wants_operand = _prefix(token, operands, operators)
        else:
            precedence = _BINARY[token][0] if token in _BINARY else _fail(token)
            _reduce(operands, operators, precedence)
            operators.append((precedence, token, False))
            wants_operand = True
    _reduce(operands, operators, 0)
    if operators or len(operands) != 1:
        raise ValueError("unbalanced")
    return operands[0]


def _prefix(token: str, operands: list[float], operators: list[tuple[int, str, bool]]) -> bool:
    """Take a bracket, a constant or a unary operator; returns whether an operand is still due."""
    if token in _CONSTANTS:
        operands.append(_CONSTANTS[token])
        return False
    if token in _OPENING:
        operators.append((-1, token, False))
    elif token in _UNARY:
        operators.append((_UNARY_BINDS, token, True))
    else:
        _fail(token)
    return True


def _reduce(operands: list[float], operators: list[tuple[int, str, bool]], precedence: int) -> None:
    """Apply operators that bind at least as tightly as `precedence`, down to an open bracket."""
    while operators and operators[-1][0] >= max(precedence, 0):
        _, name, unary = operators.pop()
        last = operands.pop()
        operands.append(
            float(_UNARY[name](last)) if unary else float(_BINARY[name][1](operands.pop(), last))
        )


def _expect(right: bool) -> None:
    if not right:
        raise ValueError("an operator is missing")


def _fail(token: str) -> int:
    raise ValueError(token)


def _power(base: float, exponent: float) -> float:
    value = math.pow(base, exponent)
    if math.isinf(value):
        raise OverflowError
    return value


def _rounded(value: float, digits: float) -> float:
    """Halves round away from zero, as in PHP."""
    places = int(digits)
    if abs(places) > 30:
        return value if places > 0 else 0.0
    scaled = float(repr(value * 10**places)) if places >= 0 else value / 10**-places
    whole = math.floor(abs(scaled) + 0.5 + 1e-9)
    return math.copysign(whole / 10**places if places >= 0 else whole * 10**-places, value)
