"""How the weights of a chip change with time, for small and for large weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Float32, Float64

from aihwjax import arguments
from aihwjax.errors import ConfigError
from aihwjax.inference import chip
from aihwjax.inference.chip import model_of
from aihwjax.nn.programming import drift, program, tiles_of
from aihwjax.plot.chip_subject import ChipSubject, chip_config, chip_name
from aihwjax.plot.style import GREY, axes, drawn, legend_above
from aihwjax.plot.subject import Seed, key_of
from aihwjax.plot.times import checked_times, draw_times
from aihwjax.random import derive
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = (-1.0, -0.5, 0.1, 0.25, 0.5, 1.0)
"""Weights that are followed by default, in units of the largest one."""


@arguments.answering
@dataclass(frozen=True)
class WeightDrift:
    """Weights of a chip at several times, in units of the largest exact weight of the tile."""

    name: str
    """What was programmed."""
    times: Float64[np.ndarray, " times"]
    """Seconds after programming."""
    target: Float32[np.ndarray, "levels crosspoints"]
    """The exact weights: for each level those of some crosspoints."""
    weights: Float32[np.ndarray, "times levels crosspoints"]
    """The weights as they are read."""
    compensated: Float32[np.ndarray, "times levels crosspoints"] | None
    """The weights times the factor of the compensation; ``None`` without one."""


@arguments.answered
def compute_weight_drift(
    subject: ChipSubject | nnx.Module,
    *,
    times: Sequence[float] | None = None,
    levels: Sequence[float] = LEVELS,
    crosspoints: int = 128,
    tile: str | None = None,
    key: Seed = 0,
) -> WeightDrift:
    """Program weights of a few sizes, and read them at several times.

    Args:
        subject: Noise model, tile configuration with one, or the name of a preset or noise model. Or a model with
            analog layers: the weights of one of its tiles are followed; a model that is a chip already is not
            programmed again.
        times: Seconds after programming, ascending; ``None``: from a second to a year, or the times that the noise
            model was measured at.
        levels: Weights to follow, from -1 to 1, in units of the largest one. Of a model those weights that are nearest
            to each.
        crosspoints: How many weights of each level.
        tile: Path of the tile of a model, as in :func:`aihwjax.nn.analog_tiles`; ``None``: the first.
        key: Key or seed of programming and reading.

    Raises:
        ConfigError: If the subject is not known or has no noise model, a time, a level or the number of crosspoints is
            not allowed, or there is no such tile.
        ModuleError: If a model has no analog layer.
    """
    if isinstance(crosspoints, bool) or crosspoints < 1:
        raise ConfigError(f"crosspoints={crosspoints!r} is not allowed: give at least 1")
    for place, level in enumerate(levels):
        if not -1 <= level <= 1:
            raise ConfigError(f"levels[{place}]={level!r} is not allowed: give a weight from -1 to 1")
    if not levels:
        raise ConfigError("levels=() is not allowed: give at least one weight from -1 to 1")
    if isinstance(subject, nnx.Module):
        return _of_model(subject, times, levels, crosspoints, tile, key_of(key))
    if tile is not None:
        raise ConfigError(f"tile={tile!r} is not allowed without a model: give tile=None")
    config = chip_config(subject)
    seconds = checked_times(model_of(config), times)
    # one column more, of the largest weight, so that a level is in units of it
    row = jnp.asarray([*levels, 1.0], jnp.float32)
    exact = jnp.broadcast_to(row, (crosspoints, len(row)))
    read, factors = _read(config, exact, jnp.asarray(seconds, jnp.float32), key_of(key))
    weights = np.asarray(read)[:, :, :-1].swapaxes(1, 2)
    target = np.asarray(exact)[:, :-1].T
    compensated = None
    if config.drift_compensation is not None:
        alpha = np.asarray(factors).reshape(len(seconds), 1, -1)  # one for the tile, or one for each output
        compensated = weights * alpha
    return WeightDrift(chip_name(subject), seconds, target, weights, compensated)


@jax.jit
def _read(
    config: TileConfig, exact: Float[Array, "out in"], times: Float[Array, " times"], key: Key
) -> tuple[Float[Array, "times out in"], Float[Array, "times ..."]]:
    fresh = chip.program(config, exact, derive(key, "program"))

    def at(numbered: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, t = numbered
        late = chip.drift(config, fresh, t, derive(derive(key, "time"), number))
        return late.weights, late.alpha

    read: tuple[jax.Array, jax.Array] = lax.map(at, (jnp.arange(times.shape[0]), times))
    return read


def _of_model(
    model: nnx.Module,
    times: Sequence[float] | None,
    levels: Sequence[float],
    crosspoints: int,
    path: str | None,
    key: Key,
) -> WeightDrift:
    tiles = tiles_of(model)
    path = next(iter(tiles)) if path is None else path
    if path not in tiles:
        raise ConfigError(f"tile={path!r} is not allowed: give one of {', '.join(tiles)}")
    if any(each.chip is None for each in tiles.values()):
        model = program(model, derive(key, "program"))
    found = tiles_of(model)[path]
    assert found.chip is not None
    config = found.config.get_value()
    seconds = checked_times(model_of(config), times)
    exact = np.asarray(found.chip.get_value().exact)
    largest = float(np.abs(exact).max())
    unit = np.float32(largest if largest > 0 else 1.0)
    flat = exact.ravel() / unit
    near = np.stack([np.argsort(np.abs(flat - level), kind="stable")[:crosspoints] for level in levels])
    read, compensated = [], []
    for number, t in enumerate(seconds.tolist()):
        late = tiles_of(drift(model, t, derive(derive(key, "time"), number)))[path]
        assert late.chip is not None
        now, alpha = np.asarray(late.state.get_value().weights) / unit, np.asarray(late.chip.get_value().alpha)
        read.append(now.ravel()[near])
        lead = () if found.count is None else (found.count,)
        compensated.append((now * alpha.reshape(*lead, -1, 1)).ravel()[near])
    has = config.drift_compensation is not None
    return WeightDrift(
        type(model).__name__, seconds, flat[near], np.stack(read), np.stack(compensated) if has else None
    )


@arguments.answered
@drawn
def plot_weight_drift(drift: WeightDrift | ChipSubject | nnx.Module, ax: Axes | None = None) -> Figure:
    """Draw the mean weight of each level over time with its spread, and what a compensation makes of it.

    Args:
        drift: From :func:`compute_weight_drift`; a model, noise model, tile configuration with one, or name of a preset
            or noise model is programmed with the defaults.
        ax: Where to draw; by default in a new figure.

    Raises:
        ConfigError: If the subject is not known or has no noise model.
        ModuleError: If a model has no analog layer.
        MissingExtraError: If matplotlib is not installed.
    """
    figure, ax = axes(ax)
    if not isinstance(drift, WeightDrift):
        drift = compute_weight_drift(drift)
    for level, target in enumerate(drift.target):
        values = drift.weights[:, level]
        mean, spread = values.mean(axis=1), values.std(axis=1)
        (line,) = ax.plot(drift.times, mean, "o-", ms=2.5, lw=1)
        ax.fill_between(drift.times, mean - spread, mean + spread, color=line.get_color(), alpha=0.2, lw=0)
        ax.axhline(float(target.mean()), color=line.get_color(), lw=0.6, ls=":")
        if drift.compensated is not None:
            ax.plot(drift.times, drift.compensated[:, level].mean(axis=1), "--", color=line.get_color(), lw=0.8)
    ax.plot([], [], "o-", color=GREY, ms=2.5, lw=1, label="mean ± spread")
    ax.plot([], [], ":", color=GREY, lw=0.6, label="exact")
    if drift.compensated is not None:
        ax.plot([], [], "--", color=GREY, lw=0.8, label="compensated")
    ax.set(ylabel="weight / largest weight", title=drift.name)
    draw_times(ax, drift.times)
    legend_above(ax)
    return figure
