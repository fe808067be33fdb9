"""Text that stands in both train and the held-out splits."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dumps import all_documents, article_text, dropped, export, make_corpus, make_recipe, page
from hypothesis import given
from hypothesis import strategies as st

from jagpt.corpus import overlap
from jagpt.corpus.overlap import HeldOut, Owner, Table, sentence_digests
from jagpt.corpus.shards import iter_documents
from jagpt.corpus.splits import hash_split, unit_hash


def sentences(*numbers: int) -> str:
    """Sentences of equal length, one for each number."""
    return "".join(f"これは第{number:03d}番目の文で、他のどの文とも違う。" for number in numbers)


class Held:
    """Held-out documents, as the job that compares others with them has them."""

    def __init__(self, share: float, *texts: str) -> None:
        made = HeldOut()
        for number, text in enumerate(texts):
            made.add("test", f"s {number}", sentence_digests(text))
        with TemporaryDirectory() as folder:
            made.write(Path(folder) / "table")
            self.table = Table(Path(folder) / "table")
        self.share, self.owners = share, made.owners

    def overlapping(self, text: str) -> Owner | None:
        number = self.table.overlapping(sentence_digests(text), self.share)
        return None if number is None else self.owners[number]


held_out = Held


# --- what overlaps --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "overlaps"),
    [
        (sentences(1, 2, 3, 4), True),  # the same
        (sentences(*range(1, 50)), True),  # it holds the whole test document
        (sentences(1), True),  # it is a part of the test document
        (sentences(1, 2, *range(50, 90)), True),  # it holds half of the test document
        (sentences(1, 60), True),  # half of it is held out
        (sentences(1, *range(50, 90)), False),  # a quarter of the one, little of the other
        (sentences(60, 61), False),
        ("", False),
        ("短い。" * 100, False),
    ],
)
def test_a_share_of_either_document_is_an_overlap(train: str, overlaps: bool) -> None:
    owner = held_out(0.5, sentences(1, 2, 3, 4)).overlapping(train)
    assert owner == (Owner("test", "s 0") if overlaps else None)


def test_several_documents_may_hold_a_train_document_together() -> None:
    made = held_out(0.5, sentences(*range(10)), sentences(*range(10, 20)))
    assert made.overlapping(sentences(1, 11, 50, 51)) == Owner("test", "s 0")
    assert made.overlapping(sentences(1, 11, 12, 50)) == Owner("test", "s 1")


def test_short_sentences_and_repetitions_tell_nothing() -> None:
    made = held_out(0.5, "見出し\n概要。来歴。" + sentences(1))
    assert made.overlapping("見出し\n概要。来歴。" + sentences(50, 51)) is None
    assert len(sentence_digests(sentences(1) * 3)) == 1
    assert sentence_digests("　 " + sentences(1)) == sentence_digests(sentences(1))


def test_a_sentence_of_many_documents_remembers_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "MOST_OWNERS", 2)
    made = held_out(1.0, *(sentences(0, number) for number in range(1, 6)))
    assert made.overlapping(sentences(0, 4)) is not None
    (digest,) = sentence_digests(sentences(0))
    assert list(made.table._owners_of(digest)) == [0, 1]


@given(st.lists(st.integers(0, 30), min_size=1), st.floats(0.01, 1.0))
def test_a_copy_always_overlaps(numbers: list[int], share: float) -> None:
    text = sentences(*numbers)
    assert held_out(share, sentences(40, 41), text).overlapping(text) == Owner("test", "s 1")
    assert held_out(share, text).overlapping(sentences(50, 51)) is None


# --- in the stage ---------------------------------------------------------------------------------


def number_in(split: str, beyond: int = 0) -> int:
    """A page number that the hash puts into the split of `make_recipe`."""
    return next(
        n
        for n in range(beyond + 1, 10_000)
        if hash_split(unit_hash("source0", str(n)), 0.33, 0.33) == split
    )


def write(path: Path, texts: dict[int, str]) -> None:
    pages = {n: page(n) for n in range(1, 25)}
    pages |= {n: page(n, text, title=f"記事{n}") for n, text in texts.items()}
    path.write_bytes(export([pages[n] for n in sorted(pages)]))


@pytest.mark.parametrize("split", ["test", "valid"])
@pytest.mark.parametrize("train_first", [True, False])
def test_the_train_document_is_left_out(tmp_path: Path, split: str, train_first: bool) -> None:
    train = number_in("train", beyond=0 if train_first else 500)
    held = number_in(split, beyond=500 if train_first else 0)
    text = article_text(900, sentences=12)
    write(tmp_path / "d.xml", {train: text + "加筆された文。", held: text})
    plain = make_corpus(tmp_path / "plain", make_recipe({"path": tmp_path / "d.xml"}))
    recipe = make_recipe({"path": tmp_path / "d.xml"}, drop_overlap=0.5)
    directory = make_corpus(tmp_path / "run", recipe)
    assert dropped(plain) == {}
    assert dropped(directory) == {f"記事{train}": f"overlaps {split} source0 {held}"}
    for name in ("valid", "test"):
        assert list(iter_documents(directory, name)) == list(iter_documents(plain, name))
    stats = json.loads((directory / "stats.json").read_text("utf-8"))
    assert stats["dropped"] == {f"overlaps {split}": 1}


def test_a_held_out_document_that_is_left_out_holds_nothing(tmp_path: Path) -> None:
    train, held = number_in("train"), number_in("test")
    text = article_text(900, sentences=12)
    write(tmp_path / "d.xml", {train: text + "加筆された文。", held: text})
    exclude = {"exclude.ids": [held], "drop_overlap": 0.5}
    directory = make_corpus(tmp_path / "run", make_recipe({"path": tmp_path / "d.xml"}, **exclude))
    assert dropped(directory) == {f"記事{held}": "excluded by id"}
    assert str(train) in all_documents(directory)


def test_a_document_cut_between_splits_stays(tmp_path: Path) -> None:
    path = tmp_path / "d.xml"
    same = [page(n, article_text(1) + f"第{n}の加筆。", title=f"記事{n}") for n in (1, 2, 3, 4)]
    path.write_bytes(export([*same, *(page(n) for n in range(10, 20))]))
    recipe = make_recipe({"path": path}, split="first-lines", valid_lines=7, test_lines=3,
                         drop_overlap=0.5)  # fmt: skip
    directory = make_corpus(tmp_path / "run", recipe)
    assert dropped(directory) == {
        "記事3": "overlaps valid source0 1",
        "記事4": "overlaps valid source0 1",
    }
    assert [d.id for d in iter_documents(directory, "test")] == ["2"]
    assert next(iter_documents(directory, "train")).id == "2"


def test_ready_made_splits_are_compared_too(tmp_path: Path) -> None:
    texts = {"train": range(1, 9), "valid": range(20, 22), "test": range(30, 32)}
    for split, numbers in texts.items():
        documents = [f"題{n}\n{sentences(*range(n * 10, n * 10 + 5))}" for n in numbers]
        documents += [f"写し\n{sentences(300, 301, 302, 500)}"] if split == "train" else []
        (tmp_path / f"{split}.txt").write_text("\n\n".join(documents), "utf-8")
    sources = [
        {"name": split, "kind": "text", "layout": "block", "split": split,
         "path": tmp_path / f"{split}.txt"}
        for split in texts
    ]  # fmt: skip
    directory = make_corpus(tmp_path / "run", make_recipe(*sources, drop_overlap=0.6))
    (test, _) = iter_documents(directory, "test")
    assert dropped(directory) == {"写し": f"overlaps test test {test.id}"}
