"""Phase-change memory, fitted to measurements of a large array.

    z = g_T / G
    σ = (0.26348 + 1.9650 z − 1.1731 z²) G / 25
    μ = clip(−0.0155 ln z + 0.0244, 0.049, 0.1),   s = clip(−0.0125 ln z − 0.0059, 0.008, 0.045)
    r = |g_D| min(0.0088 / max(z_P^0.65, 1e-3), 0.2),   z_P = g_P / G

The law of time is that of :mod:`~aihwjax.inference.noise.power_law`.
"""

from __future__ import annotations

from aihwjax.config import configclass, number, numbers, part
from aihwjax.inference.noise.base import same
from aihwjax.inference.noise.curves import ClippedLog, PowerLawRead
from aihwjax.inference.noise.power_law import FittedNoiseModel
from aihwjax.typing import Number

COEFFICIENTS = (0.26348, 1.9650, -1.1731)
"""Programming noise in microsiemens as a polynomial of the relative conductance, at 25 microsiemens."""


@configclass
class PCMLikeNoiseModel(FittedNoiseModel):
    """Programming noise, drift and read noise of phase-change memory.

    When to use: the default of inference tiles, and the model of most published results.
    Spec: inference, section 4. Source: Nandakumar et al., ICECS 2019; Joshi et al., Nature Communications 2020.
    """

    prog_coeff: tuple[Number, ...] = numbers(COEFFICIENTS)
    """Programming noise in microsiemens as a polynomial of the relative conductance, from the constant on."""
    prog_coeff_g_max_reference: Number | None = number(None, above=0, optional=True)
    """Largest conductance in microsiemens that ``prog_coeff`` refers to, so that noise scales with ``g_max``;
    ``None``: 25 for the default coefficients, else ``g_max`` itself."""
    nu_mean: ClippedLog = part(lambda: ClippedLog(slope=-0.0155, offset=0.0244, low=0.049, high=0.1))
    """Mean of the drift exponent."""
    nu_std: ClippedLog = part(lambda: ClippedLog(slope=-0.0125, offset=-0.0059, low=0.008, high=0.045))
    """Spread of the drift exponent between devices."""
    read: PowerLawRead = part(PowerLawRead)
    """Read noise relative to the conductance."""

    def validate(self) -> None:
        """Hand the largest conductance over; find out what the coefficients refer to."""
        super().validate()
        if self.prog_coeff_g_max_reference is None and same(self.prog_coeff, COEFFICIENTS):
            object.__setattr__(self, "prog_coeff_g_max_reference", 25.0)
