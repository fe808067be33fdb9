"""Dumps in multistream form: read apart, with nothing lost and no difference in the result."""

from __future__ import annotations

import bz2
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dumps import (
    FOOTER,
    all_documents,
    contents,
    export,
    header,
    index,
    make_corpus,
    make_recipe,
    multistream,
    page,
    streams,
)

from jagpt import files
from jagpt.compressed import STREAM_START
from jagpt.corpus import convert
from jagpt.corpus import streams as under_test
from jagpt.corpus.streams import Ranges, beginning, index_beside, stream_starts
from jagpt.errors import DataError, StoppedError

PAGES = [page(n) for n in range(1, 40)]
NAME = "t-multistream.xml.bz2"
INDEX_NAME = "t-multistream-index.txt.bz2"
workers = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "RANGE_BYTES", 800)
    monkeypatch.setattr(convert, "PART_PAGES", 7)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(multistream(PAGES))
    return path


def corpus(tmp_path: Path, path: Path, *, workers: int = 1, **options: object) -> dict[str, bytes]:
    """Every file of the corpus that is made of the dump, but the packing of its parts."""
    root = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
    return contents(make_corpus(root, make_recipe({"path": path}, workers=workers, **options)))


def without_files(made: dict[str, bytes]) -> dict[str, Any]:
    """To compare corpora of the same pages in different files."""
    stats = json.loads(made["stats.json"])
    del stats["sources"][0]["files"]
    return {**made, "stats.json": stats}


def of_plain_file(tmp_path: Path, pages: list[str]) -> dict[str, Any]:
    path = tmp_path / "plain.xml"
    path.write_bytes(export(pages))
    return without_files(corpus(tmp_path, path))


