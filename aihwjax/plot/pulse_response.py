"""The response to pulses: up pulses, then down pulses, and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Float32, Int, Int8

from aihwjax import arguments, tile
from aihwjax.errors import ConfigError
from aihwjax.plot.style import BLUE, GREY, axes, drawn, legend_above, number_ticks
from aihwjax.plot.subject import (
    CROSSPOINTS,
    Seed,
    Subject,
    certain_pulses,
    estimate_n_steps,
    fresh_tile,
    key_of,
    name_of,
    persistent,
    pulse_size,
    tile_config,
)
from aihwjax.random import derive, stream
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@arguments.answering
@dataclass(frozen=True)
class PulseResponse:
    """Weights of many crosspoints under the same pulses."""

    name: str
    """What was pulsed."""
    weights: Float32[np.ndarray, "readings crosspoints"]
    """Visible weights before the first and after each pulse, ``(pulses + 1, crosspoints)``."""
    persistent: Float32[np.ndarray, "readings crosspoints"]
    """The same without write noise; equal to ``weights`` if there is none."""
    signs: Int8[np.ndarray, " pulses"]
    """Direction of each pulse, 1 up or -1 down, ``(pulses,)``."""


@arguments.answered
def compute_pulse_response(
    subject: Subject,
    *,
    pulses: int | None = None,
    cycles: int = 2,
    crosspoints: int = CROSSPOINTS,
    start: float = 0.0,
    key: Seed = 0,
) -> PulseResponse:
    """Simulate up pulses and then as many down pulses, pulse by pulse, with the exact physics.

    Each pulse is an update of a tile with one column in which every line fires once, so that
    compounds and all options of the device take part.

    Args:
        subject: Device, tile configuration or preset name.
        pulses: Up pulses of a cycle, and down pulses; by default enough to cross the range once.
        cycles: How often that is repeated.
        crosspoints: How many crosspoints are pulsed.
        start: Weight at the beginning, clipped to the bounds of each crosspoint.
        key: Key or seed of the devices and all noise.

    Raises:
        ConfigError: If a count is below 1 or the subject is not known.
    """
    count = estimate_n_steps(subject) if pulses is None else pulses
    for name, value in (("pulses", count), ("cycles", cycles), ("crosspoints", crosspoints)):
        if value < 1:
            raise ConfigError(f"{name}={value!r} is not allowed: give at least 1")
    signs = np.tile(np.repeat([1, -1], count), cycles)
    return apply_pulses(subject, signs, np.full(crosspoints, start), key)


@arguments.answered
def apply_pulses(
    subject: Subject,
    signs: Int[np.ndarray, " pulses"],
    start: Float[np.ndarray, " crosspoints"],
    key: Seed = 0,
) -> PulseResponse:
    """Apply a sequence of certain pulses to crosspoints that start at given weights.

    Args:
        subject: Device, tile configuration or preset name.
        signs: Direction of each pulse, 1 up or -1 down, ``(pulses,)``.
        start: Weight of each crosspoint at the beginning, ``(crosspoints,)``.
        key: Key or seed of the devices and all noise.
    """
    config = certain_pulses(tile_config(subject))
    rate = jnp.asarray(pulse_size(config), jnp.float32)
    state, first = fresh_tile(config, key, len(start)), jnp.asarray(start, jnp.float32)[:, None]
    visible, stored = _apply(config, state, jnp.asarray(signs, jnp.float32), first, rate, key_of(key))
    return PulseResponse(name_of(subject), np.asarray(visible), np.asarray(stored), np.asarray(signs, np.int8))


@jax.jit
def _apply(
    config: TileConfig, state: tile.TileState, signs: jax.Array, start: jax.Array, rate: jax.Array, key: Key
) -> tuple[jax.Array, jax.Array]:
    state = tile.set_weights(config, state, start, derive(key, "set"))
    source = derive(stream(key, config.noise_engine), "pulses")  # cheaper to derive from than a key

    def look(state: tile.TileState) -> tuple[jax.Array, jax.Array]:
        return state.weights[:, 0], persistent(config, state)[:, 0]

    def pulse(state: tile.TileState, step: tuple[jax.Array, jax.Array]) -> tuple[tile.TileState, tuple]:
        number, sign = step
        d = jnp.full((1, start.shape[0]), -sign)
        state = tile.update(config, state, jnp.ones((1, 1)), d, rate, derive(source, number))
        return state, look(state)

    _, traces = lax.scan(pulse, state, (jnp.arange(signs.shape[0]), signs))
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), look(state), traces)


@arguments.answered
@drawn
def plot_pulse_response(response: PulseResponse | Subject, ax: Axes | None = None, *, traces: int = 3) -> Figure:
    """Draw the mean response, its spread over crosspoints and a few single crosspoints.

    Example:
        >>> import aihwjax as aj
        >>> figure = aj.plot.plot_pulse_response(aj.SoftBoundsDevice(dw_min=0.02))
        >>> figure.axes[0].get_ylabel()
        'weight'

    Args:
        response: From :func:`compute_pulse_response`; a device, tile configuration or preset name is
            simulated with its defaults.
        ax: Where to draw; by default in a new figure.
        traces: Number of single crosspoints.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, ax = axes(ax)
    if not isinstance(response, PulseResponse):
        response = compute_pulse_response(response)
    weights = response.weights
    pulses = np.arange(len(weights))
    low, lower, upper, high = np.quantile(weights, [0.05, 0.25, 0.75, 0.95], axis=1)
    ax.fill_between(pulses, low, high, color=BLUE, alpha=0.15, lw=0, label="5 to 95 % of crosspoints", rasterized=True)
    ax.fill_between(pulses, lower, upper, color=BLUE, alpha=0.25, lw=0, label="25 to 75 %", rasterized=True)
    shown = weights[:, :traces]
    for number in range(shown.shape[1]):
        label = "single crosspoints" if number == 0 else None
        ax.plot(pulses, shown[:, number], color=GREY, lw=0.5, label=label, rasterized=True)
    ax.plot(pulses, weights.mean(axis=1), color=BLUE, label="mean")
    ax.set(xlabel="pulse number (up, then down)", ylabel="weight", xlim=(0, len(weights) - 1), title=response.name)
    number_ticks(ax)
    legend_above(ax)
    return figure
