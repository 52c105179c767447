"""Who calls, and how a call reaches the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ParamSpec, TypeAlias, TypeVar

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from aihwjax.server.core.service import Composer
from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.limits import Places
from aihwjax.server.views import Identity

P = ParamSpec("P")
T = TypeVar("T")

TOKEN_PREFIX = "aihwjax_"
"""How every token starts; anything else is a login."""

_bearer = HTTPBearer(auto_error=False, description="A token of this server, or a login made with one.")


class Caller:
    """Someone who asks with a token or a login, which is checked when it is needed."""

    def __init__(self, core: Composer, credentials: str | None, client: str) -> None:
        """Keep who asks.

        Args:
            core: The core.
            credentials: Token or login; ``None``: none was given.
            client: Address of the client, under which failures are counted.
        """
        self.core = core
        self._credentials = credentials
        self._client = client

    def identity(self) -> Identity:
        """Return who it is.

        Raises:
            ServiceError: 401 if the token or login is missing or not valid, 429 after too many failures.
        """
        if not self._credentials:
            raise ServiceError(401, "no_token", "this needs a token: send the header 'Authorization: Bearer TOKEN'")
        if self._credentials.startswith(TOKEN_PREFIX):
            return self.core.authenticate(self._credentials, client=self._client)
        return self.core.identify(self._credentials, client=self._client)


def core_of(request: Request) -> Composer:
    """Return the core of the app that got a request."""
    return request.app.state.composer


async def _caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    return Caller(core_of(request), credentials.credentials if credentials else None, address(request))


CallerOf: TypeAlias = Annotated[Caller, Depends(_caller)]
"""The caller of a route."""


def address(request: Request) -> str:
    """Return the address of a request's client."""
    return request.client.host if request.client else "unknown"


def absolute(request: Request, path: str) -> str:
    """Return a path of this server as a URL that the request's client can reach."""
    return str(request.base_url).rstrip("/") + path


async def slowly(request: Request, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work that takes seconds in one of few places, so that quick requests never wait for it.

    Args:
        request: The request that it is for.
        work: What to do, in a thread.
        *args: Its arguments.
        **kwargs: Its arguments by name.

    Raises:
        ServiceError: 503 if too much of it waits.
    """
    places: Places = request.app.state.slow_places
    async with places.place():
        return await run_in_threadpool(work, *args, **kwargs)
