"""Templates, links and tables: one pass over their brackets with an explicit stack.

The text is split at its brackets once. What is left out (an infobox, a file, a table) is skipped to
its closing bracket without a look inside; what is rendered becomes a frame on the stack. A bracket
that nothing closes is struck out: the first skip that runs into the end notes every opener that is
still waiting, so no stretch is searched twice.
"""

import re
from dataclasses import dataclass, field

from jagpt.wikitext.links import LinkKind, Links
from jagpt.wikitext.marks import GAP
from jagpt.wikitext.options import WikitextLimitError, WikitextOptions
from jagpt.wikitext.tables import table_text
from jagpt.wikitext.templates import Policy, TemplateTable, normal_name, parse_arguments

_BRACKETS = re.compile(r"(\{\{|\}\}|\[\[|\]\])")
_BRACKETS_AND_TABLES = re.compile(
    r"(\{\{|\}\}|\[\[|\]\]|\n[ \t:*#]*+\{\||\n[ \t]*+\|\}(?!\})|<table\b[^<>]*+>|</table\s*+>)",
    re.IGNORECASE,
)
_TABLE_HINT = re.compile(r"\n[ \t:*#]*+\{\||<table", re.IGNORECASE)
_LONGEST_NAME = 80


@dataclass
class Scanned:
    """The text of a scan, and what the scan saw."""

    text: str
    unknown: dict[str, int] = field(default_factory=dict)
    categories: list[str] = field(default_factory=list)


def scan(text: str, templates: TemplateTable, links: Links, options: WikitextOptions) -> Scanned:
    """`text` with its brackets resolved; WikitextLimitError when they nest beyond `max_depth`."""
    has_tables = _TABLE_HINT.search(text) is not None
    parts = (_BRACKETS_AND_TABLES if has_tables else _BRACKETS).split(text)
    if len(parts) == 1:
        return Scanned(text)
    tokens = (
        [_table_token(t) if len(t) > 2 else t for t in parts[1::2]] if has_tables else parts[1::2]
    )
    return _Scan(tokens, parts[::2], templates, links, options).run()


def _table_token(token: str) -> str:
    if token.startswith("<"):
        return "|}" if token.startswith("</") else "{|"
    return token[-2:]


def _render(policy: Policy | None, inner: str) -> str:
    if policy is None or policy.rule is None:
        return ""
    _, bar, body = inner.partition(":" if policy.colon else "|")
    return policy.rule(parse_arguments(body) if bar else {})


@dataclass(slots=True)
class _Frame:
    """A bracket that is still open."""

    opener: str
    policy: Policy | None
    outer: list[str]
    """The pieces of what surrounds the frame."""


