"""Tasks over the machines of a Ray cluster; only the caller writes to the store.

``ray start`` makes the cluster; its machines need the same toybed, torch and NumPy as the caller, whose machine belongs
to it. ``pip install toybed[cluster]`` brings Ray.
"""

from __future__ import annotations

import math
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from types import ModuleType, TracebackType
from typing import Any, Self

from toybed.errors import ToybedError
from toybed.executors import MAX_DEATHS, WORKER_ENVIRONMENT, Watch, Work
from toybed.study import code_version

POLL_SECONDS = 0.5  # between two looks at what the workers report

KNOCK_SECONDS = 10.0

Seen = tuple[int, int, float, float]
"""A report as it travels: task index, update, reward, entropy."""


class RayCluster:
    """Tasks over a Ray cluster, one core each; ``work`` must be importable by name on every machine.

    A task whose worker or machine is lost is done again elsewhere, and machines may join and leave meanwhile. Use it as
    a context manager.

    Args:
        work: what is done with a task.
        address: of the cluster, as ``ray start`` prints it ("10.0.0.1:6379"), or "auto" for the one of this machine.

    Raises:
        ToybedError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, work: Work, address: str) -> None:
        self._work, self._address = work, address
        self._ray = _import_ray()

    def __enter__(self) -> Self:
        ray = self._ray
        self._knock()
        main = threading.current_thread() is threading.main_thread()
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=self._address,
                log_to_driver=False,
                logging_level="error",
                runtime_env={"env_vars": WORKER_ENVIRONMENT},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise self._no_cluster(str(error).strip().splitlines()[0]) from error
        if main:
            signal.signal(signal.SIGTERM, terminate)  # Ray has put its own in the place of the caller's
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        self._board = ray.remote(num_cpus=0, scheduling_strategy=here)(_Board).remote()
        # Not Ray's own retries: a task that kills its workers is to be named, as with processes of one machine.
        self._task = ray.remote(num_cpus=1, max_retries=0)(_do)
        self._sweep = 0  # of which reports are: one that comes late is not taken for the next one's
        return self

    def _knock(self) -> None:
        """Where nobody answers, say so at once; Ray itself tries for minutes."""
        host, _, port = self._address.rpartition(":")
        if not (host and port.isdigit()):
            return  # "auto"
        try:
            socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
        except OSError as error:
            raise self._no_cluster(error.strerror or str(error)) from error

    def _no_cluster(self, reason: str) -> ToybedError:
        return ToybedError(
            f"cluster {self._address!r} cannot be joined ({reason}); `ray start --head` starts one and prints its "
            "address, which this machine must be able to reach"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()  # which ends what its tasks are doing

    @property
    def workers(self) -> int:
        """The cluster's cores."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 0)))

    @property
    def memory(self) -> float:
        """What each may use, in bytes: its share of what Ray counts."""
        return float(self._ray.cluster_resources().get("memory", math.inf)) / self.workers

    def run(self, tasks: Sequence[Any], watch: Watch) -> Iterator[tuple[int, Any]]:
        """Do the tasks.

        Raises:
            ToybedError: a task failed with one, or lost its worker three times.
            RuntimeError: a task failed otherwise; with its traceback.
        """
        waiting, busy, deaths = deque(range(len(tasks))), dict[Any, int](), Counter[int]()
        code = code_version()
        self._sweep += 1
        try:
            while waiting or busy:
                # One more than can run, so that none waits for its data.
                while waiting and len(busy) <= self.workers:
                    index = waiting.popleft()
                    busy[self._task.remote(self._work, tasks[index], index, code, self._board, self._sweep)] = index
                ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=POLL_SECONDS)
                self._tell(watch)
                for reference in ready:
                    index = busy.pop(reference)
                    try:
                        result = self._ray.get(reference)
                    except self._ray.exceptions.RayTaskError as error:
                        raise _reason(error) from None
                    except self._ray.exceptions.RayError as error:
                        deaths[index] += 1
                        if deaths[index] >= MAX_DEATHS:
                            raise ToybedError(
                                f"stack {index} lost its worker {MAX_DEATHS} times ({type(error).__name__}); memory "
                                "may be short on the cluster's machines"
                            ) from None
                        waiting.appendleft(index)
                        continue
                    yield index, result
            self._tell(watch)
        finally:
            for reference in busy:
                self._ray.cancel(reference, force=True)

    def _tell(self, watch: Watch) -> None:
        """Pass on what the workers have reported; nothing any more where the machine that collects it is lost."""
        try:
            reports: list[Seen] = self._ray.get(self._board.drain.remote(self._sweep))
        except self._ray.exceptions.RayError:
            return
        for seen in reports:
            watch(*seen)


class _Board:
    """Where workers leave their reports until the caller fetches them."""

    def __init__(self) -> None:
        self._reports: list[tuple[int, list[Seen]]] = []

    def tell(self, sweep: int, seen: list[Seen]) -> None:
        self._reports.append((sweep, seen))

    def drain(self, wanted: int) -> list[Seen]:
        reports, self._reports = self._reports, []
        return [each for sweep, seen in reports if sweep == wanted for each in seen]


def _do(work: Work, task: Any, index: int, code: str, board: Any, sweep: int) -> Any:
    """What a worker does: the task, with its reports gathered so that no more than two a second travel."""
    if code_version() != code:
        raise ToybedError(
            f"machine {socket.gethostname()} of the cluster has another toybed, torch or NumPy than this one; install "
            "the same on both"
        )
    gathered: list[Seen] = []
    sent = time.monotonic()

    def report(update: int, reward: float, entropy: float) -> None:
        nonlocal sent
        gathered.append((index, update, reward, entropy))
        if time.monotonic() - sent > POLL_SECONDS:
            board.tell.remote(sweep, list(gathered))
            gathered.clear()
            sent = time.monotonic()

    result = work(task, report)
    if gathered:
        board.tell.remote(sweep, gathered)
    return result


def _reason(error: Any) -> Exception:
    """A task's own error: a wrong input as it was raised, anything else with the worker's traceback."""
    return error.cause if isinstance(error.cause, ToybedError) else RuntimeError(str(error))


def _import_ray() -> ModuleType:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise ToybedError("--cluster needs Ray: pip install 'toybed[cluster]'") from error
    return ray
