"""Clipping the weights after each mini-batch (spec: tile_ops, section 8)."""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp

from aihwjax.config import Config, configclass, number
from aihwjax.tile.product.converters import single
from aihwjax.typing import Number


class WeightClipType(enum.Enum):
    """Where the weights are clipped."""

    NONE = "None"
    """Nowhere."""
    FIXED_VALUE = "FixedValue"
    """At ``fixed_value``."""
    LAYER_GAUSSIAN = "LayerGaussian"
    """At ``sigma`` standard deviations of all weights of the tile."""
    AVERAGE_CHANNEL_MAX = "AverageChannelMax"
    """At the mean over outputs of the largest magnitude of each."""


@configclass
class WeightClipParameter(Config):
    """How weights are clipped after each mini-batch, in the units of the tile.

    When to use: with noise that is relative to the largest weight, so that a few large weights do
    not make it large for all.
    """

    type: WeightClipType = WeightClipType.NONE
    """Where the weights are clipped."""
    fixed_value: Number = number(-1.0, infinite=True)
    """The clip value, and an upper limit of that of the other types; at 0 or below, or at infinity, there is none."""
    sigma: Number = number(2.5, minimum=0)
    """Number of standard deviations of ``LAYER_GAUSSIAN``."""


def clip_value(
    parameter: WeightClipParameter, weights: jax.Array, *, torch_tile: bool = False, quirks: bool = False
) -> jax.Array | None:
    """Return the value at which weights are clipped, infinity for none; ``None`` for the type ``NONE``.

    ::

        LAYER_GAUSSIAN       v = sigma · std(w), with N - 1
        AVERAGE_CHANNEL_MAX  v = mean_i max_j |w_ij|
        both                 v = min(v, fixed_value) if fixed_value > 0

    Args:
        parameter: Where to clip.
        weights: The weights ``(out, in)``, with the column of an analog bias.
        torch_tile: Whether the reference would use its torch tile; matters for its quirks only.
        quirks: Let ``FIXED_VALUE`` act at 0, and on the torch tile below 0 as well (section 18, bug 8).
    """
    kind, fixed = parameter.type, single(parameter.fixed_value)
    if kind is WeightClipType.NONE:
        return None
    if kind is WeightClipType.FIXED_VALUE:
        if quirks:
            return fixed if torch_tile else jnp.where(fixed >= 0, fixed, jnp.inf)
        return jnp.where(fixed > 0, fixed, jnp.inf)
    if kind is WeightClipType.LAYER_GAUSSIAN:
        value = single(parameter.sigma) * jnp.std(weights, ddof=1)
    else:
        value = jnp.mean(jnp.max(jnp.abs(weights), axis=1))
    value = jnp.where(fixed > 0, jnp.minimum(value, fixed), value)
    return jnp.where(value > 0, value, jnp.inf)
