"""A folder of somebody's own texts: the recipe `own-text`, from files to a continuation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import jagpt

from .conftest import settings

TOPICS = ("川", "山", "駅", "本", "音楽", "料理", "天気", "学校", "仕事", "旅行")
SMALL = settings(
    tokenizer__vocab_size='"auto"', train__max_steps="6", train__validate_every="3",
    train__checkpoint_every="3",
)  # fmt: skip


def write_texts(folder: Path, count: int = 30) -> int:
    """Short files with sentences of their own; their characters."""
    folder.mkdir(parents=True)
    total = 0
    for number in range(count):
        topic = TOPICS[number % len(TOPICS)]
        text = "\n".join(
            f"{number}番目の話は{topic}のことである。{k}年前に{topic}を見て、"
            f"{TOPICS[(number + k) % len(TOPICS)]}の隣で{number * 37 + k * 11}円を払った。"
            for k in range(25)
        )
        (folder / f"{number:02}.txt").write_text(text, "utf-8")
        total += len(text)
    return total


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 30 texts in which `init own-text` and `run` were called."""
    folder = tmp_path_factory.mktemp("project")
    assert 25_000 < write_texts(folder / "texts") < 60_000  # some 100 KB of UTF-8
    call(folder, "init", "own-text")
    call(folder, "run", "own-text.toml", *SMALL)
    return folder


def call(folder: Path, *arguments: str) -> str:
    """What a process without an error message, and without a word like one, printed."""
    done = jagpt(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "error" not in (done.stdout + done.stderr).lower()
    return done.stdout


def test_thirty_short_files_become_a_model_that_continues_a_text(project: Path) -> None:
    assert call(project, "generate", "runs/own-text", "この", "--max-new-tokens", "8").strip()


def test_a_tenth_of_the_documents_is_held_out_for_valid_and_for_test(project: Path) -> None:
    splits = json.loads((project / "runs/own-text/corpus/stats.json").read_text())["splits"]
    assert [splits[name]["documents"] for name in ("train", "valid", "test")] == [24, 3, 3]


def test_the_vocabulary_is_settled_by_the_text_and_written_down(project: Path) -> None:
    run = project / "runs" / "own-text"
    manifest = json.loads((run / "tokenizer" / "manifest.json").read_text())
    assert manifest["section"]["tokenizer"]["vocab_size"] == "auto"
    pieces = json.loads((run / "tokenizer" / "stats.json").read_text())["vocab_size"]
    index = json.loads((run / "tokens" / "index.json").read_text())
    assert index["vocab_size"] == pieces
    assert 300 < pieces < 2000
    again = call(project, "run", "own-text.toml", *SMALL)
    assert "all stages are done" in again


def test_a_plan_of_it_knows_the_pieces_before_and_after_the_run(project: Path) -> None:
    before = json.loads(call(project, "plan", "own-text.toml", "--run-dir", "runs/n", "--json"))
    after = json.loads(call(project, "plan", "own-text.toml", "--json", "--gpu", "RTX 4090"))
    assert before["parameters"] > 3_000_000
    assert after["parameters"] > 3_000_000
