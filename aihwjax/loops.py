"""A conditional that leaves large arrays where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

_T = TypeVar("_T")


def once(due: jax.Array, body: Callable[[jax.Array, _T], _T], values: _T) -> _T:
    """Return ``body(due, values)`` if due, else ``values``, in place: a loop of at most one round.

    A conditional would copy its values on a CPU. What enters a loop is also made before it and what leaves it is
    used after it: a part of an array that is cut out before is not cut out again for each use in the body.

    Args:
        due: Whether to run, a bool.
        body: The change; gets ``due`` as the loop carries it.
        values: A pytree of arrays.
    """

    def one_round(carry: tuple[jax.Array, _T]) -> tuple[jax.Array, _T]:
        on, now = carry
        return jnp.zeros_like(on), body(on, now)

    return lax.while_loop(lambda carry: carry[0], one_round, (due, values))[1]
