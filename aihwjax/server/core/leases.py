"""Jobs and who works on them.

A job is claimed with a lease: a number, and a time by the database's clock until which it holds.
Every write of a worker names its lease, and changes nothing once the job was given to another.
All writers of a job change its row first, which orders its events as they are committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from aihwjax.scores import NETWORK
from aihwjax.server.storage.artefacts import Stored
from aihwjax.server.storage.clock import database_now
from aihwjax.server.storage.tables import Artefact, Experiment, Job, JobEvent, User
from aihwjax.server.views import Status

_CLOCK_TOLERANCE = 5.0  # seconds


class LeaseLost(Exception):  # noqa: N818
    """The job belongs to another worker now, or to none: stop working on it and write nothing."""


@dataclass(frozen=True)
class Cursor:
    """What of a job's progress is among its events."""

    epochs: int
    """Finished epochs."""
    log_lease: int
    """Lease whose log was read last."""
    log_offset: int
    """Bytes of it."""
    log_lines: int
    """Lines of all logs."""


@dataclass(frozen=True)
class Claim:
    """A job and the right to work on it."""

    job_id: str
    lease: int
    device: str
    attempts: int
    epochs: int
    cursor: Cursor
    """At the time of the claim."""
    seconds: float
    """Computed before."""
    max_seconds: float
    input_path: str
    input_sha256: str


@dataclass(frozen=True)
class News:
    """What a worker has to say about a job since it last said something."""

    before: Cursor
    """As it was then."""
    after: Cursor
    seconds: float
    """Computed so far, over all attempts."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Metrics of further epochs."""
    lines: list[str] = field(default_factory=list)
    """Further lines of the log."""


def claim(session: Session, worker: str, seconds: float) -> Claim | None:
    """Take a job, ``None`` if none waits: the oldest of the user who was served longest ago.

    Args:
        session: A writing transaction.
        worker: Name of the worker.
        seconds: How long the lease holds.
    """
    waits = (
        select(Job.id)
        .join(User, User.id == Job.user_id)
        .where(Job.status == Status.WAITING)
        .order_by(User.served, Job.created_at, Job.id)
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
    )
    job_id = session.scalar(waits)
    if job_id is None:
        return None
    values = {
        "status": Status.RUNNING,
        "lease": Job.lease + 1,
        "worker": worker,
        "attempts": Job.attempts + 1,
        "stalled": Job.stalled + 1,
        "started_at": func.coalesce(Job.started_at, database_now()),
        **_held(seconds),
    }
    job = _change(session, (Job.id == job_id, Job.status == Status.WAITING), values)
    if job is None:
        return None
    turn = select(func.coalesce(func.max(User.served), 0) + 1).scalar_subquery()
    session.execute(update(User).where(User.id == job.user_id).values(served=turn))
    _say(session, job, "state", _state(job))
    experiment = session.get_one(Experiment, job.id)
    stored = session.get_one(Artefact, (job.id, "input"))
    return Claim(
        job.id,
        job.lease,
        job.device,
        job.attempts,
        job.epochs,
        _cursor(job),
        job.seconds,
        experiment.max_seconds,
        stored.path,
        stored.sha256,
    )


def pending(session: Session) -> bool:
    """Whether a job waits, or a worker was not heard of in time.

    Args:
        session: A transaction.
    """
    late = (Job.status == Status.RUNNING) & (
        (Job.lease_expires < database_now()) | (Job.lease_renewed > database_now() + _CLOCK_TOLERANCE)
    )
    return session.scalar(select(Job.id).where((Job.status == Status.WAITING) | late).limit(1)) is not None


def report(session: Session, held: Claim, news: News, seconds: float) -> tuple[Cursor, bool]:
    """Renew a lease and write what is new; return the cursor from now on, and whether to cancel.

    If the news were written before (by a commit whose answer got lost), they are not written again.

    Args:
        session: A writing transaction.
        held: The claim.
        news: What is new.
        seconds: How long the lease holds from now on.

    Raises:
        LeaseLost: If the job belongs to the worker no more.
    """
    job = _change(session, _mine(held), _held(seconds))
    if job is None:
        raise LeaseLost
    if _cursor(job) == news.before:
        _write_news(session, job, news)
    return _cursor(job), job.cancel_requested


def complete(session: Session, held: Claim, news: News, output: Stored) -> bool:
    """Publish a result, once: the artefact, the last news and the word in one transaction.

    Args:
        session: A writing transaction.
        held: The claim.
        news: What is new.
        output: The stored result.

    Returns:
        Whether it is published; ``False`` if the news do not follow what was written, so that the
        worker has to look again.

    Raises:
        LeaseLost: If the job belongs to the worker no more.
    """
    job = _change(session, _mine(held), {"lease_renewed": database_now()})
    if job is None:
        raise LeaseLost
    if _cursor(job) != news.before:
        return False
    _write_news(session, job, news)
    session.add(Artefact(experiment_id=job.id, kind="output", sha256=output.sha256, size=output.size, path=output.path))
    _end(session, job, Status.COMPLETED, None)
    return True


