"""Phase-change memory with drift exponents from a table.

As :mod:`~aihwjax.inference.noise.pcm`, but mean and spread of the exponent are tables of the target conductance in
microsiemens, linear between their points.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aihwjax.config import Config, configclass, known, numbers, part
from aihwjax.errors import ConfigError, nearest
from aihwjax.inference.conductance.base import shown
from aihwjax.inference.noise.pcm import PCMLikeNoiseModel
from aihwjax.typing import Number


@configclass
class DriftTable(Config):
    """Mean and spread of the drift exponent at a few conductances."""

    g_lst: tuple[Number, ...] = numbers((0.0, 25.0), minimum=0)
    """Conductances in microsiemens, ascending, at least two."""
    nu_mean_lst: tuple[Number, ...] = numbers((0.05, 0.05))
    """Mean of the exponent at each."""
    nu_std_lst: tuple[Number, ...] = numbers((0.0, 0.0))
    """Spread of the exponent between devices at each."""

    @classmethod
    def of_mapping(cls, given: Mapping[Any, Any]) -> Self:
        """Return the table of a dictionary of three lists, as the reference takes it.

        Args:
            given: The dictionary.

        Raises:
            ConfigError: If a list is missing or unknown.
        """
        names = ("g_lst", "nu_mean_lst", "nu_std_lst")
        for name in given:
            if name not in names:
                raise ConfigError(f"{cls.__name__} has no list {name!r}{nearest(str(name), names)}")
        for name in names:
            if name not in given:
                raise ConfigError(f"{cls.__name__} needs the list {name!r}: give {', '.join(names)}")
        return cls(**given)

    def validate(self) -> None:
        """Refuse tables that are too short, of different lengths, or not ascending."""
        kind, count = type(self).__name__, len(self.g_lst)
        if count < 2:
            raise ConfigError(f"{kind}.g_lst with {count} conductances is not allowed: give at least 2")
        for name in ("nu_mean_lst", "nu_std_lst"):
            own = len(getattr(self, name))
            if own != count:
                raise ConfigError(f"{kind}.{name} with {own} values is not allowed: give {count}, as many as g_lst has")
        values = [known(value) for value in self.g_lst]
        for place, (before, after) in enumerate(itertools.pairwise(values)):
            if before.size and after.size and np.any(after <= before):
                raise ConfigError(
                    f"{kind}.g_lst[{place + 1}]={shown(self.g_lst[place + 1])} is not allowed after "
                    f"{shown(self.g_lst[place])}: give ascending conductances"
                )


@configclass
class CustomDriftPCMLikeNoiseModel(PCMLikeNoiseModel):
    """Phase-change memory whose drift exponents are measured at a few conductances.

    When to use: for devices whose noise is that of phase-change memory but which drift otherwise.
    Spec: inference, section 5.
    """

    custom_drift_model: DriftTable = part(DriftTable)
    """Mean and spread of the exponent; a dictionary of its three lists is taken, too."""

    def validate(self) -> None:
        """Refuse a table that does not cover the range of the converter."""
        super().validate()
        table, converter = self.custom_drift_model.g_lst, self.g_converter
        first, last = known(table[0]), known(table[-1])
        low, high = known(converter.g_min), known(converter.g_max)
        # single precision: a bound that was in a program is the same bound
        if np.any(first > low + 1e-5) or np.any(last < high - 1e-5):
            given = f"{shown(table[0])} to {shown(table[-1])} uS"
            raise ConfigError(
                f"{type(self).__name__}.custom_drift_model from {given} is not allowed: give a table "
                f"from g_min={shown(converter.g_min)} to g_max={shown(converter.g_max)} of the converter"
            )

    def exponents(self, target: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        table = self.custom_drift_model
        grid = jnp.asarray(table.g_lst, jnp.float32)
        mean, spread = jnp.asarray(table.nu_mean_lst, jnp.float32), jnp.asarray(table.nu_std_lst, jnp.float32)
        return jnp.interp(target, grid, mean), jnp.interp(target, grid, spread)
