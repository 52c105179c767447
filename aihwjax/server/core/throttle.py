"""A limit on failed sign-ins by address."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from aihwjax.server.errors import ServiceError

_MOST_CLIENTS = 10_000


class Throttle:
    """Counts failures by client; each has so many, and gets one back every so often.

    Only failures are refused: a valid token is never locked out by a neighbour behind the same
    address, and guessing a token is out of reach anyway. The limit keeps off the noise.
    """

    def __init__(self, failures: int = 20, seconds: float = 3.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow ``failures`` at once, and one more every ``seconds``.

        Args:
            failures: Most failures at once.
            seconds: Time in which one is forgotten.
            clock: Seconds by a clock that never goes back.
        """
        self._failures = failures
        self._seconds = seconds
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()  # when all failures are forgotten
        self._lock = threading.Lock()

    def fail(self, client: str) -> None:
        """Count a failure.

        Args:
            client: Address.

        Raises:
            ServiceError: 429 if there were too many.
        """
        with self._lock:
            now = self._clock()
            free_at = max(now, self._free_at.pop(client, now))
            wait = free_at - now - (self._failures - 1) * self._seconds
            self._free_at[client] = free_at if wait > 0 else free_at + self._seconds
            while len(self._free_at) > _MOST_CLIENTS:
                self._free_at.popitem(last=False)
        if wait > 0:
            seconds = max(1, round(wait))
            message = f"too many failed sign-ins from this address, try again in {seconds} s"
            raise ServiceError(429, "too_many_failures", message, retry_after=seconds)
