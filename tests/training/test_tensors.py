"""Tensors in files: what safetensors reads, in parts that are small enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_training import contents, make_recipe, train_section

from jagpt import files, models
from jagpt.errors import DataError
from jagpt.models import build, tensors
from jagpt.models.tensors import Named, Stored
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.training import checkpoints, session, weights
from jagpt.training.optimizers import make_optimizer

MakeRun = Callable[..., RunDirectory]


def named(values: dict[str, torch.Tensor]) -> list[Named]:
    return [
        Named(name, tuple(value.shape), value.dtype, value.clone) for name, value in values.items()
    ]


VALUES = {
    "b": torch.arange(6.0).view(2, 3),
    "a": torch.ones(5, dtype=torch.bfloat16),
    "scalar": torch.tensor(7.0, dtype=torch.float64),
    "turned": torch.arange(6).view(2, 3).T,
    "empty": torch.zeros(0, 4),
}


def test_safetensors_reads_what_is_written(tmp_path: Path) -> None:
    tensors.write(tmp_path, "model", named(VALUES))
    found = load_file(tmp_path / "model.safetensors")
    assert set(found) == set(VALUES)
    assert all(torch.equal(found[name], VALUES[name]) for name in VALUES)
    stored = Stored(tmp_path, "model")
    assert stored.names() == sorted(VALUES)
    assert stored.shape("turned") == (3, 2)
    assert torch.equal(stored.get("turned"), VALUES["turned"])


def test_above_the_limit_there_are_several_files_and_an_index(tmp_path: Path) -> None:
    tensors.write(tmp_path, "model", named(VALUES), limit=40)
    index = files.read_json(tmp_path / "model.safetensors.index.json")
    assert index["metadata"]["total_size"] == sum(v.nbytes for v in VALUES.values())
    assert index["weight_map"]["b"] == "model-00001-of-00004.safetensors"
    assert len(list(tmp_path.glob("model-*.safetensors"))) == 4
    stored = Stored(tmp_path, "model")
    assert all(torch.equal(stored.get(name), VALUES[name]) for name in VALUES)


def test_without_a_folder_each_tensor_is_asked_for_all_the_same() -> None:
    asked: list[str] = []

    def ask(name: str) -> torch.Tensor:
        asked.append(name)
        return torch.zeros(1)

    some = [Named(n, (1,), torch.float32, lambda n=n: ask(n)) for n in "xyz"]  # type: ignore[misc]
    tensors.write(None, "model", some, limit=4)
    assert asked == ["x", "y", "z"]


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"model\.safetensors: not readable as safetensors"):
        Stored(tmp_path, "model")


def test_a_run_of_many_files_goes_on_bit_by_bit_and_loads(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "MAX_FILE_BYTES", 6000)
    whole, broken = make_run("whole"), make_run("broken")
    session.run(make_recipe(), whole, QUIET)

    def die(operation: str, path: Path) -> None:
        if operation == "rename" and path.name == "step-00000009":
            raise RuntimeError("killed")

    with files.observed(die), pytest.raises(RuntimeError, match="killed"):
        session.run(make_recipe(), broken, QUIET)
    session.run(make_recipe(), broken, QUIET)
    assert contents(broken.own("train")) == contents(whole.own("train"))
    folder = whole.own("train") / "step-00000012"
    assert len(list(folder.glob("optimizer-*.safetensors"))) > 2
    loaded, stored = models.open(folder).network, Stored(folder, "model")
    assert torch.equal(loaded.transformer.wte.weight, stored.get("transformer.wte.weight"))
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(DataError, match="is missing"):
        checkpoints.read(folder)


def test_a_checkpoint_whose_weights_are_a_pickle_is_refused(make_run: MakeRun) -> None:
    run = make_run()
    session.run(make_recipe(max_steps=6), run, QUIET)
    folder = run.own("train") / "step-00000006"
    torch.save({"a": torch.ones(1)}, folder / "model.safetensors")
    state = files.read_json(folder / "state.json")
    state["files"]["model.safetensors"] = files.sha256(folder / "model.safetensors")
    files.write_json(folder / "state.json", state)
    with pytest.raises(DataError, match=r"model\.safetensors: not readable as safetensors"):
        session.run(make_recipe(max_steps=9), run, QUIET)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    "harm",
    [
        lambda kept, name: kept.pop(name),
        lambda kept, name: kept.update({name: kept[name][None]}),
        lambda kept, name: kept.update({name: kept[name].double()}),
        lambda kept, name: kept.update({f"{name}_more": kept[name].clone()}),
    ],
)
@pytest.mark.parametrize("slot", ["exp_avg_sq", "step"])
def test_slots_that_the_optimizer_does_not_make_are_refused(
    tmp_path: Path, optimizer: str, harm: Callable[[dict[str, Any], str], object], slot: str
) -> None:
    network = build.network(make_recipe().model, 64, build.SPECIAL, 0)
    made = make_optimizer(train_section(optimizer=optimizer), network)
    sum(weight.sum() for weight in network.parameters()).backward()  # type: ignore[union-attr]
    made.step()
    weights.write(tmp_path, network, made, {})
    weights.read(tmp_path, network, made)
    kept = load_file(tmp_path / "optimizer.safetensors")
    harm(kept, next(name for name in kept if name.endswith(f".{slot}")))
    save_file(kept, tmp_path / "optimizer.safetensors")
    with pytest.raises(DataError, match=r"optimizer\.safetensors: .* damaged: .* keeps"):
        weights.read(tmp_path, network, made)
