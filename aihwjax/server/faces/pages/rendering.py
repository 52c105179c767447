"""Templates, and the files that pages need."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse, Response

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.pages import words
from aihwjax.version import __version__

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}  # the address names the content


def page(template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """Return a rendered page; whatever it is given is escaped.

    Args:
        template: Name of the template.
        status: HTTP status.
        headers: Further headers.
        **values: What the template shows.
    """
    return HTMLResponse(_environment().get_template(template).render(values), status, headers)


def static_file(name: str) -> Response:
    """Return a style sheet, script or icon.

    Args:
        name: Its name.

    Raises:
        ServiceError: 404.
    """
    found = _static().get(name)
    if found is None:
        raise ServiceError(404, "not_found", "there is no such file")
    return Response(found[0], media_type=_TYPES[Path(name).suffix], headers=_KEPT)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(version=__version__, static=_address, words=words)
    return environment


@cache
def _static() -> dict[str, tuple[bytes, str]]:
    """Return content and hash of each file."""
    contents = {path.name: path.read_bytes() for path in (_HERE / "static").iterdir() if path.suffix in _TYPES}
    return {name: (content, hashlib.sha256(content).hexdigest()[:12]) for name, content in contents.items()}


def _address(name: str) -> str:
    return f"/ui/static/{name}?v={_static()[name][1]}"
