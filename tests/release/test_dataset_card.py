from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import pytest
from huggingface_hub import DatasetCard
from markdown_it import MarkdownIt

from jagpt.corpus.documents import Document
from jagpt.corpus.shards import SplitWriter
from jagpt.corpus.stats import CorpusStats
from jagpt.errors import DataError
from jagpt.manifests import FileEntry, list_files
from jagpt.release import assemble, dataset_card
from jagpt.release.changelog import Entry
from jagpt.release.hub_schema import DATASET_KEYS, size_category, undocumented
from jagpt.release.publication import History
from jagpt.rundir import RunDirectory

SHARDS = (FileEntry("data/train-00000.parquet", 1000, "ab" * 32),)
VERSIONS = (Entry("20210820.1.0", ("first",)),)
SECTION = {"min_characters": 50, "exclude": {"ids": ["12"], "titles": ["山田太郎"]}}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run whose corpus has real shards."""
    found = fakes.run_directory(tmp_path / "run")
    for split in ("train", "valid", "test"):
        with SplitWriter(found.corpus, split) as writer:
            writer.add(Document("1", "jawiki", "京都", "https://x.org/1", 7, "京都は古い都。"))
    (found.corpus / "dropped.jsonl").write_text('{"title": "山田太郎"}\n')
    fakes.finish(found, "corpus")
    return found


def corpus_of(run: RunDirectory) -> CorpusStats:
    return CorpusStats.read(run.corpus)


def render(corpus: CorpusStats) -> str:
    return dataset_card.render(fakes.recipe(), corpus, {}, SECTION, SHARDS, VERSIONS, "org/corpus")


def test_the_hub_reads_the_metadata(run: RunDirectory) -> None:
    card: Any = DatasetCard(render(corpus_of(run)))
    assert card.data.license == "cc-by-sa-3.0"
    assert card.data.source_datasets == ["wikimedia/wikipedia"]
    assert card.data.size_categories == "n<1K"
    assert card.data.configs[0]["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"},
        {"split": "validation", "path": "data/valid-*.parquet"},
        {"split": "test", "path": "data/test-*.parquet"},
    ]
    assert list(undocumented(card.data.to_dict(), DATASET_KEYS)) == []


def test_tells_sources_splits_and_what_was_left_out_but_not_whom(run: RunDirectory) -> None:
    text = render(corpus_of(run))
    for expected in ("20210820", "ab" * 32, "too short 4", "validation", "min_characters = 50"):
        assert expected in text
    assert "山田" not in text
    assert "2 entries, not shown" in text
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text.partition("\n---\n")[2])
    assert html.count("<h1>") == 1
    assert html.count("<table>") == 4


def test_texts_of_others_are_shown_as_they_are(run: RunDirectory) -> None:
    evil = "<script>alert(1)</script> [x](javascript:y) | \n---\n"
    sources = tuple(replace(s, name=evil, licence=evil) for s in corpus_of(run).sources)
    text = render(replace(corpus_of(run), sources=sources, dropped={evil: 1}))
    html = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(DatasetCard(text).text)
    assert "<script" not in html
    assert "<a " not in html


def test_the_files_load_as_the_card_says(run: RunDirectory, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    texts = tmp_path / "texts"
    found = assemble.dataset(fakes.recipe(), run, History(exists=False), texts, "org/corpus")
    names = {file.name: file.path for file in found.files}
    assert set(names) == {
        ".gitattributes", "CHANGELOG.md", "README.md", "SHA256SUMS", "data/test-00000.parquet",
        "data/train-00000.parquet", "data/valid-00000.parquet",
    }  # fmt: skip
    card: Any = DatasetCard(names["README.md"].read_text()).data
    table = pq.read_table(names["data/train-00000.parquet"])
    features = [feature["name"] for feature in card.dataset_info["features"]]
    assert table.column_names == features
    sizes = [path.stat().st_size for name, path in names.items() if name.startswith("data/")]
    assert card.dataset_info["download_size"] == sum(sizes)
    assert "loss" not in names["CHANGELOG.md"].read_text()
    assert set(list_files(texts)) == {
        ".gitattributes", "CHANGELOG.md", "README.md", "SHA256SUMS",
    }  # fmt: skip


def test_a_corpus_without_shards_is_refused(tmp_path: Path) -> None:
    run = fakes.run_directory(tmp_path / "run")
    for shard in run.own("corpus").glob("*.parquet"):
        shard.unlink()
    fakes.finish(run, "corpus")
    with pytest.raises(DataError, match="no Parquet file"):
        assemble.dataset(fakes.recipe(), run, History(), tmp_path / "texts", "org/corpus")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (1_400_000, "1M<n<10M"),
     (5 * 10**9, "1B<n<10B")],
)  # fmt: skip
def test_sizes_have_the_hubs_names(rows: int, expected: str) -> None:
    assert size_category(rows) == expected
