"""What can be taken from an experiment's page: its files, metrics and log."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Literal

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from aihwjax.server.faces.pages import words
from aihwjax.server.faces.pages.experiment import histories
from aihwjax.server.faces.pages.histories import log_lines
from aihwjax.server.faces.pages.routing import PageRoute
from aihwjax.server.faces.pages.session import PREFIX, VisitorOf
from aihwjax.server.faces.schemas import finite
from aihwjax.server.views import ExperimentView

router = APIRouter(prefix=f"{PREFIX}/experiments/{{experiment_id}}", route_class=PageRoute)


@router.get("/files/{kind}")
def file(visitor: VisitorOf, experiment_id: str, kind: Literal["input", "output"]) -> Response:
    """Send the experiment as it was sent in, or the trained network, of a sweep its table."""
    view = visitor.core.experiment(visitor.who, experiment_id)
    found = visitor.core.open_artefact(visitor.who, view.id, kind)
    table = kind == "output" and words.is_sweep(view.summary)
    ending = "-table.csv" if table else "-trained.tar" if kind == "output" else ".tar"
    headers = {"Content-Length": str(found.size), **_named(view, ending)}
    media_type = "text/csv; charset=utf-8" if table else "application/x-tar"
    return StreamingResponse(found.chunks, headers=headers, media_type=media_type)


@router.get("/metrics.json")
def metrics(visitor: VisitorOf, experiment_id: str, request: Request) -> Response:
    """Send the metrics of all epochs so far."""
    view = visitor.core.experiment(visitor.who, experiment_id)
    history = histories(request).of(visitor.core, visitor.who, view.id)
    content = {
        "id": view.id,
        "name": view.name,
        "status": view.status,
        "metrics": [finite(epoch.entries()) for epoch in history.epochs],
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    return Response(text + "\n", media_type="application/json", headers=_named(view, "-metrics.json"))


@router.get("/log.txt")
def log(visitor: VisitorOf, experiment_id: str) -> Response:
    """Send the whole log."""
    view = visitor.core.experiment(visitor.who, experiment_id)
    lines = (f"{line}\n" for line in log_lines(visitor.core, visitor.who, view.id))
    return StreamingResponse(lines, media_type="text/plain; charset=utf-8", headers=_named(view, "-log.txt"))


def _named(view: ExperimentView, ending: str) -> dict[str, str]:
    """Name a file after an experiment, in letters that every system takes."""
    letters = unicodedata.normalize("NFKD", view.name).encode("ascii", "ignore").decode().lower()
    short = re.sub(r"[^a-z0-9]+", "-", letters)[:40].strip("-") or "experiment"
    return {"Content-Disposition": f'attachment; filename="{short}-{view.id[:8]}{ending}"'}
