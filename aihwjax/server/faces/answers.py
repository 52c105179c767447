"""How refusals are told: one shape of JSON for all of them, and nothing secret in it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.schemas import ErrorAnswer

_MOST_FIELD = 200


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
    return {
        status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase}
        for status in sorted({*every, *statuses})
    }


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
