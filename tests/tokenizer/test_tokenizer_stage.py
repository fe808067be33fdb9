"""The stage: trained or taken from elsewhere, measured."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from jagpt import files
from jagpt.errors import DataError, StorageError, UsageError
from jagpt.progress import QUIET
from jagpt.recipe import Tokenizer
from jagpt.rundir import RunDirectory
from jagpt.stages import TOKENIZER
from jagpt.tokenizer import imported
from jagpt.tokenizer.encoder import Encoder

from .japanese import documents, recipe, write_corpus


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    write_corpus(run.corpus, train=60)
    return run


def test_a_trained_folder_and_its_figures(run: RunDirectory) -> None:
    TOKENIZER.run(recipe(), run, QUIET)
    assert sorted(path.name for path in run.tokenizer.iterdir()) == [
        "spiece.model", "stats.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    stats = json.loads((run.tokenizer / "stats.json").read_text("utf-8"))
    encoder, texts = Encoder.open(run.tokenizer), documents(10, seed=1000)
    tokens = sum(len(encoder.encode(text)) for text in texts)
    characters = sum(map(len, texts))
    assert (stats["vocab_size"], stats["split"], stats["tokens"]) == (500, "valid", tokens)
    assert stats["characters_per_token"] == pytest.approx(characters / tokens, abs=1e-6)
    assert stats["unknown_share"] == 0
    assert 0 < stats["vocabulary_use"] < 1
    lengths = [len(piece) for piece in stats["longest_pieces"]]
    assert lengths == sorted(lengths, reverse=True)
    assert str(run.root) not in "".join(
        path.read_text("utf-8", errors="replace") for path in run.tokenizer.iterdir()
    )


@pytest.mark.parametrize("form", ["folder", "bare model", "folder with another name"])
def test_a_tokenizer_from_elsewhere_keeps_its_ids(
    run: RunDirectory, tmp_path: Path, folders: Callable[[str], Path], form: str
) -> None:
    origin = folders("original-published")
    raw = (origin / "spiece.model").read_bytes()
    if form != "folder":
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "my.model").write_bytes(raw)
        origin = tmp_path / "other"
        origin = origin / "my.model" if form == "bare model" else origin
    settings = Tokenizer(from_=str(origin))
    TOKENIZER.run(recipe(settings), run, QUIET)
    assert (run.tokenizer / "spiece.model").read_bytes() == raw
    assert (run.tokenizer / "stats.json").exists()
    (name,) = {"folder": ["spiece.model"]}.get(form, ["my.model"])
    assert read(settings) == {f"tokenizer {name}": hashlib.sha256(raw).hexdigest()}


def read(settings: Tokenizer) -> dict[str, str]:
    """What the stage takes from outside its run."""
    return TOKENIZER.outside(recipe(settings), files.sha256, {})


def test_a_foreign_model_with_other_special_ids_is_refused(
    run: RunDirectory, tmp_path: Path
) -> None:
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(documents(50)), model_writer=writer, vocab_size=250, minloglevel=2
    )
    (tmp_path / "t5.model").write_bytes(writer.getvalue())
    with pytest.raises(DataError, match=r"ids 0 to 3 are <unk>, <s>, </s>, .* are needed"):
        TOKENIZER.run(recipe(Tokenizer(from_=str(tmp_path / "t5.model"))), run, QUIET)


@pytest.mark.parametrize(
    "options",
    [
        {"add_dummy_prefix": True, "remove_extra_whitespaces": False},
        {"add_dummy_prefix": False, "remove_extra_whitespaces": True},
        {"normalization_rule_name": "nmt_nfkc", "add_dummy_prefix": False},
        {"add_dummy_prefix": False, "remove_extra_whitespaces": False},  # scores as trained
    ],
)
def test_a_model_whose_byte_pieces_transformers_would_not_decode_is_refused(
    run: RunDirectory, tmp_path: Path, options: dict[str, Any]
) -> None:
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(documents(50)), model_writer=writer, vocab_size=500, minloglevel=2,
        byte_fallback=True, pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="<pad>", **options,
    )  # fmt: skip
    (tmp_path / "bytes.model").write_bytes(writer.getvalue())
    with pytest.raises(DataError, match=r"bytes\.model: this model spells characters as bytes"):
        TOKENIZER.run(recipe(Tokenizer(from_=str(tmp_path / "bytes.model"))), run, QUIET)
    with pytest.raises(DataError, match=r"bytes\.model: this model spells characters as bytes"):
        TOKENIZER.check(recipe(Tokenizer(from_=str(tmp_path / "bytes.model"))))


def test_a_foreign_model_of_another_size_than_the_recipe_s_is_refused(
    run: RunDirectory, folders: Callable[[str], Path]
) -> None:
    origin = str(folders("default"))
    TOKENIZER.run(recipe(Tokenizer(from_=origin, vocab_size=500)), run, QUIET)
    with pytest.raises(DataError, match=r"has 500 pieces, but \[tokenizer\] vocab_size is 8"):
        TOKENIZER.run(recipe(Tokenizer(from_=origin, vocab_size=8000)), run, QUIET)


def test_a_folder_without_a_model_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="a SentencePiece model"):
        TOKENIZER.run(recipe(Tokenizer(from_=str(tmp_path / "empty"))), run, QUIET)


def test_a_place_that_is_nothing_is_refused(run: RunDirectory) -> None:
    with pytest.raises(UsageError, match="not a run directory, tokenizer folder"):
        TOKENIZER.run(recipe(Tokenizer(from_="/no/such/place")), run, QUIET)
    with pytest.raises(UsageError, match="not a run directory, tokenizer folder"):
        read(Tokenizer(from_="/no/such/place"))


def test_a_hub_that_does_not_answer_is_a_storage_error(run: RunDirectory) -> None:
    settings = Tokenizer(from_="jagpt-tests/no-such-model", revision="main")
    assert read(settings) == {"tokenizer hub": "jagpt-tests/no-such-model@main"}
    with pytest.raises(StorageError, match="jagpt-tests/no-such-model at revision main"):
        TOKENIZER.run(recipe(settings), run, QUIET)


def test_a_hub_id_is_fetched_at_its_revision(
    run: RunDirectory, folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def snapshot_download(repository: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, "spiece.model" in allow_patterns))
        return str(folders("default"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    settings = Tokenizer(from_="org/name", revision="abc")
    assert imported.model_file(settings) == folders("default") / "spiece.model"
    assert asked == [("org/name", "abc", True)]
