"""The symmetry point: where an up and a down pulse cancel, and where alternating pulses lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float32, Float64

from aihwjax import arguments
from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.errors import ConfigError
from aihwjax.plot.pulse_response import apply_pulses
from aihwjax.plot.style import BLUE, GREEN, GREY, RED, axes, drawn, legend_above, number_ticks, panels
from aihwjax.plot.subject import (
    CROSSPOINTS,
    Seed,
    Subject,
    certain_pulses,
    estimate_n_steps,
    fresh_tile,
    name_of,
    tile_config,
    weight_range,
)
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import working_device

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BISECTIONS = 30
_SAME = 1e-6


@arguments.answering
@dataclass(frozen=True)
class SymmetryPoints:
    """Where alternating pulses lead the weights of many crosspoints."""

    name: str
    """What was pulsed."""
    traces: Float32[np.ndarray, "pairs crosspoints"]
    """Weights (without write noise), mean of before and after an up pulse, ``(pairs, crosspoints)``."""
    measured: Float64[np.ndarray, " crosspoints"]
    """Mean of each crosspoint over the last quarter of the pairs, ``(crosspoints,)``."""
    theory: Float64[np.ndarray, " crosspoints"] | None
    """Weight at which up and down step of each crosspoint are equal, ``(crosspoints,)``.

    A bound where one step is larger everywhere, NaN where they are equal everywhere; ``None`` if
    the subject is no single pulsed device.
    """


@arguments.answered
def compute_symmetry_points(
    subject: Subject, *, pairs: int | None = None, crosspoints: int = CROSSPOINTS, key: Seed = 0
) -> SymmetryPoints:
    """Alternate up and down pulses until the weights rest, and solve for where they should.

    Half of the crosspoints start at the upper, half at the lower mean bound.

    Args:
        subject: Device, tile configuration or preset name.
        pairs: Number of pairs of one up and one down pulse; by default twice as many as pulses cross the range.
        crosspoints: How many crosspoints are pulsed.
        key: Key or seed of the devices and all noise.

    Raises:
        ConfigError: If a count is below 1 or the subject is not known.
    """
    count = 2 * estimate_n_steps(subject) if pairs is None else pairs
    for name, value in (("pairs", count), ("crosspoints", crosspoints)):
        if value < 1:
            raise ConfigError(f"{name}={value!r} is not allowed: give at least 1")
    config = certain_pulses(tile_config(subject))
    low, high = weight_range(config)
    start = np.where(np.arange(crosspoints) % 2 == 0, high, low)
    weights = apply_pulses(subject, np.tile([1, -1], count), start, key).persistent
    traces = np.asarray((weights[0:-1:2] + weights[1::2]) / 2, np.float32)
    measured = traces[-max(count // 4, 1) :].mean(axis=0, dtype=np.float64)
    theory = None
    if isinstance(working_device(config), PulsedDevice):
        theory = np.asarray(_balance(config, fresh_tile(config, key, crosspoints).device), np.float64)
    return SymmetryPoints(name_of(subject), traces, measured, theory)


@jax.jit
def _balance(config: TileConfig, state: DeviceState) -> jax.Array:
    """Return where the steps of each crosspoint are equal, by bisection between its bounds."""
    device = working_device(config)
    assert isinstance(device, PulsedDevice)
    assert state.max_bound is not None and state.min_bound is not None

    def excess(v: jax.Array) -> jax.Array:
        sizes = device.steps(state, v)
        return sizes.up - sizes.down

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        rises = excess(middle) > 0
        return jnp.where(rises, middle, low), jnp.where(rises, high, middle)

    low, high = lax.fori_loop(0, _BISECTIONS, halve, (state.min_bound, state.max_bound))
    size = device.steps(state, (state.min_bound + state.max_bound) / 2).up
    everywhere = jnp.stack([excess(state.min_bound), excess((low + high) / 2), excess(state.max_bound)])
    flat = jnp.all(jnp.abs(everywhere) <= _SAME * jnp.abs(size), axis=0)
    return jnp.where(flat, jnp.nan, device.external(state, (low + high) / 2))[:, 0]


@arguments.answered
@drawn
def plot_device_symmetry(points: SymmetryPoints | Subject, ax: Axes | None = None, *, traces: int = 6) -> Figure:
    """Draw how alternating pulses lead to the symmetry point, and its histogram over crosspoints.

    Args:
        points: From :func:`compute_symmetry_points`; a device, tile configuration or preset name is
            simulated with its defaults.
        ax: Where to draw the traces alone; by default a new figure has the histogram beside them.
        traces: Number of single crosspoints.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    if not isinstance(points, SymmetryPoints):
        points = compute_symmetry_points(points)
    if ax is not None:
        figure, ax = axes(ax)
        _draw_traces(points, ax, traces)
        return figure
    figure, (left, right) = panels(2)
    _draw_traces(points, left, traces)
    draw_histogram(points, right)
    return figure


def _draw_traces(points: SymmetryPoints, ax: Axes, traces: int) -> None:
    pairs = np.arange(1, len(points.traces) + 1)
    for first, colour, where in ((0, BLUE, "upper"), (1, RED, "lower")):
        group = points.traces[:, first::2]
        if group.shape[1] == 0:
            continue
        ax.plot(pairs, group[:, : max(traces // 2, 1)], color=colour, lw=0.4, alpha=0.6, rasterized=True)
        ax.plot(pairs, group.mean(axis=1), color=colour, label=f"mean, from the {where} bound")
    if points.theory is not None and np.isfinite(points.theory).any():
        ax.axhline(float(np.nanmean(points.theory)), color=GREY, lw=1, ls="--", label="mean of equal steps")
    ax.set(xlabel="pairs of an up and a down pulse", ylabel="weight", xlim=(0, len(pairs)), title=points.name)
    number_ticks(ax)
    legend_above(ax)


def draw_histogram(points: SymmetryPoints, ax: Axes) -> None:
    """Draw the histogram of symmetry points over crosspoints: measured, and where the steps are equal.

    Args:
        points: From :func:`compute_symmetry_points`.
        ax: Where to draw.
    """
    theory = np.empty(0) if points.theory is None else points.theory[np.isfinite(points.theory)]
    everything = np.concatenate([points.measured, theory])
    low, high = float(everything.min()), float(everything.max())
    room = 0.0 if high - low > 1e-6 else 0.05
    edges = np.linspace(low - room, high + room, 31).tolist()
    ax.hist(points.measured, edges, color=BLUE, alpha=0.6, label="after alternating pulses")
    if len(theory):
        ax.hist(theory, edges, histtype="step", color=GREEN, lw=1.2, label="equal steps")
    ax.set(xlabel="symmetry point (weight)", ylabel="crosspoints")
    number_ticks(ax)
    legend_above(ax)
