"""Between convolutions: the order of axes, and pooling."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn
from aihwjax.errors import ConfigError, DataError, ShapeError
from tests.nn.models import inputs


def test_channels_go_last() -> None:
    x = inputs(2, 3, 4, 5)
    np.testing.assert_array_equal(nn.ChannelsLast()(x), jnp.moveaxis(x, 1, -1))
    np.testing.assert_array_equal(nn.ChannelsFirst()(nn.ChannelsLast()(x)), x)
    for layer in (nn.ChannelsLast(), nn.ChannelsFirst()):
        with pytest.raises(ShapeError, match=rf"{type(layer).__name__}: x has shape \(3,\)"):
            layer(jnp.ones(3))


def test_examples_get_another_shape() -> None:
    x = jnp.arange(24.0).reshape(2, 1, 3, 4)
    np.testing.assert_array_equal(nn.Reshape((4, 3))(x), x.reshape(2, 4, 3))
    assert nn.Reshape(12)(x).shape == (2, 12) and str(nn.Reshape((4, 3))) == "Reshape((4, 3))"
    for bad in (x[:, :, :2], jnp.ones(()), jnp.ones((2, 0))):
        with pytest.raises(ShapeError, match=r"Reshape: x has shape \(.*\): give \(n, ...\) with 12 numbers each"):
            nn.Reshape((4, 3))(bad)
    for shape in (0, (), (3, -1), 1.5, "12"):
        with pytest.raises(ConfigError, match="shape=.* is not allowed: give a whole number of at least 1"):
            nn.Reshape(shape)


@pytest.mark.parametrize(
    "fields",
    [{}, {"window_shape": (3, 2), "strides": (1, 2)}, {"strides": 1, "padding": "SAME"}, {"padding": ((1, 1), (0, 1))}],
)
def test_pooling_is_that_of_flax(fields: dict[str, Any]) -> None:
    x = inputs(2, 7, 8, 3)
    shape = fields.get("window_shape", (2, 2))
    strides = fields.get("strides", shape)
    strides = (strides, strides) if isinstance(strides, int) else strides
    padding = fields.get("padding", "VALID")
    np.testing.assert_array_equal(nn.MaxPool(**fields)(x), nnx.max_pool(x, shape, strides, padding))
    np.testing.assert_array_equal(nn.AvgPool(**fields)(x), nnx.avg_pool(x, shape, strides, padding))


@pytest.mark.parametrize("window", [(2, 2), (3, 2), (5, 5)])
def test_windows_beside_each_other_have_the_derivative_of_flax(window: tuple[int, int]) -> None:
    """Of equal numbers the first gets all, what no window sees gets nothing, and NaN stays NaN."""
    x = jnp.round(2 * inputs(2, 7, 9, 3)) / 2  # many are equal
    ours, pull = jax.vjp(nn.MaxPool(window), x)
    flax, pull_of_flax = jax.vjp(lambda x: nnx.max_pool(x, window, window), x)
    np.testing.assert_array_equal(ours, flax)
    d = inputs(*ours.shape)
    np.testing.assert_array_equal(pull(d)[0], pull_of_flax(d)[0])
    spoiled = x.at[0, 1, 1, 2].set(jnp.nan)
    there = jnp.isnan(nnx.max_pool(spoiled, window, window))
    np.testing.assert_array_equal(jnp.isnan(nn.MaxPool(window)(spoiled)), there)
    few = jnp.ones((1, 1, 1, 3))
    assert nn.MaxPool(window)(few).shape == nnx.max_pool(few, window, window).shape
    whole = jnp.arange(16).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(nn.MaxPool()(whole)[0, :, :, 0], [[5, 7], [13, 15]])


def test_mistakes_are_one_line() -> None:
    for fields, text in (
        ({"window_shape": 0}, "window_shape=0"),
        ({"strides": (1, 2, 3)}, r"strides=\(1, 2, 3\)"),
        ({"padding": "REFLECT"}, "padding='REFLECT' is not known: give one of SAME, VALID"),
    ):
        with pytest.raises(ConfigError, match=text):
            nn.MaxPool(**fields)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"AvgPool: x has shape \(4, 3\): give \(\.\.\., size, size, channels\)"):
        nn.AvgPool()(jnp.ones((4, 3)))
    with pytest.raises(DataError, match="MaxPool: x"):
        nn.MaxPool()(np.array([[["a"]]]))  # type: ignore[arg-type]


def test_a_layer_says_what_it_is() -> None:
    assert str(nn.ChannelsLast()) == "ChannelsLast()" and str(nn.ChannelsFirst()) == "ChannelsFirst()"
    assert str(nn.MaxPool((3, 3), 2, "SAME")) == "MaxPool((3, 3), strides=(2, 2), padding='SAME')"
