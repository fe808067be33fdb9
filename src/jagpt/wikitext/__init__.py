"""Wikitext to text: a page's visible sentences, in time linear in its length.

`to_text` converts one page; `WikitextConverter` holds what many pages share. The steps, in order:
comments and extension tags (`extensions`), closing sections (`sections`), templates, links and
tables (`scanner`), inline markup and lists (`inline`), punctuation around what was left out
(`repair`), lines (`sections`).
"""

from jagpt.wikitext.converter import WikitextConverter, shared_converter, to_text
from jagpt.wikitext.options import (
    DEFAULT,
    JA_DEFAULT,
    Converted,
    Namespaces,
    WikitextLimitError,
    WikitextOptions,
)

__all__ = [
    "DEFAULT",
    "JA_DEFAULT",
    "Converted",
    "Namespaces",
    "WikitextConverter",
    "WikitextLimitError",
    "WikitextOptions",
    "shared_converter",
    "to_text",
]
