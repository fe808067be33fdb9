"""Inputs from strangers, mutated by their structure and by their bytes (`JAGPT_MUTATIONS` each)."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece

from jagpt.compressed import Reader
from jagpt.corpus.download import catalogue
from jagpt.corpus.dump import Dump, parse_page
from jagpt.corpus.parquet import ParquetDocuments
from jagpt.corpus.readers import FileDocuments
from jagpt.corpus.rows import Columns
from jagpt.progress import QUIET
from jagpt.recipe import Source
from jagpt.tokenizer.encoder import Encoder

from .test_dumps import FOOTER, HEADER, page
from .test_strangers import MUTATIONS, damaged_bytes, mutated
from .watched import Tell, watch

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is told by Linux's /proc"
)

Read = Callable[[Path], object]
COUNT = MUTATIONS if "JAGPT_MUTATIONS" in os.environ else 150
"""Of each kind, unless asked for more."""

ROW = {"text": "京都は都市である。", "title": "京都", "id": 7, "url": "https://a", "rev": 12}
COLUMNS = {"title_column": "title", "id_column": "id", "url_column": "url"}
DUMP_STATUS: dict[str, Any] = {
    "version": "0.8",
    "jobs": {
        job: {
            "status": "done", "updated": "2021-01-02 03:04:05",
            "files": {f"jawiki-20210101-{name}": {
                "size": 99, "url": f"/jawiki/20210101/jawiki-20210101-{name}", "md5": "ab" * 16,
                "sha1": "cd" * 20}},
        }
        for job, name in {
            "articlesdump": "pages-articles.xml.bz2",
            "articlesmultistreamdump": "pages-articles-multistream.xml.bz2",
        }.items()
    },
}  # fmt: skip


def json_lines(rng: random.Random) -> bytes:
    rows = [mutated(ROW, rng) if rng.random() < 0.5 else ROW for _ in range(4)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return damaged_bytes(data, rng) if rng.random() < 0.5 else data


def read_json_lines(path: Path) -> None:
    source = Source(name="a", kind="jsonl", path=str(path), licence="cc0-1.0", **COLUMNS)
    for document in FileDocuments(source, path):
        document.packed()


def parquet_maker(folder: Path) -> Callable[[random.Random], bytes]:
    """Parquet files with damage anywhere, more often in headers and the footer."""
    wholes = []
    for number, options in enumerate((
        {"compression": "zstd"}, {"compression": "none", "use_dictionary": False},
        {"compression": "snappy", "data_page_version": "2.0", "row_group_size": 3},
    )):  # fmt: skip
        path = folder / f"whole-{number}.parquet"
        table = pa.table({name: [value] * 9 for name, value in ROW.items()})
        pq.write_table(table, path, **options)
        wholes.append(path.read_bytes())

    def make(rng: random.Random) -> bytes:
        whole = rng.choice(wholes)
        at = rng.choice((0, len(whole) // 2, rng.randrange(len(whole))))
        return whole[:at] + damaged_bytes(whole[at:], rng)

    return make


def read_parquet(path: Path) -> None:
    for document in ParquetDocuments(path, Columns("text", title="title", id="id", url="url")):
        document.packed()


def dump_xml(rng: random.Random) -> bytes:
    data = (HEADER + page(0) + page(1) + FOOTER).encode()
    if rng.random() < 0.5:
        return damaged_bytes(data, rng)
    tags = [
        b"<page>", b"</page>", b"<revision>", b"</text>", b"<text>", b"&a;", b"<!DOCTYPE a>",
        b"<![CDATA[", b"]]>", b"<?a b?>", b"<a " * 99, b"<siteinfo>", b"</mediawiki>",
    ]  # fmt: skip
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        data = data[:at] + rng.choice(tags) + data[at:]
    return data


def read_dump(path: Path) -> None:
    for skip_damaged in (True, False):
        dump = Dump(Reader(path, skip_damaged=skip_damaged))
        for raw in dump:
            parse_page(raw, dump.header)


def sentencepiece_maker() -> Callable[[random.Random], bytes]:
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([ROW["text"]] * 20), model_writer=trained, vocab_size=40,
        pad_id=0, unk_id=1, bos_id=2, eos_id=3, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return lambda rng: damaged_bytes(trained.getvalue(), rng)


def read_sentencepiece(path: Path) -> None:
    encoder = Encoder.open(path.parent)
    encoder.decode(encoder.encode("京都は<s>都市である。\n"))


def answer(rng: random.Random) -> bytes:
    value = mutated(DUMP_STATUS, rng)
    data = json.dumps(value).encode()
    return damaged_bytes(data, rng) if rng.random() < 0.4 else data


class Answering:
    """A client of a server that gives one answer to whatever it is asked."""

    progress = QUIET

    def __init__(self, document: bytes) -> None:
        self._document = document

    def document(self, url: str) -> bytes:
        return self._document

    def length(self, url: str) -> int:
        return 99


def read_answer(path: Path) -> None:
    client: Any = Answering(path.read_bytes())
    plan = catalogue.find(client, "jawiki", "20210101", "https://a", "https://b")
    for file in plan.files:
        assert plan.target(file).parent == plan.directory
    plan.as_json()


@pytest.fixture
def kinds(tmp_path: Path) -> dict[str, tuple[str, Any, Read]]:
    return {
        "JSON lines": ("rows.jsonl", json_lines, read_json_lines),
        "Parquet": ("rows.parquet", parquet_maker(tmp_path), read_parquet),
        "dump": ("dump.xml", dump_xml, read_dump),
        "SentencePiece": ("spiece.model", sentencepiece_maker(), read_sentencepiece),
        "HTTP answer": ("dumpstatus.json", answer, read_answer),
    }


@pytest.mark.parametrize("kind", ["JSON lines", "Parquet", "dump", "SentencePiece", "HTTP answer"])
def test_a_mutated_input_is_read_or_refused(
    kinds: dict[str, tuple[str, Any, Read]],
    kind: str,
    tmp_path: Path,
    tally: Tell,
) -> None:
    name, make, read = kinds[kind]
    place, outside = tmp_path / "inside" / name, tmp_path / "outside"
    place.parent.mkdir()
    outside.mkdir()
    (outside / "file").write_text("whole")

    def inputs() -> Iterator[bytes]:
        for number in range(COUNT):
            yield make(random.Random(f"{kind} {number}"))

    def put_and_read(content: bytes) -> None:
        place.write_bytes(content)
        read(place)

    found = watch(put_and_read, inputs(), outside)
    assert found.tried == COUNT
    assert 0 < found.refused <= COUNT
    assert [path.name for path in place.parent.iterdir()] == [name]
    tally(kind, found)
