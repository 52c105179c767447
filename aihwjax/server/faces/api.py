"""The API under /api/v1: everything that aihwjax's own client and the page do."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from aihwjax.server.faces.answers import declared
from aihwjax.server.faces.calling import Caller, CallerOf, absolute, core_of, slowly
from aihwjax.server.faces.schemas import (
    Created,
    EpochResult,
    Event,
    Events,
    Experiment,
    ExperimentList,
    FileLink,
    Health,
    Link,
    Me,
    NewExperiment,
    Result,
    Submit,
    finite,
)
from aihwjax.server.faces.streaming import EVENT_SCHEMA, EVENT_STREAM, event_stream
from aihwjax.server.views import ExperimentView, Status
from aihwjax.version import __version__

PREFIX = "/api/v1"
"""Where the routes are."""

router = APIRouter(prefix=PREFIX, tags=["api"])

ExperimentId: TypeAlias = Annotated[
    str, Path(alias="id", pattern="^[0-9a-f]{4,32}$", description="Id of the experiment, or the start of it.")
]
FileKind: TypeAlias = Annotated[Literal["input", "output"], Path(description="What it was made from, or the result.")]
_MOST_LISTED = 1000
_CURSOR = Query(ge=0, lt=1 << 63, description="Only events after the one with this id.")


@router.get("/health", responses=declared())
def health(request: Request) -> Health:
    """Tell whether the server works, its version, and how many jobs it has by status. Needs no token."""
    return Health(status="ok", version=__version__, jobs=core_of(request).counts())


@router.get("/me", responses=declared(401))
def me(caller: CallerOf) -> Me:
    """Tell who asks. The answer has the user and scope of the token and its limits."""
    return Me.of(caller.identity())


@router.post(
    "/experiments",
    status_code=201,
    responses={**declared(401, 409, 422), 200: {"model": Created, "description": "It was made before."}},
)
def create(caller: CallerOf, new: NewExperiment, request: Request, response: Response) -> Created:
    """Make an experiment. Its archive goes to the URL of the answer; then it is submitted.

    Repeating a submission changes nothing: the same experiment comes back with 200.
    """
    who = caller.identity()
    view = caller.core.create(who, **new.model_dump())
    if view.has_input or view.status is not Status.CREATED:
        response.status_code = 200
        return Created(experiment=Experiment.of(view), upload=None)
    url = absolute(request, caller.core.upload_url(who, view.id))
    return Created(experiment=Experiment.of(view), upload=Link(url=url))


@router.get("/experiments", responses=declared(401, 404, 422))
def experiments(
    caller: CallerOf,
    status: Annotated[Status | None, Query(description="Only with this status.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST_LISTED, description="At most so many.")] = 100,
    before: Annotated[
        str | None, Query(pattern="^[0-9a-f]{32}$", description="Only older ones than that with this id.")
    ] = None,
) -> ExperimentList:
    """List experiments, newest first. Those of the user; a token of scope admin sees everyone's."""
    views = caller.core.experiments(caller.identity(), status=status, limit=limit, before=before)
    following = views[-1].id if len(views) == limit else None
    return ExperimentList(experiments=[Experiment.of(view) for view in views], next=following)


@router.get("/experiments/{id}", responses=declared(401, 404, 409, 422))
async def experiment(caller: CallerOf, experiment_id: ExperimentId) -> Experiment:
    """Tell how far an experiment is. The start of its id is enough where no other one starts like it."""
    # asked most of all: one visit to another thread instead of the two of a plain function
    return Experiment.of(await run_in_threadpool(_found, caller, experiment_id))


@router.post("/experiments/{id}/submit", responses=declared(401, 404, 409, 422))
async def submit(
    caller: CallerOf, experiment_id: ExperimentId, request: Request, how: Submit | None = None
) -> Experiment:
    """Check the archive of an experiment and put its job in the queue. Repeating it changes nothing."""
    # a wrong token, or another's experiment, must not wait in line
    found = await run_in_threadpool(_found, caller, experiment_id)
    if found.status is not Status.CREATED:
        return Experiment.of(found)
    device = (how or Submit(device="cpu")).device
    return Experiment.of(await slowly(request, _submit, caller, found.id, device))


@router.get("/experiments/{id}/events", responses=declared(401, 404, 409, 422))
def events(
    caller: CallerOf,
    experiment_id: ExperimentId,
    after: Annotated[int, _CURSOR] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_LISTED, description="At most so many.")] = _MOST_LISTED,
) -> Events:
    """Tell what happened to an experiment, oldest first. Events are changes of state, epochs, and lines of the log."""
    who = caller.identity()
    view = caller.core.experiment(who, experiment_id)  # before its events: a final state then includes them all
    found = caller.core.events(who, view.id, after=after, limit=limit)
    return Events(
        events=[Event.of(event) for event in found], cursor=found[-1].id if found else after, status=view.status
    )


@router.get(
    "/experiments/{id}/stream",
    response_class=Response,
    responses={
        **declared(401, 404, 409, 422),
        200: {"content": {EVENT_STREAM: {"schema": EVENT_SCHEMA}}, "description": "Server-sent events."},
    },
)
async def stream(
    caller: CallerOf,
    experiment_id: ExperimentId,
    request: Request,
    after: Annotated[int, _CURSOR] = 0,
) -> Response:
    """Tell what happens to an experiment as it happens, until it ends. ``Last-Event-ID`` goes on from an event."""
    view = await run_in_threadpool(_found, caller, experiment_id)
    return await event_stream(request, caller, view.id, after)


# a metric that an experiment does not have is left out: null is one that is not finite
@router.get("/experiments/{id}/result", responses=declared(401, 404, 409, 422), response_model_exclude_unset=True)
def result(caller: CallerOf, experiment_id: ExperimentId) -> Result:
    """Tell the metrics of each epoch of a completed experiment. Others are refused with 409."""
    found = caller.core.result(caller.identity(), experiment_id)
    return Result(metrics=[EpochResult(**finite(entry)) for entry in found])


@router.get("/experiments/{id}/files/{kind}", responses=declared(401, 404, 409, 422))
def file(caller: CallerOf, experiment_id: ExperimentId, kind: FileKind, request: Request) -> FileLink:
    """Tell where to get a file of an experiment. It is what the experiment was made from, or the trained network.

    The result of a sweep is its table as CSV. The link needs no token and is valid for a quarter of an hour.
    """
    who = caller.identity()
    stored = caller.core.artefact(who, experiment_id, kind)
    url = absolute(request, caller.core.download_url(who, experiment_id, kind))
    return FileLink(url=url, sha256=stored.sha256, size=stored.size)


@router.post("/experiments/{id}/cancel", responses=declared(401, 404, 409, 422))
def cancel(caller: CallerOf, experiment_id: ExperimentId) -> Experiment:
    """Cancel an experiment. A running one stops after a moment. Repeating it changes nothing."""
    return Experiment.of(caller.core.cancel(caller.identity(), experiment_id))


def _found(caller: Caller, experiment_id: str) -> ExperimentView:
    return caller.core.experiment(caller.identity(), experiment_id)


def _submit(caller: Caller, experiment_id: str, device: str) -> ExperimentView:
    return caller.core.submit(caller.identity(), experiment_id, device=device)
