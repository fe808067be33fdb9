"""`jagpt generate` as it is typed."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jagpt.cli import main
from jagpt.generation import Drawing, TextGenerator, Token

PROMPT = "統計的推定を使うことで、"


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert call("generate", *arguments) == 0
    return capsys.readouterr().out


def test_prompts_come_from_the_line_and_a_file(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("京都\n東京\n", "utf-8")
    asked = (tiny_model, PROMPT, "--prompts", tmp_path / "prompts.txt", "--max-new-tokens", 4)
    found = json.loads(printed(capsys, *asked, "--num-return-sequences", 2, "--json"))
    assert [record["prompt"] for record in found] == [PROMPT, "京都", "東京"]
    assert [len(record["continuations"]) for record in found] == [2, 2, 2]
    text = printed(capsys, *asked, "--num-return-sequences", 2)
    assert text.splitlines() == [
        record["prompt"] + continuation
        for record in found
        for continuation in record["continuations"]
    ]


def test_streaming_prints_the_same_text(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (tiny_model, PROMPT, "--seed", 5, "--num-return-sequences", 2)
    assert printed(capsys, *asked, "--stream") == printed(capsys, *asked)


@pytest.mark.parametrize(("option", "growing"), [((), True), (("--no-stream",), False)])
def test_a_terminal_gets_each_token_as_it_comes(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...], growing: bool
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    stream, printed_before = TextGenerator.stream, []

    def watched(
        self: TextGenerator, ids: list[int], drawing: Drawing
    ) -> Iterator[list[Token | None]]:
        for step in stream(self, ids, drawing):
            yield step
            printed_before.append(len(terminal.getvalue()))

    monkeypatch.setattr(TextGenerator, "stream", watched)
    assert call("generate", tiny_model, PROMPT, "--max-new-tokens", 6, *option) == 0
    assert (len(set(printed_before)) > 2) is growing


def test_scores_as_a_table_and_as_json(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (tiny_model, PROMPT, "--seed", 2, "--max-new-tokens", 3, "--scores")
    (record,) = json.loads(printed(capsys, *asked, "--json"))
    ((first, *_),) = record["scores"]
    assert "".join(token["text"] for token in record["scores"][0]) == record["continuations"][0]
    assert first["logprob"] < 0
    text = printed(capsys, *asked)
    assert f"{first['logprob']:.3f}" in text
    assert "nats per token" in text


def test_scores_are_colours_on_a_terminal(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert call("generate", tiny_model, PROMPT, "--max-new-tokens", 3, "--scores") == 0
    text = terminal.getvalue()
    assert "probability: " in text
    assert text.count("\x1b[38;5;") >= 3 + 5
    assert "log-probability" not in text


def test_a_models_control_characters_do_not_reach_the_terminal(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, tiny_model, "京\x1b]0;x\x07\u202e都", "--max-new-tokens", 1)
    assert text.startswith("京]0;x都")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "no prompt was given"),
        (("京都", "--temperature", "0"), 2, "--temperature 0"),
        (("京都", "--temperature", "-1"), 2, "--temperature -1"),
        (("京都", "--top-p", "1.5"), 2, "--top-p 1.5"),
        (("京都", "--stream", "--json"), 2, "--stream prints text as it comes"),
        (("--prompts", "nowhere.txt"), 2, "nowhere.txt: no such file"),
        (("あ" * 60,), 2, "the prompt has 60 tokens, but the model's context is 48"),
    ],
)
def test_a_mistake_gets_one_message(
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[Any, ...],
    code: int,
    words: str,
) -> None:
    assert call("generate", tiny_model, *arguments) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_what_the_folder_sets_and_is_not_followed_is_told(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_beams": 4}))
    assert call("generate", folder, "京都", "--max-new-tokens", 1) == 0
    assert "also sets num_beams: not followed here" in capsys.readouterr().err
