"""What one client can't take from the others: bodies are limited while they arrive, slow work has few places."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.answers import refusal

JSON_BYTES = 1 << 20
"""Most bytes of a request's body."""
FORM_BYTES = 1 << 16
"""Most bytes of a page's form."""
IDLE_SECONDS = 60
"""After so many seconds without a byte of a body that has not ended, a request is given up."""


class BodyLimit:
    """ASGI: refuse bodies that are too large or that don't go on, without keeping them.

    Uploads of files have a limit of their own, where they are received.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = _limit(scope)
        if limit is not None and _announced(scope) > limit:
            answer = refusal(413, "too_large", _too_large(limit), headers={"Connection": "close"})
            return await answer(scope, receive, send)
        received, ended = 0, False

        async def counted() -> Message:
            nonlocal received, ended
            if ended:
                return await receive()  # waits for the client to leave, for as long as the answer takes
            try:
                message = await asyncio.wait_for(receive(), IDLE_SECONDS)
            except TimeoutError:
                raise HTTPException(408) from None
            received += len(message.get("body", b""))
            ended = message["type"] != "http.request" or not message.get("more_body", False)
            if limit is not None and received > limit:
                raise HTTPException(413)
            return message

        return await self._app(scope, counted, send)


class Places:
    """So many at a time, so many more in line; whoever comes later is asked to come again."""

    def __init__(self, places: int, line: int, what: str) -> None:
        """Make them.

        Args:
            places: How many at a time.
            line: How many may wait.
            what: What there are too many of, for the refusal.
        """
        self._open = asyncio.Semaphore(places)
        self._most = places + line
        self._inside = 0
        self._what = what

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place, after waiting for it.

        Raises:
            ServiceError: 503 if the line is full.
        """
        if self._inside >= self._most:
            raise ServiceError(503, "busy", f"too many {self._what} at once, try again", retry_after=5)
        self._inside += 1
        try:
            async with self._open:
                yield
        finally:
            self._inside -= 1


def _limit(scope: Scope) -> int | None:
    path: str = scope["path"]
    if path.startswith("/files/"):
        return None
    return FORM_BYTES if path.startswith("/ui") else JSON_BYTES


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _too_large(limit: int) -> str:
    return f"the body is too large: send at most {limit} bytes"
