"""Phase-change memory of the Hermes chips, with one or two devices a conductance.

    z = g_T / G,   z_P = g_P / G
    σ = Σ c_i zⁱ G / G_ref
    μ, s, r / |g_D|: a clipped logarithm at small z (or z_P), a polynomial at large ones

The law of time is that of :mod:`~aihwjax.inference.noise.power_law`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aihwjax.config import configclass, known, number, numbers, part
from aihwjax.errors import ConfigError
from aihwjax.inference.conductance.base import ConductanceConverter, shown
from aihwjax.inference.conductance.pairs import SinglePairConductanceConverter
from aihwjax.inference.noise.base import same
from aihwjax.inference.noise.curves import BranchedCurve, ClippedLog
from aihwjax.inference.noise.power_law import FittedNoiseModel
from aihwjax.typing import Number


def _curve(threshold: float, slope: float, offset: float, low: float, high: float, *above: float) -> BranchedCurve:
    below = ClippedLog(slope=slope, offset=offset, low=low, high=high)
    return BranchedCurve(threshold=threshold, below=below, above=above)


class _Fit(NamedTuple):
    """Coefficients for a number of devices."""

    g_max: float
    t_0: float
    prog_coeff: tuple[float, ...]
    nu_mean: BranchedCurve
    nu_std: BranchedCurve
    read: BranchedCurve


_NU_MEAN = _curve(0.0945, -0.0387, -0.0182, 0.0720, 0.13, 0.0736, -0.0126, -0.0436)
_FITS = {
    2: _Fit(
        g_max=20.7,
        t_0=300.0,
        prog_coeff=(0.16603222, 4.71806468, -8.48101252, 4.68961419),
        nu_mean=_NU_MEAN,
        nu_std=_curve(0.3055, -0.0117, -0.0057, 0.0091, 0.04, 0.0073, 0.0093, -0.0118),
        read=_curve(0.16, -0.0117, -0.0069, 0.015, 0.04, 0.0123, 0.0211, -0.0280, 0.0069),
    ),
    1: _Fit(
        g_max=10.35,
        t_0=200.0,
        prog_coeff=(0.15781817, 2.32443916, -2.16310839, 0.68841818),
        nu_mean=_NU_MEAN,
        nu_std=_curve(0.3039, -0.0120, -0.0023, 0.0124, 0.04, 0.0104, 0.0116, -0.0165),
        read=_curve(0.1591, -0.0078, 0.0038, 0.0179, 0.04, 0.0088, 0.0768, -0.1352, 0.0664),
    ),
}
_FITTED = ("prog_coeff", "nu_std", "read")
"""Fields whose numbers are those of a fit to one number of devices, of which nobody thinks by chance."""


@configclass
class HermesNoiseModel(FittedNoiseModel):
    """Programming noise, drift and read noise of the Hermes chips.

    When to use: for these chips; with two devices a conductance the range is twice as large and noise is smaller.
    Coefficients that are not given are those of ``num_devices``. Spec: inference, section 7.
    Source: Le Gallo et al., Nature Electronics 2023.
    """

    num_devices: int = 2
    """Devices in parallel that make a conductance, 1 or 2."""
    g_converter: ConductanceConverter = part(lambda: SinglePairConductanceConverter(g_max=_FITS[2].g_max))
    """How weights become conductances; by default one pair up to 20.7 microsiemens, or 10.35 with one device."""
    t_read: Number = number(512e-9, above=0)
    """Duration of a read, in seconds."""
    t_0: Number | None = number(None, above=0, optional=True)  # type: ignore[assignment]
    """Time between programming and time 0, in seconds; ``None``: 300, with one device 200."""
    prog_coeff: tuple[Number, ...] = numbers(_FITS[2].prog_coeff)
    """Programming noise in microsiemens as a polynomial of the relative conductance, from the constant on."""
    prog_coeff_g_max_reference: Number | None = number(None, above=0, optional=True)
    """Largest conductance in microsiemens that ``prog_coeff`` refers to, so that noise scales with ``g_max``;
    ``None``: 20.7 (10.35) for the default coefficients, else ``g_max`` itself."""
    nu_mean: BranchedCurve = part(lambda: _FITS[2].nu_mean)
    """Mean of the drift exponent."""
    nu_std: BranchedCurve = part(lambda: _FITS[2].nu_std)
    """Spread of the drift exponent between devices."""
    read: BranchedCurve = part(lambda: _FITS[2].read)
    """Read noise relative to the conductance."""

    def validate(self) -> None:
        """Fill in what depends on the number of devices; refuse conductances that these don't have."""
        if self.num_devices not in _FITS:
            raise ConfigError(f"HermesNoiseModel.num_devices={self.num_devices!r} is not allowed: give 1 or 2")
        own, other = _FITS[self.num_devices], _FITS[3 - self.num_devices]
        for name in _FITTED:
            if same(getattr(self, name), getattr(other, name)):
                object.__setattr__(self, name, getattr(own, name))
        if same(self.g_converter, SinglePairConductanceConverter(g_max=other.g_max)) and self.num_devices == 1:
            object.__setattr__(self, "g_converter", SinglePairConductanceConverter(g_max=own.g_max))
        super().validate()
        if self.t_0 is None:
            object.__setattr__(self, "t_0", own.t_0)
        if self.prog_coeff_g_max_reference is None and same(self.prog_coeff, own.prog_coeff):
            object.__setattr__(self, "prog_coeff_g_max_reference", own.g_max)
        if np.any(known(self.g_converter.g_max) > own.g_max * (1 + 1e-6)):
            raise ConfigError(
                f"HermesNoiseModel.g_max={shown(self.g_converter.g_max)} is not allowed with num_devices="
                f"{self.num_devices}: give at most {own.g_max:g}"
            )
