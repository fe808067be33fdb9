"""Which template becomes what: the table in templates.toml, compiled.

A rule is a function from a template's arguments to text. Unknown names are distinguished from
those that a row drops, so that the corpus can count what was lost to them.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from jagpt.wikitext.functions import FUNCTIONS, Function, PageContext
from jagpt.wikitext.marks import GAP, VOID

Arguments = dict[str, str]
"""A template's arguments by name; unnamed ones are "1", "2", …"""
Rule = Callable[[Arguments], str]


@dataclass(frozen=True)
class Policy:
    """What a name stands for: a rule, a parser function, or a mark for what is left out."""

    rule: Rule | None = None
    mark: str = GAP
    """What replaces a template without a rule, or one whose rule gives nothing."""
    function: Function | None = None
    """A parser function: its first argument follows a colon."""
    where: Literal["anywhere", "word", "line"] = "anywhere"
    """Shown only within a sentence, or only at the beginning of a line."""
    label: str = ""
    """Its text as a link or before a colon, if its rule gives nothing."""
    apart: bool = False
    """A number that a space separates from a number before it."""

    @property
    def shows(self) -> bool:
        return self.rule is not None or self.function is not None


DROPPED = Policy()
INVISIBLE = Policy(mark="")
MISSING = Policy(mark=VOID)


@cache
def table() -> dict[str, Any]:
    """templates.toml, read once."""
    return _read("templates.toml")


@cache
def countries() -> dict[str, str]:
    """Japanese names of countries and their parts by code and by English name."""
    data = _read("countries.toml")
    return {
        key: name
        for section in ("countries", "subdivisions")
        for name, keys in data[section].items()
        for key in keys
    }


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(files("jagpt.wikitext").joinpath(name).read_text(encoding="utf-8"))


def normal_name(name: str) -> str:
    """A name as MediaWiki compares it: one space between words, the first letter's case ignored."""
    name = " ".join(name.replace("_", " ").split())
    return name[:1].upper() + name[1:]


def plain_name(name: str) -> str:
    """`name` without meaningless prefixes: subst: and the template namespace."""
    return _NAMESPACE.sub("", name, count=1)


def parse_arguments(body: str) -> Arguments:
    """The arguments in what follows a template's name and first bar, without surrounding white
    space.
    """
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


def is_furniture(body: str) -> bool:
    """Whether a template alone on its lines looks like one without text: no arguments, like a
    navigation box, or those of an infobox, named and one per line."""
    return "|" not in body or _BOX.match(body) is not None


