"""From a wiki's name and a date: the dump is fetched, verified and used."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import jagpt

from jagpt import sample

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))

from dump_server import DumpServer, job, serving

DATE = "20210301"
NAME = f"jawiki-{DATE}-pages-articles.xml.bz2"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DumpServer]:
    monkeypatch.setenv("JAGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as running:
        body = sample.path().read_bytes()
        jobs = {"articlesdump": job("done", {NAME: body}, date=DATE)}
        running.put(f"/jawiki/{DATE}/dumpstatus.json", {"version": "0.8", "jobs": jobs})
        running.put(f"/jawiki/{DATE}/{NAME}", body)
        yield running


def test_a_run_fetches_the_dump_that_its_recipe_names(server: DumpServer, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        "name='mine'\n[corpus]\nvalid_share=0.1\ntest_share=0.1\n[[corpus.source]]\nname='jawiki'\n"
        f"wiki='jawiki'\ndate='{DATE}'\n[train]\nmax_steps=1\n"
        f"[execution]\nmirror='{server.base}'\nworkers=1\n"
    )
    arguments = ("corpus", recipe, "--run-dir", tmp_path / "run", "--json")
    done = jagpt(*arguments)
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["documents"].values()) > 60
    fetched = len(server.gets(f"/jawiki/{DATE}/{NAME}"))
    assert jagpt(*arguments).returncode == 0
    assert len(server.gets(f"/jawiki/{DATE}/{NAME}")) == fetched == 1

    later = "20210401"
    body = sample.path().read_bytes()
    name = NAME.replace(DATE, later)
    jobs = {"articlesdump": job("done", {name: body}, date=later)}
    server.put(f"/jawiki/{later}/dumpstatus.json", {"version": "0.8", "jobs": jobs})
    server.put(f"/jawiki/{later}/{name}", body)
    changed = jagpt(*arguments, "--set", f"corpus.source.jawiki.date={later}")
    assert changed.returncode == 0, changed.stderr
    assert len(server.gets(f"/jawiki/{later}/{name}")) == 1


def test_download_tells_and_fetches(server: DumpServer, tmp_path: Path) -> None:
    arguments = ("download", "--wiki", "jawiki", "--date", DATE, "--mirror", server.base)
    told = jagpt(*arguments, "--dry-run")
    assert told.returncode == 0, told.stderr
    assert NAME in told.stdout
    assert "to fetch" in told.stdout
    assert not (tmp_path / "cache").exists()
    done = jagpt(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    fetched = tmp_path / "cache" / "dumps" / "jawiki" / DATE / NAME
    assert fetched.read_bytes() == sample.path().read_bytes()


@pytest.mark.parametrize("by", ["name", "address"])
def test_extract_fetches_the_dump_that_it_is_told(
    server: DumpServer, tmp_path: Path, by: str
) -> None:
    place: tuple[str, ...] = ("--wiki", "jawiki", "--date", DATE, "--mirror", server.base)
    if by == "address":
        place = (f"{server.base}/jawiki/{DATE}/{NAME}",)
    arguments = ("extract", *place, "--output", tmp_path / "out", "--workers", "1")
    for _ in range(2):
        done = jagpt(*arguments, "--title", "折り鶴")
        assert done.returncode == 0, done.stderr
        assert "1 document," in done.stdout
    assert len(server.gets(f"/jawiki/{DATE}/{NAME}")) == 1
    assert jagpt(*arguments, "--from", "wikitext").returncode == 2
    assert jagpt(*arguments, "page.xml", "--date", "20210301").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "--wiki NAME and --date DATE"),
        (("quickstart",), 2, "no source has a `wiki`"),
        (("small", "--wiki", "jawiki"), 2, "leave out --wiki and --date"),
        (("--wiki", "ja/wiki", "--date", DATE), 2, "ja/wiki"),
    ],
)
def test_a_download_that_cannot_be_is_told(
    server: DumpServer, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = jagpt("download", *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
