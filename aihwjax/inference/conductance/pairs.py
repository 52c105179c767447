"""One or several pairs of devices a weight: one of each pair counts up, the other down.

    G⁺ = min((κ w)⁺, g_max) + g_min,  G⁻ = min((−κ w)⁺, g_max) + g_min,  κ = (g_max − g_min) / max |w|

Several pairs count with factors ``f_k``, from the lowest significance to the highest. The lower pair is
filled before the next one starts.
"""

from __future__ import annotations

import jax.numpy as jnp

from aihwjax.config import configclass, numbers
from aihwjax.errors import ConfigError
from aihwjax.inference.conductance.base import ConductanceConverter, Params, Slices, largest_weight
from aihwjax.typing import Number, Weights


@configclass
class SinglePairConductanceConverter(ConductanceConverter):
    """Two devices a weight, of which one is at ``g_min``.

    When to use: the usual choice, and the default of most noise models. Spec: inference, section 2.

    Example:
        >>> import jax.numpy as jnp
        >>> import aihwjax as aj
        >>> converter = aj.inference.SinglePairConductanceConverter(g_max=25.0, g_min=5.0)
        >>> slices, params = aj.inference.convert(converter, jnp.array([[1.0, -0.5]]))
        >>> [conductances.tolist() for conductances in slices]
        [[[25.0, 5.0]], [[5.0, 15.0]]]
    """

    def slices(self) -> int:
        return 2

    def convert(self, weights: Weights) -> tuple[Slices, Params]:
        scale = jnp.asarray(self.g_max - self.g_min) / largest_weight(weights)
        both = jnp.stack([weights, -weights]) * scale
        return jnp.clip(both, 0.0, self.g_max) + self.g_min, {"scale": scale}

    def convert_back(self, slices: Slices, params: Params) -> Weights:
        return (slices[0] - slices[1]) / params["scale"]


@configclass
class NPairConductanceConverter(ConductanceConverter):
    """Several pairs of devices a weight, with a factor each.

    When to use: for more levels or less noise than one pair has. Spec: inference, section 2.
    """

    f_lst: tuple[Number, ...] = numbers(above=0)
    """Factor of each pair, from the lowest significance to the highest; all above 0."""

    def validate(self) -> None:
        """Refuse a range that is empty, and factors that are missing."""
        super().validate()
        self._check_count()

    def _check_count(self) -> None:
        if not self.f_lst:
            raise ConfigError(f"{type(self).__name__}.f_lst=() is not allowed: give the factor of each pair")

    def slices(self) -> int:
        return 2 * len(self.f_lst)

    def convert(self, weights: Weights) -> tuple[Slices, Params]:
        width = self.g_max - self.g_min
        scale = jnp.asarray(width * sum(self.f_lst)) / largest_weight(weights)
        both, found = jnp.maximum(jnp.stack([weights, -weights]) * scale, 0.0), []
        level: Number = 0.0
        for factor in self.f_lst:
            found.append(jnp.clip((both - level) / factor + self.g_min, self.g_min, self.g_max))
            level = level + factor * width
        return jnp.concatenate(found), {"scale": scale}

    def convert_back(self, slices: Slices, params: Params) -> Weights:
        return weighted_difference(self.f_lst, slices) / params["scale"]


@configclass
class DualPairConductanceConverter(NPairConductanceConverter):
    """Two pairs of devices a weight, with two factors; see :class:`NPairConductanceConverter`."""

    f_lst: tuple[Number, ...] = numbers(above=0)
    """Factor of the pair of lower significance, and of that of higher; both above 0."""

    def _check_count(self) -> None:
        if len(self.f_lst) != 2:
            given = len(self.f_lst)
            raise ConfigError(f"{type(self).__name__}.f_lst with {given} factors is not allowed: give two")


def weighted_difference(factors: tuple[Number, ...], slices: Slices) -> Weights:
    """Return the sum of the pairs: factor times up device minus down device.

    Args:
        factors: One for each pair.
        slices: Conductances, up and down device of each pair in turn.
    """
    total = jnp.zeros_like(slices[0])
    for place, factor in enumerate(factors):
        total = total + factor * (slices[2 * place] - slices[2 * place + 1])
    return total
