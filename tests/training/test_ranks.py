"""Which rank this process is, and starting several on one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jagpt import cli
from jagpt.cli.run import Call, _follow
from jagpt.errors import DataError, JagptError, UsageError
from jagpt.training import distributed, ranks
from jagpt.training.distributed import Group
from jagpt.training.ranks import Ranks

WHOLE = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


def program(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let each rank run this program in place of jagpt."""
    monkeypatch.setattr(
        ranks, "COMMAND", (sys.executable, "-S", "-c", f"import os, sys, time\n{text}")
    )


def test_what_torchrun_says_is_read() -> None:
    assert ranks.read({**WHOLE, "LOCAL_RANK": "0"}) == Ranks(1, 4, 0)
    assert ranks.read(WHOLE) == Ranks(1, 4, 1)


@pytest.mark.parametrize(
    "environment", [{}, {"MASTER_ADDR": "x"}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "1", "RANK": "0"}]
)
def test_without_ranks_a_process_is_alone(environment: dict[str, str]) -> None:
    assert ranks.read(environment) == Ranks(0, 1, 0)


@pytest.mark.parametrize("name", ["MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"])
def test_a_variable_that_is_missing_is_named(name: str) -> None:
    environment = {key: value for key, value in WHOLE.items() if key != name}
    with pytest.raises(UsageError, match=rf"^{name}: missing .*torchrun") as caught:
        ranks.read(environment)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value"), [("RANK", "4"), ("RANK", "-1"), ("WORLD_SIZE", "x"), ("MASTER_PORT", "http")]
)
def test_a_variable_without_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name}={value}"):
        ranks.read({**WHOLE, name: value})


def test_the_command_line_tells_the_missing_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as leave:
        cli.main(["train", "quickstart"])
    assert leave.value.code == 2
    assert "error: MASTER_ADDR, MASTER_PORT: missing" in capsys.readouterr().err


def test_each_rank_is_told_who_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR"
    program(
        monkeypatch,
        f"values = [os.environ[name] for name in {names.split()!r}]\n"
        "open(os.path.join(sys.argv[1], values[0]), 'w').write(' '.join(values))",
    )
    assert ranks.launch([str(tmp_path)], 3) == 0
    texts = [(tmp_path / str(rank)).read_text() for rank in range(3)]
    assert texts == [f"{rank} {rank} 3 127.0.0.1" for rank in range(3)]


def test_a_rank_whose_machine_lacks_the_recipe_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    group = Group(Ranks(1, 2))
    monkeypatch.setattr(group, "await_order", lambda: distributed.TRAIN)
    call = Call(str(tmp_path / "mine.toml"), (), None, False, True, False)
    with pytest.raises(DataError, match=r"^rank 1: no recipe .*mine\.toml"):
        _follow(call, group)


def test_the_code_is_rank_zeros_if_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, "sys.exit({'0': 75, '1': 1}[os.environ['RANK']])")
    assert ranks.launch([], 2) == 75
    program(monkeypatch, "sys.exit({'0': 0, '1': 3}[os.environ['RANK']])")
    assert ranks.launch([], 2) == 3


def test_when_a_rank_is_killed_the_others_are_ended_and_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranks, "GRACE", 0.2)
    program(monkeypatch, "time.sleep(60) if os.environ['RANK'] == '0' else os.kill(os.getpid(), 9)")
    started = time.monotonic()
    with pytest.raises(JagptError, match=r"rank 1 died \(SIGKILL\)"):
        ranks.launch([], 2)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_rank(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    program(
        monkeypatch,
        f"import signal\nsignal.signal({int(number)}, lambda *_: sys.exit(75))\n"
        "open(os.path.join(sys.argv[1], os.environ['RANK']), 'w').close()\ntime.sleep(60)",
    )

    def signal_when_ready() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=signal_when_ready, daemon=True).start()
    assert ranks.launch([str(tmp_path)], 2) == 75


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for a signal")
def test_ranks_leave_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "open(os.path.join(sys.argv[1], str(os.getpid())), 'w').close()\ntime.sleep(60)"
    )
    launcher = (
        "import sys\nfrom jagpt.training import ranks\n"
        f"ranks.COMMAND = (sys.executable, '-S', '-c', {program!r})\n"
        f"ranks.launch([{str(tmp_path)!r}], 2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", launcher])
    while len(started := list(tmp_path.iterdir())) < 2:
        assert parent.poll() is None
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 30
    while any(_runs(int(path.name)) for path in started):
        assert time.monotonic() < until
        time.sleep(0.02)


def _runs(process: int) -> bool:
    """Whether it is there and no zombie that nobody has asked for yet."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
