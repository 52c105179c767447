"""An experiment in the cloud: how far it is, and what it gave."""

from __future__ import annotations

import contextlib
import enum
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihwjax import arguments
from aihwjax.chip_results import KIND
from aihwjax.cloud import answers
from aihwjax.cloud.answers import field
from aihwjax.cloud.session import Session
from aihwjax.errors import ExperimentStatusError, InvalidResponseFieldError, ResponseError
from aihwjax.scores import scores
from aihwjax.sweep_results import KIND as SWEEP

if TYPE_CHECKING:
    from flax import nnx

    from aihwjax.experiments.inferencing import BasicInferencing
    from aihwjax.experiments.metrics import EpochMetrics
    from aihwjax.experiments.training import BasicTraining

_UNITS = {KIND: "chips", SWEEP: "networks"}
_SHORTEST_PAUSE = 0.2
_LONGEST_PAUSE = 3.0
_PATIENCE = 300.0


class CloudJobStatus(enum.Enum):
    """State of an experiment in the cloud."""

    CREATED = "created"
    """It was never submitted."""
    WAITING = "waiting"
    """It waits for its turn."""
    RUNNING = "running"
    """It is being trained."""
    COMPLETED = "completed"
    """Its result is there."""
    FAILED = "failed"
    """It ended with an error."""
    CANCELLED = "cancelled"
    """Somebody cancelled it."""

    @property
    def final(self) -> bool:
        """Whether it stays so."""
        return self in (CloudJobStatus.COMPLETED, CloudJobStatus.FAILED, CloudJobStatus.CANCELLED)


