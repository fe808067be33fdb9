"""HojiChar's filters by a profile: what they drop, and what a stranger's profile cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hojichar", reason="needs the extra `hojichar`")

from dumps import (
    all_documents,
    article_text,
    contents,
    dropped,
    export,
    make_corpus,
    make_recipe,
    page,
)

from jagpt import recipe as recipes
from jagpt.corpus.cleaning import cleaned, profile_at
from jagpt.corpus.stage import CORPUS
from jagpt.errors import DataError, MissingExtraError
from jagpt.files import sha256


def profile(tmp_path: Path, *rows: object) -> str:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"filters": rows}), "utf-8")
    return str(path)


def length(least: int) -> dict[str, Any]:
    return {"filter": "DocumentLengthFilter", "min_doc_len": least}


MASK = {"filter": "MaskPersonalInformation"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("短い。", ("", "hojichar DocumentLengthFilter")),
        ("電話は06-1234-5678です。" * 2, ("電話は06-1234-XXXXです。" * 2, None)),
        ("これは日本語の文章です。", ("これは日本語の文章です。", None)),
    ],
)
def test_the_filters_change_or_discard_a_text(
    tmp_path: Path, text: str, expected: tuple[str, str | None]
) -> None:
    assert cleaned(text, profile_at(profile(tmp_path, length(10), MASK))) == expected


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"filter": "NgWordsFilterJa", "dict_path": "/etc/passwd"}, "'dict_path' cannot be set"),
        ({"filter": "DiscardAds", "dict_path": "/etc/passwd"}, "allowed are max_allowed_num"),
        ({"filter": "DiscardAdultContentJa", "dict_path": 0}, "'dict_path' cannot be set"),
        ({"filter": "NgWordsFilterJa"}, "cannot be created: .*dict_path"),
        ({"filter": "DiscardAds", "max_allowed_num": "14"}, "expected a number, true or false"),
        ({"filter": "DiscardAds", "p": 0.5}, "'p' cannot be set"),
        ({"filter": "DiscardAds", "random_state": 1}, "'random_state' cannot be set"),
        ({"filter": "Sleep", "time": 1e9}, "'Sleep' is not a filter"),
        ({"filter": "json"}, "'json' is not a filter"),
        ({"filter": "pathlib.Path"}, "is not a filter"),
        ({"filter": "Filter"}, "'Filter' is not a filter"),
        ({"filter": "DiscardAd"}, "did you mean 'DiscardAds'"),
        ({"filter": 3}, r'filter 1: expected \{"filter": "NAME"\}'),
        ("DiscardAds", r'filter 1: expected \{"filter": "NAME"\}'),
    ],
)
def test_a_profile_names_filters_and_numbers_alone(tmp_path: Path, row: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        profile_at(profile(tmp_path, row))


@pytest.mark.parametrize("text", ["", "[]", '{"filters": []}', '{"filters": 3}', "import os"])
def test_what_is_no_profile_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"profile\.json"):
        profile_at(str(path))


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jagpt.corpus.cleaning.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[hojichar\]"):
        profile_at(profile(tmp_path, MASK))


def test_a_corpus_tells_what_was_discarded_on_any_number_of_workers(tmp_path: Path) -> None:
    dump, lines = tmp_path / "dump.xml", tmp_path / "lines.txt"
    call = page(30, article_text(30) + "電話は06-1234-5678です。", title="電話")
    dump.write_bytes(export([*(page(n) for n in range(1, 15)), call, page(31, "短" * 60)]))
    lines.write_text("".join(f"{n}番目の行には電話06-1234-5678がある。\n" for n in range(9)))
    sources = [{"path": dump}, {"path": lines, "kind": "text", "layout": "line"}]
    settings = {"hojichar": profile(tmp_path, length(80), MASK), "min_characters": 0}
    made = [
        make_corpus(tmp_path / str(workers), make_recipe(*sources, workers=workers, **settings))
        for workers in (1, 2)
    ]
    assert contents(made[0]) == contents(made[1])
    reasons = dropped(made[0])
    assert reasons["項目31"] == reasons[""] == "hojichar DocumentLengthFilter"
    (found,) = (d.text for d in all_documents(made[0]).values() if d.title == "電話")
    assert found.endswith("電話は06-1234-XXXXです。")
    stats = json.loads((made[0] / "stats.json").read_text("utf-8"))
    assert stats["dropped"] == {"hojichar DocumentLengthFilter": 10}


def test_the_profiles_content_decides_and_its_place_does_not(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "a"\n[train]\nmax_steps = 1\n[corpus]\nhojichar = "profile.json"\n'
        '[[corpus.source]]\nname = "n"\npath = "jagpt:sample"\n'
    )
    profile(tmp_path, MASK)
    made = recipes.load(path)
    assert made.corpus.hojichar == str(tmp_path / "profile.json")
    assert "hojichar" not in made.corpus.semantic()
    before = CORPUS.outside(made, sha256, {})
    assert before["hojichar"] == sha256(tmp_path / "profile.json")
    (tmp_path / "profile.json").unlink()
    assert CORPUS.outside(made, sha256, before) == before
    with pytest.raises(DataError, match=r"corpus\.hojichar=FILE"):
        CORPUS.outside(made, sha256, {})
