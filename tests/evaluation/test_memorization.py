from __future__ import annotations

from pathlib import Path

import fakes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jagpt import models
from jagpt.evaluation import memorization
from jagpt.evaluation.memorization import SPAN, SpanFinder, fold, spans_of
from jagpt.progress import QUIET
from jagpt.tokens.dataset import TokenSplit


@settings(max_examples=50, deadline=None)
@given(
    text=st.text("あい𠮷b", min_size=SPAN, max_size=3 * SPAN),
    data=st.data(),
)
def test_spans_are_found_exactly_where_they_stand(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - SPAN))
    inside = text[start : start + SPAN]
    others = data.draw(st.lists(st.text("あい𠮷b", min_size=SPAN, max_size=SPAN), max_size=3))
    finder = SpanFinder([inside, *others])
    finder.search(["短い", text])
    assert finder.found == {span for span in (inside, *others) if span in text}


def test_two_texts_end_to_end_hold_no_span_of_both() -> None:
    finder = SpanFinder(["あ" * 25 + "い" * 25])
    finder.search(["あ" * 60, "い" * 60])
    assert not finder.found


def test_white_space_and_width_do_not_count() -> None:
    assert fold("ＡＢ\nｶﾞ  c") == "ABガc"
    assert spans_of("あ" * 49) == []
    assert len(spans_of("あ" * 52)) == 3


@pytest.mark.parametrize(("texts", "share"), [("training", 1.0), ("else", 0.0)])
def test_the_share_is_that_of_spans_in_the_train_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: str, share: float
) -> None:
    run = fakes.run_directory(tmp_path)
    trained = "".join(chr(0x4E00 + number) for number in range(300))
    (run.own("corpus") / "train-00000.parquet").unlink()
    fakes.write_corpus(run.own("corpus"), ("\n".join([trained[:100], trained[100:]]),))
    said = {"training": trained[50:180], "else": trained[::-1][:130]}[texts]
    monkeypatch.setattr(memorization, "_generated", lambda *_: [said])
    found = memorization.measure(None, None, run, 1, QUIET)  # type: ignore[arg-type]
    assert (found.spans, found.share) == (81, share)


def test_the_sample_is_the_same_each_time(tmp_path: Path) -> None:
    run = fakes.run_directory(tmp_path)
    split = TokenSplit.open(run.tokens, "test")
    network = models.open(run.checkpoints / "step-00000010").network
    first, again = (memorization._generated(network, split, run, 4, QUIET) for _ in range(2))
    assert first == again
    assert len(first) == 4
    assert len(set(first)) == 4  # two documents, two continuations of each
