"""Checking archives in other processes, which may crash, hang or run out of memory."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from aihwjax.server.core.checker import IDLE_SECONDS
from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import GIB, ServerSettings

_AT_ONCE = 2
_CHECKS = 500  # of one process
_WAIT_SECONDS = 60.0
_LIMIT_SECONDS = 60.0
_MODULE = "aihwjax.server.core.checker"


class Checker:
    """Processes that check archives, at most two; started when needed, stopped when idle."""

    def __init__(self, settings: ServerSettings, *, module: str = _MODULE, seconds: float = _LIMIT_SECONDS) -> None:
        """Prepare.

        Args:
            settings: Have the limits.
            module: What the processes run.
            seconds: How long a check may take.
        """
        self._settings = settings
        self._module = module
        self._seconds = seconds
        self._free: list[_Process] = []
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._lock = threading.Lock()

    def check(self, path: Path) -> dict[str, Any]:
        """Return what is in an archive.

        Args:
            path: The archive, on this machine.

        Raises:
            ServiceError: 422 with the field that is wrong, 503 if too many are being checked.
        """
        if not self._slots.acquire(timeout=_WAIT_SECONDS):
            raise ServiceError(503, "busy", "too many experiments are being checked, try again", retry_after=10)
        try:
            answer = self._ask({"path": str(path), "max_parameters": self._settings.max_parameter_bytes})
        finally:
            self._slots.release()
        if not answer.get("ok"):
            message = " ".join(str(answer.get("message") or "the experiment is not allowed").split())
            raise ServiceError(422, "bad_experiment", message, answer.get("field"))
        most = self._settings.max_epochs
        swept = "longest" in answer  # of a sweep, which counts networks
        for count, what, field in (
            (answer["epochs"], "networks" if swept else "epochs", "sweep" if swept else "experiment.epochs"),
            (answer.get("longest", 0), "epochs", "sweep"),
        ):
            if count > most:
                raise ServiceError(422, "bad_experiment", f"{what}={count} is not allowed: give at most {most}", field)
        return {name: value for name, value in answer.items() if name != "ok"}

    def close(self) -> None:
        """Stop the processes."""
        with self._lock:
            while self._free:
                self._free.pop().stop()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._take()
        used = process.asked > 0
        try:
            answer = process.ask(question, self._seconds)
        except (_EndedError, TimeoutError) as error:
            process.stop()
            if used and isinstance(error, _EndedError):  # not necessarily because of this archive
                return self._ask(question)
            reason = "took too long" if isinstance(error, TimeoutError) else "ended the process that checks it"
            raise ServiceError(422, "bad_experiment", f"the experiment cannot be checked: it {reason}") from None
        except BaseException:
            process.stop()
            raise
        if process.asked < _CHECKS:
            with self._lock:
                self._free.append(process)
        else:
            process.stop()
        return answer

    def _take(self) -> _Process:
        with self._lock:
            while self._free:
                process = self._free.pop()
                if process.fresh():
                    return process
                process.stop()
        return _Process(self._module, 4 * GIB + 4 * self._settings.max_parameter_bytes)


class _EndedError(Exception):
    """The process has ended."""


class _Process:
    """One process."""

    def __init__(self, module: str, most_bytes: int) -> None:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "NPROC": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(most_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in: IO[bytes] = self._process.stdin
        self._out: IO[bytes] = self._process.stdout
        self._used = time.monotonic()
        self.asked = 0

    def fresh(self) -> bool:
        """Whether it is there and will not end out of boredom just now."""
        return self._process.poll() is None and time.monotonic() - self._used < IDLE_SECONDS / 2

    def ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self.asked += 1
        try:
            self._in.write(json.dumps(question).encode() + b"\n")
            self._in.flush()
        except OSError:
            raise _EndedError from None
        try:
            answer = json.loads(self._line(seconds))
        except ValueError:
            raise _EndedError from None
        self._used = time.monotonic()
        return answer

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        _quietly(self._in.close)
        _quietly(self._out.close)

    def _line(self, seconds: float) -> bytes:
        end, line = time.monotonic() + seconds, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError
                piece = os.read(self._out.fileno(), 1 << 16)
                if not piece:
                    raise _EndedError
                line += piece
        return line


def _quietly(call: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        call()
