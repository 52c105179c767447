"""Users and their tokens."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
import uuid

from sqlalchemy import Executable, bindparam, select, update
from sqlalchemy.orm import Session

from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.storage.clock import database_now
from aihwjax.server.storage.tables import Token, User
from aihwjax.server.views import Identity, Limits, TokenView

_SCOPES = ("user", "admin", "worker")
_MOST_NAME = 200
_PREFIX = len("aihwjax_") + 8

# Asked with every request: statements made once
_VALID = (
    select(
        Token.id,
        Token.user_id,
        Token.scope,
        Token.max_archive_bytes,
        Token.max_jobs,
        Token.max_seconds,
        User.name.label("user"),
    )
    .join(User, User.id == Token.user_id)
    .where(Token.revoked_at.is_(None), Token.expires_at.is_(None) | (Token.expires_at > database_now()))
)
_BY_DIGEST = _VALID.where(Token.digest == bindparam("value"))
_BY_ID = _VALID.where(Token.id == bindparam("value"))


def add_user(session: Session, name: str) -> User:
    """Return the user of a name, made if there is none.

    Args:
        session: A writing transaction.
        name: Name.

    Raises:
        ServiceError: 422 if the name is not allowed.
    """
    name = check_name(name, "user")
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        user = User(id=uuid.uuid4().hex, name=name)
        session.add(user)
        session.flush()
    return user


def add_token(
    session: Session, user: User, scope: str = "user", days: float | None = None, limits: dict[str, float] | None = None
) -> str:
    """Make a token and return its text, which cannot be had again.

    Args:
        session: A writing transaction.
        user: Owner.
        scope: ``user``, ``admin`` or ``worker``.
        days: How long it is valid; ``None``: until it is revoked.
        limits: Its own limits, by field of :class:`~aihwjax.server.views.Limits`.

    Raises:
        ServiceError: 422 if a value is not allowed.
    """
    if scope not in _SCOPES:
        raise ServiceError(
            422, "bad_value", f"scope={scope!r} is not allowed: give one of {', '.join(_SCOPES)}", "scope"
        )
    if days is not None and not 0 < days < 36_500:
        raise ServiceError(
            422, "bad_value", f"days={days!r} is not allowed: give a number above 0 and below 36,500", "days"
        )
    limits = limits or {}
    for name, value in limits.items():
        if name not in Limits.__dataclass_fields__ or not 0 < value < 1 << 62:
            raise ServiceError(
                422, "bad_value", f"{name}={value!r} is not allowed: give a number above 0, below 4e18", name
            )
    text = f"aihwjax_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
    expires = None if days is None else database_now() + days * 86_400
    session.add(
        Token(
            id=uuid.uuid4().hex,
            user_id=user.id,
            digest=_digest(text),
            prefix=text[:_PREFIX],
            scope=scope,
            expires_at=expires,
            **limits,
        )
    )
    return text


def find(session: Session, text: str, settings: ServerSettings) -> Identity | None:
    """Return who has a token, ``None`` if nobody has it or it has ended.

    It is looked up by its hash, so that the time that takes says nothing about other tokens.

    Args:
        session: A transaction.
        text: The token.
        settings: Have the default limits.
    """
    return _identity(session, _BY_DIGEST, _digest(text), settings)


def find_by_id(session: Session, token_id: str, settings: ServerSettings) -> Identity | None:
    """Return who has a token, ``None`` if it has ended.

    Args:
        session: A transaction.
        token_id: Its id.
        settings: Have the default limits.
    """
    return _identity(session, _BY_ID, token_id, settings)


def listed(session: Session) -> list[TokenView]:
    """Return all tokens, oldest first."""
    rows = session.execute(select(Token, User.name).join(User, User.id == Token.user_id).order_by(Token.created_at))
    return [
        TokenView(token.id, name, token.prefix, token.scope, token.created_at, token.expires_at, token.revoked_at)
        for token, name in rows
    ]


def revoke(session: Session, start: str) -> str:
    """End a token and everything that was signed in with it; return its prefix.

    Args:
        session: A writing transaction.
        start: Its prefix as listed, its text, or the start of its id.

    Raises:
        ServiceError: 404 if there is none, 409 if there are several.
    """
    found = [token for token in listed(session) if start and _names(token, start)]
    if not found:
        raise ServiceError(404, "not_found", "there is no such token: see the list")
    if len(found) > 1:
        raise ServiceError(409, "ambiguous", f"{len(found)} tokens start so: give more of it")
    session.execute(
        update(Token).where(Token.id == found[0].id, Token.revoked_at.is_(None)).values(revoked_at=database_now())
    )
    return found[0].prefix


def check_name(name: str, field: str) -> str:
    """Return a name without spaces at its ends.

    Args:
        name: A name of a user or an experiment.
        field: What it is, for the error.

    Raises:
        ServiceError: 422 if it is empty, too long or has characters that cannot be shown.
    """
    name = name.strip()
    hidden = any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)
    if not name or len(name) > _MOST_NAME or hidden:
        message = f"{field} is not allowed: give a name of 1 to {_MOST_NAME} characters, without line breaks"
        raise ServiceError(422, "bad_value", message, field)
    return name


def _names(token: TokenView, start: str) -> bool:
    return token.prefix.startswith(start) or start.startswith(f"{token.prefix}_") or token.id.startswith(start)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _identity(session: Session, statement: Executable, value: str, settings: ServerSettings) -> Identity | None:
    row = session.execute(statement, {"value": value}).one_or_none()
    if row is None:
        return None
    limits = Limits(
        row.max_archive_bytes or settings.max_archive_bytes,
        row.max_jobs or settings.max_jobs_per_user,
        row.max_seconds or settings.max_seconds,
    )
    return Identity(row.user_id, row.user, row.id, row.scope, limits)
