"""Templates, links and tables: one pass over their brackets with an explicit stack.

The text is split at its brackets once. What is left out (an infobox, a file, a table) is skipped to
its closing bracket without looking inside; what is rendered becomes a frame on the stack. An
unclosed bracket is removed: the first skip that reaches the end records every opener still waiting,
so no stretch is searched twice.
"""

import re
from dataclasses import dataclass, field

from jagpt.wikitext.entities import LINE_MARKUP, within_line
from jagpt.wikitext.functions import PageContext
from jagpt.wikitext.links import LinkKind, Links, ends_in_open_url
from jagpt.wikitext.marks import GAP, TABLE_CLOSE, TABLE_OPEN, UNKNOWN
from jagpt.wikitext.options import WikitextLimitError, WikitextOptions, expands_beyond
from jagpt.wikitext.tables import table_text
from jagpt.wikitext.templates import (
    DROPPED,
    Policy,
    TemplateTable,
    is_furniture,
    normal_name,
    parse_arguments,
    plain_name,
)

_BRACKETS = re.compile(r"(\{\{|\}\}|\[\[|\]\])")
_BRACKETS_AND_TABLES = re.compile(
    r"(\{\{|\}\}|\[\[|\]\]|\n[ \t:*#]*+\{\||\n[ \t]*+\|\}(?!\})|<table\b[^<>]*+>|</table\s*+>)",
    re.IGNORECASE,
)
_TABLE_HINT = re.compile(r"\n[ \t:*#]*+\{\||<table", re.IGNORECASE)
_TABLE_HINTS = ("{|", "<t", "<T")  # none of them, so no hint: they are found much faster
_LONGEST_NAME = 80
# {{!}} and the like separate the cells of the table around them.
_TABLE_MARKUP = {"&#124;": "|", "&#124;&#124;": "||", "&#124;-": "\n|-\n"}
# A number, though it be bold or within a tag.
_AFTER_NUMBER = re.compile(rf"[0-9０-９](?:''+|{GAP}|</?[A-Za-z][^<>]*+>)*+\Z")
_HIRAGANA = re.compile("[ぁ-ゖ]")
# What may precede a citation that is a list item, rather than a reference for a statement.
_LINE_START = re.compile(r"(?:^|[\n|])[ \t*#:;]*+(?:[^\n|。、]{1,30}[:：] ?)?$")
_LOOK_BACK = 8
# An unknown template whose first text is a list, or a paragraph, contains the page's own text.
_HOLDS_TEXT = re.compile(
    r"[^|]*+\|\s*+(?:[0-9a-z;. ]{1,8}+\|\s*+)?+"
    r"(?:[*;]|#(?![0-9A-Fa-f]{3})|[^|=。]{10,}+。[^|=。]{10,}+。)"
)


@dataclass
class Scanned:
    """The text of a scan, and what the scan saw."""

    text: str
    unknown: dict[str, int] = field(default_factory=dict)
    categories: list[str] = field(default_factory=list)


def scan(
    text: str, templates: TemplateTable, links: Links, options: WikitextOptions, page: PageContext
) -> Scanned:
    """`text` with its brackets resolved.

    Raises WikitextLimitError if they nest beyond `max_depth`, or expand by more than
    `max_characters`.
    """
    hinted = any(hint in text for hint in _TABLE_HINTS)
    has_tables = hinted and _TABLE_HINT.search(text) is not None
    parts = (_BRACKETS_AND_TABLES if has_tables else _BRACKETS).split(text)
    if len(parts) == 1:
        return Scanned(text)
    tokens = (
        [_table_token(t) if len(t) > 2 else t for t in parts[1::2]] if has_tables else parts[1::2]
    )
    return _Scan(tokens, parts[::2], templates, links, options, page).run()


def _table_token(token: str) -> str:
    if token.startswith("<"):
        return "|}" if token.startswith("</") else "{|"
    return token[-2:]


def _unclosed_links(tokens: list[str]) -> set[int]:
    """The places of [[ without ]]: they nest nothing."""
    waiting: list[int] = []
    for k, bracket in enumerate(tokens):
        if bracket == "[[":
            waiting.append(k)
        elif bracket == "]]" and waiting:
            waiting.pop()
    return set(waiting)


@dataclass(slots=True)
class _Frame:
    """A bracket that is still open."""

    opener: str
    policy: Policy
    outer: list[str]
    """The pieces surrounding the frame."""


