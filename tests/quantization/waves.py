"""Numbers that the reference's own quantisers were given, too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def wave(number: int, rows: int = 6, columns: int = 4, shift: float = 0.0) -> jax.Array:
    """Return a batch ``(rows, columns)`` of numbers around ``shift``."""
    i = np.arange(rows * columns)
    values = np.sin(0.7 + 1.3 * i + 2.1 * number) * (1 + 0.1 * i / (rows * columns)) + shift
    return jnp.asarray(values.reshape(rows, columns), jnp.float32)
