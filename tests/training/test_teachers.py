"""Learning from models: bit for bit after any stop, and what cannot be a teacher is refused."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_training import (
    Heard,
    contents,
    logged_rows,
    make_recipe,
    signalled_at,
    weighted,
    write_tokenizer,
)

from jagpt import files
from jagpt.errors import DataError, JagptError, StoppedError, UsageError
from jagpt.manifests import MANIFEST
from jagpt.models import checkpoint_folder
from jagpt.progress import QUIET
from jagpt.recipe import Recipe, parse
from jagpt.rundir import RunDirectory
from jagpt.stages import TRAIN
from jagpt.training import session, teachers
from jagpt.training.plan import continues

MakeRun = Callable[..., RunDirectory]


@pytest.fixture(scope="module")
def teacher(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with the tokenizer of all runs here."""
    run = RunDirectory(tmp_path_factory.mktemp("teacher"), inputs)
    session.run(make_recipe(seed=1, max_steps=4), run, QUIET)
    folder = run.root / "model"
    last = checkpoint_folder.resolve(run.checkpoints, "last")
    shutil.copytree(last, folder, ignore=shutil.ignore_patterns("optimizer*"))
    write_tokenizer(folder)
    return folder


def taught(*places: Path | str, **train: Any) -> Recipe:
    recipe = make_recipe(**train)
    names = tuple(map(str, places))
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"teacher": names})})


def left(run: RunDirectory) -> dict[str, str]:
    return contents(run.own("train"))