class _Scan:
    """The state of one page's pass. `texts[k + 1]` is what follows `tokens[k]`."""

    def __init__(
        self,
        tokens: list[str],
        texts: list[str],
        templates: TemplateTable,
        links: Links,
        options: WikitextOptions,
        page: PageContext,
    ) -> None:
        self._tokens = tokens
        self._texts = texts
        self._templates = templates
        self._links = links
        self._options = options
        self._page = page
        self._grown = 0
        self._out: list[str] = [texts[0]]
        self._stack: list[_Frame] = []
        self._open = {"{{": 0, "[[": 0, "{|": 0}
        self._strays = _unclosed_links(tokens)
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
        policy = self._templates.find(body.partition("|")[0])
        if (
            policy is not None
            and (policy.rule is not None or policy.function is not None)
            and (policy.where != "line" or self._begins_line())
        ):
            return self._push("{{", policy, body, k)
        end = self._skip(k, "{{", "}}")
        if not end:
            return self._emit(body, k)
        if policy is None and _HOLDS_TEXT.match(body):
            return self._push("{{", self._templates.columns, body, k)
        if policy is None and is_furniture(body) and self._alone(end):
            self._out.append(GAP)
        elif policy is None:
            self._count_unknown(body.partition("|")[0], k, end)
            self._out.append(UNKNOWN)
        else:
            self._out.append(GAP if policy.shows else policy.mark)
        return self._emit(self._texts[end + 1], end)

    def _begins_line(self) -> bool:
        """Whether a citation here is a list item."""
        if not self._options.citations or (self._stack and self._stack[-1].opener != "{{"):
            return False
        return _LINE_START.search(self._before()) is not None

    def _before(self) -> str:
        """What precedes on the line, looking back a limited number of characters."""
        before = ""
        for piece in reversed(self._out[-_LOOK_BACK:]):
            before = piece[-_LONGEST_NAME:] + before
            if "\n" in before or len(before) > _LONGEST_NAME:
                break
        return before

    def _alone(self, end: int) -> bool:
        """Whether the lines of the template that ends there contain only templates."""
        following = self._texts[end + 1]
        if following.strip(" \t") and not following.lstrip(" \t").startswith("\n"):
            return False
        return not self._stack and not self._before().rpartition("\n")[2].strip(f" \t{GAP}")

    def _close_template(self, k: int) -> int:
        following = self._texts[k + 1]
        if self._open["{{"]:
            frame, inner = self._pop("{{")
            policy = frame.policy
            text = self._render(policy, inner) or self._label(policy, following)
            if policy.where == "word" and not _HIRAGANA.match(following):
                text = GAP
            if policy.apart and _AFTER_NUMBER.search(self._before()):
                text = f" {text}"
            if len(text) > len(inner):
                self._grow(len(text) - len(inner))
            if policy.rule is not None:
                # a template over several lines may be one around a list
                text = within_line(text, "|" if "\n" in inner else LINE_MARKUP)
            self._out.append(self._escaped(text) if self._stack else text)
        return self._emit(following, k)

    def _label(self, policy: Policy, following: str) -> str:
        """What replaces a template without text: Wiktionary's {{en}}: is a language."""
        if policy.label:
            linked = bool(self._stack) and self._stack[-1].opener == "[["
            if linked or following.startswith((":", "：")):
                return policy.label
        return policy.mark

    def _render(self, policy: Policy, inner: str) -> str:
        if policy.function is not None:
            return policy.function(plain_name(inner).partition(":")[2].split("|"), self._page)
        if policy.rule is None:
            return ""
        _, bar, body = inner.partition("|")
        return policy.rule(parse_arguments(body) if bar else {})

    def _grow(self, characters: int) -> None:
        """A page may expand by at most the number of characters that it may have itself."""
        self._grown += characters
        if self._grown > self._options.max_characters:
            raise expands_beyond(self._options.max_characters)

    def _escaped(self, text: str) -> str:
        """The output of a template, link or table cannot separate the arguments around it."""
        if self._stack[-1].opener == "{|" and text in _TABLE_MARKUP:
            return _TABLE_MARKUP[text]
        return text.replace("|", "&#124;").replace("=", "&#61;")

    def _open_link(self, k: int) -> int:
        body = self._texts[k + 1]
        kind = self._links.kind(body)
        page = kind is LinkKind.PAGE
        if k in self._strays:
            return self._emit(body if page else f"{GAP}\n{body.partition(chr(10))[2]}", k)
        if page or (kind is LinkKind.FILE and self._options.captions):
            return self._push("[[", DROPPED, body, k)
        end = self._skip(k, "[[", "]]")
        if kind is LinkKind.CATEGORY:
            self._result.categories.append(self._links.category_name(body))
        self._out.append(GAP if kind is LinkKind.FILE else "")
        return self._emit(self._texts[end + 1], end)

    def _close_link(self, k: int) -> int:
        if self._stack and self._stack[-1].opener == "[[":
            _, inner = self._pop("[[")
            shown = self._links.render(inner)
            if self._open["{|"]:
                shown = shown.replace("\n", " ")
            shown = within_line(shown)
            self._out.append(self._escaped(shown) if self._open["{{"] else shown)
        elif ends_in_open_url(self._out[-1]):
            self._out.append("]]")
        return self._emit(self._texts[k + 1], k)

    def _open_table(self, k: int) -> int:
        end = 0 if k in self._strays else self._skip(k, "{|", "|}")
        if not end:
            return self._emit(f"\n{TABLE_OPEN}\n" + self._texts[k + 1].partition("\n")[2], k)
        if self._options.tables:
            return self._push("{|", DROPPED, self._texts[k + 1], k)
        return self._emit("\n" + self._texts[end + 1], end)

    def _close_table(self, k: int) -> int:
        if self._open["{|"]:
            _, inner = self._pop("{|")
            markdown = self._options.markdown and not self._open["{|"]
            shown = table_text(inner, markdown=markdown)
            if len(shown) > len(inner):
                self._grow(len(shown) - len(inner))
            self._out.append(f"\n{self._escaped(shown) if self._open['{{'] else shown}\n")
            return self._emit("\n" + self._texts[k + 1], k)
        return self._emit(f"\n{TABLE_CLOSE}\n" + self._texts[k + 1], k)

    def _emit(self, text: str, k: int) -> int:
        self._out.append(text)
        return k + 1

    def _push(self, opener: str, policy: Policy, body: str, k: int) -> int:
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
        """The token that closes token `k`; 0, which closes nothing, if there is none."""
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
        name = normal_name(name)
        if not name.startswith("#invoke:"):
            name = name[:1] + name[1:].partition(":")[0]
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            name = "(no name)"
        lost = sum(map(len, self._texts[start + 1 : end + 1])) + 2 * (end - start + 1)
        self._result.unknown[name] = self._result.unknown.get(name, 0) + lost
