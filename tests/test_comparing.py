from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import fakes
import pytest
from processes import jagpt

from jagpt import comparing
from jagpt import recipe as recipes
from jagpt.cli.common import open_run
from jagpt.manifests import Manifest


def test_tells_the_shipped_recipe_and_what_was_set() -> None:
    changes = ["train.max_steps=60", "train.learning_rate=2e-3", "release.title=私の モデル"]
    recipe = recipes.load("quickstart", changes)
    found = str(comparing.command(recipe, Path("mine")))
    words = shlex.split(found)
    assert words[:3] == ["jagpt", "run", "quickstart"]
    assert words[-2:] == ["--run-dir", "mine"]
    assert recipes.load("quickstart", words[4:-2:2]) == recipe
    assert len(words[3:-2]) == 2 * len(changes)


@pytest.mark.parametrize("name", list(recipes.shipped_recipes()))
def test_a_shipped_recipe_needs_nothing_set(name: str) -> None:
    assert comparing.command(recipes.load(name), Path("runs", name)) == f"jagpt run {name}"


def test_what_decides_nothing_is_left_out() -> None:
    recipe = recipes.load("quickstart", ["execution.workers=7"])
    assert comparing.command(recipe, Path("runs/quickstart")) == "jagpt run quickstart"


@pytest.mark.parametrize(
    "change",
    ["corpus.source.0.path=elsewhere.xml", "train.decay_steps=150", "tokenizer.from=../other"],
)
def test_what_set_can_say_is_said(change: str) -> None:
    recipe = recipes.load("quickstart", [change])
    assert change.split("=")[0] in str(comparing.command(recipe, Path("x")))


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("runs/tiny", ["runs/tiny/recipe.toml", "--run-dir", "runs/tiny-again"]),
        ("my runs/'a'", ["my runs/'a'/recipe.toml", "--run-dir", "my runs/'a'-again"]),
        ("-x", ["./-x/recipe.toml", "--run-dir", "./-x-again"]),
        ("/data/tiny", ["/data/tiny/recipe.toml", "--run-dir", "/data/tiny-again"]),
        ("../tiny/", ["{up}/tiny/recipe.toml", "--run-dir", "{up}/tiny-again"]),
        (".", ["recipe.toml", "--run-dir", "{here}-again"]),
    ],
)
def test_a_recipe_of_ones_own_is_the_file_in_its_run(root: str, words: list[str]) -> None:
    here = Path.cwd()
    expected = [word.format(here=here, up=here.parent) for word in words]
    found = str(comparing.command(fakes.recipe(), Path(root)))
    assert shlex.split(found) == ["jagpt", "run", *expected]


def test_a_recipe_that_is_not_known_has_no_command() -> None:
    assert comparing.command(None, Path("x")) is None


@pytest.mark.parametrize("name", ["mine", "it's; mine $HOME"])
def test_what_is_printed_makes_such_a_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "本文です。\n" * 20
    (tmp_path / "own").mkdir()
    for number in range(30):
        (tmp_path / "own" / f"{number}.txt").write_text(f"文書{number}。\n{text}", "utf-8")
    (tmp_path / "own.toml").write_text(
        'name = "own"\n[corpus]\nvalid_share = 0.2\ntest_share = 0.2\n'
        '[[corpus.source]]\nname = "notes"\nkind = "text"\nlayout = "file"\n'
        'path = "own/*.txt"\n[model]\nn_layer = 1\nn_head = 1\nn_embd = 16\n'
        "[train]\nmax_steps = 5\n"
    )
    until = ["--until", "corpus", "--yes"]
    assert jagpt("run", "own.toml", "--run-dir", f"runs/{name}", *until).returncode == 0
    (tmp_path / "own.toml").unlink()
    printed = comparing.command(open_run(Path("runs", name))[0], Path("runs", name))
    words = subprocess.check_output(["bash", "-c", f"printf '%s\\0' {printed}"], text=True)
    program, *arguments = words.split("\0")[:-1]
    assert program == "jagpt"
    assert jagpt(*arguments, *until).returncode == 0
    first, again = (Manifest.read(Path("runs", x, "corpus")) for x in (name, f"{name}-again"))
    assert again == first


def test_differences_are_the_keys_that_are_not_alike() -> None:
    one, two = recipes.load("quickstart"), recipes.load("quickstart", ["train.max_steps=60"])
    assert comparing.differences([one, two]) == [("train.max_steps", ["200", "60"])]
    assert comparing.differences([one, None]) == []
    assert comparing.differences([one]) == []
