"""The update of a tile: from x, d and a learning rate to new weights (spec: update)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax import random
from aihwjax.devices.base import PulsedDevice
from aihwjax.errors import ConfigError, ShapeError
from aihwjax.random import Noise, Stream
from aihwjax.tile import aggregated, counted_pulses, sequential
from aihwjax.tile.checks import require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.lifecycle import working_device
from aihwjax.tile.pulses import PulseType, UpdateMode
from aihwjax.tile.state import TileState
from aihwjax.tile.trains import plan
from aihwjax.typing import Number


def update(
    config: TileConfig,
    state: TileState,
    x: jax.Array,
    d: jax.Array,
    learning_rate: Number,
    key: Noise,
) -> TileState:
    """Update the weights by ``-learning_rate * d x`` on average, as the device does it.

    Args:
        config: The tile's configuration.
        state: The tile.
        x: Inputs ``(n, in)``; leading axes are flattened, vectors act in order.
        d: Gradients of the loss with respect to the outputs, ``(n, out)``.
        learning_rate: At least 0; 0 changes nothing.
        key: Source of pulses and noise.

    Raises:
        ShapeError: If x and d do not fit the tile or each other.
        ConfigError: If the learning rate is a negative number.
        NonFiniteError: If x or d has NaN or infinity (not checked inside a traced function).
    """
    out_size, in_size = state.shape
    if isinstance(learning_rate, int | float) and not learning_rate >= 0:
        raise ConfigError(f"learning_rate={learning_rate!r} is not allowed: give at least 0")
    if jnp.ndim(x) < 1 or jnp.shape(x)[-1] != in_size:
        raise ShapeError(f"x has shape {jnp.shape(x)}: give (n, {in_size}), the tile's number of inputs")
    if jnp.ndim(d) < 1 or jnp.shape(d) != (*jnp.shape(x)[:-1], out_size):
        expected = (*jnp.shape(x)[:-1], out_size)
        raise ShapeError(f"d has shape {jnp.shape(d)}: give {expected}, one gradient for each vector of x")
    require_finite("x", x)
    require_finite("d", d)
    x = jnp.reshape(jnp.asarray(x, jnp.float32), (-1, in_size))
    d = jnp.reshape(jnp.asarray(d, jnp.float32), (-1, out_size))
    if x.shape[0] == 0:
        return state
    device = working_device(config)
    stream = random.stream(key, config.noise_engine)
    if not isinstance(device, PulsedDevice):
        return dataclasses.replace(state, weights=state.weights - learning_rate * (d.T @ x))
    pulse_type = config.update.pulse_type
    if pulse_type is PulseType.NONE_WITH_DEVICE:
        return _without_pulses(config, device, state, x, d, learning_rate, stream)
    is_aggregated = config.update_mode is UpdateMode.AGGREGATED
    trains = plan(
        config.update, device.granularity(), x, d, learning_rate, stream.child("plan"), config.reference_quirks
    )
    if pulse_type in (PulseType.MEAN_COUNT, PulseType.DETERMINISTIC_IMPLICIT):
        parts, weights = counted_pulses.update(
            device, state.device, state.weights, pulse_type, trains, x, d, is_aggregated, stream
        )
    else:
        engine = aggregated.update if is_aggregated else sequential.update
        parts, weights = engine(device, state.device, state.weights, trains, x, d, stream)
    return dataclasses.replace(state, device=parts, weights=weights)


def _without_pulses(
    config: TileConfig,
    device: PulsedDevice,
    state: TileState,
    x: jax.Array,
    d: jax.Array,
    learning_rate: Number,
    stream: Stream,
) -> TileState:
    """Exact rank-one steps, one vector after the other, each clipped to the device's bounds."""
    stored = device.stored(state.device, state.weights)
    top, bottom = state.device.max_bound, state.device.min_bound
    assert top is not None and bottom is not None

    def one_vector(weights: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        moved = weights - learning_rate * pair[1][:, None] * pair[0][None, :]
        return jnp.maximum(jnp.minimum(moved, top), bottom), None

    moved, _ = lax.scan(one_vector, stored, (x, d))
    noisy = device.write_noise() is not None
    if noisy and config.reference_quirks:  # spec: update, bug 3: the step goes to the apparent weights and is lost
        moved = stored
    parts, apparent = device.store(state.device, moved, stream)
    idle = jnp.asarray(learning_rate) <= 0
    parts = jax.tree.map(lambda new, old: jnp.where(idle, old, new), parts, state.device)
    return dataclasses.replace(state, device=parts, weights=jnp.where(idle, state.weights, apparent))
