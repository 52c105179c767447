"""The part of the core that knows who asks."""

from __future__ import annotations

from aihwjax.server.core import tokens
from aihwjax.server.core.core import Core
from aihwjax.server.core.throttle import Throttle
from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.views import Identity, TokenView


class Accounts(Core):
    """Signing in, and the operator's part: users and tokens."""

    def __init__(self, settings: ServerSettings) -> None:
        """Open as :class:`~aihwjax.server.core.core.Core` does."""
        super().__init__(settings)
        self._throttle = Throttle()

    def authenticate(self, token: str, client: str | None = None) -> Identity:
        """Return who has a token.

        Args:
            token: Its text.
            client: Address of who asks, for the limit on failures.

        Raises:
            ServiceError: 401 if it is unknown, revoked or expired; 429 after too many of these.
        """
        with self._store.reading() as session:
            identity = tokens.find(session, token, self.settings)
        return identity or self._refuse("this token is not valid", client)

    def login(self, token: str, client: str | None = None) -> str:
        """Return a JSON web token that stands for a token until that ends.

        Args:
            token: The token's text.
            client: As for :meth:`authenticate`.

        Raises:
            ServiceError: As :meth:`authenticate`.
        """
        return self._signer.login(self.authenticate(token, client).token_id, self.settings.login_days)

    def identify(self, login: str, client: str | None = None) -> Identity:
        """Return who signed in.

        Args:
            login: From :meth:`login`.
            client: As for :meth:`authenticate`.

        Raises:
            ServiceError: 401 if it is not valid or its token has ended; 429 after too many of these.
        """
        try:
            token_id = self._signer.token_of(login)
        except ServiceError as error:
            return self._refuse(error.message, client)
        with self._store.reading() as session:
            identity = tokens.find_by_id(session, token_id, self.settings)
        return identity or self._refuse("this login has ended: sign in again", client)

    def create_token(
        self, user: str, scope: str = "user", days: float | None = None, limits: dict[str, float] | None = None
    ) -> str:
        """Make a token for a user, who is made if new; its text cannot be had again.

        Args:
            user: Name of the user.
            scope: ``user``, ``admin`` or ``worker``.
            days: How long it is valid; ``None``: until it is revoked.
            limits: Its own limits, by field of :class:`~aihwjax.server.views.Limits`.

        Raises:
            ServiceError: 422 if a value is not allowed.
        """
        with self._store.writing() as session:
            return tokens.add_token(session, tokens.add_user(session, user), scope, days, limits)

    def list_tokens(self) -> list[TokenView]:
        """Return all tokens, oldest first."""
        with self._store.reading() as session:
            return tokens.listed(session)

    def revoke_token(self, start: str) -> str:
        """End a token and what was signed in with it; return its prefix.

        Args:
            start: Its prefix, its text, or the start of its id.

        Raises:
            ServiceError: 404 or 409.
        """
        with self._store.writing() as session:
            return tokens.revoke(session, start)

    def _refuse(self, message: str, client: str | None) -> Identity:
        if client is not None:
            self._throttle.fail(client)
        raise ServiceError(401, "unauthorized", message)
