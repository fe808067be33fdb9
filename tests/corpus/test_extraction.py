"""Documents alone, as `jagpt extract` makes them."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dumps import article_text, contents, export, multistream, page
from locking import fails_without_locks

from jagpt import cli, files
from jagpt.compressed import Reader
from jagpt.corpus import convert, extraction, streams, text_files
from jagpt.corpus.extraction import extract_documents
from jagpt.corpus.jobs import RangeJob
from jagpt.corpus.parts import PartName, RangeFacts
from jagpt.corpus.shards import iter_documents
from jagpt.errors import DataError, RunInUseError, StoppedError, UsageError
from jagpt.progress import QUIET

SECTIONS = "前文。\n== 概要 ==\n本文。\n== 脚注 ==\n注。\n{|\n|表\n|}\n<math>x</math>\n"
PAGES = [
    page(1, SECTIONS, title="甲"),
    *(page(n) for n in range(2, 12)),
    page(12, "", title="空"),
    page(13, "短い。{{aimai}}", title="曖昧"),
    page(14, article_text(2), title="写し"),
    page(15, redirect="甲"),
    page(16, "#REDIRECT [[甲]]", title="印なし"),
    page(17, ns=4),
    page(18, "本文\x01", title="破損"),
]
ARTICLES = ["甲", *(f"項目{n}" for n in range(2, 12)), "空", "曖昧", "写し", "印なし"]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "PART_PAGES", 4)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(export(PAGES)))
    return path


def make(path: Path, output: Path, form: extraction.Format = "jsonl", **given: Any) -> Any:
    """Extract `path` to `output`; the statistics."""
    workers, force = given.pop("workers", 1), given.pop("force", False)
    wanted = extraction.request(str(path), given.pop("kind", "dump"), form, **given)
    return extract_documents(wanted, output, workers, QUIET, force=force).as_json()


def rows(output: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (output / "documents.jsonl").read_text("utf-8").split("\n")
        if line
    ]


def files_in(output: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(output).items() if name != ".lock"}


# --- what comes out -------------------------------------------------------------------------------


def test_every_article_is_there_and_what_cannot_be_read_is_counted(
    tmp_path: Path, dump: Path
) -> None:
    stats = make(dump, tmp_path / "out")
    assert [row["title"] for row in rows(tmp_path / "out")] == ARTICLES
    reason = "malformed (not well-formed (invalid token))"
    assert stats["left_out"] == {reason: 1}
    assert stats["left_out_pages"] == [{"id": "18", "title": "破損", "reason": reason}]
    assert (stats["pages"], stats["redirects"], stats["other_namespaces"]) == (18, 1, 1)
    assert stats["articles"] == stats["documents"] + 1 == 16
    assert stats["files"] == [{"size": dump.stat().st_size, "sha256": files.sha256(dump)}]
    assert stats == files.read_json(tmp_path / "out" / "stats.json")
    assert set(files_in(tmp_path / "out")) == {"documents.jsonl", "stats.json", "manifest.json"}


def test_a_row_says_where_its_text_is_from(tmp_path: Path, dump: Path) -> None:
    make(dump, tmp_path / "out")
    assert rows(tmp_path / "out")[0] == {
        "id": "1", "title": "甲", "url": "https://ja.wikipedia.org/wiki/%E7%94%B2",
        "revision": 1001, "text": "前文。\n\n概要\n本文。",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"headings": False}, "前文。\n\n本文。"),
        ({"closing_sections": True}, "前文。\n\n概要\n本文。\n\n脚注\n注。\n$x$"),
        ({"closing_sections": True, "math": False}, "前文。\n\n概要\n本文。\n\n脚注\n注。"),
        ({"closing_sections": True, "tables": True, "math": False},
         "前文。\n\n概要\n本文。\n\n脚注\n注。\n表"),
        ({"closing_sections": True, "markup": "markdown"},
         "前文。\n\n## 概要\n\n本文。\n\n## 脚注\n\n注。\n\n| 表 |\n| --- |\n\n$$x$$"),
        ({"markup": "markdown", "tables": False}, "前文。\n\n## 概要\n\n本文。"),
    ],
)  # fmt: skip
def test_options_choose_what_is_kept(
    tmp_path: Path, dump: Path, options: dict[str, Any], text: str
) -> None:
    make(dump, tmp_path / "out", **options)
    assert rows(tmp_path / "out")[0]["text"] == text


def test_formats_hold_the_same_documents(tmp_path: Path, dump: Path) -> None:
    make(dump, tmp_path / "jsonl")
    make(dump, tmp_path / "parquet", "parquet")
    make(dump, tmp_path / "txt", "txt")
    expected = rows(tmp_path / "jsonl")
    found = list(iter_documents(tmp_path / "parquet", "documents"))
    assert [(d.id, d.title, d.url, d.revision, d.text) for d in found] == [
        tuple(row.values()) for row in expected
    ]
    blocks = text_files.read_documents(Reader(tmp_path / "txt" / "documents.txt"), "block")
    assert [(d.title, d.text) for d in blocks if d.title] == [
        (row["title"], row["text"].replace("\n\n", "\n")) for row in expected if row["text"]
    ]


def test_filters_are_asked_for(tmp_path: Path, dump: Path) -> None:
    stats = make(dump, tmp_path / "out", filters=True)
    assert [row["title"] for row in rows(tmp_path / "out")] == ARTICLES[1:11]
    assert {page["title"]: page["reason"] for page in stats["left_out_pages"][:-1]} == {
        "甲": "short", "空": "empty", "曖昧": "short", "写し": "duplicate", "印なし": "empty",
    }  # fmt: skip


def test_rows_of_wikitext_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl.gz"
    pages = [
        {"title": "甲", "wikitext": SECTIONS, "rendered": "…"},
        {"title": "乙", "wikitext": None},
        {"title": "丙", "wikitext": "#転送 [[甲]]"},
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in pages).encode()))
    stats = make(path, tmp_path / "out", kind="wikitext")
    found = [(row["title"], row["text"]) for row in rows(tmp_path / "out")]
    assert found == [("甲", "前文。\n\n概要\n本文。"), ("丙", "")]
    assert stats["left_out"] == {"no text": 1}


def test_workers_do_not_change_a_byte(tmp_path: Path, dump: Path) -> None:
    make(dump, tmp_path / "one")
    make(dump, tmp_path / "three", workers=3)
    assert files_in(tmp_path / "three") == files_in(tmp_path / "one")


@pytest.fixture
def streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dump in multistream form whose ranges are single streams."""
    monkeypatch.setattr(streams, "RANGE_BYTES", 1)
    path = tmp_path / "streamed.xml.bz2"
    path.write_bytes(multistream(PAGES))
    return path


