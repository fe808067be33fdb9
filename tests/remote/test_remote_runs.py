"""A run whose machine goes away: it goes on elsewhere from what was copied, bitwise."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.conftest import inside
from faults.projects import Project, make_project
from remote import s3_server
from remote.s3_server import Fault, OldListings, S3Server
from training.tiny_training import contents, signalled_at

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import lost_machine

from jagpt import remote
from jagpt.cli.common import open_recipe, open_run
from jagpt.progress import QUIET
from jagpt.remote import keeping, lease, store
from jagpt.rundir import RunDirectory

STAGES = ("corpus", "tokenizer", "tokens", "checkpoints")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("remote") / "project")


@pytest.fixture(scope="module")
def whole(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to its model that nothing broke."""
    root = tmp_path_factory.mktemp("whole") / "run"
    assert inside(*project.stage("train", run=str(root))) == 0
    return root


@pytest.fixture(scope="module")
def stopped(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its third step of four."""
    root = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch, signalled_at(patch, 4, signal.SIGTERM):
        assert inside(*project.stage("train", run=str(root))) == 75
    return root


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a better day."""
    import s3fs

    monkeypatch.setitem(store._TIMEOUTS, "retries", {"max_attempts": 0})
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr(keeping, "FAREWELL_TRIES", 1)
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.01)


