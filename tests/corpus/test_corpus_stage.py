"""The corpus stage as a whole: the same bytes whatever the workers, streams, paths and failures."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dumps import (
    FOOTER,
    all_documents,
    article_text,
    contents,
    dropped,
    export,
    header,
    make_corpus,
    make_recipe,
    multistream,
    page,
)

from jagpt import files, manifests
from jagpt.corpus import convert, shards
from jagpt.corpus.documents import COLUMNS, SPLITS
from jagpt.corpus.parts import PartName
from jagpt.corpus.shards import iter_documents, split_shards
from jagpt.errors import DataError, JagptError, StoppedError

PAGES = [
    *(page(n) for n in range(1, 31)),
    page(31, redirect="項目1"),
    page(32, "#転送 [[項目1]]", title="旧名"),
    page(33, ns=4, title="Wikipedia:方針"),
    page(34, "短い。", title="短い"),
    page(35, "'''甲'''は次のいずれか。\n* [[甲 (地名)]]\n" * 9 + "{{aimai}}", title="甲"),
    page(36, article_text(1), title="写し"),
    page(37, "English words only, and many of them, in this very page. " * 3, title="英語"),
    page(38, "", title="空"),
    page(39, "本文\x01", title="破損"),
    page(40, article_text(40) + "{{知らない雛形|値}}", title="雛形"),
    *(page(n) for n in range(41, 60)),
]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "PART_PAGES", 7)
    monkeypatch.setattr(shards, "SHARD_BYTES", 4_000)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1_500)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(export(PAGES)))
    return path


def stats(directory: Path) -> dict[str, Any]:
    value = json.loads((directory / "stats.json").read_text("utf-8"))
    assert isinstance(value, dict)
    return value


# --- what comes out -------------------------------------------------------------------------------


def test_a_folder_with_a_colon_or_brackets_in_its_relative_name_is_one(
    tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe({"path": dump})
    plain = make_corpus(tmp_path / "plain", recipe)
    monkeypatch.chdir(tmp_path)
    odd = make_corpus(Path("run-2026-11-29T22:13 [a]"), recipe)
    assert not odd.is_absolute()
    assert all_documents(odd) == all_documents(plain)


def test_documents_are_the_articles_that_pass(tmp_path: Path, dump: Path) -> None:
    directory = make_corpus(tmp_path / "run", make_recipe({"path": dump}))
    documents = all_documents(directory)
    assert set(documents) == {str(n) for n in [*range(1, 31), 37, *range(40, 60)]}
    first = documents["1"]
    assert (first.source, first.title, first.revision) == ("source0", "項目1", 1001)
    assert first.url == "https://ja.wikipedia.org/wiki/%E9%A0%85%E7%9B%AE1"
    assert first.text.startswith("項目1は日本の例31であり、0番目の文で説明される。\n")


def test_what_is_left_out_has_its_reason(tmp_path: Path, dump: Path) -> None:
    directory = make_corpus(tmp_path / "run", make_recipe({"path": dump}, min_japanese_share=0.5))
    assert dropped(directory) == {
        "短い": "short",
        "甲": "disambiguation",
        "写し": "duplicate",
        "英語": "few Japanese letters",
        "空": "empty",
        "旧名": "empty",
        "破損": "malformed (not well-formed (invalid token))",
    }


def test_stats_add_up(tmp_path: Path, dump: Path) -> None:
    recipe = make_recipe({"path": dump, "licence": "CC0"})
    directory = make_corpus(tmp_path / "run", recipe)
    found = stats(directory)
    (source,) = found["sources"]
    assert source["files"] == [{"size": dump.stat().st_size, "sha256": files.sha256(dump)}]
    assert (source["wiki"], source["licence"]) == ("jawiki", "CC0")
    assert (source["pages"], source["redirects"], source["other_namespaces"]) == (59, 1, 1)
    assert source["articles"] == source["documents"] + sum(found["dropped"].values()) == 57
    documents = all_documents(directory).values()
    totals = [sum(found["splits"][split][key] for split in SPLITS)
              for key in ("documents", "characters", "bytes")]  # fmt: skip
    assert totals == [
        len(documents),
        sum(len(d.text) for d in documents),
        sum(len(d.text.encode()) for d in documents),
    ]
    assert sum(found["lengths"]["documents"]) == len(documents)
    assert len(found["lengths"]["edges"]) == len(found["lengths"]["documents"])
    assert found["unknown_templates"][0]["name"] == "知らない雛形"


def test_shards_have_the_design_s_columns_and_size(tmp_path: Path, dump: Path) -> None:
    directory = make_corpus(tmp_path / "run", make_recipe({"path": dump}))
    found = split_shards(directory, "train")
    assert len(found) > 1
    for path in found:
        parquet = pq.ParquetFile(path)
        assert tuple(parquet.schema_arrow.names) == COLUMNS
        assert parquet.metadata.row_group(0).column(5).compression == "ZSTD"
        texts = [text.as_py() for text in parquet.read()["text"]]
        assert sum(len(text.encode()) for text in texts[:-1]) < 4_000
        parquet.close()


def test_only_the_corpus_is_left(tmp_path: Path, dump: Path) -> None:
    directory = make_corpus(tmp_path / "run", make_recipe({"path": dump}))
    names = set(contents(directory))
    assert {"dropped.jsonl", "stats.json"} <= names
    assert all(name.endswith(".parquet") for name in names - {"dropped.jsonl", "stats.json"})
    assert sorted(path.name for path in directory.iterdir()) == sorted(names)


def test_options_reach_the_converter(tmp_path: Path) -> None:
    body = "\n== 見出し ==\n段落。\n\n== 脚注 ==\n注の文。\n"
    path = tmp_path / "dump.xml"
    path.write_bytes(export([page(n, article_text(n) + body) for n in range(1, 12)]))
    with_all = make_recipe({"path": path}, headings=True, closing_sections=True)
    without = make_recipe({"path": path}, headings=False)
    text = all_documents(make_corpus(tmp_path / "all", with_all))["1"].text
    assert "見出し" in text
    assert "注の文" in text
    text = all_documents(make_corpus(tmp_path / "none", without))["1"].text
    assert "見出し" not in text
    assert "注の文" not in text


def test_a_recipe_s_own_templates_are_rendered_and_dropped(tmp_path: Path) -> None:
    body = "彼は{{知らない雛形|甲|乙}}と{{lang|en|word}}を{{読み|丙}}書いた。\n"
    path = tmp_path / "dump.xml"
    path.write_bytes(export([page(n, article_text(n) + body) for n in range(1, 12)]))
    rows = {
        'templates."知らない雛形"': "〈{1}<・{2}>〉",
        'templates."読み"': "",
        "templates.lang": "{1}",
    }
    directory = make_corpus(tmp_path / "run", make_recipe({"path": path}, **rows))
    assert all_documents(directory)["1"].text.endswith("彼は〈甲・乙〉とenを書いた。")
    assert stats(directory)["unknown_templates"] == []


def test_several_sources_make_one_corpus(tmp_path: Path, dump: Path) -> None:
    text = tmp_path / "own.txt.gz"
    blocks = (f"題{n}\n自分の文章、その{n}。{'長い文。' * 20}\n\n" for n in range(20))
    text.write_bytes(gzip.compress("".join(blocks).encode()))
    recipe = make_recipe(
        {"path": dump}, {"path": text, "kind": "text", "layout": "block", "name": "own"}
    )
    directory = make_corpus(tmp_path / "run", recipe)
    own = [d for d in all_documents(directory).values() if d.source == "own"]
    assert len(own) == 20
    assert {d.title for d in own} == {f"題{n}" for n in range(20)}
    assert own[0].url is None
    assert [s["documents"] for s in stats(directory)["sources"]] == [51, 20]


def test_a_dump_in_parts_is_read_in_their_order(tmp_path: Path) -> None:
    for part in range(1, 12):
        path = tmp_path / f"jawiki-articles{part}.xml.bz2"
        path.write_bytes(bz2.compress(export([page(n) for n in range(part * 10, part * 10 + 3)])))
    whole = tmp_path / "whole.xml"
    whole.write_bytes(export([page(p * 10 + k) for p in range(1, 12) for k in range(3)]))
    parts = make_corpus(
        tmp_path / "parts", make_recipe({"path": tmp_path / "jawiki-articles*.bz2"})
    )
    one = make_corpus(tmp_path / "one", make_recipe({"path": whole}))
    assert _shards(parts) == _shards(one)


# --- same in, same out ----------------------------------------------------------------------------


def _shards(directory: Path) -> dict[str, bytes]:
    """What must be equal where only the files' packing differs."""
    return {name: data for name, data in contents(directory).items() if name != "stats.json"}


