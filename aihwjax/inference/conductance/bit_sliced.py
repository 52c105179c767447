"""Weights as numbers of several digits, each on a pair of devices of its own.

    n = round((L^D − 1) |w| / max |w|) = Σ d_k L^k,   0 ≤ d_k < L
    G⁺_k = g_min + d_k (g_max − g_min) / (L − 1) where w > 0,   G⁻_k likewise where w < 0, else g_min

The way back is digital: the conductances of a pair are a digit, and digits are added with their powers of L.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from aihwjax.config import configclass, known, number
from aihwjax.config.limits import LARGEST_WHOLE
from aihwjax.errors import ConfigError
from aihwjax.inference.conductance.base import ConductanceConverter, Params, Slices, largest_weight, shown
from aihwjax.inference.conductance.pairs import weighted_difference
from aihwjax.typing import Number, Weights


@configclass
class BitSlicedConductanceConverter(ConductanceConverter):
    """Digits of a weight on pairs of devices, one pair a digit, put together in digital.

    When to use: for devices with few levels, and to see what slices of higher significance do to the error of a chip.
    Weights are rounded to ``2 levels^digits − 1`` values; a chip remembers the conductance of each device, so that each
    slice drifts with its own. The rounding has the derivative 1. The product reads
    the weights that the slices stand for: converters of each slice alone, and their noise, are not simulated.
    Source: Shafiee et al., ISCA 2016; Le Gallo et al., Neuromorphic Computing and Engineering 2022.

    Example:
        >>> import jax.numpy as jnp
        >>> import aihwjax as aj
        >>> converter = aj.BitSlicedConductanceConverter(levels=4, digits=2, g_max=30.0)
        >>> slices, params = aj.inference.convert(converter, jnp.array([[1.0, -0.4]]))
        >>> [conductances.tolist() for conductances in slices]
        [[[30.0, 0.0]], [[0.0, 20.0]], [[30.0, 0.0]], [[0.0, 10.0]]]
    """

    remembers_devices = True

    levels: Number = number(4, minimum=2, integer=True)
    """Number of levels of a device, L: 4 are slices of two bits."""
    digits: int = 4
    """Number of pairs of devices, D, of which the first has the lowest significance."""

    def validate(self) -> None:
        """Refuse a range that is empty, and more values than single precision can tell apart."""
        super().validate()
        if self.digits < 1:
            raise ConfigError(f"{type(self).__name__}.digits={self.digits} is not allowed: give at least 1")
        levels = known(self.levels)
        # logarithms: a power of many digits is no number
        if levels.size and self.digits * np.log2(levels.max()) > np.log2(LARGEST_WHOLE) + 1e-9:
            raise ConfigError(
                f"{type(self).__name__}.digits={self.digits} is not allowed with levels={shown(self.levels)}: give so "
                f"few that levels^digits is at most {LARGEST_WHOLE}"
            )

    def slices(self) -> int:
        return 2 * self.digits

    def _powers(self) -> list[Float[Array, ""]]:
        levels = jnp.asarray(self.levels, jnp.float32)
        powers = [jnp.ones((), jnp.float32)]
        for _ in range(self.digits):
            powers.append(powers[-1] * levels)
        return powers

    def convert(self, weights: Weights) -> tuple[Slices, Params]:
        *powers, values = self._powers()
        largest = largest_weight(weights)
        exact = (values - 1) * (jnp.abs(weights) / largest)
        # whole numbers, of which a division loses nothing
        base, rest = jnp.asarray(self.levels).astype(jnp.int32), jnp.round(exact).astype(jnp.int32)
        digits = []
        for _ in powers:
            digits.append((rest % base).astype(jnp.float32))
            rest = rest // base
        # the lowest digit carries the derivative of the weight
        digits[0] = digits[0] + (exact - lax.stop_gradient(exact))
        step = jnp.asarray(self.g_max - self.g_min) / (jnp.asarray(self.levels, jnp.float32) - 1)
        found = []
        for digit in digits:
            found += [jnp.where(weights > 0, digit * step, 0.0), jnp.where(weights < 0, digit * step, 0.0)]
        return jnp.stack(found) + self.g_min, {"scale": step * (values - 1) / largest}

    def convert_back(self, slices: Slices, params: Params) -> Weights:
        return weighted_difference(tuple(self._powers()[:-1]), slices) / params["scale"]
