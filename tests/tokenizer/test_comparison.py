"""Tokenizers side by side, as a library and on the command line."""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from click.testing import CliRunner, Result

from jagpt.cli import app
from jagpt.errors import DataError, UsageError
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.tokenizer import comparison
from jagpt.tokenizer.comparison import compare, file_texts
from jagpt.tokenizer.encoder import Encoder
from jagpt.tokenizer.stage import TOKENIZER

from .japanese import documents, recipe, write_corpus

Folders = Callable[[str], Path]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt.xz"
    path.write_bytes(lzma.compress("\n\n\n".join(documents(20, seed=9)).encode()))
    return path


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with a corpus and a tokenizer."""
    run = RunDirectory(tmp_path / "run")
    write_corpus(run.corpus, train=60)
    TOKENIZER.run(recipe(), run, QUIET)
    run.recipe.write_text(recipe().to_toml(), "utf-8")
    return run


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["tokenizer", *map(str, arguments)])


def test_a_file_is_read_in_blocks_and_decompressed(text: Path) -> None:
    assert list(file_texts(text)) == documents(20, seed=9)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_long_block_is_read_in_pieces_and_spaces_are_a_blank_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(comparison, "TEXT_CHARACTERS", 10)
    lines = ["一行目", " 二行目", "三行目", "四行目", "\u3000 ", "五", "六", "", "七" * 25]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines) + end, "utf-8")
    assert list(file_texts(path)) == [
        "一行目", " 二行目\n三行目", "四行目", "五\n六", "七" * 9, "七" * 8, "七" * 8,
    ]  # fmt: skip


def test_each_is_measured_on_the_same_text(folders: Folders, text: Path) -> None:
    origins = [str(folders("default")), str(folders("original") / "spiece.model")]
    found = compare(origins, lambda: file_texts(text), "here")
    assert list(found) == origins
    texts = documents(20, seed=9)
    for origin, stats in found.items():
        folder = Path(origin) if Path(origin).is_dir() else Path(origin).parent
        tokens = sum(len(Encoder.open(folder).encode(text)) for text in texts)
        assert (stats.documents, stats.tokens) == (20, tokens)
        assert stats.characters == sum(map(len, texts))


def test_a_tokenizer_with_other_special_ids_can_be_compared(tmp_path: Path, text: Path) -> None:
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(documents(50)), model_writer=writer, vocab_size=250, minloglevel=2
    )
    path = tmp_path / "foreign.model"
    path.write_bytes(writer.getvalue())
    (stats,) = compare([str(path)], lambda: file_texts(text), "here").values()
    assert stats.vocab_size == 250
    assert stats.characters_per_token > 1


def test_what_is_no_tokenizer_and_no_text_is_told(folders: Folders, text: Path) -> None:
    with pytest.raises(UsageError, match="--compare: '/no/such' is not a run directory"):
        compare(["/no/such"], lambda: file_texts(text), "here")
    with pytest.raises(DataError, match="here: it contains no text"):
        compare([str(folders("default"))], lambda: [], "here")


def test_the_command_line_compares_on_a_file(folders: Folders, text: Path) -> None:
    places = [folders("default"), folders("original")]
    done = call("--compare", *places, "--text", text, "--json")
    found = json.loads(done.output)
    assert [row["tokenizer"] for row in found] == [str(place) for place in places]
    assert [row["vocab_size"] for row in found] == [500, 285]
    table = call("--compare", *places, "--text", text).output
    for row in ("characters per token", "unknown tokens", "byte pieces", "longest pieces"):
        assert row in table
    assert f"{found[0]['characters_per_token']:.3f}" in table


def test_the_command_line_compares_on_the_test_split_of_a_run(
    folders: Folders, run: RunDirectory
) -> None:
    done = call(run.root, "--compare", folders("bpe"), "--json")
    found = json.loads(done.output)
    assert [row["tokenizer"] for row in found] == [str(run.root), str(folders("bpe"))]
    texts = documents(10, seed=1001)  # the test split
    assert {row["characters"] for row in found} == {sum(map(len, texts))}
    assert found[0]["split"] == f"test split of {run.root}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quickstart", "small"], "expected one RECIPE, found 2"),
        (["quickstart", "--text", "a.txt"], "--text needs --compare"),
        (["--compare", "a", "--force"], "--force has no effect with --compare"),
        (["--compare", "a", "--text", "b", "--set", "a=b"], "--set has no effect with"),
        (["quickstart", "--compare", "--run-dir", "no/run"], "this run has no tokenizer yet"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert isinstance(done.exception, (UsageError, DataError))
    assert message in str(done.exception)
