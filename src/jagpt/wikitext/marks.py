"""Characters that mark what is no longer wikitext.

They are Unicode noncharacters: no real text contains them, and they keep a string at two bytes per
character. Input is cleared of them first; `sections.finish` removes the last of them.
"""

GAP = "\ufdd0"
"""Something visible was left out here; `repair` fixes the punctuation around it."""
KEPT = "\ufdd1"
"""Begins the number of a piece that was kept verbatim (nowiki, formulas)."""
KEPT_END = "\ufddf"
"""Ends that number; another character than its beginning, so that a cut one shifts no other."""
HEADING = "\ufdd2"
"""Begins a heading's line; its level, a digit, follows."""
BREAK = "\ufdd3"
"""A line break by <br>."""
VOID = "\ufdd4"
"""A value that is not in the dump was here; `voids` removes what depends on it."""
UNKNOWN = "\ufdd5"
"""A template without a rule was here: a gap, or a void if the sentence needs it."""
TABLE_OPEN = "\ufdd6"
"""A table began here that is never closed."""
TABLE_CLOSE = "\ufdd7"
"""A table ended here that was never opened, or was opened by a template."""
LINE = "\ufdd8"
"""Begins a line of a Markdown block, and ends the marker that says which; see `markdown`."""
CELL = "\ufdd9"
"""Separates the cells of a Markdown row."""

ALL = (
    GAP
    + KEPT
    + KEPT_END
    + HEADING
    + BREAK
    + VOID
    + UNKNOWN
    + TABLE_OPEN
    + TABLE_CLOSE
    + LINE
    + CELL
)
