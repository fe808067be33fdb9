"""What no run can do with a class of network is found out before its first stage."""

from __future__ import annotations

from typing import Any

import pytest

from jagpt.errors import UsageError
from jagpt.recipe import Model
from jagpt.training import rehearsal
from jagpt.training.rehearsal import rehearse

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 16, "dropout": 0.0}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bart", "bart cannot continue a text here"),
        ("gemma3", r"gemma3 consists of several networks .* choose gemma3_text"),
        ("mimo_v2_flash", r"not a valid shape for mimo_v2_flash: "),
        ("fuyu", r"fuyu consists of several networks .* choose another type"),
        ("falcon_h1", r"falcon_h1 cannot be saved here \(config\.json: .*Infinity"),
        ("youtu", "youtu cannot be saved here .*the saved network differs when it is reopened"),
        ("dbrx", r"not a valid shape for dbrx: "),
        ("xlnet", r"gives no XLNetConfig: "),
        ("reformer", r"not a valid shape for reformer: "),
        ("gemma4_assistant", r"gemma4_assistant has no default: "),
    ],
)
def test_a_class_that_a_run_cannot_use_is_named_in_one_line(kind: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        rehearse(Model(type=kind, **SHAPE), 64)
    assert "\n" not in str(caught.value)


def test_as_many_layers_are_tried_as_the_class_needs() -> None:
    few, enough = Model(type="jamba", **SHAPE), Model(type="jamba", **SHAPE | {"n_layer": 12})
    with pytest.raises(UsageError, match="jamba cannot continue a text here"):
        rehearse(few, 64)
    rehearse(enough, 64)


def test_a_shape_that_no_smaller_network_has_is_built_without_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = ["full_attention", "sliding_attention"] * 5
    shape = {"type": "gemma3_text", **SHAPE, "n_layer": 10}
    built: list[int] = []
    monkeypatch.setattr(rehearsal.build, "on_meta", lambda shape, _: built.append(shape.n_layer))
    rehearse(Model(config={"layer_types": kinds}, **shape), 64)
    assert built == [10]


def test_a_new_network_whose_loss_is_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nats = rehearsal.model_nats

    def broken(network: Any, ids: Any) -> Any:
        return nats(network, ids) * float("nan")

    monkeypatch.setattr(rehearsal, "model_nats", broken)
    with pytest.raises(UsageError, match=r"llama cannot be trained here .a new network's loss is"):
        rehearse(Model(type="llama", **SHAPE), 64)
