"""Devices of one's own: from tables of measured steps, and from functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aihwjax import columns
from aihwjax.devices.custom_step import CustomStepDevice
from aihwjax.devices.measured_step import CLOSEST, MeasuredStepDevice
from aihwjax.errors import ConfigError, DataError

_STEPS = ("up", "down")
_OPTIONAL = ("up_std", "down_std", "up_dtod", "down_dtod")
_GRIDS = ("weight", "conductance")
_RANGE = (-1.0, 1.0)


def from_table(
    table: str | Path | Mapping[str, ArrayLike],
    *,
    weight_range: tuple[float, float] | None = None,
    **fields: Any,
) -> MeasuredStepDevice:
    """Return a device with measured steps.

    The columns are ``up`` and ``down``, the mean sizes of an up and of a down step, against ``weight`` or
    ``conductance``, all in the same unit. Optional are ``up_std`` and ``down_std``, the standard deviation of one step
    from cycle to cycle, and ``up_dtod`` and ``down_dtod``, that of the mean step from device to device. Down steps may
    also be given as the changes that they are, all of them negative. The ends of the grid are the bounds.

    With ``weight`` everything is in weight units; with ``conductance`` in any unit, and the range of the grid is mapped
    linearly to ``weight_range``.

    Example:
        >>> import aihwjax as aj
        >>> device = aj.devices.from_table(
        ...     {"conductance": [5.0, 15.0, 25.0], "up": [0.6, 0.4, 0.1], "down": [0.1, 0.4, 0.5]})
        >>> round(device.dw_min, 6), device.w_max, device.up.round(6).tolist()
        (0.04, 1.0, [1.5, 1.0, 0.25])

    Args:
        table: A CSV file whose first line has the names of the columns, or arrays by name.
        weight_range: Weights of the first and the last conductance, the first at most 0 and the last at least 0; by
            default -1 and 1.
        **fields: Further fields of :class:`~aihwjax.devices.measured_step.MeasuredStepDevice`, such as ``w_max_dtod``.

    Raises:
        DataError: If the file or a column is missing, or an entry is no number.
        ConfigError: If the numbers fit no device; in one line that says why.
    """
    source = "table" if isinstance(table, Mapping) else str(table)
    found = _arrays(table)
    grid_name = next(name for name in _GRIDS if name in found)
    grid = found[grid_name]
    if grid_name == "weight" and weight_range is not None:
        raise ConfigError("weight_range is not allowed with a column 'weight': call it 'conductance' to have it mapped")
    if grid.ndim != 1 or grid.size < 2:
        raise ConfigError(f"{source} has {grid_name} of shape {grid.shape}: give a list of at least 2 values")
    low, high = (grid[0], grid[-1]) if grid_name == "weight" else range_of(weight_range)
    _check(source, grid_name, found, low, high)
    scale = (high - low) / (grid[-1] - grid[0])
    sizes = {name: scale * found[name] for name in found if name != grid_name}
    nodes = (grid - grid[0]) / (grid[-1] - grid[0])
    step = float(np.interp(-low / (high - low), nodes, (sizes["up"] + sizes["down"]) / 2))
    if not step > 0:
        raise ConfigError(
            f"{source} has a mean step of {step / scale:.4g} where the weight is 0, which sets the granularity: give "
            "sizes of up and down steps whose mean is positive there"
        )
    made: dict[str, Any] = {"nodes": nodes, "w_min": low, "w_max": high, "dw_min": step}
    made |= {name: sizes[name] / step for name in _STEPS}
    if "up_std" in sizes:
        noise = float(np.mean([sizes["up_std"], sizes["down_std"]])) / step
        if noise > 0:
            made |= {"dw_min_std": noise}
            made |= {f"{name}_std": sizes[f"{name}_std"] / (step * noise) for name in _STEPS}
    if "up_dtod" in sizes:
        made |= {f"{name}_dtod": sizes[f"{name}_dtod"] / step for name in _STEPS}
    return MeasuredStepDevice(**{**made, **fields})


def _arrays(table: str | Path | Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Return the columns of a table, each ``(rows,)``, down steps as sizes."""
    optional = (*_GRIDS, *_OPTIONAL)
    if isinstance(table, Mapping):
        source = "table"
        columns.check_names(source, list(table), _STEPS, optional)
        found = {}
        for name, values in table.items():
            try:
                found[name] = np.asarray(values, np.float64)
            except (TypeError, ValueError):
                raise DataError(f"table[{name!r}] is no list of numbers: give one number a row") from None
    elif isinstance(table, str | Path):
        source = str(table)
        found = {name: columns.numbers(table, name, entries)
                 for name, entries in columns.read(table, _STEPS, optional).items()}  # fmt: skip
    else:
        raise ConfigError(f"table={table!r} is not allowed: give a CSV file, or arrays by the names of columns")
    grids = [name for name in _GRIDS if name in found]
    if len(grids) != 1:
        raise DataError(f"{source} has {'both' if grids else 'neither'} of the columns 'weight' and 'conductance': "
                        "give one of them")  # fmt: skip
    for first, second in (("up_std", "down_std"), ("up_dtod", "down_dtod")):
        if (first in found) is not (second in found):
            there, missing = (first, second) if first in found else (second, first)
            raise DataError(f"{source} has a column {there!r} but no column {missing!r}: give both or none")
    if (found["down"] <= 0).all() and (found["down"] < 0).any():
        found["down"] = -found["down"]
    return found