class TemplateTable:
    """Finds the policy for a template's name; the user's own rows come first.

    A user's row is a name and a format, or "" to drop the template. Raises ValueError for a format
    with an unclosed field or group.
    """

    def __init__(self, extra: Mapping[str, str]) -> None:
        from jagpt.wikitext.renderers import named_rule

        data = table()
        self._named_rule = named_rule
        self._exact: dict[str, Policy] = {}
        self._functions = {name: Policy(function=rule) for name, rule in FUNCTIONS.items()}
        self._prefixes: list[tuple[str, Policy | str]] = []
        self._suffixes: list[tuple[str, Policy]] = []
        for code, country in countries().items():
            if code.isascii() and (len(code) > 2 or code in _SHORT_CODES):
                self._add(code, Policy(constant(country)))
        for name in [*data["disambiguation"]["names"], *data["dropped"]["names"]]:
            self._add(name, DROPPED)
        for name in data["invisible"]["names"]:
            self._add(name, INVISIBLE)
        for name in data["missing"]["names"]:
            self._add(name, MISSING)
        self._prefixes += [(normal_name(name), MISSING) for name in data["missing"]["prefixes"]]
        for code in data["languages"]:
            rule = named_rule("language_tag", code)
            self._add(code, Policy(rule, label=data["languages"][code]))
        for row in data["rendered"]:
            self._add_row(row)
        for name, form in extra.items():
            self._add(name, Policy(compile_format(form)) if form else DROPPED)
        self._dropped_prefixes = tuple(map(normal_name, data["dropped"]["prefixes"]))
        self._dropped_suffixes = tuple(data["dropped"]["suffixes"])
        self._seen: dict[str, Policy] = {}
        self.columns = Policy(named_rule("columns", ""))

    def find(self, raw: str) -> Policy | None:
        """The policy for a name between braces, None if it is unknown."""
        policy = self._seen.get(raw)
        if policy is None:
            policy = self._look_up(raw)
            # A function carries its argument in the name: the cache would grow without bound.
            short = ":" not in raw and len(raw) <= _LONGEST_REMEMBERED
            if policy is not None and short and len(self._seen) < _MOST_REMEMBERED:
                self._seen[raw] = policy
        return policy

    def _look_up(self, raw: str) -> Policy | None:
        name = normal_name(plain_name(raw))
        policy = self._exact.get(name)
        if policy is not None:
            return policy
        head, colon, _ = name.partition(":")
        if colon and head.lower() in self._functions:
            return self._functions[head.lower()]
        for prefix, found in self._prefixes:
            if name.startswith(prefix):
                return found if isinstance(found, Policy) else Policy(self._named_rule(found, name))
        for suffix, policy in self._suffixes:
            if name.endswith(suffix):
                return policy
        if name.startswith(self._dropped_prefixes) or name.endswith(self._dropped_suffixes):
            return DROPPED
        code = _CODE_OF_A_TIME.fullmatch(name)
        return self._exact.get(code[1]) if code and code[1] in countries() else None

    def _add_row(self, row: Mapping[str, Any]) -> None:
        settings: dict[str, Any] = {key: row[key] for key in ("where", "apart") if key in row}
        for name in row.get("names", ()):
            self._add(name, Policy(self._rule_of_row(row, name), **settings))
        for prefix in row.get("prefixes", ()):
            shown = row.get("function") or Policy(self._rule_of_row(row, prefix), **settings)
            if isinstance(shown, str) and settings:
                shown = Policy(self._named_rule(shown, normal_name(prefix)), **settings)
            self._prefixes.append((normal_name(prefix), shown))
        for suffix in row.get("suffixes", ()):
            self._suffixes.append((suffix, Policy(self._rule_of_row(row, suffix), **settings)))

    def _add(self, name: str, policy: Policy) -> None:
        if name.endswith(":") and name != ":":
            rule = policy.rule
            if rule is not None:
                policy = replace(policy, rule=None, function=_as_function(rule))
            self._functions[name[:-1].lower()] = policy
        else:
            self._exact[normal_name(name)] = policy

    def _rule_of_row(self, row: Mapping[str, Any], name: str) -> Rule:
        if "text" in row:
            return constant(row["text"])
        if "default" in row:
            rule, default = compile_format(row["format"]), row["default"]
            return lambda arguments: rule(arguments) or default
        if "format" in row:
            return compile_format(row["format"])
        return self._named_rule(row["function"], normal_name(name))


def _as_function(rule: Rule) -> Function:
    def function(parts: list[str], page: PageContext) -> str:
        return rule(parse_arguments("|".join(parts)))

    return function


def constant(text: str) -> Rule:
    """A rule that ignores its arguments."""
    return lambda arguments: text


_SHORT_CODES = frozenset(("EU", "JP", "UK", "UN", "US"))
"""Codes of two letters that are templates too; {{GR}} is a reference, {{IN}} a word."""
_BOX = re.compile(r"[^|]*+(?:\|\s*+[^|=\n\[\]{}]{1,40}=[^|。]*+){2}")
_MOST_REMEMBERED = 50_000
_LONGEST_REMEMBERED = 200
_NAMESPACE = re.compile(
    r"\s*+(?:(?:safe)?subst:\s*+)?(?::?(?:template|テンプレート|vorlage|틀|模板|样板|樣板)\s*+:)?",
    re.IGNORECASE,
)
# {{JPN1947}}, {{USA1912}}: a flag of that year; {{JPNf}}, {{BRAw}}: a national team.
_CODE_OF_A_TIME = re.compile(r"([A-Z]{3,4})(?:-?[0-9]{1,4}[a-z]?|-flag|f|w|fw|b|bb|v|vw|r|m)")
_FIELD = re.compile(r"\{[^{}]*\}")
_LIST_FIELD = re.compile(r"(\d*)\*(.*)", re.DOTALL)
_TOKEN = re.compile(r"(\{[^{}]*\}|[<>])")
_SIMPLE = re.compile(r"\{(\d)\}")


@cache
def compile_format(form: str) -> Rule:
    """A format as a rule; the fields are explained at the top of templates.toml.

    Raises ValueError if a brace or an angle bracket is left open.
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
    """The rule for the head of `pieces`, which is consumed; a group is empty if one of its fields
    is.
    """
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
        return lambda arguments: separator.join(numbered(arguments, first))
    keys = names.split("|")
    return lambda arguments: next((arguments[key] for key in keys if arguments.get(key)), "")


def numbered(arguments: Arguments, first: int = 1) -> list[str]:
    """The numbered arguments from `first` on that are not empty."""
    return [
        value for key, value in arguments.items() if value and _is_number(key) and int(key) >= first
    ]


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) < 8
