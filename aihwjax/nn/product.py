"""The differentiable product of a tile with its digital scales (spec: tile_ops, sections 4, 5 and 7).

Forward and backward products are the tile's own, with their noise and converters. The backward
rule also hands x and d to the update through the slot (see :mod:`aihwjax.nn.slots`).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple, NoReturn, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from aihwjax import random, tile
from aihwjax.derivatives import with_further_derivative
from aihwjax.errors import ModuleError
from aihwjax.nn.mapping import along
from aihwjax.nn.patches import Patches, all_rows, joined_rows, row_part
from aihwjax.nn.slots import Slot
from aihwjax.nn.stacks import TileNoise, each
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import averages
from aihwjax.tile.passes import own_backward
from aihwjax.tile.product.input_range import RangeSums, clipped_to, range_gradient, range_sums
from aihwjax.tile.state import TileState

# compiled once for each kind of tile and shape: fast outside of jit, and the two traces of a gradient share them
_forward_product = jax.jit(tile.forward_with_mask, static_argnames="training")
_backward_product = jax.jit(tile.backward, static_argnames="training")
_own_backward = jax.jit(own_backward, static_argnames=("training", "sloped"))


TileInput: TypeAlias = Float[Array, "*batch in"] | Patches
"""What a tile receives: vectors, or images that are seen as such."""


class _Saved(NamedTuple):
    config: TileConfig
    state: TileState
    input_range: Float[Array, "*stack"] | None
    x: TileInput
    slot: Slot | None  # only its structure is used
    key: TileNoise
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
        x = clipped_to(x, input_range)
        one = one if quirks else 1 / input_range
    if analog_bias:
        x = jnp.concatenate([x, jnp.full((*x.shape[:-1], 1), one, x.dtype)], axis=-1)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def tile_product(
    analog_bias: bool,
    count: int | None,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, "*stack"] | None,
    x: TileInput,
    slot: Slot | None,
    key: TileNoise,
) -> Float[Array, "*batch out"]:
    """Multiply by a tile, with input range and mapping scale; or by each of a stack.

    Args:
        analog_bias: Whether the last column of the tile is the bias.
        count: Number of tiles in the stack, the first axis of all that follows but the configuration; ``None``: one
            tile, without that axis.
        config: The tile's configuration.
        state: The tile.
        input_range: The input range, one number, or ``None``.
        x: Inputs ``(..., in)``, float32; or images, whose patches are made a part at a time.
        slot: Zeros that receive x and d, or ``None``. A product with a slot belongs to training: it reads
            the weights with the configured weight modifier.
        key: Source of the noise of both directions.

    Returns:
        Outputs ``(..., out)``, before the learned scale and the digital bias.
    """
    return _forward(analog_bias, count, config, state, input_range, x, slot, key)[0]


def _forward(
    analog_bias: bool,
    count: int | None,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, "*stack"] | None,
    x: TileInput,
    slot: Slot | None,
    key: TileNoise,
) -> tuple[Float[Array, "*batch out"], _Saved]:
    options = analog_bias, slot is not None

    def run(part: Int[Array, ""] | None, rows: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        return each(count, _forward_one, options, (config, part), (state, input_range, rows, key))

    parts = _parts(config, x)
    if isinstance(x, Patches) and parts > 1:
        several = lax.map(lambda part: run(part, x.part(part, parts).rows()), jnp.arange(parts))
        y, clipped = jax.tree.map(joined_rows, several)
    else:
        y, clipped = run(None, all_rows(x))
    return y, _Saved(config, state, input_range, x, slot, key, clipped)


def _parts(config: TileConfig, x: TileInput) -> int:
    """Return in how many parts images are unfolded."""
    # a running average goes from vector to vector
    return 1 if not isinstance(x, Patches) or averages(config.forward) or averages(config.backward) else x.parts


def _forward_one(
    analog_bias: bool,
    training: bool,
    config: TileConfig,
    part: Int[Array, ""] | None,
    state: TileState,
    input_range: Float[Array, ""] | None,
    x: Float[Array, "*batch in"],
    key: Noise,
) -> tuple[Float[Array, "*batch out"], Bool[Array, "*batch out"] | None]:
    key = key if part is None else random.derive(key, part)
    rows = tile_inputs(x, input_range, analog_bias, config.reference_quirks)
    y, clipped = _forward_product(config, state, rows, random.derive(key, "forward"), training=training)
    if input_range is not None:
        y = y * input_range
    if state.mapping_scales is not None:
        y = y * along(state.mapping_scales, y)
    return y, clipped


def _backward(
    analog_bias: bool, count: int | None, saved: _Saved, d: Float[Array, "*batch out"]
) -> tuple[None, None, Float[Array, "*stack"] | None, TileInput, Slot | None, None]:
    config, state, input_range, x, slot, key, clipped = saved
    options = analog_bias, slot is not None, slot is not None and slot.slope is not None

    def run(part: Int[Array, ""] | None, rows: jax.Array, clipped: jax.Array | None, d: jax.Array) -> Any:
        return each(count, _backward_one, options, (config, part), (state, input_range, rows, clipped, key, d))

    def one_part(part: Int[Array, ""]) -> tuple[Any, jax.Array, jax.Array | None]:
        assert isinstance(x, Patches)
        own = x.part(part, parts)
        masked = None if clipped is None else row_part(clipped, part, parts)
        totals, delta, read = run(part, own.rows(), masked, row_part(d, part, parts))
        return totals, own.fold(delta).images, read if averaged else None

    parts, averaged = _parts(config, x), slot is not None and slot.read is not None
    delta: TileInput
    if isinstance(x, Patches) and parts > 1:
        totals, images, read = lax.map(one_part, jnp.arange(parts))
        sums, weights_slope = jax.tree.map(lambda each: each.sum(axis=0), totals)
        delta = dataclasses.replace(x, images=images.reshape(x.images.shape))
        read = None if read is None else joined_rows(read)
    else:
        (sums, weights_slope), back, read = run(None, all_rows(x), clipped, d)
        delta = x.fold(back) if isinstance(x, Patches) else back
    slope = None
    if input_range is not None:
        size = x.length * x.width if isinstance(x, Patches) else x.size // (count or 1)
        parameter, outputs = config.pre_post.input_range, d.size // (count or 1)
        slope = range_gradient(parameter, input_range, sums, size, outputs, config.reference_quirks)
    if slot is not None:  # the update gets d before the mask (spec: tile_ops, section 5)
        slot = Slot(x, d, None if slot.read is None else read, weights_slope)
    return None, None, slope, delta, slot, None


def _backward_one(
    analog_bias: bool,
    training: bool,
    sloped: bool,
    config: TileConfig,
    part: Int[Array, ""] | None,
    state: TileState,
    input_range: Float[Array, ""] | None,
    x: Float[Array, "*batch in"],
    clipped: Bool[Array, "*batch out"] | None,
    key: Noise,
    d: Float[Array, "*batch out"],
) -> tuple[
    tuple[RangeSums | None, Float[Array, "out columns"] | None], Float[Array, "*batch in"], Float[Array, "*batch out"]
]:
    """Return sums over the batch, the gradient of x, and the vectors of the backward product.

    The sums are what the input range needs to know, and the gradient of the weights, if it is wanted.
    """
    key = key if part is None else random.derive(key, part)
    read = d if state.mapping_scales is None else d * along(state.mapping_scales, d)
    if clipped is not None:
        read = jnp.where(clipped, 0.0, read)
    slope = None
    if config.own_product is not None or config.differentiated:
        rows = tile_inputs(x, input_range, analog_bias, config.reference_quirks)
        own = config, state, rows, read, random.derive(key, "forward")
        delta, slope = _own_backward(*own, training=training, sloped=sloped)
    else:
        delta = _backward_product(config, state, read, random.derive(key, "backward"), training=training)
    if analog_bias:
        delta = delta[..., :-1]
    sums = None if input_range is None else range_sums(input_range, x, delta, clipped)
    if input_range is not None and config.torch_tile:  # others pass it straight through (spec: tile_ops, section 5)
        delta = jnp.where(jnp.abs(x) > input_range, 0.0, delta)
    if slope is not None:
        slope = one_weight(config, state, input_range, slope)
    return (sums, slope), delta, read


def one_weight(
    config: TileConfig, state: TileState, input_range: Float[Array, ""] | None, slope: Float[Array, "out columns"]
) -> Float[Array, "out columns"]:
    """Return the gradient of the weights that an optimizer sees, given that of the tile's.

    Args:
        config: The tile's configuration.
        state: The tile.
        input_range: The input range, one number, or ``None``.
        slope: Gradient of the weights on the tile, of outputs before range and after mapping scale.
    """
    if input_range is not None and not config.reference_quirks:
        slope = slope * input_range
    if state.mapping_scales is None:
        return slope
    scales = state.mapping_scales[:, None]
    return slope / (scales * scales if config.reference_quirks else scales)


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


def plain_product(
    analog_bias: bool,
    count: int | None,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, "*stack"] | None,
    x: TileInput,
    key: TileNoise,
) -> Float[Array, "*batch out"]:
    """Return the outputs of :func:`tile_product`, whose derivatives are all those of ``aihwjax.tile.forward``."""
    return _forward(analog_bias, count, config, state, input_range, x, None, key)[0]


def with_own_derivative(
    y: Float[Array, "*batch out"],
    analog_bias: bool,
    count: int | None,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, "*stack"] | None,
    x: TileInput,
    key: TileNoise,
) -> Float[Array, "*batch out"]:
    """Return the outputs ``y`` of :func:`tile_product`, for those who differentiate with respect to the tile itself.

    Its numbers and weights get the derivative of ``aihwjax.tile.forward``; inputs keep that of the product.
    """

    def of(tile: Any, fixed: Any) -> Float[Array, "*batch out"]:
        return plain_product(analog_bias, count, *tile, *fixed)

    return with_further_derivative(y, of, (config, state), (input_range, x, key))
