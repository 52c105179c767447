"""What the composer says when it refuses something."""

from __future__ import annotations

from aihwjax.errors import AihwjaxError


class ServiceError(AihwjaxError):
    """A request that the composer refuses, with what a face of it needs to answer.

    Args:
        status: HTTP status.
        code: One word for programs, such as ``not_found``.
        message: One line for people.
        field: Dotted path of the field that is wrong, if one is.
        retry_after: Seconds after which it is worth trying again, if it is.
    """

    def __init__(
        self, status: int, code: str, message: str, field: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
