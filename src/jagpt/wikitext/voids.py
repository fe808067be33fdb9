"""What depends on a value that is not in the dump is removed with it: a bracket, a clause, a
sentence.

旭川市（■人） → 旭川市; 面積は■km²で、県庁は甲市。 → 県庁は甲市。; 人口は■人である。 → nothing.
A template without a rule leaves such a hole only where the sentence needs a word in its place.
"""

import re
from dataclasses import dataclass, field

from jagpt.wikitext.marks import CELL, GAP, HEADING, LINE, UNKNOWN, VOID

# After an unknown template at the head of a clause: it was the subject, or a number.
_PARTICLE = re.compile(r"[はがをにへと]|で(?:は|も|あ|き)|から|より|まで|も[、た]")
_UNIT = re.compile(
    r"(?:万|億)?[人名] |平方|㎢|km|[年月日人](?:[、。）でにのはが現]|$)", re.MULTILINE
)
_QUOTED = re.compile(r"[」』](?:[はがをにへと]|で[はもあ])")
_HEADS = frozenset("、。，． \t\n\u3000（(「『" + LINE + CELL)
_MARKUP = re.compile(
    rf"[（(［\[「『《〈）)］\]」』》〉。．！？、，,;；・:：/／\t{CELL}{LINE}{VOID}]"
    rf"|(?<= )[-–—](?=[ {VOID}])|\. "
)
_PAIRS = dict(zip("（(［[「『《〈", "）)］]」』》〉", strict=True))
_REMOVABLE = frozenset("（(［[")
_CLOSERS = frozenset(_PAIRS.values())
_EDGES = frozenset(("\t", CELL, LINE))
_STOPS = frozenset("。．！？") | _EDGES | {". "}
_COMMAS = frozenset("、，")
# What a value belongs to: without the value such a label means nothing.
_MEASURE = re.compile(
    r"(?:人口|面積|世帯数?|密度|人数|件数|点数|[率数値額高量長]|合計|総計|現在|時点|年月日|年|日)\s*$"
)
_STANDS_ALONE = re.compile(r"(?:現在|時点で?|によると|によれば|では|には|年に?|頃)$")
_TOPIC = re.compile(r"[はがも]$")
_OWN_TOPIC = re.compile(r"[はが]")


@dataclass(slots=True)
class _Clause:
    start: int
    end: int = 0
    void: bool = False


@dataclass(slots=True)
class _Span:
    """A sentence, or the contents of a bracket."""

    start: int
    opener: str = ""
    clauses: list[_Clause] = field(default_factory=list)

    def part(self, end: int, following: int) -> None:
        self.clauses[-1].end = end
        self.clauses.append(_Clause(following))

    @property
    def void(self) -> bool:
        return any(clause.void for clause in self.clauses)


def cut_voids(text: str) -> tuple[str, int, int]:
    """`text` without its voids, how many places were cut and how many characters were removed."""
    if UNKNOWN in text:
        text = _weigh_unknown(text)
    if VOID not in text:
        return text, 0, 0
    places = characters = 0
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if VOID in line:
            lines[number], cuts = _cut_line(line)
            places += len(cuts)
            characters += sum(end - start for start, end in cuts)
    return "\n".join(lines), places, characters


def _weigh_unknown(text: str) -> str:
    """`text` with a void for each unknown template that the sentence needs, else a gap."""
    first, *pieces = text.split(UNKNOWN)
    out = [first]
    for piece in pieces:
        left = out[-1][-1:] or "\n"
        needed = _UNIT.match(piece) or (left in _HEADS and _PARTICLE.match(piece))
        out += [VOID if needed or (left in "「『" and _QUOTED.match(piece)) else GAP, piece]
    return "".join(out)


def _cut_line(line: str) -> tuple[str, list[tuple[int, int]]]:
    if line.startswith(HEADING):
        return line.replace(VOID, GAP), []
    cuts = _merged(_Line(line).cuts())
    pieces: list[str] = []
    position = 0
    for start, end in cuts:
        pieces += [line[position:start], GAP]
        position = end
    pieces.append(line[position:])
    return "".join(pieces).replace(VOID, GAP), cuts


