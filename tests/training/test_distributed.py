"""Several processes train what one does."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from several_ranks import Fate, shared_recipe, train
from tiny_training import logged_rows, signalled_at, write_tokens

from jagpt import files
from jagpt.errors import UsageError
from jagpt.progress import QUIET
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.training import distributed, session
from jagpt.training.distributed import Group
from jagpt.training.metrics import METRICS, SAMPLES
from jagpt.training.ranks import Ranks

MakeRun = Callable[..., RunDirectory]


def losses(run: RunDirectory) -> dict[tuple[str, int], float]:
    """The loss of every logged step and validation."""
    return {(row["kind"], row["step"]): row["loss"] for row in logged_rows(run)}


def tensors(run: RunDirectory, step: int, name: str) -> dict[str, torch.Tensor]:
    return dict(load_file(run.own("train") / f"step-{step:08}" / f"{name}.safetensors"))


def recipe(max_steps: int = 50, strategy: str = "ddp") -> Recipe:
    """Steps with dropout, in fp32, by AdamW, at rates that do not depend on their number."""
    return shared_recipe(
        model={"embeddings": "text"},
        max_steps=max_steps,
        schedule="constant",
        validate_every=10,
        checkpoint_every=10,
        execution={"distributed": strategy},
    )


@pytest.fixture(scope="module")
def alone(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Fifty steps of one process."""
    run = RunDirectory(tmp_path_factory.mktemp("alone") / "run", inputs)
    session.run(recipe(), run, QUIET)
    return run


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_train_as_one_process_does(
    make_run: MakeRun, alone: RunDirectory, tmp_path: Path, strategy: str
) -> None:
    run, marks = make_run("two"), tmp_path / "marks"
    codes, words, _ = train(recipe(20, strategy), run, fate=Fate(exchanges=marks))
    assert codes == [0, 0], words
    expected = {key: loss for key, loss in losses(alone).items() if key[1] <= 20}
    assert len(expected) == 20 + 2
    assert losses(run) == pytest.approx(expected, rel=1e-5)
    for name in ("model", "optimizer"):
        ours, theirs = tensors(run, 20, name), tensors(alone, 50, name)
        assert {key: t.shape for key, t in ours.items()} == {k: t.shape for k, t in theirs.items()}
    samples = (alone.logs / SAMPLES).read_text().splitlines()
    assert (run.logs / SAMPLES).read_text().splitlines() == samples[:2]
    if strategy == "ddp":
        assert marks.read_text() == "x" * 20  # one exchange a step, of two micro-batches a rank


def test_two_ranks_then_one_then_two_shards_end_as_one_process_does(
    make_run: MakeRun, alone: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("changing")
    codes, words, _ = train(recipe(), run, fate=Fate(1, 18, signal.SIGTERM))
    assert codes == [75, 75], words
    assert "after step 17 of 50 (SIGTERM)" in words[0]
    with (
        signalled_at(monkeypatch, 35, signal.SIGTERM),
        pytest.raises(session.JagptError, match="after step 34 of 50"),
    ):
        session.run(recipe(), run, QUIET)
    codes, words, _ = train(recipe(50, "fsdp"), run)
    assert codes == [0, 0], words
    assert losses(run) == pytest.approx(losses(alone), rel=1e-5)
    last = files.read_json(run.own("train") / "step-00000050" / "state.json")
    assert last["sequences"] == 50 * 8
    assert last["machine"]["world_size"] == 2


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_weights_that_get_no_gradient_disturb_no_rank(make_run: MakeRun, strategy: str) -> None:
    def phi(max_steps: int = 4) -> Recipe:
        return shared_recipe(
            max_steps=max_steps,
            schedule="constant",
            model={"type": "phi"},
            execution={"distributed": strategy},
        )

    alone, shared = make_run("alone"), make_run("shared")
    session.run(phi(), alone, QUIET)
    for steps in (2, 4):
        codes, words, _ = train(phi(steps), shared)
        assert codes == [0, 0], words
    ours, theirs = losses(shared), losses(alone)
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, rel=1e-4)


def test_muon_and_the_average_work_on_shards_and_go_on_alone(make_run: MakeRun) -> None:
    def muon(strategy: str = "ddp", max_steps: int = 16) -> Recipe:
        return shared_recipe(
            max_steps=max_steps,
            schedule="constant",
            optimizer="muon",
            average="ema",
            average_share=1.0,
            average_decay=0.8,
            validate_every=8,
            checkpoint_every=8,
            execution={"distributed": strategy},
        )

    alone, sharded = make_run("alone"), make_run("sharded")
    session.run(muon(), alone, QUIET)
    codes, words, _ = train(muon("fsdp"), sharded, fate=Fate(0, 10, signal.SIGTERM))
    assert codes == [75, 75], words
    session.run(muon(), sharded, QUIET)
    assert losses(sharded) == pytest.approx(losses(alone), rel=1e-4)
    ours, theirs = tensors(sharded, 16, "average"), tensors(alone, 16, "average")
    assert {key: t.shape for key, t in ours.items()} == {k: t.shape for k, t in theirs.items()}


def test_when_a_rank_dies_the_other_leaves_and_says_so(make_run: MakeRun) -> None:
    run = make_run("dying")
    codes, words, seconds = train(shared_recipe(), run, fate=Fate(1, 5, signal.SIGKILL))
    assert codes == [1, -signal.SIGKILL]
    assert "lost contact with another rank" in words[0]
    assert seconds < 60
    assert (run.own("train") / "step-00000004").is_dir()


def _reverse(shard: Path) -> None:
    """The same tokens in the opposite order."""
    np.fromfile(shard, "<u2")[::-1].tofile(shard)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tokens: _reverse(tokens / "train-00000.bin"), r"train-00000\.bin: at byte 0: "),
        (lambda tokens: write_tokens(tokens, {"train": 60, "valid": 9, "test": 4}), "different"),
        (lambda tokens: (tokens / "valid-00000.bin").unlink(), r"valid-00000\.bin: .* is missing"),
    ],
    ids=["changed", "others", "missing"],
)
def test_a_machine_with_other_tokens_ends_all_ranks_before_the_first_step(
    make_run: MakeRun, tmp_path: Path, change: Callable[[Path], object], words: str
) -> None:
    run = make_run("one")
    tokens = tmp_path / "tokens"
    shutil.copytree(run.tokens, tokens)
    change(tokens)
    elsewhere = RunDirectory(tmp_path / "other", {**run.shared, "tokens": tokens})
    codes, said, _ = train(shared_recipe(), run, elsewhere=elsewhere)
    assert codes == [3, 3], said
    assert said[0].startswith("rank 1 cannot take part")
    assert re.match(rf"rank 1: .*{words}", said[1])
    assert not (run.logs / METRICS).exists()


def test_a_number_of_ranks_that_does_not_divide_the_step_is_refused(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "_current", Group(Ranks(0, 3)))
    with pytest.raises(UsageError, match=r"grad_accum_steps: found 4, which 3 processes"):
        session.preflight(shared_recipe(), make_run())


def test_a_group_of_one_exchanges_nothing() -> None:
    group, tensor = Group(), torch.ones(3)
    assert group.main
    assert group.sum(tensor) is tensor
    assert group.highest(5) == 5
    assert group.share({"a": [1]}) == {"a": [1]}
    with group.together():
        pass
