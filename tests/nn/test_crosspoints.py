"""What a layer knows of its crosspoints is that of its tiles, side by side."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn

KEY = jax.random.key(5)


def split(**fields: object) -> nn.AnalogLinear:
    """A layer of 3 x 5 on two tiles of 3 x 3 and 3 x 2."""
    device = aj.ConstantStepDevice(dw_min=0.01, **fields)
    config = aj.SingleRPUConfig(device=device, mapping=aj.MappingParameter(max_input_size=3))
    return nn.AnalogLinear(5, 3, config=config, rngs=nnx.Rngs(0))


def test_pulses_of_a_layer_on_several_tiles() -> None:
    layer = split(count_pulses=True)
    x, d = jnp.ones((4, 3)), -jnp.ones((4, 3))
    layer.tiles[0].update(x, d, 0.1, KEY)
    counts = layer.pulse_counts()
    assert counts.up.shape == counts.down.shape == (3, 5)
    assert (counts.up[:, :3] > 0).all()
    assert not counts.up[:, 3:].any()
    np.testing.assert_array_equal(counts.up[:, :3], layer.tiles[0].pulse_counts().up)
    np.testing.assert_array_equal(counts.up, layer.hidden_parameters()["up_pulses"])


def test_an_analog_bias_is_a_column() -> None:
    config = aj.SingleRPUConfig(
        device=aj.ConstantStepDevice(count_pulses=True), mapping=aj.MappingParameter(digital_bias=False)
    )
    layer = nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0))
    assert layer.pulse_counts().up.shape == layer.hidden_parameters()["max_bound"].shape == (3, 5)


def test_a_layer_that_is_not_counted_says_what_to_set() -> None:
    with pytest.raises(aj.ConfigError, match=r"device\.count_pulses is False"):
        split().pulse_counts()


def test_parameters_of_a_layer_on_several_tiles() -> None:
    layer = split()
    hidden = layer.hidden_parameters()
    top = hidden["max_bound"].at[1, 4].set(0.001).at[2, 0].set(0.002)
    layer.set_hidden_parameters({"max_bound": top})
    np.testing.assert_array_equal(layer.hidden_parameters()["max_bound"], top)
    assert layer.tiles[1].hidden_parameters()["max_bound"][1, 1] == np.float32(0.001)
    weights, _ = layer.get_weights(apply_weight_scaling=False)
    assert weights[1, 4] <= 0.001
    assert weights[2, 0] <= 0.002


def test_an_analog_bias_is_set_with_the_others() -> None:
    config = aj.SingleRPUConfig(device=aj.ConstantStepDevice(), mapping=aj.MappingParameter(digital_bias=False))
    layer = nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0))
    hidden = layer.hidden_parameters()
    layer.set_hidden_parameters({**hidden, "dwmin_up": hidden["dwmin_up"] * 2})
    np.testing.assert_array_equal(layer.hidden_parameters()["dwmin_up"], hidden["dwmin_up"] * 2)


def test_a_mistake_changes_no_tile() -> None:
    layer = split()
    before = layer.hidden_parameters()
    low = jnp.where(jnp.arange(5) == 4, 10.0, before["min_bound"])
    with pytest.raises(aj.ConfigError, match="min_bound"):
        layer.set_hidden_parameters({"min_bound": low})
    with pytest.raises(aj.ShapeError, match=r"max_bound has shape \(3, 3\): give \(3, 5\)"):
        layer.set_hidden_parameters({"max_bound": jnp.ones((3, 3))})
    np.testing.assert_array_equal(layer.hidden_parameters()["min_bound"], before["min_bound"])
