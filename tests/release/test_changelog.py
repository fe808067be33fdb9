from __future__ import annotations

from dataclasses import replace

import fakes
import pytest

from jagpt.corpus.stats import CorpusStats, SourceStats
from jagpt.errors import DataError
from jagpt.release.changelog import HEADER, Entry, entry, parse, revision_of, with_entry
from jagpt.release.facts import Facts

SOURCE = replace(fakes.CORPUS.sources[0], date=None)


def corpus(*sources: SourceStats) -> CorpusStats:
    return replace(fakes.CORPUS, sources=sources)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ((replace(SOURCE, date="20210820"),), "20210820.1.0"),
        ((SOURCE, replace(SOURCE, date="20210301")), "20210301.1.0"),
        ((SOURCE,), "00000000.1.0"),
        ((), "00000000.1.0"),
    ],
)
def test_the_revision_is_of_the_first_date_that_is_known(
    sources: tuple[SourceStats, ...], expected: str
) -> None:
    assert revision_of(fakes.recipe(), corpus(*sources)) == expected


def test_the_recipes_revision_wins() -> None:
    recipe = fakes.recipe(fakes.RECIPE, 'release.revision="20210820.2.1"')
    assert revision_of(recipe, corpus(replace(SOURCE, date="20200101"))) == "20210820.2.1"


def test_notes_become_list_items_whatever_they_hold() -> None:
    recipe = fakes.recipe(fakes.RECIPE + 'notes = "- better\\n\\n## 1\\n<b>"\n')
    made = entry(recipe, Facts())
    assert made.lines == ("better", r"\#\# 1", "&lt;b&gt;")
    assert parse(with_entry(None, made)) == [made]


def test_a_new_entry_stands_above_older_ones() -> None:
    old, new = Entry("20210820.9.0", ("a",)), Entry("20210820.10.0", ("b", "c"))
    text = with_entry(with_entry(None, old), new)
    assert parse(text) == [new, old]
    assert text.startswith("# Changelog\n")


def test_an_entry_takes_its_namesakes_place() -> None:
    text = with_entry(
        with_entry(None, Entry("20210820.1.0", ("a",))), Entry("20210820.1.0", ("b",))
    )
    assert parse(text) == [Entry("20210820.1.0", ("b",))]


@pytest.mark.parametrize("empty", ["", "\n\n"])
def test_an_empty_changelog_is_begun(empty: str) -> None:
    new = Entry("20210820.1.0", ("a",))
    assert with_entry(empty, new) == with_entry(None, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "\n## Unreleased\n\n- x\n", "'Unreleased' is not a revision"),
        (HEADER + f"\n## 20200101.1.{'9' * 5000}\n\n- x\n", "is not a revision"),
        ("# Changelog\n\n## 20210820.1.0\n\n- x\n", "does not begin as jagpt's do"),
        ("Changelog\n=========\n\n### 2.0\n- my own history\n", "does not begin"),
        (HEADER + "\nBut see also the paper.\n\n## 20210820.1.0\n\n- x\n", "does not begin"),
    ],
    ids=["heading", "digits", "header", "no headings", "text before the first"],
)
def test_a_foreign_changelog_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        with_entry(text, Entry("20210820.1.0", ("a",)))
    assert len(str(caught.value)) < 200
