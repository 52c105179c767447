"""Jobs as tasks of a Ray cluster (extra ``ray``).

The folder of the composer has to be on a file system that all nodes of the cluster share, under
the same path. Ray places the tasks; that a lost one is tried again is left to the lease.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from aihwjax.errors import ConfigError, MissingExtraError
from aihwjax.server.workers.executors.base import Ended, Task
from aihwjax.server.workers.executors.process import Process

_POLL_SECONDS = 0.2
_STOP_SECONDS = 30.0


class RayExecutor:
    """Runs each job as a task, with a processor and, if the job asks for it, a GPU of the cluster."""

    def __init__(self, address: str = "auto") -> None:
        """Connect to a cluster.

        Args:
            address: Of the cluster, as ``ray.init`` takes it.

        Raises:
            MissingExtraError: If Ray is not installed.
            ConfigError: If there is no such cluster.
        """
        try:
            import ray
        except ImportError:
            raise MissingExtraError("the executor ray needs: pip install 'aihwjax[ray]'") from None
        self._ray: Any = ray
        try:
            if not ray.is_initialized():
                ray.init(address=address, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no Ray cluster at {address!r}: {' '.join(str(error).split())[:200]}") from None
        self._run = ray.remote(run)

    def start(self, task: Task) -> Any:
        """Hand a job to the cluster.

        Args:
            task: The job.
        """
        has_gpus = task.device == "gpu" and self._ray.cluster_resources().get("GPU", 0) >= 1
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1 if has_gpus else 0, "max_retries": 0}
        return task, self._run.options(name=f"aihwjax {task.name}", **options).remote(task)

    def poll(self, run: Any) -> Ended | None:
        """Return how a job ended, ``None`` while it runs.

        Args:
            run: From :meth:`start`.
        """
        _, reference = run
        ready, _ = self._ray.wait([reference], timeout=0)
        if not ready:
            return None
        try:
            return Ended(*self._ray.get(reference))
        except Exception as error:  # whatever happened to the task, its node or Ray itself
            return Ended(-1, " ".join(str(error).split())[:500])

    def stop(self, run: Any) -> None:
        """End a job and wait until it has ended; its node, if it is lost, for half a minute.

        Args:
            run: From :meth:`start`.
        """
        task, reference = run
        if self._ray.wait([reference], timeout=0)[0]:
            return
        with contextlib.suppress(FileNotFoundError):  # the folder is gone, which ends the task as well
            _stopped(task).touch()
        self._ray.cancel(reference, force=False)  # if it is not running yet
        self._ray.wait([reference], timeout=_STOP_SECONDS)


def run(task: Task) -> tuple[int, str | None]:
    """Run a job on the node where this is called; return exit code and reason.

    Args:
        task: The job.
    """
    if not Path(task.folder, "input.tar").exists():
        return 1, f"the folder {task.folder} is not there on a node: put it on a file system that all nodes share"
    process = Process(task)
    try:
        while (ended := process.poll()) is None:
            if _stopped(task).exists():
                return -9, "stopped"
            time.sleep(_POLL_SECONDS)
        return ended.code, ended.reason
    finally:
        process.stop()


def _stopped(task: Task) -> Path:
    """The file that tells a task to stop; each attempt has its own."""
    return task.folder / f".stop-{task.log.stem}"
