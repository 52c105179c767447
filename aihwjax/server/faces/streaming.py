"""Events of an experiment as they happen: server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.calling import Caller
from aihwjax.server.faces.schemas import Event
from aihwjax.server.views import EventView, Status

EVENT_STREAM = "text/event-stream"
"""Media type of the events."""

EVENT_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string", "enum": ["state", "epoch", "log", "end"]},
        "data": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
"""One event, as an OpenAPI schema: its data is an event of the API in JSON; at the end, the final status."""

_LOOK_SECONDS = 0.5
_ALIVE_SECONDS = 15.0
_AT_ONCE = 500
_MOST_STREAMS = 1000
_MOST_CURSOR = 1 << 63


async def event_stream(request: Request, caller: Caller, experiment_id: str, after: int) -> StreamingResponse:
    """Return an answer that goes on until the experiment has ended and all is told.

    Args:
        request: Its header ``Last-Event-ID`` replaces ``after``.
        caller: Who asks, checked again every time the stream looks: a revoked token ends it.
        experiment_id: The experiment.
        after: Only events after the one with this id.

    Raises:
        ServiceError: 503 if there are too many streams, 422 if the header is no number.
    """
    cursor = _cursor(request, after)
    if request.app.state.streams >= _MOST_STREAMS:
        raise ServiceError(503, "busy", "too many streams at once, try again", retry_after=10)
    headers = {"X-Accel-Buffering": "no"}  # proxies pass on what they get at once
    lines = _lines(request, caller, experiment_id, cursor)
    return StreamingResponse(lines, media_type=EVENT_STREAM, headers=headers)


async def _lines(request: Request, caller: Caller, experiment_id: str, cursor: int) -> AsyncIterator[str]:
    state = request.app.state
    state.streams += 1
    try:
        yield "retry: 2000\n\n"
        told = time.monotonic()
        while not state.ending:
            try:
                status, found = await run_in_threadpool(_look, caller, experiment_id, cursor)
            except ServiceError as error:
                if error.status < 500:
                    return
                found, status = [], None  # the database will be back
            for event in found:
                cursor = event.id
                yield _text(event)
            if found:
                told = time.monotonic()
            elif status is not None and status.final:
                yield f"event: end\ndata: {status}\n\n"
                return
            elif time.monotonic() - told > _ALIVE_SECONDS:
                yield ": alive\n\n"
                told = time.monotonic()
            if len(found) < _AT_ONCE:
                await asyncio.sleep(_LOOK_SECONDS)
    finally:
        state.streams -= 1


def _look(caller: Caller, experiment_id: str, cursor: int) -> tuple[Status, list[EventView]]:
    who = caller.identity()
    status = caller.core.experiment(who, experiment_id).status  # first: a final state has all its events
    return status, caller.core.events(who, experiment_id, after=cursor, limit=_AT_ONCE)


def _text(event: EventView) -> str:
    return f"id: {event.id}\nevent: {event.kind}\ndata: {Event.of(event).model_dump_json()}\n\n"


def _cursor(request: Request, after: int) -> int:
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return after
    if not (text.isascii() and text.isdigit()) or int(text[:20]) >= _MOST_CURSOR:
        raise ServiceError(422, "bad_value", "Last-Event-ID is not allowed: give the id of an event", "Last-Event-ID")
    return int(text)
