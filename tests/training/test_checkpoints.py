from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jagpt.errors import DataError, UsageError
from jagpt.models import checkpoint_folder
from jagpt.recipe import Model, Train
from jagpt.training import checkpoints
from jagpt.training.plan import Plan, make_plan
from jagpt.training.state import State, Validation


def plan(**values: Any) -> Plan:
    shape = Model(n_layer=1, n_head=1, n_embd=8, n_positions=10)
    settings = {
        "batch_size": 2,
        "grad_accum_steps": 1,
        "max_steps": 20,
        "checkpoint_every": 3,
        "validate_every": 3,
        **values,
    }
    return make_plan(shape, Train(**settings), 10_000)


def save(directory: Path, state: State, it: Plan | None = None) -> None:
    def write(folder: Path) -> None:
        for name in (checkpoint_folder.MODEL, checkpoint_folder.OPTIMIZER):
            (folder / name).write_bytes(f"{name} {state.step}".encode())

    checkpoints.save(directory, state, write)
    checkpoints.settle(directory, state, it or plan())


def at(step: int, losses: dict[int, float] | None = None) -> State:
    """The state at `step` with these validation losses; the first lowest is the best."""
    history = tuple(Validation(s, s * 10, loss) for s, loss in (losses or {}).items())
    best = min(history, key=lambda entry: entry.loss, default=None)
    return State(step, step * 2, step * 10, history, best)


def bad(step: int, sequence: int, *, resumed: int | None = None) -> dict[str, Any]:
    """A bad step of two sequences, as it is stored."""
    stored = {"step": step, "sequence": sequence, "sequences": 2, "reason": "", "loss": None}
    stored["gradient_norm"] = None
    return stored if resumed is None else {**stored, "resumed": resumed}


def index(directory: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((directory / "index.json").read_text())
    return value


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = at(6, {3: 2.0, 6: 1.5})
    save(tmp_path, state)
    assert checkpoints.read(tmp_path / "step-00000006") == state


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    losses: dict[int, float] = {}
    for step, loss in {3: 2.0, 6: 1.0, 9: 1.5, 12: 1.6, 15: 1.7}.items():
        losses[step] = loss
        save(tmp_path, at(step, losses))
    assert checkpoint_folder.standing(tmp_path) == [6, 12, 15]
    assert index(tmp_path) == {
        "best": "step-00000006",
        "best_loss": 1.0,
        "last": "step-00000015",
        "checkpoints": [
            {"name": "step-00000006", "step": 6, "loss": 1.0},
            {"name": "step-00000012", "step": 12, "loss": 1.6},
            {"name": "step-00000015", "step": 15, "loss": 1.7},
        ],
    }


def test_of_equal_losses_the_first_is_the_best() -> None:
    state = State(3).with_validation(1.0)
    assert State(6, validation=state.validation, best=state.best).with_validation(1.0).best == (
        Validation(3, 0, 1.0)
    )


def test_a_checkpoint_of_an_interruption_stays_only_until_one_is_due(tmp_path: Path) -> None:
    for step in (3, 6, 8):
        save(tmp_path, at(step))
    assert checkpoint_folder.standing(tmp_path) == [3, 6, 8]
    assert index(tmp_path)["last"] == "step-00000008"
    save(tmp_path, at(9))
    assert checkpoint_folder.standing(tmp_path) == [6, 9]


@pytest.mark.parametrize(
    ("losses", "settings", "kept"),
    [
        pytest.param({3: 2.0, 6: 1.9, 7: 1.8}, {}, [6, 7], id="best only because the run ends"),
        pytest.param({3: 2.0, 6: 1.9, 7: 1.9}, {}, [6, 7], id="best anyway"),
        pytest.param({3: 1.7, 6: 1.9, 7: 1.8}, {}, [3, 7], id="best before"),
        pytest.param({3: 1.7, 6: 1.9, 7: 1.8}, {"on_bad_step": "rewind"}, [3, 6, 7],
                     id="where bad steps return"),
    ],
)  # fmt: skip
def test_the_end_of_a_run_keeps_what_a_longer_one_needs(
    tmp_path: Path, losses: dict[int, float], settings: dict[str, Any], kept: list[int]
) -> None:
    short = plan(max_steps=7, keep_checkpoints=1, **settings)
    for step in losses:
        save(tmp_path, at(step, {s: loss for s, loss in losses.items() if s <= step}), short)
    assert checkpoint_folder.standing(tmp_path) == kept
    assert [entry["step"] for entry in index(tmp_path)["checkpoints"]] == kept


def test_checkpoints_are_found_by_name_and_by_step(tmp_path: Path) -> None:
    save(tmp_path, at(3, {3: 1.0}))
    save(tmp_path, at(6, {3: 1.0, 6: 2.0}))
    assert checkpoint_folder.resolve(tmp_path, "best").name == "step-00000003"
    assert checkpoint_folder.resolve(tmp_path, "last").name == "step-00000006"
    assert checkpoint_folder.resolve(tmp_path, "6").name == "step-00000006"
    with pytest.raises(UsageError, match=r"'5'; kept are step-00000003, step-00000006"):
        checkpoint_folder.resolve(tmp_path, "5")


def test_without_an_index_nothing_is_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index.json: this index of checkpoints is missing"):
        checkpoint_folder.resolve(tmp_path, "best")


@pytest.mark.parametrize("victim", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_damaged_one_is_named_and_the_one_before_it_used(
    tmp_path: Path, victim: str, harm: str
) -> None:
    save(tmp_path, at(3))
    save(tmp_path, at(6))
    path = tmp_path / "step-00000006" / victim
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"?" + data[1:] if harm == "flip" else data[:5])
    found = checkpoints.find(tmp_path, plan())
    assert found.state == at(3)
    assert len(found.damaged) == 1
    assert str(path) in found.damaged[6]


@pytest.mark.parametrize(
    "value",
    [{"version": 2}, {"step": 7}, {"step": None}, {"files": {}}, {"validation": [1]}, {"best": 3}],
)
def test_a_state_that_makes_no_sense_is_damaged(tmp_path: Path, value: dict[str, Any]) -> None:
    save(tmp_path, at(3))
    path = tmp_path / "step-00000003" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | value))
    with pytest.raises(DataError, match=r"state\.json"):
        checkpoints.read(path.parent)


