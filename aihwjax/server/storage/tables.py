"""The tables of the composer. Times are seconds since 1970 by the database's clock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aihwjax.server.storage.clock import database_now
from aihwjax.server.views import Scope

_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
_Id = String(32)


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {dict[str, Any]: JSON(none_as_null=True)}  # noqa: RUF012


class User(Base):
    """Someone who owns experiments."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    served: Mapped[int] = mapped_column(BigInteger, default=0)
    """Number of the turn in which a job of theirs was last started: the smallest is next."""
    created_at: Mapped[float] = mapped_column(default=database_now())


class Token(Base):
    """A way to sign in; only a hash of its text is kept."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the token's text, which has more entropy than could be guessed."""
    prefix: Mapped[str] = mapped_column(String(32), index=True)
    """Start of the text, to be shown in lists."""
    scope: Mapped[Scope] = mapped_column(String(16))
    created_at: Mapped[float] = mapped_column(default=database_now())
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    max_archive_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_jobs: Mapped[int | None]
    max_seconds: Mapped[float | None]


class Experiment(Base):
    """What a user wants to have run."""

    __tablename__ = "experiments"
    __table_args__ = (
        UniqueConstraint("user_id", "submission"),
        Index("ix_experiments_user_id_created_at", "user_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(200))
    category: Mapped[str] = mapped_column(String(32))
    submission: Mapped[str | None] = mapped_column(String(100))
    """The client's own number of the submission: a repeated request finds what the first one made."""
    sha256: Mapped[str | None] = mapped_column(String(64))
    """Hash that the archive must have, if the client said it."""
    size: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes that the archive must have, if the client said it."""
    max_seconds: Mapped[float]
    """Limit of the token that it was made with."""
    summary: Mapped[dict[str, Any] | None]
    """What the check of the archive found."""
    created_at: Mapped[float] = mapped_column(default=database_now())


class Artefact(Base):
    """A stored file of an experiment; the row exists only after the file."""

    __tablename__ = "artefacts"
    __table_args__ = (PrimaryKeyConstraint("experiment_id", "kind"),)

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.id"))
    kind: Mapped[str] = mapped_column(String(16))
    """``input``, ``payload`` (the wire protocol's own form of the input) or ``output``."""
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(default=database_now())


class Job(Base):
    """The run of an experiment; its id is the experiment's."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_status_created_at", "status", "created_at"),)

    id: Mapped[str] = mapped_column(ForeignKey("experiments.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    device: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    lease: Mapped[int] = mapped_column(default=0)
    """Number of the lease: each claim has a new one, and only its holder may write."""
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_renewed: Mapped[float | None]
    lease_expires: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(default=0)
    """How often it was started."""
    stalled: Mapped[int] = mapped_column(default=0)
    """How often it was started since the last finished epoch."""
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str | None] = mapped_column(Text)
    epochs: Mapped[int] = mapped_column(default=0)
    epochs_done: Mapped[int] = mapped_column(default=0)
    """Epochs whose metrics are among the events."""
    metrics: Mapped[dict[str, Any] | None]
    """Metrics of the last of them."""
    log_lease: Mapped[int] = mapped_column(default=0)
    """Lease whose log was being read."""
    log_offset: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes of that log that are among the events."""
    log_lines: Mapped[int] = mapped_column(default=0)
    """Lines of all logs that are among the events."""
    seconds: Mapped[float] = mapped_column(default=0.0)
    """Seconds computed so far, over all attempts."""
    created_at: Mapped[float] = mapped_column(default=database_now())
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class JobEvent(Base):
    """Something that happened to a job; never changed, read by id."""

    __tablename__ = "job_events"
    __table_args__ = (
        Index("ix_job_events_job_id_id", "job_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    kind: Mapped[str] = mapped_column(String(16))
    """``state``, ``epoch`` or ``log``."""
    data: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(default=database_now())
