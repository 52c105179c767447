"""The page of one experiment, its stream of events, and the form that cancels it."""

from __future__ import annotations

import dataclasses
import threading
import time

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.pages import curves, over_time, swept, words
from aihwjax.server.faces.pages.configuration import configuration
from aihwjax.server.faces.pages.histories import SHOWN_LINES, Epoch, Histories
from aihwjax.server.faces.pages.rendering import page
from aihwjax.server.faces.pages.routing import PageRoute
from aihwjax.server.faces.pages.session import PREFIX, CsrfField, Visitor, VisitorOf, visitor
from aihwjax.server.faces.streaming import event_stream
from aihwjax.server.views import ExperimentView, Status

router = APIRouter(prefix=f"{PREFIX}/experiments/{{experiment_id}}", route_class=PageRoute)

SHOWN_EPOCHS = 100
"""Rows of the table of epochs, or of configurations."""
_POLL_SECONDS = 15  # besides the stream, which a proxy may hold up
_FALLBACK_SECONDS = 3  # without a stream
_MAKING = threading.Lock()


@router.get("")
def experiment(visitor: VisitorOf, experiment_id: str, request: Request) -> Response:
    """Show an experiment."""
    core, who = visitor.core, visitor.who
    view = core.experiment(who, experiment_id)  # before its history: a final state then includes it all
    if view.id != experiment_id:
        return RedirectResponse(address(view.id), 303)
    kept = histories(request)
    history = kept.of(core, who, view.id)
    # some epochs may have ended between the two looks
    view = dataclasses.replace(view, epochs_done=max(view.epochs_done, len(history.epochs)))
    times = over_time.rows(history.epochs)
    found = swept.configurations(history.epochs)
    files = [
        (kind, core.artefact(who, view.id, kind))
        for kind, there in (("output", view.output_id is not None), ("input", view.has_input))
        if there
    ]
    return page(
        "experiment.html",
        who=who,
        csrf=visitor.csrf,
        experiment=view,
        address=address(view.id),
        charts=_charts(history.epochs, view, times),
        chips=words.is_inference(view.summary),
        times=times,
        sweep=words.is_sweep(view.summary),
        swept=found[:SHOWN_EPOCHS],
        swept_count=len(found),
        diverged=sum(each.diverged for each in found),
        paths=swept.paths(found),
        value_text=swept.value_text,
        time_text=over_time.time_text,
        place=curves,
        epochs=history.epochs[-SHOWN_EPOCHS:],
        classes=any(epoch.classes for epoch in history.epochs),
        own_names=curves.own_names(history.epochs),
        epoch_count=len(history.epochs),
        lines=history.lines,
        line_count=history.line_count,
        most_lines=SHOWN_LINES,
        configuration=configuration(view.summary, kept.document(core, who, view)),
        files=files,
        cursor=history.cursor,
        announcement=_announced(view),
        took=_took(view),
        cancelling=view.cancel_requested and view.status is Status.RUNNING,
        poll=_POLL_SECONDS,
        fallback=_FALLBACK_SECONDS,
    )


@router.post("/cancel")
def cancel(visitor: VisitorOf, experiment_id: str, csrf: CsrfField = "") -> Response:
    """Cancel an experiment."""
    visitor.check(csrf)
    return RedirectResponse(address(visitor.core.cancel(visitor.who, experiment_id).id), 303)


@router.get("/stream")
async def stream(request: Request, experiment_id: str, after: int = 0) -> Response:
    """Tell the page what happens, as the API does."""
    if not 0 <= after < 1 << 63:
        raise ServiceError(422, "bad_value", "after is not allowed: give the id of an event", "after")
    found, view = await run_in_threadpool(_found, request, experiment_id)
    return await event_stream(request, found.caller, view.id, after)


def address(experiment_id: str) -> str:
    """Return where the page of an experiment is."""
    return f"{PREFIX}/experiments/{experiment_id}"


def histories(request: Request) -> Histories:
    """Return the histories of the app that got a request."""
    state = request.app.state
    with _MAKING:
        if not hasattr(state, "histories"):
            state.histories = Histories()
        return state.histories


def _found(request: Request, experiment_id: str) -> tuple[Visitor, ExperimentView]:
    found = visitor(request)
    return found, found.core.experiment(found.who, experiment_id)


def _charts(epochs: list[Epoch], view: ExperimentView, times: list[over_time.TimeRow]) -> list[curves.Chart]:
    if not epochs or words.is_sweep(view.summary):
        return []
    return over_time.charts(times) if times else curves.charts(epochs, view.epochs, view.status.final)


def _announced(view: ExperimentView) -> str:
    """Return what a screen reader says when it changes: each state, and each tenth of the way."""
    text = words.STATUS[view.status]
    if view.status is Status.RUNNING and view.epochs:
        return f"{text}, {10 * (10 * view.epochs_done // view.epochs)} percent done"
    return text


def _took(view: ExperimentView) -> str | None:
    if view.started_at is None or view.status is Status.WAITING:
        return None
    return words.seconds(max(0.0, (view.finished_at or time.time()) - view.started_at))