@pytest.mark.parametrize(
    "value",
    [
        {"sequences": 10**12},
        {"sequences": 2**63 - 1},
        {"sequences": 5},
        {"sequences": 14, "bad_steps": [bad(2, 2)]},
        {"sequences": 2 * 10**12 + 10, "bad_steps": [bad(10**12, 2 * (10**12 - 1), resumed=1)]},
        {"sequences": 16, "bad_steps": [bad(4, 6, resumed=3), bad(3, 6, resumed=2)]},
        {"sequences": 12, "bad_steps": [bad(8, 14)]},
        {"sequences": 34, "bad_steps": [bad(4, 6 + 2 * n, resumed=3) for n in range(11)]},
        {"batch_sizes": [{"step": 1, "size": 0}]},
        {"batch_sizes": [{"step": 1, "size": 3}]},
    ],
)
def test_a_state_that_no_run_of_the_plan_comes_to_is_damaged(
    tmp_path: Path, value: dict[str, Any]
) -> None:
    save(tmp_path, at(3))
    save(tmp_path, at(6))
    path = tmp_path / "step-00000006" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | value))
    found = checkpoints.find(tmp_path, plan())
    assert found.state == at(3)
    assert str(path) in found.damaged[6]


@pytest.mark.parametrize(
    ("sequences", "bad_steps"),
    [
        (6, [bad(2, 2)]),
        (8, [bad(4, 6, resumed=3)]),
        (10, [bad(4, 6, resumed=3), bad(4, 8, resumed=3)]),
        (14, [bad(2, 2), bad(6, 10, resumed=2)]),
        (24, [bad(12, 22, resumed=3)]),  # of a plan that was longer
    ],
)
def test_a_state_after_bad_steps_is_sound(
    tmp_path: Path, sequences: int, bad_steps: list[dict[str, Any]]
) -> None:
    save(tmp_path, at(3))
    path = tmp_path / "step-00000003" / "state.json"
    value = json.loads(path.read_text()) | {"sequences": sequences, "bad_steps": bad_steps}
    path.write_text(json.dumps(value))
    found = checkpoints.find(tmp_path, plan(max_steps=5, warmup_steps=1))
    assert not found.damaged
    assert found.state is not None
    assert found.state.sequences == sequences


def test_none_left_is_none(tmp_path: Path) -> None:
    assert checkpoints.find(tmp_path / "nowhere", plan()).state is None
    save(tmp_path, at(3))
    (tmp_path / "step-00000003" / "model.safetensors").unlink()
    found = checkpoints.find(tmp_path, plan())
    assert found.state is None
    assert len(found.damaged) == 1


def test_a_best_one_that_is_lost_is_the_best_no_more(tmp_path: Path) -> None:
    losses = {3: 1.0, 6: 2.0, 9: 3.0}
    for step in losses:
        save(tmp_path, at(step, {s: loss for s, loss in losses.items() if s <= step}))
    (tmp_path / "step-00000003" / "model.safetensors").write_bytes(b"")
    found = checkpoints.find(tmp_path, plan())
    assert found.state is not None
    assert (found.state.step, found.state.best) == (9, Validation(6, 60, 2.0))
    assert found.saved == at(9, losses)


@pytest.mark.parametrize(
    ("saved", "lost", "due"),
    [
        ([3, 6, 8], None, 6),
        ([3, 4, 5], None, 4),  # 4 was the best
        ([2], None, None),
        ([4, 5], 4, 5),
        ([3, 5], 3, 5),
    ],
)
def test_the_checkpoint_of_an_interruption_is_not_due_unless_that_one_is_lost(
    tmp_path: Path, saved: list[int], lost: int | None, due: int | None
) -> None:
    for step in saved:
        save(tmp_path, at(step, {4: 1.0} if step >= 4 else {}), plan(validate_every=4))
    if lost is not None:
        (tmp_path / checkpoint_folder.step_name(lost) / "model.safetensors").write_bytes(b"")
    found = checkpoints.find(tmp_path, plan(validate_every=4))
    assert (found.due.step if found.due else None) == due


def test_what_lies_beyond_the_plan_is_left_alone(tmp_path: Path) -> None:
    save(tmp_path, at(3))
    save(tmp_path, at(6))
    found = checkpoints.find(tmp_path, plan(max_steps=5))
    assert found.state is not None
    assert found.state.step == 3


def test_a_validation_at_the_end_of_a_shorter_run_is_forgotten(tmp_path: Path) -> None:
    short = plan(max_steps=7)
    save(tmp_path, at(6, {3: 2.0, 6: 1.9}), short)
    save(tmp_path, at(7, {3: 2.0, 6: 1.9, 7: 1.8}), short)
    found = checkpoints.find(tmp_path, plan(max_steps=20))
    assert found.state is not None
    assert [entry.step for entry in found.state.validation] == [3, 6]
    rarer = checkpoints.find(tmp_path, plan(max_steps=20, validate_every=6))
    assert rarer.state is not None
    assert [entry.step for entry in rarer.state.validation] == [3, 6]
    assert found.state.best == Validation(6, 60, 1.9)
