"""How often and how long this process has compiled, from JAX's own events."""

from __future__ import annotations

import dataclasses

import jax

_COMPILE = "/jax/core/compile/backend_compile_duration"


@dataclasses.dataclass(frozen=True)
class Compilations:
    """Totals since this module was imported."""

    count: int = 0
    """Programs that were compiled."""
    seconds: float = 0.0
    """Seconds in the compiler, without tracing."""

    def __sub__(self, other: Compilations) -> Compilations:
        """Return what has been added since ``other``."""
        return Compilations(self.count - other.count, self.seconds - other.seconds)


_total = Compilations()


def so_far() -> Compilations:
    """Return the totals; the difference of two calls is what happened between them."""
    return _total


def _listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    global _total
    if event == _COMPILE:
        _total = Compilations(_total.count + 1, _total.seconds + duration_secs)


jax.monitoring.register_event_duration_secs_listener(_listen)
