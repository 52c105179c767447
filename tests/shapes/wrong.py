"""A function that does not keep what its signature says."""

from __future__ import annotations

from jaxtyping import Array, Float


def first_column(weights: Float[Array, "out in"]) -> Float[Array, " in"]:
    """Return a column, although the annotation speaks of a row."""
    return weights[:, 0]
