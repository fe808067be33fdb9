"""From a source in a recipe to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jagpt.corpus.cache import cache_directory
from jagpt.corpus.sources import source_files
from jagpt.errors import DataError, StorageError
from jagpt.recipe import SAMPLE, Source


def source(**fields: Any) -> Source:
    return Source.model_validate({"name": "s", **fields})


def test_the_sample_is_a_file() -> None:
    (path,) = source_files(source(path=SAMPLE))
    assert path.is_file()


def test_a_pattern_gives_files_in_natural_order(tmp_path: Path) -> None:
    for name in ("a10.xml", "a9.xml", "a1.xml", "b.txt"):
        (tmp_path / name).touch()
    (tmp_path / "a2.xml").mkdir()
    found = source_files(source(path=str(tmp_path / "a*.xml")))
    assert [path.name for path in found] == ["a1.xml", "a9.xml", "a10.xml"]


def test_files_whose_numbers_are_equal_have_an_order(tmp_path: Path) -> None:
    names = [f"a{'0' * zeros}1.txt" for zeros in range(8, -1, -1)] + ["a1²3.txt", "a2.txt"]
    for name in names:
        (tmp_path / name).touch()
    found = source_files(source(path=str(tmp_path / "a*.txt")))
    assert [path.name for path in found] == names


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1].xml"
    path.touch()
    assert source_files(source(path=str(path))) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.xml", "no such file"), ("n*.xml", "no file matches"), ("", "a folder")],
)
def test_a_place_without_files_is_told(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        source_files(source(path=str(tmp_path / name)))


def test_a_wiki_and_date_mean_a_file_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAGPT_CACHE", str(tmp_path))
    wanted = source(wiki="jawiki", date="20210301")
    with pytest.raises(StorageError) as caught:
        source_files(wanted)
    message = str(caught.value)
    name = "jawiki-20210301-pages-articles-multistream.xml.bz2"
    place = tmp_path / "dumps" / "jawiki" / "20210301"
    assert str(place / name) in message
    assert "`jagpt download RECIPE`" in message
    assert "--set corpus.source.s.path=" in message

    place.mkdir(parents=True)
    plain = place / "jawiki-20210301-pages-articles.xml.bz2"
    plain.touch()
    assert source_files(wanted) == [plain]
    (place / name).touch()
    assert source_files(wanted) == [place / name]


def test_the_cache_follows_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAGPT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_directory() == tmp_path / "jagpt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "jagpt"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_directory() == tmp_path / "Library" / "Caches" / "jagpt"


@pytest.mark.parametrize("name", ["XDG_CACHE_HOME", "JAGPT_CACHE"])
def test_a_user_without_a_home_is_told_how_to_choose_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    monkeypatch.setattr("sys.platform", "linux")
    for variable in ("XDG_CACHE_HOME", "JAGPT_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(StorageError, match=f"this user has none; set .*{name}"):
        source_files(source(wiki="jawiki", date="20210301"))
    monkeypatch.setenv(name, str(tmp_path))
    assert cache_directory().is_relative_to(tmp_path)
