"""Apostrophes of bold and italic text, distinguished from literal ones as in MediaWiki.

Source: its BlockLevelPass and Parser::doQuotes: four are one and bold, any beyond five are text
before bold italics; on a line with both marks unbalanced one apostrophe of a bold mark is text.
"""

import re

_QUOTES = re.compile(r"''+")


def remove_quotes(text: str) -> str:
    """`text` without the marks of bold and italic."""
    lines = _lines_to_weigh(text)
    if not lines:
        return _QUOTES.sub("", text)
    out: list[str] = []
    position = 0
    for start, end in lines:
        out += [_QUOTES.sub("", text[position:start]), _line(text[start:end])]
        position = end
    return "".join(out) + _QUOTES.sub("", text[position:])


def _lines_to_weigh(text: str) -> list[tuple[int, int]]:
    """The lines on which some apostrophes are text."""
    lines: list[tuple[int, int]] = []
    position = text.find("'''")
    while position >= 0:
        start, end = text.rfind("\n", 0, position) + 1, text.find("\n", position)
        end = len(text) if end < 0 else end
        # without longer runs, an even number of bold marks leaves nothing unbalanced
        odd = text.count("'''", start, end) % 2 == 1
        if odd or text.find("''''", start, end) >= 0:
            lines.append((start, end))
        position = text.find("'''", end)
    return lines


def _runs(line: str) -> list[int]:
    return [len(run) for run in _QUOTES.findall(line)]


def _marks(run: int) -> int:
    """How many of this many apostrophes are a mark."""
    return 3 if run == 4 else min(run, 5)


def _is_unbalanced(runs: list[int]) -> bool:
    marks = [_marks(run) for run in runs]
    bold = sum(mark in (3, 5) for mark in marks)
    italic = sum(mark in (2, 5) for mark in marks)
    return bold % 2 == 1 and italic % 2 == 1


def _line(line: str) -> str:
    parts = _QUOTES.split(line)
    runs = _runs(line)
    kept = [run - _marks(run) for run in runs]
    if _is_unbalanced(runs):
        kept[_bold_that_is_text(parts, runs)] += 1
    shown = [parts[0]]
    for count, part in zip(kept, parts[1:], strict=True):
        shown += ["'" * count, part]
    return "".join(shown)


def _bold_that_is_text(parts: list[str], runs: list[int]) -> int:
    """The mark that gives up an apostrophe: after one letter, else a word, else a space."""
    bold = [index for index, run in enumerate(runs) if _marks(run) == 3]
    if not bold:
        return runs.index(max(runs))
    single = [i for i in bold if parts[i][-2:-1] == " " and parts[i][-1:] != " "]
    word = [i for i in bold if parts[i][-1:] != " " and parts[i][-2:-1] != " "]
    return (single or word or bold)[0]
