"""Tables: the cells of MediaWiki's and of HTML's, and tables that a template opens or closes."""

import re

from jagpt.wikitext.marks import HEADING, TABLE_CLOSE, TABLE_OPEN

_HTML_ROW = re.compile(r"<tr\b[^<>]*+>", re.IGNORECASE)
_HTML_CELL = re.compile(r"<t([dh])\b[^<>]*+>", re.IGNORECASE)
_HTML_CAPTION = re.compile(r"<caption\b[^<>]*+>", re.IGNORECASE)
# What would break a row's line, and closing tags of cells.
_IN_ONE_LINE = re.compile(
    r"</?(?:br|p|div|center|blockquote|poem|ul|ol|li|dl|dt|dd|hr|h[1-6])\b[^<>]*+>", re.IGNORECASE
)
_CLOSERS = re.compile(r"</?(?:tr|td|th|tbody|thead|tfoot|caption|table)\b[^<>]*+>", re.IGNORECASE)
_LIST_MARKER = re.compile(r"^[*#:;]++[ \t]*+")
_CLOSING = ("|}", TABLE_CLOSE)
_EDGES = (*_CLOSING, TABLE_OPEN)
_HINTS = ("|", TABLE_OPEN, TABLE_CLOSE)
_LOOSE_HINT = re.compile(rf"\n[ \t]*+(?:[|]|[{TABLE_OPEN}{TABLE_CLOSE}])")


def table_text(inner: str) -> str:
    """What stands between {| and |}: a row a line, its cells parted by tabs."""
    _, _, body = _as_wikitext(inner).partition("\n")
    rows = [[_one_line(cell) for cell in row] for row in _rows(body.split("\n"))]
    return "\n".join(filter(None, ("\t".join(filter(None, row)) for row in rows)))


def _as_wikitext(inner: str) -> str:
    """HTML's rows and cells in MediaWiki's form."""
    if "<" not in inner:
        return inner
    inner = _HTML_CELL.sub(lambda m: "\n|" if m[1] in "dD" else "\n!", inner)
    inner = _HTML_CAPTION.sub("\n|+", _HTML_ROW.sub("\n|-\n", inner))
    return _IN_ONE_LINE.sub(" ", _CLOSERS.sub("", inner))


Cell = list[str]
"""A cell's lines."""


def _rows(lines: list[str]) -> list[list[Cell]]:
    """Cells without their attributes; a line that begins no cell goes on with the one before."""
    rows: list[list[Cell]] = [[]]
    for line in lines:
        line = line.strip()
        if line.startswith("|-"):
            rows.append([])
        elif line.startswith("|+"):
            rows += [_cells(line[2:]), []]
        elif line.startswith("|"):
            rows[-1] += _cells(line[1:])
        elif line.startswith("!"):
            rows[-1] += _cells(line[1:].replace("!!", "||"))
        elif line and rows[-1]:
            rows[-1][-1].append(line)
        elif line:
            rows[-1].append([line])
    return rows


def _cells(line: str) -> list[Cell]:
    """As in MediaWiki, what stands before a single bar are attributes, whatever it is."""
    return [[cell.partition("|")[2] if "|" in cell else cell] for cell in line.split("||")]


def _one_line(cell: Cell) -> str:
    lines = [_LIST_MARKER.sub("", line, count=1).strip() for line in cell]
    return " ".join(filter(None, lines)).replace("\t", " ")


def resolve_loose_tables(text: str, *, tables: bool) -> str:
    """`text` with what is left of tables whose opening or closing a template holds, or nothing.

    A loose table begins at an opener without closer or at a line with a bar; it ends at a closer
    in the same section, else before a line that can be no cell after a blank one.
    """
    if not any(mark in text for mark in _HINTS) or _LOOSE_HINT.search(text) is None:
        return text
    lines = [line.lstrip(" \t") if line[:1] in " \t" else line for line in text.split("\n")]
    ends = _ends(lines)
    out: list[str] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        following = lines[position + 1] if position + 1 < len(lines) else ""
        headed = line.startswith("!") and following.startswith(("|", "!"))
        if not headed and not line.startswith(("|", TABLE_OPEN)):
            if not line.startswith(TABLE_CLOSE):
                out.append(line)
            position += 1
            continue
        end = ends[position] or _end_of_table(lines, position)
        if tables:
            rows = [each for each in lines[position:end] if not each.startswith(_EDGES)]
            out.append(table_text("\n" + "\n".join(rows)))
        position = end
    return "\n".join(out)


def _ends(lines: list[str]) -> list[int]:
    """For each line the one behind the table that goes on there, where its section closes it.

    A line with a bar alone begins a table only if rows follow.
    """
    ends = [0] * len(lines)
    end, rows = 0, False
    for position in range(len(lines) - 1, -1, -1):
        line = lines[position]
        if line.startswith(HEADING):
            end = 0
        elif line.startswith(_CLOSING):
            end, rows = position + 1, False
        rows = rows or line.startswith("|-")
        opens = line.startswith(TABLE_OPEN)
        ends[position] = end if rows or opens or line.startswith(_CLOSING) else 0
        if opens:
            end = 0
    return ends


def _end_of_table(lines: list[str], start: int) -> int:
    """The line behind a table that nothing closes."""
    within = lines[start].startswith(TABLE_OPEN)
    blank = False
    for position in range(start + 1, len(lines)):
        line = lines[position].strip()
        if line.startswith(HEADING):
            return position
        ended = (blank and line) or not within
        if ended and not line.startswith(("|", "!")):
            return position
        blank = not line
    return len(lines)
