"""What happens to the weights between updates (spec: devices, section 4; tile_ops, sections 8 to 13).

Each function returns a new state. Mapping scales are touched by the remap alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from aihwjax import arguments, random
from aihwjax.devices.device import Device, DeviceState
from aihwjax.errors import ConfigError
from aihwjax.precision import in_single
from aihwjax.random import Noise, Stream
from aihwjax.tile.checks import one_number
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import fitting_device, spoiled
from aihwjax.tile.modified_copy import follow, modify
from aihwjax.tile.product.frozen import REDRAW
from aihwjax.tile.state import TileState
from aihwjax.tile.upkeep import clipping, remapping
from aihwjax.typing import Number, Weights

_Action = Callable[[Device, DeviceState, Weights, Stream], tuple[DeviceState, Weights]]


def _apply(config: TileConfig, state: TileState, key: Noise, action: _Action) -> TileState:
    device, holds = fitting_device(config, state)
    stream = random.stream(key, config.noise_engine)
    parts, weights = action(device, state.device, state.weights, stream)
    return follow(config, state, dataclasses.replace(state, device=parts, weights=spoiled(weights, holds)), key)


@arguments.answered
@in_single
def decay(config: TileConfig, state: TileState, alpha: Number, key: Noise) -> TileState:
    """Decay the weights once towards the reset bias; ``alpha`` scales the decay.

    Raises:
        ConfigError: If ``alpha`` is not one number, the key is none, or the tile was drawn with another configuration.
    """
    alpha = one_number("alpha", alpha)
    return _apply(config, state, key, lambda device, d, w, s: device.decay_weights(d, w, alpha, s))


@arguments.answered
@in_single
def diffuse(config: TileConfig, state: TileState, key: Noise) -> TileState:
    """Add one step of diffusion to the weights."""
    return _apply(config, state, key, lambda device, d, w, s: device.diffuse_weights(d, w, s))


@arguments.answered
@in_single
def drift(config: TileConfig, state: TileState, delta_t: Number, key: Noise) -> TileState:
    """Let the time ``delta_t`` pass (in the units of ``drift.t_0``).

    Raises:
        ConfigError: If ``delta_t`` is not one number, the key is none, or the tile was drawn with another
            configuration.
    """
    delta_t = one_number("delta_t", delta_t)
    return _apply(config, state, key, lambda device, d, w, s: device.drift_weights(d, w, delta_t, s))


@arguments.answered
@in_single
def reset(
    config: TileConfig,
    state: TileState,
    first_column: int | Int[Array, ""] = 0,
    columns: int | Int[Array, ""] = -1,
    probability: Number = 1.0,
    key: Noise | None = None,
) -> TileState:
    """Reset columns, wrapping around the end; each of their crosspoints with ``probability``.

    Args:
        config: The tile's configuration.
        state: The tile.
        first_column: Index of the first column.
        columns: Number of columns; below 0: all.
        probability: Chance of each crosspoint.
        key: Source of the noise.

    Raises:
        ConfigError: If there is no key, the probability is not one number, or the device cannot be reset.
    """
    if key is None:
        raise ConfigError("key=None is not allowed: give one JAX key, such as jax.random.key(0), or a whole number")
    probability = one_number("probability", probability)
    in_size = state.weights.shape[1]

    def action(device: Device, parts: DeviceState, weights: Weights, stream: Stream) -> tuple[DeviceState, Weights]:
        offset = (jnp.arange(in_size) - first_column) % in_size
        chosen = (offset < columns) | (jnp.asarray(columns) < 0)
        new_parts, new_weights = device.reset_columns(parts, weights, chosen[None, :], probability, stream)
        # spec: devices, section 4.4: probability 0 returns before the write noise is redrawn
        idle = jnp.asarray(probability) <= 0
        return jax.tree.map(lambda old, new: jnp.where(idle, old, new), (parts, weights), (new_parts, new_weights))

    return _apply(config, state, key, action)


@arguments.answered
@in_single
def clip(config: TileConfig, state: TileState, key: Noise, limit: Number | None = None) -> TileState:
    """Clip the weights to the device's bounds, as ``config.clip`` says, and to ``limit`` if given.

    Args:
        config: The tile's configuration.
        state: The tile.
        key: Source of write noise.
        limit: Largest magnitude of a weight.

    Raises:
        ConfigError: If ``limit`` is not one number, or the key is none.
    """
    limit = None if limit is None else one_number("limit", limit)
    value = clipping.clip_value(
        config.clip, state.weights, torch_tile=config.torch_tile, quirks=config.reference_quirks
    )
    if value is not None:
        limit = value if limit is None else jnp.minimum(value, limit)
    return _apply(config, state, key, lambda device, d, w, s: device.clip_weights(d, w, limit, s))


@arguments.answered
@in_single
def remap(config: TileConfig, state: TileState, key: Noise) -> TileState:
    """Let the weights fill the range of the devices and the mapping scales make up for it, if configured.

    Args:
        config: The tile's configuration.
        state: The tile.
        key: Source of a new modified copy, where one is drawn at once.

    Raises:
        ConfigError: If the remap was switched on after the tile was built, or the key is none.
    """
    key = random.as_noise(key)
    if not config.remap.acts():
        return state
    if state.mapping_scales is None or state.mapping_scales.shape != (state.shape[0],):
        raise ConfigError(
            f"remap.type={config.remap.type.name} is not allowed on this tile: "
            f"it needs one mapping scale for each output, so build the tile with it or {REDRAW}"
        )
    weights, scales = remapping.remapped(config.remap, state.weights, state.mapping_scales)
    return follow(config, state, dataclasses.replace(state, weights=weights, mapping_scales=scales), key)


@arguments.answered
@in_single
def end_of_batch(config: TileConfig, state: TileState, key: Noise) -> TileState:
    """Run what follows every mini-batch: diffusion, decay, clip, remap, modifier, each only if configured.

    Raises:
        ConfigError: If the tile was drawn with another configuration.
    """
    device, _ = fitting_device(config, state)
    key = random.as_noise(key)
    if device.diffuses():
        state = diffuse(config, state, random.derive(key, "diffuse"))
    if device.decays():
        state = decay(config, state, 1.0, random.derive(key, "decay"))
    if config.clip.type is not clipping.WeightClipType.NONE:
        state = clip(config, state, random.derive(key, "clip"))
    state = remap(config, state, random.derive(key, "remap"))
    return modify(config, state, random.derive(key, "modify"))
