"""Near duplicates: signatures that never change, and the pairs that they find."""

from __future__ import annotations

import json
import random
import sys
from array import array
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from dumps import article_text, dropped, export, make_corpus, make_recipe, page
from hypothesis import given, settings
from hypothesis import strategies as st

from jagpt.corpus import near_duplicates, spill
from jagpt.corpus.near_duplicates import (
    NGRAM,
    RECALL,
    SLOTS,
    NearDuplicates,
    rows_in_band,
    signature,
)
from jagpt.corpus.stage import CORPUS
from jagpt.errors import MissingExtraError

pytest.importorskip("rensa", reason="needs the extra `dedup`")


def random_text(seed: int, length: int = 400) -> str:
    letters = random.Random(seed)
    return "".join(chr(letters.randrange(0x4E00, 0x4E00 + 2000)) for _ in range(length))


def changed(text: str, count: int) -> str:
    """The text with its first characters replaced: each takes a few shingles with it."""
    return "異" * count + text[count:]


def jaccard(one: str, other: str) -> float:
    sets = [{t[k : k + NGRAM] for k in range(len(t) - NGRAM + 1)} for t in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def found(texts: list[str], threshold: float = 0.8, a_part: int = 4) -> dict[int, int]:
    """The near duplicates among texts, which come in parts of so many."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        parts = []
        for first in range(0, len(texts), a_part):
            some = texts[first : first + a_part]
            signatures = b"".join(map(signature, some))
            columns = near_duplicates.columns(signatures, threshold)
            rows = array("Q", range(len(some)))
            spill.write(place / str(first), {}, {"candidates": rows, **columns})
            parts.append((place / str(first), first))
        left_out = place / "left-out"
        spill.write(left_out, {}, {"numbers": b""})
        jobs = near_duplicates.band_jobs(parts, len(texts), threshold, left_out, place)
        return NearDuplicates(parts, threshold).find([job.perform() for job in jobs])


# --- signatures -----------------------------------------------------------------------------------


def test_a_signature_is_the_same_on_every_machine() -> None:
    """These numbers are a promise: a recipe leaves the same documents out everywhere."""
    assert len(signature("")) == SLOTS * 4
    assert signature("日本語の文章である。" * 3)[:12].hex() == "08ee73ccc974f9c2235417c7"
    assert (
        signature("".join(map(chr, range(0x3041, 0x9000))))[:12].hex() == "d57c1200ebd75c00b3b51600"
    )


def test_a_signature_estimates_the_similarity() -> None:
    errors = []
    for seed in range(60):
        text = random_text(seed)
        other = changed(text, seed * 3)
        slots = [np.frombuffer(signature(t), dtype="<u4") for t in (text, other)]
        errors.append(float((slots[0] == slots[1]).mean()) - jaccard(text, other))
    assert abs(np.mean(errors)) < 0.02
    assert max(map(abs, errors)) < 0.18  # four standard errors


@given(st.text(max_size=20))
def test_any_text_has_a_signature(text: str) -> None:
    assert len(signature(text)) == SLOTS * 4


def test_a_long_text_is_judged_by_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "SIGNED_CHARACTERS", 100)
    assert signature(random_text(1)) == signature(random_text(1)[:100])


# --- pairs ----------------------------------------------------------------------------------------


@given(st.floats(0.5, 1.0))
def test_bands_bring_pairs_at_the_threshold_together(threshold: float) -> None:
    rows = rows_in_band(threshold)
    assert 1 - (1 - threshold**rows) ** (SLOTS // rows) >= RECALL


def test_the_first_stays() -> None:
    text = random_text(1)
    texts = [random_text(2), text, random_text(3), changed(text, 5), changed(text, 2), text]
    assert found(texts) == {3: 1, 4: 1, 5: 1}


def test_what_is_left_out_repeats_nothing() -> None:
    """A chain of small changes: each document is compared with those that stay."""
    text = random_text(1)
    chain = [changed(text, count) for count in range(0, 400, 25)]
    left_out = found(chain)
    assert left_out
    assert not left_out.keys() & set(left_out.values())
    staying = [number for number in range(len(chain)) if number not in left_out]
    assert all(jaccard(chain[a], chain[b]) < 0.9 for a, b in pairwise(staying))
    assert all(jaccard(chain[a], chain[b]) > 0.65 for a, b in left_out.items())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 200)), max_size=25))
def test_clear_pairs_are_found_and_clear_strangers_are_not(made: list[tuple[int, int]]) -> None:
    texts = [changed(random_text(seed), count) for seed, count in made]
    left_out = found(texts)
    for number, text in enumerate(texts):
        before = [k for k in range(number) if k not in left_out]
        if any(jaccard(text, texts[k]) >= 0.95 for k in before):
            assert number in left_out
        if number in left_out:
            assert jaccard(text, texts[left_out[number]]) > 0.62


def test_parts_and_shares_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [changed(random_text(k % 7), k) for k in range(30)]
    expected = found(texts)
    assert expected
    assert found(texts, a_part=30) == expected
    monkeypatch.setattr(near_duplicates, "SHARE_DOCUMENTS", 10)
    monkeypatch.setattr(near_duplicates, "_BATCH", 2)
    assert found(texts) == expected


def test_what_no_later_document_needs_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0

    class Watched(NearDuplicates):
        def _close(self, group: tuple[int, int]) -> None:
            nonlocal most
            most = max(most, len(self._low))
            super()._close(group)

    monkeypatch.setattr(sys.modules[__name__], "NearDuplicates", Watched)
    assert len(found([changed(random_text(k // 2), k % 2) for k in range(60)])) == 30
    assert most == 1


def test_no_documents_have_no_duplicates() -> None:
    assert found([]) == {}
    assert found(["一つだけ"]) == {}


# --- in the stage ---------------------------------------------------------------------------------

PAGES = [
    *(page(n) for n in range(1, 25)),
    page(25, article_text(1, sentences=40), title="元"),
    page(26, article_text(1, sentences=40) + "加筆。", title="写し"),
    page(27, article_text(1, sentences=40).replace("項目1", "項目1", 1) + "別。", title="写し2"),
    page(28, article_text(1, sentences=40), title="同文"),
]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "dump.xml"
    path.write_bytes(export(PAGES))
    return path


def test_near_duplicates_are_left_out_with_a_reason(tmp_path: Path, dump: Path) -> None:
    recipe = make_recipe({"path": dump}, drop_near_duplicates=0.9)
    directory = make_corpus(tmp_path / "run", recipe)
    assert dropped(directory) == {
        "写し": "near duplicate of source0 25",
        "写し2": "near duplicate of source0 25",
        "同文": "duplicate",
    }
    stats = json.loads((directory / "stats.json").read_text("utf-8"))
    assert stats["dropped"] == {"duplicate": 1, "near duplicate": 2}


def test_they_stay_where_nobody_asks(tmp_path: Path, dump: Path) -> None:
    assert dropped(make_corpus(tmp_path / "run", make_recipe({"path": dump}))) == {
        "同文": "duplicate"
    }


def test_what_another_filter_drops_is_repeated_by_nobody(tmp_path: Path, dump: Path) -> None:
    recipe = make_recipe({"path": dump}, drop_near_duplicates=0.9, **{"exclude.titles": ["元"]})
    assert dropped(make_corpus(tmp_path / "run", recipe)) == {
        "元": "excluded by title",
        "写し2": "near duplicate of source0 26",
        "同文": "near duplicate of source0 26",
    }


def test_the_library_is_asked_for_before_anything_runs(
    tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe({"path": dump}, drop_near_duplicates=0.9)
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(MissingExtraError, match=r"drop_near_duplicates.*\[dedup\]"):
        CORPUS.check(recipe)


def test_a_library_that_signs_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_ALGORITHM", 3)
    with pytest.raises(MissingExtraError, match="another version of rensa"):
        near_duplicates.check_library()
