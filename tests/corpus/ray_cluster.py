"""Run by `test_executors.py` in a process of its own: Ray leaves sockets and files open."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from dumps import make_corpus, make_recipe
from ray.cluster_utils import Cluster

from jagpt.corpus import convert, stage, streams
from jagpt.corpus.jobs import PartJob, RangeJob
from jagpt.corpus.parts import RangeFacts
from jagpt.recipe import Recipe


def main(folder: Path) -> None:
    """Make the corpus of the dump in `folder` on two nodes; kill one where it is asked for."""
    asked = json.loads((folder / "asked.json").read_text())
    streams.RANGE_BYTES = 800
    stage.LEAST_BYTES = 0  # the cluster assigns, too
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    doomed = second.node_id if asked["kill"] else None
    convert.make_part = _NotedPart(folder, doomed)  # type: ignore[assignment]
    if asked["kill"]:
        threading.Thread(target=_kill, args=(cluster, second, folder), daemon=True).start()
    plain = make_recipe({"path": folder / asked["dump"]}, workers=2)
    execution = {"executor": "ray", "ray_address": cluster.address, "workers": 2}
    recipe = Recipe.model_validate({**plain.model_dump(by_alias=True), "execution": execution})
    try:
        make_corpus(folder / "ray", recipe)
    finally:
        ray.shutdown()
        cluster.shutdown()


class _NotedPart:
    """`make_part` that notes where each job begins. On the doomed node it hangs in its second job;
    the other node waits for that with its own second one."""

    def __init__(self, folder: Path, doomed: str | None) -> None:
        self.folder = folder
        self.doomed = doomed

    def __call__(self, job: PartJob | RangeJob) -> RangeFacts | None:
        from jagpt.corpus.jobs import make_part

        node = ray.get_runtime_context().get_node_id()
        with (self.folder / "began.txt").open("a") as log:
            log.write(f"{job.name} {node}\n")
        if self.doomed is not None and _begun(self.folder, node) > 1:
            while _begun(self.folder, self.doomed) < 2 or node == self.doomed:
                time.sleep(0.02)
        return make_part(job)


def _begun(folder: Path, node: str) -> int:
    """Jobs that the node began."""
    log = folder / "began.txt"
    return log.read_text().count(node) if log.exists() else 0


def _kill(cluster: Any, node: Any, folder: Path) -> None:
    while _begun(folder, node.node_id) < 2:
        time.sleep(0.02)
    (folder / "killed.txt").write_text(node.node_id)
    cluster.remove_node(node, allow_graceful=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
