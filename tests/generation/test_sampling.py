"""Our filters and loop against transformers' own."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from jagpt import generation
from jagpt.errors import DataError
from jagpt.generation import Drawing, Settings
from jagpt.generation.sampling import Sampler

PROMPT = "統計的推定を使うことで、"
DRAWS = 4000


def transformers_shares(drawing: Drawing, prompt: list[int], logits: torch.Tensor) -> torch.Tensor:
    """The distribution (V,) that transformers draws from."""
    steps: list[Any] = [RepetitionPenaltyLogitsProcessor(drawing.repetition_penalty)]
    if drawing.suppressed:
        steps.append(SuppressTokensLogitsProcessor(list(drawing.suppressed), device="cpu"))
    steps.append(TemperatureLogitsWarper(drawing.temperature or 1.0))
    if drawing.top_k:
        steps.append(TopKLogitsWarper(drawing.top_k))
    if drawing.top_p < 1:
        steps.append(TopPLogitsWarper(drawing.top_p))
    scores = LogitsProcessorList(steps)(torch.tensor([prompt]), logits.clone())
    return torch.softmax(scores[0], -1)


@pytest.mark.parametrize(
    "knobs",
    [
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 5},
        {"temperature": 1.3, "top_p": 0.8},
        {"temperature": 1.0, "top_k": 8, "top_p": 0.6},
        {"temperature": 1.0, "top_p": 0.01},
        {"temperature": 1.0, "repetition_penalty": 2.0, "suppressed": (0, 11)},
    ],
)
def test_draws_from_the_distribution_of_transformers(knobs: dict[str, Any]) -> None:
    torch.manual_seed(0)
    logits, prompt = 2 * torch.randn(1, 12), [3, 4]
    drawing = Drawing(new_tokens=1, rows=DRAWS, **knobs)
    wanted = transformers_shares(drawing, prompt, logits)
    drawn = Counter(token for token, _ in Sampler(drawing, prompt).draw(logits.expand(DRAWS, -1)))
    for token, share in enumerate(wanted.tolist()):
        deviation = math.sqrt(share * (1 - share) / DRAWS)
        assert drawn[token] / DRAWS == pytest.approx(share, abs=4 * deviation + 1e-9)


def test_log_probabilities_are_the_models_own() -> None:
    logits = torch.tensor([[0.0, 1.0, 3.0, -1.0]])
    drawing = Drawing(new_tokens=1, temperature=0.1, top_k=2, repetition_penalty=3.0)
    ((token, logprob),) = Sampler(drawing, [2]).draw(logits)
    assert logprob == pytest.approx(torch.log_softmax(logits, -1)[0, token].item())


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_gives_the_tokens_of_transformers(tiny_model: Path, penalty: float) -> None:
    loaded = generation.load(tiny_model)
    ids = loaded.encode(PROMPT)
    wanted = loaded.model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False,
        max_new_tokens=20, repetition_penalty=penalty, top_k=None, top_p=None,
    )[0, len(ids) :].tolist()  # fmt: skip
    drawing = loaded.drawing(
        len(ids), Settings(greedy=True, max_new_tokens=20, repetition_penalty=penalty)
    )
    (found,) = loaded.sample(ids, drawing)
    assert [token.id for token in found.tokens] == [i for i in wanted if i != 3]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="jagpt verify"):
        Sampler(Drawing(new_tokens=1), []).draw(torch.full((1, 4), value))


@pytest.mark.parametrize("temperature", [None, 1.0])
@pytest.mark.parametrize(
    "knobs", [{"suppressed": (0, 1, 2, 3)}, {"repetition_penalty": 1e-6, "suppressed": (0, 1, 2)}]
)
def test_settings_that_leave_no_token_are_told(
    knobs: dict[str, Any], temperature: float | None
) -> None:
    drawing = Drawing(new_tokens=1, temperature=temperature, **knobs)
    with pytest.raises(DataError, match="every token is suppressed, or its score is not finite"):
        Sampler(drawing, [3]).draw(torch.full((1, 4), 1e38))


def test_a_temperature_under_which_scores_overflow_is_told() -> None:
    drawing = Drawing(new_tokens=1, temperature=1e-6)
    with pytest.raises(DataError, match="temperature"):
        Sampler(drawing, []).draw(torch.tensor([[1e34, 0.0]]))


def test_what_a_folder_sets_and_is_not_followed_is_named(tiny_model: Path, tmp_path: Path) -> None:
    assert generation.load(tiny_model).defaults.unused == ()
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = folder / "generation_config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"num_beams": 4, "max_time": 1.5, "min_p": None}))
    assert generation.load(folder).defaults.unused == ("num_beams", "max_time")
