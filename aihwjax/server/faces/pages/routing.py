"""What pages answer when something is refused."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.pages.rendering import page
from aihwjax.server.faces.pages.session import LOGIN, PREFIX, next_page, take_cookie

_TITLES = {
    403: "This was not done",
    404: "Not found",
    409: "This is not possible now",
    413: "Too large",
    422: "This is not allowed",
    429: "Too many attempts",
    503: "Busy",
}


class PageRoute(APIRoute):
    """A route whose refusals are pages, and which asks to sign in where that is needed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the route."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except ServiceError as error:
                return refused(request, error)
            except RequestValidationError:
                message = "the address or the form has a value that is not allowed"
                return refused(request, ServiceError(422, "bad_value", message))
            except HTTPException as error:
                phrase = HTTPStatus(error.status_code).phrase.lower()
                return refused(request, ServiceError(error.status_code, phrase, phrase))

        return handled


def refused(request: Request, error: ServiceError) -> Response:
    """Return the page of a refusal; where nobody is signed in, the way to do so.

    Args:
        request: What was asked.
        error: Why it was refused.
    """
    if error.status == HTTPStatus.UNAUTHORIZED:
        return _to_sign_in(request)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    response = page(
        "error.html",
        error.status,
        headers,
        title=_TITLES.get(error.status, "This did not work"),
        message=error.message[:1].upper() + error.message[1:] + ("" if error.message.endswith(".") else "."),
        who=None,
    )
    if error.status == HTTPStatus.TOO_MANY_REQUESTS and error.code == "too_many_failures":
        take_cookie(response, LOGIN)  # only a cookie that is not valid is refused so
    return response


def _to_sign_in(request: Request) -> Response:
    if LOGIN not in request.cookies and _from_elsewhere(request):
        return page("again.html", path=request.url.path, who=None)
    asked = next_page(request.url.path) if request.method == "GET" else PREFIX
    query = "" if asked == PREFIX else "?" + urlencode({"next": asked})
    response = RedirectResponse(f"{PREFIX}/sign-in{query}", 303)
    if LOGIN in request.cookies:
        take_cookie(response, LOGIN)
    return response


def _from_elsewhere(request: Request) -> bool:
    """Whether someone followed a link of another site: browsers keep our cookie back then, but only then."""
    fetch = (request.headers.get("Sec-Fetch-Site"), request.headers.get("Sec-Fetch-Mode"))
    return request.method == "GET" and fetch == ("cross-site", "navigate")
