"""What the train stage refuses, and how it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import make_recipe, write_tokens

from jagpt import files, machines, manifests, units
from jagpt.errors import DataError, JagptError, UsageError
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.training import parallel, session
from jagpt.training.environment import Environment
from jagpt.training.metrics import CURVE

MakeRun = Callable[..., RunDirectory]
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")


@no_gpu
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "fp16"}, "train.precision.*fp16.*on a CPU"),
        (
            {"execution": {"device": "cuda"}},
            "execution.device.*PyTorch .* CUDA",
        ),
    ],
)
def test_what_this_machine_lacks_is_refused_before_anything_runs(
    make_run: MakeRun, values: dict[str, Any], message: str
) -> None:
    run = make_run()
    with pytest.raises(UsageError, match=message):
        session.run(make_recipe(**values), run, QUIET)
    assert not run.root.exists()


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"model": {"n_positions": 5000}}, DataError, "too few for one block of 5,000"),
        ({"batch_size": 90}, DataError, "a step takes 180 sequences .*batch_size 90"),
        ({"batch_size": 2, "grad_accum_steps": 80}, DataError, "a step takes 160 sequences"),
        (
            {"max_steps": None, "max_epochs": 0.1, "warmup_steps": 50},
            UsageError,
            r"warmup_steps: found 50, but train.max_epochs = 0.1 gives 3 steps",
        ),
    ],
)
def test_a_recipe_that_the_data_cannot_fill_is_refused(
    make_run: MakeRun, values: dict[str, Any], error: type[JagptError], message: str
) -> None:
    run = make_run()
    with pytest.raises(error, match=message):
        session.run(make_recipe(**values), run, QUIET)
    assert not run.own("train").exists()


def test_a_class_of_model_that_cannot_mask_documents_is_refused(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "separates_documents", lambda model, end_id: False)
    with pytest.raises(UsageError, match="document_mask: transformers' gpt2 does not keep"):
        session.run(make_recipe(document_mask=True), make_run(), QUIET)


def test_a_document_mask_needs_end_tokens(tmp_path: Path, inputs: Any) -> None:
    write_tokens(tmp_path / "tokens", {"train": 60, "valid": 20, "test": 1})
    path = tmp_path / "tokens" / "train-00000.bin"
    raw = np.fromfile(path, "<u2")
    raw[-1] = 7
    raw.tofile(path)
    run = RunDirectory(tmp_path / "run", {**inputs, "tokens": tmp_path / "tokens"})
    with pytest.raises(UsageError, match=r"document_mask: the tokens in .* have no end token"):
        session.preflight(make_recipe(document_mask=True), run)


def test_an_empty_valid_split_is_refused_and_the_key_named(tmp_path: Path, inputs: Any) -> None:
    write_tokens(tmp_path / "tokens", {"train": 60, "valid": 0, "test": 1})
    run = RunDirectory(tmp_path / "run", {**inputs, "tokens": tmp_path / "tokens"})
    with pytest.raises(DataError, match=r"valid_share"):
        session.run(make_recipe(), run, QUIET)


def test_the_weights_of_another_model_are_refused(make_run: MakeRun) -> None:
    run = make_run()
    session.run(make_recipe(), run, QUIET)
    with pytest.raises(DataError, match=r"another model's weights.*has the shape"):
        session.run(make_recipe(model={"n_embd": 32}, max_steps=14), run, QUIET)


def test_out_of_memory_names_the_knob(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(parallel, "model_nats", full)
    with pytest.raises(
        JagptError, match=r"--set train\.batch_size=2 --set train\.grad_accum_steps=4"
    ) as caught:
        session.run(make_recipe(batch_size=4), make_run(), QUIET)
    assert caught.value.exit_code == 1
    with pytest.raises(JagptError, match=r"lower train\.block_size"):
        session.run(make_recipe(batch_size=1), make_run("one"), QUIET)


def test_only_finished_content_is_left(make_run: MakeRun) -> None:
    run = make_run()
    files.write_json(run.own("train") / manifests.IN_PROGRESS, {})
    session.run(make_recipe(execution={"tensorboard": True}), run, QUIET)
    assert sorted(path.name for path in run.own("train").iterdir()) == [
        manifests.IN_PROGRESS, "index.json", "step-00000009", "step-00000012",
    ]  # fmt: skip
    assert (run.logs / CURVE).is_file()
    found = Environment.read(run.logs)
    assert (found.world_size, found.device, found.torch) == (1, "cpu", torch.__version__)
    threads = make_recipe().execution.threads or torch.get_num_threads()
    assert found.hardware == f"CPU ({machines.processor()}, {units.counted(threads, 'thread')})"
    assert list((run.logs / "tensorboard").iterdir())


def test_pytorch_is_left_as_it_was_found(make_run: MakeRun) -> None:
    def switches() -> list[Any]:
        return [
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
            torch.get_float32_matmul_precision(),
        ]

    before = switches()
    session.run(make_recipe(), make_run(), QUIET)
    assert switches() == before
