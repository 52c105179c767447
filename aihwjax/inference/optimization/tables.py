"""All tables of conductances that stand for the same weights, as a cube of numbers from 0 to 1.

On a grid of weights from −M to M the pairs of a crosspoint add up to ``c = w_max w / M``. What is free: how much of it
each pair but the last takes, where within its range each pair lies, how much of the range is used, and factors.

    R = Σ_later f (g_max − g_min)                      what the pairs after this one can add
    D = between max(c − R, −f Δ) and min(c + R, f Δ)   what this pair adds
    G⁺ = between g_min + max(D / f, 0) and g_max + min(D / f, 0),   G⁻ = G⁺ − D / f
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

_LEAST = 0.05
"""Part of the range that is used at least."""


@dataclass(frozen=True)
class Space:
    """What is searched: a cube whose points are tables."""

    g_min: float
    """Smallest conductance in microsiemens."""
    g_max: float
    """Largest conductance in microsiemens."""
    factors: tuple[float | None, ...]
    """Factor of each pair; ``None``: it is searched, too."""
    bins: int
    """Points of a table from the most negative weight to 0, both included."""
    symmetric: bool
    """Whether a positive weight is the negative one with the devices of each pair exchanged."""
    factor_range: tuple[float, float]
    """Range of factors that are searched."""

    @property
    def points(self) -> int:
        """Number of points of a table."""
        return 2 * self.bins - 1

    @property
    def free_points(self) -> int:
        """Number of points of a table that are searched."""
        return self.bins if self.symmetric else self.points

    @property
    def size(self) -> int:
        """Number of dimensions: of each row of the tables, of the part of the range, and of factors."""
        return self._first_row + (2 * len(self.factors) - 1) * self.free_points

    def decoded(self, place: Float[Array, " size"]) -> tuple[list[Float[Array, ""]], Float[Array, "slices points"]]:
        """Return the factors and tables of a point of the cube.

        Args:
            place: The point.
        """
        scale, searched, rows = place[0], place[1 : self._first_row], place[self._first_row :]
        rows = rows.reshape(-1, self.free_points)
        factors, width = self._factors(searched), self.g_max - self.g_min
        left = width * sum(factors, start=jnp.zeros(())) * (scale * (1 - _LEAST) + _LEAST) * self._grid()
        tables = []
        for number, factor in enumerate(factors):
            low, high = self._limits(left, factors, number)
            last = number == len(factors) - 1
            taken = high if last else low + rows[2 * number + 1] * (high - low)
            left = left - taken
            apart = taken / factor
            low, high = self.g_min + jnp.maximum(apart, 0.0), self.g_max + jnp.minimum(apart, 0.0)
            up = jnp.clip(low + rows[2 * number] * (high - low), self.g_min, self.g_max)
            down = jnp.clip(up - apart, self.g_min, self.g_max)
            if self.symmetric:
                up, down = jnp.concatenate([up, down[-2::-1]]), jnp.concatenate([down, up[-2::-1]])
            tables += [up, down]
        return factors, jnp.stack(tables)

    def plain(self) -> Float[Array, " size"]:
        """Return the point of :class:`~aihwjax.NPairConductanceConverter`, with searched factors in the middle."""
        searched = jnp.full((self._first_row - 1,), 0.5)
        factors = self._factors(searched)
        left = (self.g_max - self.g_min) * sum(factors, start=jnp.zeros(())) * self._grid()
        rows = []
        for number, factor in enumerate(factors):
            rows.append(jnp.zeros(self.free_points))  # one device of each pair at g_min
            low, high = self._limits(left, factors, number)
            taken = jnp.clip(left, -factor * (self.g_max - self.g_min), factor * (self.g_max - self.g_min))
            rows.append((taken - low) / jnp.where(high > low, high - low, 1.0))
            left = left - taken
        return jnp.clip(jnp.concatenate([jnp.ones(1), searched, *rows[:-1]]), 0.0, 1.0)

    @property
    def _first_row(self) -> int:
        return 1 + sum(factor is None for factor in self.factors)

    def _grid(self) -> Float[Array, " points"]:
        return jnp.linspace(-1.0, 0.0 if self.symmetric else 1.0, self.free_points)

    def _limits(
        self, left: Float[Array, " points"], factors: list[Float[Array, ""]], number: int
    ) -> tuple[Float[Array, " points"], Float[Array, " points"]]:
        """Return what a pair has to add at least, and can at most, for the pairs after it to add the rest."""
        width = self.g_max - self.g_min
        others, own = width * sum(factors[number + 1 :], start=jnp.zeros(())), width * factors[number]
        return jnp.maximum(left - others, -own), jnp.minimum(left + others, own)

    def _factors(self, searched: Float[Array, " free"]) -> list[Float[Array, ""]]:
        low, high = self.factor_range
        values = iter(searched)
        return [
            low + (high - low) * next(values) if factor is None else jnp.asarray(factor, jnp.float32)
            for factor in self.factors
        ]
