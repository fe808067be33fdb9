"""A stranger's whole run directory, one of its files altered, under every verb that takes a run."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import inside
from .projects import Project
from .test_strangers import MUTATIONS, damaged_bytes, mutated
from .watched import Tell, watch

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is told by Linux's /proc"
)

VERBS: dict[str, tuple[tuple[str, ...], int]] = {
    "status": (("status", "{}"), 1),
    "verify": (("verify", "{}"), 1),
    "report": (("report", "{}"), 2),
    "plan": (("plan", "{}"), 4),
    "clean": (("clean", "{}"), 2),
    "generate": (("generate", "{}", "東京は", "--max-new-tokens", "2"), 4),
    "evaluate": (("evaluate", "{}"), 10),
    "evaluate --model": (("evaluate", "--model", "{}", "--text", "{text}"), 10),
    "export": (("export", "{}"), 10),
    "export --model": (
        ("export", "--model", "{}/model", "--format", "flax", "--output", "{}/other"),
        10,
    ),
    "release": (("release", "{}"), 4),
    "run": (("run", "{}", "--yes"), 4),
    "push": (("push", "{}", "--to", "file://{}/remote"), 4),
}
"""Each with how much rarer it is tried than a verb that only looks."""
COUNT = MUTATIONS if "JAGPT_MUTATIONS" in os.environ else 40
ENDS = frozenset({0, 1, 2, 3, 4, 75})
"""Exit codes of the docs; no one else holds the lock, and nothing is interrupted."""


def altered(run: Path, rng: random.Random) -> bytes:
    """A file's name within the run, a NUL, and what it holds from now on."""
    names = sorted(
        p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file() and p.name != ".lock"
    )
    name = rng.choice(names)
    raw = (run / name).read_bytes()
    kind = rng.choice(("structure", "structure", "bytes", "bytes", "empty", "other"))
    if kind == "empty":
        raw = b""
    elif kind == "other":
        raw = (run / rng.choice(names)).read_bytes()
    elif kind == "structure" and name.endswith(".json"):
        raw = json.dumps(mutated(json.loads(raw), rng)).encode()
    elif kind == "structure" and name.endswith(".jsonl") and raw:
        lines = raw.splitlines()
        at = rng.randrange(len(lines))
        lines[at] = json.dumps(mutated(json.loads(lines[at]), rng)).encode()
        raw = b"\n".join(lines)
    else:
        raw = damaged_bytes(raw[:4096], rng) + raw[4096:]
    return name.encode() + b"\0" + raw


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_with_an_altered_file_is_followed_or_refused(
    verb: str, finished: Path, project: Project, tmp_path: Path, tally: Tell
) -> None:
    outside, run = tmp_path / "outside", tmp_path / "inside" / "run"
    outside.mkdir()
    (outside / "file").write_text("whole")
    run.parent.mkdir()
    words, rarer = VERBS[verb]
    arguments = [
        word.replace("{text}", str(project.root / "rows.jsonl")).replace("{}", str(run))
        for word in words
    ]
    count = max(1, COUNT // rarer)

    def inputs() -> Iterator[bytes]:
        yield b"recipe.toml\0" + (finished / "recipe.toml").read_bytes()
        for number in range(count):
            yield altered(finished, random.Random(f"{verb} {number}"))

    found = watch(_with_altered(run, finished, arguments), inputs(), outside)
    assert found.tried == count + 1
    assert found.refused <= count, "the whole run was refused"
    assert [path.name for path in run.parent.iterdir()] == ["run"]
    tally(verb, found)


def _with_altered(run: Path, whole: Path, arguments: list[str]) -> Callable[[bytes], bool]:
    def read(content: bytes) -> bool:
        """Whether the command took the run; its end is one that the docs name."""
        name, _, altered = content.partition(b"\0")
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(whole, run)
        (run / name.decode()).write_bytes(altered)
        code = inside(*arguments)
        assert code in ENDS, f"exit code {code}"
        return code == 0

    return read
