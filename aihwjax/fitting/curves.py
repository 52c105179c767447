"""Measured pulse curves: readings of devices, and the pulses between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike

from aihwjax import arguments, columns
from aihwjax.devices.measured import range_of
from aihwjax.errors import ConfigError, DataError

_GRIDS = ("weight", "conductance")
MOST_PULSES = 256
"""Most pulses between two readings."""


@arguments.answering
@dataclass(frozen=True)
class PulseCurves:
    """Readings of devices under pulses, in weight units.

    Example:
        >>> import numpy as np
        >>> import aihwjax as aj
        >>> curves = aj.PulseCurves.from_arrays([[5.0, 6.0], [7.0, 8.5], [5.5, 6.0]], [1, -1], weight_range=(-1, 1))
        >>> curves.weights.shape, curves.pulses.shape, round(curves.unit, 3)
        ((3, 2), (2, 2), 1.75)
    """

    weights: Float64[np.ndarray, "readings devices"]
    """Readings before the first and after each group of pulses; NaN where there is none."""
    pulses: Int64[np.ndarray, "groups devices"]
    """Pulses between two readings: up if positive, down if negative, ``(readings - 1, devices)``."""
    zero: float = 0.0
    """Conductance of weight 0, in the unit of the measurement."""
    unit: float = 1.0
    """Conductance of a weight of 1 above that of 0."""

    @classmethod
    def from_arrays(
        cls, readings: ArrayLike, pulses: ArrayLike, *, weight_range: tuple[float, float] | None = None
    ) -> Self:
        """Return curves of arrays.

        Args:
            readings: Weights, or conductances if ``weight_range`` is given, ``(readings, devices)``, or ``(readings,)``
                of one device; NaN where there is none.
            pulses: Whole numbers of pulses between two readings, negative for down pulses, ``(readings - 1, devices)``,
                or ``(readings - 1,)`` if all devices got the same.
            weight_range: Weights to which the smallest and the largest conductance of all are mapped.

        Raises:
            DataError: If shapes or numbers do not fit.
        """
        try:
            table, counts = np.asarray(readings, np.float64), np.asarray(pulses, np.float64)
        except (TypeError, ValueError):
            raise DataError("readings and pulses are not allowed: give rectangular arrays of numbers") from None
        table = table[:, None] if table.ndim == 1 else table
        if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 1:
            raise DataError(
                f"readings of shape {table.shape} are not allowed: give (readings, devices), at least 2 of 1"
            )
        counts = np.broadcast_to(counts[:, None], (counts.size, table.shape[1])) if counts.ndim == 1 else counts
        if counts.shape != (table.shape[0] - 1, table.shape[1]):
            raise DataError(
                f"pulses of shape {np.shape(pulses)} do not fit {table.shape[0]} readings of {table.shape[1]} devices: "
                f"give ({table.shape[0] - 1},) or {(table.shape[0] - 1, table.shape[1])}, one between two readings"
            )
        if np.isinf(table).any():
            raise DataError("readings have infinite values: give finite numbers, or NaN where nothing was read")
        if not np.isfinite(counts).all() or (counts % 1 != 0).any():
            wrong = counts[~np.isfinite(counts) | (counts % 1 != 0)][0]
            raise DataError(f"pulses have {wrong:g}: give whole numbers of pulses, negative for down pulses")
        if np.abs(counts).max() > MOST_PULSES:
            raise DataError(f"pulses have {np.abs(counts).max():g} between two readings: give at most {MOST_PULSES}")
        zero, unit = _units(table, weight_range)
        return cls((table - zero) / unit, counts.astype(np.int64), zero, unit)

    @classmethod
    def from_csv(cls, path: str | Path, *, weight_range: tuple[float, float] | None = None) -> Self:
        """Return the curves of a file.

        The columns are ``conductance`` (in any unit) or ``weight`` (in weight units), ``pulses``, the number of pulses
        since the row before, negative for down pulses, and, of several devices, ``device``, any name. Rows of a device
        are in the order of time; in its first row ``pulses`` does not count. An empty reading is none.

        Args:
            path: The file, comma-separated.
            weight_range: Weights to which the smallest and the largest conductance are mapped; by default -1 and 1.

        Raises:
            DataError: If there is no such file, a column is missing or unknown, or an entry is no number.
            ConfigError: If ``weight_range`` is not allowed.
        """
        found = columns.read(path, ["pulses"], [*_GRIDS, "device"])
        grids = [name for name in _GRIDS if name in found]
        if len(grids) != 1:
            which = "both" if grids else "neither"
            raise DataError(f"{path} has {which} of the columns 'conductance' and 'weight': give one of them")
        if grids == ["weight"] and weight_range is not None:
            raise ConfigError("weight_range is not allowed with a column 'weight': call it 'conductance' to map it")
        readings = columns.numbers(path, grids[0], [entry or "nan" for entry in found[grids[0]]])
        counts = columns.numbers(path, "pulses", [entry or "0" for entry in found["pulses"]])
        names = found.get("device", [""] * len(counts))
        rows = {name: np.flatnonzero([own == name for own in names]) for name in dict.fromkeys(names)}
        longest = max(map(len, rows.values()), default=0)
        if longest < 2:
            raise DataError(f"{path} has no device with two readings: give one row a reading")
        table, groups = np.full((longest, len(rows)), np.nan), np.zeros((longest - 1, len(rows)))
        for place, own in enumerate(rows.values()):
            table[: len(own), place] = readings[own]
            groups[: len(own) - 1, place] = counts[own[1:]]
        mapped = range_of(weight_range) if grids == ["conductance"] else None
        try:
            return cls.from_arrays(table, groups, weight_range=mapped)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    @property
    def known(self) -> Bool[np.ndarray, "groups devices"]:
        """Where there are pulses with a reading before and after them."""
        read = np.isfinite(self.weights)
        return read[1:] & read[:-1] & (self.pulses != 0)

    def conductance(self, weights: ArrayLike) -> Float64[np.ndarray, ...]:
        """Return weights in the unit of the measurement.

        Args:
            weights: Of any shape.
        """
        return self.zero + self.unit * np.asarray(weights, np.float64)

    def check(self, parameters: int, each: int) -> None:
        """Refuse curves from which a fit could not tell its parameters, or whose units cannot be weights.

        Args:
            parameters: Parameters that all devices share.
            each: Parameters of each device.

        Raises:
            DataError: If something is missing; in one line that says what.
        """
        if np.isnan(self.weights).all():
            raise DataError("no reading is a number: give curves that were read")
        low, high = np.nanmin(self.weights), np.nanmax(self.weights)
        if not low < high:
            raise DataError(f"all readings are {low:g}: give curves that move")
        if low > 0 or high < 0:
            raise DataError(
                f"readings from {low:g} to {high:g} cannot be weights, which lie on both sides of 0: give conductances "
                "with weight_range=(-1, 1), in a file in a column 'conductance'"
            )
        for direction, sign in (("up", 1), ("down", -1)):
            counts = (self.known & (np.sign(self.pulses) == sign)).sum(axis=0)
            for place in np.flatnonzero(counts < 2)[:1]:
                raise DataError(
                    f"device {place} has {counts[place]} readings before and after {direction} pulses: give at least 2 "
                    "in each direction"
                )
        points, devices = int(self.known.sum()), self.weights.shape[1]
        needed = parameters + each * devices
        if points < needed:
            raise DataError(
                f"{points} readings after pulses are too few for {needed} parameters ({each} for each device "
                f"and {parameters} of all): give more readings"
            )


def _units(table: np.ndarray, weight_range: tuple[float, float] | None) -> tuple[float, float]:
    """Return the reading of weight 0 and of a unit of weight."""
    if weight_range is None:
        return 0.0, 1.0
    low, high = range_of(weight_range)
    if not np.isfinite(table).any() or not np.nanmin(table) < np.nanmax(table):
        raise DataError("readings are all the same: give curves that move")
    bottom, top = float(np.nanmin(table)), float(np.nanmax(table))
    unit = (top - bottom) / (high - low)
    return bottom - low * unit, unit
