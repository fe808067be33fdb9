"""The changelog of a published model: one entry per revision, newest first."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jagpt import units
from jagpt.corpus.stats import CorpusStats
from jagpt.errors import DataError
from jagpt.recipe import Recipe
from jagpt.release.facts import Facts
from jagpt.release.markdown import escape
from jagpt.text import shortened

UNDATED = "00000000"
"""Used if no source has a dump date; it sorts before every date."""

HEADER = """\
# Changelog

Revisions are named DUMPDATE.MAJOR.MINOR: the date of the training text, then the version.
`from_pretrained(…, revision="NAME")` loads any of them.
"""
_REVISION = re.compile(r"[0-9]{8}\.[0-9]{1,9}\.[0-9]{1,9}")
_HEADING = re.compile(r"^## (\S+)[^\n]*\n", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One revision; `lines` are Markdown list items without their dash."""

    revision: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        items = "".join(f"- {line}\n" for line in self.lines)
        return f"## {self.revision}\n\n{items}"


def revision_of(recipe: Recipe, corpus: CorpusStats | None) -> str:
    """The recipe's revision, or `DATE.1.0` with the first date among the sources."""
    if recipe.release.revision is not None:
        return recipe.release.revision
    return f"{_dump_date(corpus) or UNDATED}.1.0"


def entry(recipe: Recipe, facts: Facts) -> Entry:
    """What this revision is: the recipe's notes, then the text and the figures."""
    lines = [
        escape(line) for line in map(_without_bullet, recipe.release.notes.splitlines()) if line
    ]
    if facts.corpus is not None:
        names = ", ".join(escape(source.name) for source in facts.corpus.sources)
        lines.append(
            f"Training text: {names} ({units.counted(facts.corpus.documents, 'document')})"
        )
    if (test := facts.evaluation) is not None:
        lines.append(
            f"{test.split.capitalize()} loss {test.loss:.4f}, perplexity {test.perplexity:.2f}, "
            f"bits per character {test.bits_per_character:.4f}"
        )
    return Entry(revision_of(recipe, facts.corpus), tuple(lines))


def with_entry(text: str | None, new: Entry) -> str:
    """The changelog `text` (None: none yet) with the entry added, or replacing the one of the same
    name.
    """
    known = parse(text) if text and text.strip() else []
    older = [found for found in known if found.revision != new.revision]
    entries = sorted([new, *older], key=lambda found: _order(found.revision), reverse=True)
    return HEADER + "".join(f"\n{found}" for found in entries)


def parse(text: str) -> list[Entry]:
    """The entries of a changelog that `with_entry` made; `DataError` for any other."""
    head, *parts = _HEADING.split(text)
    if head.rstrip() != HEADER.rstrip():
        raise DataError("CHANGELOG.md: it does not begin as jagpt's do")
    entries = []
    for revision, body in zip(parts[::2], parts[1::2], strict=True):
        if not _REVISION.fullmatch(revision):
            raise DataError(
                f"CHANGELOG.md: the heading {shortened(revision, 40)!r} is not a revision "
                "DUMPDATE.MAJOR.MINOR"
            )
        items = [line.removeprefix("- ") for line in body.splitlines() if line.strip()]
        entries.append(Entry(revision, tuple(items)))
    return entries


def _order(revision: str) -> tuple[int, ...]:
    return tuple(int(part) for part in revision.split("."))


def _without_bullet(line: str) -> str:
    return line.strip().lstrip("-*・").strip()


def _dump_date(corpus: CorpusStats | None) -> str | None:
    for source in corpus.sources if corpus else ():
        if source.date is not None and re.fullmatch("[0-9]{8}", source.date):
            return source.date
    return None
