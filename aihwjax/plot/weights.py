"""Weights over updates: the visible weight and the hidden ones behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float32, Int64

from aihwjax import arguments, random, tile
from aihwjax.errors import ConfigError, ShapeError
from aihwjax.plot.style import GREY, PANEL_HEIGHT, axes, drawn, legend_above, number_ticks, panels
from aihwjax.plot.subject import Seed, Subject, key_of, name_of, tile_config
from aihwjax.random import derive
from aihwjax.tile.checks import check_learning_rate
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHANGING = ("hidden_weights", "persistent_weights", "buffer", "chi")
_SIZE = 8
_SPREAD = 0.3


@arguments.answering
@dataclass(frozen=True)
class WeightTraces:
    """Weights of a few crosspoints over time."""

    name: str
    """What the weights belong to."""
    steps: Int64[np.ndarray, " readings"]
    """Number of updates before each reading, ``(readings,)``."""
    parts: dict[str, Float32[np.ndarray, "readings crosspoints"]]
    """``"weights"`` and the hidden parameters that change and differ, each ``(readings, crosspoints)``."""
    crosspoints: tuple[tuple[int, int], ...]
    """Row and column of each crosspoint."""
    target: Float32[np.ndarray, " crosspoints"] | None = None
    """Weights that training aims at, ``(crosspoints,)``, if known."""


@arguments.answered
def compute_weight_traces(
    subject: Subject,
    *,
    updates: int = 400,
    crosspoints: int = 4,
    learning_rate: float = 0.05,
    batch: int = 4,
    key: Seed = 0,
) -> WeightTraces:
    """Train one tile of 8 × 8 to a random target matrix and record its weights after each update.

    Args:
        subject: Device, tile configuration or preset name.
        updates: Number of mini-batches.
        crosspoints: How many crosspoints are recorded, along the diagonal; at most 8.
        learning_rate: Of the pulsed update.
        batch: Vectors in a mini-batch.
        key: Key or seed of everything random.

    Raises:
        ConfigError: If a count is below 1, the learning rate not allowed or the subject is not known.
    """
    for name, value in (("updates", updates), ("crosspoints", crosspoints), ("batch", batch)):
        if value < 1:
            raise ConfigError(f"{name}={value!r} is not allowed: give at least 1")
    if crosspoints > _SIZE:
        raise ConfigError(f"crosspoints={crosspoints!r} is not allowed: give at most {_SIZE}")
    check_learning_rate(learning_rate)
    config = tile_config(subject)
    places = tuple((i, i) for i in range(crosspoints))
    readings, target = _train(config, key_of(key), jnp.asarray(learning_rate, jnp.float32), updates, batch, places)
    order = sorted(readings, key=lambda name: (name != "weights", name))
    parts = _distinct({name: np.asarray(readings[name]) for name in order})
    return WeightTraces(name_of(subject), np.arange(updates + 1), parts, places, np.asarray(target))


def _distinct(
    parts: dict[str, Float32[np.ndarray, "readings crosspoints"]],
) -> dict[str, Float32[np.ndarray, "readings crosspoints"]]:
    """Leave out the hidden weights that are the visible ones."""
    visible = parts["weights"]
    return {name: part for name, part in parts.items() if name == "weights" or not np.array_equal(part, visible)}


@partial(jax.jit, static_argnames=("updates", "batch", "places"))
def _train(
    config: TileConfig, key: Key, rate: jax.Array, updates: int, batch: int, places: tuple[tuple[int, int], ...]
) -> tuple[dict[str, jax.Array], jax.Array]:
    shape = (_SIZE, _SIZE)
    target = random.uniform(derive(key, "target"), shape, -_SPREAD, _SPREAD)
    state = tile.init(config, derive(key, "init"), shape)
    source = random.stream(key, config.noise_engine).child("updates")  # cheaper to derive from than a key

    def step(state: tile.TileState, number: jax.Array) -> tuple[tile.TileState, dict[str, jax.Array]]:
        own = source.child(number)
        x = own.child("x").normal((batch, _SIZE))
        d = (tile.forward(config, state, x, own.child("forward")) - x @ target.T) / batch
        state = tile.update(config, state, x, d, rate, own.child("update"))
        state = tile.end_of_batch(config, state, own.child("end"))
        return state, _read(config, state, places)

    _, later = lax.scan(step, state, jnp.arange(updates))
    first = _read(config, state, places)
    readings = jax.tree.map(lambda start, rest: jnp.concatenate([start[None], rest]), first, later)
    return readings, target[tuple(zip(*places, strict=True))]


def _read(config: TileConfig, state: tile.TileState, places: Sequence[tuple[int, int]]) -> dict[str, jax.Array]:
    rows, columns = (jnp.asarray(index) for index in zip(*places, strict=True))
    hidden = tile.hidden_parameters(config, state)
    changing = {name: value for name, value in hidden.items() if name.startswith(_CHANGING)}
    parts = {"weights": tile.get_weights(config, state), **changing}
    return {name: value[rows, columns] for name, value in parts.items() if value.shape == state.shape}


@arguments.answered
def trace_weights(
    config: TileConfig,
    states: Iterable[tile.TileState],
    crosspoints: Sequence[tuple[int, int]] = ((0, 0), (0, 1), (1, 0), (1, 1)),
) -> WeightTraces:
    """Collect the weights of a few crosspoints from recorded states of a tile.

    The state of a layer's tile during training is ``tile.state.get_value()`` of its
    :class:`~aihwjax.nn.tile.AnalogTile`.

    Args:
        config: The tile's configuration.
        states: The tile at several times.
        crosspoints: Row and column of each crosspoint.

    Raises:
        ConfigError: If there is no state or no crosspoint.
        ShapeError: If a crosspoint is outside the tile.
    """
    places = tuple((int(row), int(column)) for row, column in crosspoints)
    recorded = list(states)
    if not recorded or not places:
        raise ConfigError("there is nothing to trace: give at least one state and one crosspoint")
    rows, columns = recorded[0].shape
    for row, column in places:
        if not (0 <= row < rows and 0 <= column < columns):
            raise ShapeError(f"crosspoint {(row, column)} is outside the tile: its shape is {(rows, columns)}")
    readings = [_read(config, state, places) for state in recorded]
    parts = _distinct({name: np.stack([np.asarray(reading[name]) for reading in readings]) for name in readings[0]})
    return WeightTraces(name_of(config), np.arange(len(recorded)), parts, places)


@arguments.answered
@drawn
def plot_weights(traces: WeightTraces | Subject, ax: Axes | None = None) -> Figure:
    """Draw the visible weight of each crosspoint over updates, and below it each hidden weight.

    Args:
        traces: From :func:`compute_weight_traces` or :func:`trace_weights`; a device, tile
            configuration or preset name is trained with the defaults of the former.
        ax: Where to draw the visible weights alone; by default a new figure has all parts.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    if not isinstance(traces, WeightTraces):
        traces = compute_weight_traces(traces)
    if ax is not None:
        figure, ax = axes(ax)
        _draw_part(traces, "weights", ax)
    else:
        figure, places = panels(rows=len(traces.parts))
        if len(places) > 1:
            figure.set_size_inches(figure.get_figwidth(), 0.75 * PANEL_HEIGHT * len(places))
        for name, place in zip(traces.parts, places, strict=True):
            _draw_part(traces, name, place)
            place.label_outer()
        ax = places[0]
        places[-1].set_xlabel("updates")
    ax.set_title(traces.name)
    legend_above(ax, title="crosspoint (row, column)")
    return figure


def _draw_part(traces: WeightTraces, name: str, ax: Axes) -> None:
    values = traces.parts[name]
    for number, place in enumerate(traces.crosspoints):
        (line,) = ax.plot(traces.steps, values[:, number], lw=0.9, label=str(place))
        if traces.target is not None and name == "weights":
            ax.axhline(traces.target[number], color=line.get_color(), lw=0.6, ls=":")
    if name == "weights" and traces.target is not None:
        ax.plot([], [], color=GREY, lw=0.6, ls=":", label="target")
    first, last = int(traces.steps[0]), int(traces.steps[-1])
    label = "visible weight" if name == "weights" else name.replace("_", " ")
    ax.set(xlabel="updates", ylabel=label, xlim=(first, max(last, first + 1)))
    number_ticks(ax)
