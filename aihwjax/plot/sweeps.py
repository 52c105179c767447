"""What a sweep found: over two numbers, over all of them at once, and over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from aihwjax import arguments
from aihwjax.errors import ConfigError, nearest
from aihwjax.plot.style import BLUE, GREY, axes, drawn, legend_above, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from aihwjax.experiments.sweeping.table import SweepTable

_DECADES = 1.3  # positive numbers that are farther apart have a logarithmic axis
_MOST_LABELS = 8


class SweepMeans(NamedTuple):
    """The configurations of a sweep and what they came to."""

    paths: tuple[str, ...]
    """What is varied."""
    values: list[tuple[Any, ...]]
    """Values of each configuration, in the order of ``paths``."""
    means: Float[np.ndarray, " configurations"]
    """Mean of the metric over the networks of a configuration at their end; NaN if one of them diverged."""
    curves: Float[np.ndarray, "configurations epochs"]
    """The same after each epoch; NaN where there is none."""


@arguments.answered
def compute_sweep_means(table: SweepTable, metric: str = "accuracy") -> SweepMeans:
    """Return the configurations of a sweep and the means of a metric over their networks.

    Args:
        table: From ``aj.sweep``.
        metric: Name of an entry of its rows.

    Raises:
        ConfigError: If there are no rows, or none has the metric (with the nearest name).
    """
    known = sorted({name for row in table.rows for name, value in row.items() if isinstance(value, float)})
    if not any(metric in row for row in table.rows):
        raise ConfigError(f"metric={metric!r} is not allowed{nearest(metric, known) or f': give any of {known}'}")
    inner = "epoch" if any("epoch" in row for row in table.rows) else "time"
    steps = sorted({row[inner] for row in table.rows if row.get(inner) is not None})
    place = {step: number for number, step in enumerate(steps)}
    found: dict[int, dict[int, list[float]]] = {}
    ends: dict[int, list[float]] = {}
    points: dict[int, tuple[Any, ...]] = {}
    for row in table.rows:
        points.setdefault(row["index"], tuple(row.get(path) for path in table.paths))
        value = np.nan if row.get("diverged") else row.get(metric)
        if value is not None:
            found.setdefault(row["index"], {}).setdefault(place[row[inner]], []).append(float(value))
    for row in table.last():
        value = np.nan if row.get("diverged") else row.get(metric)
        ends.setdefault(row["index"], []).append(np.nan if value is None else float(value))
    curves = np.full((len(points), len(steps)), np.nan)
    for number, index in enumerate(points):
        for step, values in found.get(index, {}).items():
            curves[number, step] = np.mean(values)
    means = np.array([np.mean(ends.get(index, [np.nan])) for index in points])
    return SweepMeans(tuple(table.paths), list(points.values()), means, curves)


@arguments.answered
@drawn
def plot_sweep_map(
    table: SweepTable,
    metric: str = "accuracy",
    x: str | None = None,
    y: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw a metric over two numbers that are varied: a heat map of a grid, else a point for each configuration.

    Configurations that differ in something else, too, are averaged. Crosses: those of which a network diverged.

    Args:
        table: From ``aj.sweep``.
        metric: Name of an entry of its rows.
        x: Path of one number; ``None``: the first that is varied.
        y: Path of the other; ``None``: the next.
        ax: Where to draw; by default in a new figure.

    Raises:
        ConfigError: If no row has the metric, a path is not varied, or there are not two.
        MissingExtraError: If matplotlib is not installed.
    """
    found = compute_sweep_means(table, metric)
    numbers = table.numbers
    first = _chosen("x", x, numbers, [path for path in numbers if path != y])
    second = _chosen("y", y, numbers, [path for path in numbers if path != first])
    across, along = _numbers(found, first), _numbers(found, second)
    assert across is not None and along is not None
    figure, ax = axes(ax)
    columns, rows = np.unique(across), np.unique(along)
    grid = len(columns) * len(rows) <= 2 * len(set(zip(across, along, strict=True)))
    if grid:
        cells = np.full((len(rows), len(columns)), np.nan)
        for r, c in np.ndindex(cells.shape):
            here = found.means[(across == columns[c]) & (along == rows[r])]
            cells[r, c] = np.mean(here) if len(here) else np.nan
        shown: Any = ax.pcolormesh(np.ma.masked_invalid(cells), cmap="viridis")
        for labels, set_ticks, set_labels in (
            (columns, ax.set_xticks, ax.set_xticklabels), (rows, ax.set_yticks, ax.set_yticklabels)
        ):  # fmt: skip
            some = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), 5)).round().astype(int))
            set_ticks(some + 0.5)
            set_labels([f"{labels[i]:.3g}" for i in some])
        missing = np.argwhere(np.isnan(cells))
        ax.plot(missing[:, 1] + 0.5, missing[:, 0] + 0.5, "x", color=GREY, markersize=4)
    else:
        sound = np.isfinite(found.means)
        shown = ax.scatter(across[sound], along[sound], c=found.means[sound], s=14, cmap="viridis")
        ax.plot(across[~sound], along[~sound], "x", color=GREY, markersize=4)
        ax.set_xscale(_scale(across))
        ax.set_yscale(_scale(along))
    figure.colorbar(shown, ax=ax, label=metric)
    ax.set(xlabel=first, ylabel=second)
    return figure


