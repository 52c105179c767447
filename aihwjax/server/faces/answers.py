"""How refusals are told: one shape of JSON for all of them, and nothing secret in it."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.schemas import ErrorAnswer

_MOST_FIELD = 200
_MEANINGS = {
    400: "The request is malformed, or its body was cut off.",
    401: "There is no token or login, or it is not accepted.",
    403: "The link is not valid for this or has expired, or the token's scope does not allow it.",
    404: "There is no such thing, or it belongs to somebody else.",
    408: "The body came too slowly.",
    409: "The experiment is not in a state that allows this, or several ids start like the one given.",
    410: "The file is no longer stored.",
    413: "The body is too large.",
    422: "A value is not allowed; `error.field` says which.",
    429: "Too many requests, experiments or jobs; `Retry-After` may say when to try again.",
    500: "The server made a mistake.",
    503: "The server is busy or one of its parts is out of reach: try again.",
    507: "The server's disk is full.",
}
"""What each refusal means, for the OpenAPI document."""
_UNSAID = "Successful Response"  # FastAPI's, where a route says nothing


def refusal(
    status: int,
    code: str,
    message: str,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a refusal.

    Args:
        status: HTTP status.
        code: One word for programs.
        message: One line for people.
        field: Dotted path of the field that is wrong, if one is.
        headers: Further headers.
    """
    # 'message' once more at the top: where the reference's client looks for it
    content = {"error": {"code": code, "message": message, "field": field}, "message": message}
    return JSONResponse(content, status, dict(headers) if headers else None)


def refused(error: ServiceError) -> JSONResponse:
    """Return the refusal that the core raised."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return refusal(error.status, error.code, error.message, error.field, headers)


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the declaration of refusals for the OpenAPI document.

    Args:
        *statuses: Those that a route can answer with, besides those of every route.
    """
    every = (400, 413, 429, 500, 503)
    return {status: {"model": ErrorAnswer, "description": _MEANINGS[status]} for status in sorted({*every, *statuses})}


def describe(router: APIRouter) -> None:
    """Give each route its summary, the first sentence of its docstring, and say what its answer is.

    Args:
        router: Routes of the OpenAPI document.
    """
    for route in router.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            _describe(route)


def _describe(route: APIRoute) -> None:
    if not route.summary:
        route.summary = " ".join(re.split(r"[.;](?:\s|$)", route.description, maxsplit=1)[0].split())
    if route.response_description == _UNSAID:
        kind = route.response_model
        many = typing.get_origin(kind) is list
        kind = typing.get_args(kind)[0] if many else kind
        said = inspect.getdoc(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        route.response_description = f"{'A list. ' if many else ''}{said or 'Nothing but the status.'}"


def install(app: FastAPI) -> None:
    """Let an app tell its refusals in this shape."""

    @app.exception_handler(ServiceError)
    def service(request: Request, error: ServiceError) -> JSONResponse:
        return refused(error)

    @app.exception_handler(RequestValidationError)
    def validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        if first["type"] == "json_invalid":
            return refusal(422, "bad_json", "the body is not valid JSON")
        field = ".".join(place[1:])[:_MOST_FIELD] or None
        return refusal(422, "bad_value", f"{field or place[0]}: {_lower(first['msg'])}", field)

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> JSONResponse:
        phrase = HTTPStatus(error.status_code).phrase
        code = phrase.lower().replace(" ", "_").replace("-", "_")
        return refusal(error.status_code, code, phrase.lower(), headers=error.headers)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
