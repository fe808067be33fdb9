"""Done, stale, resumed, shared: the stages' states, with small stand-ins for the stages."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from jagpt import __version__, files, pipeline, stages
from jagpt import recipe as recipes
from jagpt.errors import (
    DataError,
    MissingExtraError,
    NewerVersionError,
    StoppedError,
    UsageError,
)
from jagpt.formats import table
from jagpt.manifests import IN_PROGRESS, MANIFEST, Manifest
from jagpt.pipeline import Ledger
from jagpt.progress import QUIET, Progress
from jagpt.recipe import SECTIONS, Recipe
from jagpt.rundir import STAGE_DIRECTORIES, RunDirectory
from jagpt.stage import Stage
from jagpt.stages import STAGE_NAMES

RECIPE = """
name = "mine"
[[corpus.source]]
name = "notes"
kind = "text"
path = "notes.txt"
[train]
max_steps = 10
schedule = "constant"
"""


class Workshop:
    """Stand-ins for the stages; `calls` lists those that ran, `broken` those that stop halfway."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken: set[str] = set()
        self.newer: set[str] = set()

    def stand_in(self, stage: Stage) -> Stage:
        """The stage with its own settings, which writes two small files."""
        workshop, original = self, type(stage)

        class StandIn(original):  # type: ignore[misc, valid-type]
            def check_kept(self, run: RunDirectory) -> None:
                if self.name in workshop.newer:
                    raise NewerVersionError(run.own(self.name) / "half.txt", 2, 1)

            def preflight(self, recipe: Recipe, run: RunDirectory) -> None:
                pass

            def worth(self, directory: Path) -> str | None:
                return "10 steps" if original.worth is not Stage.worth else None

            def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
                workshop.calls.append(self.name)
                for log in self.logs[:1]:
                    with files.appended(run.logs / log) as append:
                        append({"rate": recipe.train.learning_rate})
                files.write_text(run.own(self.name) / "half.txt", self.name)
                if self.name in workshop.broken:
                    raise StoppedError("stopped")
                files.write_text(run.own(self.name) / "whole.txt", self.name)

        return StandIn()


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Workshop:
    made = Workshop()
    monkeypatch.setattr(stages, "STAGES", tuple(map(made.stand_in, stages.STAGES)))
    (tmp_path / "notes.txt").write_text("本文")
    return made


def load(tmp_path: Path, *overrides: str) -> Recipe:
    return recipes.parse(RECIPE, folder=tmp_path, overrides=overrides)


def run(tmp_path: Path, *overrides: str, name: str = "run", **options: object) -> list[str]:
    recipe = load(tmp_path, *overrides)
    place = pipeline.open_run(recipe, tmp_path / name)
    return pipeline.run_stages(recipe, place, QUIET, **options)  # type: ignore[arg-type]