@arguments.answering
class CloudExperiment:
    """An experiment that runs, or ran, on a composer; made by a runner."""

    def __init__(self, session: Session, answer: Mapping[str, Any]) -> None:
        """Keep what a composer said of it.

        Args:
            session: Connection to the composer.
            answer: An experiment of its interface.

        Raises:
            InvalidResponseFieldError: If it is none.
        """
        self._session = session
        self.id = str(field(answer, "id", str))
        """Its id; most commands take the start of it."""
        self.name = str(field(answer, "name", str))
        """Its name, for people."""
        self.answer: dict[str, Any] = dict(answer)
        """What the composer said last: times, epochs, error, metrics of the last epoch."""

    def __repr__(self) -> str:
        return f"CloudExperiment(id={self.id!r}, name={self.name!r}, status={self.answer.get('status')!r})"

    @property
    def kind(self) -> str | None:
        """``"BasicTraining"``, ``"BasicInferencing"`` or ``"Sweep"``; ``None`` before it was submitted."""
        found = (self.answer.get("summary") or {}).get("kind")
        return found if isinstance(found, str) else None

    @property
    def unit(self) -> str:
        """What its progress counts: ``"epochs"``, ``"chips"`` or ``"networks"``."""
        return _UNITS.get(self.kind or "", "epochs")

    def status(self) -> CloudJobStatus:
        """Ask the composer how far it is.

        Raises:
            CloudError: If the composer does not tell.
        """
        self.answer = self._session.get(f"experiments/{self.id}")
        return self._last()

    def wait(self, timeout: float | None = None, stdout: bool = True) -> CloudJobStatus:
        """Wait until it is completed, has failed or was cancelled, and return which.

        A composer that is away for a few minutes, such as one that is started again, is waited for.

        Args:
            timeout: Seconds; ``None``: as long as it takes.
            stdout: Show a bar of epochs, on a terminal or in a notebook.

        Raises:
            ExperimentStatusError: If the time is over, or it was never submitted.
            CloudError: If the composer does not tell.
        """
        from aihwjax.progress import Bar

        end = math.inf if timeout is None else time.monotonic() + timeout
        with Bar(stdout, name=self.name, unit=self.unit) as bar:
            for _ in self._changes(end):
                bar.show(self.answer.get("epochs_done") or 0, self._told(), self.answer.get("epochs") or None)
        return self._last()

    def get_result(self) -> Any:
        """Return the metrics of each epoch, as :func:`aihwjax.run_local` does.

        Of an inference experiment it is what :func:`aihwjax.run_local_inference` returns, of a sweep the
        :class:`~aihwjax.experiments.SweepTable` of :func:`aihwjax.sweep`.

        Raises:
            ExperimentStatusError: If it is not completed; of a failed one, with the reason.
            CloudError: If the composer does not tell.
        """
        self._require_completed()
        entries = field(self._session.get(f"experiments/{self.id}/result"), "metrics", list)
        if self.kind == SWEEP:
            return answers.table(entries)
        if self.kind == KIND:
            return answers.chips(entries, int(self.answer.get("epochs") or len(entries)))
        return [answers.metrics(entry) for entry in entries]

    def get_experiment(self) -> BasicTraining | BasicInferencing:
        """Return the experiment with the trained weights in its model, those of its template if it is one of inference.

        Raises:
            ExperimentStatusError: If it is not completed; of a failed one, with the reason.
            ArchiveError: If what the composer sends is damaged.
            CloudError: If the composer does not send it.
        """
        from aihwjax.cloud import archive

        with self._result() as path:
            return archive.read(path).experiment

    def get_best(self) -> tuple[nnx.Module, EpochMetrics]:
        """Return the model of the best epoch, and the metrics of this epoch.

        Raises:
            ExperimentStatusError: If it is not completed, or kept no best epoch.
            ArchiveError: If what the composer sends is damaged.
            CloudError: If the composer does not send it.
        """
        from aihwjax.cloud import archive

        with self._result() as path:
            found = archive.read_best(path)
        if found is None:
            raise ExperimentStatusError(f"experiment {self.id} kept no best epoch: submit it with keep_best")
        return found

    def download(self, path: str | Path, kind: str = "output") -> None:
        """Write the archive of the experiment into a file.

        Args:
            path: The file.
            kind: ``"output"``, the result (of a sweep its table as CSV), or ``"input"``, what was submitted.

        Raises:
            CloudError: If the composer does not send it.
        """
        link = self._session.get(f"experiments/{self.id}/files/{kind}")
        found = (field(link, "url", str), Path(path), field(link, "sha256", str), field(link, "size", int))
        self._session.download(*found)

    def metrics(self) -> list[EpochMetrics]:
        """Return the metrics of the epochs that are done so far; of an inference experiment, of chips at the last time.

        Of a sweep those of the networks that are done, after their last epochs.

        Raises:
            CloudError: If the composer does not tell.
        """
        found = [answers.metrics(event["data"]) for event in self._events() if event["kind"] == "epoch"]
        latest = {entry["epoch"]: entry for entry in found}
        return [latest[number] for number in sorted(latest)]

    def logs(self, follow: bool = False) -> Iterator[str]:
        """Yield the lines of its log.

        Args:
            follow: Go on until it has ended, with lines as they are written.

        Raises:
            CloudError: If the composer does not tell.
        """
        cursor = 0
        for _ in self._changes(math.inf) if follow else (None,):
            for event in self._events(cursor):
                cursor = event["id"]
                if event["kind"] == "log":
                    yield str(event["data"].get("text", ""))

    def cancel(self) -> CloudJobStatus:
        """Cancel it and return its status; a running one may take a moment to end.

        Raises:
            CloudError: If the composer refuses.
        """
        self.answer = self._session.post(f"experiments/{self.id}/cancel")
        return self._last()

    # ------------------------------------------------------------------ inside
    @contextlib.contextmanager
    def _result(self) -> Iterator[Path]:
        """Give the archive of the result, for a moment."""
        self._require_completed()
        if self.kind == SWEEP:
            text = "get_result() returns its table, and download(path) writes it as CSV"
            raise ExperimentStatusError(f"experiment {self.id} is a sweep, which returns no model: {text}")
        with tempfile.TemporaryDirectory(prefix="aihwjax-") as folder:
            path = Path(folder) / "result.tar"
            self.download(path)
            yield path

    def _changes(self, end: float) -> Iterator[None]:
        """Yield after each look at the experiment, the last time when it has ended."""
        pause, seen, heard = _SHORTEST_PAUSE, None, time.monotonic()
        while True:
            try:
                status = self.status()
                heard = time.monotonic()
            except ResponseError as error:
                if not _passes(error) or time.monotonic() - heard > _PATIENCE:
                    raise
            else:
                if status is CloudJobStatus.CREATED:
                    raise ExperimentStatusError(f"experiment {self.id} was never submitted: run it again")
                yield
                if status.final:
                    return
                now = (status, self.answer.get("epochs_done"))
                pause, seen = (_SHORTEST_PAUSE if now != seen else min(1.5 * pause, _LONGEST_PAUSE)), now
            left = end - time.monotonic()
            if left <= 0:
                raise ExperimentStatusError(f"experiment {self.id} is still {self._last().value}: the time is over")
            time.sleep(min(pause, left))

    def _events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        while True:
            answer = self._session.get(f"experiments/{self.id}/events", after=after)
            events = field(answer, "events", list)
            for event in events:
                field(event, "id", int), field(event, "kind", str), field(event, "data", dict)
                yield event
            if not events or events[-1]["id"] <= after:
                return
            after = events[-1]["id"]

    def _require_completed(self) -> None:
        status = self.status()
        if status is CloudJobStatus.COMPLETED:
            return
        if status is CloudJobStatus.FAILED:
            raise ExperimentStatusError(f"experiment {self.id} failed: {self.answer.get('error') or 'no reason given'}")
        if status is CloudJobStatus.CANCELLED:
            raise ExperimentStatusError(f"experiment {self.id} was cancelled: it has no result")
        done = f"{self.answer.get('epochs_done', 0)} of {self.answer.get('epochs', 0)} {self.unit}"
        raise ExperimentStatusError(f"experiment {self.id} is {status.value} ({done}): wait() until it is completed")

    def _told(self) -> str:
        """Return what the composer said last, for people."""
        return "  ".join((str(self.answer.get("status")), *scores(self.answer.get("metrics") or {})))

    def _last(self) -> CloudJobStatus:
        value = field(self.answer, "status", str)
        try:
            return CloudJobStatus(value)
        except ValueError:
            raise InvalidResponseFieldError(f"status={value!r} is unknown: this composer is newer") from None


def _passes(error: ResponseError) -> bool:
    """Whether the composer may be back soon."""
    return error.response is None or error.response.status_code >= 500 or error.response.status_code == 429
