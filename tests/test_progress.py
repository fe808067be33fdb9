from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len

from jagpt.progress import Progress
from jagpt.terminal import Terminal


def drawn(
    width: int, what: str, total: int | None, note: str, *, done: int = 5, fail: bool = False
) -> list[str]:
    """The lines that a bar leaves on a terminal after some of `total` units, as they were drawn."""
    screen = io.StringIO()
    console = Terminal(file=screen, force_terminal=True, width=width, color_system=None)
    try:
        with Progress(console=console).bar(what, total, "parts") as bar:
            bar.update(done, note)
            if fail:
                raise RuntimeError
    except RuntimeError:
        pass
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "what", ["corpus: 青空文庫の作品と手元の日記とブログの記事をまとめたもの", "tokens"]
)
def test_a_line_fits_the_terminal_and_keeps_its_figures(width: int, what: str) -> None:
    lines = drawn(width, what, 12_345, "学習中: " + "とても長い説明" * 10, fail=True)
    assert max(map(cell_len, lines)) <= width
    assert "5 of 12,345 parts" in lines[-1]
    assert what[:6] in lines[-1]


@pytest.mark.parametrize("total", [None, 5, 900])
def test_a_bar_ends_full_with_what_was_done(total: int | None) -> None:
    line = drawn(80, "train", total, "")[-1]
    assert "━" * 8 in line
    assert "5 parts" in line
    assert " of " not in line
    assert re.search(r"\d:\d\d", line)
    assert "left" not in line


def test_a_bar_that_breaks_off_stays_where_it_was() -> None:
    line = drawn(80, "train", 900, "", fail=True)[-1]
    assert "5 of 900 parts" in line


def test_one_is_not_many() -> None:
    screen = io.StringIO()
    with Progress(console=Terminal(file=screen)).bar("corpus", 1, "parts") as bar:
        bar.update(1)
    assert screen.getvalue() == "corpus: 1 of 1 part, 0 s\n"
    assert "12,341 parts" in drawn(80, "corpus", None, "", done=12_341)[-1]
    assert "1 part " in drawn(80, "corpus", 1, "", done=1)[-1]


def test_a_log_ends_with_what_was_done() -> None:
    screen = io.StringIO()
    with Progress(console=Terminal(file=screen)).bar("train", 900, "steps") as bar:
        bar.update(5)
    assert screen.getvalue() == "train: 5 of 5 steps, 0 s\n"
