"""Forward and backward product of a tile: the shape handling around the analog product."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from aihwjax import arguments, random
from aihwjax.derivatives import passed_through
from aihwjax.errors import ConfigError, ShapeError
from aihwjax.precision import in_single
from aihwjax.random import Noise
from aihwjax.tile import own
from aihwjax.tile.checks import as_numbers, require_finite
from aihwjax.tile.columns import columns
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import check_average
from aihwjax.tile.product import mvm
from aihwjax.tile.product.input_range import clipped_to
from aihwjax.tile.product.io import NoiseManagementType
from aihwjax.tile.state import TileState
from aihwjax.tile.upkeep.modifier import modified
from aihwjax.typing import Weights


def _rows(array: jax.Array, size: int, name: str, what: str) -> jax.Array:
    array = as_numbers(name, array)
    if jnp.ndim(array) < 1 or jnp.shape(array)[-1] != size:
        raise ShapeError(f"{name} has shape {jnp.shape(array)}: give (..., {size}), the tile's number of {what}")
    require_finite(name, array)
    return jnp.reshape(jnp.asarray(array, jnp.float32), (-1, size))


def _slot(config: TileConfig, backward: bool) -> int:
    """Index of the running noise-management value; the reference shares one (spec: forward, bug 5)."""
    return 1 if backward and not config.reference_quirks else 0


def _running(config: TileConfig, state: TileState, backward: bool) -> jax.Array | None:
    name = "backward" if backward else "forward"
    check_average(config.backward if backward else config.forward, state.running_abs_max, name)
    return None if state.running_abs_max is None else state.running_abs_max[_slot(config, backward)]


def _read_weights(config: TileConfig, state: TileState, training: bool, key: Noise | None = None) -> jax.Array:
    """Return the weights that a product reads: in training the modified copy, if there is one.

    On the reference's torch tile each product of training has a copy of its own, drawn with its ``key``, whose
    derivative is that of the weights.
    """
    if config.differentiated and training and key is not None and config.modifier.acts():
        stream = random.stream(random.derive(key, "modifier"), config.noise_engine)
        copy = modified(config.modifier, state.weights, stream, torch_tile=True, quirks=config.reference_quirks)
        return passed_through(state.weights, copy)
    if state.modified is not None and config.modifier.acts() and (training or config.modifier.enable_during_test):
        return state.modified
    return state.weights


def _within_range(config: TileConfig, state: TileState, x: Float[Array, "*batch in"]) -> Float[Array, "*batch in"]:
    """Return inputs as they reach the converters: clipped to the input range and divided by it, if the tile has one."""
    if state.input_range is None:
        return x
    # the derivative passes a clip, but not on the reference's torch tile (spec: tile_ops, section 5)
    return clipped_to(x, state.input_range, straight_through=not config.torch_tile)


@arguments.answered
@in_single
def forward_with_mask(
    config: TileConfig, state: TileState, x: Float[Array, "*batch in"], key: Noise, *, training: bool = False
) -> tuple[Float[Array, "*batch out"], Bool[Array, "*batch out"] | None]:
    """Like :func:`forward`, and also return which outputs were clipped, ``(..., out)`` bool.

    The gradient of a clipped output does not pass backward. ``None`` if no output can be clipped.
    """
    out_size, in_size = state.shape
    rows = _within_range(config, state, _rows(x, in_size, "x", "inputs"))
    if config.own_product is not None:
        y = own.product(config, _read_weights(config, state, training), rows, key)
        y = y if state.input_range is None else y * state.input_range
        return y.reshape((*np.shape(x)[:-1], out_size)), None
    y, clipped = mvm.analog_product(
        config.forward,
        state.forward,
        _read_weights(config, state, training, key),
        rows,
        random.stream(key, config.noise_engine),
        bound_managed=True,
        running=_running(config, state, backward=False),
        quirks=config.reference_quirks,
        torch_tile=config.torch_tile,
        want_mask=True,
        columns=columns(config, training),
    )
    shape = (*np.shape(x)[:-1], out_size)
    y = y if state.input_range is None else y * state.input_range
    return y.reshape(shape), None if clipped is None else clipped.reshape(shape)


@arguments.answered
@in_single
def forward(
    config: TileConfig, state: TileState, x: Float[Array, "*batch in"], key: Noise, *, training: bool = False
) -> Float[Array, "*batch out"]:
    """Multiply inputs by the weights as the analog tile does.

    Derivatives pass straight through converters and bound management and are 0 where an output is clipped
    (docs: gradients and tools). With an input range r in the state, inputs are clipped to it and divided by it, and
    outputs are multiplied by it.

    Args:
        config: The tile's configuration.
        state: The tile.
        x: Inputs ``(..., in)``; every vector is managed by itself.
        key: Source of the noise.
        training: Whether to read the weights as training does, with the configured weight modifier.

    Returns:
        Outputs ``(..., out)``.

    Raises:
        DataError: If ``x`` is no array of real numbers.
        ShapeError: If the last axis of ``x`` is not the tile's input size.
        NonFiniteError: If ``x`` has NaN or infinity (not checked inside a traced function).
    """
    return forward_with_mask(config, state, x, key, training=training)[0]


@arguments.answered
@in_single
def backward(
    config: TileConfig, state: TileState, d: Float[Array, "*batch out"], key: Noise, *, training: bool = True
) -> Float[Array, "*batch in"]:
    """Multiply output gradients by the transposed weights; there is no bound management.

    Args:
        config: The tile's configuration.
        state: The tile.
        d: Gradients ``(..., out)``.
        key: Source of the noise.
        training: Whether to read the weights as training does, with the configured weight modifier. The
            reference always does, also after a forward product of evaluation (spec: tile_ops, trap 6).

    Returns:
        Input gradients ``(..., in)``.

    Raises:
        DataError: If ``d`` is no array of real numbers.
        ShapeError: If the last axis of ``d`` is not the tile's output size.
        NonFiniteError: If ``d`` has NaN or infinity (not checked inside a traced function).
        ConfigError: If the product is the user's own, whose derivative needs the inputs.
    """
    out_size, in_size = state.shape
    if config.own_product is not None:
        raise ConfigError(
            "a tile with own_product has no backward product of d alone: take the derivative of aihwjax.tile.forward"
        )
    rows = _rows(d, out_size, "d", "outputs")
    g, _ = mvm.analog_product(
        config.backward,
        state.backward,
        _read_weights(config, state, training or config.reference_quirks).T,
        rows,
        random.stream(key, config.noise_engine),
        bound_managed=False,
        running=_running(config, state, backward=True),
        quirks=config.reference_quirks,
        torch_tile=config.torch_tile,
        transposed=True,
    )
    return g.reshape((*np.shape(d)[:-1], in_size))


@in_single
def own_backward(
    config: TileConfig,
    state: TileState,
    x: Float[Array, "*batch in"],
    d: Float[Array, "*batch out"],
    key: Noise,
    *,
    training: bool = True,
    sloped: bool = False,
) -> tuple[Float[Array, "*batch in"], Weights | None]:
    """Return the gradients of a forward product itself: of its inputs, and of the weights that it read.

    Args:
        config: The tile's configuration.
        state: The tile.
        x: Inputs of the forward product ``(..., in)``.
        d: Gradients ``(..., out)``.
        key: Source of the noise of the forward product.
        training: As there.
        sloped: Whether the gradient of the weights is wanted; ``None`` without.
    """

    def of(x: Float[Array, "*batch in"], change: Weights | None) -> Float[Array, "*batch out"]:
        own = state if change is None else _with_change(state, change)
        return forward(config, own, x, key, training=training)

    change = jnp.zeros_like(state.weights) if sloped else None
    gradient, slope = jax.vjp(of, x, change)[1](d)
    return gradient, slope


def _with_change(state: TileState, change: Weights) -> TileState:
    modified = None if state.modified is None else state.modified + change
    return dataclasses.replace(state, weights=state.weights + change, modified=modified)


@arguments.answered
@in_single
def observe(config: TileConfig, state: TileState, x: Float[Array, "*batch size"], backward: bool = False) -> TileState:
    """Advance the running noise-management value by the vectors ``x``; a no-op unless ``AVERAGE_ABS_MAX``.

    Args:
        config: The tile's configuration.
        state: The tile.
        x: The vectors of a product, ``(..., in)``, or ``(..., out)`` with ``backward``.
        backward: Whether they were those of a backward product.

    Raises:
        DataError: If ``x`` is no array of real numbers.
    """
    x = as_numbers("x", x)
    io = config.backward if backward else config.forward
    if state.running_abs_max is None or io.is_perfect or io.noise_management is not NoiseManagementType.AVERAGE_ABS_MAX:
        return state
    slot = _slot(config, backward)
    rows = jnp.reshape(x, (-1, jnp.shape(x)[-1]))
    rows = rows if backward else _within_range(config, state, rows)
    value = mvm.advance_running(state.running_abs_max[slot], rows)
    return dataclasses.replace(state, running_abs_max=state.running_abs_max.at[slot].set(value))
