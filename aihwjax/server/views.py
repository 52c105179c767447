"""What the composer tells about its things."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Scope: TypeAlias = Literal["user", "admin", "worker"]
"""What a token may do: its user's things, everyone's things, or nothing but be listed as a worker's."""


class Status(enum.StrEnum):
    """State of an experiment."""

    CREATED = "created"
    """It has no job yet."""
    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether it stays so."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


@dataclass(frozen=True)
class Limits:
    """Limits of a token."""

    max_archive_bytes: int
    """Most bytes of an uploaded experiment."""
    max_jobs: int
    """Most waiting and running jobs."""
    max_seconds: float
    """Most seconds that a job computes."""


@dataclass(frozen=True)
class Identity:
    """Who asks."""

    user_id: str
    user: str
    """Name of the user."""
    token_id: str
    scope: Scope
    limits: Limits


@dataclass(frozen=True)
class TokenView:
    """A token, without its text. Times are seconds since 1970."""

    id: str
    user: str
    prefix: str
    """Start of its text."""
    scope: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None


@dataclass(frozen=True)
class ArtefactView:
    """A stored file."""

    id: str
    kind: str
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class EventView:
    """Something that happened to a job. Times are seconds since 1970."""

    id: int
    """Grows; the cursor of readers."""
    kind: str
    """``state`` (data: status, and error or worker), ``epoch`` (data: metrics) or ``log`` (data: text)."""
    data: dict[str, Any]
    created_at: float


@dataclass(frozen=True)
class ExperimentView:
    """An experiment and its job. Times are seconds since 1970."""

    id: str
    user: str
    """Name of the owner."""
    name: str
    category: str
    status: Status
    created_at: float
    started_at: float | None
    finished_at: float | None
    epochs: int
    """Epochs to train; 0 before it is submitted."""
    epochs_done: int
    attempts: int
    """How often it was started."""
    cancel_requested: bool
    """Whether it was asked to stop while it ran, which takes a moment."""
    error: str | None
    """Why it failed."""
    device: str | None
    job_id: str | None
    """The id again, once it is submitted."""
    input_id: str
    """Artefact of the archive, whether it is there or not."""
    output_id: str | None
    """Artefact of the result, once it is there."""
    has_input: bool
    has_payload: bool
    metrics: dict[str, Any] | None
    """Metrics of the last finished epoch."""
    summary: dict[str, Any] | None
    """What the check found in the archive."""
