"""One device a weight: the range of weights is laid onto the range of conductances.

G = (w − min w) κ + g_min,   κ = (g_max − g_min) / (max w − min w)
"""

from __future__ import annotations

import jax.numpy as jnp

from aihwjax.config import configclass, number
from aihwjax.inference.conductance.base import ConductanceConverter, Params, Slices
from aihwjax.typing import Number, Weights


@configclass
class SingleDeviceConductanceConverter(ConductanceConverter):
    """One device a weight, whose smallest conductance is the most negative weight.

    When to use: for arrays with a common reference column, as those of the ReRAM CMO model. A tile whose weights
    are all equal has every device at ``g_min`` (the reference divides by zero). Spec: inference, section 2.
    """

    g_max: Number = number(88.199997, minimum=0)
    """Largest conductance of a device, in microsiemens."""
    g_min: Number = number(9.0, minimum=0)
    """Smallest conductance of a device, in microsiemens."""

    def slices(self) -> int:
        return 1

    def convert(self, weights: Weights) -> tuple[Slices, Params]:
        lowest = jnp.min(weights)
        span = jnp.max(weights) - lowest
        scale = jnp.asarray(self.g_max - self.g_min) / jnp.where(span > 0, span, 1.0)
        return ((weights - lowest) * scale + self.g_min)[None], {"scale": scale, "lowest": lowest}

    def convert_back(self, slices: Slices, params: Params) -> Weights:
        return params["lowest"] + (slices[0] - self.g_min) / params["scale"]
