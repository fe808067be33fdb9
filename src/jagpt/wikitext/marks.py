"""Characters that stand for what is no longer wikitext.

They are Unicode noncharacters: no real text holds them, and they keep a string in two bytes a
character. Input is cleared of them first; `sections.finish` takes out the last of them.
"""

GAP = "\ufdd0"
"""Something visible was left out here; `repair` mends the punctuation around it."""
KEPT = "\ufdd1"
"""Brackets the number of a piece that was set aside word for word (nowiki, formulas)."""
HEADING = "\ufdd2"
"""Begins a heading's line; its level, a digit, follows."""
BREAK = "\ufdd3"
"""A line break by <br>."""

ALL = GAP + KEPT + HEADING + BREAK
