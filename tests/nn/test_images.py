"""Between convolutions: the order of axes, and pooling."""

from __future__ import annotations

from typing import Any

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
    with pytest.raises(ShapeError, match=r"ChannelsLast: x has shape \(3,\)"):
        nn.ChannelsLast()(jnp.ones(3))


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
    assert str(nn.ChannelsLast()) == "ChannelsLast()"
    assert str(nn.MaxPool((3, 3), 2, "SAME")) == "MaxPool((3, 3), strides=(2, 2), padding='SAME')"
