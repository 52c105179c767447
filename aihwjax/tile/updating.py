"""The update of a tile: from x, d and a learning rate to new weights (spec: update)."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax import arguments, random
from aihwjax.config import LARGEST
from aihwjax.derivatives import on_derivative
from aihwjax.errors import ModuleError, ShapeError
from aihwjax.precision import in_single
from aihwjax.pulses import UpdateMode
from aihwjax.random import Noise
from aihwjax.tile import own
from aihwjax.tile.checks import as_numbers, check_learning_rate, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import fitting_device, spoiled
from aihwjax.tile.modified_copy import follow
from aihwjax.tile.product.input_range import clipped_to
from aihwjax.tile.pulsed_update import pulsing
from aihwjax.tile.state import TileState
from aihwjax.typing import Number


@arguments.answered
@in_single
def update(
    config: TileConfig,
    state: TileState,
    x: Float[Array, "*batch in"],
    d: Float[Array, "*batch out"],
    learning_rate: Number,
    key: Noise,
) -> TileState:
    """Update the weights by ``-learning_rate * d x`` on average, as the device does it.

    Args:
        config: The tile's configuration.
        state: The tile.
        x: Inputs ``(n, in)``; leading axes are flattened, vectors act in order.
        d: Gradients of the loss with respect to the outputs, ``(n, out)``.
        learning_rate: One finite number of at least 0; 0 changes nothing. If a traced one is none, or a traced x or d
            is not finite, the first weight becomes NaN, which no loss survives unseen.
        key: Source of pulses and noise.

    Raises:
        DataError: If x or d is no array of real numbers.
        ShapeError: If x and d do not fit the tile or each other.
        ConfigError: If the learning rate is negative, not finite, or not one number, the key is none, or the tile was
            drawn with another configuration.
        NonFiniteError: If x or d has NaN or infinity (not checked inside a traced function).
        ModuleError: If a derivative is taken through the pulses; exact updates have one, and all with
            ``update_mode=UpdateMode.DIFFERENTIABLE``.
    """
    out_size, in_size = state.shape
    learning_rate = check_learning_rate(learning_rate)
    key = random.as_noise(key)
    x, d = as_numbers("x", x), as_numbers("d", d)
    if jnp.ndim(x) < 1 or jnp.shape(x)[-1] != in_size:
        raise ShapeError(f"x has shape {jnp.shape(x)}: give (n, {in_size}), the tile's number of inputs")
    if jnp.ndim(d) < 1 or jnp.shape(d) != (*jnp.shape(x)[:-1], out_size):
        expected = (*jnp.shape(x)[:-1], out_size)
        raise ShapeError(f"d has shape {jnp.shape(d)}: give {expected}, one gradient for each vector of x")
    device, holds = fitting_device(config, state)
    require_finite("x", x)
    require_finite("d", d)
    holds = _sound(learning_rate, x, d, holds)
    x = jnp.reshape(jnp.asarray(x, jnp.float32), (-1, in_size))
    d = jnp.reshape(jnp.asarray(d, jnp.float32), (-1, out_size))
    if x.shape[0] == 0:
        return state
    if state.input_range is not None:
        x = clipped_to(x, state.input_range)
        # spec: update, bug 4: the reference leaves the range out
        d = d if config.reference_quirks else d * state.input_range
    if not config.exact and config.update_mode is not UpdateMode.DIFFERENTIABLE:
        moving = (state, x, d, learning_rate)
        state, x, d, learning_rate = on_derivative(moving, (config, *moving), _refuse)
    if config.own_update is not None:
        weights = spoiled(own.update(config, state.weights, x, d, learning_rate, key), holds)
        return follow(config, state, dataclasses.replace(state, weights=weights), key)
    stream = random.stream(key, config.noise_engine)
    parts, weights = pulsing.update(
        device,
        state.device,
        state.weights,
        x,
        d,
        learning_rate,
        config.update,
        config.update_mode,
        stream,
    )
    return follow(config, state, dataclasses.replace(state, device=parts, weights=spoiled(weights, holds)), key)


def _sound(learning_rate: Number, x: jax.Array, d: jax.Array, holds: jax.Array | None) -> jax.Array | None:
    """Return whether what is traced is allowed, and ``holds``; ``None`` where nothing is traced.

    A compiled program cannot raise an error; pulses would stop without a word, or exact weights go uphill.
    """
    found = [] if holds is None else [holds]
    if isinstance(learning_rate, jax.core.Tracer):
        found.append(jnp.all((learning_rate >= 0) & (learning_rate <= LARGEST)))
    found += [jnp.all(jnp.isfinite(values)) for values in (x, d) if isinstance(values, jax.core.Tracer)]
    return functools.reduce(jnp.logical_and, found) if found else None


def _refuse() -> None:
    raise ModuleError(
        "aihwjax.tile.update has no derivative, because pulses are counted: differentiate aihwjax.tile.forward and "
        "give the update its x and d, keep it out of the gradient by jax.lax.stop_gradient on its arguments, or take "
        "update_mode=UpdateMode.DIFFERENTIABLE, which goes straight through the pulses"
    )
