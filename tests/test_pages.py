"""The pages: what they link, name and show is there."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from jagpt import cli, recipe

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "ja").glob("*.md")]
)
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
KEY = re.compile(rf"(?<![\w./])({'|'.join(recipe.SECTIONS)})\.([a-z_0-9]+)(?=[=`\s])")
ENDINGS = {"bin", "git", "json", "md", "onnx", "py", "safetensors", "txt"}
"""What makes `model.onnx` a file and no key."""
RUN = re.compile(r"jagpt plan |jagpt extract jagpt:sample |RANK=0 ")
"""Shown commands that need no run, no network and no time."""
LEFT_OUT = "[…]"

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[f"{page.parent.name}/{page.name}" for page in PAGES]
)


RUN_ELSEWHERE = {
    "jagpt init quickstart": "tests/endtoend/test_shown_commands.py",
    "less quickstart.toml": "tests/endtoend/test_shown_commands.py",
    "jagpt run quickstart": "tests/endtoend/test_shown_commands.py",
    "jagpt status runs/quickstart": "tests/endtoend/test_shown_commands.py",
    "jagpt generate runs/quickstart": "tests/endtoend/test_shown_commands.py",
    "jagpt report runs/quickstart": "tests/endtoend/test_shown_commands.py",
    "jagpt init own-text": "tests/endtoend/test_own_text.py",
    "jagpt run own-text.toml": "tests/endtoend/test_own_text.py",
    "jagpt generate runs/own-text": "tests/endtoend/test_own_text.py",
    "head ": "tests/corpus/test_extraction.py",
}
"""How a command of the tutorials and guides begins, and the test that runs it."""
NOT_RUN = re.compile(r"[Nn]o test runs|テストで[はも]実行していません")
"""What a page says, with the reason, of commands that are run by no test."""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, those of a list's steps without their indentation."""
    fence = re.compile(rf"^ *```{language}\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in fence.findall(page.read_text("utf-8"))]


def shown(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The commands of the console blocks, with the lines shown under each."""
    for block in blocks(page, "console"):
        whole = block.replace("\\\n", " ")
        for part in re.split(r"^\$ ", whole, flags=re.MULTILINE)[1:]:
            command, *output = part.rstrip("\n").split("\n")
            yield command, output


JAPANESE = re.compile("[\u3001-\u30ff\uff00-\uffef]")


def prose(page: Path) -> str:
    fence = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
    return fence.sub("", page.read_text("utf-8"))


anchors = runpy.run_path(str(ROOT / "tools" / "build_site.py"))["anchors"]


def options(verb: str) -> set[str]:
    command = cli.app.get_command(click.Context(cli.app), verb)
    assert command is not None, f"jagpt has no {verb}"
    return {"--help"}.union(*(one.opts + one.secondary_opts for one in command.params))


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_verbs_and_options_exist(page: Path) -> None:
    inline = re.findall(r"`(jagpt [^`]*)`", prose(page))
    for line in [*inline, *(command for command, _ in shown(page))]:
        for verb, rest in re.findall(r"\bjagpt ([a-z]+)([^|;&#]*)", line):
            named = set(re.findall(r"(?<= )--[a-z-]+", rest))
            assert named <= options(verb), line


@each_page
def test_keys_of_the_recipe_exist(page: Path) -> None:
    for section, key in KEY.findall(page.read_text("utf-8")):
        fields = recipe.SECTIONS[section].model_fields.items()
        names = {field.alias or name for name, field in fields}
        assert key in names | ENDINGS, f"{section}.{key}"


@each_page
def test_recipes_are_valid(page: Path) -> None:
    for block in blocks(page, "toml"):
        whole = tomllib.loads(block)
        whole.setdefault("name", "part")
        whole.setdefault("train", {"max_steps": 10})
        source = {"name": "notes", "kind": "text", "path": "notes.txt"}
        whole.setdefault("corpus", {}).setdefault("source", [source])
        recipe.validated(whole, str(page))


PRINTED = {
    (command, "\n".join(output)): f"{page.parent.name}/{page.name}: {command[:60]}"
    for page in PAGES
    for command, output in shown(page)
    if RUN.match(command)
}
"""What is run and printed, once for all pages that show the same, and where it is shown."""


@pytest.mark.parametrize(("command", "output"), list(PRINTED), ids=PRINTED.values())
def test_commands_print_what_is_shown(command: str, output: str, tmp_path: Path) -> None:
    program = command.replace("jagpt ", f"{sys.executable} -m jagpt ", 1)
    done = subprocess.run(
        ["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    answer = done.stderr if done.returncode else done.stdout
    printed = "\n".join(line.rstrip() for line in answer.strip().split("\n"))
    expected = ".*".join(map(re.escape, output.split(LEFT_OUT)))
    assert re.fullmatch(expected, printed, re.DOTALL), printed


GUIDES = [page for page in PAGES if re.match("tutorial-|how-to|own-texts", page.name)]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_each_command_of_a_guide_is_run_by_a_test_or_said_not_to_be(page: Path) -> None:
    if NOT_RUN.search(prose(page)):
        return
    for command, _ in shown(page):
        plain = command.replace(".venv/bin/", "")
        tests = [test for begin, test in RUN_ELSEWHERE.items() if plain.startswith(begin)]
        assert RUN.match(plain) or tests, command
        assert all((ROOT / test).exists() for test in tests)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name == "ja"], ids=lambda page: page.name
)
def test_a_translated_page_shows_the_commands_of_the_english_one(page: Path) -> None:
    original = ROOT / "docs" / page.name
    commands, english = (
        [re.sub(r"\s{2,}# .*", "", command) for command, _ in shown(one)]
        for one in (page, original)
    )
    assert commands == english
    for language in ("bash", "js", "json", "python", "toml"):
        assert code(page, language) == code(original, language)
    for ours, theirs in zip(printed(page), printed(original), strict=True):
        assert ours <= theirs


def printed(page: Path) -> list[set[str]]:
    """The lines under each command and in each other block, but those that are translated."""
    under = [set(output) for _, output in shown(page)]
    others = [set(block.splitlines()) for block in blocks(page, "text")]
    return [{line for line in lines if not JAPANESE.search(line)} for lines in (*under, *others)]


def code(page: Path, language: str) -> list[str]:
    """The lines of a language's blocks without comments, which are translated."""
    lines = "".join(blocks(page, language)).splitlines()
    return [plain for line in lines if (plain := re.sub(r"\s*#.*", "", line).rstrip())]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "ja" in (page.parent.name, page.suffixes[0][1:])],
    ids=lambda page: page.name,
)  # fmt: skip
def test_a_japanese_page_links_the_translation_where_there_is_one(page: Path) -> None:
    links = {link.partition("#")[0] for link in LINK.findall(prose(page))}
    targets = {(page.parent / link).resolve() for link in links if link.endswith(".md")}
    english = [to.name for to in targets if to.parent == ROOT / "docs"]
    assert [name for name in english if (ROOT / "docs" / "ja" / name).exists()] == []


def test_each_verb_has_its_python_line_or_the_reason_why_it_has_none() -> None:
    english, japanese = (
        re.findall(r"^\| `jagpt ([a-z]+)", (ROOT / "docs" / page).read_text("utf-8"), re.M)
        for page in ("python.md", "ja/python.md")
    )
    assert set(english) == set(cli.app.list_commands(click.Context(cli.app)))
    assert japanese == english


def test_both_readmes_lead_to_the_same_pages() -> None:
    links = [set(LINK.findall(prose(ROOT / name))) for name in ("README.md", "README.ja.md")]
    pages = [{re.sub(r"docs/ja/|#.*", lambda m: "docs/" if m[0] == "docs/ja/" else "", link)
              for link in found if link.startswith(("docs/", "notebooks/"))
              and "/images/" not in link}
             for found in links]  # fmt: skip
    assert pages[0] <= pages[1]
