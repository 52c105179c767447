"""Who looks at a page: the cookie that signing in sets, and what a form has to bring with it."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, TypeAlias

from fastapi import Depends, Form, Request, Response

from aihwjax.server.core.service import Composer
from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.calling import Caller, address, core_of
from aihwjax.server.settings import ServerSettings
from aihwjax.server.views import Identity

PREFIX = "/ui"
"""Where the pages are, and where their cookies go."""
LOGIN = "aihwjax_login"
"""Cookie with the login of who is signed in."""
FORM = "aihwjax_form"
"""Cookie that ties the form for signing in to the browser that got it."""
_KEPT_SECONDS = 30 * 86_400
_NEXT = re.compile(rf"{PREFIX}(/experiments/[0-9a-f]{{4,32}})?")

CsrfField: TypeAlias = Annotated[str, Form(alias="csrf", max_length=200)]
"""The field of a form that only our pages can fill."""


@dataclass(frozen=True)
class Visitor:
    """Someone who is signed in."""

    core: Composer
    who: Identity
    caller: Caller
    csrf: str
    """For the forms of the page."""

    def check(self, csrf: str) -> None:
        """Refuse a form that was not on a page of this visitor.

        Args:
            csrf: From the form.

        Raises:
            ServiceError: 403.
        """
        check_form(self.csrf, csrf)


def visitor(request: Request) -> Visitor:
    """Return who is signed in.

    Args:
        request: Has the cookie, or not.

    Raises:
        ServiceError: 401 if nobody is, 429 after too many wrong cookies.
    """
    login = request.cookies.get(LOGIN)
    if not login:
        raise ServiceError(401, "signed_out", "sign in first")
    core = core_of(request)
    caller = Caller(core, login, address(request))
    return Visitor(core, caller.identity(), caller, form_token(core, login))


VisitorOf: TypeAlias = Annotated[Visitor, Depends(visitor)]
"""The visitor of a page."""


def form_token(core: Composer, secret: str) -> str:
    """Return what a form must bring with it.

    Args:
        core: The core.
        secret: Cookie that goes with it.
    """
    return hmac.new(_key(core.settings), secret.encode(), hashlib.sha256).hexdigest()


def check_form(wanted: str, given: str) -> None:
    """Refuse a form that comes from elsewhere.

    Args:
        wanted: From :func:`form_token`.
        given: From the form.

    Raises:
        ServiceError: 403.
    """
    if not hmac.compare_digest(wanted.encode(), given.encode(errors="surrogatepass")):
        message = "this form is out of date, or the browser keeps no cookies: open the page again and repeat"
        raise ServiceError(403, "bad_form", message)


def new_form_secret() -> str:
    """Return a value for the cookie :data:`FORM`."""
    return secrets.token_urlsafe(24)


def give_cookie(request: Request, response: Response, name: str, value: str) -> None:
    """Let a browser keep a cookie that no script can read and that no other site can send.

    Args:
        request: Tells whether the connection is encrypted.
        response: Gets the cookie.
        name: :data:`LOGIN`, kept for some weeks, or :data:`FORM`, for as long as the browser runs.
        value: What to keep.
    """
    response.set_cookie(
        name,
        value,
        max_age=_KEPT_SECONDS if name == LOGIN else None,
        path=PREFIX,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def take_cookie(response: Response, name: str) -> None:
    """Let a browser forget a cookie."""
    response.delete_cookie(name, path=PREFIX, httponly=True, samesite="strict")


def next_page(path: str) -> str:
    """Return where to go after signing in: a page of ours, whatever was asked for."""
    return path if _NEXT.fullmatch(path) else PREFIX


@lru_cache(maxsize=8)
def _key(settings: ServerSettings) -> bytes:
    return hmac.digest(settings.secret(), b"forms", "sha256")
