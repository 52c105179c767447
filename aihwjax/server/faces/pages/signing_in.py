"""Signing in with a token, and out again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from starlette.responses import RedirectResponse

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.calling import address, core_of
from aihwjax.server.faces.pages import session
from aihwjax.server.faces.pages.rendering import page
from aihwjax.server.faces.pages.routing import PageRoute
from aihwjax.server.faces.pages.session import FORM, LOGIN, PREFIX, CsrfField, VisitorOf

router = APIRouter(prefix=PREFIX, route_class=PageRoute)


@router.get("/sign-in")
def form(request: Request, following: Annotated[str, Query(alias="next", max_length=200)] = PREFIX) -> Response:
    """Show the form for signing in."""
    return _form(request, session.next_page(following))


@router.post("/sign-in")
def sign_in(
    request: Request,
    token: Annotated[str, Form(max_length=2000)] = "",
    following: Annotated[str, Form(alias="next", max_length=200)] = PREFIX,
    csrf: CsrfField = "",
) -> Response:
    """Sign in, and go on to the page that was asked for."""
    core, following = core_of(request), session.next_page(following)
    try:
        secret = request.cookies.get(FORM, "")
        session.check_form(session.form_token(core, secret) if secret else "-", csrf)
        if not token.strip():
            raise ServiceError(422, "no_token", "give your token")
        login = core.login(token.strip(), client=address(request))
    except ServiceError as error:
        return _form(request, following, error)
    response = RedirectResponse(following, 303)
    session.give_cookie(request, response, LOGIN, login)
    session.take_cookie(response, FORM)
    return response


@router.post("/sign-out")
def sign_out(visitor: VisitorOf, csrf: CsrfField = "") -> Response:
    """Forget who was signed in."""
    visitor.check(csrf)
    response = RedirectResponse(f"{PREFIX}/sign-in", 303)
    session.take_cookie(response, LOGIN)
    return response


def _form(request: Request, following: str, error: ServiceError | None = None) -> Response:
    secret = request.cookies.get(FORM) or session.new_form_secret()
    headers = {} if error is None or error.retry_after is None else {"Retry-After": str(error.retry_after)}
    response = page(
        "sign_in.html",
        200 if error is None else error.status,
        headers,
        csrf=session.form_token(core_of(request), secret),
        following=following,
        message=None if error is None else error.message[:1].upper() + error.message[1:] + ".",
        who=None,
    )
    session.give_cookie(request, response, FORM, secret)
    return response
