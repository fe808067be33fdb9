"""The same jobs on a Ray cluster: the same bytes, and a node's end costs only what it was doing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from dumps import contents, export, make_corpus, make_recipe, multistream, page

from jagpt.errors import MissingExtraError
from jagpt.recipe import Execution
from jagpt.workers import executor_of

PAGES = [page(n) for n in range(1, 90)]
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed (jagpt[ray])"
)


def on_ray(folder: Path, dump: str, *, kill: bool) -> tuple[dict[str, bytes], list[list[str]]]:
    """The corpus that two nodes make, and which part began on which node."""
    (folder / "asked.json").write_text(json.dumps({"dump": dump, "kill": kill}))
    script = Path(__file__).with_name("ray_cluster.py")
    environment = {
        **os.environ,
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(script.parent), *sys.path])
    done = subprocess.run([sys.executable, script, folder], env=environment, timeout=300,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    began = [line.split() for line in (folder / "began.txt").read_text().splitlines()]
    return contents(folder / "ray" / "corpus"), began


@needs_ray
def test_a_cluster_makes_the_same_bytes(tmp_path: Path) -> None:
    dump = "t.xml"
    (tmp_path / dump).write_bytes(export(PAGES))
    made, _ = on_ray(tmp_path, dump, kill=False)
    local = make_corpus(tmp_path / "local", make_recipe({"path": tmp_path / dump}))
    assert made == contents(local)


@needs_ray
def test_a_killed_node_costs_only_its_own_jobs(tmp_path: Path) -> None:
    dump = "t-multistream.xml.bz2"
    (tmp_path / dump).write_bytes(multistream(PAGES))
    made, began = on_ray(tmp_path, dump, kill=True)
    local = make_corpus(tmp_path / "local", make_recipe({"path": tmp_path / dump}))
    assert made == contents(local)
    killed = (tmp_path / "killed.txt").read_text()
    assert len({node for _, node in began}) == 2
    again = {part for part, count in Counter(part for part, _ in began).items() if count > 1}
    assert len(again) == 1
    (hung,) = again
    assert next(node for part, node in began if part == hung) == killed


def test_local_processes_need_no_cluster() -> None:
    assert executor_of(Execution(workers=3)) == (3, None)


def test_a_missing_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"\[ray\]"):
        executor_of(Execution(executor="ray"))
