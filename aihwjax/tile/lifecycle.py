"""Making a tile, writing and reading its weights (spec: devices, sections 2.3, 2.4 and 5)."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from aihwjax import arguments, random
from aihwjax.errors import ConfigError, ShapeError
from aihwjax.precision import in_single
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, checked_count, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import averages, drawn, fitting_device, spoiled, working_device
from aihwjax.tile.modified_copy import follow
from aihwjax.tile.passes import forward
from aihwjax.tile.product import mvm
from aihwjax.tile.reading import read_weights
from aihwjax.tile.state import TileState
from aihwjax.typing import Number, Weights

_INITIAL_RANGE = 0.1


@arguments.answered
@in_single
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
    averaged = averages(config.forward) or averages(config.backward)
    blank = jnp.zeros(shape, jnp.float32)
    state = TileState(
        weights=blank,
        device=parts,
        forward=mvm.freeze(config.forward, source.child("forward"), out_size, in_size, quirks, config.torch_tile),
        backward=mvm.freeze(config.backward, source.child("backward"), in_size, out_size, quirks),
        running_abs_max=jnp.full((2,), -1.0, jnp.float32) if averaged else None,
        mapping_scales=jnp.ones((out_size,), jnp.float32) if config.remap.acts() else None,
        modified=blank if config.modifier.acts() else None,
        drawn=drawn(config),
    )
    start = random.uniform(source.child("weights"), shape, -_INITIAL_RANGE, _INITIAL_RANGE)
    return _written(config, state, start, source.child("set"))


@arguments.answered
@in_single
def redraw(config: TileConfig, state: TileState, key: Noise) -> TileState:
    """Draw the devices and all frozen values of a tile anew, as ``config`` says, and write its weights to them.

    What a new device cannot hold is clipped, and hidden weights start anew, as after :func:`set_weights`; so do pulse
    counts. Mapping scales, running averages and the input range stay.

    Example:
        >>> import jax
        >>> import aihwjax as aj
        >>> key = jax.random.key(0)
        >>> config = aj.SingleRPUConfig(device=aj.ConstantStepDevice(dw_min=0.01))
        >>> state = aj.tile.init(config, key, (3, 4))
        >>> finer = aj.config.replace(config, {"device.dw_min": 0.001})
        >>> state = aj.tile.redraw(finer, state, key)

    Args:
        config: The configuration from now on; device, numbers and converters may all be others.
        state: The tile.
        key: Source of all draws.
    """
    fresh = init(config, key, state.shape)
    scales = state.mapping_scales
    if scales is None or (fresh.mapping_scales is not None and scales.shape != fresh.mapping_scales.shape):
        room = fresh.mapping_scales
        scales = room if scales is None or room is None else jnp.broadcast_to(scales, room.shape)
    running = state.running_abs_max if fresh.running_abs_max is not None else None
    fresh = dataclasses.replace(
        fresh,
        mapping_scales=scales,
        running_abs_max=fresh.running_abs_max if running is None else running,
        input_range=state.input_range,
        input_range_count=state.input_range_count,
    )
    return _written(config, fresh, state.weights, random.derive(key, "redraw"))


@arguments.answered
@in_single
def set_weights(config: TileConfig, state: TileState, weights: Weights, key: Noise) -> TileState:
    """Write analog weights ``(out, in)``; they are clipped to the bounds of each crosspoint.

    With write noise the apparent weights are noisy, unless ``apply_write_noise_on_set`` is off.

    Raises:
        DataError: If the weights are no array of real numbers.
        ShapeError: If the weights do not have the tile's shape.
        NonFiniteError: If a weight is NaN or infinite.
        ConfigError: If the tile was drawn with another configuration.
    """
    weights = as_numbers("weights", weights)
    if jnp.shape(weights) != state.weights.shape:
        raise ShapeError(f"weights have shape {jnp.shape(weights)}: give {state.weights.shape}, (out, in) of the tile")
    require_finite("weights", weights)
    _, holds = fitting_device(config, state)
    return _written(config, state, jnp.asarray(weights, jnp.float32), key, holds)


def _written(
    config: TileConfig, state: TileState, weights: Weights, key: Noise, holds: Bool[Array, ""] | None = None
) -> TileState:
    stream = random.stream(key, config.noise_engine)
    device, apparent = working_device(config).set_weights(state.device, jnp.asarray(weights, jnp.float32), stream)
    new = dataclasses.replace(state, device=device, weights=spoiled(apparent, holds))
    return follow(config, state, new, key)


@arguments.answered
@in_single
def get_weights(
    config: TileConfig,
    state: TileState,
    *,
    realistic: bool = False,
    key: Noise | None = None,
    over_sampling: int = 10,
) -> Weights:
    """Return the apparent analog weights ``(out, in)``, exactly, or as they can be read through the converters.

    A realistic read multiplies Gaussian vectors, as evaluation does, and solves for the weights by least squares; it
    has the noise and the errors of the converters (spec: tile_ops, section 11).

    Example:
        >>> import jax
        >>> import aihwjax as aj
        >>> config = aj.SingleRPUConfig()
        >>> state = aj.tile.init(config, jax.random.key(0), (3, 4))
        >>> read = aj.tile.get_weights(config, state, realistic=True, key=1)
        >>> error = abs(read - aj.tile.get_weights(config, state))
        >>> bool(0 < error.max() < 0.2)
        True

    Args:
        config: The tile's configuration.
        state: The tile.
        realistic: Whether to read through the converters.
        key: Source of the noise of a realistic read.
        over_sampling: Vectors of a realistic read for each input.

    Raises:
        ConfigError: If there is no key for a realistic read, or ``over_sampling`` is no whole number of at least 1.
    """
    if not realistic:
        return state.weights
    return _read(config, state, required_key(key), over_sampling=checked_count("over_sampling", over_sampling))


def required_key(key: Noise | None) -> Noise:
    """Return the key of a realistic read.

    Raises:
        ConfigError: If there is none.
    """
    if key is None:
        raise ConfigError("key=None is not allowed with realistic=True: give one JAX key, such as jax.random.key(0)")
    return random.as_noise(key)


@partial(jax.jit, static_argnames="over_sampling")
def _read(config: TileConfig, state: TileState, key: Noise, *, over_sampling: int) -> Weights:
    return read_weights(
        lambda x, own: forward(config, state, x, own),
        state.shape[1],
        key,
        over_sampling=over_sampling,
        input_range=None if config.reference_quirks else state.input_range,
    )


@arguments.answered
@in_single
def set_hidden_update_index(config: TileConfig, state: TileState, index: Number) -> TileState:
    """Choose which device of a unit cell is in turn: the one that ``SINGLE_FIXED`` pulses and writes.

    Other devices ignore it, as in the reference (spec: compounds, section 3).

    Raises:
        ConfigError: If the cell has no such device, or the tile was drawn with another configuration.
    """
    device, _ = fitting_device(config, state)
    return dataclasses.replace(state, device=device.with_update_index(state.device, index))
