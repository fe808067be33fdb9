"""The command line: answers, messages and exit codes, without running a stage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from jagpt import cli, files
from jagpt.cli.common import Finite, app, print_json
from jagpt.errors import StorageError, Terminated

MINE = """
name = "mine"
[[corpus.source]]
name = "notes"
kind = "text"
path = "notes.txt"
[model]
n_layer = 2
n_head = 2
n_embd = 32
[train]
max_steps = 10
"""


def call(*arguments: str) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as leave:
        cli.main(list(arguments))
    return int(leave.value.code or 0)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(MINE)
    (tmp_path / "notes.txt").write_text("本文")
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from jagpt import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy', 'pydantic', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "run " in done.stdout


def test_arrow_uses_the_allocator_that_gives_memory_back() -> None:
    program = (
        "from jagpt import cli\n"
        "try: cli.main(['--version'])\n"
        "except SystemExit: pass\n"
        "import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split()[-1] == "system"


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jagpt", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("jagpt, version ")


def test_every_verb_has_help_and_a_line_for_the_list() -> None:
    context = click.Context(cli.app)
    for name in cli.app.list_commands(context):
        command = cli.app.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(limit=200).endswith(".")
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.name}"


def test_every_verb_stands_in_the_readmes() -> None:
    root = Path(__file__).parent.parent
    for readme in ("README.md", "README.ja.md"):
        text = (root / readme).read_text("utf-8")
        missing = [name for name in cli.app.commands if f"jagpt {name}" not in text]
        assert not missing, readme


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rnu"], 2, "run"),
        (["run"], 2, "RECIPE"),
        (["run", "quickstrat"], 2, "did you mean 'quickstart'"),
        (["run", "quickstart", "--until", "trian"], 2, "the stages are corpus, tokenizer"),
        (["run", "quickstart", "--set", "train.learning_rate=-1"], 2, "[train] learning_rate"),
        (["init", "nothing"], 2, "no shipped recipe"),
        (["status", "nowhere"], 2, "not a run directory"),
        (["verify", "nowhere"], 2, "not a run directory"),
        (["clean", "nowhere"], 2, "not a run directory"),
        (["report", "nowhere"], 2, "not a run directory"),
        (["generate", "nowhere", "日本の"], 2, "nowhere"),
        (["generate", "nowhere", "日本の", "--top-p", "2"], 2, "--top-p"),
        (["generate", "", "日本の"], 2, "found an empty one"),
        (["extract", "pages.xml", "--output", ""], 2, "found an empty one"),
        (["extract", "notes.txt", "--output", "o\udcff"], 2,
         "--output o\\udcff: this name is not valid UTF-8"),
        (["extract", "notes.txt", "--output", "o", "--title", "\udcff"], 2,
         "--title \\udcff: this name is not valid UTF-8"),
        (["run", "mine.toml", "--run-dir", "o\udcff"], 2,
         "o\\udcff: the name of a run directory must be valid UTF-8"),
        (["train", "mine.toml"], 2, "needs tokenizer"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_message_and_its_code(
    mine: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert call(*arguments) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert not captured.out
    assert not list(mine.glob("o*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["corpus", ""], "no recipe ''"),
        (["plan", ""], "no recipe ''"),
        (["plan", "mine.toml", "--gpu", ""], "known are V100"),
        (["evaluate", ""], "no recipe ''"),
        (["evaluate", "--model", "", "--text", "notes.txt"], "--model: expected a folder"),
        (["compare", "", ""], "'' is not a run"),
        (["compare", "", "", "--text", "notes.txt"], "found no name"),
        (["tokenizer", "", "--compare", "--text", "notes.txt"], "--compare: expected a folder"),
        (["push", ".", "--to", ""], "expected an absolute path"),
        *(
            (["plan", "mine.toml", "--set", f"{key}="], "expected a string that is not empty")
            for key in ("corpus.source.path", "tokenizer.from", "tokens.from", "model.from")
        ),
        (["plan", "mine.toml", "--set", "train.teacher=['']"], "teacher.0: found ''; expected"),
    ],
)
def test_an_empty_name_is_not_the_run_in_the_current_folder(
    mine: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (mine / "recipe.toml").write_text(f"{MINE}[execution]\nremote = '{mine.parent}/there'\n")
    assert call(*arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "note:" not in captured.err
    assert not captured.out


def test_a_missing_source_is_named_before_anything_is_made(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "notes.txt").unlink()
    assert call("run", "mine.toml") == 3
    assert "notes.txt" in capsys.readouterr().err


def test_a_source_is_hashed_once_a_run(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    sha256 = files.sha256

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return sha256(path)

    monkeypatch.setattr(files, "sha256", counted)
    assert call("run", "mine.toml") == 3
    assert hashed.count("notes.txt") == 1


def test_a_recipe_with_mistakes_makes_no_file(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "mine.toml").write_text(MINE + "learnign_rate = 1\n[modle]\n")
    assert call("run", "mine.toml") == 2
    message = capsys.readouterr().err
    assert "2 mistakes" in message
    assert "did you mean 'learning_rate'" in message
    assert not (mine / "runs").exists()


def test_a_used_run_directory_is_refused(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = (
        "import sys, pathlib; from jagpt import files\n"
        "with files.locked(pathlib.Path('runs/mine')): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=mine,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        assert call("run", "mine.toml") == 5
        assert f"process {other.pid}" in capsys.readouterr().err
        other.communicate("\n")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(28, "No space left on device", "tokens/train.bin"), 4, "free some space"),
        (PermissionError(13, "Permission denied", "runs"), 4, "permissions"),
        (StorageError("the mirror is down"), 4, "the mirror is down"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "out of memory"),
    ],
)
def test_what_the_system_refuses_is_told_without_a_traceback(
    mine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    words: str,
) -> None:
    def fail(_operation: str, _path: Path) -> None:
        raise error

    with files.observed(fail):
        assert call("run", "mine.toml") == code
    captured = capsys.readouterr().err
    assert words in captured
    assert "Traceback" not in captured


LATE = """
import atexit, os, signal, sys, threading, time
number, moment = int(sys.argv[1]), sys.argv[2]

