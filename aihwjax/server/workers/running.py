"""One job under one lease: from its input to its result, or to the reason why there is none."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from aihwjax.server.core import leases
from aihwjax.server.core.leases import Claim, LeaseLost, News
from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.storage.artefacts import Artefacts
from aihwjax.server.storage.store import Store
from aihwjax.server.workers import progress
from aihwjax.server.workers.executors import Ended, Executor, Task
from aihwjax.server.workers.job import BUSY, ERROR, INPUT, OUTPUT

_TICK = 0.1
_NEWS_SECONDS = 0.5
_BEAT_SECONDS = 2.0
_BLOCK = 1 << 20
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Running:
    """A job that a worker has claimed."""

    def __init__(
        self, settings: ServerSettings, store: Store, artefacts: Artefacts, executor: Executor, held: Claim
    ) -> None:
        """Prepare to run a job.

        Args:
            settings: What the operator has set.
            store: Database.
            artefacts: Where input and output are stored.
            executor: Where the job runs.
            held: The claim.
        """
        self._settings = settings
        self._store = store
        self._artefacts = artefacts
        self._executor = executor
        self._held = held
        self._cursor = held.cursor
        self._started = self._heard = self._said = time.monotonic()
        self._folder = settings.work_dir / held.job_id

    def work(self, stop: threading.Event) -> None:
        """Run the job until it has ended, its lease is lost, or the worker is to stop.

        Args:
            stop: Set when the worker is to stop; the job is given back then.
        """
        try:
            self._work(stop)
        except LeaseLost:
            _log.warning("job %s: the lease is lost", self._held.job_id)

    def _work(self, stop: threading.Event) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            source = self._folder / INPUT
            self._artefacts.fetch(self._held.input_path, source, self._held.input_sha256, self._beat)
            run = self._executor.start(self._task())
        except ServiceError as error:
            self._fail(error.message, final=False)
            return
        except OSError as error:
            self._fail(f"the job cannot be started: {error.strerror or error}", final=False)
            return
        try:
            ended = self._watch(run, stop)
        finally:
            self._executor.stop(run)
        if ended is not None:
            self._finish(ended)

    def _watch(self, run: Any, stop: threading.Event) -> Ended | None:
        """Tell of the job's progress until it has ended; ``None`` if it was ended from here."""
        while (ended := self._executor.poll(run)) is None:
            if self._tell():  # someone wants it to be cancelled
                self._executor.stop(run)
                self._write(lambda session: leases.release(session, self._held))
                self._clean()
                return None
            if self._seconds() > self._held.max_seconds:
                self._executor.stop(run)
                self._fail(f"it took more than the {self._held.max_seconds:.6g} s that are allowed", final=True)
                return None
            if stop.wait(_TICK):
                self._executor.stop(run)
                self._write(lambda session: leases.release(session, self._held))
                return None
        return ended

    def _finish(self, ended: Ended) -> None:
        if ended.code == 0 and (self._folder / OUTPUT).exists():
            self._publish()
            return
        message, final = self._reason(ended)
        self._fail(message, final=final)

    def _publish(self) -> None:
        while (news := self._news()).epochs or news.lines:  # in pieces, so that the last one is small
            self._report(news)
        output = self._artefacts.write(f"{self._held.job_id}-output", self._output(), 1 << 62)
        try:
            while not self._write(lambda session: leases.complete(session, self._held, self._news(), output)):
                self._report(self._news())
        except LeaseLost:
            self._artefacts.remove(output.path)
            raise
        self._clean()

    def _output(self) -> Iterator[bytes]:
        with (self._folder / OUTPUT).open("rb") as file:
            while block := file.read(_BLOCK):
                self._beat()
                yield block

    def _reason(self, ended: Ended) -> tuple[str, bool]:
        """Return why a job failed, and whether it would fail again."""
        if ended.reason is not None:
            return ended.reason, "memory" in ended.reason
        if ended.code == BUSY:
            return "an earlier attempt still works in its folder", False
        if ended.code == 1:
            with contextlib.suppress(OSError, ValueError, KeyError):
                error = json.loads((self._folder / ERROR).read_text(encoding="utf-8"))
                return str(error["message"]), bool(error["final"])
        if ended.code < 0:
            return f"its process was killed by signal {-ended.code}; out of memory, perhaps", False
        return f"its process ended with code {ended.code}", False

    def _fail(self, message: str, *, final: bool) -> None:
        with contextlib.suppress(ServiceError):
            self._report(self._news())
        message = message.replace("\0", "")
        attempts = self._settings.attempts
        self._write(lambda session: leases.fail(session, self._held, message, final=final, attempts=attempts))
        if final:
            self._clean()

    def _tell(self) -> bool:
        """Report when there is something to report, or when it is time; return whether to cancel."""
        since = time.monotonic() - self._said
        if since < min(_NEWS_SECONDS, self._settings.lease_seconds / 4):
            return False
        news = self._news()
        beat = min(_BEAT_SECONDS, self._settings.lease_seconds / 3)
        if not news.epochs and not news.lines and since < beat:
            return False
        try:
            return self._report(news)
        except ServiceError as error:
            self._check_held(error)
            return False

    def _beat(self) -> None:
        """Renew the lease when it is time; during long copies."""
        if time.monotonic() - self._said >= min(_BEAT_SECONDS, self._settings.lease_seconds / 3):
            try:
                self._report(News(self._cursor, self._cursor, self._seconds()))
            except ServiceError as error:
                self._check_held(error)

    def _news(self) -> News:
        epochs = progress.further_epochs(self._folder, self._cursor)
        lines, after = progress.further_lines(self._folder, self._held.lease, self._cursor)
        after = leases.Cursor(self._cursor.epochs + len(epochs), after.log_lease, after.log_offset, after.log_lines)
        return News(self._cursor, after, self._seconds(), epochs, lines)

    def _report(self, news: News) -> bool:
        self._said = time.monotonic()
        with self._store.writing() as session:
            cursor, cancel = leases.report(session, self._held, news, self._settings.lease_seconds)
        self._cursor, self._heard = cursor, time.monotonic()
        return cancel

    def _write(self, change: Callable[[Session], _T]) -> _T:
        """Write into the database; while that is out of reach, try as long as the lease holds."""
        while True:
            try:
                with self._store.writing() as session:
                    return change(session)
            except ServiceError as error:
                self._check_held(error)
                time.sleep(_NEWS_SECONDS)

    def _check_held(self, error: ServiceError) -> None:
        """Without an answer for as long as the lease holds, the job may be another's."""
        if time.monotonic() - self._heard > self._settings.lease_seconds:
            _log.warning("job %s: %s", self._held.job_id, error)
            raise LeaseLost

    def _seconds(self) -> float:
        return self._held.seconds + time.monotonic() - self._started

    def _task(self) -> Task:
        return Task(
            name=self._held.job_id,
            folder=self._folder,
            log=self._folder / progress.log_name(self._held.lease),
            device=self._held.device,
            dataset_root=self._settings.dataset_root,
            compiled_dir=self._settings.compiled_dir,
            memory_bytes=self._settings.memory_bytes,
        )

    def _clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
