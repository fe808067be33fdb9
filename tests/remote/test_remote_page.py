"""What docs/remote.md and docs/skypilot.yaml tell others to run is what jagpt understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from jagpt import cli, recipe

DOCS = Path(__file__).parents[2] / "docs"
TASK = yaml.safe_load((DOCS / "skypilot.yaml").read_text("utf-8"))
PAGE = (DOCS / "remote.md").read_text("utf-8")


def commands() -> Iterator[list[str]]:
    """Each jagpt command of the task and of the page's scripts, as words."""
    scripts = [TASK["run"], *re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
    scripts += re.findall(r"^\$ (jagpt .*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
    for script in scripts:
        for found in re.findall(
            r"jagpt ((?:run|push|pull|status) [^&\n]*)", re.sub(r"\\\n", "", script)
        ):
            yield shlex.split(found.rstrip().removesuffix('"'), comments=True)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_each_command_is_understood(words: list[str]) -> None:
    command = cli.app.get_command(click.Context(cli.app), words[0])
    assert command is not None
    given = command.make_context(words[0], words[1:])
    for key, _, value in (text.partition("=") for text in given.params.get("overrides", ())):
        section, name = key.split(".")
        value = value.replace("$PLACE", TASK["envs"]["PLACE"])
        number = value.replace(".", "").isdigit()
        recipe.SECTIONS[section].model_validate({name: float(value) if number else value})


def test_there_are_commands() -> None:
    assert [words[0] for words in commands()].count("run") == 3


def test_the_task_is_one_of_skypilots() -> None:
    assert TASK.keys() == {"name", "workdir", "resources", "envs", "setup", "run"}
    assert TASK["resources"]["use_spot"] is True
    assert "[train,remote]" in TASK["setup"]
