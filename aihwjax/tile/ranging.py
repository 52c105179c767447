"""The input range of a tile by itself: setting it, and learning it step by step (spec: tile_ops, section 7)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aihwjax import arguments, random
from aihwjax.errors import ConfigError, ShapeError
from aihwjax.precision import in_single
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, check_learning_rate, one_number, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.passes import backward, forward_with_mask, own_backward
from aihwjax.tile.product.input_range import adapted, check_input_range, clipped_to, range_gradient, range_sums
from aihwjax.tile.state import TileState
from aihwjax.typing import Number


@arguments.answered
@in_single
def set_input_range(config: TileConfig, state: TileState, value: Number) -> TileState:
    """Set the input range of a tile; its products and updates apply it from now on.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import aihwjax as aj
        >>> config = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True))
        >>> state = aj.tile.init(config, jax.random.key(0), (1, 1))
        >>> state = aj.tile.set_weights(config, state, jnp.ones((1, 1)), jax.random.key(1))
        >>> state = aj.tile.set_input_range(config, state, 2.0)
        >>> aj.tile.forward(config, state, jnp.array([[1.0], [3.0]]), jax.random.key(2)).tolist()
        [[1.0], [2.0]]

    Args:
        config: The tile's configuration.
        state: The tile.
        value: The range, in units of the input; its magnitude counts. It may be traced.

    Raises:
        ConfigError: If it is not one finite number other than 0.
    """
    count = state.input_range_count
    return dataclasses.replace(
        state,
        input_range=jnp.abs(jnp.asarray(checked_range("value", value), jnp.float32)),
        input_range_count=jnp.zeros((), jnp.int32) if count is None else count,
    )


def checked_range(name: str, value: object) -> Number:
    """Return an input range as one number; a traced one is judged by its type and shape.

    Args:
        name: What the message calls it.
        value: The range; a negative one stands for its magnitude.

    Raises:
        ConfigError: If it is not one finite number other than 0.
    """
    number = one_number(name, value)
    if not isinstance(number, jax.core.Tracer):
        known = float(np.asarray(number))
        if known == 0 or not np.isfinite(known):
            raise ConfigError(f"{name}={known:g} is not allowed as an input range: give a finite number other than 0")
    return number


@arguments.answered
@in_single
def input_range_step(
    config: TileConfig,
    state: TileState,
    x: Float[Array, "*batch in"],
    d: Float[Array, "*batch out"],
    learning_rate: Number,
    key: Noise,
) -> TileState:
    """Take one step of training of the input range alone: initialisation from data, then gradient descent.

    A tile without a range starts at ``pre_post.input_range.init_value``. The first ``init_from_data`` batches move it
    towards ``init_std_alpha`` standard deviations of the input; a learned range takes the step of its gradient as
    well, whose rules are those of the layers (spec: tile_ops, section 7).

    Args:
        config: The tile's configuration, with ``pre_post.input_range.enable``.
        state: The tile.
        x: Inputs ``(..., in)``.
        d: Gradients of the loss with respect to the outputs ``(..., out)``.
        learning_rate: One finite number of at least 0.
        key: Source of the noise of both products.

    Raises:
        ConfigError: If the configuration has no input range, or asks for one that manages output clipping where the
            product does; or if the learning rate or the key is not allowed.
        DataError: If x or d is no array of real numbers.
        ShapeError: If x and d do not fit the tile or each other.
        NonFiniteError: If x or d has NaN or infinity (not checked inside a traced function).
    """
    parameter = config.pre_post.input_range
    if not parameter.enable:
        raise ConfigError(
            "pre_post.input_range.enable=False is not allowed for a step of the input range: give a configuration with "
            "aj.PrePostProcessingParameter(input_range=aj.InputRangeParameter(enable=True))"
        )
    check_input_range(parameter, config.forward)
    learning_rate, key = check_learning_rate(learning_rate), random.as_noise(key)
    x, d = as_numbers("x", x), as_numbers("d", d)
    out_size, in_size = state.shape
    if jnp.ndim(x) < 1 or jnp.shape(x)[-1] != in_size:
        raise ShapeError(f"x has shape {jnp.shape(x)}: give (..., {in_size}), the tile's number of inputs")
    if jnp.shape(d) != (*jnp.shape(x)[:-1], out_size):
        expected = (*jnp.shape(x)[:-1], out_size)
        raise ShapeError(f"d has shape {jnp.shape(d)}: give {expected}, one gradient for each vector of x")
    require_finite("x", x)
    require_finite("d", d)
    x, d = jnp.asarray(x, jnp.float32), jnp.asarray(d, jnp.float32)
    if x.size == 0:
        return state
    old = jnp.asarray(parameter.init_value, jnp.float32) if state.input_range is None else state.input_range
    count = jnp.zeros((), jnp.int32) if state.input_range_count is None else state.input_range_count
    value, count = adapted(parameter, old, count, x)
    state = dataclasses.replace(state, input_range=value, input_range_count=count)
    if not parameter.learn_input_range:
        return state
    forward_key = random.derive(key, "forward")
    _, clipped = forward_with_mask(config, state, x, forward_key, training=True)
    read = d if clipped is None else jnp.where(clipped, 0.0, d)
    if config.own_product is not None or config.differentiated:
        # that of the inputs behind the clip: whether one lies outside is counted apart
        inside, bare = clipped_to(x, value, straight_through=True), dataclasses.replace(state, input_range=None)
        delta, _ = own_backward(config, bare, inside, read, forward_key, training=True)
    else:
        delta = backward(config, state, read, random.derive(key, "backward"), training=True)
    sums = range_sums(value, x, delta, clipped)
    slope = range_gradient(parameter, value, sums, x.size, d.size, config.reference_quirks)
    return dataclasses.replace(state, input_range=value - learning_rate * slope)
