"""Rows of experiments: made once, found by whoever may see them, told as views."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, select, tuple_
from sqlalchemy.orm import Session

from aihwjax.server.core.tokens import check_name
from aihwjax.server.errors import ServiceError
from aihwjax.server.storage.clock import database_now
from aihwjax.server.storage.tables import Artefact, Experiment, Job, User
from aihwjax.server.views import ExperimentView, Identity, Status

CATEGORIES = ("train", "trainweb", "inference", "inferenceweb")
"""Words for what an experiment is."""
_SHORTEST = 4
_WHOLE = 32
_MOST_LISTED = 1000
_HOUR = 3600

# What is asked most of all: one statement, made once
_KINDS = select(func.aggregate_strings(Artefact.kind, ",")).where(Artefact.experiment_id == Experiment.id)
_PROGRESS = (
    "started_at",
    "finished_at",
    "epochs",
    "epochs_done",
    "attempts",
    "cancel_requested",
    "error",
    "device",
    "metrics",
)
_VIEW = (
    select(
        Experiment.id,
        Experiment.name,
        Experiment.category,
        Experiment.created_at,
        Experiment.summary,
        User.name.label("user"),
        Job.id.label("job_id"),
        Job.status,
        *(getattr(Job, name) for name in _PROGRESS),
        _KINDS.correlate(Experiment).scalar_subquery().label("kinds"),
    )
    .join(User, User.id == Experiment.user_id)
    .outerjoin(Job, Job.id == Experiment.id)
)
_ANY = _VIEW.where(Experiment.id == bindparam("wanted"))
_OWN = _ANY.where(Experiment.user_id == bindparam("owner"))


def add(
    session: Session,
    identity: Identity,
    name: str,
    category: str,
    submission: str | None,
    sha256: str | None,
    size: int | None,
) -> Experiment:
    """Return the experiment of a submission, made if there is none.

    Args:
        session: A writing transaction.
        identity: Owner.
        name: Free text.
        category: One of :data:`CATEGORIES`.
        submission: The client's own number; a repeated one finds the experiment.
        sha256: Hash of the archive, if known.
        size: Bytes of the archive, if known.

    Raises:
        ServiceError: 422 if a value is not allowed, 413 if the archive would be too large, 409 if
            the submission is of another archive, 429 if too many experiments wait for theirs.
    """
    _check(identity, category, submission, sha256, size)
    name = check_name(name, "name")
    # one request of a user at a time, so that two equal ones don't both find nothing
    session.execute(select(User.id).where(User.id == identity.user_id).with_for_update())
    if submission is not None:
        same = (Experiment.user_id == identity.user_id, Experiment.submission == submission)
        found = session.scalar(select(Experiment).where(*same))
        if found is not None:
            if (found.sha256, found.size) != (sha256, size):
                message = "this submission was made before with another archive: take a new submission"
                raise ServiceError(409, "other_submission", message, "submission")
            return found
    unsent = select(func.count()).select_from(Experiment).outerjoin(Job, Job.id == Experiment.id)
    young = Experiment.created_at > database_now() - _HOUR
    if (
        _count(session, unsent.where(Experiment.user_id == identity.user_id, Job.id.is_(None), young))
        >= identity.limits.max_jobs
    ):
        message = "too many experiments were made within an hour and not submitted: cancel some"
        raise ServiceError(429, "too_many_experiments", message, retry_after=_HOUR)
    row = Experiment(
        id=uuid.uuid4().hex,
        user_id=identity.user_id,
        name=name,
        category=category,
        submission=submission,
        sha256=sha256,
        size=size,
        max_seconds=identity.limits.max_seconds,
    )
    session.add(row)
    session.flush()
    return row


def find(session: Session, identity: Identity, start: str) -> Experiment:
    """Return the experiment with an id, or with an id that starts so.

    Args:
        session: A transaction.
        identity: Who asks; others' experiments do not exist for a user.
        start: The id, or at least four characters of it.

    Raises:
        ServiceError: 404 if there is none, 409 if there are several.
    """
    missing = ServiceError(404, "not_found", "there is no such experiment")
    if not re.fullmatch(rf"[0-9a-f]{{{_SHORTEST},32}}", start):
        raise missing
    whole = len(start) == _WHOLE
    same = Experiment.id == start if whole else Experiment.id.startswith(start)
    rows = session.scalars(select(Experiment).where(same, *_visible(identity)).limit(2)).all()
    if not rows:
        raise missing
    if len(rows) > 1:
        raise ServiceError(409, "ambiguous", f"several experiments start with {start}: give more of the id", "id")
    return rows[0]


def page(session: Session, identity: Identity, status: str | None, limit: int, before: str | None) -> list[Experiment]:
    """Return experiments, newest first.

    Args:
        session: A transaction.
        identity: Who asks.
        status: Only with this status.
        limit: At most so many.
        before: Only older ones than the experiment with this id.

    Raises:
        ServiceError: 422 if a value is not allowed.
    """
    if not 1 <= limit <= _MOST_LISTED:
        raise ServiceError(422, "bad_value", f"limit={limit} is not allowed: give 1 to {_MOST_LISTED}", "limit")
    query = select(Experiment).outerjoin(Job, Job.id == Experiment.id).where(*_visible(identity))
    if status is not None:
        if status not in list(Status):
            message = f"status={status!r} is not allowed: give one of {', '.join(Status)}"
            raise ServiceError(422, "bad_value", message, "status")
        query = query.where(Job.id.is_(None) if status == Status.CREATED else Job.status == status)
    if before is not None:
        last = session.scalar(select(Experiment).where(Experiment.id == before, *_visible(identity)))
        if last is None:
            raise ServiceError(422, "bad_value", "before is not allowed: give the id of an experiment", "before")
        query = query.where(tuple_(Experiment.created_at, Experiment.id) < tuple_(last.created_at, last.id))
    return list(session.scalars(query.order_by(Experiment.created_at.desc(), Experiment.id.desc()).limit(limit)))


def view(session: Session, identity: Identity, start: str) -> ExperimentView:
    """Return the view of the experiment that :func:`find` finds.

    Args:
        session: A transaction.
        identity: Who asks.
        start: The id, or at least four characters of it.

    Raises:
        ServiceError: As :func:`find`.
    """
    if len(start) == _WHOLE:
        statement = _ANY if identity.scope == "admin" else _OWN
        row = session.execute(statement, {"wanted": start, "owner": identity.user_id}).one_or_none()
        if row is not None:
            return _view(row)
    return views(session, [find(session, identity, start)])[0]


def views(session: Session, rows: Sequence[Experiment]) -> list[ExperimentView]:
    """Return the views of experiments.

    Args:
        session: The rows' transaction.
        rows: Experiments.
    """
    ids = [row.id for row in rows]
    found = {row.id: _view(row) for row in session.execute(_VIEW.where(Experiment.id.in_(ids)))}
    return [found[experiment_id] for experiment_id in ids]


def artefact(session: Session, experiment_id: str, kind: str) -> Artefact | None:
    """Return the row of a stored file, ``None`` if it is not stored."""
    return session.get(Artefact, (experiment_id, kind))


def _view(row: Row[Any]) -> ExperimentView:
    kinds = (row.kinds or "").split(",")
    progress: dict[str, Any] = {name: getattr(row, name) for name in _PROGRESS}
    if row.job_id is None:
        status = Status.CREATED
        progress |= {"epochs": 0, "epochs_done": 0, "attempts": 0, "cancel_requested": False}
    else:
        status = Status(row.status)
    if not status.final:
        progress["error"] = None  # of an attempt that is not the last
    return ExperimentView(
        id=row.id,
        user=row.user,
        name=row.name,
        category=row.category,
        created_at=row.created_at,
        status=status,
        job_id=row.job_id,
        input_id=f"{row.id}-input",
        output_id=f"{row.id}-output" if "output" in kinds else None,
        has_input="input" in kinds,
        has_payload="payload" in kinds,
        summary=row.summary,
        **progress,
    )


def _visible(identity: Identity) -> tuple[ColumnElement[bool], ...]:
    return () if identity.scope == "admin" else (Experiment.user_id == identity.user_id,)


def _check(identity: Identity, category: str, submission: str | None, sha256: str | None, size: int | None) -> None:
    if category not in CATEGORIES:
        message = f"category={category!r} is not allowed: give one of {', '.join(CATEGORIES)}"
        raise ServiceError(422, "bad_value", message, "category")
    if submission is not None and not re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", submission):
        message = "submission is not allowed: give 1 to 100 letters, digits or one of _.:-"
        raise ServiceError(422, "bad_value", message, "submission")
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ServiceError(422, "bad_value", "sha256 is not allowed: give 64 hexadecimal digits", "sha256")
    if size is not None and size < 1:
        raise ServiceError(422, "bad_value", f"size={size} is not allowed: give a number of bytes", "size")
    if size is not None and size > identity.limits.max_archive_bytes:
        message = f"size={size} is too large: at most {identity.limits.max_archive_bytes} bytes are allowed"
        raise ServiceError(413, "too_large", message, "size")


def _count(session: Session, query: Any) -> int:
    return int(session.scalar(query) or 0)
