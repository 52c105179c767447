"""What a noise model is: a frozen configuration, and a few pure functions of conductances.

Conductances are in microsiemens, times in seconds. ``G`` is the largest conductance of the converter, ``ξ`` a fresh
standard normal for each device. All coefficients are numbers of the configuration, so that they can be swept and
differentiated: noise is drawn as ``mean + spread ξ``.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax.config import Config, configclass, number, part
from aihwjax.inference.conductance.base import ConductanceConverter
from aihwjax.inference.conductance.pairs import SinglePairConductanceConverter
from aihwjax.random import Stream
from aihwjax.typing import Number


@configclass
class NoiseModel(Config, abc.ABC):
    """Base of all noise models: what a chip asks of one."""

    g_converter: ConductanceConverter = part(SinglePairConductanceConverter)
    """How weights become conductances."""
    g_max: Number | None = number(None, minimum=0, optional=True)
    """Largest conductance in microsiemens: short for that of ``g_converter``, which takes it over."""
    reference_quirks: bool = False
    """Set by the tile configuration; see ``TileConfig.reference_quirks``."""

    def validate(self) -> None:
        """Hand the largest conductance to the converter."""
        if self.g_max is not None:
            object.__setattr__(self, "g_converter", self.g_converter.replace(g_max=self.g_max))
            object.__setattr__(self, "g_max", None)

    def check_time(self, t: float) -> None:
        """Refuse a time at which the model says nothing.

        Args:
            t: Seconds after programming, at least 0.

        Raises:
            ConfigError: If there is no answer at this time; says which times are allowed.
        """

    @abc.abstractmethod
    def programmed(self, target: Float[Array, "*shape"], stream: Stream) -> Float[Array, "*shape"]:
        """Return conductances as they are right after programming.

        Args:
            target: What they should be.
            stream: Source of the programming noise.
        """

    def drift_parameters(self, target: Float[Array, "*shape"], stream: Stream) -> Any:
        """Return what each device keeps for its drift, drawn once when it is programmed; ``None``: nothing.

        Args:
            target: What the conductances should be.
            stream: Source of the spread between devices.
        """
        return None

    @abc.abstractmethod
    def drifted(
        self, programmed: Float[Array, "*shape"], parameters: Any, t: Number, stream: Stream
    ) -> Float[Array, "*shape"]:
        """Return conductances as they are read at a time; never cumulative.

        Args:
            programmed: As they were right after programming.
            parameters: From :meth:`drift_parameters`.
            t: Seconds after programming.
            stream: Source of the read noise.
        """


def polynomial(coefficients: Sequence[Number], z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return ``Σ c_i z^i``.

    Args:
        coefficients: From the constant on.
        z: Where.
    """
    value = jnp.zeros_like(z)
    for coefficient in reversed(coefficients):
        value = value * z + coefficient
    return value


def same(value: Any, default: Any) -> bool:
    """Whether numbers are known and equal to a default; traced and swept ones are not.

    Args:
        value: Numbers of a configuration, or parts of it.
        default: The default.
    """
    leaves, tree = jax.tree.flatten(value)
    theirs, other = jax.tree.flatten(default)
    equal: bool = tree == other  # type: ignore[operator]
    return equal and all(isinstance(leaf, int | float) for leaf in leaves) and leaves == theirs
