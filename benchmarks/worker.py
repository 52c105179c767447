"""A process that answers one JSON line for each JSON line it reads, and prepares and measures networks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.measure import Sample


class WorkerError(RuntimeError):
    """A process could not be started, died, or answered an error."""


class Worker:
    """A running process; use as a context manager."""

    def __init__(self, command: Sequence[str | Path], env: Mapping[str, str], who: str) -> None:
        """Start the process and wait until it is ready.

        Args:
            command: Program and arguments.
            env: Its environment.
            who: What errors call it.

        Raises:
            WorkerError: It ended or answered an error.
        """
        self._who = who
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=dict(env)
        )
        self.greeting = self._receive()
        """What the process said when it was ready."""

    def __enter__(self) -> Self:
        """Return the running worker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    def close(self) -> None:
        """End the process; closing twice is fine."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    def ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            WorkerError: The process is gone or answered an error.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
        except BrokenPipeError as error:
            raise WorkerError(f"{self._who}'s process is gone") from error
        return self._receive()

    def measure(self, name: str, epochs: int) -> Sample:
        """Let the network called ``name`` go on for some epochs.

        Raises:
            WorkerError: It failed.
        """
        return Sample(**self.ask({"op": "measure", "name": name, "epochs": epochs}))

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self._who}'s process ended with status {self._process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"{self._who} answered {reply['error']}")
        return reply