def test_workers_and_places_do_not_change_a_byte(tmp_path: Path, dump: Path) -> None:
    moved = tmp_path / "elsewhere" / dump.name
    moved.parent.mkdir()
    moved.write_bytes(dump.read_bytes())
    one = make_corpus(tmp_path / "one", make_recipe({"path": dump}, workers=1))
    three = make_corpus(tmp_path / "three", make_recipe({"path": moved}, workers=3))
    assert contents(one) == contents(three)
    assert not any(str(tmp_path).encode() in data for data in contents(one).values())


@pytest.mark.parametrize("packing", ["multistream", "gzip", "plain"])
def test_streams_and_compression_do_not_change_a_document(
    tmp_path: Path, dump: Path, packing: str
) -> None:
    path = tmp_path / {"multistream": "m.xml.bz2", "gzip": "g.xml.gz", "plain": "p.xml"}[packing]
    packed = {
        "multistream": lambda: multistream(PAGES, a_stream=4),
        "gzip": lambda: gzip.compress(export(PAGES)),
        "plain": lambda: export(PAGES),
    }
    path.write_bytes(packed[packing]())
    expected = make_corpus(tmp_path / "expected", make_recipe({"path": dump}))
    assert _shards(make_corpus(tmp_path / "run", make_recipe({"path": path}))) == _shards(expected)


