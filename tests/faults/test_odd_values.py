"""Odd names and values in recipes, on the command line and in a stranger's records: one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jagpt.cli import main
from jagpt.corpus import sources
from jagpt.corpus.sources import source_files
from jagpt.errors import DataError, RecipeError
from jagpt.recipe import Recipe, Source, parse

from .conftest import inside

START = 'name = "x"\n[train]\nmax_steps = 1\n'
LONG = "n" * 300
SOURCE = '[[corpus.source]]\nname = "a"\nkind = "text"\nlicence = "cc0-1.0"\n'


def names_of(recipe: Recipe) -> list[str]:
    return [path.name for path in source_files(recipe.corpus.source[0])]


@pytest.mark.parametrize("pattern", ["t*.txt", "t[[]2].txt", "**/t*.txt", "./t?.txt"])
def test_a_pattern_is_one_below_the_recipes_folder_whatever_its_name(
    tmp_path: Path, pattern: str
) -> None:
    folder = tmp_path / "data [1] *"
    folder.mkdir()
    for name in ("t1.txt", "t[2].txt"):
        (folder / name).write_text("文。")
    found = names_of(parse(f'{START}{SOURCE}path = "{pattern}"\n', folder=folder))
    assert found == {"t[[]2].txt": ["t[2].txt"], "./t?.txt": ["t1.txt"]}.get(
        pattern, ["t1.txt", "t[2].txt"]
    )
    assert names_of(parse(f'{START}{SOURCE}path = "t[2].txt"\n', folder=folder)) == ["t[2].txt"]


def test_a_source_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    text = "".join(f"{n}は{n}番目の文である。\n\n" for n in range(200))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/t\xff.txt")).write_text(text, "utf-8")
    keys = 'layout = "block"\npath = "**/*.txt"\n'
    shares = "valid_share = 0.2\ntest_share = 0.2\n"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"{START}[corpus]\nmin_characters = 0\n{shares}{SOURCE}{keys}")
    run = tmp_path / "run"
    for verb in (("corpus", recipe, "--run-dir", run), ("corpus", run), ("status", run)):
        assert inside(*verb) == 0
    assert json.loads((run / "corpus" / "stats.json").read_text())["sources"][0]["documents"] == 200


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = " + "[" * 50_000 + "]" * 50_000, "nested too deeply"),
        ("x = " + "{a=" * 50_000 + "1" + "}" * 50_000, "nested too deeply"),
        ("a." * 50_000 + "a = 1", r"a key of more than 32 levels \(line 4\)"),
        ('"a" .' * 50_000 + "a = 1", "a key of more than 32 levels"),
        ("[" + "'a'." * 50_000 + "a]", "a key of more than 32 levels"),
        ("a = " + "9" * 5_000, "not TOML"),
    ],
    ids=["lists", "tables", "keys", "quoted keys", "a table's name", "5,000 digits"],
)
def test_a_deep_or_endless_recipe_is_told(text: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse(START + text)


@pytest.mark.parametrize(
    "override",
    [
        "corpus.source.².path=x", "corpus.source.99999999999999999999.path=x", "train.seed=²",
        "corpus.x=" + "[" * 5_000, "train.seed=" + "9" * 5_000, "a." * 5_000 + "a=1",
        f"train.seed={2**64}", f"tokenizer.seed={2**64}", "train.seed=-1",
        "corpus.source.a.path=t\udcff.txt", "evaluate.checkpoint=" + "9" * 5_000,
    ],
    ids=lambda override: override[:30].encode("ascii", "replace").decode(),
)  # fmt: skip
def test_an_odd_override_is_told(override: str) -> None:
    with pytest.raises(RecipeError, match="mistake"):
        parse(f'{START}{SOURCE}path = "t.txt"\n', overrides=[override])


def test_a_pattern_without_end_is_told_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        (tmp_path / f"{number}" / "below").mkdir(parents=True)
    (tmp_path / "0" / "round").symlink_to(tmp_path)
    (tmp_path / "0" / "itself").symlink_to("itself")
    (tmp_path / "7" / "below" / "t.txt").write_text("文。")
    made = Source(name="a", kind="text", path=f"{tmp_path}/**/*.txt", licence="cc0-1.0")
    assert [path.name for path in source_files(made)] == ["t.txt"]
    monkeypatch.setattr(sources, "MOST_ENTRIES", 50)
    with pytest.raises(DataError, match="visited more than 50 files and folders"):
        source_files(made)


def test_a_recipe_too_large_to_be_one_is_not_read(tmp_path: Path) -> None:
    recipe = tmp_path / "run" / "recipe.toml"
    recipe.parent.mkdir()
    with recipe.open("wb") as file:
        file.truncate(10**12)  # it takes no room on the disk
    for verb, place in (("run", recipe), ("run", recipe.parent), ("report", recipe.parent)):
        assert inside(verb, place) == 3


@pytest.mark.parametrize("kind", ["text", "dump", "parquet"])
def test_a_pipe_or_a_device_is_no_source(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a device")):
        made = Source(name="a", kind=kind, path=str(path), licence="cc0-1.0")
        with pytest.raises(DataError, match=f"{path}: expected a regular source, found {what}"):
            source_files(made)
    made = Source(name="a", kind=kind, path=f"{tmp_path}/pi*", licence="cc0-1.0")
    with pytest.raises(DataError, match="no file matches"):
        source_files(made)


@pytest.mark.parametrize(
    "arguments",
    [
        *((verb, LONG) for verb in ("run", "plan", "status", "verify", "clean", "report", "push",
                                    "export", "release", "evaluate", "playground")),
        ("generate", LONG, "京都"), ("init", "small", "--output", LONG),
        ("run", "quickstart", "--run-dir", LONG), ("compare", LONG, LONG),
        ("extract", LONG, "--output", "texts"), ("init", "continue", "--from", LONG),
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_name_that_no_file_can_have_is_wrong_usage(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "255 bytes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
