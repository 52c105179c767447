"""Remapping: weights fill the range of the devices, digital scales make up for it (spec: tile_ops, section 9)."""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp

from aihwjax.config import Config, configclass, not_positive, number, zero
from aihwjax.errors import ConfigError
from aihwjax.tile.product.converters import single
from aihwjax.typing import Number


class WeightRemapType(enum.Enum):
    """Which weights share a scale."""

    NONE = "None"
    """Weights are not remapped."""
    LAYERWISE_SYMMETRIC = "LayerwiseSymmetric"
    """All of a tile."""
    CHANNELWISE_SYMMETRIC = "ChannelwiseSymmetric"
    """Those of each output."""


@configclass
class WeightRemapParameter(Config):
    """How weights are remapped after each mini-batch; products of a tile with its scales do not change.

    When to use: so that the largest weight of each output is always at the largest conductance, where
    programming errors are relatively smallest.
    """

    type: WeightRemapType = WeightRemapType.NONE
    """Which weights share a scale."""
    remapped_wmax: Number = number(1.0, above=0)
    """Largest magnitude of the weights that share a scale, afterwards."""
    max_scale_range: Number = number(0.0, off=not_positive)
    """Most by which a scale exceeds the smallest one (``CHANNELWISE_SYMMETRIC``); 0 or below: any."""
    max_scale_ref: Number = number(0.0, off=zero)
    """Least value of the smallest scale in that comparison; 0: none."""

    def validate(self) -> None:
        """Refuse a limited range of the scales with another target than 1."""
        limited = self.type is WeightRemapType.CHANNELWISE_SYMMETRIC and self.present("max_scale_range")
        if limited and isinstance(self.remapped_wmax, int | float) and self.remapped_wmax != 1:
            raise ConfigError(
                f"WeightRemapParameter.remapped_wmax={self.remapped_wmax!r} is not allowed with max_scale_range="
                f"{self.max_scale_range!r}: give 1.0, or max_scale_range=0"
            )

    def acts(self) -> bool:
        """Whether weights are remapped."""
        return self.type is not WeightRemapType.NONE


def remapped(parameter: WeightRemapParameter, weights: jax.Array, scales: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the remapped weights and scales; the product of the two stays what it is.

    ::

        q_i = max_j |w_ij| / remapped_wmax, over all rows if layerwise; 1 for a zero row
        S_i ← S_i q_i,   w_i ← w_i / q_i

    With ``max_scale_range`` R, new scales are at most ``R max(min_i S_i, max_scale_ref)``, with the scales
    from before; the weights of such a row exceed 1 instead.

    Args:
        parameter: How to remap.
        weights: The weights ``(out, in)``.
        scales: Scale of each output ``(out,)``.
    """
    size = jnp.max(jnp.abs(weights), axis=1)
    if parameter.type is WeightRemapType.NONE:
        return weights, scales
    if parameter.type is WeightRemapType.LAYERWISE_SYMMETRIC:
        size = jnp.broadcast_to(jnp.max(size), size.shape)
    ratio = jnp.where(size > 0, size / single(parameter.remapped_wmax), 1.0)
    new, factor = scales * ratio, 1 / ratio
    if parameter.type is WeightRemapType.CHANNELWISE_SYMMETRIC and parameter.present("max_scale_range"):
        most = _largest_scale(parameter, scales)
        factor = jnp.where(new > most, scales / most, factor)
        new = jnp.minimum(new, most)
    return weights * factor[:, None], new


def _largest_scale(parameter: WeightRemapParameter, scales: jax.Array) -> jax.Array:
    """Return what new scales must not exceed; infinity where there is no limit."""
    smallest = jnp.maximum(jnp.min(scales), 0.0)
    reference, most = single(parameter.max_scale_ref), single(parameter.max_scale_range)
    raised = jnp.where(reference != 0, jnp.maximum(smallest, reference), smallest)
    return jnp.where((smallest > 0) & (most > 0), raised * most, jnp.inf)
