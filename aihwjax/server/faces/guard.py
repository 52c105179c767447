"""What holds for every answer: headers for browsers, a line in the log, and no error that tells too much."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aihwjax.server.faces.answers import refusal

_ACCESS = logging.getLogger("aihwjax.server.access")
_ERRORS = logging.getLogger("aihwjax.server.errors")

_CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    b"content-security-policy": _CONTENT_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cache-control": b"no-store",
}
_CLIENT_LEFT = 499


class Guard:
    """ASGI: the outermost layer of the app.

    Log lines have the path but never the query, whose signatures are secrets, nor any header.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope = _with_one_slash(scope)
        start, status = time.perf_counter(), 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message.get("headers", ())}
                added = [(name, value) for name, value in _HEADERS.items() if name not in given]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except ClientDisconnect:
            status = status or _CLIENT_LEFT
        except Exception as error:
            _ERRORS.error("%s %s failed: %s", scope["method"], _shown(scope), _told(error))
            if not status:
                answer = refusal(500, "internal", "something went wrong here; the server's log says what")
                await answer(scope, receive, guarded)
        finally:
            milliseconds = 1000 * (time.perf_counter() - start)
            _ACCESS.info("%s %s %s %.1f ms", scope["method"], _shown(scope), status or _CLIENT_LEFT, milliseconds)
        return None


def _with_one_slash(scope: Scope) -> MutableMapping[str, Any]:
    """Take ``//token/login`` as ``/token/login``: a client whose URL ends with a slash asks so."""
    path: str = scope["path"]
    if not path.startswith("//"):
        return scope
    path = "/" + path.lstrip("/")
    return {**scope, "path": path, "raw_path": quote(path).encode()}


def _shown(scope: Scope) -> str:
    return quote(scope["path"][:300])


def _told(error: Exception) -> str:
    """Return the kind, the first line and the places of an error: later lines may quote a request's values."""
    first = str(error).partition("\n")[0][:300]
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:]]
    return f"{type(error).__name__}: {first} ({' > '.join(places)})"
