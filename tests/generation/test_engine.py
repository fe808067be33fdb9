from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from jagpt import generation
from jagpt.errors import UsageError
from jagpt.generation import Drawing, SteppingEngine

PROMPT = "統計的推定を使うことで、"


class Counting(SteppingEngine):
    """Says the next number with certainty, in each row."""

    name, context, vocab_size = "counting", None, 10

    def __init__(self) -> None:
        self.seen: list[list[int] | None] = []

    def begin(self, prompt: Sequence[int], rows: int) -> Counting:
        self.last = [prompt[-1]] * rows
        return self

    def step(self, ids: Sequence[int] | None) -> torch.Tensor:
        self.seen.append(None if ids is None else list(ids))
        self.last = self.last if ids is None else list(ids)
        logits = torch.zeros(len(self.last), self.vocab_size)
        logits[range(len(self.last)), [number + 1 for number in self.last]] = 50.0
        return logits


def test_any_engine_with_logits_is_driven_to_the_end_token() -> None:
    engine = Counting()
    steps = list(engine.draw([2], Drawing(new_tokens=9, rows=2, end_ids=frozenset({5}))))
    assert [[token.id for token in step if token] for step in steps] == [[3, 3], [4, 4], [5, 5]]
    assert [token.end for step in steps for token in step if token] == [False] * 4 + [True] * 2
    assert engine.seen == [None, [3, 3], [4, 4]]


def test_a_row_that_has_ended_gives_none_while_the_others_go_on() -> None:
    class Uneven(Counting):
        def begin(self, prompt: Sequence[int], rows: int) -> Counting:
            self.last = list(range(rows))
            return self

    steps = list(Uneven().draw([0], Drawing(new_tokens=9, rows=3, end_ids=frozenset({4}))))
    assert [[token and token.id for token in step] for step in steps] == [
        [1, 2, 3], [2, 3, 4], [3, 4, None], [4, None, None],
    ]  # fmt: skip


def unrepeatable(_cache: object, _times: int) -> None:
    raise AttributeError("as the state of some kinds of layer")


@pytest.mark.parametrize("repeats", [True, False])
def test_the_session_of_transformers_equals_reading_the_whole_text(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, repeats: bool
) -> None:
    if not repeats:
        monkeypatch.setattr(transformers.Cache, "batch_repeat_interleave", unrepeatable)
    loaded = generation.load(tiny_model)
    ids = loaded.encode(PROMPT)
    session = loaded.engine.begin(ids, 2)  # type: ignore[attr-defined]
    first = session.step(None)
    second = session.step([7, 9])
    for row, token in enumerate((7, 9)):
        with torch.inference_mode():
            whole = loaded.model(torch.tensor([[*ids, token]])).logits[0]
        torch.testing.assert_close(first[row], whole[-2], atol=1e-5, rtol=0)
        torch.testing.assert_close(second[row], whole[-1], atol=1e-5, rtol=0)


def test_a_padding_token_that_is_drawn_is_read_as_any_other(
    tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded = generation.load(tiny_model)
    session = loaded.engine.begin(loaded.encode(PROMPT), 1)  # type: ignore[attr-defined]
    session.step(None)
    after = [session.step([0]), session.step([0])]
    assert not torch.equal(*after)
    assert capfd.readouterr() == ("", "")


def test_a_model_without_a_cache_reads_its_text_again(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = generation.load(tiny_model)
    drawing = Drawing(new_tokens=12, rows=3, temperature=1.0)
    wanted = loaded.sample(loaded.encode(PROMPT), drawing)
    forward = loaded.model.forward

    def without_cache(**arguments: object) -> object:
        output = forward(**arguments | {"use_cache": False})
        assert output.past_key_values is None
        return output

    monkeypatch.setattr(loaded.model, "forward", without_cache)
    found = loaded.sample(loaded.encode(PROMPT), drawing)
    assert [each.text for each in found] == [each.text for each in wanted]


def test_streaming_gives_the_same_tokens_and_can_be_left(tiny_model: Path) -> None:
    loaded = generation.load(tiny_model)
    ids, drawing = loaded.encode(PROMPT), Drawing(new_tokens=9, rows=2, temperature=1.0, seed=4)
    whole = loaded.sample(ids, drawing)
    steps = list(loaded.stream(ids, drawing))
    for row in range(2):
        assert tuple(step[row] for step in steps if step[row]) == whole[row].tokens
    stream = loaded.stream(ids, drawing)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    (second,) = loaded.sample(ids, replace(drawing, first_row=1, rows=1))
    assert second.text == whole[1].text


def test_another_engine_has_no_network_to_give(tiny_model: Path) -> None:
    loaded = replace(generation.load(tiny_model), engine=Counting())
    with pytest.raises(UsageError, match="counting has no transformers model"):
        _ = loaded.model
