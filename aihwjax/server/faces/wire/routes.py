"""The calls of the wire protocol, as the reference's client makes and reads them.

An experiment's id is also the id of its input, its job and its output. What the client's user sees of a refusal
is its status and the path of its URL; so a job that is refused is sent on to a path that says why.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from aihwjax.chip_results import KIND
from aihwjax.cloud import tars
from aihwjax.server.core.service import Composer
from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.answers import declared, refusal
from aihwjax.server.faces.calling import Caller, CallerOf, absolute, address, core_of, slowly
from aihwjax.server.faces.schemas import moment
from aihwjax.server.faces.transfers import Expires, Signature
from aihwjax.server.faces.wire import convert, inferencing, presets
from aihwjax.server.views import ExperimentView, Identity, Limits, Status

router = APIRouter(tags=["wire"])

ItemId: TypeAlias = Annotated[str, PathParameter(alias="id", max_length=64, description="Id of the experiment.")]

_MOST_LISTED = 1000
_MOST_NAME = 200
_MOST_WORDS = 200
_DEVICES = ("cpu", "gpu", "tpu")
_MESSAGE = "application/octet-stream"
_SIGNED = Identity("", "", "", "admin", Limits(1, 1, 1.0))
"""Who asks with a signed link: the signature has said already that he may."""


class Login(BaseModel):
    """A token."""

    token: str = Field(description="As `aihwjax composer token create` printed it.")


class LoginAnswer(BaseModel):
    """A login that stands for it."""

    jwt: str = Field(description="Sent as the bearer of the other calls.")


class NewExperiment(BaseModel):
    """An experiment to be made."""

    name: str = Field("", description="For people.")
    category: Annotated[str, Field(pattern="^(train|trainweb|inference|inferenceweb)$")] = Field(
        "train", description="What kind of run it is."
    )


class Ask(BaseModel):
    """An experiment and the device that it asks for."""

    experiment: str = Field(description="Id of the experiment.")
    device: str = Field("gpu", description="Kind of device that it asks for.")


class Reference(BaseModel):
    """An id."""

    id: str = Field(description="Id of the file.")


class JobAnswer(BaseModel):
    """A job."""

    id: str = Field(description="Id of the experiment, which stands for its job.")
    status: str = Field(description="How far it is.")
    output: str | None = Field(description="Id of the result, once it is there.")


class ExperimentAnswer(BaseModel):
    """An experiment."""

    id: str = Field(description="Its id.")
    name: str = Field(description="For people.")
    category: str = Field(description="What kind of run it is.")
    createdAt: Annotated[str, Field(description="UTC, always with a fraction.")]
    input: Reference = Field(description="What it was made from.")
    job: JobAnswer | None = Field(description="Its job, once it has one.")


class UrlAnswer(BaseModel):
    """Where to send or get a file."""

    url: str = Field(description="Whole address, with the signature.")


@router.post("/token/login", responses=declared(400, 422))
def login(request: Request, body: Login) -> LoginAnswer:
    """Exchange a token for a login. The login is sent as the bearer of all other calls."""
    try:
        return LoginAnswer(jwt=core_of(request).login(body.token, client=address(request)))
    except ServiceError as error:
        if error.status == 401:  # the client reads the message of a 400 only
            raise ServiceError(400, error.code, error.message, "token") from None
        raise


@router.get("/experiments/me", responses=declared(401, 422))
def listed(caller: CallerOf) -> list[ExperimentAnswer]:
    """List the newest experiments of the user, at most 1,000."""
    who = caller.identity()
    views = caller.core.experiments(who, limit=_MOST_LISTED)
    return [_experiment(view) for view in views if view.user == who.user]


@router.post("/experiments", status_code=201, responses=declared(401, 403, 422))
def create(caller: CallerOf, body: NewExperiment) -> ExperimentAnswer:
    """Make an experiment. Its payload follows under the URL that ``/inputs`` gives, and ``/jobs`` starts it."""
    name = _printable(body.name)[:_MOST_NAME].strip() or "experiment"
    return _experiment(caller.core.create(caller.identity(), name=name, category=body.category))


@router.get("/experiments/{id}", responses=declared(401, 404, 409, 422))
def experiment(caller: CallerOf, item_id: ItemId) -> ExperimentAnswer:
    """Tell how far an experiment is, with its job once it has one."""
    return _experiment(caller.core.experiment(caller.identity(), item_id))


@router.post("/inputs", status_code=201, responses=declared(401, 404, 409, 422))
def send_input(caller: CallerOf, body: Ask, request: Request) -> UrlAnswer:
    """Tell where to send the payload of an experiment. The link takes a PUT request without a token."""
    return UrlAnswer(url=absolute(request, caller.core.upload_url(caller.identity(), body.experiment, "payload")))


@router.get("/inputs/{id}/file", responses=declared(401, 404, 409, 422))
def get_input(caller: CallerOf, item_id: ItemId, request: Request) -> UrlAnswer:
    """Tell where to get the payload of an experiment. The link needs no token."""
    who = caller.identity()
    return UrlAnswer(url=absolute(request, caller.core.download_url(who, item_id, "payload")))


@router.post(
    "/jobs",
    status_code=201,
    response_model=JobAnswer,
    responses={**declared(401, 404, 409, 422), 303: {"description": "It is refused; the path says why."}},
)
async def start(caller: CallerOf, body: Ask, request: Request) -> JobAnswer | Response:
    """Put the job of an experiment in the queue. Repeating it changes nothing."""
    view = await run_in_threadpool(_found, caller, body.experiment)  # a wrong token must not wait in line
    try:
        if view.status is Status.CREATED:
            device = body.device if body.device in _DEVICES else "cpu"
            view = await slowly(request, _start, caller, view, device)
    except convert.RefusedError as error:
        return _elsewhere(request, str(error))
    except ServiceError as error:
        if error.status != 422:
            raise
        return _elsewhere(request, error.message)
    return _job(view)


@router.get("/jobs/{id}", responses=declared(401, 404, 409, 422))
async def job(caller: CallerOf, item_id: ItemId) -> JobAnswer:
    """Tell how far the job of an experiment is."""
    view = await run_in_threadpool(_found, caller, item_id)  # asked most of all: one visit to another thread
    if view.job_id is None:
        raise ServiceError(404, "not_found", "there is no such job")
    return _job(view)


@router.get("/outputs/{id}/file", responses=declared(401, 404, 409, 422))
def get_output(caller: CallerOf, item_id: ItemId, request: Request) -> UrlAnswer:
    """Tell where to get the result of a completed experiment. The link needs no token."""
    view = caller.core.experiment(caller.identity(), item_id)
    if view.status is not Status.COMPLETED:
        raise ServiceError(409, str(view.status), f"the experiment has no result, it is {view.status}")
    return UrlAnswer(url=absolute(request, caller.core.sign(f"/outputs/{view.id}/message", "GET")))


@router.get(
    "/outputs/{id}/message",
    response_class=Response,
    responses={
        **declared(403, 404, 409, 422),
        200: {"content": {_MESSAGE: {"schema": {"type": "string", "format": "binary"}}}, "description": "The result."},
    },
)
def output(item_id: ItemId, expires: Expires, signature: Signature, request: Request) -> Response:
    """Send the result of an experiment, in the form of the reference's client. Its metrics and weights are in it."""
    core = core_of(request)
    core.check_signature(f"/outputs/{item_id}/message", "GET", dict(request.query_params))
    metrics = core.result(_SIGNED, item_id)
    view = core.experiment(_SIGNED, item_id)
    if (view.summary or {}).get("kind") == KIND:
        return Response(inferencing.inferencing_output(metrics, view.epochs), media_type=_MESSAGE)
    return Response(convert.training_output(_payload(core, item_id), metrics), media_type=_MESSAGE)


