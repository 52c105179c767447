"""What a sweep found: a row for each configuration, seed and epoch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aihwjax import arguments
from aihwjax.errors import ConfigError
from aihwjax.experiments.best import Extreme, Goal, goal
from aihwjax.experiments.sweeping.tables import Columns, arrow, columns_of, pandas, write_csv, write_parquet

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_SHOWN = 20


@arguments.answering
@dataclass(frozen=True)
class SweepTable:
    """Rows of a sweep, in the order of configuration, seed and epoch (of chips: chip and time).

    Each row is a dictionary: ``index`` (number of the configuration),
    ``seed``, the values of the configuration by path, ``epoch`` (from 0), the metrics of a run of this configuration,
    and ``diverged``: its losses or weights are not finite from this epoch on, which is then its last row.
    """

    rows: list[dict[str, Any]]
    """The rows."""
    paths: tuple[str, ...]
    """Paths that are varied."""
    plan: Any = field(default=None, repr=False, compare=False)
    """How they were trained; ``None`` for a table that was read."""

    def last(self) -> list[dict[str, Any]]:
        """Return the last row of each network."""
        found = {(row["index"], row["seed"]): row for row in self.rows}
        return list(found.values())

    def best(self, metric: str = "accuracy", extreme: Extreme | None = None) -> dict[str, Any]:
        """Return the last row of the configuration that ends best, the mean over its seeds in place of the metric.

        Configurations with a network that diverged are left out.

        Args:
            metric: Name of an entry.
            extreme: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as the name says.

        Raises:
            ConfigError: If no row has it, it does not say what is better, or every configuration diverged.
        """
        ranked = self.ranked(metric, extreme)
        if not ranked or not np.isfinite(ranked[0][metric]):
            raise ConfigError(f"metric={metric!r}: every configuration diverged")
        first = ranked[0]
        row = next(row for row in self.last() if row["index"] == first["index"])
        return {**{n: v for n, v in row.items() if n != "seed"}, metric: first[metric]}

    def ranked(self, metric: str = "accuracy", extreme: Extreme | None = None) -> list[dict[str, Any]]:
        """Return a row for each configuration, the best first: what its networks came to at their end.

        A row has ``index``, the values of the configuration by path, the mean of the metric over the networks
        (NaN if one diverged; such configurations are last), ``networks``, and ``diverged``, how many did.

        Args:
            metric: Name of an entry.
            extreme: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as the name says.

        Raises:
            ConfigError: If no row has it, or it does not say what is better.
        """
        last = self.last()
        others = ("index", "seed", "epoch", "chip", "time", "diverged", *self.paths)
        wanted = wanted_metric(metric, extreme, {name for row in last for name in row if name not in others})
        found: dict[int, dict[str, Any]] = {}
        values: dict[int, list[float]] = {}
        for row in last:
            own = {"index": row["index"], **{path: row.get(path) for path in self.paths}}
            own = found.setdefault(row["index"], {**own, metric: np.nan, "networks": 0, "diverged": 0})
            own["networks"] += 1
            own["diverged"] += bool(row["diverged"])
            values.setdefault(row["index"], []).append(np.nan if row["diverged"] else row.get(metric, np.nan))
        for index, own in found.items():
            own[metric] = float(np.mean(values[index]))
        sign = 1 if wanted.extreme == "smallest" else -1
        return sorted(found.values(), key=lambda own: (not np.isfinite(own[metric]), sign * own[metric], own["index"]))

    @property
    def metric(self) -> str:
        """Name of the metric that is looked at where none is named: the accuracy, or the first loss that there is."""
        return next(name for name in ("accuracy", "valid_loss", "train_loss") if any(name in row for row in self.rows))

    @property
    def numbers(self) -> tuple[str, ...]:
        """Paths of which all values are numbers."""

        def is_number(value: Any) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool)

        return tuple(path for path in self.paths if all(is_number(row.get(path)) for row in self.rows))

    def ranking(self, metric: str | None = None, extreme: Extreme | None = None, count: int = _SHOWN) -> str:
        """Return the first rows of :meth:`ranked` as text.

        Args:
            metric: Name of an entry; ``None``: the accuracy, or the first loss that there is.
            extreme: As for :meth:`ranked`.
            count: How many configurations.

        Raises:
            ConfigError: As :meth:`ranked` does.
        """
        ranked = self.ranked(metric or self.metric, extreme)
        text = _lines(ranked[:count])
        more = len(ranked) - count
        return "\n".join([*text, *([f"... and {more} more"] if more > 0 else [])])

    @property
    def columns(self) -> Columns:
        """Kind of each column by name, ``bool``, ``int``, ``float`` or ``str``."""
        return columns_of(self.rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame (extra ``tables``).

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        return pandas(self.rows, self.columns)

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table (extra ``tables``); what a row lacks is null.

        Raises:
            MissingExtraError: If pyarrow is not installed.
        """
        return arrow(self.rows, self.columns)

    def to_parquet(self, path: str | Path) -> None:
        """Write the rows as a Parquet file (extra ``tables``); the same rows are the same bytes.

        Args:
            path: The file; one that is there is replaced at once.

        Raises:
            MissingExtraError: If pyarrow is not installed.
            CheckpointError: If it cannot be written.
        """
        write_parquet(path, self.rows, self.columns)

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as a CSV file.

        Args:
            path: The file; one that is there is replaced at once.

        Raises:
            CheckpointError: If it cannot be written.
        """
        write_csv(path, self.rows, self.columns)

    def __str__(self) -> str:
        """Return the last rows of the first networks as a table."""
        last = self.last()
        names = [*dict.fromkeys(name for row in last for name in row)]
        text = _lines(last[:_SHOWN], names)
        more = len(last) - _SHOWN
        return "\n".join([*text, *([f"... and {more} more"] if more > 0 else [])])

    __repr__ = __str__


def _lines(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> list[str]:
    """Return rows as lines of columns, with a head."""
    names = names or [*dict.fromkeys(name for row in rows for name in row)]
    lines = [[_text(row.get(name)) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    pairs = [zip(line, widths, strict=True) for line in [names, *lines]]
    return ["  ".join(cell.rjust(width) for cell, width in each) for each in pairs]


def wanted_metric(metric: str, extreme: Extreme | None, known: Collection[str]) -> Goal:
    """Return what makes a configuration the best.

    Args:
        metric: Name of an entry of rows.
        extreme: Which of its values is the best; ``None``: as the name says.
        known: Names that there are.

    Raises:
        ConfigError: If it is none of them, or does not say what is better.
    """
    try:
        return goal(metric, extreme, set(known))
    except ConfigError as error:
        raise ConfigError(str(error).replace("keep_best=", "metric=").replace("best=", "extreme=")) from None


def simple(value: Any) -> Any:
    """Return a value as a number, a text or ``None``."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.shape == ()):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    name = getattr(value, "name", None) or getattr(value, "__name__", None)
    return name if isinstance(name, str) else " ".join(str(value).split())


def _text(value: Any) -> str:
    value = simple(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)[:30]


def joined(rows: Mapping[tuple[int, int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return rows in the order of configuration, seed and epoch.

    Args:
        rows: Those of each network, by configuration and seed.
    """
    return [row for network in sorted(rows) for row in rows[network]]
