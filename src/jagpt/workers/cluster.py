"""Where jobs run: in processes of this machine, or on a Ray cluster.

On Ray the jobs are the same, and so are the bytes: each job reads its input and writes its part
itself, so all nodes must see both under the same paths. A job whose node is lost runs again on
another one.
https://docs.ray.io/en/latest/ray-core/fault_tolerance/tasks.html
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from jagpt import safepath
from jagpt.errors import JagptError, MissingExtraError, StorageError
from jagpt.machines import available_cores
from jagpt.recipe import Execution
from jagpt.workers.pool import lost_worker

RETRIES = 5
"""How often a job may lose its node (or its process, by running out of memory)."""

Result = TypeVar("Result")


def check(execution: Execution) -> None:
    """`MissingExtraError` if the recipe asks for a cluster and ray is not installed."""
    if execution.executor == "ray":
        _import_ray()


def executor_of(execution: Execution) -> tuple[int, Executor | None]:
    """How many jobs to run at a time, and the cluster that the recipe asks for, connected; None
    if they run in processes of this machine.

    Raises `MissingExtraError` without ray, `StorageError` if the cluster does not answer.
    """
    if execution.executor == "local":
        return execution.workers or available_cores(), None
    cluster = RayExecutor(execution.ray_address, execution.workers)
    return execution.workers or cluster.cores, cluster


class RayExecutor(Executor):
    """Runs jobs on the Ray cluster at `address`, or on one of its own on this machine, with
    `workers` processes (by default one per core). Shutting it down leaves the cluster."""

    def __init__(self, address: str | None, workers: int | None) -> None:
        self._ray = _import_ray()
        self._connect(address, workers)
        self._task = self._ray.remote(num_cpus=1, max_retries=RETRIES)(_run)
        self._running: set[Any] = set()

    @property
    def cores(self) -> int:
        """Jobs that the cluster can run at a time."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def submit(  # type: ignore[override]  # jobs are single arguments here
        self, function: Callable[[Any], Result], job: Any
    ) -> Future[Result]:
        """Run `function(job)` on some node."""
        reference = self._task.remote(function, job)
        self._running.add(reference)
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()
        reference.future().add_done_callback(partial(self._deliver, reference, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; jobs that still run there are abandoned."""
        if cancel_futures:
            for reference in list(self._running):
                self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _connect(self, address: str | None, workers: int | None) -> None:
        options: dict[str, Any] = {"address": address}
        # else the current folder stands first on the path of every worker
        options["job_config"] = self._ray.job_config.JobConfig(_client_job=True)
        if address is None:
            options |= {"address": "local", "num_cpus": workers, "include_dashboard": False}
            # what is left of the dashboard asks cloud providers where it runs, telemetry or none
            self._ray._private.services.start_api_server = lambda *_, **__: (None, None)
        try:
            with safepath.inherited():
                self._ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise StorageError(
                f"Ray at {address or 'this machine'} does not answer ({error}); start it with "
                "`ray start --head`, or set execution.ray_address (--set "
                "execution.executor=local works without)"
            ) from None

    def _deliver(self, reference: Any, future: Future[Result], done: Future[Any]) -> None:
        self._running.discard(reference)
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(self._own_error(error))

    def _own_error(self, error: BaseException) -> BaseException:
        """The job's own exception, unwrapped from Ray's, or what Ray could not fix by retrying."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, JagptError):
            return cause
        if isinstance(error, self._ray.exceptions.RayTaskError):
            return cause if isinstance(cause, Exception) else error
        return lost_worker()


def _run(function: Callable[[Any], Result], job: Any) -> Result:
    return function(job)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingExtraError('executor = "ray"', "ray") from None
    return ray
