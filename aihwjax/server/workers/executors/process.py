"""A job's process on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from aihwjax.server.settings import GIB
from aihwjax.server.workers.executors.base import Ended, Task

_SECRET = ("AIHWJAX_COMPOSER_", "AIHWJAX_API_", "AIHW_API_")


class Process:
    """A job's process, which ends when the process that started it does."""

    def __init__(self, task: Task) -> None:
        """Start it.

        Args:
            task: The job.
        """
        self._task = task
        command = [sys.executable, "-m", "aihwjax.server.workers.job", str(task.folder)]
        if task.dataset_root is not None:
            command += ["--dataset-root", str(task.dataset_root)]
        with task.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=_environment(task)
            )

    def poll(self) -> Ended | None:
        """Return how it ended, ``None`` while it runs; end it if it has more memory than allowed."""
        code = self._process.poll()
        if code is not None:
            return Ended(code)
        if resident(self._process.pid) > self._task.memory_bytes:
            self.stop()
            most = f"{self._task.memory_bytes / GIB:.3g} GiB"
            return Ended(-9, f"it needs more memory than the {most} that are allowed")
        return None

    def stop(self) -> None:
        """End it and wait until it has ended."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has resident, 0 where the system does not tell.

    Args:
        pid: Its number.
    """
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _environment(task: Task) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET)}
    defaults = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # so that jobs can share an accelerator
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(task.compiled_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(task.folder),  # so that nothing stays elsewhere when it is killed
    }
    if task.device == "cpu":
        settings["JAX_PLATFORMS"] = "cpu"
    return {**defaults, **kept, **settings}
