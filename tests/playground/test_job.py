from __future__ import annotations

from pathlib import Path

import pytest

from jagpt import generation
from jagpt.errors import UsageError
from jagpt.generation import Settings, TextGenerator
from jagpt.playground import Job, Limits
from jagpt.playground.job import PromptTooLongError

PROMPT = "統計的推定を使うことで、"


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> TextGenerator:
    return generation.load(tiny_model)


def test_makes_what_generate_makes_and_as_much_as_fits(loaded: TextGenerator) -> None:
    settings = Settings(max_new_tokens=500, num_return_sequences=2, seed=3)
    job = Job({"one": loaded, "two": loaded}, PROMPT, settings, Limits())
    while job.advance(0.5):
        pass
    assert job.state == "done"
    ids = loaded.encode(PROMPT)
    room = 48 - len(ids)
    wanted = loaded.sample(
        ids,
        loaded.drawing(len(ids), Settings(max_new_tokens=room, num_return_sequences=2, seed=3)),
    )
    for column in job.columns:
        assert [tuple(row.tokens) for row in column.rows] == [each.tokens for each in wanted]


def test_stops_with_what_is_there(loaded: TextGenerator) -> None:
    job = Job({"one": loaded}, PROMPT, Settings(max_new_tokens=30), Limits())
    assert job.advance(0.0)
    job.stop()
    assert not job.advance(1.0)
    assert job.state == "stopped"
    assert len(job.columns[0].rows[0].tokens) == 1


def test_the_time_is_limited_over_all_turns(loaded: TextGenerator) -> None:
    now = iter(range(1000))
    job = Job(
        {"one": loaded}, PROMPT, Settings(max_new_tokens=30), Limits(max_seconds=9),
        clock=lambda: float(next(now)),
    )  # fmt: skip
    turns = 0
    while job.advance(0.5):
        turns += 1
    assert job.state == "out of time"
    assert 3 <= turns <= 9
    assert 0 < len(job.columns[0].rows[0].tokens) < 30


def test_a_prompt_that_is_too_long_is_refused_with_the_numbers(loaded: TextGenerator) -> None:
    with pytest.raises(PromptTooLongError) as refused:
        Job({"one": loaded}, "あ" * 48, Settings(), Limits())
    assert (refused.value.tokens, refused.value.most) == (48, 47)
    with pytest.raises(UsageError, match="more than 100 characters"):
        Job({"one": loaded}, "あ" * 101, Settings(), Limits(prompt_characters=100))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"max_new_tokens": 0}, "--max-new-tokens 0: allowed is 1 to 100,000"),
        ({"max_samples": 17}, "--max-samples 17: allowed is 1 to 16"),
        ({"max_seconds": 0.0}, "--max-seconds 0: "),
        ({"max_seconds": float("nan")}, "--max-seconds nan"),
        ({"queue": -1}, "--queue -1"),
    ],
)
def test_limits_are_checked_by_their_flags(bounds: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Limits(**bounds)  # type: ignore[arg-type]
