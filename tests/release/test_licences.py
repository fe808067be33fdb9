from __future__ import annotations

from dataclasses import replace

import fakes
import pytest

from jagpt.corpus.stats import CorpusStats, SourceStats
from jagpt.release import licences

DUMP = replace(fakes.CORPUS.sources[0], licence="unknown")


def corpus(*sources: SourceStats) -> CorpusStats:
    return replace(fakes.CORPUS, sources=sources)


@pytest.mark.parametrize(
    ("source", "language"),
    [
        (DUMP, "ja"),
        (replace(DUMP, wiki="zh_min_nanwiki"), "zh_min_nan"),
        (replace(DUMP, wiki="jagptdemo"), None),
        (replace(DUMP, wiki="commonswiki"), None),
        (replace(DUMP, wiki="jawikinews"), None),
        (replace(DUMP, kind="cirrus", wiki=None), "ja"),
        (replace(DUMP, kind="wikiextractor", wiki=None, name="jawiki-20210820"), "ja"),
        (replace(DUMP, kind="wikiextractor", wiki=None, name="mine"), None),
        (replace(DUMP, kind="text", wiki=None), None),
        (replace(DUMP, kind="hf", wiki=None), None),
    ],
)
def test_a_wikipedia_is_known_by_kind_and_name(source: SourceStats, language: str | None) -> None:
    assert licences.wikipedia(source) == language


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("20210820", "cc-by-sa-3.0"), ("20230606", "cc-by-sa-3.0"),
        ("20230607", "cc-by-sa-4.0"), ("20261101", "cc-by-sa-4.0"),
    ],
)  # fmt: skip
def test_wikipedias_licence_follows_the_dumps_date(date: str, expected: str) -> None:
    assert licences.of_source(replace(DUMP, date=date)) == expected
    assert licences.of_model(None, corpus(replace(DUMP, date=date))) == expected


def test_the_recipes_word_comes_first() -> None:
    assert licences.of_source(replace(DUMP, licence="gfdl")) == "gfdl"
    assert licences.of_model("mit", corpus(DUMP)) == "mit"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["cc-by-sa-3.0", "cc-by-sa-3.0"], "cc-by-sa-3.0"),
        (["cc-by-sa-3.0", "cc-by-sa-4.0"], "cc-by-sa-4.0"),
        (["cc0-1.0", "cc-by-sa-4.0"], "cc-by-sa-4.0"),
        (["cc0-1.0"], "cc0-1.0"),
        (["My terms", "cc-by-4.0"], "My terms and cc-by-4.0"),
        ([], "unknown"),
    ],
)
def test_a_model_is_under_what_its_sources_ask(found: list[str], expected: str) -> None:
    sources = [replace(DUMP, kind="text", licence=licence) for licence in found]
    assert licences.of_model(None, corpus(*sources)) == expected


def test_a_licence_of_another_date_is_doubted() -> None:
    assert list(licences.doubts(corpus(DUMP, replace(DUMP, licence="cc-by-sa-3.0")))) == []
    (doubt,) = licences.doubts(corpus(replace(DUMP, licence="CC-BY-SA-4.0")))
    assert "20210820 is under cc-by-sa-3.0" in doubt


def test_the_hub_gets_its_own_identifiers() -> None:
    assert licences.metadata("CC-BY-SA-4.0") == {"license": "cc-by-sa-4.0"}
    other = {"license": "other", "license_name": "my-own-terms"}
    assert licences.metadata("My own terms!") == other
    assert licences.metadata("利用規約") == {"license": "other", "license_name": "unknown"}