def kill():
    os.kill(os.getpid(), number)

def when_the_main_thread_waits():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    kill()
    time.sleep(60)

class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), number=number):
        kill(process, number)

if moment == "threads":
    threading.Thread(target=when_the_main_thread_waits).start()
elif moment == "atexit":
    atexit.register(kill)
else:
    last = Last()
sys.argv[1:] = ["run", "nowhere"]
from jagpt.__main__ import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["threads", "atexit", "teardown"])
def test_a_signal_while_leaving_changes_nothing(number: signal.Signals, moment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE, str(int(number)), moment],
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no recipe 'nowhere'")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (Terminated, 75)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_second_signal_while_the_first_is_told_gives_its_code(
    mine: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], code: int
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("click.echo", interrupted)
    assert call("run", "nowhere") == code


def test_recipes_and_init(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipes", "--json") == 0
    assert "small" in [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert call("init", "small") == 0
    assert call("init", "small") == 0  # a second time it stands there already
    (mine / "other.toml").write_text("mine")
    assert call("init", "small", "--output", "other.toml") == 2
    (mine / "link.toml").symlink_to("nowhere.toml")
    assert call("init", "small", "--output", "link.toml") == 2
    assert (mine / "small.toml").read_text().startswith("# Our GPT-2 small")


def test_doctor_tells_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["threads"] >= 1
    assert found["disk_free"] > 0
    assert "test" in found["extras"]
    assert call("doctor") == 0
    shown = capsys.readouterr().out
    assert "git-lfs" in shown
    assert (str(found["no_gpu"]) in shown) == (not found["gpus"])


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("run", "mine.toml", "--set", "execution.device=cuda"), "execution.device"),
        (("train", "mine.toml", "--set", "execution.device=cuda"), "execution.device"),
        (("plan", "mine.toml", "--set", "execution.device=cuda"), "execution.device"),
        (("run", "mine.toml", "--set", "execution.device=mps"), "execution.device"),
        (("evaluate", "--model", ".", "--text", "notes.txt", "--device", "xpu"), "--device"),
        (("evaluate", "--model", ".", "--text", "notes.txt", "--device", "cuda"), "--device"),
        (("run", "mine.toml", "--set", "train.precision=fp16"), "train.precision"),
        (("plan", "mine.toml", "--set", "train.precision=fp16"), "train.precision"),
    ],
)
def test_a_device_that_is_not_here_is_one_line_before_anything_runs(
    mine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    key: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert call(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {key}: found ")
    assert list(mine.glob("runs/*")) == []


def test_a_plan_for_another_machine_does_not_need_its_device_here(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert call("plan", "mine.toml", "--gpu", "A100", "--set", "execution.device=cuda") == 0


def test_force_is_the_way_out_of_a_damaged_manifest(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "notes.txt").write_text(
        "\n".join(f"本文{number}の文章である。" for number in range(400))
    )
    arguments = ["corpus", "mine.toml", "--set", "corpus.source.0.layout=line"]
    arguments += ["--set", "corpus.min_characters=1", "--set", "execution.workers=1"]
    arguments += ["--set", "execution.device=mps"]  # data need none
    assert call(*arguments) == 0
    (mine / "runs" / "mine" / "corpus" / "manifest.json").write_text("{")
    assert call(*arguments) == 3
    assert "jagpt corpus RECIPE --force" in capsys.readouterr().err
    assert call(*arguments, "--force") == 0


def test_japanese_is_printed_whatever_the_locale(tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("PYTHONIOENCODING", None)
    program = tmp_path / "say.py"
    program.write_text(
        "import click\nfrom jagpt import cli\n"
        "cli.app.command('say')(lambda: click.echo('物理学 \\udc80'))\ncli.main(['say'])",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, program], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8") == "物理学 \\udc80\n"


@pytest.mark.parametrize("encoding", ["cp932", "ascii", "latin-1", "utf-8"])
def test_json_is_valid_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    value = ["物理学é–😀\u2028"]
    program = tmp_path / "say.py"
    program.write_text(
        "from jagpt import cli\nfrom jagpt.cli.common import print_json\n"
        f"cli.app.command('say')(lambda: print_json({value!a}))\ncli.main(['say'])",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, program], capture_output=True, env=environment)
    written = "utf-8" if encoding == "ascii" else encoding  # ASCII is taken as UTF-8
    assert json.loads(done.stdout.decode(written)) == value


def test_a_figure_that_is_not_finite_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"cost": float("nan"), "hours": (1.5, float("inf"), {"a": [float("-inf")]}), "n": 1})
    value = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert value == {"cost": None, "hours": [1.5, None, {"a": [None]}], "n": 1}


def test_every_number_an_option_takes_is_finite_or_checked_later() -> None:
    ranges = [
        option.type
        for command in app.commands.values()
        for option in command.params
        if isinstance(option.type, click.FloatRange)
    ]
    assert len(ranges) > 4
    assert all(isinstance(one, Finite) for one in ranges)


@pytest.mark.parametrize("arguments", [("mine.toml", "--run-dir", "run\udcff"), ("run\udcff",)])
def test_a_run_directory_that_is_not_utf8_is_refused(
    mine: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    if len(arguments) == 1:
        (mine / "run\udcff").mkdir()
        shutil.copy("mine.toml", "run\udcff/recipe.toml")
    before = sorted(mine.rglob("*"))
    assert call("run", *arguments) == 2
    assert "must be valid UTF-8" in capsys.readouterr().err
    assert sorted(mine.rglob("*")) == before


def test_a_source_in_a_place_that_is_not_utf8_is_refused(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "place\udcff").mkdir()
    shutil.copy("mine.toml", "place\udcff/mine.toml")
    shutil.copy("notes.txt", "place\udcff/notes.txt")
    assert call("run", "place\udcff/mine.toml") == 2
    assert "not valid UTF-8" in capsys.readouterr().err
    assert not (mine / "runs").exists()


def test_a_long_run_wants_yes(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "mine.toml", "--set", "train.max_steps=100000000"]
    assert call(*arguments) == 2
    assert "--yes" in capsys.readouterr().err
    assert not (mine / "runs" / "mine" / "corpus").exists()


def test_what_another_recipe_made_is_neither_planned_nor_announced(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jagpt.plan.measured.speed", lambda _recipe: 1e12)
    (mine / "large.txt").write_text("本文" * 200_000)
    (mine / "notes.txt").write_text("".join(f"{n}番目の本文である。\n" * 9 for n in range(90)))
    changes = ["mine.toml", "--set", "train.max_epochs=1", "--set", "train.max_steps=100000"]
    changes += ["--set", "corpus.source.layout=line", "--set", "corpus.min_characters=1"]
    assert call("corpus", *changes) == 0
    larger = [*changes, "--set", "corpus.source.path=large.txt"]
    capsys.readouterr()
    for arguments, least, most in ((changes, 300, 20_000), (larger, 190_000, 210_000)):
        assert call("plan", *arguments, "--json") == 0
        assert least < json.loads(capsys.readouterr().out)["train_split_tokens"] < most
    monkeypatch.setattr("jagpt.plan.measured.speed", lambda _recipe: 1.0)
    assert call("run", *larger) == 2
    assert " 6 steps" in capsys.readouterr().err


def test_a_long_run_wants_yes_before_a_dump_is_fetched(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetched(*_: object) -> None:
        raise AssertionError("the dump was fetched before the question")

    monkeypatch.setattr("jagpt.corpus.download.fetch_sources", fetched)
    (mine / "whole.toml").write_text(
        'name="whole"\n[[corpus.source]]\nname="w"\nkind="dump"\nwiki="jawiki"\ndate="20261101"\n',
        "utf-8",
    )
    assert call("run", "whole.toml", "--set", "train.max_steps=100000000") == 2
    assert "--yes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (["train", "quickstart", "--nproc", "2", "--set", "train.seed=1"],
         ["train", "--set", "train.seed=1", "--", "quickstart"]),
        (["run", "quickstart", "--nproc", "3", "--until", "train", "--yes", "--run-dir", "d"],
         ["run", "--yes", "--run-dir", "d", "--until", "train", "--", "quickstart"]),
    ],
)  # fmt: skip
def test_nproc_starts_the_same_command_so_many_times(
    monkeypatch: pytest.MonkeyPatch, given: list[str], asked: list[str]
) -> None:
    from jagpt.training import ranks

    started: list[tuple[list[str], int]] = []

    def launch(arguments: list[str], count: int) -> int:
        started.append((arguments, count))
        return 75

    monkeypatch.setattr(ranks, "launch", launch)
    assert call(*given) == 75
    assert started == [(asked, int(given[3]))]


def test_nproc_within_torchrun_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert call("train", "quickstart", "--nproc", "2") == 2
    assert "one of 2 processes already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("streams", "arguments", "code"),
    [
        (">&-", "recipes", 0), ("2>&-", "recipes", 0), ("<&-", "recipes", 0),
        ("2>&-", "plan nosuch", 2), ("2>/dev/full", "plan nosuch", 2),
        (">/dev/full", "recipes", 4),
    ],
)  # fmt: skip
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's /dev/full is a full disk")
def test_closed_and_full_streams_keep_the_exit_code(
    streams: str, arguments: str, code: int
) -> None:
    command = f'"$0" -P -m jagpt {arguments} {streams}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], capture_output=True, text=True
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "error" not in done.stdout
    assert done.stderr.startswith("error: standard output: No space") == (streams[0:2] == ">/")


def test_a_result_is_printed_though_nobody_reads_the_notes() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = (
        "import sys; from jagpt import terminal\nwith terminal.guarded():\n"
        "    print('note', file=sys.stderr, flush=True); print('result')"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    assert (done.returncode, done.stdout) == (0, b"result\n")
