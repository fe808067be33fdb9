"""The stage: corpus shards to token shards."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizer.japanese import documents, recipe, write_corpus, write_shard

from jagpt import files
from jagpt.errors import DataError, MissingExtraError, NewerVersionError
from jagpt.progress import QUIET
from jagpt.recipe import Execution, Tokenizer, Tokens
from jagpt.rundir import RunDirectory
from jagpt.stages import TOKENIZER, TOKENS
from jagpt.tokenizer.encoder import Encoder
from jagpt.tokens import encoding
from jagpt.tokens.dataset import TokenSplit


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A corpus and its tokenizer."""
    made = RunDirectory(tmp_path_factory.mktemp("made"))
    write_corpus(made.corpus, train=90, shards=3)
    TOKENIZER.run(recipe(), made, QUIET)
    return made


@pytest.fixture
def run(made: RunDirectory, tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path, {"corpus": made.corpus, "tokenizer": made.tokenizer})


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_each_document_is_encoded_whole_and_ended(run: RunDirectory) -> None:
    encoding.run(recipe(), run, QUIET)
    encoder, split = Encoder.open(run.tokenizer), TokenSplit.open(run.tokens, "train")
    texts = [text for number in range(3) for text in documents(30, seed=number)]
    assert split.n_documents == len(texts)
    assert (split.vocab_size, split.end_id) == (500, 3)
    assert split.tokenizer == encoder.fingerprint
    for number, text in enumerate(texts):
        assert split.document(number).tolist() == [*encoder.encode(text), 3]
        assert split.document_id(number) == f"sample:train{number // 30}-{number % 30}"
    assert split.n_characters == sum(map(len, texts))
    assert split.n_bytes == sum(len(text.encode()) for text in texts)
    split.check()


@pytest.mark.parametrize("name", ["index.json", "train-00001.idx"])
def test_what_a_newer_jagpt_wrote_is_told_before_it_is_written_over(
    run: RunDirectory, name: str
) -> None:
    encoding.run(recipe(), run, QUIET)
    (run.tokens / "valid-00000.idx").write_bytes(b"damaged")
    TOKENS.check_kept(run)
    path = run.tokens / name
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"version": 1', b'"version": 2').replace(b"idx\1", b"idx\2"))
    assert path.read_bytes() != raw
    with pytest.raises(NewerVersionError, match=name):
        TOKENS.check_kept(run)


def test_the_originals_way_joins_lines_with_nothing_between(run: RunDirectory) -> None:
    encoding.run(recipe(tokens=Tokens(end_token=False, by_line=True)), run, QUIET)
    encoder, split = Encoder.open(run.tokenizer), TokenSplit.open(run.tokens, "test")
    for number, text in enumerate(documents(10, seed=1001)):
        lines = [encoder.encode(line) for line in text.split("\n")]
        assert split.document(number).tolist() == [token for line in lines for token in line]


def test_shards_go_by_the_corpus_and_the_index_names_them(run: RunDirectory) -> None:
    encoding.run(recipe(), run, QUIET)
    index = json.loads((run.tokens / "index.json").read_text())
    assert {split: len(shards) for split, shards in index["splits"].items()} == {
        "train": 3, "valid": 1, "test": 1,
    }  # fmt: skip
    assert (index["dtype"], index["vocab_size"], index["end_id"]) == ("<u2", 500, 3)


def test_bytes_are_the_same_whatever_the_workers(run: RunDirectory, tmp_path: Path) -> None:
    encoding.run(recipe(), run, QUIET)
    parallel = RunDirectory(tmp_path / "parallel", run.shared)
    encoding.run(recipe(execution=Execution(workers=2)), parallel, QUIET)
    assert contents(parallel.tokens) == contents(run.tokens)


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed (jagpt[ray])"
)
def test_a_cluster_makes_the_same_bytes(
    run: RunDirectory, made: RunDirectory, tmp_path: Path
) -> None:
    encoding.run(recipe(), run, QUIET)
    (made.root / "recipe.toml").write_text(recipe().to_toml(), "utf-8")
    script = Path(__file__).with_name("ray_tokens.py")
    environment = {
        **os.environ,
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, script, made.root, tmp_path / "ray"]
    done = subprocess.run(command, env=environment, timeout=300, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert contents(tmp_path / "ray" / "tokens") == contents(run.tokens)


def test_what_is_finished_needs_no_cluster(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding.run(recipe(), run, QUIET)
    monkeypatch.setitem(sys.modules, "ray", None)
    on_ray = recipe(execution=Execution(executor="ray"))
    encoding.run(on_ray, run, QUIET)
    (run.tokens / "train-00001.idx").unlink()
    with pytest.raises(MissingExtraError, match=r"\[ray\]"):
        encoding.run(on_ray, run, QUIET)


def test_a_run_that_was_cut_off_goes_on_with_the_shards_it_has(run: RunDirectory) -> None:
    def fail(operation: str, path: Path) -> None:
        if operation == "rename" and path.name == "train-00002.idx":
            raise KeyboardInterrupt

    with files.observed(fail), pytest.raises(KeyboardInterrupt):
        encoding.run(recipe(), run, QUIET)
    assert not (run.tokens / "train-00002.idx").exists()
    written: list[str] = []
    with files.observed(lambda operation, path: written.append(path.name)):
        encoding.run(recipe(), run, QUIET)
    assert "train-00000.bin" not in written
    assert "train-00002.bin" in written
    whole = contents(run.tokens)
    files.remove(run.tokens)
    encoding.run(recipe(), run, QUIET)
    assert contents(run.tokens) == whole


def test_no_place_or_machine_enters_the_files(run: RunDirectory) -> None:
    encoding.run(recipe(), run, QUIET)
    for name, content in contents(run.tokens).items():
        assert str(run.root).encode() not in content, name


def test_a_damaged_corpus_shard_is_named(made: RunDirectory, tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", train=4, shards=2)
    damaged = tmp_path / "corpus" / "train-00001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    run = RunDirectory(tmp_path, {"tokenizer": made.tokenizer})
    with pytest.raises(DataError, match=r"train-00001\.parquet"):
        encoding.run(recipe(), run, QUIET)


def test_a_shared_tokenizer_of_another_size_than_the_recipe_s_is_refused(
    made: RunDirectory, run: RunDirectory
) -> None:
    settings = Tokenizer(from_=str(made.root), vocab_size=8000)
    with pytest.raises(DataError, match=r"has 500 pieces, but .* is 8,000"):
        encoding.run(recipe(settings), run, QUIET)
    assert not run.tokens.exists()


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "corpus", "train", 0, ["京都"])
    with pytest.raises(DataError, match=r"spiece\.model"):
        encoding.run(recipe(), RunDirectory(tmp_path), QUIET)
