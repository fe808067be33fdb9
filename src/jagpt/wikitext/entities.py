"""Character references: &nbsp;, &amp;, &#12354;."""

import re
from html import unescape
from html.entities import html5

# MediaWiki requires the semicolon, browsers don't: "A&notes" is not ¬.
_REFERENCE = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


LINE_MARKUP = "|*#:;"
"""What begins a row or a list item at the beginning of a line, and is text after any tag."""


def within_line(text: str, markup: str = LINE_MARKUP) -> str:
    """`text` that follows a tag: its first character, if it is of `markup`, as a reference."""
    return f"&#{ord(text[0])};{text[1:]}" if text and text[0] in markup else text


def decode_entities(text: str) -> str:
    """`text` with its character references replaced; a non-breaking space becomes a space."""
    if "&" in text:
        text = _REFERENCE.sub(_character, text)
    return text.replace("\xa0", " ") if "\xa0" in text else text


_MARKUP = re.compile(r"[\n!#&'*:;<=>\[\]_{|}~-]")


def encode_markup(text: str) -> str:
    """`text` with a reference for each character that could be markup, of which none then is."""
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", text)


_KNOWN = {"nbsp": "\xa0", "#124": "|", "#61": "=", "amp": "&", "lt": "<", "gt": ">"}


def _character(match: re.Match[str]) -> str:
    name = match[1]
    if name in _KNOWN:
        return _KNOWN[name]
    return unescape(match[0]) if name[0] == "#" else html5.get(f"{name};", match[0])
