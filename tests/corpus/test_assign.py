"""Assignment as jobs: the same bytes for any number of workers, and a killed job loses nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from dumps import article_text, contents, dropped, export, make_corpus, make_recipe, page

from jagpt import files
from jagpt.corpus import assign, convert, duplicates, shards, stage
from jagpt.corpus.writing import ShardJob
from jagpt.errors import JagptError
from jagpt.progress import QUIET

PAGES = [
    *(page(n) for n in range(1, 40)),
    page(40, article_text(1), title="同文"),
    *(page(n, article_text(n % 7, 12) + f"第{n}の加筆。") for n in range(41, 60)),
]
HASH: dict[str, Any] = {"drop_overlap": 0.3, "exclude.titles": ["項目3"]}
LINES = {"split": "first-lines", "valid_lines": 37, "test_lines": 33, "drop_overlap": 0.4}


@pytest.fixture
def dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dump of many parts, shards and shares."""
    monkeypatch.setattr(convert, "PART_PAGES", 5)
    monkeypatch.setattr(shards, "SHARD_BYTES", 1_500)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 500)
    monkeypatch.setattr(duplicates, "SHARE_TEXTS", 20)
    path = tmp_path / "dump.xml"
    path.write_bytes(export(PAGES))
    return path


class Made:
    """The parts of a corpus, to be assigned more than once."""

    def __init__(self, root: Path, dump: Path, **settings: Any) -> None:
        self.root, self.corpus = root, make_recipe({"path": dump}, **settings).corpus
        self.sources = convert.convert(self.corpus, root / "parts", 1, QUIET)

    def assigned(self, name: str, workers: int) -> Path:
        directory = self.root / name
        assign.assign(self.corpus, self.sources, self.root / "parts", directory, QUIET, workers)
        return directory


@pytest.mark.parametrize(
    ("settings", "counts"), [(HASH, (1, 2, 3)), (LINES, (1, 2))], ids=["hash", "first-lines"]
)
def test_any_number_of_workers_gives_the_same_bytes(
    tmp_path: Path, dump: Path, settings: dict[str, Any], counts: tuple[int, ...]
) -> None:
    made = Made(tmp_path, dump, **settings)
    one, *more = (made.assigned(str(workers), workers) for workers in counts)
    assert {"同文": "duplicate"}.items() <= dropped(one).items()
    assert any(reason.startswith("overlaps") for reason in dropped(one).values())
    assert len(list(one.glob("train-*.parquet"))) > 1
    assert all(contents(other) == contents(one) for other in more)


def test_near_duplicates_too(tmp_path: Path, dump: Path) -> None:
    pytest.importorskip("rensa", reason="needs the extra `dedup`")
    made = Made(tmp_path, dump, drop_near_duplicates=0.8)
    one, two = (made.assigned(str(workers), workers) for workers in (1, 2))
    assert any(reason.startswith("near") for reason in dropped(one).values())
    assert contents(two) == contents(one)


def test_a_killed_job_loses_nothing(
    tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(tmp_path, dump, **HASH)
    with monkeypatch.context() as patched:
        patched.setattr(assign, "_perform", _die_at_the_second_shard)
        with pytest.raises(JagptError, match="a worker process died"):
            made.assigned("run", 2)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("train-*.parquet")}
    assert kept
    files.remove_leftovers(tmp_path / "run")  # as the stage begins
    assert contents(made.assigned("run", 1)) == contents(made.assigned("whole", 1))
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())


def test_workers_are_asked_where_there_is_enough_to_do(
    tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def noted(*given: Any) -> None:
        asked.append(given[5])
        whole(*given[:5])

    whole = assign.assign
    monkeypatch.setattr(assign, "assign", noted)
    make_corpus(tmp_path / "small", make_recipe({"path": dump}, workers=1))
    monkeypatch.setattr(stage, "LEAST_BYTES", 0)
    monkeypatch.setattr(
        stage,
        "_convert",
        lambda *_: convert.convert(  # in this process
            make_recipe({"path": dump}).corpus, tmp_path / "large" / "corpus" / "parts", 1, QUIET
        ),
    )
    make_corpus(tmp_path / "large", make_recipe({"path": dump}, workers=7))
    assert asked == [1, 7]


def _die_at_the_second_shard(job: Any) -> Any:
    if isinstance(job, ShardJob) and job.target.name == "train-00001.parquet":
        while not job.target.with_name("train-00000.parquet").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return job.perform()
