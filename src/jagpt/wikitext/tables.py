"""Tables: the cells of MediaWiki's and of HTML's, and tables that a template opens or closes."""

import re
from dataclasses import dataclass

from jagpt.wikitext.entities import within_line
from jagpt.wikitext.markdown import table_row
from jagpt.wikitext.marks import HEADING, TABLE_CLOSE, TABLE_OPEN

_HTML_ROW = re.compile(r"<tr\b[^<>]*+>", re.IGNORECASE)
_HTML_CELL = re.compile(r"<t([dh])\b([^<>|]*+)[^<>]*+>", re.IGNORECASE)
_SPAN = re.compile(r"\b(row|col)span\s*=\s*[\"']?\s*([0-9]{1,4})", re.IGNORECASE)
_MOST_COLUMNS = 100
_SPARE = 10_000
"""Characters that merged cells may add beyond twice the table's own."""
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


@dataclass(slots=True)
class _Cell:
    attributes: str
    lines: list[str]

    def text(self) -> str:
        """The cell's lines as one."""
        first, *others = self.lines  # the first, which follows the cell's tag, begins no list
        lines = [first, *(_LIST_MARKER.sub("", line, count=1) for line in others)]
        return " ".join(filter(None, map(str.strip, lines))).replace("\t", " ")

    def span(self, direction: str) -> int:
        """How many columns or rows it spans."""
        match = _SPAN.search(self.attributes) if self.attributes else None
        while match and match[1].lower() != direction:
            match = _SPAN.search(self.attributes, match.end())
        return min(max(int(match[2]), 1), _MOST_COLUMNS) if match else 1


def table_text(inner: str, *, markdown: bool = False) -> str:
    """What is between {| and |}: one row per line, cells separated by tabs, or marked.

    In Markdown merged cells are repeated: each of the places that a cell spans has its text.
    """
    _, _, body = _as_wikitext(inner).partition("\n")
    captions, rows = _rows(body.split("\n"))
    if markdown:
        lines = map(table_row, _spelled_out(rows, 2 * len(inner) + _SPARE))
        return "\n".join([*map(within_line, captions), "", *lines])
    shown = ("\t".join(filter(None, (cell.text() for cell in row))) for row in rows)
    return "\n".join(filter(None, map(within_line, [*captions, *shown])))


def _as_wikitext(inner: str) -> str:
    """HTML's rows and cells in MediaWiki's syntax."""
    if "<" not in inner:
        return inner
    inner = _HTML_CELL.sub(lambda m: f"\n{'|' if m[1] in 'dD' else '!'}{m[2]}|", inner)
    inner = _HTML_CAPTION.sub("\n|+", _HTML_ROW.sub("\n|-\n", inner))
    return _IN_ONE_LINE.sub(" ", _CLOSERS.sub("", inner))


def _rows(lines: list[str]) -> tuple[list[str], list[list[_Cell]]]:
    """Captions, and the cells of each row; a line that begins none continues the one before."""
    captions: list[str] = []
    rows: list[list[_Cell]] = [[]]
    for line in lines:
        line = line.strip()
        if line.startswith("|-"):
            rows.append([])
        elif line.startswith("|+"):
            captions.append(_cells(line[2:])[0].text())
        elif line.startswith("|"):
            rows[-1] += _cells(line[1:])
        elif line.startswith("!"):
            rows[-1] += _cells(line[1:].replace("!!", "||"))
        elif line and rows[-1]:
            rows[-1][-1].lines.append(line)
        elif line:
            rows[-1].append(_Cell("", [line]))
    return captions, rows


def _cells(line: str) -> list[_Cell]:
    """As in MediaWiki, whatever precedes a single bar counts as attributes."""
    parts = [cell.partition("|") for cell in line.split("||")]
    return [_Cell(head if bar else "", [text if bar else head]) for head, bar, text in parts]


def _spelled_out(rows: list[list[_Cell]], budget: int) -> list[list[str]]:
    """The rows' texts with each merged cell in all of its places, as long as `budget` lasts."""
    grid: list[list[str]] = []
    below: dict[int, tuple[int, str]] = {}  # column → rows that a cell from above still spans
    for row in rows:
        shown: list[str] = []
        taken, below = below, {}
        for cell in row:
            _take(shown, taken, below)
            text, columns, down = cell.text(), cell.span("col"), cell.span("row")
            budget -= (columns * down - 1) * (len(text) + 1)
            if budget < 0:
                columns = down = 1
            for _ in range(columns):
                if down > 1:
                    below[len(shown)] = (down - 1, text)
                shown.append(text)
        _take(shown, taken, below)
        if any(shown):
            grid.append(shown)
    return grid


def _take(
    shown: list[str], taken: dict[int, tuple[int, str]], below: dict[int, tuple[int, str]]
) -> None:
    """Fill the next columns as long as a cell from above spans them."""
    while len(shown) in taken:
        rows, text = taken[len(shown)]
        if rows > 1:
            below[len(shown)] = (rows - 1, text)
        shown.append(text)


def resolve_loose_tables(text: str, *, tables: bool, markdown: bool = False) -> str:
    """`text` with the remains of tables that are opened or closed by a template, or not at all.

    A loose table begins at an opener without closer or at a line with a bar; it ends at a closer
    in the same section, else before a line after a blank one that cannot be a cell.
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
            out.append(table_text("\n" + "\n".join(rows), markdown=markdown))
        position = end
    return "\n".join(out)


def _ends(lines: list[str]) -> list[int]:
    """For each line, the one after the table that continues there, if its section closes it.

    A line with just a bar begins a table only if rows follow.
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
    """The line after an unclosed table."""
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
