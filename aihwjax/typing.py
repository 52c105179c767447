"""Type aliases shared by all layers.

Shapes stand in signatures in the notation of jaxtyping: ``Float[Array, "*batch in"]`` is an array of floats
whose last axis has the size ``in``; ``*batch`` are any axes, ``""`` is none. A name means the same size
wherever it occurs in one signature. ``out`` and ``in`` are the outputs and inputs of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

Number: TypeAlias = float | int | np.ndarray | jax.Array
"""A numeric configuration field: a Python number, or an array when it is swept or traced."""

Table: TypeAlias = Number | Sequence[float]
"""A numeric configuration field with several entries: as written, a list or tuple of numbers too."""

Key: TypeAlias = PRNGKeyArray
"""A JAX PRNG key, typed (``jax.random.key``) or raw (``jax.random.PRNGKey``)."""

Shape: TypeAlias = tuple[int, ...]
"""The shape of an array; of a tile: ``(out, in)``."""

Weights: TypeAlias = Float[Array, "out in"]
"""A matrix of weights."""

EachWeights: TypeAlias = Float[Array, "*tiles out in"]
"""Weights of a tile, or of each tile of a stack."""

Crosspoints: TypeAlias = Float[Array, "out in"]
"""A parameter or a hidden number of each crosspoint, such as its upper bound."""

Counts: TypeAlias = Int[Array, "out in"]
"""A whole number of each crosspoint."""

Hidden: TypeAlias = Num[Array, "out in"]
"""A hidden parameter: a number of each crosspoint, float32 or, for counters, int32."""

EachHidden: TypeAlias = Num[Array, "*tiles out in"]
"""A hidden parameter of a tile, or of each tile of a stack."""

Marks: TypeAlias = Bool[Array, "out in"]
"""A choice of crosspoints."""
