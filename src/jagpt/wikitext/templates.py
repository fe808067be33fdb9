"""Which template becomes what: the table in templates.toml, compiled.

A rule is a function from a template's arguments to text. Names that no row knows are told apart
from those that a row drops, so that the corpus can count what was lost to them.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Arguments = dict[str, str]
"""A template's arguments by name; unnamed ones are "1", "2", …"""
Rule = Callable[[Arguments], str]


@dataclass(frozen=True)
class Policy:
    """What a name stands for: a rule, or nothing to show."""

    rule: Rule | None = None
    gap: bool = True
    """Something visible is missing where a template without a rule stood."""
    colon: bool = False
    """A parser function: its first argument follows a colon."""


DROPPED = Policy()
INVISIBLE = Policy(gap=False)


@cache
def table() -> dict[str, Any]:
    """templates.toml, read once."""
    return tomllib.loads(
        files("jagpt.wikitext").joinpath("templates.toml").read_text(encoding="utf-8")
    )


def normal_name(name: str) -> str:
    """A name as MediaWiki compares it: one space between words, the first letter's case ignored."""
    name = " ".join(name.replace("_", " ").split())
    return name[:1].upper() + name[1:]


def parse_arguments(body: str) -> Arguments:
    """The arguments in what follows a template's name and first bar, without outer white space."""
    arguments: Arguments = {}
    position = 0
    for part in body.split("|"):
        name, equals, value = part.partition("=")
        if equals:
            arguments[name.strip()] = value.strip()
        else:
            position += 1
            arguments[str(position)] = part.strip()
    return arguments


class TemplateTable:
    """Finds the policy for a template's name; the user's own rows come first.

    A user's row is a name and a format, or "" to drop the template. Raises ValueError for a format
    that has a field or group left open.
    """

    def __init__(self, extra: Mapping[str, str]) -> None:
        from jagpt.wikitext.renderers import named_rule

        data = table()
        self._named_rule = named_rule
        self._exact: dict[str, Policy] = {}
        self._functions: dict[str, Policy] = {}
        self._prefixes: list[tuple[str, str]] = []
        for name, country in data["countries"].items():
            self._add(name, constant(country))
        for name in [*data["disambiguation"]["names"], *data["dropped"]["names"]]:
            self._add(name, None)
        for name in data["invisible"]["names"]:
            self._add(name, None, gap=False)
        for row in data["rendered"]:
            for name in row.get("names", ()):
                self._add(name, self._rule_of_row(row, name))
            self._prefixes += [
                (normal_name(prefix), row["function"]) for prefix in row.get("prefixes", ())
            ]
        for name, form in extra.items():
            self._add(name, compile_format(form) if form else None)
        self._dropped_prefixes = tuple(map(normal_name, data["dropped"]["prefixes"]))
        self._dropped_suffixes = tuple(data["dropped"]["suffixes"])
        self._seen: dict[str, Policy] = {}

    def find(self, raw: str) -> Policy | None:
        """The policy for a name as it stands between braces, None when nothing is known of it."""
        policy = self._seen.get(raw)
        if policy is None:
            policy = self._look_up(raw)
            # A function carries its argument in the name: remembering those would never end.
            if policy is not None and ":" not in raw and len(self._seen) < _MOST_REMEMBERED:
                self._seen[raw] = policy
        return policy

    def _look_up(self, raw: str) -> Policy | None:
        name = normal_name(raw)
        if name.startswith(("Template:", "テンプレート:")):
            name = normal_name(name.partition(":")[2])
        policy = self._exact.get(name)
        if policy is not None:
            return policy
        head, colon, _ = name.partition(":")
        if colon and head.lower() in self._functions:
            return self._functions[head.lower()]
        for prefix, function in self._prefixes:
            if name.startswith(prefix):
                return Policy(self._named_rule(function, name))
        if name.startswith(self._dropped_prefixes) or name.endswith(self._dropped_suffixes):
            return DROPPED
        return None

    def _add(self, name: str, rule: Rule | None, *, gap: bool = True) -> None:
        if name.endswith(":"):
            self._functions[name[:-1].lower()] = Policy(rule, gap, colon=True)
        else:
            self._exact[normal_name(name)] = Policy(rule, gap)

    def _rule_of_row(self, row: Mapping[str, Any], name: str) -> Rule:
        if "text" in row:
            return constant(row["text"])
        if "format" in row:
            return compile_format(row["format"])
        return self._named_rule(row["function"], normal_name(name))


def constant(text: str) -> Rule:
    """A rule that looks at no argument."""
    return lambda arguments: text


_MOST_REMEMBERED = 50_000
_FIELD = re.compile(r"\{[^{}]*\}")
_LIST_FIELD = re.compile(r"(\d*)\*(.*)", re.DOTALL)
_TOKEN = re.compile(r"(\{[^{}]*\}|[<>])")
_SIMPLE = re.compile(r"\{(\d)\}")


@cache
def compile_format(form: str) -> Rule:
    """A format as a rule; the fields are explained at the top of templates.toml.

    Raises ValueError when a brace or an angle bracket is left open.
    """
    simple = _SIMPLE.fullmatch(form)
    if simple:
        key = simple[1]
        return lambda arguments: arguments.get(key, "")
    tokens = [token for token in _TOKEN.split(form) if token]
    unpaired = tokens.count("<") != tokens.count(">")
    rule = _sequence(tokens)
    if unpaired or tokens or re.search("[{}]", _FIELD.sub("", form)):
        raise ValueError(f"template format {form!r}: a brace or angle bracket has no partner")
    return rule


def _sequence(pieces: list[str], *, group: bool = False) -> Rule:
    """The rule for the head of `pieces`, which it takes off; a group is empty when a field is."""
    rules: list[Rule] = []
    fields: list[Rule] = []
    while pieces and pieces[0] != ">":
        piece = pieces.pop(0)
        if piece == "<":
            rules.append(_sequence(pieces, group=True))
            del pieces[:1]
        elif piece.startswith("{"):
            fields.append(_field(piece[1:-1]))
            rules.append(fields[-1])
        else:
            rules.append(constant(piece))
    if group:
        return lambda arguments: (
            _joined(rules, arguments) if all(f(arguments) for f in fields) else ""
        )
    return lambda arguments: _joined(rules, arguments)


def _joined(rules: list[Rule], arguments: Arguments) -> str:
    return "".join([rule(arguments) for rule in rules])


def _field(names: str) -> Rule:
    listed = _LIST_FIELD.fullmatch(names)
    if listed:
        first, separator = int(listed[1] or 1), listed[2]
        return lambda arguments: separator.join(_numbered(arguments, first))
    keys = names.split("|")
    return lambda arguments: next((arguments[key] for key in keys if arguments.get(key)), "")


def _numbered(arguments: Arguments, first: int) -> list[str]:
    return [
        value for key, value in arguments.items() if value and _is_number(key) and int(key) >= first
    ]


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) < 5
