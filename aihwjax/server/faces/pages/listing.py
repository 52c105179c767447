"""The page with all experiments."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from aihwjax.server.faces.pages.rendering import page
from aihwjax.server.faces.pages.routing import PageRoute
from aihwjax.server.faces.pages.session import PREFIX, VisitorOf
from aihwjax.server.views import Status

router = APIRouter(prefix=PREFIX, route_class=PageRoute)

ON_A_PAGE = 20
"""Experiments on a page."""
_POLL_SECONDS = (5, 30)  # while something runs or waits, and else


@router.get("")
@router.get("/")
def experiments(
    visitor: VisitorOf,
    status: Annotated[str, Query(max_length=20)] = "",
    before: Annotated[str, Query(max_length=32)] = "",
) -> Response:
    """List experiments, newest first."""
    found = visitor.core.experiments(visitor.who, status=status or None, limit=ON_A_PAGE + 1, before=before or None)
    shown = found[:ON_A_PAGE]
    older = _address(status, shown[-1].id) if len(found) > ON_A_PAGE else None
    active = any(view.status in (Status.WAITING, Status.RUNNING) for view in shown)
    return page(
        "list.html",
        who=visitor.who,
        csrf=visitor.csrf,
        experiments=shown,
        chosen=status,
        filters=[(name, _address(name, "")) for name in ("", "waiting", "running", "completed", "failed", "cancelled")],
        older=older,
        newest=_address(status, "") if before else None,
        poll=_POLL_SECONDS[0 if active else 1],
    )


def _address(status: str, before: str) -> str:
    query = {name: value for name, value in (("status", status), ("before", before)) if value}
    return PREFIX + ("?" + urlencode(query) if query else "")
