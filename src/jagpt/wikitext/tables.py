"""Tables as lines: a row a line, its cells parted by tabs."""

import re

from jagpt.wikitext.marks import BREAK

_CELL_MARK = re.compile(r"\|\||!!")
_ATTRIBUTES = re.compile(r"[^|=\[\]{}]*+=[^|\[\]{}]*+\|(?!\|)")
_HTML_ROW = re.compile(r"<tr\b[^<>]*+>", re.IGNORECASE)
_HTML_CELL = re.compile(r"<t[dh]\b[^<>]*+>", re.IGNORECASE)


def table_text(inner: str) -> str:
    """The cells between {| and |} without their attributes; a line that begins no cell is one."""
    rows: list[list[str]] = [[]]
    lines = _HTML_CELL.sub("\n|", _HTML_ROW.sub("\n|-\n", inner)).split("\n")
    for line in lines[1:]:
        line = line.strip()
        if line.startswith("|-"):
            rows.append([])
        elif line.startswith("|+"):
            rows += [[_cell(line[2:])], []]
        elif line.startswith(("|", "!")):
            rows[-1] += map(
                _cell, _CELL_MARK.split(line[1:]) if line[0] == "!" else line[1:].split("||")
            )
        elif line and rows[-1]:
            rows[-1].append(line)
        elif line:
            rows[-1] = [line]
    joined = ("\t".join(filter(None, row)).replace(BREAK, " ") for row in rows)
    return "\n".join(filter(None, joined))


def _cell(text: str) -> str:
    attributes = _ATTRIBUTES.match(text)
    return text[attributes.end() :].strip() if attributes else text.strip()