@router.get("/refused/{words}", status_code=422, responses=declared(422))
def refused(
    words: Annotated[str, PathParameter(max_length=2 * _MOST_WORDS, description="Why, with dashes for blanks.")],
) -> Response:
    """Say that something is refused, and why. That client shows nothing of a refusal but its path."""
    return refusal(422, "refused", words.replace("-", " "))


# ----------------------------------------------------------------------------- how they are made
def _found(caller: Caller, experiment_id: str) -> ExperimentView:
    return caller.core.experiment(caller.identity(), experiment_id)


def _start(caller: Caller, view: ExperimentView, device: str) -> ExperimentView:
    """Make the archive of an experiment from its payload and submit it."""
    who = caller.identity()
    if view.has_payload:
        payload = caller.core.read_artefact(who, view.id, "payload")
        training = view.category.startswith("train")
        if training:
            document = convert.experiment_document(payload, _key(view.id), presets.documents())
        else:
            document = inferencing.inference_document(payload, _key(view.id), presets.inference_documents())
        caller.core.store_archive(who, view.id, _archive(document))
        try:
            return caller.core.submit(who, view.id, device=device)
        except ServiceError as error:
            if error.status != 422:
                raise
            told = (convert if training else inferencing).in_its_numbers(error.message, payload)
            raise convert.RefusedError(told) from None
    return caller.core.submit(who, view.id, device=device)


def _archive(document: convert.Document) -> io.BytesIO:
    """Return the archive of a document without parameters."""
    archive = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="aihwjax-") as folder:
        Path(folder, tars.DOCUMENT).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
        tars.write(archive, Path(folder))
    archive.seek(0)
    return archive


def _key(experiment_id: str) -> int:
    """Return the seed of an experiment: the client gives none and expects that runs differ."""
    return int(experiment_id[:7], 16)


def _payload(core: Composer, experiment_id: str) -> bytes | None:
    view = core.experiment(_SIGNED, experiment_id)
    return core.read_artefact(_SIGNED, experiment_id, "payload") if view.has_payload else None


def _experiment(view: ExperimentView) -> ExperimentAnswer:
    return ExperimentAnswer(
        id=view.id,
        name=view.name,
        category=view.category,
        createdAt=_time(moment(view.created_at)),
        input=Reference(id=view.id),
        job=None if view.job_id is None else _job(view),
    )


def _job(view: ExperimentView) -> JobAnswer:
    completed = view.status is Status.COMPLETED
    return JobAnswer(id=view.id, status=str(view.status), output=view.id if completed else None)


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _elsewhere(request: Request, why: str) -> RedirectResponse:
    words = re.sub(r"[^A-Za-z0-9.]+", "-", why)[:_MOST_WORDS].strip("-.")
    return RedirectResponse(absolute(request, f"/refused/{words or 'it-is-not-allowed'}"), 303)


def _printable(name: Any) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
