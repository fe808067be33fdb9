"""Punctuation around what was left out.

Only the neighbours of a gap are touched: 「『』」 or （） written by an author stay as they are.
"""

import re

from jagpt.wikitext.marks import CELL, GAP, LINE

_PAIRS = dict(zip("（([［「『【〈《〔｛〖“‘", "）)]］」』】〉》〕｝〗”’", strict=True))
_CLOSE = frozenset(_PAIRS.values())
_SEPARATORS = frozenset("、，,;；:：・/／")
_COMMAS = frozenset("、，,・")
_STOPS = frozenset("。．")
_WIDE = frozenset("、。，．：；・！？\n")
_SPACES = frozenset(" \t\u3000\xa0")
_EDGES = frozenset({"\n", LINE, CELL})
_LEFT = frozenset(_PAIRS) | _SEPARATORS | _STOPS | _SPACES | _EDGES | {""}
_RIGHT = _CLOSE | _SEPARATORS | _STOPS | _SPACES | _EDGES | {""}
_RUN = re.compile(rf"{GAP}(?:[ \t\u3000\xa0]*+{GAP})++")


def repair(text: str) -> str:
    """`text` without its gap marks and the brackets and punctuation that they orphaned."""
    if GAP not in text:
        return text
    pieces = _RUN.sub(GAP, text).split(GAP)
    # A span is a piece and the part of it that remains; cutting moves the ends and copies nothing.
    texts, starts, ends = [pieces[0]], [0], [len(pieces[0])]
    for piece in pieces[1:]:
        start = 0
        if piece[:1] in _RIGHT and (ends[-1] <= starts[-1] or texts[-1][ends[-1] - 1] in _LEFT):
            start = _mend(texts, starts, ends, piece)
        texts.append(piece)
        starts.append(start)
        ends.append(len(piece))
    return "".join([t[s:e] for t, s, e in zip(texts, starts, ends, strict=True)])


def _mend(texts: list[str], starts: list[int], ends: list[int], piece: str) -> int:
    """Cut the end of the spans and return where `piece` continues."""
    i, n = 0, len(piece)
    while True:
        j = i
        while j < n and piece[j] in _SPACES:
            j += 1
        right = piece[j] if j < n and piece[j] not in _EDGES else "\n"
        end = _skip_spaces_back(texts, starts, ends)
        left = texts[-1][end - 1] if end > starts[-1] else "\n"
        left = "\n" if left in _EDGES else left
        cut = _decide(left, right)
        if cut is None:
            return _settle_spaces(ends, end, i, j, left, right)
        ends[-1] = end - 1 if cut[0] else end
        i = j + 1 if cut[1] else j


def _skip_spaces_back(texts: list[str], starts: list[int], ends: list[int]) -> int:
    """The end of the last span that holds more than spaces; later spans are dropped."""
    while True:
        text, start, end = texts[-1], starts[-1], ends[-1]
        while end > start and text[end - 1] in _SPACES:
            end -= 1
        if end > start or len(texts) == 1:
            return end
        texts.pop()
        starts.pop()
        ends.pop()


def _decide(left: str, right: str) -> tuple[bool, bool] | None:
    """Whether the characters before and after the gap are removed; None if both stay."""
    if _PAIRS.get(left) == right:
        return True, True
    if left in _PAIRS:
        return (False, True) if right in _SEPARATORS else None
    if left == "\n":
        return (False, True) if right in _SEPARATORS or right in _STOPS else None
    if left in _SEPARATORS:
        if right in _CLOSE or right in _SEPARATORS or right in _STOPS:
            return True, False
        return (True, False) if right == "\n" and left in _COMMAS else None
    if left in _STOPS and right in _STOPS:
        return False, True
    return None


def _settle_spaces(ends: list[int], end: int, i: int, j: int, left: str, right: str) -> int:
    """At most one space around a gap, none inside brackets or next to a full-width mark."""
    if left in _PAIRS or left in _WIDE or right in _CLOSE or right in _WIDE:
        ends[-1] = end
        return j
    return j if ends[-1] > end else i
