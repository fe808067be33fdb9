"""Steps of the loop against plain PyTorch."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from tiny_training import VOCAB, logged_rows, make_recipe
from transformers import GPT2LMHeadModel

from jagpt import devices, files, models
from jagpt.errors import JagptError
from jagpt.models import build
from jagpt.progress import QUIET
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.tokens.dataset import TokenSplit, TrainingOrder, validation_windows
from jagpt.training import session
from jagpt.training.loss import model_nats
from jagpt.training.trainer import derived_seed

MakeRun = Callable[..., RunDirectory]
SPECIAL = build.SpecialIds(2, 3, 0)


def trained(recipe: Recipe, run: RunDirectory) -> dict[str, torch.Tensor]:
    session.run(recipe, run, QUIET)
    last = sorted(run.own("train").glob("step-*"))[-1]
    return dict(load_file(last / "model.safetensors"))


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_weights_are_those_of_a_plain_loop(make_run: MakeRun) -> None:
    recipe = make_recipe(model={"dropout": 0.0}, max_steps=4, weight_decay=0.1, schedule="cosine")
    ours = trained(recipe, make_run())
    run = make_run()
    network = build.network(recipe.model, VOCAB, SPECIAL, recipe.train.seed)
    matrices = [p for p in network.parameters() if p.dim() == 2]
    vectors = [p for p in network.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.99), eps=1e-8, fused=False, foreach=False,
    )  # fmt: skip
    order = TrainingOrder(
        TokenSplit.open(run.tokens, "train"),
        block_size=16, order="documents", seed=recipe.train.seed, shuffle_buffer=1,
    )  # fmt: skip
    for step, rate in enumerate([0.0, 0.005, 0.01, 0.005]):
        batch = torch.from_numpy(order.sequences(step * 4, 4))
        logits = network(batch[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    assert difference(ours, dict(network.named_parameters())) < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_accumulation_equals_a_big_batch(make_run: MakeRun, precision: str) -> None:
    settings: dict[str, Any] = {"model": {"dropout": 0.0}, "max_steps": 3, "precision": precision}
    whole = trained(make_recipe(batch_size=4, grad_accum_steps=1, **settings), make_run("whole"))
    parts = trained(make_recipe(batch_size=1, grad_accum_steps=4, **settings), make_run("parts"))
    assert difference(whole, parts) < (1e-5 if precision == "fp32" else 1e-2)


def test_one_autocast_block_for_all_micro_batches_gives_the_same_gradients() -> None:
    recipe = make_recipe()
    network = build.network(recipe.model, VOCAB, SPECIAL, 0).train()
    batches = torch.randint(6, VOCAB, (3, 2, 17), generator=torch.Generator().manual_seed(0))
    device = torch.device("cpu")

    def gradients(together: bool) -> list[torch.Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=together):
            for number, batch in enumerate(batches):
                torch.manual_seed(number)
                with devices.autocast(device, "bf16"):
                    loss = model_nats(network, batch)
                with torch.autocast("cpu", enabled=False):
                    loss.backward()  # type: ignore[no-untyped-call]
        return [p.grad.clone() for p in network.parameters() if p.grad is not None]

    together, apart = gradients(True), gradients(False)
    assert len(together) == len(list(network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(together, apart, strict=True))


def test_each_micro_batch_of_each_step_has_its_own_randomness() -> None:
    seeds = {derived_seed(s, t, m) for s in range(5) for t in range(50) for m in range(20)}
    assert len(seeds) == 5 * 50 * 20
    assert derived_seed(1, 23) != derived_seed(12, 3)
    assert derived_seed(1000, 1, 0) == derived_seed(1000, 1, 0)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(make_run: MakeRun) -> None:
    recipe = make_recipe(learning_rate=10.0, clip_norm=None, warmup_steps=0, max_steps=400,
                         epsilon=1e-30, beta2=0.0, beta1=0.0, schedule="constant", weight_decay=9.9,
                         checkpoint_every=3, validate_every=400)  # fmt: skip
    run = make_run()
    with pytest.raises(JagptError, match=r"failed at step \d+: .* not finite; the checkpoint of"):
        session.run(recipe, run, QUIET)
    for folder in run.own("train").glob("step-*"):
        tensors = load_file(folder / "model.safetensors")
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_a_checkpoint_loads_with_from_pretrained(make_run: MakeRun) -> None:
    run = make_run()
    weights = trained(make_recipe(), run)
    folder = sorted(run.own("train").glob("step-*"))[-1]
    assert "lm_head.weight" not in weights
    loaded = models.open(folder).network
    assert torch.equal(loaded.lm_head.weight, weights["transformer.wte.weight"])
    theirs = GPT2LMHeadModel.from_pretrained(folder)
    assert torch.equal(
        theirs.transformer.h[1].mlp.c_fc.weight, weights["transformer.h.1.mlp.c_fc.weight"]
    )


def test_only_the_state_names_what_arithmetic_depends_on_and_nothing_names_the_host(
    make_run: MakeRun,
) -> None:
    run = make_run()
    session.run(make_recipe(), run, QUIET)
    for path in run.own("train").rglob("*.json"):
        text = Path(path).read_text()
        assert socket.gethostname() not in text
        assert (torch.__version__ in text) == (path.name == "state.json")
        assert "transformers_version" not in text
    state = files.read_json(run.own("train") / "step-00000012" / "state.json")
    assert state["machine"]["world_size"] == 1
    assert state["machine"]["threads"] == 1


def test_with_a_document_mask_no_document_sees_another(make_run: MakeRun) -> None:
    values = {"model": {"dropout": 0.0}, "max_steps": 2, "warmup_steps": 0}
    recipe, run = make_recipe(**values, document_mask=True), make_run("masked")
    masked = trained(recipe, run)
    assert difference(masked, trained(make_recipe(**values), make_run("plain"))) > 0
    network = build.network(recipe.model, VOCAB, SPECIAL, recipe.train.seed)
    network.load_state_dict(masked, strict=False)
    valid = TokenSplit.open(run.tokens, "valid")
    total = sum(
        model_nats(network, torch.from_numpy(window)[None], end_id=3).item()
        for window in validation_windows(valid, 16)
    )
    logged = [row for row in logged_rows(run) if row["kind"] == "valid"][-1]
    assert logged["loss"] == pytest.approx(total / (valid.n_tokens - 1), rel=1e-5)
