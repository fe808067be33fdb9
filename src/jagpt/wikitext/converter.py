"""A page from wikitext to text."""

import re
from functools import lru_cache

from jagpt.wikitext.entities import decode_entities, encode_markup
from jagpt.wikitext.extensions import KeptPieces, remove_extensions
from jagpt.wikitext.functions import PageContext
from jagpt.wikitext.inline import resolve_inline
from jagpt.wikitext.links import Links, resolve_simple_links
from jagpt.wikitext.marks import ALL
from jagpt.wikitext.options import (
    DEFAULT,
    JA_DEFAULT,
    Converted,
    Cut,
    Namespaces,
    WikitextLimitError,
    WikitextOptions,
    expands_beyond,
)
from jagpt.wikitext.repair import repair
from jagpt.wikitext.scanner import scan
from jagpt.wikitext.sections import finish, mark_headings
from jagpt.wikitext.templates import TemplateTable, table
from jagpt.wikitext.voids import cut_voids

_MARKS = re.compile(f"[{ALL}]")
# Controls, lone surrogates, line separators, direction marks, zero-width spaces, noncharacters; not
# the marks of headings, lines and cells, which `finish` still needs.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
    "\ud800-\udfff\ufdd0\ufdd1\ufdd3-\ufdd7\ufdda-\ufdef\ufffe\uffff]"
)
_SHORTEST_LIST = 5
_MOST_PROSE_LINES = 1
_SPACES = re.compile("  +")
_REDIRECT = re.compile(r"\s*+#(?:redirect|転送)\s*+:?\s*+\[\[", re.IGNORECASE)
_PAGE_NAME = re.compile(r"\{\{\s*+(?:FULL|BASE|SUB|ARTICLE|SUBJECT|ROOT)?PAGENAME(E?)\s*+\}\}")
_DISAMBIGUATION = re.compile(
    rf"\{{\{{\s*+(?:{'|'.join(map(re.escape, table()['disambiguation']['names']))})\s*+[|}}]",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r"\{\{\{[^{}|]*+\|?([^{}]*+)\}\}\}")


class WikitextConverter:
    """Converts pages with one set of options; it keeps no state between pages."""

    def __init__(
        self, options: WikitextOptions = DEFAULT, namespaces: Namespaces = JA_DEFAULT
    ) -> None:
        self.options = options
        self._templates = TemplateTable(options.templates)
        self._links = Links(namespaces)

    def convert(self, wikitext: str, *, title: str = "") -> Converted:
        """The page's text; WikitextLimitError when the page is too long or too deeply nested.

        `title` is what {{PAGENAME}} shows. A redirect has no text.
        """
        if len(wikitext) > self.options.max_characters:
            raise WikitextLimitError(f"longer than {self.options.max_characters} characters")
        if _REDIRECT.match(wikitext):
            return Converted("", {}, False, False, ())
        options = self.options
        kept = KeptPieces(options.max_characters)
        text = remove_extensions(
            _prepared(wikitext), kept, math=options.math, markdown=options.markdown
        )
        disambiguation = _DISAMBIGUATION.search(text) is not None
        text, categories = self._links.take_categories(text)
        text = mark_headings(
            text,
            self._templates,
            headings=options.headings,
            closing_sections=options.closing_sections,
        )
        if "{{" in text:
            text = _resolve_variables(text, title, options.max_characters)
        page = PageContext(title, kept, options)
        text = resolve_simple_links(text)
        scanned = scan(text, self._templates, self._links, options, page)
        text, list_items, cut = self._polished(scanned.text, kept)
        return Converted(
            text,
            scanned.unknown,
            disambiguation,
            _is_list(text, list_items, markdown=options.markdown),
            _names([*categories, *scanned.categories], kept),
            cut,
        )

    def categories(self, wikitext: str) -> tuple[str, ...]:
        """Only a page's own categories, those outside templates, without a conversion."""
        kept = KeptPieces(self.options.max_characters)
        text = remove_extensions(_prepared(wikitext), kept, math=False, markdown=False)
        _, categories = self._links.take_categories(text)
        return _names(categories, kept)

    def _polished(self, text: str, kept: KeptPieces) -> tuple[str, int, Cut]:
        """A scan's final text, its list items, and what was removed with missing values."""
        markdown = self.options.markdown
        text, items = resolve_inline(text, tables=self.options.tables, markdown=markdown)
        text, places, characters = cut_voids(decode_entities(text))
        text = repair(text)
        if "  " in text:
            text = _SPACES.sub(" ", text)
        text = _clean(kept.restore(text))
        return finish(text, markdown=markdown), items, Cut(places, characters)


def to_text(
    wikitext: str,
    *,
    title: str = "",
    options: WikitextOptions = DEFAULT,
    namespaces: Namespaces = JA_DEFAULT,
) -> Converted:
    """One page as text; see `WikitextConverter.convert`."""
    return shared_converter(options, namespaces).convert(wikitext, title=title)


def shared_converter(options: WikitextOptions, namespaces: Namespaces) -> WikitextConverter:
    """The converter for these options; creating one takes about 50 ms."""
    return _converter(_Settings(options, namespaces))


class _Settings:
    """Options as a key; two are equal if they convert alike."""

    def __init__(self, options: WikitextOptions, namespaces: Namespaces) -> None:
        self.options = options
        self.namespaces = namespaces

    def __hash__(self) -> int:
        return hash((self.namespaces, self.options.max_characters, len(self.options.templates)))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Settings)
            and self.options == other.options
            and self.namespaces == other.namespaces
        )


@lru_cache(maxsize=8)
def _converter(settings: _Settings) -> WikitextConverter:
    return WikitextConverter(settings.options, settings.namespaces)


def _prepared(wikitext: str) -> str:
    """`wikitext` after a newline, so that its first line is like any other, and free of marks."""
    if "\r" in wikitext:
        wikitext = wikitext.replace("\r\n", "\n").replace("\r", "\n")
    if any(mark in wikitext for mark in ALL):
        wikitext = _MARKS.sub("", wikitext)
    return "\n" + wikitext


def _resolve_variables(text: str, title: str, limit: int) -> str:
    if "PAGENAME" in text:
        title = _MARKS.sub("", title).replace("\n", " ")
        names = {"": encode_markup(title), "E": encode_markup(title.replace(" ", "_"))}
        pieces = _PAGE_NAME.split(text)
        pieces[1::2] = [names[form] for form in pieces[1::2]]
        if sum(map(len, pieces[1::2])) > limit:
            raise expands_beyond(limit)
        text = "".join(pieces)
    if "{{{" in text:
        text = _PARAMETER.sub(r"\1", text)
    return text


def _is_list(text: str, items: int, *, markdown: bool) -> bool:
    """Blank lines and headings are not counted; in plain text a section adds one of each."""
    if markdown:
        lines = sum(1 for line in text.split("\n") if line and not line.startswith("#"))
    else:
        lines = text.count("\n") + 1 - 2 * text.count("\n\n")
    return items >= _SHORTEST_LIST and lines - items <= _MOST_PROSE_LINES


def _names(categories: list[str], kept: KeptPieces) -> tuple[str, ...]:
    return tuple(_clean(kept.restore(decode_entities(name))).strip() for name in categories)


def _clean(text: str) -> str:
    return _UNWANTED.sub("", text) if _UNWANTED.search(text) else text
