"""The last step of Markdown: paragraphs, lists, tables and code from marked lines.

A line that begins with `LINE` belongs to a block; what precedes the next `LINE` says which:
a list's marker as in wikitext (`*#`), `TABLE` for a row, whose cells are separated by `CELL`, or
`CODE` for a line of code. All other lines are paragraphs. GitHub's form:
https://github.github.com/gfm/
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby

from jagpt.wikitext.marks import CELL, LINE

TABLE, CODE = "|", "`"
_LIST, _TEXT, _ALONE, _BLANK = "*", "text", "alone", "blank"
_FENCE = "```"
_SPARE_CELLS = 1_000
_DEEPEST_ITEM = 100


def heading(level: int, title: str) -> str:
    """## title"""
    return f"{'#' * level} {title}" if title else ""


def code_block(code: str, language: str = "") -> str:
    """Lines of code between fences, each marked."""
    fence = _FENCE if _FENCE not in code else "~~~"
    lines = [f"{fence}{language}", *code.strip("\n").split("\n"), fence]
    return "".join(f"\n{LINE}{CODE}{LINE}{line}" for line in lines) + "\n"


def table_row(cells: list[str]) -> str:
    """A row, marked."""
    return f"{LINE}{TABLE}{LINE}{CELL.join(cells)}"


def blocks(text: str) -> str:
    """The blocks of `text`, separated by blank lines."""
    return "\n\n".join(
        block
        for kind, lines in groupby(_lines(text), key=lambda line: line[0])
        for block in _blocks_of(kind, [content for _, content in lines])
    )


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Each line's kind and text; a blank line ends a paragraph or a table, but not a list."""
    kind = _BLANK
    for line in text.split("\n"):
        if line.startswith(LINE):
            head, _, content = line[1:].partition(LINE)
            kind, shown = _marked(head, content)
        elif shown := line.strip():
            kind, shown = _displayed(_TEXT, shown)
        elif kind == _LIST:
            continue
        else:
            kind = _BLANK
        if shown or kind in (CODE, _BLANK):
            yield kind, shown


def _marked(head: str, content: str) -> tuple[str, str]:
    if head == CODE:
        return CODE, content.rstrip()
    if head == TABLE:
        return TABLE, content
    content = content.replace(LINE, "").strip()
    prefix, bold = _prefix(head[-_DEEPEST_ITEM:])
    if prefix is not None:
        return _LIST, prefix + content if content else ""
    return (_ALONE, f"**{content}**") if bold and content else _displayed(_ALONE, content)


@lru_cache(maxsize=1024)
def _prefix(marker: str) -> tuple[str | None, bool]:
    """The prefix of an item (" - " for **), None for text that is only indented; and whether it is
    a term."""
    outer = "".join("   " if c == "#" else "  " for c in marker[:-1] if c in "*#")
    if marker[-1] == "*":
        return f"{outer}- ", False
    if marker[-1] == "#":
        return f"{outer}1. ", False
    return outer or None, marker[-1] == ";"


def _displayed(kind: str, line: str) -> tuple[str, str]:
    """A formula alone on its line is a block, between double dollar signs."""
    if line.startswith("$") and line.endswith("$") and len(line) > 2:
        if line.count("$") == 2:
            return _ALONE, f"${line}$"
        if line.startswith("$$") and line.count("$") == 4:
            return _ALONE, line
    return kind, line


def _blocks_of(kind: str, lines: list[str]) -> Iterator[str]:
    if kind == TABLE:
        yield _table([line.split(CELL) for line in lines])
    elif kind in (_LIST, CODE, _TEXT):
        yield "\n".join(lines)
    elif kind == _ALONE:
        yield from lines


def _table(rows: list[list[str]]) -> str:
    """A GitHub table: the first row is its head, as wide as the widest; short rows are padded if
    that costs little, since GitHub does it too."""
    width = max(map(len, rows))
    fills = len(rows) * width <= 2 * sum(map(len, rows)) + _SPARE_CELLS
    shown = [[cell.strip().replace("|", "\\|") for cell in row] for row in rows]
    for row in shown if fills else shown[:1]:
        row += [""] * (width - len(row))
    head, *body = [f"| {' | '.join(row)} |" for row in shown]
    return "\n".join([head, f"|{' --- |' * width}", *body])