def fail(session: Session, held: Claim, message: str, *, final: bool, attempts: int) -> None:
    """Say that an attempt failed; the job is tried again unless that is in vain.

    Args:
        session: A writing transaction.
        held: The claim.
        message: Why, in one line.
        final: Whether another attempt would fail in the same way.
        attempts: How often a job is started without finishing an epoch.

    Raises:
        LeaseLost: If the job belongs to the worker no more.
    """
    job = _change(session, _mine(held), {"lease_renewed": database_now()})
    if job is None:
        raise LeaseLost
    _give_back(session, job, message, final or job.stalled >= attempts)


def release(session: Session, held: Claim) -> None:
    """Give a job back that was not finished, without counting the attempt against it.

    Args:
        session: A writing transaction.
        held: The claim.

    Raises:
        LeaseLost: If the job belongs to the worker no more.
    """
    job = _change(session, _mine(held), {"lease_renewed": database_now()})
    if job is None:
        raise LeaseLost
    job.stalled = max(0, job.stalled - 1)
    _give_back(session, job, None, False)


def expire(session: Session, attempts: int, seconds: float) -> int:
    """Take jobs from workers that were not heard of in time; return how many.

    A lease from the future tells that the clock was set back; it is counted anew from now, so that
    its job is not kept from others until the clock has come there again.

    Args:
        session: A writing transaction.
        attempts: How often a job is started without finishing an epoch.
        seconds: How long a lease holds.
    """
    runs = Job.status == Status.RUNNING
    future = Job.lease_renewed > database_now() + _CLOCK_TOLERANCE
    session.execute(update(Job).where(runs, future).values(**_held(seconds)))
    late = (runs, Job.lease_expires < database_now())
    ids = session.scalars(select(Job.id).where(*late).with_for_update(skip_locked=True)).all()
    for job_id in ids:
        job = session.get_one(Job, job_id, populate_existing=True)
        message = f"its worker was lost ({job.attempts} attempts, the last {job.stalled} without a finished epoch)"
        _give_back(session, job, message, job.stalled >= attempts)
    return len(ids)


def cancel(session: Session, job_id: str) -> None:
    """Cancel a job: at once if it waits, soon if it runs, not at all if it has ended.

    Args:
        session: A writing transaction.
        job_id: Its id.
    """
    job = session.scalars(select(Job).where(Job.id == job_id).with_for_update()).one()
    if job.status == Status.WAITING:
        _end(session, job, Status.CANCELLED, None)
    elif job.status == Status.RUNNING:
        job.cancel_requested = True


def add(session: Session, experiment: Experiment, device: str, epochs: int) -> Job:
    """Put an experiment into the queue.

    Args:
        session: A writing transaction.
        experiment: The experiment, whose input is stored.
        device: Where it would like to run.
        epochs: Epochs to train.
    """
    job = Job(
        id=experiment.id, user_id=experiment.user_id, device=device, status=Status.WAITING, epochs=epochs, attempts=0
    )
    session.add(job)
    session.flush()
    _say(session, job, "state", _state(job))
    return job


def _give_back(session: Session, job: Job, message: str | None, final: bool) -> None:
    if job.cancel_requested:
        _end(session, job, Status.CANCELLED, None)
    elif final:
        _end(session, job, Status.FAILED, message)
    else:
        job.status, job.error, job.worker = Status.WAITING, message, None
        job.lease_renewed = job.lease_expires = None
        _say(session, job, "state", _state(job))


def _end(session: Session, job: Job, status: Status, error: str | None) -> None:
    job.status, job.error, job.worker = status, error, None
    job.lease_renewed = job.lease_expires = None
    job.finished_at = database_now()  # type: ignore[assignment]
    _say(session, job, "state", _state(job))


def _write_news(session: Session, job: Job, news: News) -> None:
    for line in news.lines:
        _say(session, job, "log", {"text": line})
    for metrics in news.epochs:
        _say(session, job, "epoch", metrics)
    if news.epochs:
        # of a sweep without the network's rows: this is told as often as somebody asks how far it is
        job.metrics = {name: value for name, value in news.epochs[-1].items() if name != NETWORK}
        job.stalled = 0
    job.epochs_done, job.seconds = news.after.epochs, news.seconds
    job.log_lease, job.log_offset, job.log_lines = news.after.log_lease, news.after.log_offset, news.after.log_lines
    session.flush()


def _state(job: Job) -> dict[str, Any]:
    state: dict[str, Any] = {"status": str(job.status), "attempt": job.attempts}
    return state if job.error is None else {**state, "error": job.error}


def _say(session: Session, job: Job, kind: str, data: dict[str, Any]) -> None:
    session.flush()  # the job's row first
    session.add(JobEvent(job_id=job.id, kind=kind, data=data))
    session.flush()  # ids in the order of what happened


def _mine(held: Claim) -> tuple[ColumnElement[bool], ...]:
    return (Job.id == held.job_id, Job.lease == held.lease, Job.status == Status.RUNNING)


def _held(seconds: float) -> dict[str, Any]:
    return {"lease_renewed": database_now(), "lease_expires": database_now() + seconds}


def _cursor(job: Job) -> Cursor:
    return Cursor(job.epochs_done, job.log_lease, job.log_offset, job.log_lines)


def _change(session: Session, where: Iterable[ColumnElement[bool]], values: dict[str, Any]) -> Job | None:
    """Change a job where it is as it should be; return it, or ``None`` if it is not."""
    query = update(Job).where(*where).values(**values).returning(Job)
    return session.scalars(query.execution_options(populate_existing=True, synchronize_session=False)).one_or_none()