@pytest.fixture(params=["s3", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("bucket"))
    return f"file://{tmp_path / 'elsewhere'}"


@pytest.fixture
def new_bucket(s3: S3Server) -> Callable[[], str]:
    """A function that makes a path in a new bucket."""

    def make() -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        s3.make_bucket(name)
        return f"s3://{name}/run"

    return make


def train(project: Project, root: Path, place: str) -> int:
    """The exit code of a run up to its model with its copies at a path."""
    return inside(*project.stage("train", f"execution.remote={place}", run=str(root)))


def made(root: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of every file of the stages."""
    return {name: contents(root / name) for name in STAGES}


def test_a_spot_machine_leaves_its_last_checkpoint_and_an_empty_one_goes_on(
    project: Project,
    whole: Path,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with signalled_at(monkeypatch, 4, signal.SIGTERM):
        assert train(project, tmp_path / "lost", place) == 75
    shutil.rmtree(tmp_path / "lost")
    assert f"everything is copied to {place}" in capfd.readouterr().err
    assert train(project, tmp_path / "second", place) == 0
    assert "continuing from the checkpoint of step 3" in capfd.readouterr().err
    assert made(tmp_path / "second") == made(whole)
    shutil.rmtree(tmp_path / "second")
    assert train(project, tmp_path / "third", place) == 0
    assert "tokens: done\ntrain: done\n" in capfd.readouterr().err
    assert made(tmp_path / "third") == made(whole)


def test_what_is_newer_elsewhere_is_taken(
    project: Project, whole: Path, stopped: Path, bucket: str, tmp_path: Path
) -> None:
    """A machine that comes back finds what another one has made of its run meanwhile."""
    shutil.copytree(stopped, tmp_path / "old")
    assert pushed(whole, bucket) == 0
    assert train(project, tmp_path / "old", bucket) == 0
    assert made(tmp_path / "old") == made(whole)
    (before,) = (tmp_path / "old" / "superseded").iterdir()
    assert before.name.startswith("train-")


def test_push_and_pull_bring_a_run_to_another_machine(
    stopped: Path, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside("push", stopped, "--to", place) == 0
    assert "the checkpoint of step 3" in capsys.readouterr().out
    assert inside("push", stopped, "--to", place) == 0
    assert "nothing, everything is there" in capsys.readouterr().out
    assert inside("pull", place, tmp_path / "new") == 0
    for name in STAGES[:3]:
        assert made(tmp_path / "new")[name] == made(stopped)[name]
    steps = {n: s for n, s in made(stopped)["checkpoints"].items() if n.startswith("step-")}
    assert made(tmp_path / "new")["checkpoints"] == steps
    assert (tmp_path / "new" / "logs" / "metrics.jsonl").is_file()


def test_a_users_own_folder_is_not_moved_for_what_lies_elsewhere(
    project: Project, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"file://{tmp_path / 'elsewhere'}"
    assert pushed(stopped, place) == 0
    own = tmp_path / "mine" / "corpus" / "mine.txt"
    own.parent.mkdir(parents=True)
    own.write_text("本文")
    assert inside("pull", place, tmp_path / "mine") == 2
    assert train(project, tmp_path / "mine", place) == 2
    assert capsys.readouterr().err.count("mine/corpus: jagpt did not make") == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "recipe.toml").write_bytes("名".encode("cp932"))
    assert inside("pull", place, tmp_path / "other") == 2
    assert "holds a run of another recipe" in capsys.readouterr().err
    kept = {path for path in (tmp_path / "mine").rglob("*") if path.name != ".lock"}
    assert kept == {own.parent, own}


def test_checkpoints_are_kept_there_as_here(
    project: Project, stopped: Path, bucket: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    assert inside("push", run, "--to", bucket) == 0
    shutil.rmtree(run / "checkpoints" / "step-00000002")
    assert inside("push", run, "--to", bucket) == 0
    keys = store.Store(bucket).names()
    assert any("step-00000003" in key for key in keys)
    assert not any("step-00000002" in key for key in keys)


def test_status_tells_what_lies_elsewhere(
    project: Project, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(*project.stage("tokenizer", f"execution.remote={bucket}", run=str(tmp_path))) == 0
    found = remote.look(*open_run(tmp_path))
    assert found is not None
    assert (found.stages, found.steps, found.problem) == (("corpus", "tokenizer"), (), None)
    assert found.writer is None
    assert inside("status", tmp_path) == 0
    assert f"remote: {bucket}" in capsys.readouterr().out


def test_a_damaged_copy_is_passed_over(
    project: Project, whole: Path, stopped: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "elsewhere"
    assert pushed(stopped, str(place)) == 0
    (weights,) = place.glob("train-*/step-00000003/model.safetensors.*")
    weights.write_bytes(bytes(weights.stat().st_size))
    assert train(project, tmp_path / "new", str(place)) == 0
    said = capfd.readouterr().err
    assert f"warning: {weights}: damaged: its SHA-256" in said
    assert "continuing from the checkpoint of step 2" in said
    assert made(tmp_path / "new") == made(whole)


def lose(place: Path, pattern: str) -> None:
    """A bucket's rule for old files takes one: it is older than the `copy.json` beside it."""
    (key,) = place.glob(pattern)
    key.unlink()


@pytest.mark.parametrize(
    ("of", "pattern", "lost"),
    [
        ("whole", "tokenizer-*/tokenizer.json.*", "tokenizer"),
        ("whole", "train-*/step-00000004/model.safetensors.*", "train"),
        ("stopped", "train-*/step-00000003/model.safetensors.*", "the checkpoint of step 3"),
        ("stopped", "train-*/step-00000003/state.json.*", "the checkpoint of step 3"),
    ],
)
def test_what_the_place_lost_is_missing_there_and_sent_again(
    of: str, pattern: str, lost: str, request: pytest.FixtureRequest, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run, place = request.getfixturevalue(of), tmp_path / "elsewhere"
    assert pushed(run, str(place)) == 0
    before = contents(place)
    lose(place, pattern)
    found = remote.look(*open_recipe(str(run), [f"execution.remote={place}"], run))
    assert found is not None
    assert lost not in (*found.stages, *(f"the checkpoint of step {step}" for step in found.steps))
    capsys.readouterr()
    assert pushed(run, str(place)) == 0
    assert f"copied to {place}: {lost}\n" in capsys.readouterr().out
    assert contents(place).keys() >= before.keys()


@pytest.mark.parametrize("harm", ["lost", "damaged", "unlisted"])
def test_pull_restores_the_rest_and_tells_what_is_damaged_there(
    harm: str, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "elsewhere"
    assert pushed(stopped, str(place)) == 0
    last = next(place.glob("train-*/step-00000003"))
    (weights,) = last.glob("model.safetensors.*")
    if harm == "lost":
        weights.unlink()
    elif harm == "damaged":
        weights.write_bytes(bytes(weights.stat().st_size))
    else:
        (last / "copy.json").write_text("{")
    capsys.readouterr()
    assert inside("pull", place, tmp_path / "new", "--json") == 3
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["damaged"] == ["checkpoint of step 3"]
    assert "checkpoint of step 2" in told["taken"]
    assert f"error: {place}: not restored, as it is damaged or lost there: checkpoint" in err
    assert made(tmp_path / "new")["tokens"] == made(stopped)["tokens"]


def test_a_finished_stage_from_elsewhere_and_the_unfinished_one_here_keep_their_logs(
    whole: Path, stopped: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    assert pushed(whole, str(tmp_path / "elsewhere")) == 0
    assert inside("pull", tmp_path / "elsewhere", run) == 0
    log = Path("logs", "metrics.jsonl")
    (aside,) = (run / "superseded").iterdir()
    assert (run / log).read_bytes() == (whole / log).read_bytes()
    assert (aside / log).read_bytes() == (stopped / log).read_bytes()


# --- bad days -------------------------------------------------------------------------------------


def pushed(run: Path, place: str) -> int:
    return inside("push", run, "--to", place)


KINDS: dict[str, Fault] = {
    "refused": s3_server.refused,
    "cut": s3_server.cut,
    "lost": s3_server.lost,
}
NIGHTLY = bool(os.environ.get("JAGPT_REQUESTS"))
"""A fault at every request, not at some."""


@pytest.fixture(scope="module")
def little(stopped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the stopped run one finished stage and the checkpoints."""
    root = tmp_path_factory.mktemp("little") / "run"
    without = shutil.ignore_patterns("corpus", "tokens", "logs")
    shutil.copytree(stopped, root, ignore=without)
    return root


@pytest.mark.parametrize(
    ("kind", "lasting"),
    [(kind, lasting) for kind in KINDS for lasting in (True, False) if NIGHTLY or lasting],
)
def test_half_a_copy_is_never_taken_for_a_whole_one(
    kind: str,
    lasting: bool,
    s3: S3Server,
    little: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    new_bucket: Callable[[], str],
) -> None:
    with s3.faulty(lambda _number, _request: None):
        assert pushed(little, new_bucket()) == 0
        count = len(s3.requests)
    some = {"refused": count // 5, "cut": count // 2, "lost": 4 * count // 5}[kind]
    for number in range(1, count + 1) if NIGHTLY else (some,):
        place, taken = new_bucket(), tmp_path / f"{number}-{lasting}"

        def faults(now: int, _request: str, number: int = number) -> Fault | None:
            return KINDS[kind] if now == number or (lasting and now > number) else None

        capsys.readouterr()
        with s3.faulty(faults):
            code = pushed(little, place)
        said = capsys.readouterr().err
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert (code, len(errors)) in {(0, 0), (4, 1)}, said
        assert "Traceback" not in said
        inside("pull", place, taken)
        for name in ("tokenizer", "checkpoints"):  # what came is whole
            assert contents(taken / name).items() <= contents(little / name).items(), number
        assert pushed(little, place) == 0, (number, capsys.readouterr().err)
        assert inside("pull", place, taken) == 0
        for name in ("tokenizer", "checkpoints"):
            wanted = {f: s for f, s in contents(little / name).items() if f != "index.json"}
            assert contents(taken / name) == wanted, number


def test_what_lists_the_files_comes_last_and_each_file_is_asked_for(
    s3: S3Server, little: Path, new_bucket: Callable[[], str]
) -> None:
    with s3.faulty(lambda _number, _request: None):
        assert pushed(little, new_bucket()) == 0
        requests = [request.partition("?")[0] for request in s3.requests]
    sent = [request for request in requests if request.startswith("PUT") and "/run/t" in request]
    lists = [request for request in sent if request.endswith("/copy.json")]
    assert len(lists) == 3
    for one in lists:
        folder = one.removesuffix("copy.json")
        assert [request for request in sent if request.startswith(folder)][-1] == one
    for one in set(sent) - set(lists):
        asked = one.replace("PUT", "HEAD")
        assert asked in requests[requests.index(one) :], one


def test_old_listings_cost_no_byte(
    project: Project,
    whole: Path,
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with s3.faulty(OldListings()):
        with signalled_at(monkeypatch, 4, signal.SIGTERM):
            assert train(project, tmp_path / "one", bucket) == 75
        assert train(project, tmp_path / "two", bucket) == 0
    assert made(tmp_path / "two") == made(whole)


def test_a_run_goes_on_here_where_the_place_refuses(
    project: Project,
    whole: Path,
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    told = "refused (The AWS Access Key Id you provided does not exist.)"
    with s3.faulty(lambda _number, _request: s3_server.wrong_key):
        assert train(project, tmp_path, bucket) == 0
        said = capfd.readouterr().err
        warnings = [line for line in said.splitlines() if told in line]
        assert len(warnings) == 1, said
        assert warnings[0].startswith(f"warning: {bucket}: ")
        assert warnings[0].endswith("the run continues here, but is not backed up")
        assert f"`jagpt push {tmp_path}` copies it" in said
        assert "test-secret" not in said
        assert inside("status", tmp_path) == 0
        assert told in capfd.readouterr().out
    assert made(tmp_path) == made(whole)


def test_training_does_not_wait_for_a_slow_place(
    project: Project, s3: S3Server, bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of the requests after training began, none is waited for before training ends."""
    order: list[str] = []

    def faults(_number: int, request: str) -> Fault | None:
        order.append(request)
        return s3_server.slow(0.3) if "train-" in request else None

    with s3.faulty(faults), pytest.MonkeyPatch.context() as patch:
        from jagpt.training.reporter import Reporter

        end = Reporter.end
        patch.setattr(Reporter, "end", lambda *a: (order.append("end"), end(*a))[1])
        assert train(project, tmp_path, bucket) == 0
    copied = [request for request in order if request.startswith("PUT") and "train-" in request]
    before = order[: order.index("end")]
    assert len(copied) > 8
    assert len([request for request in before if request in copied]) < 4


def test_no_secret_stands_in_any_file(
    project: Project, s3: S3Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(project, run, "s3://key:hidden-secret@bucket/prefix") == 2
    said = capfd.readouterr().err
    assert "[execution] remote: found a path; it contains credentials" in said
    assert "hidden-secret" not in said
    assert not run.exists()


# --- two machines ---------------------------------------------------------------------------------


def test_a_second_machine_is_refused(
    project: Project, place: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = lease.take(store.Store(place), print)
    try:
        assert train(project, tmp_path / "second", place) == 5
        assert f"process {os.getpid()} on" in capfd.readouterr().err
        assert not (tmp_path / "second" / "corpus").exists()
    finally:
        first.release()


def test_json_says_what_is_not_safe_elsewhere(
    project: Project, s3: S3Server, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = project.stage("corpus", f"execution.remote={bucket}", run=str(tmp_path))
    with s3.faulty(lambda _number, _request: s3_server.wrong_key):
        assert inside(*command, "--json") == 0
    told = json.loads(capsys.readouterr().out)["remote"]
    assert told == {"place": bucket, "safe": False, "missing": ["the last of this run"]}
    assert inside(*command, "--json") == 0
    told = json.loads(capsys.readouterr().out)["remote"]
    assert told == {"place": bucket, "safe": True, "missing": []}
    assert inside(*project.stage("corpus", run=str(tmp_path)), "--json") == 0
    assert json.loads(capsys.readouterr().out)["remote"] is None


def test_the_one_that_lost_the_place_goes_on_here(
    project: Project,
    whole: Path,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from jagpt.training import session

    run_session = session.run

    def taken_over(*arguments: object) -> None:
        place = store.Store(bucket)
        token, _ = lease.holder(place)
        assert place.create(lease._key(token + 1), lease._bytes(lease.Claim.mine()))
        run_session(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "run", taken_over)
    assert train(project, tmp_path, bucket) == 0
    said = capfd.readouterr().err
    assert "writes there; the run continues here, but is not backed up" in said
    assert made(tmp_path) == made(whole)
    assert not [key for key in store.Store(bucket).names() if key.startswith("train-")]


def test_machines_lost_at_random_moments_cost_no_byte(
    s3: S3Server, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`benchmarks/lost_machine.py`, two lives."""
    lost_machine.main(["--lives", "2", "--steps", "80", "--place", bucket])
    assert "2 machines lost" in (said := capsys.readouterr().out)
    assert "files bitwise equal" in said
    assert "SIGTERM: exited with 75" in said


def run_of(root: Path) -> RunDirectory:
    return open_run(root)[1]


def test_quiet_commands_say_nothing(
    stopped: Path, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remote.push(run_of(stopped), bucket, QUIET)
    assert capsys.readouterr().err == ""