@arguments.answered
@drawn
def plot_sweep_parallel(table: SweepTable, metric: str = "accuracy", ax: Axes | None = None) -> Figure:
    """Draw each configuration as a line through all that is varied, to its metric; dashed if a network diverged.

    Args:
        table: From ``aj.sweep``.
        metric: Name of an entry of its rows.
        ax: Where to draw; by default in a new figure.

    Raises:
        ConfigError: If no row has the metric.
        MissingExtraError: If matplotlib is not installed.
    """
    found = compute_sweep_means(table, metric)
    figure, ax = axes(ax)
    names = [*found.paths, metric]
    heights = np.stack([*(_heights(found, path, ax, i) for i, path in enumerate(found.paths)),
                        _placed(found.means, ax, len(found.paths))])  # fmt: skip
    colours = pyplot().get_cmap("viridis")
    for number in np.argsort(np.nan_to_num(heights[-1], nan=-1)):
        line = heights[:, number]
        if np.isfinite(line[-1]):
            ax.plot(line, color=colours(line[-1]), lw=0.8)
        else:
            ax.plot(line, "--", color=GREY, lw=0.8)
    for place in range(len(names)):
        ax.plot([place, place], [0, 1], color="black", lw=0.6)
    ax.set(xlim=(-0.2, len(names) - 0.8), ylim=(-0.12, 1.12), yticks=[])
    ax.set_xticks(range(len(names)), [name.rpartition(".")[2] for name in names], rotation=20, ha="right")
    ax.spines["left"].set_visible(False)
    return figure


@arguments.answered
@drawn
def plot_sweep_curves(table: SweepTable, metric: str = "accuracy", ax: Axes | None = None) -> Figure:
    """Draw a metric after each epoch (of chips: at each time), a line for each configuration, the mean over networks.

    Args:
        table: From ``aj.sweep``.
        metric: Name of an entry of its rows.
        ax: Where to draw; by default in a new figure.

    Raises:
        ConfigError: If no row has the metric.
        MissingExtraError: If matplotlib is not installed.
    """
    found = compute_sweep_means(table, metric)
    figure, ax = axes(ax)
    chips = not any("epoch" in row for row in table.rows)
    steps = sorted({row["time" if chips else "epoch"] for row in table.rows})
    few = len(found.values) <= _MOST_LABELS
    for values, curve in zip(found.values, found.curves, strict=True):
        named = zip(found.paths, values, strict=True)
        text = ", ".join(f"{path.rpartition('.')[2]} {_text(value)}" for path, value in named)
        style: dict[str, Any] = {"label": text, "marker": "."} if few else {"color": BLUE, "lw": 0.6, "alpha": 0.5}
        ax.plot(steps, curve, **style)
    ax.set(xlabel="seconds after programming" if chips else "epoch", ylabel=metric)
    if chips:
        ax.set_xscale("log")
    else:
        ax.locator_params(axis="x", integer=True)
    if few:
        legend_above(ax)
    return figure


def _numbers(found: SweepMeans, path: str) -> Float[np.ndarray, " configurations"] | None:
    """Return the values at a path, ``None`` if some are no numbers."""
    values = [values[found.paths.index(path)] for values in found.values]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return np.array(values, float)


def _chosen(name: str, path: str | None, numbers: Sequence[str], rest: Sequence[str]) -> str:
    if path is not None and path not in rest:
        hint = nearest(path, rest) or f": give any of {', '.join(rest) or 'none'}"
        raise ConfigError(f"{name}={path!r} is not allowed{hint}")
    if path is None and not rest:
        raise ConfigError(f"a map needs two numbers that are varied, and the sweep has {', '.join(numbers) or 'none'}")
    return path or rest[0]


def _scale(values: np.ndarray) -> str:
    return "log" if values.min() > 0 and np.log10(values.max() / values.min()) > _DECADES else "linear"


def _heights(found: SweepMeans, path: str, ax: Axes, place: int) -> np.ndarray:
    """Return where on its axis each configuration is, 0…1, and write the ends of the axis."""
    numbers = _numbers(found, path)
    if numbers is not None:
        return _placed(numbers, ax, place)
    values = [values[found.paths.index(path)] for values in found.values]
    names = list(dict.fromkeys(map(_text, values)))
    for number, name in enumerate(names):
        ax.text(place + 0.03, number / max(len(names) - 1, 1), name, fontsize=6)
    return np.array([names.index(_text(value)) / max(len(names) - 1, 1) for value in values])


def _placed(values: np.ndarray, ax: Axes, place: int) -> np.ndarray:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.full(values.shape, np.nan)
    low, high = finite.min(), finite.max()
    for height, text in ((-0.08, low), (1.04, high)):
        ax.text(place, height, f"{text:.3g}", ha="center", fontsize=7)
    if low == high:
        return np.where(np.isfinite(values), 0.5, np.nan)
    if _scale(finite) == "log":
        values, low, high = np.log(values), np.log(low), np.log(high)
    return (values - low) / (high - low)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
