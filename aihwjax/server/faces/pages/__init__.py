"""The pages under /ui, rendered here: signing in, the experiments, and one of them as it trains."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.pages import downloads, experiment, listing, session, signing_in
from aihwjax.server.faces.pages.rendering import static_file
from aihwjax.server.faces.pages.routing import PageRoute

__all__ = ["router"]

router = APIRouter(route_class=PageRoute)
"""All routes of the pages."""

for part in (signing_in, listing, experiment, downloads):
    router.include_router(part.router)


@router.get(f"{session.PREFIX}/static/{{name}}")
def static(name: str) -> Response:
    """Send a style sheet, script or icon."""
    return static_file(name)


@router.get(f"{session.PREFIX}/{{rest:path}}")
def missing(rest: str, request: Request) -> Response:
    """Tell that there is no such page."""
    raise ServiceError(404, "not_found", "there is no such page")
