"""How Sphinx builds the site; `tools/build_site.py` calls it once for each language."""

from __future__ import annotations

import itertools
import re
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.search import SearchLanguage

project = "jagpt"
language = "en"  # build_site.py passes -D language=ja for the other site
locale_dirs = ["locale"]
extensions = ["myst_parser"]
myst_heading_anchors = 4
# What a command prints is no shell: an apostrophe in it is a warning to its lexer.
suppress_warnings = ["misc.highlighting_failure"]
html_theme = "furo"
html_title = "jagpt"
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
templates_path = ["_templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html", "sidebar/search.html", "language.html", "sidebar/scroll-start.html",
        "sidebar/navigation.html", "sidebar/scroll-end.html",
    ]
}  # fmt: skip

JAPANESE = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f"
"""Kana and kanji, as a regular expression's class takes them, here and in JavaScript."""


class Pairs(SearchLanguage):
    """Words of letters and digits; of a run of Japanese, which has no spaces, all pairs.

    A query is cut in the same way, so that a word is found wherever it stands. The search compares
    terms of one or two characters as a whole, so single characters are in the index too.
    """

    lang = "pairs"
    language_name = "English and Japanese"
    js_splitter_code = f"""
var splitQuery = (query) =>
  (query.match(/[{JAPANESE}]+|[^\\W{JAPANESE}]+/g) || []).flatMap((run) => {{
    if (!/[{JAPANESE}]/.test(run) || run.length < 3) return [run];
    return Array.from({{length: run.length - 1}}, (_, i) => run.slice(i, i + 2));
  }});
"""
    _runs = re.compile(f"[{JAPANESE}]+|[A-Za-z0-9_]+")
    _japanese = re.compile(f"[{JAPANESE}]")

    def split(self, input: str) -> list[str]:  # noqa: A002
        """The terms of a text."""
        terms = []
        for run in self._runs.findall(input):
            if self._japanese.match(run):
                terms += [*run, *map("".join, itertools.pairwise(run))]
            else:
                terms.append(run)
        return terms


html_search_language = Pairs.lang


def name_neighbours(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    """The next and the previous page by their names in the navigation, not by their own titles."""
    trees = app.env.tocs[app.config.root_doc].findall(addnodes.toctree)
    names = {
        app.builder.get_relative_uri(page, other): name
        for tree in trees
        for name, other in tree["entries"]
        if name
    }
    for neighbour in filter(None, (context.get("next"), context.get("prev"))):
        neighbour["title"] = names.get(neighbour["link"], neighbour["title"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this: the search, and a name for blocks that only tests read."""
    app.add_search_language(Pairs)
    app.add_lexer("layers", TextLexer)
    app.connect("html-page-context", name_neighbours)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
