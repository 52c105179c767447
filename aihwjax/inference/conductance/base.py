"""What a conductance converter is: weights to the conductances of one or several devices each, and back."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aihwjax.config import Config, configclass, known, number
from aihwjax.errors import ConfigError
from aihwjax.typing import Number, Weights

Slices: TypeAlias = Float[Array, "slices out in"]
"""Conductances in microsiemens: one matrix for each device of a crosspoint."""
Params: TypeAlias = Mapping[str, Float[Array, "*shape"]]
"""What the way back needs to know of the way there, by name."""

_SMALLEST_WEIGHT = 1e-7


@configclass
class ConductanceConverter(Config, abc.ABC):
    """Base of all converters: the range of conductances, and the two ways.

    Both ways are deterministic, and differentiable where a clip does not act.
    """

    g_max: Number = number(25.0, minimum=0)
    """Largest conductance of a device, in microsiemens."""
    g_min: Number = number(0.0, minimum=0)
    """Smallest conductance of a device, in microsiemens."""

    remembers_devices: ClassVar[bool] = False
    """Whether the conductances of a chip are kept one by one, since its weights do not tell them."""

    def validate(self) -> None:
        """Refuse a range that is empty."""
        low, high = known(self.g_min), known(self.g_max)
        if low.size and high.size and (low >= high).any():
            kind = type(self).__name__
            raise ConfigError(
                f"{kind}.g_min={shown(self.g_min)} is not allowed with g_max={shown(self.g_max)}: give less than g_max"
            )

    @abc.abstractmethod
    def slices(self) -> int:
        """Return the number of devices of a crosspoint."""

    @abc.abstractmethod
    def convert(self, weights: Weights) -> tuple[Slices, Params]:
        """Return the target conductances of weights ``(out, in)``, and what the way back needs.

        Args:
            weights: The weights of one tile.
        """

    @abc.abstractmethod
    def convert_back(self, slices: Slices, params: Params) -> Weights:
        """Return the weights ``(out, in)`` that conductances stand for.

        Args:
            slices: Conductances, one matrix for each device of a crosspoint.
            params: As :meth:`convert` returned them.
        """


def shown(value: Number) -> str:
    """Return a known number for an error; of a sweep the largest."""
    return f"{float(np.max(known(value))):g}"


def largest_weight(weights: Weights) -> Float[Array, ""]:
    """Return M, the largest magnitude of the weights; a tile of zeros has a tiny one, so that nothing divides by 0."""
    return jnp.maximum(jnp.max(jnp.abs(weights), initial=0.0), _SMALLEST_WEIGHT)


def one_array(name: str, values: object) -> np.ndarray | jax.Array:
    """Return tables of equal length as one array, a row each.

    Args:
        name: What the message calls them.
        values: A list of lists of numbers, or an array.

    Raises:
        ConfigError: If the tables are none, or of different lengths.
    """
    if isinstance(values, jax.Array):
        return values
    try:
        table = np.asarray(values, np.float64)
    except (ValueError, TypeError):
        table = np.zeros(0)
    if table.ndim != 2:
        raise ConfigError(f"{name} is not allowed: give lists of numbers, all of the same length")
    return table