def _check(source: str, grid_name: str, found: Mapping[str, np.ndarray], low: float, high: float) -> None:
    """Refuse columns that are no table of steps in one unit."""
    grid = found[grid_name]
    for name, values in found.items():
        if values.shape != grid.shape:
            raise ConfigError(f"{source} has {name} of shape {values.shape}: give {grid.size} values, one a row")
        for row in np.flatnonzero(~np.isfinite(values))[:1]:
            raise ConfigError(f"{source} has {values[row]:g} in row {row + 1} of {name}: give finite numbers")
        for row in np.flatnonzero(values < 0)[:1]:
            if name in _OPTIONAL:
                raise ConfigError(f"{source} has {values[row]:g} in row {row + 1} of {name}: give at least 0")
    span = grid[-1] - grid[0]
    for row in np.flatnonzero(np.diff(grid) <= CLOSEST * abs(span))[:1]:
        raise ConfigError(
            f"{source} has {grid_name} {grid[row + 1]:g} after {grid[row]:g} in row {row + 2}: give them ascending, at "
            f"least {CLOSEST:g} of the range apart"
        )
    if not low <= 0 <= high:
        raise ConfigError(
            f"weight from {low:g} to {high:g} is not allowed: give a range that contains the weight 0: call the column "
            "'conductance' to have it mapped to weights"
        )
    for name in _STEPS:
        row = int(np.argmax(np.abs(found[name])))
        if np.abs(found[name][row]) > span:
            raise ConfigError(
                f"{source} has a step of {found[name][row]:g} in row {row + 1} of {name}, more than the range of "
                f"{grid_name}, {span:g}: give steps in the unit of the {grid_name}"
            )


def range_of(weight_range: tuple[float, float] | None) -> tuple[float, float]:
    """Return the weights to which the ends of a range of conductances are mapped.

    Args:
        weight_range: Two weights, 0 among them or between them; ``None``: -1 and 1.

    Raises:
        ConfigError: If they are anything else.
    """
    if weight_range is None:
        return _RANGE
    try:
        low, high = (float(end) for end in weight_range)
    except (TypeError, ValueError):
        raise ConfigError(f"weight_range={weight_range!r} is not allowed: give two numbers") from None
    if not (np.isfinite([low, high]).all() and low <= 0 <= high and low < high):
        raise ConfigError(f"weight_range=({low:g}, {high:g}) is not allowed: give a range that contains the weight 0")
    return low, high


def from_steps(up: Callable[..., Any], down: Callable[..., Any], **fields: Any) -> CustomStepDevice:
    """Return a device whose steps are functions of the weight.

    Both functions get an array of weights and the ``parameters``, and return the size of the step at each weight, with
    ``jax.numpy``. Sizes are in units of ``dw_min``, which is 1 unless it is given: then they are in weight units.

    Example:
        >>> import aihwjax as aj
        >>> import jax.numpy as jnp
        >>> device = aj.devices.from_steps(
        ...     up=lambda w, a: 0.01 * jnp.exp(-a * (w + 1)),
        ...     down=lambda w, a: 0.01 * jnp.exp(-a * (1 - w)),
        ...     parameters=(0.7,), w_min=-1.0, w_max=1.0)
        >>> up, down = aj.plot.theoretical_steps(device, [0.0, 0.5])
        >>> print(up.round(4), down.round(4))
        [0.005  0.0035] [-0.005 -0.007]

    Args:
        up: Size of an up step, ``(weights, *parameters) -> sizes``.
        down: Size of a down step, which is subtracted; positive.
        **fields: Further fields of :class:`~aihwjax.devices.custom_step.CustomStepDevice`: ``parameters``, bounds,
            spreads and noise. Their defaults are those of all pulsed devices.

    Raises:
        ConfigError: If a function fails or returns no finite number for each weight.
    """
    return CustomStepDevice(**{"dw_min": 1.0, **fields}, up=up, down=down)
