"""The repository's own files: what they name is there, and what they run is pinned."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

import jagpt

ROOT = Path(__file__).parent.parent
GITHUB = sorted((ROOT / ".github").rglob("*.yml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    assert read(path)
    for line in path.read_text("utf-8").splitlines():
        if "uses:" in line:
            assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_targets_of_make_that_workflows_call_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    called = {
        target
        for path in GITHUB
        for target in re.findall(r"run: make ([a-z]+)", path.read_text("utf-8"))
    }
    assert called >= {"lint", "compat", "release"}
    assert all(re.search(rf"(?m)^{target}:", makefile) for target in called)


def test_nothing_but_publishing_may_do_more_than_read() -> None:
    for path in (ROOT / ".github" / "workflows").iterdir():
        flow = read(path)
        assert flow["permissions"] == {"contents": "read"}
        more = {name for name, job in flow["jobs"].items() if "permissions" in job}
        assert more <= {"publish"}


def test_the_citation_is_of_this_version() -> None:
    cited = read(ROOT / "CITATION.cff")
    assert cited["version"] == jagpt.__version__
    assert cited["license"] == "MIT"


def test_the_dockerfile_copies_what_is_there_and_runs_as_nobody() -> None:
    program = runpy.run_path(str(ROOT / "tools" / "build_release.py"))
    program["_check_dockerfile"]()
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    assert "USER jagpt" in lines
    assert lines.index("USER jagpt") < lines.index('ENTRYPOINT ["jagpt"]')


def test_the_agents_page_is_short() -> None:
    assert len((ROOT / "AGENTS.md").read_text("utf-8").splitlines()) <= 24


def test_no_text_reads_as_translated() -> None:
    program = runpy.run_path(str(ROOT / "tools" / "check_phrases.py"))
    found = [find for path in program["read_files"]() for find in program["finds"](path)]
    assert not found


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.md", "It ended.\n\nLoss in bits a\ncharacter.", 3),
        ("a.py", "x = 1\nraise ValueError(\n    f'{x}: a list '\n    'is wanted')", 4),
        ("a.py", "# what must be\n# done anew", 2),
        ("a.py", '"""The state; `DataError` where it is damaged."""', 1),
        ("a.md", "1.5 is found (2 wanted).", 1),
        ("a.md", "A text that is no table", 1),
        ("a.py", "say(f'{count} file(s)')", 1),
        ("b.ja.md", "ここに手元への写しを置きます。", 1),
        ("b.ja.md", "これはモデルである。", 1),
    ],
)
def test_a_translated_phrase_is_found_with_its_line(
    name: str, text: str, line: int, tmp_path: Path
) -> None:
    program = runpy.run_path(str(ROOT / "tools" / "check_phrases.py"))
    path = tmp_path / name
    path.write_text(text, "utf-8")
    (found,) = program["finds"](path)
    assert found.startswith(f"{path}:{line}: ")


def test_code_is_not_read_for_phrases(tmp_path: Path) -> None:
    program = runpy.run_path(str(ROOT / "tools" / "check_phrases.py"))
    path = tmp_path / "a.md"
    path.write_text("`done anew`\n\n```text\ndone anew\n```\n", "utf-8")
    assert not list(program["finds"](path))
