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

    error: ErrorDetail = Field(description="What was refused, and why.")
    message: str = Field(description="The message once more.")


class NewExperiment(_Request):
    """An experiment to be made; its archive follows."""

    name: Annotated[str, Field(min_length=1, max_length=200, description="For people; need not be unique.")]
    category: Literal["train", "inference"] = Field("train", description="What kind of run it is.")
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

    id: str = Field(description="32 hexadecimal digits; its start is enough in requests.")
    user: str = Field(description="Name of the owner.")
    name: str = Field(description="For people.")
    category: str = Field(description="What kind of run it is.")
    status: Status = Field(description="How far it is.")
    created_at: datetime = Field(description="When it was made, UTC.")
    started_at: datetime | None = Field(description="When a worker took it up first, UTC.")
    finished_at: datetime | None = Field(description="When it ended, UTC.")
    epochs: int = Field(description="Epochs to train, chips to program, or networks to sweep; 0 before it is sent in.")
    epochs_done: int = Field(description="Epochs, chips or networks that are finished.")
    attempts: int = Field(description="How often it was started.")
    cancel_requested: bool = Field(description="Whether it was asked to stop while it ran, which takes a moment.")
    error: str | None = Field(description="Why it failed.")
    device: str | None = Field(description="Kind of device that it asks for, or ran on.")
    job_id: str | None = Field(description="The job's id, once it is submitted.")
    input_id: str = Field(description="The id of its archive.")
    output_id: str | None = Field(description="The result's file, once it is there.")
    has_input: bool = Field(description="Whether its archive has come.")
    has_payload: bool = Field(description="Whether the payload of the reference's client has come.")
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

    url: str = Field(description="Whole address, with the signature.")


class FileLink(Link):
    """Where to get a file."""

    sha256: str = Field(description="SHA-256 of the file, in small hexadecimal letters.")
    size: int = Field(description="Bytes.")


class Created(BaseModel):
    """A new experiment and where its archive goes."""

    experiment: Experiment = Field(description="The experiment.")
    upload: Link | None = Field(description="Where to PUT the archive; null once it is there.")


class ExperimentList(BaseModel):
    """Experiments, newest first."""

    experiments: list[Experiment] = Field(description="Newest first.")
    next: str | None = Field(description="Give it as 'before' to get the following ones; null at the end.")


class Event(BaseModel):
    """Something that happened to an experiment."""

    id: int = Field(description="Grows; the cursor of readers.")
    kind: Literal["state", "epoch", "log"] = Field(description="What happened.")
    data: dict[str, Any] = Field(description="Of a state: status; of an epoch: its metrics; of a log: text.")
    created_at: datetime = Field(description="When it happened, UTC.")

    @classmethod
    def of(cls, view: EventView) -> Self:
        """Return the model of a view."""
        return cls(id=view.id, kind=view.kind, data=finite(view.data), created_at=moment(view.created_at))  # type: ignore[arg-type]


class Events(BaseModel):
    """Events after a cursor."""

    events: list[Event] = Field(description="Oldest first.")
    cursor: int = Field(description="Give it as 'after' to get the following ones.")
    status: Status = Field(description="Of the experiment.")


class EpochResult(BaseModel):
    """Metrics of an epoch; the accuracy is missing where there are no classes, further metrics have their own names.

    Of an inference experiment those of a chip at the last time, and ``over_time`` with a row for each time, whose
    accuracy is in percent. Of a sweep those of a network after its last epoch, and ``network`` with the number of its
    configuration (``index``), ``seed``, ``values`` by path, and a row for each epoch (``rows``).
    """

    model_config = ConfigDict(extra="allow")

    epoch: int = Field(description="Number of the epoch, from 0.")
    accuracy: Metric = Field(None, description="Correct fraction of the validation set, 0 to 1.")
    train_loss: Metric = Field(None, description="Mean loss over the training set, while the weights change.")
    valid_loss: Metric = Field(None, description="Mean loss over the validation set after the epoch.")
    time_epoch: Metric = Field(None, description="Seconds.")


class Result(BaseModel):
    """What a completed experiment found."""

    metrics: list[EpochResult] = Field(description="Of each epoch.")


class LimitsAnswer(BaseModel):
    """Limits of a token."""

    max_archive_bytes: int = Field(description="Most bytes of an uploaded experiment.")
    max_jobs: int = Field(description="Most waiting and running jobs.")
    max_seconds: float = Field(description="Most seconds that a job computes.")


class Me(BaseModel):
    """Who asks."""

    user: str = Field(description="Name of the user.")
    scope: Literal["user", "admin", "worker"] = Field(description="What the token may do.")
    limits: LimitsAnswer = Field(description="Limits of the token.")

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """Return the model of an identity."""
        return cls(user=identity.user, scope=identity.scope, limits=LimitsAnswer(**dataclasses.asdict(identity.limits)))


class Health(BaseModel):
    """Whether the server works."""

    status: Literal["ok"] = Field(description="Always ok: a server that doesn't work gives no such answer.")
    version: str = Field(description="Version of aihwjax on the server.")
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
