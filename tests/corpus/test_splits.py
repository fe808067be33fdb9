"""Splits by hash, and by lines as the original's shell pipeline made them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from dumps import article_text, dropped, export, make_corpus, make_recipe, page
from hypothesis import given, settings
from hypothesis import strategies as st

from jagpt.corpus.documents import SPLITS
from jagpt.corpus.shards import iter_documents
from jagpt.corpus.splits import FirstLines, hash_split, original_lines, shares_for, unit_hash
from jagpt.recipe import Corpus

# --- by hash --------------------------------------------------------------------------------------


def test_the_hash_is_the_documented_one() -> None:
    """These numbers are a promise: a page keeps its split from release to release."""
    assert unit_hash("wikipedia", "1") == pytest.approx(0.8195092412974345, abs=1e-15)
    assert unit_hash("wikipedia", "12345") == pytest.approx(0.31838962770077345, abs=1e-15)
    assert unit_hash("other", "1") != unit_hash("wikipedia", "1")


def test_shares_are_met() -> None:
    splits = [hash_split(unit_hash("s", str(n)), 0.05, 0.1) for n in range(20_000)]
    assert splits.count("valid") / 20_000 == pytest.approx(0.05, abs=0.01)
    assert splits.count("test") / 20_000 == pytest.approx(0.1, abs=0.01)


def test_a_page_keeps_its_split_in_another_dump(tmp_path: Path) -> None:
    def splits(name: str, numbers: range) -> dict[str, str]:
        path = tmp_path / f"{name}.xml"
        path.write_bytes(export([page(n) for n in numbers]))
        directory = make_corpus(tmp_path / name, make_recipe({"path": path}))
        return {d.id: split for split in SPLITS for d in iter_documents(directory, split)}

    older, newer = splits("older", range(1, 40)), splits("newer", range(10, 80))
    assert all(newer[number] == older[number] for number in older.keys() & newer.keys())
    assert len(older.keys() & newer.keys()) == 30


def test_a_page_keeps_its_split_whatever_happens_to_others(tmp_path: Path) -> None:
    """A later dump: pages removed, added, moved in the file, renamed and rewritten."""

    def splits(name: str, pages: list[str]) -> dict[str, str]:
        path = tmp_path / f"{name}.xml"
        path.write_bytes(export(pages))
        directory = make_corpus(tmp_path / name, make_recipe({"path": path}))
        return {d.id: split for split in SPLITS for d in iter_documents(directory, split)}

    older = splits("older", [page(n) for n in range(1, 41)])
    renamed = [page(n, article_text(n + 900), title=f"新{n}") for n in range(30, 10, -3)]
    newer = splits("newer", [*(page(n) for n in (90, 40, 2, 80, 7, 5, 6, 1)), *renamed])
    assert len(older.keys() & newer.keys()) == 13
    assert set(newer.values()) == set(SPLITS)
    assert all(newer[number] == older[number] for number in older.keys() & newer.keys())


def test_a_fixed_split_wins(tmp_path: Path) -> None:
    sources = []
    for number, split in enumerate(SPLITS):
        (tmp_path / f"{split}.xml").write_bytes(
            export([page(n) for n in range(10 * number, 10 * number + 5)])
        )
        sources.append({"path": tmp_path / f"{split}.xml", "name": split, "split": split})
    directory = make_corpus(tmp_path / "run", make_recipe(*sources))
    for split in SPLITS:
        found = [(d.source, d.id) for d in iter_documents(directory, split)]
        start = 10 * SPLITS.index(split)
        assert found == [(split, str(n)) for n in range(start, start + 5)]


# --- by lines -------------------------------------------------------------------------------------

AWKWARD = [
    "一行目。二行目。三行目",
    "dockerの行。残らない。\n残る行。",
    "。。\n\n 。\n",
    "\u3000全角の空白だけの行が次に\n\u3000\n\n空行のあと",
    "行末に。\r\n改行が。混じる\r\n",
    "documentだけ",
    "縦の\u2028区切りと\x0b垂直タブと\x85次の行",
    *(f"項目{n}は例である。その二。\nその三。" for n in range(20)),
]


def test_lines_are_broken_after_each_full_stop() -> None:
    assert original_lines("一。二。三") == ["一。", "二。", "三"]
    assert original_lines("a doc b\n\n残る。") == ["残る。"]


def test_a_document_at_a_bound_is_cut() -> None:
    deal = FirstLines(2, 1)
    assert list(deal.deal(4)) == [("valid", 0, 2), ("test", 2, 3), ("train", 3, 4)]
    assert list(deal.deal(1)) == [("train", 0, None)]


def dealt(first_lines: FirstLines, text: str) -> Iterator[tuple[str, bytes]]:
    """Each line of a text, and where it goes."""
    lines = original_lines(text)
    for piece in first_lines.deal(len(lines)):
        for line in lines[piece.start : piece.stop]:
            yield piece.split, f"{line}\n".encode()


TOOLS = ("cat", "grep", "perl", "head", "tail")
needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason=f"needs the original's tools: {', '.join(TOOLS)}"
)


def original_pipeline(folder: Path, texts: list[str], valid: int, test: int) -> dict[str, bytes]:
    """What the original's shell commands make of the texts."""
    (folder / "texts").mkdir()
    for number, text in enumerate(texts):
        (folder / "texts" / f"{number:03d}.txt").write_bytes(text.encode() + b"\n")
    shell = (
        "cat texts/*.txt | grep -v doc | perl -wpe 's/。/。\\n/g' "
        "| perl -wne '/^$/ or print' > all;"
        f"head -n {valid} all > valid; head -n {valid + test} all | tail -n {test} > test;"
        f"tail -n +{valid + test + 1} all > train"
    )
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    subprocess.run(["sh", "-c", shell], cwd=folder, check=True, env=environment)
    return {split: (folder / split).read_bytes() for split in SPLITS}


