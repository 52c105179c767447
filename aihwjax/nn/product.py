"""The differentiable product of a tile with its digital scales (spec: tile_ops, sections 4, 5 and 7).

Forward and backward products are the tile's own, with their noise and converters. The backward
rule also hands x and d to the update through the slot (see :mod:`aihwjax.nn.slots`).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from aihwjax import random, tile
from aihwjax.derivatives import with_further_derivative
from aihwjax.errors import ModuleError
from aihwjax.nn.mapping import along
from aihwjax.nn.slots import Slot
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig
from aihwjax.tile.passes import own_backward
from aihwjax.tile.state import TileState

# compiled once for each kind of tile and shape: fast outside of jit, and the two traces of a gradient share them
_forward_product = jax.jit(tile.forward_with_mask, static_argnames="training")
_backward_product = jax.jit(tile.backward, static_argnames="training")
_own_backward = jax.jit(own_backward, static_argnames="training")


class _Saved(NamedTuple):
    config: TileConfig
    state: TileState
    input_range: Float[Array, ""] | None
    x: Float[Array, "*batch in"]
    slot: Slot | None  # only its structure is used
    key: Noise
    clipped: Bool[Array, "*batch out"] | None


def tile_inputs(
    x: Float[Array, "*batch in"], input_range: Float[Array, ""] | None, analog_bias: bool, quirks: bool
) -> Float[Array, "*batch columns"]:
    """Return what the converter of a tile receives.

    Inputs are clipped to the input range and divided by it; an analog bias appends the constant
    input. That constant is divided by the range as well, so that the bias stays what it is; the
    reference feeds 1 (spec: tile_ops, bug 6).

    Args:
        x: Inputs ``(..., in)``.
        input_range: The range, one number, or ``None``.
        analog_bias: Whether the last column of the tile is the bias.
        quirks: Whether to do as the reference does.
    """
    one: jax.Array | float = 1.0
    if input_range is not None:
        x = jnp.clip(x, -input_range, input_range) / input_range
        one = one if quirks else 1 / input_range
    if analog_bias:
        x = jnp.concatenate([x, jnp.full((*x.shape[:-1], 1), one, x.dtype)], axis=-1)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def tile_product(
    analog_bias: bool,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, ""] | None,
    x: Float[Array, "*batch in"],
    slot: Slot | None,
    key: Noise,
) -> Float[Array, "*batch out"]:
    """Multiply by a tile, with input range and mapping scale.

    Args:
        analog_bias: Whether the last column of the tile is the bias.
        config: The tile's configuration.
        state: The tile.
        input_range: The input range, one number, or ``None``.
        x: Inputs ``(..., in)``, float32.
        slot: Zeros that receive x and d, or ``None``. A product with a slot belongs to training: it reads
            the weights with the configured weight modifier.
        key: Source of the noise of both directions.

    Returns:
        Outputs ``(..., out)``, before the learned scale and the digital bias.
    """
    return _forward(analog_bias, config, state, input_range, x, slot, key)[0]


def _forward(
    analog_bias: bool,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, ""] | None,
    x: Float[Array, "*batch in"],
    slot: Slot | None,
    key: Noise,
) -> tuple[Float[Array, "*batch out"], _Saved]:
    rows = tile_inputs(x, input_range, analog_bias, config.reference_quirks)
    y, clipped = _forward_product(config, state, rows, random.derive(key, "forward"), training=slot is not None)
    if input_range is not None:
        y = y * input_range
    if state.mapping_scales is not None:
        y = y * along(state.mapping_scales, y)
    return y, _Saved(config, state, input_range, x, slot, key, clipped)


def _backward(
    analog_bias: bool, saved: _Saved, d: Float[Array, "*batch out"]
) -> tuple[None, None, Float[Array, ""] | None, Float[Array, "*batch in"], Slot | None, None]:
    config, state, input_range, x, slot, key, clipped = saved
    read = d if state.mapping_scales is None else d * along(state.mapping_scales, d)
    if clipped is not None:
        read = jnp.where(clipped, 0.0, read)
    if config.own_product is not None:
        rows = tile_inputs(x, input_range, analog_bias, config.reference_quirks)
        delta = _own_backward(config, state, rows, read, random.derive(key, "forward"), training=slot is not None)
    else:
        delta = _backward_product(config, state, read, random.derive(key, "backward"), training=slot is not None)
    if analog_bias:
        delta = delta[..., :-1]
    slope = None if input_range is None else range_gradient(config, input_range, x, delta, clipped)
    if input_range is not None and config.torch_tile:  # others pass it straight through (spec: tile_ops, section 5)
        delta = jnp.where(jnp.abs(x) > input_range, 0.0, delta)
    if slot is not None:  # the update gets d before the mask (spec: tile_ops, section 5)
        slot = Slot(x, d, None if slot.read is None else read)
    return None, None, slope, delta, slot, None


tile_product.defvjp(_forward, _backward)


def refuse_forward_mode() -> NoReturn:
    """Say that a layer has no derivative in forward mode.

    Raises:
        ModuleError: Always.
    """
    raise ModuleError(
        "a layer has derivatives in reverse mode only (jax.grad, jax.vjp, jax.jacrev), since its backward product is "
        "the analog one; for those in forward mode (jax.jvp, jax.jacfwd, jax.linearize) call aihwjax.tile.forward"
    )


def with_own_derivative(
    y: Float[Array, "*batch out"],
    analog_bias: bool,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, ""] | None,
    x: Float[Array, "*batch in"],
    key: Noise,
) -> Float[Array, "*batch out"]:
    """Return the outputs ``y`` of :func:`tile_product`, for those who differentiate with respect to the tile itself.

    Its numbers and weights get the derivative of ``aihwjax.tile.forward``; inputs keep that of the product.
    """

    def of(tile: Any, fixed: Any) -> Float[Array, "*batch out"]:
        config, state = tile
        input_range, x, key = fixed
        return _forward(analog_bias, config, state, input_range, x, None, key)[0]

    return with_further_derivative(y, of, (config, state), (input_range, x, key))


def range_gradient(
    config: TileConfig,
    input_range: Float[Array, ""],
    x: Float[Array, "*batch in"],
    delta: Float[Array, "*batch in"],
    clipped: Bool[Array, "*batch out"] | None,
) -> Float[Array, ""]:
    """Return the gradient of the input range (spec: tile_ops, section 7).

    Clipped inputs that want to grow enlarge the range, clipped outputs and the decay shrink it.

    Args:
        config: The tile's configuration.
        input_range: The range r, one number.
        x: Inputs ``(..., in)``.
        delta: Gradient with respect to the inputs ``(..., in)``.
        clipped: Which outputs were clipped ``(..., out)``, or ``None``.
    """
    parameter = config.pre_post.input_range
    above, below = x >= input_range, x <= -input_range
    slope = jnp.where(above, jnp.minimum(delta, 0.0), 0.0).sum() - jnp.where(below, jnp.maximum(delta, 0.0), 0.0).sum()
    if parameter.gradient_relative:
        slope = slope * input_range * parameter.gradient_scale
    if parameter.manage_output_clipping and clipped is not None:
        # spec: tile_ops, bug 4: the reference divides by the number of inputs
        total = x.size if config.reference_quirks else clipped.size
        free = 1 - clipped.sum() / total
        slope = slope - jnp.where(free < parameter.output_min_percentage, (1 - free) * input_range, 0.0)
    inside = (jnp.abs(x) < input_range).mean()
    idle = inside > parameter.input_min_percentage
    return slope + jnp.where(idle, parameter.decay * input_range, 0.0)