def _merged(cuts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Cuts in order; one within another is part of it."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(cuts):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


class _Line:
    """One pass over a line's brackets, stops and commas with a stack of what is open."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._cuts: list[tuple[int, int]] = []
        self._stack = [self._span(0)]

    def cuts(self) -> list[tuple[int, int]]:
        for match in _MARKUP.finditer(self._line):
            self._step(match[0], match.start(), match.end())
        end = len(self._line)
        while len(self._stack) > 1:
            self._dissolve()
        self._end_sentence(end, end, terminated=False)
        return self._cuts

    def _span(self, start: int, opener: str = "") -> _Span:
        return _Span(start, opener, [_Clause(start)])

    def _step(self, mark: str, start: int, end: int) -> None:
        span = self._stack[-1]
        if mark == VOID:
            span.clauses[-1].void = True
        elif mark in _PAIRS:
            self._stack.append(self._span(start, mark))
        elif mark in _CLOSERS:
            self._close(mark, start, end)
        elif mark in _STOPS and len(self._stack) == 1:
            edge = mark in _EDGES
            self._end_sentence(start if edge else end, end, terminated=not edge)
        elif mark not in _STOPS:
            span.part(start, end)

    def _close(self, mark: str, start: int, end: int) -> None:
        if not any(_PAIRS.get(span.opener) == mark for span in self._stack[-4:]):
            return
        while _PAIRS.get(self._stack[-1].opener) != mark:
            self._dissolve()
        span = self._stack.pop()
        span.clauses[-1].end = start
        if not span.void:
            return
        if span.opener not in _REMOVABLE:
            self._stack[-1].clauses[-1].void = True
        elif kept := _kept_before(span.clauses, self._line):
            self._cuts.append((kept, start))
        else:
            self._cuts.append((span.start, end))

    def _dissolve(self) -> None:
        """An unclosed bracket is part of what is around it."""
        span = self._stack.pop()
        self._stack[-1].clauses[-1].void |= span.void

    def _end_sentence(self, end: int, following: int, *, terminated: bool) -> None:
        span = self._stack[-1]
        span.clauses[-1].end = end
        if span.void:
            self._cuts += (
                _clauses_of_sentence(span, self._line, end)
                if terminated
                else _items_of_line(span, self._line, end)
            )
        self._stack[-1] = self._span(following)


def _kept_before(clauses: list[_Clause], line: str) -> int:
    """Where in a bracket the cut begins; 0 if all of it depends on the value."""
    first = next(index for index, clause in enumerate(clauses) if clause.void)
    for clause in clauses[:first]:
        if _MEASURE.search(line[clause.start + (clause is clauses[0]) : clause.end]):
            return 0
    return clauses[first - 1].end if first else 0


def _clauses_of_sentence(span: _Span, line: str, end: int) -> list[tuple[int, int]]:
    """The clauses that the sentence can do without, or the whole sentence."""
    clauses = _joined_clauses(span.clauses, line)
    last = max((index for index, clause in enumerate(clauses) if not clause.void), default=-1)
    cuts: list[tuple[int, int]] = []
    for index, clause in enumerate(clauses):
        if not clause.void:
            continue
        if index > last:
            return [(span.start, end)]
        alone = line[clause.start : clause.end].strip()
        before = line[clauses[index - 1].start : clauses[index - 1].end] if index else ""
        after = clauses[index + 1]
        following = line[after.start : after.end]
        if not (
            _STANDS_ALONE.search(alone) or _TOPIC.search(before) or _OWN_TOPIC.search(following)
        ):
            return [(span.start, end)]
        cuts.append((clause.start, after.start))
    return cuts


def _joined_clauses(clauses: list[_Clause], line: str) -> list[_Clause]:
    """Clauses are separated by commas; colons, slashes and dots do not separate a sentence."""
    joined = [clauses[0]]
    for clause in clauses[1:]:
        if line[joined[-1].end : joined[-1].end + 1] in _COMMAS:
            joined.append(clause)
        else:
            joined[-1].end = clause.end
            joined[-1].void |= clause.void
    return joined


def _items_of_line(span: _Span, line: str, end: int) -> list[tuple[int, int]]:
    """The items of a line that depend on a value, each with a label that means nothing without
    it.
    """
    cuts: list[tuple[int, int]] = []
    clauses = span.clauses
    for index, clause in enumerate(clauses):
        if not clause.void:
            continue
        start = clauses[index - 1].end if index else span.start
        if index and line[start] in ":：":
            label = clauses[index - 1]
            if _MEASURE.search(line[label.start : label.end]):
                start = clauses[index - 2].end if index > 1 else span.start
        cuts.append((_after_label(line, start, clause.end), clause.end))
    return cuts


def _after_label(line: str, start: int, end: int) -> int:
    """Where a quantity begins that a space separates from what it belongs to: 甲地域 ■人."""
    void = line.index(VOID, start, end)
    space = max(line.rfind(" ", start, void), line.rfind("\u3000", start, void))
    label = line[start : max(space, start)].strip(" \u3000-–—:：、，・/／")
    return start if not label or _MEASURE.search(label) else space
