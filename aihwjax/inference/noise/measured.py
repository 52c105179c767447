"""A noise model from tables of measurements.

    programming  g_P = (mean(g_T) + prog_noise_scale spread(g_T) ξ)⁺
    drift        ν = drift_scale |drift_exponent(g_T) + drift_exponent_spread(g_T) ξ|     fixed for each device
    at time t    g_D = g_P ((t + t_0) / t_0)^(−ν)
                 g = (g_D + read_noise_scale read_noise(g_D) ξ)⁺

Between the points of the tables values are linear, beyond their ends those of the ends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aihwjax import columns
from aihwjax.config import configclass, known, number
from aihwjax.errors import ConfigError
from aihwjax.inference.conductance.base import shown
from aihwjax.inference.noise.base import NoiseModel
from aihwjax.random import Stream
from aihwjax.typing import Number

_NEEDED = ("conductance", "spread")
_OPTIONAL = ("mean", "drift_exponent", "drift_exponent_spread", "read_noise")


@configclass
class MeasuredNoiseModel(NoiseModel):
    """Programming noise, drift and read noise of devices that you measured, at a few conductances.

    When to use: for devices of your own. Tables are arrays of the same length, a value for each entry of
    ``conductance``; what was not measured is left out. They can be swept and differentiated as a whole.

    Example:
        >>> import aihwjax as aj
        >>> model = aj.MeasuredNoiseModel(
        ...     conductance=[0.0, 10.0, 25.0], spread=[0.3, 0.8, 1.0], drift_exponent=[0.1, 0.06, 0.05]
        ... )
        >>> aj.InferenceRPUConfig(noise_model=model).noise_model.g_converter.g_max
        25.0
    """

    conductance: Number = number(minimum=0)
    """Target conductances in microsiemens at which was measured, ascending, at least two; they cover the range of the
    converter."""
    spread: Number = number(minimum=0)
    """Standard deviation right after programming, in microsiemens."""
    mean: Number | None = number(None, minimum=0, optional=True)
    """Mean right after programming, in microsiemens; ``None``: the target."""
    drift_exponent: Number | None = number(None, minimum=0, optional=True)
    """Mean of the drift exponent ν; ``None``: conductances don't drift."""
    drift_exponent_spread: Number | None = number(None, minimum=0, optional=True)
    """Standard deviation of the drift exponent between devices; ``None``: all of a conductance drift alike."""
    read_noise: Number | None = number(None, minimum=0, optional=True)
    """Standard deviation of repeated reads in microsiemens, of a device that has the conductance now; ``None``: 0."""
    t_0: Number = number(20.0, above=0)
    """Time between programming and time 0, in seconds: the origin of the drift, at which ``spread`` was measured."""
    prog_noise_scale: Number = number(1.0)
    """Factor on the programming noise."""
    read_noise_scale: Number = number(1.0)
    """Factor on the read noise."""
    drift_scale: Number = number(1.0, minimum=0)
    """Factor on the drift exponents."""

    @classmethod
    def from_csv(cls, path: str | Path, **fields: Any) -> Self:
        """Return a model with the tables of a file.

        The first line has the names of the columns: ``conductance`` and ``spread``, and any of ``mean``,
        ``drift_exponent``, ``drift_exponent_spread`` and ``read_noise``. Each other line is one measured conductance.

        Args:
            path: The file, comma-separated.
            **fields: The other fields of the model, such as ``g_max``.

        Raises:
            DataError: If there is no such file, a column is missing or unknown, or an entry is no number.
            ConfigError: If the tables are not allowed.
        """
        found = columns.read(path, _NEEDED, _OPTIONAL)
        tables: dict[str, Any] = {name: columns.numbers(path, name, entries) for name, entries in found.items()}
        return cls(**tables, **fields)

    def validate(self) -> None:
        """Refuse tables that are too short, unsorted, of other lengths, or don't cover the range of the converter."""
        super().validate()
        kind = type(self).__name__
        if isinstance(self.conductance, jax.core.Tracer):
            return
        grid = np.asarray(self.conductance, np.float64)
        if grid.ndim != 1 or grid.size < 2:
            given = f"{grid.size} values" if grid.ndim <= 1 else f"shape {grid.shape}"
            raise ConfigError(f"{kind}.conductance with {given} is not allowed: give a list of at least 2")
        for place in np.flatnonzero(np.diff(grid) <= 0)[:1]:
            raise ConfigError(
                f"{kind}.conductance[{place + 1}]={grid[place + 1]:g} is not allowed after {grid[place]:g}: give "
                "ascending conductances"
            )
        for name in ("spread", *_OPTIONAL):
            shape = np.shape(getattr(self, name)) if getattr(self, name) is not None else grid.shape
            if shape != grid.shape:
                raise ConfigError(
                    f"{kind}.{name} of shape {shape} is not allowed: give {grid.size} values, one for each conductance"
                )
        low, high = known(self.g_converter.g_min), known(self.g_converter.g_max)
        # single precision: a bound that was in a program is the same bound
        if np.any(grid[0] > low + 1e-5) or np.any(grid[-1] < high - 1e-5):
            raise ConfigError(
                f"{kind}.conductance from {grid[0]:g} to {grid[-1]:g} uS is not allowed: give measurements from "
                f"g_min={shown(self.g_converter.g_min)} to g_max={shown(self.g_converter.g_max)} of the converter"
            )

    def _at(self, table: Number | None, g: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        if table is None:
            return jnp.zeros_like(g)
        return jnp.interp(g, jnp.asarray(self.conductance, jnp.float32), jnp.asarray(table, jnp.float32))

    def programmed(self, target: Float[Array, "*shape"], stream: Stream) -> Float[Array, "*shape"]:
        mean = target if self.mean is None else self._at(self.mean, target)
        noise = self.prog_noise_scale * self._at(self.spread, target) * stream.exact_normal(target.shape)
        return jnp.maximum(mean + noise, 0.0)

    def drift_parameters(self, target: Float[Array, "*shape"], stream: Stream) -> Float[Array, "*shape"]:
        spread = self._at(self.drift_exponent_spread, target) * stream.exact_normal(target.shape)
        return jnp.asarray(self.drift_scale) * jnp.abs(self._at(self.drift_exponent, target) + spread)

    def drifted(
        self, programmed: Float[Array, "*shape"], parameters: Float[Array, "*shape"], t: Number, stream: Stream
    ) -> Float[Array, "*shape"]:
        age = jnp.log((jnp.asarray(t, jnp.float32) + self.t_0) / self.t_0)
        decayed = programmed * jnp.exp(-parameters * age)
        noise = self.read_noise_scale * self._at(self.read_noise, decayed) * stream.exact_normal(programmed.shape)
        return jnp.maximum(decayed + noise, 0.0)
