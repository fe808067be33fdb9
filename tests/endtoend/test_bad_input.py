"""What a user can get wrong: one clear message, the design's exit code, and nothing lost."""

from __future__ import annotations

import bz2
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Process, jagpt

from jagpt import sample

from .conftest import settings

DUMP = sample.path()


def run_on(tmp_path: Path, content: bytes, **changed: str) -> subprocess.CompletedProcess[str]:
    """`jagpt run` on a dump of these bytes."""
    dump = tmp_path / "dump.xml.bz2"
    dump.write_bytes(content)
    path = f"corpus.source.path={dump}"
    arguments = ("run", "quickstart", "--run-dir", tmp_path / "run", *settings(**changed))
    return jagpt(*arguments, "--set", path)


def middle_flipped() -> bytes:
    whole = bytearray(DUMP.read_bytes())
    whole[len(whole) // 2] ^= 0x10
    return bytes(whole)


def empty_dump() -> bytes:
    xml = bz2.decompress(DUMP.read_bytes())
    head, tail = xml[: xml.index(b"<page>")], b"</mediawiki>\n"
    return bz2.compress(head + tail)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"", "empty"),
        (lambda: b"This is a text, not an archive.", "bzip2"),
        (lambda: bz2.compress("これはXMLではない。".encode()), "XML"),
        (lambda: DUMP.read_bytes()[:-5_000], "cut"),
        (middle_flipped, "damaged"),
        (empty_dump, "no article"),
    ],
    ids=["empty file", "not bzip2", "not XML", "cut short", "damaged", "no pages"],
)
def test_a_bad_dump_is_named(tmp_path: Path, content: Callable[[], bytes], words: str) -> None:
    done = run_on(tmp_path, content())
    assert done.returncode == 3, done.stderr
    assert "dump.xml.bz2" in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_dump_is_named(tmp_path: Path) -> None:
    done = jagpt(
        "run", "quickstart", "--run-dir", tmp_path / "run", "--set", "corpus.source.path=no.xml"
    )
    assert done.returncode == 3
    assert "no.xml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changed", "without", "words"),
    [
        ({"tokenizer__vocab_size": "30000"}, "tokenizer", ("vocab_size",)),
        ({"corpus__test_share": "0.0"}, "corpus", ("test", "share")),
        ({"corpus__min_characters": "1000000"}, "corpus", ("left out: short 82", "[corpus]")),
        (
            {"model__n_positions": "100000", "train__block_size": "100000"},
            "checkpoints",
            ("block_size", "100,000"),
        ),
        ({"train__batch_size": "100000"}, "checkpoints", ("batch_size",)),
    ],
)
def test_a_corpus_too_small_for_the_recipe_is_told(
    copied: Callable[..., Path], changed: dict[str, str], without: str, words: tuple[str, ...]
) -> None:
    run = copied(without)
    done = jagpt("run", "quickstart", "--run-dir", run, "--yes", *settings(**changed))
    assert done.returncode == 3, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"train__batch_size": "100000"}, 3), ({"train__precision": "fp16"}, 2)],
)
def test_a_refused_training_leaves_the_finished_one_in_place(
    copied: Callable[..., Path], changed: dict[str, str], code: int
) -> None:
    run = copied()
    device = {"execution__device": "cpu"}
    done = jagpt("run", "quickstart", "--run-dir", run, "--yes", *settings(**changed, **device))
    assert done.returncode == code, done.stderr
    assert not (run / "superseded").exists()
    again = jagpt("run", "quickstart", "--run-dir", run, *settings())
    assert "all stages are done" in again.stdout


def test_a_prompt_beyond_the_context_is_refused_with_the_numbers(finished: Path) -> None:
    done = jagpt("generate", finished, "富士山" * 100)
    assert done.returncode == 2
    assert "64" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_costs_nothing_that_was_finished(copied: Callable[..., Path]) -> None:
    """Files may not grow past 100 KB: the system refuses as it does on a full disk (EFBIG)."""
    run = copied("checkpoints", "evaluation", "model", "release")
    whole = ("run", "quickstart", "--run-dir", run, *settings())
    limited = Process(*whole, file_bytes=100_000).wait()
    assert limited.returncode == 4, limited.stderr
    assert "Traceback" not in limited.stderr
    assert "the same command again" in limited.stderr
    done = jagpt(*whole)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    done = jagpt("run", "quickstart", "--run-dir", tmp_path / "closed" / "run", *settings())
    assert done.returncode == 4
    assert "permissions" in done.stderr


def test_an_altered_file_stops_the_run_and_verify(copied: Callable[..., Path]) -> None:
    run = copied()
    shard = run / "tokens" / "train-00000.bin"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    for arguments in (("run", run), ("verify", run)):
        done = jagpt(*arguments)
        assert done.returncode == 3, done.stderr
        assert "train-00000.bin" in done.stdout + done.stderr
