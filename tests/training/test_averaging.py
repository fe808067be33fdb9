from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import make_recipe, train_section

from jagpt import models
from jagpt.errors import DataError
from jagpt.evaluation.comparing import MeasureSettings, compare
from jagpt.evaluation.texts import read
from jagpt.export import huggingface
from jagpt.models import build, checkpoint_folder
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.tokens.dataset import TokenSplit, validation_windows
from jagpt.training import checkpoints, session, weights
from jagpt.training.averaging import Average
from jagpt.training.plan import Plan
from jagpt.training.validation import measure

MakeRun = Callable[..., RunDirectory]


def averaged(values: list[float], **train: object) -> tuple[Average, torch.nn.Linear]:
    """The average after steps 1, 2, … whose weights are `values`."""
    layer = torch.nn.Linear(1, 1, bias=False)
    average = Average(Plan(train_section(**train), 8, len(values)), layer)
    for step, value in enumerate(values, start=1):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(step)
    return average, layer


def test_a_tail_is_the_mean_of_the_last_share() -> None:
    average, _ = averaged([9.0, 9.0, 1.0, 2.0, 6.0], average="tail", average_share=0.6)
    assert average.tensors["weight"].item() == pytest.approx(3.0)


def test_an_ema_begins_with_its_first_weights() -> None:
    average, _ = averaged([9.0, 2.0, 4.0], average="ema", average_share=0.6, average_decay=0.75)
    assert average.tensors["weight"].item() == pytest.approx(0.75 * 2 + 0.25 * 4)


def test_without_an_average_there_is_nothing_to_swap() -> None:
    average, layer = averaged([1.0, 2.0])
    assert average.tensors == {}
    with average.in_place():
        assert layer.weight.item() == 2.0


def test_in_place_the_model_has_the_average_and_then_its_own_again() -> None:
    average, layer = averaged([1.0, 2.0], average="tail", average_share=1.0)
    with average.in_place():
        assert layer.weight.item() == 1.5
    assert layer.weight.item() == 2.0
    assert average.tensors["weight"].item() == 1.5


def test_validation_and_whoever_loads_a_checkpoint_take_the_average(make_run: MakeRun) -> None:
    recipe = make_recipe(average="tail", average_share=0.5)
    run = make_run()
    session.run(recipe, run, QUIET)
    folder = checkpoint_folder.resolve(run.own("train"), "last")
    own, mean = (load_file(folder / f"{name}.safetensors") for name in ("model", "average"))
    assert own.keys() == mean.keys()
    name = "transformer.h.0.mlp.c_fc.weight"
    assert not torch.equal(own[name], mean[name])
    network = models.open(folder).network
    assert torch.equal(network.get_parameter(name), mean[name])
    valid = TokenSplit.open(run.tokens, "valid")
    found = measure(network, validation_windows(valid, 16), batch_size=2, precision="fp32")
    assert found is not None
    last = checkpoints.read(folder).validation[-1]
    assert found.loss == pytest.approx(last.loss, rel=1e-6)


def test_a_checkpoint_measures_as_its_export_does(make_run: MakeRun, tmp_path: Path) -> None:
    recipe, run = make_recipe(average="tail", average_share=0.5), make_run()
    session.run(recipe, run, QUIET)
    huggingface.run(recipe, run, QUIET)
    checkpoint = checkpoint_folder.resolve(run.own("train"), recipe.export_checkpoint)
    last = Path(shutil.copytree(checkpoint, tmp_path / "without average"))
    (last / "average.safetensors").unlink()
    (tmp_path / "text").write_text("<s></s><cls><sep>" * 9)
    losses = [
        found.text.loss if found.text else None
        for found in compare(
            [str(folder) for folder in (checkpoint, run.model, last)],
            settings=MeasureSettings(tokenizer=str(run.tokenizer)),
            progress=QUIET,
            text=read(tmp_path / "text"),
        )
    ]
    assert losses[0] == losses[1] != losses[2]


def test_an_average_of_another_model_is_refused(make_run: MakeRun) -> None:
    run = make_run()
    session.run(make_recipe(average="tail"), run, QUIET)
    folder = checkpoint_folder.resolve(run.own("train"), "last")
    shape = make_recipe(model={"n_embd": 32}).model
    with pytest.raises(DataError, match="another model's weights"):
        weights.read_average(folder, build.network(shape, 64, build.SpecialIds(2, 3, 0), 0))