def refused(tmp_path: Path, path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        corpus(tmp_path, path, **options)
    return str(caught.value)


def write_index(path: Path, lines: bytes) -> None:
    path.with_name(INDEX_NAME).write_bytes(bz2.compress(lines))


# --- finding streams ------------------------------------------------------------------------------


def test_every_stream_is_found_wherever_blocks_end(
    dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [len(stream) for stream in streams(PAGES)]
    expected = [sum(sizes[:k]) for k in range(len(sizes))]
    for size in (1, 7, 64, 2**20):
        monkeypatch.setattr(under_test, "SCAN_BYTES", size)
        assert list(stream_starts(dump)) == expected
    assert list(stream_starts(dump, expected[3])) == expected[3:]


def test_ranges_cover_the_file_and_know_its_pages(dump: Path) -> None:
    write_index(dump, index(PAGES))
    first = beginning(dump)
    assert first is not None
    ranges = Ranges(dump, first.size, index_beside(dump))
    found = list(ranges)
    assert [r.end for r in found[:-1]] == [r.start for r in found[1:]]
    assert (found[0].start, found[-1].end) == (first.size, dump.stat().st_size)
    assert [r.last for r in found] == [False] * (len(found) - 1) + [True]
    assert [number for r in found for number in r.ids or ()] == list(range(1, 40))
    assert len(found) > 5
    assert ranges.sha256 == files.sha256(dump)


def test_ranges_become_short_towards_the_end(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "RANGE_BYTES", 3_000)
    monkeypatch.setattr(under_test, "LAST_BYTES", 400)
    first = beginning(dump)
    assert first is not None
    sizes = [r.end - r.start for r in Ranges(dump, first.size)]
    assert max(sizes[-4:]) < max(sizes[:2])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.xml.bz2", bz2.compress(export(PAGES))),
        ("plain.xml", export(PAGES)),
        ("pbzip2.xml.bz2", bz2.compress(export(PAGES)[:9_000]) + bz2.compress(b"</mediawiki>")),
        ("header.xml.bz2", bz2.compress(header().encode())),
        ("zeros.bz2", bz2.compress(bytes(5_000_000)) * 2),
        ("other.xml.bz2", b"something else"),
        ("empty.xml.bz2", b""),
    ],
)
def test_other_forms_are_not_taken_for_multistream(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert beginning(tmp_path / name) is None


@pytest.mark.parametrize(
    ("name", "index_name"),
    [
        ("jawiki-20210301-pages-articles-multistream.xml.bz2",
         "jawiki-20210301-pages-articles-multistream-index.txt.bz2"),
        ("w-multistream3.xml-p1p2.bz2", "w-multistream-index3.txt-p1p2.bz2"),
        ("jawiki-20210301-pages-articles.xml.bz2", None),
    ],
)  # fmt: skip
def test_the_index_is_found_by_its_name(tmp_path: Path, name: str, index_name: str | None) -> None:
    assert index_beside(tmp_path / name) is None
    for existing in (index_name, name):
        if existing:
            (tmp_path / existing).touch()
    expected = tmp_path / index_name if index_name else None
    assert index_beside(tmp_path / name) == expected


# --- the same result ------------------------------------------------------------------------------


@workers
@pytest.mark.parametrize("indexed", [True, False])
def test_ranges_give_what_the_plain_file_gives(
    tmp_path: Path, dump: Path, workers: int, indexed: bool
) -> None:
    if indexed:
        write_index(dump, index(PAGES))
    made = corpus(tmp_path, dump, workers=workers)
    assert without_files(made) == of_plain_file(tmp_path, PAGES)
    (found,) = json.loads(made["stats.json"])["sources"][0]["files"]
    assert found == {"size": dump.stat().st_size, "sha256": files.sha256(dump)}


@workers
def test_a_place_that_only_looks_like_a_stream_does_no_harm(
    tmp_path: Path, dump: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_false_ones(path: Path, start: int = 0) -> Iterator[int]:
        for offset in stream_starts(path, start):
            yield offset
            yield offset + 57

    monkeypatch.setattr(under_test, "stream_starts", with_false_ones)
    made = corpus(tmp_path, dump, workers=workers)
    assert without_files(made) == of_plain_file(tmp_path, PAGES)


def test_pages_may_go_across_streams(tmp_path: Path) -> None:
    xml = "".join([*PAGES, FOOTER]).encode()
    path = tmp_path / NAME
    cut = [xml[k : k + 2_500] for k in range(0, len(xml), 2_500)]
    path.write_bytes(b"".join(map(bz2.compress, [header().encode(), *cut])))
    assert beginning(path) is not None
    made = corpus(tmp_path, path)
    assert without_files(made) == of_plain_file(tmp_path, PAGES)


def test_a_stopped_stage_goes_on_from_its_ranges(tmp_path: Path, dump: Path) -> None:
    expected = corpus(tmp_path, dump)
    made: list[str] = []

    def stop(operation: str, path: Path) -> None:
        if operation == "rename":
            made.append(path.name)
        if path.name == "000-00000-000004.json" and len(made) < 12:
            raise StoppedError("stop")

    recipe = make_recipe({"path": dump})
    with files.observed(stop):
        with pytest.raises(StoppedError):
            make_corpus(tmp_path / "stopped", recipe)
        before = set(made)
        made.extend([""] * 12)
        assert contents(make_corpus(tmp_path / "stopped", recipe)) == expected
    again = made[made.index("") :]
    assert "000-00000-000003.json" in before
    assert not {f"000-00000-00000{k}.parquet" for k in range(4)} & set(again)
    assert "000-00000-000004.json" in again


# --- damage ---------------------------------------------------------------------------------------


def damaged(path: Path, *numbers: int) -> list[int]:
    """Damage these streams (from 0); where each stream begins."""
    data = bytearray(path.read_bytes())
    starts = [found.start() for found in STREAM_START.finditer(bytes(data))]
    for number in numbers:
        data[starts[number] + 200] ^= 0xFF
    path.write_bytes(bytes(data))
    return starts


@pytest.mark.parametrize(("workers", "number"), [(1, 1), (1, 6), (2, 6), (1, 13)])
def test_damage_is_told_with_stream_page_and_offset(
    tmp_path: Path, dump: Path, workers: int, number: int
) -> None:
    starts = damaged(dump, number)
    message = refused(tmp_path, dump, workers=workers)
    assert f"bzip2 stream {number + 1}, which begins at byte {starts[number]}," in message
    assert f"after page {3 * (number - 1)}," in message
    xml = "".join([header(), *PAGES[: 3 * (number - 1)]]).encode()
    assert f"at byte {len(xml)} of its XML" in message


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
def test_a_cut_dump_is_named_as_such_even_with_an_index(
    tmp_path: Path, dump: Path, kept: float
) -> None:
    write_index(dump, index(PAGES))
    size = int(dump.stat().st_size * kept)
    dump.write_bytes(dump.read_bytes()[:size])
    message = refused(tmp_path, dump)
    assert "cut short" in message
    assert f"ends at byte {size} " in message


def test_a_missing_last_stream_is_told(tmp_path: Path, dump: Path) -> None:
    dump.write_bytes(b"".join(streams(PAGES)[:-1]))
    assert "without </mediawiki>" in refused(tmp_path, dump)


def test_nothing_may_follow_the_end(tmp_path: Path, dump: Path) -> None:
    dump.write_bytes(multistream(PAGES) * 2)
    assert "continues after </mediawiki>" in refused(tmp_path, dump)
    dump.write_bytes(multistream(PAGES) + b"rubbish")
    assert "something that is not bzip2" in refused(tmp_path, dump)
    dump.write_bytes(multistream(PAGES) + bz2.compress(b"\n"))
    assert without_files(corpus(tmp_path, dump)) == of_plain_file(tmp_path, PAGES)


# --- an index that lies ---------------------------------------------------------------------------


def shifted(lines: bytes, by: int, line: int) -> bytes:
    rows = lines.splitlines(keepends=True)
    offset, rest = rows[line].split(b":", 1)
    rows[line] = b"%d:" % (int(offset) + by) + rest
    return b"".join(rows)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: shifted(lines, 5, 20), "page 21 is in a stream that begins at byte"),
        (lambda lines: shifted(lines, -200, 20), "none begins there"),
        (lambda lines: shifted(lines, 10**9, 38), "page 39 is in a stream that begins at byte 10"),
        (lambda lines: lines + b"99999999:77:x\n", "that begins at byte 99999999"),
        (lambda lines: lines.replace(b":20:", b":4711:"), "found page 20 where the index has"),
        (lambda lines: lines.replace(lines.splitlines(True)[19], b""), "found page 20 where"),
        (lambda lines: b"".join(reversed(lines.splitlines(True))), "page 1 is not in the index"),
        (lambda lines: lines[: len(lines) // 2], "is not in the index"),
        (lambda lines: lines.replace(b":20:", b";20;"), "line 20 is no"),
        (lambda lines: b"".join(lines.splitlines(True)[:-2]), "page 38 is not in the index"),
        (lambda lines: lines + b"\xff" * 100_000, "line 40 is no"),
        (lambda lines: b"", "page 1 is not in the index"),
    ],
)
def test_an_index_that_lies_is_one_clear_message(
    tmp_path: Path, dump: Path, change: Any, told: str
) -> None:
    lines = index(PAGES)
    write_index(dump, change(lines))
    message = refused(tmp_path, dump)
    assert told in message
    assert str(dump.with_name(INDEX_NAME)) in message
    assert "download both again, or remove the index" in message
    dump.with_name(INDEX_NAME).unlink()
    corpus(tmp_path, dump)


def test_a_damaged_index_is_told(tmp_path: Path, dump: Path) -> None:
    place = dump.with_name(INDEX_NAME)
    for data in (bz2.compress(index(PAGES))[:-20], b"no index", b""):
        place.write_bytes(data)
        assert f"{place}: " in refused(tmp_path, dump)


@workers
def test_a_stream_that_was_taken_out_is_missed_by_the_index(
    tmp_path: Path, dump: Path, workers: int
) -> None:
    write_index(dump, index(PAGES))
    whole = streams(PAGES)
    dump.write_bytes(b"".join(whole[:5] + whole[6:]))
    message = refused(tmp_path, dump, workers=workers)
    assert "this index does not match t-multistream.xml.bz2" in message


# --- going on -------------------------------------------------------------------------------------


def losses(made: dict[str, bytes]) -> dict[str, Any]:
    (found,) = json.loads(made["stats.json"])["sources"][0]["files"]
    lost = found["lost"]
    assert isinstance(lost, dict)
    return lost


def test_damaged_streams_are_left_out_and_counted(tmp_path: Path, dump: Path) -> None:
    write_index(dump, index(PAGES))
    starts = damaged(dump, 3, 4, 9)
    made = corpus(tmp_path, dump, skip_damaged=True)
    assert corpus(tmp_path, dump, skip_damaged=True, workers=2) == made
    left = [p for k, p in enumerate(PAGES) if k // 3 + 1 not in (3, 4, 9)]
    expected = of_plain_file(tmp_path, left)
    assert {**without_files(made), "stats.json": 0} == {**expected, "stats.json": 0}
    lost = losses(made)
    assert (lost["streams"], lost["between_pages"]) == (3, 0)
    assert [(p["offset"], p["bytes"]) for p in lost["places"]] == [
        (starts[k], starts[k + 1] - starts[k]) for k in (3, 4, 9)
    ]
    assert lost["stream_bytes"] == sum(p["bytes"] for p in lost["places"])
    assert json.loads(made["stats.json"])["sources"][0]["pages"] == 30


@workers
def test_a_sound_dump_is_the_same_whether_damage_may_be_skipped(
    tmp_path: Path, dump: Path, workers: int
) -> None:
    made = corpus(tmp_path, dump, skip_damaged=True, workers=workers)
    assert made == corpus(tmp_path, dump)


def test_the_end_of_a_cut_dump_is_counted_as_lost(tmp_path: Path, dump: Path) -> None:
    starts = damaged(dump)
    dump.write_bytes(dump.read_bytes()[: starts[10] + 200])
    made = corpus(tmp_path, dump, skip_damaged=True)
    lost = losses(made)
    assert lost["places"][0] == {
        "what": "stream", "offset": starts[10], "bytes": 200, "problem": "cut short"
    }  # fmt: skip
    assert lost["places"][1]["problem"] == "cut short: no </mediawiki>"
    assert json.loads(made["stats.json"])["sources"][0]["pages"] == 27


def test_without_a_header_nothing_can_be_skipped(tmp_path: Path, dump: Path) -> None:
    damaged(dump, 0)
    assert "before the first page" in refused(tmp_path, dump, skip_damaged=True)


def test_what_is_lost_between_pages_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    xml = export(PAGES)
    broken = xml.replace(b"  <page>\n    <title>\xe9\xa0\x85\xe7\x9b\xae7<", b"  <pa#e>", 1)
    path.write_bytes(broken)
    assert "damaged after page 6" in refused(tmp_path, path)
    made = corpus(tmp_path, path, skip_damaged=True)
    (place,) = losses(made)["places"]
    assert place["what"] == "between pages"
    assert place["offset"] == broken.index(b"<pa#e>")
    assert json.loads(made["stats.json"])["sources"][0]["pages"] == 38


def test_a_cut_in_a_plain_dump_leaves_the_pages_before(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(export(PAGES)[:-300]))
    made = corpus(tmp_path, path, skip_damaged=True)
    assert json.loads(made["stats.json"])["sources"][0]["pages"] == 38
    assert losses(made)["places"][0]["problem"] == "cut short: no </mediawiki>"


def test_documents_of_a_damaged_dump_are_whole(tmp_path: Path, dump: Path) -> None:
    expected = all_documents(make_corpus(tmp_path / "whole", make_recipe({"path": dump})))
    for at in range(700, dump.stat().st_size, 1_111):
        data = bytearray(multistream(PAGES))
        data[at] ^= 0x10
        dump.write_bytes(bytes(data))
        recipe = make_recipe({"path": dump}, skip_damaged=True)
        found = all_documents(make_corpus(tmp_path / f"at{at}", recipe))
        assert all(expected[number] == document for number, document in found.items())
        assert len(found) >= len(expected) - 6


# --- bad input ------------------------------------------------------------------------------------


def with_stream(at: int, xml: bytes) -> bytes:
    """The dump with one more stream."""
    whole = streams(PAGES)
    return b"".join([*whole[:at], bz2.compress(xml), *whole[at:]])


def test_a_bomb_between_the_pages_is_refused_or_counted(tmp_path: Path, dump: Path) -> None:
    dump.write_bytes(with_stream(4, bytes(32 * 2**20)))
    assert "damaged after page 9," in refused(tmp_path, dump)
    made = corpus(tmp_path, dump, skip_damaged=True)
    (place,) = losses(made)["places"]
    assert (place["what"], place["bytes"]) == ("between pages", 32 * 2**20)
    dump.write_bytes(with_stream(4, b" " * (32 * 2**20)))
    assert without_files(corpus(tmp_path, dump)) == of_plain_file(tmp_path, PAGES)


def test_a_page_over_the_limit_is_dropped_by_name(
    tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jagpt.corpus.dump.PAGE_BYTES", 2**20)
    huge = page(100, "\u3042" * 2**20, title="巨大")
    dump.write_bytes(with_stream(4, huge.encode()))
    made = corpus(tmp_path, dump)
    (line,) = made["dropped.jsonl"].decode().splitlines()
    row = json.loads(line)
    assert (row["id"], row["title"], row["reason"]) == ("100", "巨大", "too large")


def test_a_document_type_in_a_later_stream_is_refused(tmp_path: Path, dump: Path) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>\n'
    dump.write_bytes(with_stream(4, bomb + page(100, "&c;").encode()))
    message = refused(tmp_path, dump)
    assert "damaged after page 9," in message
    assert "<!DOCTYPE" in message


def test_titles_are_never_paths(tmp_path: Path, dump: Path) -> None:
    titles = ["../../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "C:\\x", "題\u202e名", "a\tb"]
    pages = [page(n, title=title) for n, title in enumerate(titles, 100)]
    dump.write_bytes(multistream([*PAGES, *pages]))
    directory = make_corpus(tmp_path / "run", make_recipe({"path": dump}))
    found = all_documents(directory)
    assert [found[str(n)].title for n in range(100, 108)] == titles
    assert {path.parent for path in directory.rglob("*")} == {directory}
    assert {path.name for path in tmp_path.iterdir()} == {"run", dump.name}
