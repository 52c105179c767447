"""A product or an update of the user's own in place of the tile's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax import random, showing
from aihwjax.errors import DataError, ShapeError
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Number, Weights


def product(config: TileConfig, weights: Weights, x: Float[Array, "n in"], key: Noise) -> Float[Array, "n out"]:
    """Return what ``own_product`` makes of inputs.

    Args:
        config: The tile's configuration, which has one.
        weights: The weights that the product reads ``(out, in)``.
        x: Inputs ``(n, in)``.
        key: Source of the noise.

    Raises:
        ShapeError: If the result has another shape than ``(n, out)``.
        DataError: If it is no array of floating-point numbers.
    """
    assert config.own_product is not None
    y = config.own_product(config, weights, x, random.plain(key))
    return _checked("own_product", config.own_product, y, (x.shape[0], weights.shape[0]))


def update(
    config: TileConfig,
    weights: Weights,
    x: Float[Array, "n in"],
    d: Float[Array, "n out"],
    learning_rate: Number,
    key: Noise,
) -> Weights:
    """Return the weights after ``own_update``.

    Args:
        config: The tile's configuration, which has one.
        weights: The weights ``(out, in)``.
        x: Inputs ``(n, in)``.
        d: Gradients ``(n, out)``.
        learning_rate: One number.
        key: Source of all noise.

    Raises:
        ShapeError: If the result has another shape than the weights.
        DataError: If it is no array of floating-point numbers.
    """
    assert config.own_update is not None
    rate = jnp.asarray(learning_rate, jnp.float32)
    new = config.own_update(config, weights, x, d, rate, random.plain(key))
    return _checked("own_update", config.own_update, new, weights.shape)


def _checked(field: str, function: Any, value: Any, shape: tuple[int, ...]) -> jax.Array:
    said = f"{field}={showing.function_name(function)} returned"
    kind = getattr(value, "dtype", None)
    if kind is None or not jnp.issubdtype(kind, jnp.floating):
        text = type(value).__name__ if kind is None else f"an array of type {kind}"
        raise DataError(f"{said} {text}: give one of floating-point numbers")
    if jnp.shape(value) != shape:
        raise ShapeError(f"{said} shape {jnp.shape(value)}: give {shape}")
    return jnp.asarray(value, jnp.float32)
