"""The web application: the core behind its faces."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from anyio import to_thread
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from aihwjax.server.core.service import Composer
from aihwjax.server.faces import answers, api, pages, transfers
from aihwjax.server.faces.guard import Guard
from aihwjax.server.faces.limits import BodyLimit, Places
from aihwjax.server.faces.wire import routes as wire
from aihwjax.server.settings import ServerSettings
from aihwjax.version import __version__

_THREADS = 16  # more of them only wait for each other: the work is in Python, or in the database
_CHECKED_AT_ONCE = 3  # the core checks two, and one more is fetched meanwhile
_CHECKS_IN_LINE = 200


def create_app(settings: ServerSettings) -> FastAPI:
    """Return the application.

    Args:
        settings: What the operator has set.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        app.state.composer = await run_in_threadpool(Composer, settings)
        app.state.slow_places = Places(_CHECKED_AT_ONCE, _CHECKS_IN_LINE, "experiments are submitted")
        app.state.streams, app.state.ending = 0, False
        try:
            yield
        finally:
            app.state.ending = True
            await run_in_threadpool(app.state.composer.close)

    app = FastAPI(
        title="aihwjax composer",
        summary="Runs analog training experiments for a group.",
        version=__version__,
        lifespan=lifespan,
        openapi_url=f"{api.PREFIX}/openapi.json",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=_operation,
        redirect_slashes=False,
    )
    answers.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Guard)
    for router in (api.router, transfers.router, wire.router):
        answers.describe(router)
        app.include_router(router)
    app.include_router(pages.router, include_in_schema=False)
    app.add_api_route("/", _start, methods=["GET"], include_in_schema=False)
    return app


def _start() -> RedirectResponse:
    return RedirectResponse("/ui", 303)


def _operation(route: APIRoute) -> str:
    return f"{route.tags[0] if route.tags else 'page'}_{route.name}"
