"""Whatever is printed, a terminal obeys nothing of it but jagpt's own styles."""

from __future__ import annotations

import ast
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import click
import fakes
import pytest
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import jagpt
from jagpt import terminal
from jagpt.cli import main
from jagpt.progress import Progress
from jagpt.text import shown

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[8m\x9b1A\x7f\x08\u202e\x00\rerror"
SHOWN = r"\u001b]0;owned\u0007\u001b[2J\u001b[8m\u009b1A\u007f\u0008\u202e\u0000\u000derror"
NAME = EVIL.replace("\x00", "")
SOURCE = Path(jagpt.__file__).parent


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@contextmanager
def screened() -> Iterator[Screen]:
    """Standard output and error, guarded."""
    found = Screen()
    with redirect_stdout(found), redirect_stderr(found), terminal.guarded():
        yield found


def obeyed(text: str) -> str:
    """The characters of a text that a terminal would obey."""
    return "".join(c for c in text if c != "\n" and shown(c) != c)


def test_control_characters_are_shown_as_json_writes_them() -> None:
    assert shown(EVIL) == SHOWN
    assert json.loads(f'"{shown("東京 x")}"') == "東京 x"
    assert shown("a\tb\r\n全角　😀\n") == "a\tb\r\n全角　😀\n"


def test_every_way_to_print_shows_them() -> None:
    with screened() as screen:
        print(EVIL, file=sys.stderr)
        sys.stdout.writelines([EVIL, "\n"])
        click.echo(EVIL)
        click.ClickException(EVIL).show()
        assert screen.getvalue().count(SHOWN) == 4
        assert not obeyed(screen.getvalue())


def test_what_jagpt_draws_shows_them_and_keeps_its_styles() -> None:
    with screened() as screen:
        terminal.styled(EVIL, fg="red")
        assert screen.getvalue() == f"\x1b[31m{SHOWN}\x1b[0m"
        table = Table(EVIL)
        table.add_row(f"[bold]{EVIL}[/bold]")
        terminal.Terminal(force_terminal=True, width=300, color_system="standard").print(table)
        drawn = screen.getvalue()
        assert r"\u001b[2J" in drawn
        assert "\x1b[2J" not in drawn
        assert "\x1b]0" not in drawn
        assert "\x1b[1m" in drawn


def test_progress_shows_them() -> None:
    with screened() as screen:
        for console in (None, terminal.Terminal(stderr=True, force_terminal=False)):
            progress = Progress(console=console)
            progress.say(EVIL)
            with progress.bar(EVIL, 2) as bar:
                bar.update(1, EVIL)
        assert "owned" in screen.getvalue()
        assert "\x1b]0" not in screen.getvalue()
        assert "\x1b[8m" not in screen.getvalue()


def test_the_name_of_an_emoji_is_shown_as_it_stands() -> None:
    code, ids = "runs/a:key:b", "12:100:5"
    with screened() as screen:
        for forced in (False, True):
            console = terminal.Terminal(stderr=True, force_terminal=forced, width=300)
            progress = Progress(console=console)
            progress.say(code)
            with progress.bar(code, 2) as bar:
                bar.update(1, code)
            table = Table(code, caption=code, title=code)
            table.add_row(f"[bold]{ids}[/bold]")
            console.print(table, f"[bold]{ids}[/]")
        Progress().say(code)
        assert "\N{KEY}" not in screen.getvalue()
        assert "\N{HUNDRED POINTS SYMBOL}" not in screen.getvalue()
        assert screen.getvalue().count(code) >= 2 * 5 + 1
        assert screen.getvalue().count(ids) == 4


def test_bars_of_libraries_are_drawn() -> None:
    with screened() as screen:
        with tqdm(total=2, leave=False) as outer, tqdm(total=2, position=1) as inner:
            outer.update()
            inner.update()
        assert "\\u" not in screen.getvalue()


def test_a_library_may_draw_where_it_is_let() -> None:
    with screened() as screen:
        with terminal.unguarded():
            print("\x1b[34mblue\x1b[0m")
        print("\x1b[34m")
        assert screen.getvalue() == "\x1b[34mblue\x1b[0m\n\\u001b[34m\n"


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A run directory whose recipe and manifests hold what a terminal obeys."""
    run = fakes.run_directory(tmp_path / "run")
    text = fakes.RECIPE.replace('title = "Tiny GPT-2"', f"title = {json.dumps(EVIL)}")
    run.recipe.write_text(text.replace("A tiny run.", json.dumps(EVIL)[1:-1]))
    for manifest in run.root.glob("*/manifest.json"):
        value = json.loads(manifest.read_text())
        value["section"] = {"train": {"learning_rate": EVIL, EVIL: 1}, "tokenizer": {"type": EVIL}}
        manifest.write_text(json.dumps(value))
    (run.root / "jawiki-20210820-pages-articles.xml.bz2").touch()
    return run.root.rename(tmp_path / NAME)


VERBS = (["status"], ["report"], ["run", "--yes"], ["train", "--set", f"train.{NAME}=1"],
         ["generate", NAME], ["evaluate", "--set", f"corpus.{NAME}=1"])  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_no_verb_prints_them(
    strangers: Path, verb: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([verb[0], str(strangers), *verb[1:]])
    said = capfd.readouterr()
    assert "owned" in said.out + said.err
    assert not obeyed(said.out + said.err)


def test_on_a_terminal_a_name_is_only_a_name(strangers: Path) -> None:
    control, line = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "jagpt", "status", strangers], stdout=line, stderr=line, stdin=line
    ):
        os.close(line)
        said = b""
        try:
            while chunk := os.read(control, 65536):
                said += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(control)
    assert b"owned" in said
    assert b"\x1b]0" not in said
    assert b"\x1b[2J" not in said


@pytest.mark.parametrize("verb", [["status"], ["clean"], ["plan", "small", "--set"]])
def test_in_a_log_no_part_of_a_name_is_missing(
    verb: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*verb, "a\x1b[31mb"])
    assert r"a\u001b[31mb" in capfd.readouterr().err


def test_a_streams_state_comes_back() -> None:
    before = sys.stdout, sys.stderr
    with terminal.guarded(), terminal.guarded():
        pass
    assert (sys.stdout, sys.stderr) == before


def test_no_console_but_ours_is_made() -> None:
    made = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Console")
    }
    assert made <= {"progress.py"}  # its own kind of ours
    assert issubclass(type(Progress().console), terminal.Terminal)
    assert not isinstance(Console(), terminal.Terminal)
