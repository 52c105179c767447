"""Curves of a relative conductance, of which the noise models are made; parts of their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax.config import Config, configclass, number, numbers, part
from aihwjax.inference.noise.base import polynomial
from aihwjax.typing import Number

SMALLEST = 1e-7
"""Smallest relative conductance whose logarithm is taken."""


@configclass
class ClippedLog(Config):
    """``clip(slope ln z + offset, low, high)`` of a relative conductance ``z``."""

    slope: Number = number(0.0)
    """Slope against the natural logarithm."""
    offset: Number = number(0.0)
    """Value at ``z = 1`` before the clip."""
    low: Number = number(0.0)
    """Smallest value."""
    high: Number = number(1.0)
    """Largest value."""

    def at(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the curve at relative conductances.

        Args:
            z: Conductance over the largest, at least 0.
        """
        return jnp.clip(self.slope * jnp.log(jnp.maximum(z, SMALLEST)) + self.offset, self.low, self.high)


@configclass
class BranchedCurve(Config):
    """A clipped logarithm at small conductances, a polynomial at large ones."""

    threshold: Number = number(0.1, minimum=0)
    """Relative conductance where the polynomial begins."""
    below: ClippedLog = part(ClippedLog)
    """The curve below the threshold."""
    above: tuple[Number, ...] = numbers((0.0,))
    """Coefficients of the polynomial from the threshold on, from the constant on."""

    def at(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the curve at relative conductances.

        Args:
            z: Conductance over the largest, at least 0.
        """
        return jnp.where(z < self.threshold, self.below.at(z), polynomial(self.above, z))


@configclass
class PowerLawRead(Config):
    """Relative read noise ``min(factor / max(z^exponent, floor), high)`` of a relative conductance ``z``."""

    factor: Number = number(0.0088, minimum=0)
    """Relative noise at ``z = 1``."""
    exponent: Number = number(0.65, above=0)
    """How fast it grows towards small conductances."""
    floor: Number = number(1e-3, above=0)
    """Smallest value of the power."""
    high: Number = number(0.2, minimum=0)
    """Largest relative noise."""

    def at(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the curve at relative conductances.

        Args:
            z: Conductance over the largest, at least 0.
        """
        # the floor inside of the power, whose slope at 0 is infinite
        lowest = jnp.asarray(self.floor) ** (1 / jnp.asarray(self.exponent))
        return jnp.minimum(self.factor / jnp.maximum(z, lowest) ** self.exponent, self.high)


@configclass
class NoisePolynomial(Config):
    """Coefficients of a spread, and the key under which a model finds them."""

    key: Number = number(0.0, minimum=0)
    """The key: a time in seconds, or an acceptance range in percent."""
    coeff: tuple[Number, ...] = numbers((0.0,))
    """Coefficients of the polynomial, from the constant on."""

    @classmethod
    def of_mapping(cls, given: Mapping[Any, Any]) -> tuple[Self, ...]:
        """Return the polynomials of a dictionary from keys to coefficients, as the reference takes them.

        Args:
            given: The dictionary.
        """
        return tuple(cls(key=key, coeff=coeff) for key, coeff in given.items())


def lasting(time: Number | Float[Array, ""], t_read: Number) -> Float[Array, ""]:
    """Return the square root of ``ln((time + t_read) / (2 t_read))``, by which the noise of a read grows with time.

    0 for times that are shorter than a read.

    Args:
        time: Age of the conductances in seconds.
        t_read: Duration of a read in seconds, above 0.
    """
    duration = jnp.asarray(t_read, jnp.float32)
    ratio = (jnp.asarray(time, jnp.float32) + duration) / (2 * duration)
    longer = ratio > 1
    # the inner choice keeps the derivative finite where the outer one takes 0
    return jnp.where(longer, jnp.sqrt(jnp.log(jnp.where(longer, ratio, 2.0))), 0.0)
