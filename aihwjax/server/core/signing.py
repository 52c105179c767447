"""Signed links and logins: both stand for themselves, survive a restart and end by themselves."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import jwt

from aihwjax.server.errors import ServiceError

_ALGORITHM = "HS256"


class Signer:
    """Signs and checks with one secret.

    Expiry is counted by this machine's clock: links and logins live long enough that machines may
    differ by seconds.
    """

    def __init__(self, secret: bytes) -> None:
        """Sign with ``secret``, at least 32 bytes."""
        self._links = hmac.digest(secret, b"links", hashlib.sha256)
        self._logins = hmac.digest(secret, b"logins", hashlib.sha256)

    def sign(self, path: str, method: str, seconds: int, **facts: str | int) -> str:
        """Return a path with a query that allows one method on it for a while.

        Args:
            path: Path from the root, with a slash at its start.
            method: HTTP method; ``GET`` allows ``HEAD`` too.
            seconds: How long.
            **facts: Further entries of the query that nobody can change.
        """
        query = {**{name: str(value) for name, value in facts.items()}, "expires": str(int(time.time()) + seconds)}
        return f"{path}?{urlencode({**query, 'signature': self._signature(path, method, query)})}"

    def check(self, path: str, method: str, query: Mapping[str, str]) -> None:
        """Refuse a request whose query was not signed for it, or is too late.

        Args:
            path: Path of the request.
            method: Method of the request.
            query: Its query.

        Raises:
            ServiceError: 403.
        """
        facts = {name: value for name, value in query.items() if name != "signature"}
        method = "GET" if method == "HEAD" else method
        given = query.get("signature", "").encode()
        if not hmac.compare_digest(self._signature(path, method, facts).encode(), given):
            raise ServiceError(403, "bad_link", "this link is not valid: ask for a new one")
        if float(facts["expires"]) < time.time():
            raise ServiceError(403, "expired_link", "this link has expired: ask for a new one")

    def login(self, token_id: str, days: int) -> str:
        """Return a JSON web token that stands for a token until that ends, at most some days.

        Args:
            token_id: Id of the token.
            days: How long.
        """
        now = int(time.time())
        return jwt.encode({"tid": token_id, "iat": now, "exp": now + days * 86_400}, self._logins, _ALGORITHM)

    def token_of(self, login: str) -> str:
        """Return the id of the token for which a login stands.

        Args:
            login: From :meth:`login`.

        Raises:
            ServiceError: 401 if it is not valid.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                login, self._logins, [_ALGORITHM], options={"require": ["exp", "tid"], "verify_iat": False}
            )
        except jwt.ExpiredSignatureError:
            raise ServiceError(401, "expired_login", "this login has expired: sign in again") from None
        except jwt.InvalidTokenError:
            raise ServiceError(401, "bad_login", "this login is not valid: sign in again") from None
        return str(claims["tid"])

    def _signature(self, path: str, method: str, query: Mapping[str, str]) -> str:
        text = "\n".join((method, path, urlencode(sorted(query.items()))))
        return hmac.new(self._links, text.encode(), hashlib.sha256).hexdigest()
