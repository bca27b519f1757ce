"""A Ray cluster on this machine for ``test_cluster.py``, in a process of its own: a head and two nodes of one core.

``python tests/cluster_work.py executor FOLDER`` tries the executor there and writes what came of it to found.json.
``python tests/cluster_work.py nodes FOLDER`` writes the address to a file, kills a node at the first line on standard
input, and ends with it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import executor_work
from ray.cluster_utils import Cluster

from toybed.cluster import RayCluster
from toybed.errors import ToybedError
from toybed.executors import WORKER_ENVIRONMENT, Report


def loses_its_node(task: tuple[str, int], report: Report) -> int:
    """Task 0 says where it is and waits for the end the first time; all others just answer."""
    folder, number = Path(task[0]), task[1]
    if number == 0 and not (folder / "node").exists():
        import ray

        written(folder / "node", ray.get_runtime_context().get_node_id())
        time.sleep(600)
    return number


def make_cluster() -> Cluster:
    options = {"include_dashboard": False, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "num_cpus": 0})
    for _ in range(2):
        cluster.add_node(**options, num_cpus=1)
    return cluster


def written(path: Path, text: str) -> None:
    """Write a file that others see whole or not at all."""
    path.with_suffix(".part").write_text(text, encoding="utf-8")
    path.with_suffix(".part").rename(path)


def said(call: Callable[[], Any]) -> str:
    """The message with which a call fails."""
    try:
        call()
    except (ToybedError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def try_executor(cluster: Cluster, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    heard: list[Any] = []

    def run(work: Any, tasks: list[Any], watch: Any = lambda *_: None) -> list[Any]:
        with RayCluster(work, cluster.address) as pool:
            found["workers"] = pool.workers
            return sorted(pool.run(tasks, watch))

    found["square"] = run(executor_work.square, list(range(6)), lambda *seen: heard.append(seen))
    found["heard"] = heard
    found["environment"] = run(executor_work.environment, list(WORKER_ENVIRONMENT))
    found["dies once"] = run(executor_work.dies_once, [(f"{folder}/died", n) for n in range(4)])
    found["dies"] = said(lambda: run(executor_work.dies, [0]))
    found["fails"] = said(lambda: run(executor_work.fails, ["fine", "toybed"]))
    found["fails otherwise"] = said(lambda: run(executor_work.fails, ["other"]))
    with RayCluster(loses_its_node, cluster.address) as pool:
        running = pool.run([(folder, n) for n in range(8)], lambda *_: None)
        first = next(running)
        lost = Path(folder, "node").read_text(encoding="utf-8")
        cluster.remove_node(next(n for n in cluster.worker_nodes if n.node_id == lost), allow_graceful=False)
        found["a node lost"] = sorted([first, *running])
    return found


def main(what: str, folder: str) -> None:
    """See above."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = make_cluster()
    try:
        if what == "executor":
            written(Path(folder, "found.json"), json.dumps(try_executor(cluster, folder)))
            return
        written(Path(folder, "address"), cluster.address)
        sys.stdin.readline()
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        written(Path(folder, "killed"), "")
        sys.stdin.readline()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
