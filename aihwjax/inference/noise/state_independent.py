"""Noise that hardly depends on the conductance.

    σ = 0.2  (a polynomial of g_T / G),   μ = 0.1,   s = 0.05,   r = |g_D / G|

The law of time is that of :mod:`~aihwjax.inference.noise.power_law`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax.config import configclass, number, numbers
from aihwjax.inference.noise.base import polynomial
from aihwjax.inference.noise.power_law import PowerLawNoiseModel
from aihwjax.typing import Number


@configclass
class StateIndependentNoiseModel(PowerLawNoiseModel):
    """Programming noise and drift exponents that are the same for all conductances.

    When to use: as a plain model, to see what the dependence on the conductance does. Spec: inference, section 6.
    """

    prog_coeff: tuple[Number, ...] = numbers((0.2, 0.0, 0.0))
    """Programming noise in microsiemens as a polynomial of the relative conductance, from the constant on."""
    drift_nu_mean: Number = number(0.1)
    """Mean of the drift exponent."""
    drift_nu_std: Number = number(0.05)
    """Spread of the drift exponent between devices."""

    def programming_spread(self, target: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return polynomial(self.prog_coeff, target / self.g_converter.g_max)

    def exponents(self, target: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        mean = jnp.full_like(target, jnp.asarray(self.drift_nu_mean, target.dtype))
        return mean, jnp.full_like(target, jnp.asarray(self.drift_nu_std, target.dtype))

    def read_spread(
        self, programmed: Float[Array, "*shape"], decayed: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        return jnp.abs(decayed / self.g_converter.g_max)