class _Scan:
    """The state of one page's pass. `texts[k + 1]` is what follows `tokens[k]`."""

    def __init__(
        self,
        tokens: list[str],
        texts: list[str],
        templates: TemplateTable,
        links: Links,
        options: WikitextOptions,
    ) -> None:
        self._tokens = tokens
        self._texts = texts
        self._templates = templates
        self._links = links
        self._options = options
        self._out: list[str] = [texts[0]]
        self._stack: list[_Frame] = []
        self._open = {"{{": 0, "[[": 0, "{|": 0}
        self._strays: set[int] = set()
        self._result = Scanned("")

    def run(self) -> Scanned:
        steps = {
            "{{": self._open_template,
            "}}": self._close_template,
            "[[": self._open_link,
            "]]": self._close_link,
            "{|": self._open_table,
            "|}": self._close_table,
        }
        tokens = self._tokens
        k, count = 0, len(tokens)
        while k < count:
            k = steps[tokens[k]](k)
        pieces = [piece for frame in self._stack for piece in frame.outer]
        self._result.text = "".join(pieces + self._out)
        return self._result

    def _open_template(self, k: int) -> int:
        body = self._texts[k + 1]
        if k in self._strays:
            return self._emit(body, k)
        name = body.partition("|")[0]
        policy = self._templates.find(name)
        if policy is not None and policy.rule is not None:
            return self._push("{{", policy, body, k)
        end = self._skip(k, "{{", "}}")
        if not end:
            return self._emit(body, k)
        if policy is None:
            self._count_unknown(name, k, end)
        self._out.append(GAP if policy is None or policy.gap else "")
        return self._emit(self._texts[end + 1], end)

    def _close_template(self, k: int) -> int:
        if self._open["{{"]:
            frame, inner = self._pop("{{")
            text = _render(frame.policy, inner) or GAP
            if self._stack:
                # What a template shows can no longer part the arguments around it.
                text = text.replace("|", "&#124;").replace("=", "&#61;")
            self._out.append(text)
        return self._emit(self._texts[k + 1], k)

    def _open_link(self, k: int) -> int:
        body = self._texts[k + 1]
        kind = self._links.kind(body)
        if kind is LinkKind.PAGE or (kind is LinkKind.FILE and self._options.captions):
            return self._push("[[", None, body, k)
        if k in self._strays or not (end := self._skip(k, "[[", "]]")):
            return self._emit(f"{GAP}\n{body.partition(chr(10))[2]}", k)
        if kind is LinkKind.CATEGORY:
            self._result.categories.append(self._links.category_name(body))
        self._out.append(GAP if kind is LinkKind.FILE else "")
        return self._emit(self._texts[end + 1], end)

    def _close_link(self, k: int) -> int:
        if self._stack and self._stack[-1].opener == "[[":
            _, inner = self._pop("[[")
            self._out.append(self._links.render(inner))
        return self._emit(self._texts[k + 1], k)

    def _open_table(self, k: int) -> int:
        if self._options.tables:
            return self._push("{|", None, self._texts[k + 1], k)
        end = 0 if k in self._strays else self._skip(k, "{|", "|}")
        if not end:
            return self._emit("\n" + self._texts[k + 1].partition("\n")[2], k)
        return self._emit("\n" + self._texts[end + 1], end)

    def _close_table(self, k: int) -> int:
        if self._open["{|"]:
            _, inner = self._pop("{|")
            self._out.append(f"\n{table_text(inner)}\n")
        return self._emit("\n" + self._texts[k + 1], k)

    def _emit(self, text: str, k: int) -> int:
        self._out.append(text)
        return k + 1

    def _push(self, opener: str, policy: Policy | None, body: str, k: int) -> int:
        if len(self._stack) >= self._options.max_depth:
            raise self._too_deep()
        self._stack.append(_Frame(opener, policy, self._out))
        self._open[opener] += 1
        self._out = [body]
        return k + 1

    def _pop(self, opener: str) -> tuple[_Frame, str]:
        """The innermost frame of `opener` and its text; unclosed ones inside lose their bracket."""
        while True:
            frame = self._stack.pop()
            self._open[frame.opener] -= 1
            inner, self._out = self._out, frame.outer
            if frame.opener == opener:
                return frame, "".join(inner)
            self._out.extend(inner)

    def _skip(self, k: int, opener: str, closer: str) -> int:
        """The token that closes token `k`; 0, which closes nothing, when there is none."""
        waiting: list[int] = []
        for j in range(k, len(self._tokens)):
            token = self._tokens[j]
            if token == opener:
                if j not in self._strays:
                    waiting.append(j)
                    if len(waiting) > self._options.max_depth:
                        raise self._too_deep()
            elif token == closer:
                waiting.pop()
                if not waiting:
                    return j
        self._strays.update(waiting)
        return 0

    def _too_deep(self) -> WikitextLimitError:
        return WikitextLimitError(f"nested deeper than {self._options.max_depth} levels")

    def _count_unknown(self, name: str, start: int, end: int) -> None:
        name = normal_name(name).partition(":")[0]
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            name = "(no name)"
        lost = sum(map(len, self._texts[start + 1 : end + 1])) + 2 * (end - start + 1)
        self._result.unknown[name] = self._result.unknown.get(name, 0) + lost
