"""What a hidden parameter may be set to: checked before anything is traced, as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from aihwjax.config import LARGEST
from aihwjax.errors import ConfigError, DataError, ShapeError, nearest
from aihwjax.pulses import PulseType
from aihwjax.tile.checks import as_numbers, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Hidden

_UPPER, _LOWER = "max_bound", "min_bound"


def checked(given: Mapping[str, Hidden], present: Mapping[str, Hidden], device: str) -> dict[str, Hidden]:
    """Return parameters in the type that they have on the tile, or say what is wrong with them.

    Args:
        given: What shall be set, by name.
        present: All hidden parameters of the tile.
        device: Its device, for the errors, from :func:`device_text`.

    Raises:
        ConfigError: If it is no dictionary, or a name is unknown.
        DataError: If a value is no array of real numbers, one is too large, or a counter is no whole number from 0.
        ShapeError: If it has another shape.
        NonFiniteError: If a number is NaN or infinite.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"parameters={type(given).__name__} is not allowed: give a dictionary such as {{'max_bound': array}}"
        )
    values: dict[str, Hidden] = {}
    for name, value in given.items():
        if name not in present:
            has = (
                "no hidden parameters" if not present else f"no hidden parameter {name!r}{nearest(str(name), present)}"
            )
            raise ConfigError(f"a tile of {device} has {has}")
        wanted = present[name]
        array = as_numbers(name, value)
        if jnp.shape(array) != wanted.shape:
            raise ShapeError(f"{name} has shape {jnp.shape(array)}: give {wanted.shape}, (out, in) of the tile")
        require_finite(name, array)
        if not _is_traced(array) and (np.abs(np.asarray(array, np.float64)) > LARGEST).any():
            raise DataError(f"{name} has numbers that are too large: give numbers of at most {LARGEST:g}")
        if jnp.issubdtype(wanted.dtype, jnp.integer):
            _require_counts(name, array)
        values[name] = jnp.asarray(array, wanted.dtype)
    return values


def as_before(name: str, value: Hidden, present: Hidden, reason: str) -> list[Bool[Array, ""]]:
    """Refuse a parameter that cannot be set, unless it is what it was.

    Args:
        name: Its name.
        value: What shall be set.
        present: What it is.
        reason: Why it cannot be set, and what to do.

    Returns:
        What has to be true, where that is not known now.

    Raises:
        ConfigError: If it is known to be another.
    """
    if _is_traced(value, present):
        return [jnp.all(value == present)]
    if not np.array_equal(np.asarray(value), np.asarray(present)):
        raise ConfigError(f"{name} cannot be set on this tile: {reason}")
    return []


def in_order(parameters: Mapping[str, Hidden]) -> list[Bool[Array, ""]]:
    """Refuse lower bounds above upper ones.

    Args:
        parameters: All hidden parameters, as they are going to be.

    Returns:
        What has to be true, where that is not known now.

    Raises:
        ConfigError: If one is known to be above.
    """
    conditions = []
    for name, upper in parameters.items():
        if not name.startswith(_UPPER):
            continue
        below = name.replace(_UPPER, _LOWER, 1)
        lower = parameters[below]
        if _is_traced(upper, lower):
            conditions.append(jnp.all(lower <= upper))
            continue
        wrong = np.argwhere(np.asarray(lower) > np.asarray(upper))
        if len(wrong):
            row, column = (int(place) for place in wrong[0])
            raise ConfigError(
                f"{below}[{row}, {column}]={float(lower[row, column]):.6g} is not allowed: "
                f"give at most {name}, which is {float(upper[row, column]):.6g} there"
            )
    return conditions


def device_text(config: TileConfig) -> str:
    """Return what a tile's device is, for an error."""
    unpulsed = config.device.pulsed and config.update.pulse_type is PulseType.NONE
    return f"{type(config.device).__name__}{' under pulse type NONE' if unpulsed else ''}"


def _require_counts(name: str, array: jax.Array | np.ndarray) -> None:
    whole = jnp.issubdtype(array.dtype, jnp.integer)
    if not whole or (not _is_traced(array) and (np.asarray(array) < 0).any()):
        raise DataError(f"{name} has numbers that count no pulses: give whole numbers from 0")


def _is_traced(*values: object) -> bool:
    return any(isinstance(value, jax.core.Tracer) for value in values)