def test_a_taught_run_that_is_stopped_ends_as_an_unbroken_one(
    make_run: MakeRun, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = taught(teacher, teacher_temperature=2.0)
    whole, broken, alone = make_run("whole"), make_run("broken"), make_run("alone")
    session.run(recipe, whole, QUIET)
    for step in (2, 5, 11):
        with signalled_at(monkeypatch, step, signal.SIGTERM), pytest.raises(StoppedError):
            session.run(recipe, broken, QUIET)
    session.run(recipe, broken, QUIET)
    assert left(broken) == left(whole)
    session.run(make_recipe(), alone, QUIET)
    assert left(alone) != left(whole)


def test_a_run_trains_teachers_of_its_own_and_goes_on_in_any_of_them(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(own_teachers=2, max_steps=6, average="tail", average_share=0.5)
    whole, broken = make_run("whole"), make_run("broken")
    session.run(recipe, whole, QUIET)
    heard = Heard()
    for step in (3, 4, 6):  # the first teacher, the first again, and so on
        with signalled_at(monkeypatch, step, signal.SIGTERM), pytest.raises(StoppedError):
            session.run(recipe, broken, QUIET)
    session.run(recipe, broken, heard)
    assert left(broken) == left(whole)
    ones = [run.root / "teachers" for run in (whole, broken)]
    for number in ("1", "2"):
        made = [contents(place / number / "checkpoints") for place in ones]
        assert made[0] == made[1]
        assert (ones[0] / number / "checkpoints" / MANIFEST).is_file()
    first, second = (
        checkpoint_folder.resolve(ones[0] / number / "checkpoints", "last") for number in ("1", "2")
    )
    assert contents(first)["model.safetensors"] != contents(second)["model.safetensors"]
    again = Heard()
    session.run(recipe, broken, again)
    assert not [line for line in again.lines if line.startswith("teacher")]


@pytest.mark.parametrize("change", ["recipe", "data", "weights", "weights of an unfinished one"])
def test_teachers_of_another_training_are_set_aside(
    make_run: MakeRun, teacher: Path, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, begun = make_run(), copied(teacher, tmp_path / "begun")
    given = {"own_teachers": 1, "max_steps": 4, "model": {"from": str(begun)}}
    recipe = other = make_recipe(**given)
    if "unfinished" in change:
        with signalled_at(monkeypatch, 3, signal.SIGTERM), pytest.raises(StoppedError):
            session.run(recipe, run, QUIET)
    else:
        session.run(recipe, run, QUIET)
    before = contents(run.root / "teachers" / "1" / "checkpoints")
    files.remove(run.own("train"))
    if change == "recipe":
        other = make_recipe(**given, learning_rate=2e-2)
    elif change == "data":
        other = weighted(recipe, 0.5)
    else:
        tensors = load_file(begun / "model.safetensors")
        save_file({name: -value for name, value in tensors.items()}, begun / "model.safetensors")
    session.run(other, run, QUIET)
    assert contents(run.superseded / "teacher-1" / "checkpoints") == before
    assert contents(run.root / "teachers" / "1" / "checkpoints") != before


@pytest.mark.parametrize("stopped_at", [None, 5], ids=["finished", "unfinished"])
def test_a_teacher_that_was_set_aside_is_taken_back_with_its_logs(
    make_run: MakeRun, stopped_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, heard = make_run(), Heard()
    teacher = run.root / "teachers" / "1"
    recipe, other = (make_recipe(own_teachers=1, max_steps=6, seed=seed) for seed in (7, 70))
    if stopped_at is None:
        session.run(recipe, run, QUIET)
    else:
        with signalled_at(monkeypatch, stopped_at, signal.SIGTERM), pytest.raises(StoppedError):
            session.run(recipe, run, QUIET)
    before = contents(teacher)
    files.remove(run.own("train"))
    with signalled_at(monkeypatch, 4, signal.SIGTERM), pytest.raises(StoppedError):
        session.run(other, run, QUIET)
    assert contents(run.superseded / "teacher-1") == before
    session.run(recipe, run, heard)
    (said,) = (line for line in heard.lines if "restored from" in line)
    assert said.startswith("teacher 1: made earlier with this recipe")
    steps = [row["step"] for row in logged_rows(RunDirectory(teacher)) if row["kind"] == "train"]
    assert steps == list(range(1, 7))
    if stopped_at is None:
        assert contents(teacher) == before
    else:
        assert any("continuing from the checkpoint of step 4" in line for line in heard.lines)
    assert (run.superseded / "teacher-1-2" / "logs" / "metrics.jsonl").is_file()


@pytest.mark.parametrize("damaged", ["weights", "manifest"])
def test_a_damaged_teacher_is_set_aside_and_trained_again(make_run: MakeRun, damaged: str) -> None:
    run, heard = make_run(), Heard()
    recipe = make_recipe(own_teachers=1, max_steps=2)
    session.run(recipe, run, QUIET)
    teacher = run.root / "teachers" / "1" / "checkpoints"
    before = left(run), contents(teacher)
    files.remove(run.own("train"))
    path = teacher / MANIFEST
    if damaged == "weights":
        path = checkpoint_folder.resolve(teacher, "last") / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 0x40
    path.write_bytes(content)
    session.preflight(recipe, run)
    session.run(recipe, run, heard)
    assert (left(run), contents(teacher)) == before
    (said,) = (line for line in heard.lines if "moved aside" in line)
    assert said.startswith(f"teacher 1: {path}: ")
    assert str(run.superseded / "teacher-1") in said


def test_a_teacher_stays_where_only_validation_and_upkeep_are_different(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, run, heard = make_run("whole"), make_run(), Heard()
    changed = {"validate_every": 3, "validate_tokens": 16, "checkpoint_every": 2}
    with signalled_at(monkeypatch, 5, signal.SIGTERM), pytest.raises(StoppedError):
        session.run(make_recipe(own_teachers=1, max_steps=6), run, QUIET)
    session.run(make_recipe(own_teachers=1, max_steps=6, **changed), run, heard)
    assert any("continuing from the checkpoint of step 4" in line for line in heard.lines)
    session.run(make_recipe(own_teachers=1, max_steps=6), whole, QUIET)
    for one in (run, whole):
        assert not one.superseded.exists()
    again = Heard()
    files.remove(run.own("train"))
    session.run(make_recipe(own_teachers=1, max_steps=6), run, again)
    assert not [line for line in again.lines if line.startswith("teacher")]
    taught = [one.root / "teachers" / "1" / "checkpoints" for one in (run, whole)]
    weights = [checkpoint_folder.resolve(place, "last") / "model.safetensors" for place in taught]
    assert files.sha256(weights[0]) == files.sha256(weights[1])


def test_who_teaches_is_neither_trained_nor_drawn_from(make_run: MakeRun, teacher: Path) -> None:
    found = teachers.load(taught(teacher), make_run(), 64, None, torch.device("cpu"))
    assert found is not None
    (network,) = found.networks
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    before = torch.get_rng_state()
    lesson = found.lesson(torch.arange(12).reshape(2, 6), None)
    assert torch.equal(before, torch.get_rng_state())
    assert lesson.hidden[0].shape == (12, 16)
    logits = network(torch.arange(12).reshape(2, 6)).logits.flatten(0, 1)
    torch.testing.assert_close(lesson.probabilities(slice(3, 9)), logits.softmax(-1)[3:9])
    assert teachers.load(make_recipe(), make_run(), 64, None, torch.device("cpu")) is None


def copied(teacher: Path, place: Path) -> Path:
    shutil.copytree(teacher, place)
    return place


def test_what_cannot_teach_is_refused_before_the_first_stage(teacher: Path, tmp_path: Path) -> None:
    pickled = copied(teacher, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    refused: list[tuple[Recipe, type[JagptError], str]] = [
        (taught(pickled), DataError, "pickle"),
        (taught(teacher, model={"n_positions": 32}), DataError, "reads at most 16 tokens.*have 32"),
        (taught(tmp_path / "none"), UsageError, "train.teacher: .*no such folder"),
        (taught("someone/model"), UsageError, "no revision given for the hub id someone/model"),
    ]
    for recipe, error, message in refused:
        with pytest.raises(error, match=message):
            TRAIN.check(recipe)


def test_a_teacher_with_other_ids_or_none_and_the_run_itself_are_refused(
    make_run: MakeRun, teacher: Path, tmp_path: Path
) -> None:
    other = copied(teacher, tmp_path / "other")
    text = (other / "tokenizer.json").read_text("utf-8")
    (other / "tokenizer.json").write_text(text.replace("<cls>", "<els>"), "utf-8")
    bare = copied(teacher, tmp_path / "bare")
    for path in bare.glob("tokenizer*"):
        path.unlink()
    run = make_run()
    itself = copied(teacher, run.root / "model")
    for place, message in (
        (other, r"2 pieces have a different id .*tokenizer\.from="),
        (bare, "has no tokenizer to compare"),
        (run.root, "is this run itself"),
        (itself, "is this run itself"),
    ):
        with pytest.raises(JagptError, match=message):
            session.preflight(taught(place), run)
    session.preflight(taught(teacher), run)


def test_the_manifest_knows_teachers_by_their_content(teacher: Path, tmp_path: Path) -> None:
    moved = copied(teacher, tmp_path / "moved")
    one, two = (TRAIN.outside(taught(place), files.sha256, {}) for place in (teacher, moved))
    assert one == two
    assert one["teacher 1 model.safetensors"] == files.sha256(teacher / "model.safetensors")
    assert TRAIN.semantic(taught(teacher)) == TRAIN.semantic(taught(moved))
    hub = TRAIN.outside(taught("someone/model@v1"), files.sha256, {})
    assert hub == {"teacher 1 hub": "someone/model@v1"}


def test_finished_work_that_knows_no_teachers_stays_done() -> None:
    section = make_recipe().train.semantic()
    assert not {key for key in section if "teach" in key}
    assert make_recipe(own_teachers=1).train.semantic()["own_teachers"] == 1


def test_teachers_are_found_from_the_recipe_s_folder(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    text = (
        'name = "x"\n[[corpus.source]]\nname = "s"\nkind = "text"\npath = "a.txt"\n'
        '[train]\nmax_steps = 1\nteacher = ["runs/a", "someone/model@v1"]\n'
    )
    found = parse(text, folder=tmp_path).train.teacher
    assert found == (str(tmp_path / "runs" / "a"), "someone/model@v1")


def test_a_longer_run_with_teachers_of_its_own_starts_anew() -> None:
    sections = [
        {"model": recipe.model.semantic(), "train": recipe.train.semantic()}
        for recipe in (
            make_recipe(own_teachers=1, schedule="constant"),
            make_recipe(own_teachers=1, schedule="constant", max_steps=20),
            make_recipe(own_teachers=1, schedule="constant", validate_every=2),
        )
    ]
    assert not continues(sections[0], sections[1], 6, 1000)
    assert continues(sections[0], sections[2], 6, 1000)
