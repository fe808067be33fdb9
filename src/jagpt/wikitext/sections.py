"""Headings and lines: which sections stay, and the page's final form."""

import re
from functools import lru_cache

from jagpt.wikitext.languages import language_name
from jagpt.wikitext.markdown import blocks, heading
from jagpt.wikitext.marks import HEADING
from jagpt.wikitext.templates import TemplateTable, numbered, parse_arguments, table

_HEADING = re.compile(r"\n(=[^\n]*+)")
_TITLE_MARKUP = re.compile(r"<[^<>]*>|[\[\]'\s:：]")
_TEMPLATE = re.compile(r"\{\{([^{}|]*+)([^{}]*+)\}\}")
_TITLE_PARTS = re.compile(r"[・、,/／&＆･]|および|及び|ならびに|と(?!は)|and")
_TEMPLATE_TITLE = re.compile(r"\{\{([^{}|]++)(?:\|([^{}|]*+))?+[^{}]*+\}\}")
_BR = re.compile(r"<br\b[^<>]*+>", re.IGNORECASE)
_CLOSING = frozenset(re.sub(r"\s", "", title).lower() for title in table()["sections"]["closing"])
_LEVELS = frozenset("123456")
_LONGEST_CLOSING = 1_000


def mark_headings(
    text: str, templates: TemplateTable, *, headings: bool, closing_sections: bool
) -> str:
    """`text`, which begins with a newline, with its headings marked and closing sections left
    out.
    """
    parts = _HEADING.split(text)
    if len(parts) == 1:
        return text
    out = [parts[0]]
    dropping = 0
    for line, body in zip(parts[1::2], parts[2::2], strict=True):
        level, title = _parse_heading(line)
        if not level:
            if not dropping:
                out.append(f"\n{line}{body}")
            continue
        if dropping and level > dropping:
            continue
        if "{{" in title:
            title = _TEMPLATE_TITLE.sub(_named, title)
        dropping = level if not closing_sections and _is_closing(title, templates) else 0
        if not dropping:
            shown = _BR.sub(" ", title) if headings else ""
            out.append(f"\n{HEADING}{level}{shown}\n{body}")
    return "".join(out)


def _parse_heading(line: str) -> tuple[int, str]:
    """A heading's level and title; level 0 for a line that is not a heading."""
    line = line.rstrip()
    level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")), 6)
    title = line[level:-level].strip() if len(line) > 2 * level else ""
    return (level, title) if title else (0, "")


def _named(match: re.Match[str]) -> str:
    """Wiktionary's headings are templates: {{ja}}, {{noun}}, {{L|en}}; not those with a text of
    their own, {{lang|en|Yesterday}}.
    """
    name = match[1].strip()
    arguments = numbered(parse_arguments(match[0][2:-2].partition("|")[2]))
    found = ""
    if name in ("L", "l", "lang", "Lang", "head", "H"):
        found = language_name(arguments[0]) if len(arguments) == 1 else ""
    elif all(map(language_name, arguments)):
        found = table()["headings"].get(name.lower()) or ("" if arguments else language_name(name))
    return found or match[0]


def _is_closing(title: str, templates: TemplateTable) -> bool:
    if len(title) > _LONGEST_CLOSING:
        return False
    if "{{" in title:
        title = _TEMPLATE.sub(lambda match: match[0] if _has_text(match, templates) else "", title)
    return _names_closing(title)


def _has_text(match: re.Match[str], templates: TemplateTable) -> bool:
    """Whether a template is a word of its title, which {{Anchors|…}} and {{要出典|…}} are not."""
    policy = templates.find(match[1])
    if policy is None:
        return bool(numbered(parse_arguments(match[2][1:])))
    return policy.shows and bool(match[2])


@lru_cache(maxsize=4096)
def _names_closing(title: str) -> bool:
    words = [word for word in _TITLE_PARTS.split(_TITLE_MARKUP.sub("", title)) if word]
    return bool(words) and all(word.lower() in _CLOSING for word in words)


def finish(text: str, *, markdown: bool = False) -> str:
    """The lines of `text`, a blank line before each section; a heading with nothing below it is
    removed.
    """
    lines_of = blocks if markdown else _lines
    below = "\n\n" if markdown else "\n"
    lead, *sections = text.split(HEADING)
    parts: list[str] = []
    next_level = 0
    for section in reversed(sections):
        level = int(section[0]) if section[:1] in _LEVELS else 6
        title, _, body = section[1:].partition("\n")
        lines = lines_of(body)
        if lines or next_level > level:
            title = heading(level, title.strip()) if markdown else title.strip()
            parts.append(below.join(filter(None, [title, lines])))
            next_level = level
    parts.append(lines_of(lead))
    return "\n\n".join(filter(None, reversed(parts)))


def _lines(text: str) -> str:
    return "\n".join(filter(None, map(str.strip, text.split("\n"))))
