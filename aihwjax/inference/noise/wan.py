"""Resistive memory of the NeuRRAM chip: a spread measured at three times.

    g(t) = (g_T + noise_scale Σ c_i zⁱ G / G_ref ξ)⁺,   z = g_T / G,   c of the time t

Conductances after programming are drawn so at the first of these times; a later read draws anew from the target.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aihwjax.config import configclass, known, number
from aihwjax.errors import ConfigError
from aihwjax.inference.conductance.base import shown
from aihwjax.inference.noise.base import NoiseModel, polynomial, same
from aihwjax.inference.noise.curves import NoisePolynomial
from aihwjax.random import Stream
from aihwjax.typing import Number

DAY = 86400.0
"""Seconds of a day."""
COEFFICIENTS = (
    NoisePolynomial(key=1.0, coeff=(0.348, 16.030, -43.853, 45.393, -16.815)),
    NoisePolynomial(key=DAY, coeff=(0.701, 22.086, -50.773, 47.095, -16.458)),
    NoisePolynomial(key=2 * DAY, coeff=(0.782, 20.274, -43.507, 37.062, -11.934)),
)
"""Spread in microsiemens at a second, a day and two days, for conductances up to 40 microsiemens."""


@configclass
class ReRamWan2022NoiseModel(NoiseModel):
    """Spread of the conductances of resistive memory at the times at which it was measured.

    When to use: for arrays of this kind, a second, a day or two days after programming; no other times are known.
    Spec: inference, section 8. Source: Wan et al., Nature 2022.
    """

    coeff_dic: tuple[NoisePolynomial, ...] = COEFFICIENTS
    """Spread in microsiemens as a polynomial of the relative conductance, for each time in seconds; a dictionary from
    times to coefficients is taken, too."""
    noise_scale: Number = number(1.0)
    """Factor on all noise."""
    coeff_g_max_reference: Number | None = number(None, above=0, optional=True)
    """Largest conductance in microsiemens that the coefficients refer to; ``None``: 40 for the default ones, else
    ``g_max`` itself."""

    def validate(self) -> None:
        """Refuse a model without times; find out what the coefficients refer to."""
        super().validate()
        if not self.coeff_dic:
            raise ConfigError("ReRamWan2022NoiseModel.coeff_dic=() is not allowed: give coefficients for each time")
        if self.coeff_g_max_reference is None and same(self.coeff_dic, COEFFICIENTS):
            object.__setattr__(self, "coeff_g_max_reference", 40.0)

    def check_time(self, t: float) -> None:
        times = [known(entry.key) for entry in self.coeff_dic]
        if all(time.size for time in times) and not any(np.any(np.float32(time) == np.float32(t)) for time in times):
            names = ", ".join(shown(entry.key) for entry in self.coeff_dic)
            raise ConfigError(f"t={t:g} is not allowed with ReRamWan2022NoiseModel: give one of its times, {names} s")

    def programmed(self, target: Float[Array, "*shape"], stream: Stream) -> Float[Array, "*shape"]:
        first = jnp.min(jnp.asarray([entry.key for entry in self.coeff_dic], jnp.float32))
        return self._drawn(target, first, stream)

    def drift_parameters(self, target: Float[Array, "*shape"], stream: Stream) -> Float[Array, "*shape"]:
        return target

    def drifted(
        self, programmed: Float[Array, "*shape"], parameters: Float[Array, "*shape"], t: Number, stream: Stream
    ) -> Float[Array, "*shape"]:
        return self._drawn(parameters, jnp.asarray(t, jnp.float32), stream)

    def _drawn(self, target: Float[Array, "*shape"], t: Float[Array, ""], stream: Stream) -> Float[Array, "*shape"]:
        top = self.g_converter.g_max
        z = target / top
        # a compiled program cannot refuse a time, and a NaN is not overlooked
        spread = jnp.full_like(target, jnp.nan)
        for entry in self.coeff_dic:
            spread = jnp.where(jnp.float32(entry.key) == t, polynomial(entry.coeff, z), spread)
        reference = self.coeff_g_max_reference
        if reference is not None and not self.reference_quirks:  # spec: inference, bug 2: never scaled
            spread = spread * (top / reference)
        return jnp.maximum(target + self.noise_scale * spread * stream.exact_normal(target.shape), 0.0)