def states(tmp_path: Path, *overrides: str, name: str = "run") -> dict[str, pipeline.StageState]:
    recipe = load(tmp_path, *overrides)
    place = pipeline.open_run(recipe, tmp_path / name)
    found = pipeline.examine(recipe, place, Ledger.read(place))
    return {state.stage.name: state for state in found}


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root`, and every folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else b"folder"
        for path in root.rglob("*")
    }


def test_every_stage_has_a_directory_and_known_sections() -> None:
    assert tuple(STAGE_DIRECTORIES) == STAGE_NAMES
    for number, stage in enumerate(stages.STAGES):
        assert set(stage.sections) <= set(SECTIONS) - {"search", "execution"}
        assert {*stage.needs, *stage.shared_with} <= set(STAGE_NAMES[:number])


def test_a_first_run_makes_all_and_a_second_nothing(tmp_path: Path, workshop: Workshop) -> None:
    assert run(tmp_path) == list(STAGE_NAMES)
    assert run(tmp_path) == []
    assert workshop.calls == list(STAGE_NAMES)


def test_until_stops_after_a_stage(tmp_path: Path, workshop: Workshop) -> None:
    assert run(tmp_path, until="tokens") == ["corpus", "tokenizer", "tokens"]
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("key", "module", "package", "last"),
    [
        ('execution.trackers=["wandb"]', importlib.util, "wandb", "train"),
        ('export.formats=["gguf-f16"]', table, "xllamacpp", "formats"),
    ],
)
def test_a_package_that_a_later_stage_needs_is_missed_before_the_first(
    tmp_path: Path,
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    module: object,
    package: str,
    last: str,
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == package else True)
    with pytest.raises(MissingExtraError, match="pip install"):
        run(tmp_path, key)
    assert workshop.calls == []
    before = STAGE_NAMES[STAGE_NAMES.index(last) - 1]
    assert run(tmp_path, key, until=before)[-1] == before


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ('model.type="vit"', "no causal language model"),
        ('model.type="bert"', "changes its logits"),
        ("model.config.n_inne=4", "no such key"),
    ],
)
def test_a_network_that_does_not_exist_is_refused_before_the_first_stage(
    tmp_path: Path, workshop: Workshop, key: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run(tmp_path, key)
    assert workshop.calls == []
    assert run(tmp_path, key, until="tokens")[-1] == "tokens"


def test_a_changed_rate_remakes_training_and_what_follows(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path)
    before = states(tmp_path)
    found = states(tmp_path, "train.learning_rate=0.1")
    assert [found[name].status for name in STAGE_NAMES[:3]] == ["done"] * 3
    assert found["train"].reasons == ("[train] learning_rate: 0.0006 → 0.1",)
    assert found["evaluate"].reasons == ("train changed",)
    corpus = (tmp_path / "run" / "corpus" / "whole.txt").stat()
    assert run(tmp_path, "train.learning_rate=0.1") == list(STAGE_NAMES[3:])
    assert (tmp_path / "run" / "corpus" / "whole.txt").stat() == corpus
    superseded = {path.name for path in (tmp_path / "run" / "superseded").iterdir()}
    assert superseded == {f"{name}-{before[name].fingerprint[:8]}" for name in STAGE_NAMES[3:]}


def test_a_run_goes_on_in_the_precision_in_which_it_began(
    tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def precision() -> str:
        return str(Manifest.read(tmp_path / "run" / "checkpoints").section["train"]["precision"])

    monkeypatch.setattr("jagpt.devices.cpu_bf16", lambda: False)
    said: list[str] = []
    monkeypatch.setattr(Progress, "say", lambda _self, text: said.append(text))
    place = RunDirectory(tmp_path / "run")
    pipeline.run_stages(load(tmp_path), place, QUIET)
    assert "train.precision: fp32 (this processor has no bf16)" in said
    assert precision() == "fp32"
    assert 'precision = "auto"' in place.recipe.read_text("utf-8")
    monkeypatch.setattr("jagpt.devices.cpu_bf16", lambda: True)
    assert run(tmp_path) == []
    assert run(tmp_path, "train.precision=fp32") == []
    assert run(tmp_path, force=True, only="train") == ["train"]
    assert precision() == "bf16"


def test_a_run_that_was_stopped_goes_on_in_its_precision_elsewhere(
    tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jagpt.devices.cpu_bf16", lambda: True)
    workshop.broken = {"train"}
    with pytest.raises(StoppedError):
        run(tmp_path)
    monkeypatch.setattr("jagpt.devices.cpu_bf16", lambda: False)
    assert states(tmp_path)["train"].status == "unfinished"
    assert states(tmp_path)["train"].section["train"]["precision"] == "bf16"


def test_execution_changes_nothing(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    assert run(tmp_path, "execution.workers=1", "execution.max_hours=1") == []


def test_a_new_name_remakes_only_what_carries_it(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    assert run(tmp_path, "name=other") == ["release"]


def test_moved_sources_are_the_same_and_changed_ones_are_not(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path)
    (tmp_path / "notes.txt").rename(tmp_path / "moved.txt")
    assert run(tmp_path, f"corpus.source.path={tmp_path / 'moved.txt'}") == []
    (tmp_path / "moved.txt").write_text("別の本文")
    found = states(tmp_path, f"corpus.source.path={tmp_path / 'moved.txt'}")
    assert found["corpus"].reasons == ("source notes 0 changed",)


def test_a_source_may_be_deleted_once_the_corpus_is_done(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path, until="corpus")
    (tmp_path / "notes.txt").unlink()
    assert run(tmp_path) == list(STAGE_NAMES[1:])
    with pytest.raises(DataError, match=r"notes\.txt"):
        run(tmp_path, name="another")


def test_a_raised_version_makes_a_stage_stale(
    tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    (tokens,) = (stage for stage in stages.STAGES if stage.name == "tokens")
    monkeypatch.setattr(type(tokens), "version", 2)
    found = states(tmp_path)
    assert found["tokens"].reasons == ("this jagpt makes it differently (version 1 → 2)",)
    assert [found[name].status for name in ("tokenizer", "train")] == ["done", "stale"]


def test_an_unfinished_stage_goes_on_in_its_directory(tmp_path: Path, workshop: Workshop) -> None:
    workshop.broken = {"tokens"}
    with pytest.raises(StoppedError):
        run(tmp_path)
    assert states(tmp_path)["tokens"].status == "unfinished"
    assert not (tmp_path / "run" / "tokens" / MANIFEST).exists()
    workshop.broken = set()
    assert run(tmp_path)[0] == "tokens"
    assert not (tmp_path / "run" / "superseded").exists()
    assert not (tmp_path / "run" / "tokens" / IN_PROGRESS).exists()


def test_an_unfinished_stage_of_another_recipe_is_superseded(
    tmp_path: Path, workshop: Workshop
) -> None:
    workshop.broken = {"tokens"}
    with pytest.raises(StoppedError):
        run(tmp_path)
    workshop.broken = set()
    assert states(tmp_path, "tokens.end_token=false")["tokens"].reasons == (
        "unfinished",
        "[tokens] end_token: True → False",
    )
    run(tmp_path, "tokens.end_token=false")
    (superseded,) = (tmp_path / "run" / "superseded").iterdir()
    assert superseded.name.startswith("tokens-")


def test_a_stage_alone_needs_its_predecessors(tmp_path: Path, workshop: Workshop) -> None:
    with pytest.raises(UsageError, match="tokens needs corpus, which is missing"):
        run(tmp_path, only="tokens")
    run(tmp_path, only="corpus")
    run(tmp_path, only="tokenizer")
    assert run(tmp_path, only="tokens") == ["tokens"]


def test_force_makes_anew_without_keeping(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    assert run(tmp_path, only="evaluate", force=True) == ["evaluate"]
    assert not (tmp_path / "run" / "superseded").exists()


RATE = "train.learning_rate=0.1"


def logged(tmp_path: Path) -> list[float]:
    text = (tmp_path / "run" / "logs" / "metrics.jsonl").read_text()
    return [json.loads(line)["rate"] for line in text.splitlines()]


def without_times(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(root).items() if "timing" not in name}


def test_what_was_set_aside_is_taken_back_with_its_logs(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    ledger, whole = tmp_path / "run" / "logs" / "timing.json", without_times(tmp_path / "run")
    row = json.loads(ledger.read_text())["stages"]["train"]
    assert run(tmp_path, RATE) == list(STAGE_NAMES[3:])
    assert logged(tmp_path) == [0.1]
    other = without_times(tmp_path / "run")
    assert run(tmp_path) == []
    assert logged(tmp_path) == [0.0006]
    found = without_times(tmp_path / "run")
    assert {name: found[name] for name in whole} == whole
    assert json.loads(ledger.read_text())["stages"]["train"] == row
    assert run(tmp_path, RATE) == []
    assert without_times(tmp_path / "run") == other


def test_a_users_file_among_what_was_set_aside_is_passed_over(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path)
    aside = tmp_path / "run" / "superseded"
    name = f"train-{states(tmp_path)['train'].fingerprint[:8]}"
    for file in (aside / name, aside / f"{name}.tar"):
        files.write_text(file, "mine")
    run(tmp_path, RATE)
    assert (aside / f"{name}-2" / "checkpoints" / MANIFEST).is_file()
    workshop.calls.clear()
    run(tmp_path)
    assert workshop.calls == []
    assert {file.read_text() for file in aside.iterdir() if file.is_file()} == {"mine"}


def test_what_was_left_unfinished_is_taken_back_and_goes_on(
    tmp_path: Path, workshop: Workshop
) -> None:
    workshop.broken = {"train"}
    with pytest.raises(StoppedError):
        run(tmp_path)
    with pytest.raises(StoppedError):
        run(tmp_path, RATE)
    workshop.broken = set()
    assert run(tmp_path)[0] == "train"
    assert logged(tmp_path) == [0.0006, 0.0006]
    assert [path.name[:6] for path in RunDirectory(tmp_path / "run").superseded.iterdir()] == [
        "train-"
    ]


def test_what_was_altered_since_is_not_taken_back(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    run(tmp_path, RATE)
    (old,) = (tmp_path / "run" / "superseded").glob("train-*")
    (old / "checkpoints" / "whole.txt").write_text("x" * 5)
    assert run(tmp_path)[0] == "train"
    assert (old / "checkpoints" / "whole.txt").read_text() == "xxxxx"


def test_what_took_long_is_not_set_aside_unasked(tmp_path: Path, workshop: Workshop) -> None:
    def refuse(costs: str) -> None:
        raise UsageError(costs)

    run(tmp_path, agree=refuse)
    before = tree(tmp_path / "run")
    with pytest.raises(
        UsageError, match=r"train: 10 steps that took .* would be moved aside \(\[train"
    ):
        run(tmp_path, RATE, agree=refuse)
    assert tree(tmp_path / "run") == before
    run(tmp_path, RATE)
    run(tmp_path, agree=refuse)  # what is taken back costs nothing
    run(tmp_path, "evaluate.split=valid", agree=refuse)
    run(tmp_path, only="train", force=True, agree=refuse)


class Killed(BaseException):
    """Stands for a death without warning."""


@pytest.mark.parametrize("then", [(), (RATE,)], ids=["back", "on"])
def test_a_move_that_is_cut_off_anywhere_loses_nothing(
    tmp_path: Path, workshop: Workshop, then: tuple[str, ...]
) -> None:
    """Killed before each operation of another training, then that one again, or the first."""
    run(tmp_path, until="train")
    run(tmp_path, RATE, until="train", name="other")
    (tmp_path / "run").rename(tmp_path / "start")
    wanted = without_times(tmp_path / ("other" if then else "start"))
    for number in itertools.count(1):
        shutil.copytree(tmp_path / "start", tmp_path / "run")
        count = 0

        def die(_operation: str, _path: Path, number: int = number) -> None:
            nonlocal count
            count += 1
            if count >= number:
                raise Killed

        with files.observed(die), suppress(Killed):
            run(tmp_path, RATE, until="train")
            break
        run(tmp_path, *then, until="train")
        found = without_times(tmp_path / "run")
        kept = {name: content for name, content in found.items() if name in wanted}
        assert kept | {"logs/metrics.jsonl": b""} == wanted | {"logs/metrics.jsonl": b""}, number
        assert set(logged(tmp_path)) == {0.1 if then else 0.0006}
        shutil.rmtree(tmp_path / "run")
    assert number > 10


def test_a_changed_source_is_told_by_its_key(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    found = states(tmp_path, "corpus.source.notes.licence=cc0-1.0")
    assert found["corpus"].reasons == ("[corpus] source.0.licence: unknown → cc0-1.0",)


def test_a_damaged_note_of_unfinished_work_is_told(tmp_path: Path, workshop: Workshop) -> None:
    files.write_text(tmp_path / "run" / "corpus" / IN_PROGRESS, "{}")
    found = states(tmp_path)["corpus"]
    assert found.status == "stale"
    assert found.reasons[0].endswith("in-progress.json is damaged")


def test_force_makes_anew_what_is_damaged(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    (tmp_path / "run" / "tokens" / "whole.txt").unlink()
    assert run(tmp_path, only="tokens", force=True) == ["tokens"]
    (tmp_path / "run" / "tokens" / MANIFEST).write_text("{")
    assert run(tmp_path, only="tokens", force=True) == ["tokens"]
    assert run(tmp_path) == []


def test_force_deletes_nothing_that_it_cannot_make_anew(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    (tmp_path / "notes.txt").unlink()
    with pytest.raises(DataError, match=r"notes\.txt: no such file"):
        run(tmp_path, force=True)
    with pytest.raises(UsageError, match="tokens needs tokenizer, which is stale"):
        run(tmp_path, "tokenizer.vocab_size=999", only="tokens", force=True)
    assert run(tmp_path) == []


@pytest.mark.parametrize("broken", ["corpus", "train", "release"])
def test_a_forced_run_that_stops_leaves_what_it_was_to_replace(
    tmp_path: Path, workshop: Workshop, broken: str
) -> None:
    run(tmp_path)
    before = tree(tmp_path / "run")
    workshop.broken = {broken}
    with pytest.raises(StoppedError) as caught:
        run(tmp_path, force=True)
    place = RunDirectory(tmp_path / "run")
    (kept,) = place.superseded.iterdir()
    assert caught.value.__notes__ == [f"{broken}: the result from before --force is kept in {kept}"]
    directory = STAGE_DIRECTORIES[broken]
    assert tree(kept / directory) == {
        name.removeprefix(f"{directory}/"): content
        for name, content in before.items()
        if name.startswith(f"{directory}/")
    }
    later = STAGE_NAMES[STAGE_NAMES.index(broken) + 1 :]
    assert all((place.own(name) / MANIFEST).exists() for name in later)
    with pytest.raises(StoppedError) as caught:
        run(tmp_path, only=broken, force=True)
    assert len(caught.value.__notes__) == 2
    workshop.broken = set()
    assert run(tmp_path) == [broken]
    assert not place.superseded.exists()


def test_what_was_forced_and_not_finished_is_deleted_for_no_other_recipe(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path)
    before = without_times(tmp_path / "run")
    workshop.broken = {"train"}
    with pytest.raises(StoppedError):
        run(tmp_path, only="train", force=True)
    workshop.broken = set()
    assert run(tmp_path, RATE, only="train") == ["train"]
    assert run(tmp_path, RATE, only="train") == []
    workshop.calls.clear()
    assert run(tmp_path) == []
    assert workshop.calls == []
    found = without_times(tmp_path / "run")
    assert {name: found[name] for name in before} == before


def test_what_force_replaces_by_another_recipe_goes_once_that_one_is_done(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path, until="train")
    workshop.broken = {"train"}
    with pytest.raises(StoppedError):
        run(tmp_path, RATE, only="train", force=True)
    workshop.broken = set()
    assert run(tmp_path, RATE, until="train") == ["train"]
    assert not (tmp_path / "run" / "superseded").exists()


def test_a_forced_run_that_is_refused_before_its_work_changes_nothing(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path)
    before = tree(tmp_path / "run")
    with pytest.raises(MissingExtraError):
        run(tmp_path, 'export.formats=["gguf-f16"]', 'execution.trackers=["wandb"]', force=True)
    assert tree(tmp_path / "run") == before


@pytest.mark.parametrize("name", ["corpus", "train", "release"])
@pytest.mark.parametrize("unfinished", [False, True])
def test_a_stage_of_a_newer_jagpt_is_refused_and_left_as_it_is(
    tmp_path: Path, workshop: Workshop, name: str, unfinished: bool
) -> None:
    workshop.broken = {name} if unfinished else set()
    with pytest.raises(StoppedError) if unfinished else nullcontext():
        run(tmp_path)
    note = IN_PROGRESS if unfinished else MANIFEST
    path = RunDirectory(tmp_path / "run").own(name) / note
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 9}))
    ledger = tmp_path / "run" / "logs" / "timing.json"
    ledger.write_text(ledger.read_text().replace(f'"jagpt": "{__version__}"', '"jagpt": "9.9"'))
    before = tree(tmp_path / "run")
    with pytest.raises(NewerVersionError, match=rf"{note}: jagpt 9\.9 wrote .* version 9"):
        run(tmp_path)
    assert tree(tmp_path / "run") == before
    workshop.broken = set()
    assert name in run(tmp_path, force=True)


def test_what_a_newer_jagpt_left_in_an_unfinished_stage_is_refused_before_the_first(
    tmp_path: Path, workshop: Workshop
) -> None:
    workshop.broken = {"train"}
    with pytest.raises(StoppedError):
        run(tmp_path)
    shutil.rmtree(tmp_path / "run" / "corpus")
    workshop.newer, workshop.calls = {"train"}, []
    before = tree(tmp_path / "run")
    with pytest.raises(NewerVersionError, match="a newer jagpt wrote"):
        run(tmp_path)
    assert (workshop.calls, tree(tmp_path / "run")) == ([], before)


def test_a_run_that_shares_no_more_makes_the_stage_itself(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path, until="corpus", name="one")
    run(tmp_path, "corpus.source=[]", f"corpus.from={tmp_path / 'one'}", until="corpus")
    workshop.calls.clear()
    for _ in range(2):
        run(tmp_path, until="corpus")
    assert workshop.calls == ["corpus"]
    assert (tmp_path / "run" / "corpus" / "whole.txt").exists()


def test_a_shared_stage_of_a_newer_jagpt_is_refused(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path, until="corpus", name="one")
    path = tmp_path / "one" / "corpus" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 9}))
    shared = "name = 'two'\n[corpus]\nfrom = 'one'\n[train]\nmax_steps = 10\nschedule='constant'\n"
    recipe = recipes.parse(shared, folder=tmp_path)
    with pytest.raises(NewerVersionError):
        pipeline.run_stages(recipe, pipeline.open_run(recipe, tmp_path / "two"), QUIET)
    assert not (tmp_path / "two").exists()


def test_a_resized_or_missing_file_is_named(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    target = tmp_path / "run" / "tokens" / "whole.txt"
    target.write_text("longer than before")
    with pytest.raises(DataError, match=r"tokens/whole\.txt: 18 bytes, .* lists 6"):
        states(tmp_path)
    target.unlink()
    with pytest.raises(DataError, match=r"tokens/whole\.txt: missing"):
        states(tmp_path)


def test_a_file_altered_in_place_is_found_by_its_time(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    target = tmp_path / "run" / "tokens" / "whole.txt"
    target.write_text("tokenS")
    os.utime(target, ns=(1, 1))
    with pytest.raises(DataError, match="changed since it was made"):
        states(tmp_path)


def test_a_copied_run_is_still_done(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    (tmp_path / "run").rename(tmp_path / "moved")
    for path in (tmp_path / "moved").rglob("*.txt"):
        os.utime(path, ns=(1, 1))
    assert run(tmp_path, name="moved") == []


def test_a_missing_or_damaged_ledger_costs_only_hashing(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    (tmp_path / "run" / "logs" / "timing.json").write_text("{")
    assert run(tmp_path) == []


def test_the_clock_and_the_machine_stand_only_in_the_ledger(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path, name="one")
    run(tmp_path, name="two")

    def tree(name: str) -> dict[str, bytes]:
        root = tmp_path / name
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and "logs" not in path.parts and path.name != ".lock"
        }

    assert tree("one") == tree("two")
    ledger = json.loads((tmp_path / "one" / "logs" / "timing.json").read_text())
    assert ledger["stages"]["corpus"]["seconds"] >= 0
    assert ledger["machine"]["cores"] == os.cpu_count()


# --- what is not jagpt's --------------------------------------------------------------------------


def shared_recipe(tmp_path: Path) -> Recipe:
    text = "name='two'\n[corpus]\nfrom='one'\n[train]\nmax_steps=10\n"
    return recipes.parse(text, folder=tmp_path)


@pytest.mark.parametrize("shares", [False, True])
def test_a_users_own_folder_is_no_stage_and_stays(
    tmp_path: Path, workshop: Workshop, shares: bool
) -> None:
    run(tmp_path, until="corpus", name="one")
    workshop.calls.clear()
    own = tmp_path / "run" / "corpus"
    own.mkdir(parents=True)
    (own / "mine.txt").write_text("本文")
    before = tree(tmp_path)
    recipe = shared_recipe(tmp_path) if shares else load(tmp_path)
    place = pipeline.open_run(recipe, tmp_path / "run")
    with pytest.raises(UsageError, match=r"run/corpus: jagpt did not make .*--run-dir.*--force"):
        pipeline.unmade(recipe, place, STAGE_NAMES)  # before anything is downloaded
    with pytest.raises(UsageError, match="run/corpus: jagpt did not make"):
        pipeline.run_stages(recipe, place, QUIET)
    assert (workshop.calls, tree(tmp_path)) == ([], before)


def test_what_a_killed_process_left_in_a_stages_folder_is_not_a_users(
    tmp_path: Path, workshop: Workshop
) -> None:
    own = tmp_path / "run" / "corpus"
    own.mkdir(parents=True)
    (own / f"{files.STAGING_PREFIX}0123-{IN_PROGRESS}").write_text("{")
    assert run(tmp_path, until="corpus") == ["corpus"]


def test_force_sets_aside_what_no_manifest_tells_of_and_deletes_it_not(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path, until="corpus")
    (tmp_path / "run" / "corpus" / MANIFEST).unlink()
    (tmp_path / "run" / "corpus" / "mine.txt").write_text("本文")
    for _ in range(2):
        assert run(tmp_path, only="corpus", force=True) == ["corpus"]
    (aside,) = (tmp_path / "run" / "superseded").iterdir()
    assert (aside / "corpus" / "mine.txt").read_text() == "本文"


@pytest.mark.parametrize("text", [f"# mine\n{RECIPE}", "no recipe"])
def test_a_recipe_written_by_hand_is_not_overwritten(
    tmp_path: Path, workshop: Workshop, text: str
) -> None:
    place = RunDirectory(tmp_path / "run")
    place.root.mkdir()
    place.recipe.write_text(text)
    with pytest.raises(UsageError, match=r"recipe\.toml: jagpt did not write .* --run-dir"):
        run(tmp_path)
    assert list(tree(place.root).values()) == [text.encode()]
    (tmp_path / "run" / "recipe.toml").rename(tmp_path / "run" / "mine.toml")
    assert run(tmp_path, until="corpus") == ["corpus"]
    place.recipe.write_text(text)  # in a run, it is the run's
    assert run(tmp_path, until="corpus") == []


def test_a_run_that_was_killed_before_its_first_stage_takes_another_recipe(
    tmp_path: Path, workshop: Workshop
) -> None:
    place = RunDirectory(tmp_path / "run")
    place.root.mkdir()
    place.recipe.write_text(load(tmp_path).to_toml())
    assert run(tmp_path, RATE, until="corpus") == ["corpus"]


# --- sharing --------------------------------------------------------------------------------------


def test_another_runs_corpus_is_shared_and_not_copied(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path, until="tokenizer", name="one")
    workshop.calls.clear()
    shared = "name = 'two'\n[corpus]\nfrom = 'one'\n[train]\nmax_steps = 10\nschedule='constant'\n"
    recipe = recipes.parse(shared, folder=tmp_path)
    place = pipeline.open_run(recipe, tmp_path / "two")
    assert place.corpus == tmp_path / "one" / "corpus"
    pipeline.run_stages(recipe, place, QUIET)
    assert workshop.calls == list(STAGE_NAMES[1:])
    manifest = Manifest.read(tmp_path / "two" / "corpus")
    assert manifest.shared == str(tmp_path / "one" / "corpus")
    assert manifest.fingerprint == Manifest.read(tmp_path / "one" / "corpus").fingerprint
    assert manifest.files == ()
    tokenizers = (Manifest.read(tmp_path / name / "tokenizer") for name in ("one", "two"))
    assert len({found.fingerprint for found in tokenizers}) == 1
    assert [v.problems for v in pipeline.verify(place, QUIET)] == [()] * len(STAGE_NAMES)


def test_what_was_altered_where_it_is_shared_from_costs_no_result(
    tmp_path: Path, workshop: Workshop
) -> None:
    """Size and time are as they were: its content is looked at before anything is set aside."""
    text = "name='two'\n[corpus]\nfrom='one'\n[train]\nmax_steps=10\n[tokens]\nend_token={}\n"
    run(tmp_path, until="corpus", name="one")
    first, changed = (
        recipes.parse(text.format(value), folder=tmp_path) for value in ("true", "false")
    )
    place = pipeline.open_run(first, tmp_path / "two")
    pipeline.run_stages(first, place, QUIET)
    shard = tmp_path / "one" / "corpus" / "whole.txt"
    shard.write_text("corpuS")
    before, workshop.calls = tree(tmp_path / "two"), []
    with pytest.raises(DataError, match=r"one/corpus/whole\.txt: changed since it was made"):
        pipeline.run_stages(changed, place, QUIET)
    assert (workshop.calls, tree(tmp_path / "two")) == ([], before)


def test_shared_tokens_bring_their_corpus_and_tokenizer(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path, until="tokens", name="one")
    workshop.calls.clear()
    recipe = recipes.parse(
        "name = 'two'\n[tokens]\nfrom = 'one'\n[train]\nmax_steps = 3\n", folder=tmp_path
    )
    pipeline.run_stages(recipe, pipeline.open_run(recipe, tmp_path / "two"), QUIET)
    assert workshop.calls == list(STAGE_NAMES[3:])


@pytest.mark.parametrize("stage", ["corpus", "tokenizer"])
def test_shared_tokens_of_another_corpus_or_tokenizer_are_refused(
    tmp_path: Path, workshop: Workshop, stage: str
) -> None:
    run(tmp_path, until="tokens", name="one")
    run(tmp_path, "corpus.min_characters=3", until="tokens", name="other")
    workshop.calls.clear()
    text = f"name='two'\n[tokens]\nfrom='one'\n[{stage}]\nfrom='other'\n[train]\nmax_steps=3\n"
    recipe = recipes.parse(text, folder=tmp_path)
    with pytest.raises(UsageError, match=rf"\[tokens\] from: .* made with a different {stage}"):
        pipeline.run_stages(recipe, pipeline.open_run(recipe, tmp_path / "two"), QUIET)
    assert workshop.calls == []
    assert not (tmp_path / "two").exists()


def test_a_run_without_the_shared_stage_is_refused(tmp_path: Path, workshop: Workshop) -> None:
    (tmp_path / "empty").mkdir()
    recipe = recipes.parse(
        "name = 'two'\n[corpus]\nfrom = 'empty'\n[train]\nmax_steps = 3\n", folder=tmp_path
    )
    with pytest.raises(UsageError, match="not a run directory with a finished corpus stage"):
        pipeline.open_run(recipe, tmp_path / "two")


def test_a_shared_stage_that_moved_away_is_told_with_its_key(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path, until="corpus", name="one")
    text = "name = 'x'\n[corpus]\nfrom = '{}'\n[train]\nmax_steps = 3\n"
    second = recipes.parse(text.format("one"), folder=tmp_path)
    pipeline.run_stages(second, pipeline.open_run(second, tmp_path / "two"), QUIET, only="corpus")
    third = recipes.parse(text.format("two"), folder=tmp_path)
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"\[corpus\] from: .*two shares .*one/corpus"):
        pipeline.open_run(third, tmp_path / "three")


@pytest.mark.parametrize("place", ["/", "one/corpus", "tokenizer", ""])
def test_a_shared_stage_is_the_one_that_the_manifest_means(
    tmp_path: Path, workshop: Workshop, place: str
) -> None:
    """A stranger's manifest names no other folder of the user's, and none relative to here."""
    run(tmp_path, until="tokenizer", name="one")
    text = "name = 'x'\n[corpus]\nfrom = '{}'\n[train]\nmax_steps = 3\n"
    second = recipes.parse(text.format("one"), folder=tmp_path)
    two = pipeline.open_run(second, tmp_path / "two")
    pipeline.run_stages(second, two, QUIET, only="corpus")
    where = str(tmp_path / "one" / place) if place == "tokenizer" else place
    manifest = Manifest.read(two.own("corpus"))
    replace(manifest, shared=where).write(two.own("corpus"))
    with pytest.raises(DataError, match=r"manifest\.json"):
        pipeline.verify(two, QUIET)


# --- verify and clean -----------------------------------------------------------------------------


def test_verify_finds_what_sizes_and_times_hide(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    target = tmp_path / "run" / "model" / "whole.txt"
    before = target.stat()
    target.write_text("EXPORT")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "run" / "tokens" / "extra.txt").write_text("")
    place = RunDirectory(tmp_path / "run")
    found = {v.stage: v.problems for v in pipeline.verify(place, QUIET) if v.problems}
    assert set(found) == {"export", "tokens"}
    assert "not as its manifest lists it" in found["export"][0]
    assert "not in the manifest" in found["tokens"][0]


@pytest.mark.parametrize(
    ("gone", "words"), [(MANIFEST, "tokens/manifest.json: missing"), ("", "tokens: missing")]
)
def test_verify_tells_of_a_stage_that_lost_its_manifest_or_all(
    tmp_path: Path, workshop: Workshop, gone: str, words: str
) -> None:
    run(tmp_path)
    files.remove(tmp_path / "run" / "tokens" / gone)
    found = pipeline.verify(RunDirectory(tmp_path / "run"), QUIET)
    ((stage, problem),) = ((v.stage, p) for v in found for p in v.problems)
    assert (stage, words in problem) == ("tokens", True)


@pytest.mark.parametrize(
    ("name", "words"), [("weights.bin", "not as its manifest lists it"), (MANIFEST, "damaged")]
)
def test_verify_looks_into_the_run_s_own_teachers(
    tmp_path: Path, workshop: Workshop, name: str, words: str
) -> None:
    run(tmp_path, until="corpus")
    place = RunDirectory(tmp_path / "run")
    taught = place.root / "teachers" / "1" / "checkpoints"
    files.write_text(taught / "weights.bin", "weights")
    Manifest("train", 1, "f" * 64, {}, {}).finish(taught)
    assert [(v.stage, v.problems) for v in pipeline.verify(place, QUIET)] == [
        ("corpus", ()), ("teachers/1", ())
    ]  # fmt: skip
    (taught / name).write_text("Weights")
    (problem,) = pipeline.verify(place, QUIET)[-1].problems
    assert (str(taught / name) in problem, words in problem) == (True, True)


def test_verify_does_not_miss_what_is_unfinished_or_not_begun(
    tmp_path: Path, workshop: Workshop
) -> None:
    run(tmp_path, until="tokens")
    workshop.broken = {"tokenizer"}
    with pytest.raises(StoppedError):
        run(tmp_path, "tokenizer.vocab_size=999")
    found = pipeline.verify(RunDirectory(tmp_path / "run"), QUIET)
    assert [(v.stage, v.problems) for v in found] == [("corpus", ()), ("tokens", ())]


def test_clean_deletes_only_what_was_superseded(tmp_path: Path, workshop: Workshop) -> None:
    run(tmp_path)
    run(tmp_path, "evaluate.split=valid")
    place = RunDirectory(tmp_path / "run")
    assert {path.name.split("-")[0] for path, _ in pipeline.clean(place, dry_run=True)} == {
        "evaluate",
        "release",
    }
    assert (place.root / "superseded").exists()
    assert sum(size for _, size in pipeline.clean(place)) > 0
    assert not (place.root / "superseded").exists()
    assert run(tmp_path, "evaluate.split=valid") == []