@needs_tools
@pytest.mark.parametrize(("valid", "test"), [(1, 1), (7, 5), (3, 40), (30, 20)])
def test_lines_are_dealt_out_as_the_original_pipeline_did(
    tmp_path: Path, valid: int, test: int
) -> None:
    first_lines = FirstLines(valid, test)
    ours = dict.fromkeys(SPLITS, b"")
    for text in AWKWARD:
        for split, line in dealt(first_lines, text):
            ours[split] += line
    assert ours == original_pipeline(tmp_path, AWKWARD, valid, test)


@needs_tools
@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("doc。。あ\n\n\r\t\u3000\x0b\x85\u2028 "), max_size=40)),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_any_text_is_dealt_out_as_the_original_pipeline_did(
    texts: list[str], valid: int, test: int
) -> None:
    texts = [*texts, "あ\n" * 12]  # of fewer lines than asked for, `tail` takes some of valid's
    first_lines = FirstLines(valid, test)
    ours = dict.fromkeys(SPLITS, b"")
    for text in texts:
        for split, line in dealt(first_lines, text):
            ours[split] += line
    with tempfile.TemporaryDirectory() as folder:
        assert ours == original_pipeline(Path(folder), texts, valid, test)


@needs_tools
def test_the_stage_gives_the_bytes_of_the_original_pipeline(tmp_path: Path) -> None:
    texts = [text.strip() for text in AWKWARD if "\r" not in text]
    expected = original_pipeline(tmp_path, texts, 7, 5)
    made = make_recipe(
        {"path": tmp_path / "texts" / "*.txt", "kind": "text"},
        split="first-lines",
        valid_lines=7,
        test_lines=5,
        min_characters=0,
        drop_duplicates=False,
    )
    directory = make_corpus(tmp_path / "run", made)
    ours = {
        split: "".join(d.text + "\n" for d in iter_documents(directory, split)).encode()
        for split in SPLITS
    }
    assert ours == expected
    assert dropped(directory) == {"": "no lines"}


@pytest.mark.parametrize(
    ("documents", "held_out"), [(3, 1), (30, 3), (199, 19), (200, 20), (1000, 20)]
)
def test_a_small_corpus_keeps_twenty_documents_or_a_tenth_for_valid_and_test(
    documents: int, held_out: int
) -> None:
    places = [unit_hash("s", str(n)) for n in range(documents)]
    shares = shares_for(Corpus(), places, {})
    splits = Counter(hash_split(place, *shares) for place in places)
    assert (splits["valid"], splits["test"]) == (held_out, held_out)


def test_a_large_corpus_keeps_the_share_and_a_given_one_stays() -> None:
    places = [unit_hash("s", str(n)) for n in range(20_000)]
    assert shares_for(Corpus(), places, {}) == (0.005, 0.005)
    valid, test = shares_for(Corpus(test_share=0.2), places[:100], {})
    assert test == 0.2
    assert sum(test <= place < test + valid for place in places[:100]) == 10


def test_documents_that_a_source_puts_into_a_split_count() -> None:
    places = [unit_hash("s", str(n)) for n in range(300)]
    valid, test = shares_for(Corpus(), places, {"valid": 500, "test": 15})
    splits = Counter(hash_split(place, valid, test) for place in places)
    assert valid == 0.005
    assert splits["test"] == 5
