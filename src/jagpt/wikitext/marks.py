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
VOID = "\ufdd4"
"""A value that is not in the dump stood here; `voids` takes out what hangs on it."""
UNKNOWN = "\ufdd5"
"""A template that no rule knows stood here: a gap, or a void where the sentence needs it."""
TABLE_OPEN = "\ufdd6"
"""A table began here that nothing closes."""
TABLE_CLOSE = "\ufdd7"
"""A table ended here that nothing opened, or a template did."""
LINE = "\ufdd8"
"""Begins a line of a block of Markdown, and ends what says of which; see `markdown`."""
CELL = "\ufdd9"
"""Parts the cells of a row of Markdown."""

ALL = GAP + KEPT + HEADING + BREAK + VOID + UNKNOWN + TABLE_OPEN + TABLE_CLOSE + LINE + CELL
