"""What goes over the wire of the API: the models of its requests and answers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from aihwjax.server.views import EventView, ExperimentView, Identity, Status

Metric: TypeAlias = float | None
"""A number; ``null`` stands for one that is not finite, which JSON cannot say."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ErrorDetail(BaseModel):
    """Why a request was refused."""

    code: str = Field(description="One word for programs, such as not_found.")
    message: str = Field(description="One line for people.")
    field: str | None = Field(None, description="Dotted path of the field that is wrong, if one is.")


class ErrorAnswer(BaseModel):
    """A refusal."""

    error: ErrorDetail
    message: str = Field(description="The message once more.")


class NewExperiment(_Request):
    """An experiment to be made; its archive follows."""

    name: Annotated[str, Field(min_length=1, max_length=200, description="For people; need not be unique.")]
    category: Literal["train"] = Field("train", description="What kind of run it is.")
    submission: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = Field(
        None, description="Chosen by the client; repeating the request with it gives the same experiment."
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="SHA-256 of the archive, in small hexadecimal letters; another one is refused."
    )
    size: Annotated[int, Field(ge=1, lt=1 << 53)] | None = Field(None, description="Bytes of the archive.")


class Submit(_Request):
    """How to run an experiment."""

    device: Annotated[str, Field(pattern=r"^(cpu|gpu)$")] = Field("cpu", description="Kind of device that it asks for.")


class Experiment(BaseModel):
    """An experiment and how far it is."""

    id: str
    user: str = Field(description="Name of the owner.")
    name: str
    category: str
    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    epochs: int = Field(description="Epochs to train; 0 before it is submitted.")
    epochs_done: int
    attempts: int = Field(description="How often it was started.")
    cancel_requested: bool = Field(description="Whether it was asked to stop while it ran, which takes a moment.")
    error: str | None = Field(description="Why it failed.")
    device: str | None
    job_id: str | None
    input_id: str
    output_id: str | None = Field(description="The result's file, once it is there.")
    has_input: bool
    has_payload: bool
    metrics: dict[str, Any] | None = Field(description="Metrics of the last finished epoch.")
    summary: dict[str, Any] | None = Field(description="What the check found in the archive.")

    @classmethod
    def of(cls, view: ExperimentView) -> Self:
        """Return the model of a view."""
        values = {name: getattr(view, name) for name in (field.name for field in dataclasses.fields(view))}
        for name in ("created_at", "started_at", "finished_at"):
            values[name] = None if values[name] is None else moment(values[name])
        for name in ("metrics", "summary"):
            values[name] = finite(values[name])
        return cls(**values)


class Link(BaseModel):
    """Where to send or get a file, for a while, without a token."""

    url: str


class FileLink(Link):
    """Where to get a file."""

    sha256: str
    size: int = Field(description="Bytes.")


class Created(BaseModel):
    """A new experiment and where its archive goes."""

    experiment: Experiment
    upload: Link | None = Field(description="Where to PUT the archive; null once it is there.")


class ExperimentList(BaseModel):
    """Experiments, newest first."""

    experiments: list[Experiment]
    next: str | None = Field(description="Give it as 'before' to get the following ones; null at the end.")


class Event(BaseModel):
    """Something that happened to an experiment."""

    id: int = Field(description="Grows; the cursor of readers.")
    kind: Literal["state", "epoch", "log"]
    data: dict[str, Any] = Field(description="Of a state: status; of an epoch: its metrics; of a log: text.")
    created_at: datetime

    @classmethod
    def of(cls, view: EventView) -> Self:
        """Return the model of a view."""
        return cls(id=view.id, kind=view.kind, data=finite(view.data), created_at=moment(view.created_at))  # type: ignore[arg-type]


class Events(BaseModel):
    """Events after a cursor."""

    events: list[Event]
    cursor: int = Field(description="Give it as 'after' to get the following ones.")
    status: Status = Field(description="Of the experiment.")


class EpochResult(BaseModel):
    """Metrics of an epoch; the accuracy is missing where there are no classes, further metrics have their own names."""

    model_config = ConfigDict(extra="allow")

    epoch: int
    accuracy: Metric = None
    train_loss: Metric = None
    valid_loss: Metric = None
    time_epoch: Metric = Field(None, description="Seconds.")


class Result(BaseModel):
    """What a completed experiment found."""

    metrics: list[EpochResult]


class LimitsAnswer(BaseModel):
    """Limits of a token."""

    max_archive_bytes: int
    max_jobs: int
    max_seconds: float


class Me(BaseModel):
    """Who asks."""

    user: str
    scope: Literal["user", "admin", "worker"]
    limits: LimitsAnswer

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """Return the model of an identity."""
        return cls(user=identity.user, scope=identity.scope, limits=LimitsAnswer(**dataclasses.asdict(identity.limits)))


class Health(BaseModel):
    """Whether the server works."""

    status: Literal["ok"]
    version: str
    jobs: dict[str, int] = Field(description="Number of jobs by their status.")


def moment(seconds: float) -> datetime:
    """Return seconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def finite(value: Any) -> Any:
    """Return JSON values with ``None`` in place of numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    return [finite(entry) for entry in value] if isinstance(value, list | tuple) else value
