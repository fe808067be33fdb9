"""Sources of all kinds together in one corpus."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dumps import article_text, contents, dropped, make_corpus, make_recipe

from jagpt.corpus import convert
from jagpt.corpus.documents import SPLITS
from jagpt.corpus.shards import iter_documents
from jagpt.errors import DataError
from jagpt.progress import QUIET


@pytest.fixture
def sources(tmp_path: Path) -> list[dict[str, object]]:
    """Twenty documents in each source, one of a fixed split."""
    texts = {k: [article_text(100 * k + n) for n in range(20)] for k in range(4)}
    (tmp_path / "a.jsonl").write_bytes(_lines([{"text": t} for t in [*texts[0], None]]))
    pq.write_table(pa.table({"body": texts[1], "n": list(range(20))}), tmp_path / "b.parquet")
    pages = [{"title": f"題{n}", "wikitext": text} for n, text in enumerate(texts[2])]
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(_lines(pages)))
    cirrus = [
        line
        for n, text in enumerate(texts[3])
        for line in (
            {"index": {"_id": str(n)}},
            {"namespace": 4 * (n == 7), "title": f"題{n}", "text": text, "version": n},
        )
    ]
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(_lines(cirrus)))
    return [
        {"kind": "jsonl", "path": tmp_path / "a.jsonl"},
        {"kind": "parquet", "path": tmp_path / "b.parquet", "column": "body", "id_column": "n",
         "split": "valid"},
        {"kind": "wikitext", "path": tmp_path / "c.jsonl.gz"},
        {"kind": "cirrus", "path": tmp_path / "d.json.gz"},
    ]  # fmt: skip


def _lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("column", ["title", "id", "url"])
def test_all_texts_of_a_document_count_towards_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    rows = [{"text": article_text(n, 1), "title": "", "id": n, "url": None} for n in range(30)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(_lines([{**row, column: f"{row['text']}" + "長" * 500} for row in rows]))
    columns = {f"{name}_column": name for name in ("title", "id", "url")}
    recipe = make_recipe({"kind": "jsonl", "path": path, **columns}, min_characters=0)
    whole = contents(make_corpus(tmp_path / "whole", recipe))
    monkeypatch.setattr(convert, "PART_BYTES", 1_500)
    assert contents(make_corpus(tmp_path / "parts", recipe)) == whole
    (source,) = convert.convert(recipe.corpus, tmp_path, 1, QUIET)
    assert [file.parts for file in source.files] == [10]


def test_sources_of_all_kinds_make_one_corpus(
    tmp_path: Path, sources: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "PART_PAGES", 6)
    one = make_corpus(tmp_path / "one", make_recipe(*sources))
    three = make_corpus(tmp_path / "three", make_recipe(*sources, workers=3))
    assert contents(one) == contents(three)
    stats = json.loads((one / "stats.json").read_text("utf-8"))
    found = [(s["kind"], s["pages"], s["other_namespaces"], s["documents"])
             for s in stats["sources"]]  # fmt: skip
    assert found == [("jsonl", 21, 0, 20), ("parquet", 20, 0, 20), ("wikitext", 20, 0, 20),
                     ("cirrus", 20, 1, 19)]  # fmt: skip
    assert dropped(one) == {"": "no text"}
    documents = [(d.source, split) for split in SPLITS for d in iter_documents(one, split)]
    assert {split for source, split in documents if source == "source1"} == {"valid"}
    assert {split for source, split in documents if source == "source0"} == set(SPLITS)


def test_a_source_without_a_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n\n")
    with pytest.raises(DataError, match=r"a\.jsonl: no text in it"):
        make_corpus(tmp_path / "run", make_recipe({"kind": "jsonl", "path": path}))
    path.write_bytes(_lines([{"index": {"_id": "1"}}, {"namespace": 4, "title": "題"}]))
    with pytest.raises(DataError, match=r"no articles in it .1 page, .* and 1 in other"):
        make_corpus(tmp_path / "run", make_recipe({"kind": "cirrus", "path": path}))
