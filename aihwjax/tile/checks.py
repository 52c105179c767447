"""Checks of array values at the boundary, before anything is traced."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax.errors import NonFiniteError


def require_finite(name: str, array: jax.Array | np.ndarray) -> None:
    """Refuse NaN and infinity in an array that has values; a traced one passes.

    Args:
        name: What the message calls the array.
        array: Any array of numbers.

    Raises:
        NonFiniteError: If a value is NaN or infinite.
    """
    if isinstance(array, jax.core.Tracer):
        return
    wrong = int(jnp.size(array)) - int(jnp.isfinite(array).sum())
    if wrong:
        raise NonFiniteError(f"{name} has {wrong} NaN or infinite of {jnp.size(array)} values: give finite numbers")
