"""How a logical matrix is laid onto tiles: splitting and scales (spec: tile_ops, sections 2 and 16)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aihwjax.tile.product.periphery import MappingParameter
from aihwjax.typing import Number, Weights

# An entry that is off by more than this share of the largest one
_CHANGED = 1e-3


def parts(size: int, maximum: int) -> tuple[int, ...]:
    """Split ``size`` lines into as few parts of at most ``maximum`` as possible.

    Sizes differ by at most one, larger parts come first.

    Example:
        >>> parts(1025, 512)
        (342, 342, 341)

    Args:
        size: Number of inputs or outputs of a layer.
        maximum: Most lines of a physical tile; 0 or less: no limit.
    """
    if maximum <= 0:
        return (size,)
    count = -(-size // maximum)
    small, larger = divmod(size, count)
    return (small + 1,) * larger + (small,) * (count - larger)


def along(vector: Float[Array, " entries"], batch: Float[Array, "*batch size"]) -> Float[Array, "*ones entries"]:
    """Return a vector with an axis of length 1 for each axis of a batch, as strict rank promotion asks for.

    Args:
        vector: One number for each entry of the last axis, or one for all.
        batch: What it is combined with.
    """
    return vector.reshape((1,) * (batch.ndim - 1) + vector.shape)


def changed_entries(wanted: Float[Array, "*shape"], held: Float[Array, "*shape"]) -> Int[Array, ""]:
    """Return how many entries a tile does not hold as they were written: clipped by devices, or changed by write noise.

    Args:
        wanted: What was written.
        held: What was read after it.
    """
    return jnp.sum(jnp.abs(wanted - held) > _CHANGED * jnp.abs(wanted).max())


def is_scaled(mapping: MappingParameter, omega: Number | None) -> bool:
    """Whether setting weights scales them: the program depends on it, a traced number counts as on.

    Args:
        mapping: The configured mapping.
        omega: A value that replaces ``mapping.weight_scaling_omega``, or ``None``.
    """
    if omega is None:
        return mapping.present("weight_scaling_omega")
    return not (isinstance(omega, int | float) and omega <= 0)


def scale_down(
    weights: Weights, omega: Number, columnwise: bool, scales: Float[Array, " 1"] | Float[Array, " out"] | None
) -> tuple[Weights, Float[Array, " 1"] | Float[Array, " out"]]:
    """Scale weights so that their largest magnitude is ``omega``.

    Args:
        weights: Logical weights ``(out, in)``, with the column of an analog bias.
        omega: The target. A traced value of 0 or less leaves weights and scales as they are.
        columnwise: One scale for each output instead of one for the tile.
        scales: The present scales ``(1,)`` or ``(out,)``, or ``None`` for 1.

    Returns:
        Analog weights, and the scales ``(1,)`` or ``(out,)`` that undo the scaling.
    """
    largest = jnp.abs(weights).max(axis=1) if columnwise else jnp.abs(weights).max()[None]
    off = jnp.asarray(omega) <= 0
    fresh = jnp.where(largest > 0, largest / jnp.where(off, 1.0, omega), 1.0)
    if scales is not None and scales.shape[0] > fresh.shape[0]:
        fresh = jnp.broadcast_to(fresh, scales.shape)  # one number fills the scales of all outputs
    kept = jnp.ones_like(fresh) if scales is None else jnp.broadcast_to(scales, fresh.shape)
    analog = jnp.where(off, weights, weights / fresh[:, None])
    return analog, jnp.where(off, kept, fresh)
