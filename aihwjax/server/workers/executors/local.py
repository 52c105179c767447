"""Jobs as processes on this machine: a crash, or too much memory, ends only the job."""

from __future__ import annotations

from aihwjax.server.workers.executors.base import Ended, Task
from aihwjax.server.workers.executors.process import Process


class LocalExecutor:
    """Starts a process for each job. Use it unless one machine is too small."""

    def start(self, task: Task) -> Process:
        """Start a job.

        Args:
            task: The job.
        """
        return Process(task)

    def poll(self, run: Process) -> Ended | None:
        """Return how a job ended, ``None`` while it runs.

        Args:
            run: From :meth:`start`.
        """
        return run.poll()

    def stop(self, run: Process) -> None:
        """End a job and wait until it has ended.

        Args:
            run: From :meth:`start`.
        """
        run.stop()
