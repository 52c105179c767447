"""Digital-to-analog and analog-to-digital converters (spec: forward, section 2).

A converter has a symmetric range ``-bound … bound`` and a grid with a level at zero::

    r = res, or 1/res if res > 1          (a fraction of the full range, or a number of steps)
    q = 2 · bound · r                     (the step, in single precision)
    Q(v) = rint(v / q) · q                (half to even)
    Q(v) = rint(v / q + u − 1/2) · q      (stochastic rounding, u uniform in 0…1)

The grid is not tied to the bound: for an even number of steps the top code equals the bound
only up to rounding, and a code that rounds above it counts as clipped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.config import Config
from aihwjax.derivatives import passed_through
from aihwjax.random import Draws
from aihwjax.tile.product.io import IOParameters
from aihwjax.typing import Number

_AT_BOUND = 1 + 1e-6


def single(value: Number) -> jax.Array:
    """Return a configuration number in single precision, the precision of the simulated hardware."""
    return jnp.asarray(value, jnp.float32)


def has_range(config: Config, name: str) -> bool:
    """Whether the bound ``name`` of a configuration is in the program; a plain infinity is no bound."""
    value = getattr(config, name)
    infinite = isinstance(value, int | float) and math.isinf(value)
    return config.present(name) and not infinite


def step_size(bound: Number, res: Number) -> jax.Array:
    """Return the step ``q`` of a converter, rounded as ``fl(fl(2 bound) fl(r))``; 0 where there is none.

    Args:
        bound: Range of the converter; none at zero, below, or infinity.
        res: Resolution: a fraction of the full range, or a number of steps above 1; none at zero or below.
    """
    bound, res = single(bound), single(res)
    fraction = jnp.where(res > 1, 1 / jnp.where(res > 1, res, 1), jnp.maximum(res, 0))
    ranged = (bound > 0) & jnp.isfinite(bound)
    return jnp.where(ranged, 2 * bound, 0) * fraction


class Converter(NamedTuple):
    """A converter as the product sees it: what is switched off is ``None``."""

    bound: jax.Array | None
    """Range, plus and minus; infinite where a swept bound is off."""
    step: jax.Array | None
    """Grid step; 0 where a swept resolution is off."""
    dither: str | None
    """Name of the noise of stochastic rounding, if rounding is stochastic."""
    passes: bool = False
    """Whether a derivative passes: rounding has the slope 1, and the bound itself is not outside."""

    def straight(self) -> Converter:
        """Return the same converter with derivatives."""
        return self._replace(passes=True)

    def quantise(self, values: jax.Array, source: Draws) -> jax.Array:
        """Round ``values`` to the grid.

        Args:
            values: Values in converter units, any shape.
            source: Noise of this conversion.
        """
        if self.step is None:
            return values
        on = self.step > 0
        step = jnp.where(on, self.step, 1)
        code = _quotient(values, step)
        dithered = code
        if self.dither is not None:
            dithered = code + source.child(self.dither).uniform(values.shape) - 0.5
        rounded = lax.round(dithered, lax.RoundingMethod.TO_NEAREST_EVEN)
        # a choice of codes: one of values would have a compiler make the values, and their noise, for each use
        quantised = jnp.where(on, rounded, code) * step
        return passed_through(values, quantised) if self.passes else quantised

    def clip(self, values: jax.Array) -> jax.Array:
        """Limit ``values`` to the range."""
        if self.bound is None:
            return values
        if self.passes:  # the largest input is scaled to the bound, up to rounding
            return jnp.where(jnp.abs(values) > self.bound * _AT_BOUND, jnp.sign(values) * self.bound, values)
        return jnp.clip(values, -self.bound, self.bound)

    def exceeds(self, values: jax.Array) -> jax.Array:
        """Whether each value lies strictly outside the range."""
        return jnp.zeros(values.shape, bool) if self.bound is None else jnp.abs(values) > self.bound


def input_converter(io: IOParameters) -> Converter:
    """Return the DAC of one direction of the product."""
    return _converter(io, "inp_bound", "inp_res", "inp_sto_round" if io.inp_sto_round else None)


def output_converter(io: IOParameters) -> Converter:
    """Return the ADC of one direction of the product."""
    return _converter(io, "out_bound", "out_res", "out_sto_round" if io.out_sto_round else None)


def _converter(io: IOParameters, bound: str, res: str, dither: str | None) -> Converter:
    if not has_range(io, bound):
        return Converter(None, None, dither)
    limit = single(getattr(io, bound))
    step = step_size(limit, getattr(io, res)) if io.present(res) else None
    return Converter(jnp.where(limit > 0, limit, jnp.inf), step, dither)


def _quotient(values: jax.Array, step: jax.Array) -> jax.Array:
    """Return the correctly rounded quotient.

    XLA turns a division by a broadcast number into a product with its reciprocal, which moves
    inputs that lie half way between two levels; a divisor for each element keeps the division.
    """
    return values / jnp.where(jnp.isnan(values), 1, step)
