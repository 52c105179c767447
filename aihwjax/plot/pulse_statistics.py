"""Step size against weight: what one pulse does, up and down."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike

from aihwjax import arguments, tile
from aihwjax.devices.base import PulsedDevice
from aihwjax.errors import ConfigError
from aihwjax.plot.style import BLUE, GREY, RED, axes, drawn, legend_above, number_ticks
from aihwjax.plot.subject import (
    CROSSPOINTS,
    Seed,
    Subject,
    certain_pulses,
    fresh_tile,
    key_of,
    name_of,
    persistent,
    pulse_size,
    tile_config,
    weight_range,
)
from aihwjax.random import derive, stream
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import working_device
from aihwjax.typing import Key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HELD = 1e-5
_POINTS = 31


@arguments.answering
@dataclass(frozen=True)
class PulseStatistics:
    """Change of the weight by one pulse, over crosspoints; every array is ``(weights,)``.

    A value is NaN where fewer than two crosspoints can hold the weight.
    """

    name: str
    """What was pulsed."""
    weights: Float64[np.ndarray, " weights"]
    """Weights at which pulses were applied."""
    up_mean: Float64[np.ndarray, " weights"]
    """Mean change by an up pulse."""
    up_std: Float64[np.ndarray, " weights"]
    """Its standard deviation, over crosspoints and from pulse to pulse."""
    down_mean: Float64[np.ndarray, " weights"]
    """Mean change by a down pulse, negative."""
    down_std: Float64[np.ndarray, " weights"]
    """Its standard deviation."""
    counts: Int64[np.ndarray, " weights"]
    """Crosspoints that can hold the weight."""
    theory_up: Float64[np.ndarray, " weights"] | None = None
    """Change by an up pulse of the device without spread and noise; ``None`` for a compound."""
    theory_down: Float64[np.ndarray, " weights"] | None = None
    """Change by a down pulse of that device."""


@arguments.answered
def compute_pulse_statistics(
    subject: Subject,
    *,
    weights: ArrayLike | None = None,
    crosspoints: int = CROSSPOINTS,
    burst: int = 1,
    key: Seed = 0,
) -> PulseStatistics:
    """Measure the change of the weight by one pulse at given weights.

    All crosspoints are set to a weight and pulsed once, up and down apart; those whose bounds do
    not allow the weight are left out (of a compound none is). With write noise it is the persistent
    weight that counts.

    Args:
        subject: Device, tile configuration or preset name.
        weights: Where to measure, ``(weights,)``; by default 31 places between the mean bounds.
        crosspoints: How many crosspoints are pulsed.
        burst: Pulses between the two readings, whose change is divided by their number: a compound
            that moves its visible weight only now and then needs more than 1.
        key: Key or seed of the devices and all noise.

    Raises:
        ConfigError: If a count is below 1 or the subject is not known.
    """
    for name, value in (("crosspoints", crosspoints), ("burst", burst)):
        if value < 1:
            raise ConfigError(f"{name}={value!r} is not allowed: give at least 1")
    config = certain_pulses(tile_config(subject))
    places = np.linspace(*weight_range(config), _POINTS) if weights is None else np.asarray(weights, np.float64)
    rate = jnp.asarray(pulse_size(config), jnp.float32)
    fresh = fresh_tile(config, key, crosspoints)
    before, after = _measure(config, fresh, jnp.asarray(places, jnp.float32), rate, key_of(key), jnp.asarray(burst))
    before, steps = np.asarray(before, np.float64), (np.asarray(after, np.float64) - before) / burst
    held = np.ones(before[0].shape, bool)
    if isinstance(working_device(config), PulsedDevice):
        held = np.abs(before[0] - places[:, None]) <= _HELD * np.maximum(1.0, np.abs(places[:, None]))
    counts = held.sum(axis=1)
    enough = np.where(counts < 2, np.nan, counts)
    mean = np.where(held, steps, 0.0).sum(axis=-1) / enough
    spread = np.sqrt(np.where(held, (steps - mean[..., None]) ** 2, 0.0).sum(axis=-1) / enough)
    theory = theoretical_steps(subject, places)
    return PulseStatistics(
        name_of(subject), places, mean[0], spread[0], mean[1], spread[1], counts, *(theory or (None, None))
    )


@jax.jit
def _measure(
    config: TileConfig, fresh: tile.TileState, weights: jax.Array, rate: jax.Array, key: Key, burst: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the weights before and after up and down pulses, each ``(2, weights, crosspoints)``."""
    noise = stream(key, config.noise_engine)  # cheaper to derive from than a key
    signs = jnp.repeat(jnp.asarray([1.0, -1.0]), weights.shape[0])

    def at(entry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, sign, weight = entry
        source = derive(noise, number)
        state = tile.set_weights(config, fresh, jnp.full(fresh.shape, weight), derive(source, "set"))
        pulses = derive(source, "pulses")

        def once(turn: jax.Array, state: tile.TileState) -> tile.TileState:
            d = jnp.full((1, fresh.shape[0]), -sign)
            return tile.update(config, state, jnp.ones((1, 1)), d, rate, derive(pulses, turn))

        after = lax.fori_loop(0, burst, once, state)
        return persistent(config, state)[:, 0], persistent(config, after)[:, 0]

    readings = lax.map(at, (jnp.arange(len(signs)), signs, jnp.tile(weights, 2)))
    return jax.tree.map(lambda values: values.reshape(2, weights.shape[0], -1), readings)


@arguments.answered
def theoretical_steps(
    subject: Subject, weights: ArrayLike
) -> tuple[Float64[np.ndarray, " weights"], Float64[np.ndarray, " weights"]] | None:
    """Return the change by an up and by a down pulse of the device without spread and noise.

    Args:
        subject: Device, tile configuration or preset name.
        weights: Where, ``(weights,)``.

    Returns:
        Two arrays ``(weights,)``, NaN outside the bounds, or ``None`` if the subject is no single
        pulsed device.
    """
    device = working_device(tile_config(subject))
    if not isinstance(device, PulsedDevice):
        return None
    device = without_spread(device)
    places = jnp.asarray(weights, jnp.float32)[:, None]
    state = device.init(jax.random.key(0), places.shape)
    assert state.max_bound is not None and state.min_bound is not None
    v = device.internal(state, places)
    sizes = device.steps(state, v)
    room = _HELD * (state.max_bound - state.min_bound)
    inside = (v >= state.min_bound - room) & (v <= state.max_bound + room)
    up, down = (jnp.where(inside, change, jnp.nan) for change in (sizes.up, -sizes.down))
    return np.asarray(up[:, 0], np.float64), np.asarray(down[:, 0], np.float64)


def without_spread(device: PulsedDevice) -> PulsedDevice:
    """Return the device without spread over crosspoints and noise: fields called ``*_dtod`` and ``*_std`` are 0."""
    spreads = [
        field.name
        for field in dataclasses.fields(device)  # type: ignore[arg-type]
        if field.name.endswith(("_dtod", "_std")) and "number" in field.metadata
    ]
    return device.replace({**dict.fromkeys(spreads, 0.0), "corrupt_devices_prob": 0.0, "perfect_bias": False})


@arguments.answered
@drawn
def plot_pulse_statistics(statistics: PulseStatistics | Subject, ax: Axes | None = None) -> Figure:
    """Draw the mean step against the weight with its standard deviation, measured and in theory.

    Args:
        statistics: From :func:`compute_pulse_statistics`; a device, tile configuration or preset name
            is measured with its defaults.
        ax: Where to draw; by default in a new figure.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, ax = axes(ax)
    if not isinstance(statistics, PulseStatistics):
        statistics = compute_pulse_statistics(statistics)
    s = statistics
    ax.axhline(0, color=GREY, lw=0.5)
    for colour, label, marker, mean, spread, theory in (
        (BLUE, "up", "o", s.up_mean, s.up_std, s.theory_up),
        (RED, "down", "s", s.down_mean, s.down_std, s.theory_down),
    ):
        ax.fill_between(s.weights, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
        ax.plot(s.weights, mean, marker, color=colour, ms=2.5, lw=0, label=label)
        if theory is not None:
            ax.plot(s.weights, theory, color=colour, lw=1, label=f"{label}, without spread")
    ax.set(xlabel="weight", ylabel="change by one pulse", title=s.name)
    number_ticks(ax)
    legend_above(ax)
    return figure