def test_a_part_is_written_before_the_next_one_is_made(
    tmp_path: Path, streamed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    make_part, take = convert.make_part, extraction._Writing.take

    def making(job: RangeJob) -> RangeFacts | None:
        events.append(f"made {job.name}")
        return make_part(job)

    def taking(state: extraction._Writing, name: PartName) -> None:
        events.append(f"written {name}")
        take(state, name)

    monkeypatch.setattr(convert, "make_part", making)
    monkeypatch.setattr(extraction._Writing, "take", taking)
    make(streamed, tmp_path / "out")
    names = [PartName(0, 0, number) for number in range(len(events) // 2)]
    assert len(names) > 4
    assert events == [f"{what} {name}" for name in names for what in ("made", "written")]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_form_of_the_dump_does_not_change_a_byte(
    tmp_path: Path, dump: Path, streamed: Path, workers: int
) -> None:
    """Plain, in order; in several files of both forms; all of it as parts come."""
    make(dump, tmp_path / "plain")
    make(streamed, tmp_path / "streamed", workers=workers)
    assert rows(tmp_path / "streamed") == rows(tmp_path / "plain")
    make(tmp_path / "*.xml.bz2", tmp_path / "both", workers=workers)
    assert rows(tmp_path / "both") == rows(tmp_path / "plain") * 2


def test_what_is_damaged_at_its_end_leaves_no_documents(tmp_path: Path, streamed: Path) -> None:
    whole = streamed.read_bytes()
    streamed.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="cut short"):
        make(streamed, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*documents*"))
    streamed.write_bytes(whole)
    make(streamed, tmp_path / "out")
    make(streamed, tmp_path / "fresh")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "fresh")


# --- again ----------------------------------------------------------------------------------------


def stop_at(count: int) -> Callable[[str, Path], None]:
    left = iter(range(count))

    def observer(operation: str, path: Path) -> None:
        if next(left, None) is None:
            raise StoppedError("stop")

    return observer


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_was_stopped_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, dump: Path, form: extraction.Format
) -> None:
    seen: list[str] = []
    with files.observed(lambda operation, path: seen.append(operation)):
        make(dump, tmp_path / "whole", form)
    for count in range(0, len(seen), 9):
        output = tmp_path / f"stopped{count}"
        with pytest.raises(StoppedError), files.observed(stop_at(count)):
            make(dump, output, form)
        make(dump, output, form)
        assert files_in(output) == files_in(tmp_path / "whole")


def test_what_is_finished_is_not_made_again(tmp_path: Path, dump: Path) -> None:
    stats = make(dump, tmp_path / "out")
    before = (tmp_path / "out" / "documents.jsonl").stat().st_mtime_ns
    assert make(dump, tmp_path / "out") == stats
    assert (tmp_path / "out" / "documents.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["options", "format", "input"])
def test_another_extraction_is_replaced_by_force_only(
    tmp_path: Path, dump: Path, change: str
) -> None:
    make(dump, tmp_path / "out")
    if change == "input":
        dump.write_bytes(bz2.compress(export(PAGES[:5])))
    form: extraction.Format = "txt" if change == "format" else "jsonl"
    options = {"headings": False} if change == "options" else {}
    with pytest.raises(UsageError, match="a different input or with different options"):
        make(dump, tmp_path / "out", form, **options)
    make(dump, tmp_path / "out", form, **options, force=True)
    make(dump, tmp_path / "fresh", form, **options)
    assert files_in(tmp_path / "out") == files_in(tmp_path / "fresh")


def test_what_is_replaced_stands_until_the_new_one_is_there(tmp_path: Path, dump: Path) -> None:
    make(dump, tmp_path / "out")
    before = files_in(tmp_path / "out")
    dump.write_bytes(bz2.compress(export(PAGES[:5]))[:-20])
    with pytest.raises(DataError, match="cut short"):
        make(dump, tmp_path / "out", force=True)
    after = files_in(tmp_path / "out")
    assert {name: after[name] for name in ("documents.jsonl", "stats.json")} == {
        name: before[name] for name in ("documents.jsonl", "stats.json")
    }


def test_a_finished_one_that_lost_a_file_is_not_taken_for_whole(tmp_path: Path, dump: Path) -> None:
    make(dump, tmp_path / "out")
    before = files_in(tmp_path / "out")
    (tmp_path / "out" / "documents.jsonl").unlink()
    with pytest.raises(DataError, match=r"documents\.jsonl: missing.*--force"):
        make(dump, tmp_path / "out")
    make(dump, tmp_path / "out", force=True)
    assert files_in(tmp_path / "out") == before


def test_an_unfinished_one_goes_on_with_its_own_options_only(tmp_path: Path, dump: Path) -> None:
    with pytest.raises(StoppedError), files.observed(stop_at(20)):
        make(dump, tmp_path / "out")
    with pytest.raises(UsageError, match="unfinished extraction with different options"):
        make(dump, tmp_path / "out", headings=False)
    make(dump, tmp_path / "out", headings=False, force=True)
    make(dump, tmp_path / "fresh", headings=False)
    assert files_in(tmp_path / "out") == files_in(tmp_path / "fresh")


def test_without_locks_the_same_files_are_made(
    tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(dump, tmp_path / "locked")
    monkeypatch.setattr("fcntl.flock", fails_without_locks)
    make(dump, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "locked")
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / files.HELD).touch()
    with pytest.raises(RunInUseError, match=r"delete .*killed/\.lock-held"):
        make(dump, tmp_path / "killed")


# --- refusals -------------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_refused(tmp_path: Path, dump: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "stats.json").write_text('{"mine": 1}')
    with pytest.raises(UsageError, match="holds no extraction"):
        make(dump, output, force=True)
    assert [path.name for path in output.iterdir()] == ["stats.json"]
    with pytest.raises(UsageError, match="expected a directory, found a file"):
        make(dump, dump)


def test_damage_is_passed_over_when_asked(tmp_path: Path, dump: Path) -> None:
    dump.write_bytes(multistream(PAGES)[:-200])
    with pytest.raises(DataError, match="cut short"):
        make(dump, tmp_path / "out")
    stats = make(dump, tmp_path / "skipped", skip_damaged=True)
    assert 0 < stats["documents"] < 15
    assert stats["files"][0]["lost"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.xml", "no such file"), ("", "a folder"), ("pipe.xml", "found a named pipe")],
)
def test_a_missing_input_makes_no_folder(tmp_path: Path, name: str, message: str) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    with pytest.raises(DataError, match=message):
        make(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_verb_prints_what_was_made(
    tmp_path: Path, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["extract", str(dump), "--output", str(tmp_path / "out"), "--format", "jsonl",
               "--workers", "1", "--no-headings"]  # fmt: skip
    with pytest.raises(SystemExit) as leave:
        cli.main(command)
    assert leave.value.code == 0
    assert f"{tmp_path / 'out'}: 15 documents, " in capsys.readouterr().out
    assert rows(tmp_path / "out")[0]["text"] == "前文。\n\n本文。"
    with pytest.raises(SystemExit):
        cli.main([*command, "--json"])
    assert json.loads(capsys.readouterr().out)["documents"] == 15
