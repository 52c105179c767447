"""The worker processes of a server: started, started again when they die, stopped with it."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
import time
from typing import Self

from aihwjax.server.settings import ServerSettings

_LOOK_SECONDS = 0.5
_QUICK_SECONDS = 10.0
_MOST_PAUSE = 60.0
_STOP_SECONDS = 20.0
_log = logging.getLogger(__name__)


class Supervisor:
    """A context in which a server's workers run; if the server is killed, they stop by themselves."""

    def __init__(self, settings: ServerSettings) -> None:
        """Prepare.

        Args:
            settings: Say how many workers there are.
        """
        self._settings = settings
        self._places = [_Place(settings) for _ in range(settings.workers)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="workers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        for place in self._places:
            place.let_go()
        for place in self._places:
            place.end()

    def _look(self) -> None:
        while not self._stop.is_set():
            for place in self._places:
                place.look()
            self._stop.wait(_LOOK_SECONDS)


class _Place:
    """A worker's process, and the ones that follow it."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._next = 0.0
        self._pause = 0.0

    def look(self) -> None:
        """Start a process if there is none; one that dies again and again, later and later."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            _log.warning("a worker ended with code %s", self._process.returncode)
            quick = now - self._started < _QUICK_SECONDS
            self._pause = min(_MOST_PAUSE, max(1.0, 2 * self._pause)) if quick else 0.0
            self._next = now + self._pause
            self.let_go()
            self._process = None
        if self._process is None and now >= self._next:
            self._started = now
            command = [sys.executable, "-m", "aihwjax.server.workers.worker"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
            with contextlib.suppress(OSError):
                assert self._process.stdin is not None
                self._process.stdin.write(self._settings.to_json().encode() + b"\n")
                self._process.stdin.flush()

    def let_go(self) -> None:
        """Tell the process to stop."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def end(self) -> None:
        """Wait until the process has stopped; kill it if that takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
