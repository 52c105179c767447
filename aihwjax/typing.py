"""Type aliases shared by all layers."""

from __future__ import annotations

from typing import TypeAlias

import jax
import numpy as np

Number: TypeAlias = float | int | np.ndarray | jax.Array
"""A numeric configuration field: a Python number, or an array when it is swept or traced."""

Key: TypeAlias = jax.Array
"""A JAX PRNG key, typed (``jax.random.key``) or raw (``jax.random.PRNGKey``)."""

Shape: TypeAlias = tuple[int, ...]
"""The shape of an array; of a tile: ``(out, in)``."""
