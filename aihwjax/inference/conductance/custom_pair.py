"""Pairs of devices whose conductances are tables of the weight.

W = Σ f_k (T⁺_k − T⁻_k) on a symmetric grid of weights,   κ = max |W| / max |w|
G = the table at κ w, linear between its points
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aihwjax.config import configclass, known, number
from aihwjax.errors import ConfigError
from aihwjax.inference.conductance.base import Params, Slices, largest_weight, one_array, shown
from aihwjax.inference.conductance.pairs import NPairConductanceConverter, weighted_difference
from aihwjax.typing import Number, Weights


@configclass
class CustomPairConductanceConverter(NPairConductanceConverter):
    """Pairs of devices that follow tables, such as those of an optimised programming scheme.

    When to use: where conductances other than those of :class:`NPairConductanceConverter` are better, for instance
    to keep devices away from conductances that drift much. Spec: inference, section 2.
    """

    g_lst: Number = number(minimum=0)
    """Tables of conductances in microsiemens, an array ``(2 pairs, points)``: up and down device of each pair in turn.
    Their points lie evenly on a symmetric range of weights, so that the middle one belongs to weight 0."""
    invertibility_test: bool = True
    """Whether tables are refused that do not give back the weights that went in."""

    def validate(self) -> None:
        """Refuse tables that don't fit the pairs or the range, and those that lose weights."""
        super().validate()
        name = f"{type(self).__name__}.g_lst"
        if isinstance(self.g_lst, jax.core.Tracer):
            return
        table = one_array(name, self.g_lst)
        object.__setattr__(self, "g_lst", table)
        rows, points = table.shape
        if rows != self.slices() or points < 2:
            raise ConfigError(
                f"{name} with {rows} tables of {points} points is not allowed: give {self.slices()} tables, two for "
                f"each of the {len(self.f_lst)} pairs, of at least 2 points"
            )
        low, high = known(self.g_min), known(self.g_max)
        outside = [value for value in np.ravel(table) if (value < low - 1e-6).any() or (value > high + 1e-6).any()]
        if outside:
            raise ConfigError(
                f"{name} with a conductance of {outside[0]:g} is not allowed: give values from "
                f"g_min={shown(self.g_min)} to g_max={shown(self.g_max)}"
            )
        if self.invertibility_test and all(known(factor).size for factor in self.f_lst):
            self._check_invertible(np.asarray(table))

    def _check_invertible(self, table: np.ndarray) -> None:
        factors = np.asarray(self.f_lst, np.float64)
        combined = np.einsum("k,kn->n", factors, table[::2] - table[1::2])
        largest = np.abs(combined).max()
        weights = np.linspace(-1.0, 1.0, 5)
        there = np.interp(weights, np.linspace(-1.0, 1.0, table.shape[1]), combined)
        back = there / largest if largest > 0 else np.zeros(5)
        wrong = np.abs(back - weights) > 1e-4 + 1e-5 * np.abs(weights)
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ConfigError(
                f"{type(self).__name__}.g_lst is not allowed: weight {weights[place]:g} comes back as "
                f"{back[place]:.6g}; give tables whose combination is linear, or invertibility_test=False"
            )

    def convert(self, weights: Weights) -> tuple[Slices, Params]:
        tables: Float[Array, "slices points"] = jnp.asarray(self.g_lst, jnp.float32)
        top = jnp.max(jnp.abs(weighted_difference(self.f_lst, tables)))
        scale = top / largest_weight(weights)
        grid = jnp.linspace(-1.0, 1.0, tables.shape[1]) * (top / scale)
        at = partial(jnp.interp, weights, grid)
        return jax.vmap(at)(tables), {"scale": scale}
