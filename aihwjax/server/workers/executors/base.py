"""What an executor has to do: start a job's process, say whether it has ended, stop it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class Task:
    """A job as an executor sees it."""

    name: str
    folder: Path
    """Folder in which :mod:`aihwjax.server.workers.job` runs."""
    log: Path
    """File to which its output is appended."""
    device: str
    """``cpu``, ``gpu`` or ``tpu``: where the user would like to have it."""
    dataset_root: Path | None
    compiled_dir: Path
    """Folder of compiled programs, which jobs share."""
    memory_bytes: int
    """Most bytes of memory that it may have resident."""


class Ended(NamedTuple):
    """How a job's process ended."""

    code: int
    """Exit code; negative: the signal that killed it."""
    reason: str | None = None
    """Why the executor ended it, if it did."""


class Executor(Protocol):
    """Runs jobs somewhere."""

    def start(self, task: Task) -> Any:
        """Start a job and return what the other methods take."""
        ...

    def poll(self, run: Any) -> Ended | None:
        """Return how a job ended, ``None`` while it runs."""
        ...

    def stop(self, run: Any) -> None:
        """End a job and wait until it can write nothing any more; it may have ended already."""
        ...
