"""Making a tile, writing and reading its weights (spec: devices, sections 2.3, 2.4 and 5)."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax import random
from aihwjax.devices.base import Device, PulsedDevice
from aihwjax.devices.ideal import IdealDevice
from aihwjax.errors import ConfigError, ShapeError
from aihwjax.pulses import PulseType
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.modified_copy import follow
from aihwjax.tile.product import mvm
from aihwjax.tile.product.io import IOParameters, NoiseManagementType
from aihwjax.tile.state import TileState
from aihwjax.typing import Crosspoints, Number, Weights

_INITIAL_RANGE = 0.1


def working_device(config: TileConfig) -> Device:
    """Return the device that does the work: conversions resolved, pulse type ``NONE`` without pulses.

    A compound under pulse type ``NONE`` is plain gradient descent (spec: compounds, section 1.2).
    """
    device = config.device.resolved()
    if config.update.pulse_type is PulseType.NONE and device.pulsed:
        if not isinstance(device, PulsedDevice):
            return IdealDevice(reference_quirks=device.reference_quirks)
        return IdealDevice(
            diffusion=device.diffusion,
            lifetime=device.lifetime,
            reset_std=device.reset_std,
            drift=device.drift,
            reference_quirks=device.reference_quirks,
        )
    return device


def init(config: TileConfig, key: Noise, shape: tuple[int, int]) -> TileState:
    """Make a tile: draw its devices and frozen values, and set weights uniform in (-0.1, 0.1).

    Args:
        config: The tile's configuration.
        key: Source of all draws.
        shape: ``(out, in)``.

    Raises:
        ShapeError: If the shape is not two positive sizes.
        ConfigError: If the configuration or the key is none.
    """
    if not isinstance(config, TileConfig):
        raise ConfigError(
            f"config={type(config).__name__} is not allowed: give a TileConfig, such as SingleRPUConfig()"
        )
    return _init(config, random.as_noise(key), _checked_shape(shape))


def _checked_shape(shape: object) -> tuple[int, int]:
    sizes = tuple(shape) if isinstance(shape, tuple | list | np.ndarray) else ()
    whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) for size in sizes)
    if len(sizes) != 2 or not whole or min(sizes) < 1:
        text = sizes if sizes else repr(shape)
        raise ShapeError(f"shape={text} is not allowed: give (out, in), two whole numbers of at least 1")
    return int(sizes[0]), int(sizes[1])


# compiled as one program: op by op, each shape would compile dozens of small ones
@partial(jax.jit, static_argnames="shape")
def _init(config: TileConfig, key: Noise, shape: tuple[int, int]) -> TileState:
    out_size, in_size = shape
    source = random.stream(key, random.NoiseEngine.COUNTER)
    device = working_device(config)
    parts = device.init(source.child("device"), (out_size, in_size))
    quirks = config.reference_quirks
    averaged = _averages(config.forward) or _averages(config.backward)
    blank = jnp.zeros(shape, jnp.float32)
    state = TileState(
        weights=blank,
        device=parts,
        forward=mvm.freeze(config.forward, source.child("forward"), out_size, in_size, quirks),
        backward=mvm.freeze(config.backward, source.child("backward"), in_size, out_size, quirks),
        running_abs_max=jnp.full((2,), -1.0, jnp.float32) if averaged else None,
        mapping_scales=jnp.ones((out_size,), jnp.float32) if config.remap.acts() else None,
        modified=blank if config.modifier.acts() else None,
    )
    start = random.uniform(source.child("weights"), shape, -_INITIAL_RANGE, _INITIAL_RANGE)
    return set_weights(config, state, start, source.child("set"))


def _averages(io: IOParameters) -> bool:
    return io.noise_management is NoiseManagementType.AVERAGE_ABS_MAX and not io.is_perfect


def set_weights(config: TileConfig, state: TileState, weights: Weights, key: Noise) -> TileState:
    """Write analog weights ``(out, in)``; they are clipped to the bounds of each crosspoint.

    With write noise the apparent weights are noisy, unless ``apply_write_noise_on_set`` is off.

    Raises:
        DataError: If the weights are no array of real numbers.
        ShapeError: If the weights do not have the tile's shape.
        NonFiniteError: If a weight is NaN or infinite.
    """
    weights = as_numbers("weights", weights)
    if jnp.shape(weights) != state.weights.shape:
        raise ShapeError(f"weights have shape {jnp.shape(weights)}: give {state.weights.shape}, (out, in) of the tile")
    require_finite("weights", weights)
    stream = random.stream(key, config.noise_engine)
    device, apparent = working_device(config).set_weights(state.device, jnp.asarray(weights, jnp.float32), stream)
    return follow(config, state, dataclasses.replace(state, device=device, weights=apparent), key)


def get_weights(config: TileConfig, state: TileState) -> Weights:
    """Return the apparent analog weights ``(out, in)``, exactly."""
    return state.weights


def hidden_parameters(config: TileConfig, state: TileState) -> dict[str, Crosspoints]:
    """Return the per-crosspoint parameters, each ``(out, in)``, under the reference's names.

    Empty for devices without pulses and under pulse type ``NONE`` (spec: devices, section 5).
    """
    return working_device(config).hidden_parameters(state.device, state.weights)


def set_hidden_update_index(config: TileConfig, state: TileState, index: Number) -> TileState:
    """Choose which device of a unit cell is in turn: the one that ``SINGLE_FIXED`` pulses and writes.

    Other devices ignore it, as in the reference (spec: compounds, section 3).

    Raises:
        ConfigError: If the cell has no such device.
    """
    device = working_device(config).with_update_index(state.device, index)
    return dataclasses.replace(state, device=device)
