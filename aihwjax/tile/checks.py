"""Checks of array values at the boundary, before anything is traced."""

from __future__ import annotations

import jax
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
    # NumPy, because a JAX operation on a constant inside a traced function would be traced too
    finite = np.isfinite(np.asarray(array))
    if not finite.all():
        wrong = finite.size - int(finite.sum())
        raise NonFiniteError(f"{name} has {wrong} NaN or infinite of {finite.size} values: give finite numbers")
