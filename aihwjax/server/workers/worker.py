"""A worker: takes one job after the other and runs it.

``python -m aihwjax.server.workers.worker`` is how a server starts one: it reads its settings as a line on
the standard input, and stops when that closes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import sys
import threading
import time

from aihwjax.errors import AihwjaxError
from aihwjax.server.core import leases
from aihwjax.server.core.leases import Claim
from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.storage.artefacts import Artefacts
from aihwjax.server.storage.store import Store
from aihwjax.server.workers.executors import Executor, executor
from aihwjax.server.workers.running import Running
from aihwjax.server.workers.tidy import tidy

_IDLE_SECONDS = 0.5
_TIDY_SECONDS = 600.0
_log = logging.getLogger(__name__)


class Worker:
    """Works off the jobs of a composer, one at a time."""

    def __init__(self, settings: ServerSettings, name: str | None = None, where: Executor | None = None) -> None:
        """Open database and artefacts.

        Args:
            settings: What the operator has set.
            name: Its name; by default the machine's and the process's number.
            where: Where jobs run; by default what the settings say.

        Raises:
            AihwjaxError: If something cannot be opened.
        """
        self._settings = settings
        self._store = Store(settings)
        self._artefacts = Artefacts(settings.artefacts)
        self._executor = where or executor(settings)
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._tidied = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; a job that runs then is given back.

        Call it in the main thread: on Linux a job's process ends with the thread that started it.

        Args:
            stop: Set when it is time.
        """
        while not stop.is_set():
            try:
                worked = self.step(stop)
            except ServiceError as error:
                _log.warning("%s", error)
                worked = False
            except Exception:  # of one job, whose lease runs out; the next one may go well
                _log.exception("a job was dropped")
                worked = False
            if not worked:
                stop.wait(_IDLE_SECONDS * random.uniform(0.5, 1.5))  # not all workers at once

    def step(self, stop: threading.Event) -> bool:
        """Run a job if one waits; return whether there was one.

        Args:
            stop: Set when it is time to stop.

        Raises:
            ServiceError: If the database is out of reach.
        """
        held = self.claim()
        if held is None:
            self._tidy()
            return False
        self.work(held, stop)
        return True

    def claim(self) -> Claim | None:
        """Take a job, ``None`` if none waits; jobs of lost workers wait again.

        Raises:
            ServiceError: If the database is out of reach.
        """
        settings = self._settings
        with self._store.reading() as session:  # other workers need not wait for one who has nothing to write
            if not leases.pending(session):
                return None
        with self._store.writing() as session:
            leases.expire(session, settings.attempts, settings.lease_seconds)
            return leases.claim(session, self._name, settings.lease_seconds)

    def work(self, held: Claim, stop: threading.Event) -> None:
        """Run a job.

        Args:
            held: From :meth:`claim`.
            stop: Set when it is time to stop.
        """
        _log.info("job %s: attempt %d", held.job_id, held.attempts)
        Running(self._settings, self._store, self._artefacts, self._executor, held).work(stop)

    def close(self) -> None:
        """Close the database."""
        self._store.close()

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied > _TIDY_SECONDS:
            self._tidied = time.monotonic()
            with contextlib.suppress(OSError):
                tidy(self._settings, self._store, self._artefacts)


def run(settings: ServerSettings, stop: threading.Event) -> None:
    """Run a worker in this process until it is told to stop, also by SIGTERM or SIGINT.

    Args:
        settings: What the operator has set.
        stop: Set when it is time.

    Raises:
        AihwjaxError: If something cannot be opened.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker = Worker(settings)
    try:
        worker.run(stop)
    finally:
        worker.close()


def _main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker %(process)d: %(message)s")
    settings = ServerSettings.from_json(sys.stdin.readline())
    stop = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    try:
        run(settings, stop)
    except AihwjaxError as error:
        print(f"aihwjax: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main())