def test_the_size_of_parts_does_not_change_a_byte(
    tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = make_corpus(tmp_path / "small", make_recipe({"path": dump}))
    monkeypatch.setattr(convert, "PART_PAGES", 1_000)
    assert contents(make_corpus(tmp_path / "large", make_recipe({"path": dump}))) == contents(small)


# --- resuming -------------------------------------------------------------------------------------


class Stop:
    """Raises at the nth durable operation, counting from 1, and remembers those that happened."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.at, self.error = at, error
        self.seen: list[tuple[str, str]] = []

    def __call__(self, operation: str, path: Path) -> None:
        self.seen.append((operation, path.name))
        if len(self.seen) == self.at:
            raise self.error


def test_a_stage_that_was_stopped_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, dump: Path
) -> None:
    recipe = make_recipe({"path": dump})
    count = Stop(0, StoppedError())
    with files.observed(count):
        expected = contents(make_corpus(tmp_path / "whole", recipe))
    assert len(count.seen) > 60
    for at in range(1, len(count.seen) + 1, 7):
        root = tmp_path / f"stopped{at}"
        stop = Stop(at, StoppedError("stop"))
        with pytest.raises(StoppedError), files.observed(stop):
            make_corpus(root, recipe)
        assert contents(make_corpus(root, recipe)) == expected


def test_finished_parts_and_shards_are_not_made_again(tmp_path: Path, dump: Path) -> None:
    recipe = make_recipe({"path": dump})
    error = OSError(28, "No space left on device")

    def renamed_until(stop: Stop) -> Iterator[str]:
        with files.observed(stop), contextlib.suppress(OSError):
            make_corpus(tmp_path / "run", recipe)
        yield from (name for operation, name in stop.seen[: stop.at - 1] if operation == "rename")

    first = list(renamed_until(Stop(45, error)))
    second = list(renamed_until(Stop(75, error)))
    third = list(renamed_until(Stop(10_000, error)))
    parquet = [n for n in [*first, *second, *third] if n.endswith(".parquet")]
    assert len(first) > 5
    assert len(second) > 5
    assert len(parquet) - len(set(parquet)) <= 2  # those that were cut between file and mark


def test_a_part_made_of_other_pages_is_made_again(tmp_path: Path, dump: Path) -> None:
    damaged = tmp_path / "damaged.xml"
    damaged.write_bytes(export([page(n, article_text(n + 500)) for n in range(1, 20)])[:-40])
    with pytest.raises(DataError, match="cut short"):
        make_corpus(tmp_path / "run", make_recipe({"path": damaged}))
    assert list((tmp_path / "run" / "corpus" / "parts").glob("*.parquet"))
    directory = make_corpus(tmp_path / "run", make_recipe({"path": dump}))
    expected = make_corpus(tmp_path / "expected", make_recipe({"path": dump}))
    assert contents(directory) == contents(expected)


def test_a_failure_in_a_worker_keeps_the_finished_parts(
    tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe({"path": dump}, workers=2)
    monkeypatch.setattr(convert, "make_part", _die_at_fourth_part)
    with pytest.raises(JagptError, match="a worker process died"):
        make_corpus(tmp_path / "run", recipe)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run/corpus/parts").glob("*.json")}
    assert "000-00000-000000.json" in kept
    monkeypatch.setattr(convert, "make_part", make_part)
    resumed = make_corpus(tmp_path / "run", recipe)
    assert contents(resumed) == contents(make_corpus(tmp_path / "whole", recipe))


make_part = convert.make_part


def _die_at_fourth_part(job: convert.PartJob) -> None:
    if job.name.number == 3:
        while not PartName(0, 0, 0).json(job.directory).exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    make_part(job)


def test_the_pipelines_own_file_is_left_alone(tmp_path: Path, dump: Path) -> None:
    mark = tmp_path / "run" / "corpus" / manifests.IN_PROGRESS
    files.write_json(mark, {"fingerprint": "f"})
    (mark.parent / f"{files.STAGING_PREFIX}train-00000.parquet").write_bytes(b"half")
    directory = make_corpus(tmp_path / "run", make_recipe({"path": dump}))
    assert mark.exists()
    assert not list(directory.glob(f"{files.STAGING_PREFIX}*"))


# --- refusals -------------------------------------------------------------------------------------


def test_a_dump_without_articles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.xml"
    path.write_bytes(export([page(1, ns=4), page(2, redirect="甲"), page(3, ns=10)]))
    message = "none.xml: no articles in it .3 pages, of them 1 redirect and 2 in other"
    with pytest.raises(DataError, match=message):
        make_corpus(tmp_path / "run", make_recipe({"path": path}))
    path.write_bytes((header() + FOOTER).encode())
    with pytest.raises(DataError, match=r"none.xml: no articles in it .0 pages"):
        make_corpus(tmp_path / "other", make_recipe({"path": path}))


def test_a_text_file_without_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blank.txt"
    path.write_text("\n \n", "utf-8")
    with pytest.raises(DataError, match=r"blank\.txt: no text in it"):
        make_corpus(tmp_path / "run", make_recipe({"path": path, "kind": "text"}))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_dump_is_refused_after_its_good_pages(
    tmp_path: Path, dump: Path, workers: int
) -> None:
    dump.write_bytes(multistream(PAGES)[:-100])
    with pytest.raises(DataError, match=r"dump\.xml\.bz2: cut short"):
        make_corpus(tmp_path / "run", make_recipe({"path": dump}, workers=workers))
    assert not (tmp_path / "run" / "corpus" / "stats.json").exists()


def test_an_empty_split_names_the_share_that_fills_it(tmp_path: Path, dump: Path) -> None:
    with pytest.raises(DataError) as caught:
        make_corpus(tmp_path / "run", make_recipe({"path": dump}, valid_share=1e-9, test_share=0.0))
    message = str(caught.value)
    assert "documents in all: 51" in message
    advice = {
        f"{split}_share": float(message.split(f"set corpus.{split}_share to ")[1].split()[0])
        for split in ("valid", "test")
    }
    directory = make_corpus(tmp_path / "advised", make_recipe({"path": dump}, **advice))
    assert all(next(iter_documents(directory, split)) for split in SPLITS)
    assert sum(stats(directory)["splits"][split]["documents"] for split in ("valid", "test")) <= 4


def test_an_empty_train_split_is_refused(tmp_path: Path, dump: Path) -> None:
    recipe = make_recipe({"path": dump}, valid_share=0.4999999, test_share=0.5)
    message = "the train split is empty: set corpus.valid_share and corpus.test_share, now 0.5 and"
    with pytest.raises(DataError, match=message):
        make_corpus(tmp_path / "run", recipe)


@pytest.mark.parametrize(
    ("valid", "test", "message"),
    [(500_000, 500_000, "the train split is empty: the documents have 300 lines"),
     (0, 5, "the valid split is empty: set corpus.valid_lines to 1 or more"),
     (5, 0, "the test split is empty: set corpus.test_lines to 1 or more")],
)  # fmt: skip
def test_empty_splits_by_lines_are_refused(
    tmp_path: Path, dump: Path, valid: int, test: int, message: str
) -> None:
    recipe = make_recipe({"path": dump}, split="first-lines", valid_lines=valid, test_lines=test,
                         min_japanese_share=0.5)  # fmt: skip
    with pytest.raises(DataError, match=message):
        make_corpus(tmp_path / "run", recipe)


def test_fewer_documents_than_splits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.xml"
    path.write_bytes(export([page(1), page(2), page(3, "短い。")]))
    with pytest.raises(DataError, match=r"there are 2 in all .left out: short 1.; add documents"):
        make_corpus(tmp_path / "run", make_recipe({"path": path}))


def test_reading_a_corpus_that_is_not_there_is_told(tmp_path: Path, dump: Path) -> None:
    with pytest.raises(DataError, match="the corpus stage has not been run"):
        list(iter_documents(tmp_path, "train"))
    directory = make_corpus(tmp_path / "run", make_recipe({"path": dump}))
    (directory / "train-00001.parquet").write_bytes(b"PAR1 something else PAR1")
    with pytest.raises(DataError, match=r"train-00001.parquet: this shard is damaged"):
        list(iter_documents(directory, "train"))
    (directory / "train-00000.parquet").unlink()
    with pytest.raises(DataError, match=r"train-00000.parquet is missing"):
        list(iter_documents(directory, "train"))
