"""The core of the composer, which all of its faces use."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aihwjax.server.core import experiments, leases
from aihwjax.server.core.accounts import Accounts
from aihwjax.server.core.files import Files
from aihwjax.server.core.validation import Checker
from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.storage.artefacts import Stored
from aihwjax.server.storage.tables import Experiment, Job, JobEvent, User
from aihwjax.server.views import EventView, ExperimentView, Identity, Status

_DEVICES = ("cpu", "gpu", "tpu")
_MOST_EVENTS = 10_000


class Composer(Accounts, Files):
    """A composer's core; its methods may be called by many threads.

    Whatever it refuses is a :class:`~aihwjax.server.errors.ServiceError`. Experiments of others
    are refused like ones that do not exist, except to an administrator.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Open database and artefacts.

        Args:
            settings: What the operator has set.

        Raises:
            AihwjaxError: If something cannot be opened.
        """
        super().__init__(settings)
        self._checker = Checker(settings)

    def close(self) -> None:
        """Stop the processes that check archives, and close the database."""
        self._checker.close()
        super().close()

    def create(
        self,
        identity: Identity,
        *,
        name: str,
        category: str = "train",
        submission: str | None = None,
        sha256: str | None = None,
        size: int | None = None,
    ) -> ExperimentView:
        """Make an experiment; the same submission again returns what the first one made.

        Args:
            identity: Owner.
            name: Free text.
            category: ``train`` or ``inference``.
            submission: The client's own number of it.
            sha256: Hash of the archive that will follow, if known.
            size: Bytes of that, if known.

        Raises:
            ServiceError: 422, 413, 409 or 429; 403 for a token of a worker.
        """
        if identity.scope == "worker":
            raise ServiceError(403, "wrong_scope", "a worker's token has no experiments")
        with self._store.writing() as session:
            row = experiments.add(session, identity, name, category, submission, sha256, size)
            return experiments.views(session, [row])[0]

    def experiment(self, identity: Identity, experiment_id: str) -> ExperimentView:
        """Return an experiment.

        Args:
            identity: Who asks.
            experiment_id: Its id, or at least four characters of its start.

        Raises:
            ServiceError: 404 if there is none, 409 if there are several.
        """
        with self._store.reading() as session:
            return experiments.view(session, identity, experiment_id)

    def experiments(
        self, identity: Identity, status: str | None = None, limit: int = 100, before: str | None = None
    ) -> list[ExperimentView]:
        """Return experiments, newest first.

        Args:
            identity: Who asks.
            status: Only with this status.
            limit: At most so many, up to 1000.
            before: Only those older than the experiment with this id.

        Raises:
            ServiceError: 422 if a value is not allowed.
        """
        with self._store.reading() as session:
            return experiments.views(session, experiments.page(session, identity, status, limit, before))

    def events(self, identity: Identity, experiment_id: str, after: int = 0, limit: int = 1000) -> list[EventView]:
        """Return what happened to an experiment's job, oldest first.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.
            after: Only later ones than the one with this id.
            limit: At most so many, up to 10,000.

        Raises:
            ServiceError: 404 or 422.
        """
        if not 1 <= limit <= _MOST_EVENTS or not 0 <= after < 1 << 63:
            raise ServiceError(422, "bad_value", f"after or limit is not allowed: give a limit of 1 to {_MOST_EVENTS}")
        with self._store.reading() as session:
            row = experiments.find(session, identity, experiment_id)
            query = select(JobEvent).where(JobEvent.job_id == row.id, JobEvent.id > after)
            found = session.scalars(query.order_by(JobEvent.id).limit(limit))
            return [EventView(event.id, event.kind, event.data, event.created_at) for event in found]

    def result(self, identity: Identity, experiment_id: str) -> list[dict[str, Any]]:
        """Return the metrics of all epochs of a completed experiment.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.

        Raises:
            ServiceError: 409 with the status if it is not completed; 404.
        """
        with self._store.reading() as session:
            row = experiments.find(session, identity, experiment_id)
            job = session.get(Job, row.id)
            status = Status.CREATED if job is None else job.status
            if status != Status.COMPLETED:
                reason = f": {job.error}" if job is not None and status == Status.FAILED and job.error else ""
                raise ServiceError(409, str(status), f"the experiment has no result, it is {status}{reason}")
            query = select(JobEvent.data).where(JobEvent.job_id == row.id, JobEvent.kind == "epoch")
            return list(session.scalars(query.order_by(JobEvent.id)))

    def cancel(self, identity: Identity, experiment_id: str) -> ExperimentView:
        """Cancel an experiment: at once if it waits or was never submitted, soon if it runs, not if it has ended.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.

        Raises:
            ServiceError: 404.
        """
        with self._store.writing() as session:
            row = experiments.find(session, identity, experiment_id)
            if session.get(Job, row.id) is None:
                leases.add(session, row, _DEVICES[0], 0)
            leases.cancel(session, row.id)
            session.flush()
            return experiments.views(session, [row])[0]

    def submit(self, identity: Identity, experiment_id: str, device: str = "cpu") -> ExperimentView:
        """Check an experiment's archive and put it into the queue; again, it changes nothing.

        Args:
            identity: Who asks.
            experiment_id: Id of the experiment.
            device: Where it would like to run: ``cpu``, ``gpu`` or ``tpu``.

        Raises:
            ServiceError: 422 with a field if the archive is not allowed, 409 if it is missing or was
                replaced meanwhile, 429 if the queue or the user's share of it is full, 404.
        """
        if device not in _DEVICES:
            message = f"device={device!r} is not allowed: give one of {', '.join(_DEVICES)}"
            raise ServiceError(422, "bad_value", message, "device")
        with self._store.reading() as session:
            row = experiments.find(session, identity, experiment_id)
            if session.get(Job, row.id) is not None:
                return experiments.views(session, [row])[0]
            self._check_queue(session, identity, row)
            stored = self._stored(session, row)
        summary = self._checked(stored)
        with self._store.writing() as session:
            # one submission of a user at a time, so that the limits hold
            session.execute(select(User.id).where(User.id == row.user_id).with_for_update())
            row = session.get_one(Experiment, row.id)
            if session.get(Job, row.id) is None:
                self._check_queue(session, identity, row)
                if self._stored(session, row) != stored:
                    raise ServiceError(409, "replaced", "the archive was replaced while it was checked: submit again")
                row.summary = summary
                leases.add(session, row, device, summary["epochs"])
            return experiments.views(session, [row])[0]

    def counts(self) -> dict[str, int]:
        """Return the number of jobs by status."""
        with self._store.reading() as session:
            found = session.execute(select(Job.status, func.count()).group_by(Job.status))
            counted = {str(status): int(count) for status, count in found}
        return {str(status): counted.get(status, 0) for status in Status if status != Status.CREATED}

    def _check_queue(self, session: Session, identity: Identity, row: Experiment) -> None:
        waiting = select(func.count()).select_from(Job).where(Job.status == Status.WAITING)
        own = select(func.count()).select_from(Job)
        own = own.where(Job.user_id == row.user_id, Job.status.in_((Status.WAITING, Status.RUNNING)))
        if (session.scalar(own) or 0) >= identity.limits.max_jobs:
            message = f"you have {identity.limits.max_jobs} waiting and running jobs, which is the most: wait for some"
            raise ServiceError(429, "too_many_jobs", message, retry_after=60)
        if (session.scalar(waiting) or 0) >= self.settings.max_queue:
            raise ServiceError(429, "queue_full", "the queue is full, try again later", retry_after=60)

    def _stored(self, session: Session, row: Experiment) -> Stored:
        found = experiments.artefact(session, row.id, "input")
        if found is None:
            raise ServiceError(409, "no_input", "the experiment's archive is missing: upload it first")
        return Stored(found.path, found.sha256, found.size)

    def _checked(self, stored: Stored) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="check-", dir=self.settings.work_dir) as folder:
            path = Path(folder, "input.tar")
            self._artefacts.fetch(stored.path, path, stored.sha256)
            return self._checker.check(path)
