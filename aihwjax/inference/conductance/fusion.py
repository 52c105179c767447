"""Magnitudes only, a scale for each output: what is programmed onto the chips called Fusion.

    G = |w| g_max / max_j |w_ij|, clipped to [0, g_max]

Measured conductances get the signs of the weights and, for each output, the slope of the straight line that fits
the weights best; its offset is dropped.
"""

from __future__ import annotations

import jax.numpy as jnp

from aihwjax.config import configclass, number
from aihwjax.inference.conductance.base import ConductanceConverter, Params, Slices
from aihwjax.typing import Number, Weights

_SMALLEST_WEIGHT = 1e-10


@configclass
class FusionConductanceConverter(ConductanceConverter):
    """One device a weight, for its magnitude; the signs stay in digital.

    When to use: to prepare or evaluate experiments on Fusion chips. Spec: inference, section 2.
    """

    g_max: Number = number(40.0, minimum=10, maximum=40)
    """Largest conductance of a device, in microsiemens, from 10 to 40."""
    g_min: Number = number(0.0, minimum=0, maximum=0)
    """Smallest conductance, in microsiemens; these devices have 0."""

    def slices(self) -> int:
        return 1

    def convert(self, weights: Weights) -> tuple[Slices, Params]:
        largest = jnp.maximum(jnp.max(jnp.abs(weights), axis=1, keepdims=True), _SMALLEST_WEIGHT)
        scale = jnp.asarray(self.g_max) / largest
        return jnp.clip(jnp.abs(weights) * scale, 0.0, self.g_max)[None], {"scale": scale, "weights": weights}

    def convert_back(self, slices: Slices, params: Params) -> Weights:
        weights = params["weights"]
        measured = jnp.sign(weights) * slices[0]
        deviation = measured - measured.mean(axis=1, keepdims=True)
        spread = (deviation * deviation).sum(axis=1, keepdims=True)
        slope = (deviation * weights).sum(axis=1, keepdims=True) / jnp.where(spread > 0, spread, 1.0)
        # all conductances of an output are equal: no line, but the scale is known
        return measured * jnp.where(spread > 0, slope, 1 / params["scale"])
