"""New devices for a model that keeps its weights, and changes that act at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn

KEY = jax.random.key(5)


def model(**fields: object) -> nn.AnalogSequential:
    config = aj.SingleRPUConfig(mapping=aj.MappingParameter(max_input_size=4, weight_scaling_omega=0.4), **fields)
    layer = nn.AnalogLinear(6, 3, config=config, rngs=nnx.Rngs(0))
    return nn.AnalogSequential(layer, nn.AnalogLinear(3, 2, config=config, rngs=nnx.Rngs(1)))


def test_a_model_is_redrawn_with_the_weights_it_has() -> None:
    network = model()
    before = network.get_weights()
    nn.redraw(
        network, {"device.dw_min": 0.01, "device.w_max": 0.9, "device.w_max_dtod": 0, "device.w_min": -0.9}, key=KEY
    )
    for tile in nn.analog_tiles(network).values():
        assert tile.config.get_value().device.dw_min == 0.01
        np.testing.assert_allclose(tile.hidden_parameters()["max_bound"], 0.9, rtol=1e-6)
    for path, (weights, bias) in network.get_weights().items():
        np.testing.assert_allclose(weights, before[path][0], atol=1e-6)
        np.testing.assert_array_equal(bias, before[path][1])
    steps = [tile.hidden_parameters()["dwmin_up"] for tile in nn.analog_tiles(network).values()]
    assert not np.array_equal(steps[0], steps[1]), "each tile has draws of its own"


def test_a_layer_takes_another_device() -> None:
    layer = nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
    layer.redraw(aj.SingleRPUConfig(device=aj.SoftBoundsDevice()), key=KEY)
    assert "SoftBoundsDevice" in repr(layer)
    assert "slope_up" in layer.analog_tiles()[0].hidden_parameters()


def test_setting_a_configuration() -> None:
    tile = nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0)).analog_tiles()[0]
    config = tile.config.get_value()
    tile.config.set_value(config.replace({"device.dw_min_std": 0.1, "forward.out_noise": 0.2}))
    assert tile.config.get_value().device.dw_min_std == 0.1
    with pytest.raises(aj.ConfigError, match=r"device\.dw_min=0\.01.*redraw"):
        tile.config.set_value(config.replace({"device.dw_min": 0.01}))
    for change in ({"mapping.digital_bias": False}, {"pre_post.input_range.enable": True}):
        with pytest.raises(aj.ConfigError, match="build a new layer"):
            tile.config.set_value(config.replace(change))
        with pytest.raises(aj.ConfigError, match="build a new layer"):
            tile.redraw(change, key=KEY)
    with pytest.raises(aj.ConfigError, match="config=float is not allowed"):
        tile.redraw(0.1, key=KEY)  # type: ignore[arg-type]


def test_numbers_that_come_in_behind_the_back() -> None:
    layer = nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
    numbers = aj.optim.take_apart(layer).fixed
    nnx.update(layer, jax.tree.map(lambda leaf: 1.5 * leaf, numbers))
    tile = layer.analog_tiles()[0]
    with pytest.raises(aj.ConfigError, match="redraw"):
        tile.update(jnp.ones((1, 4)), jnp.ones((1, 3)), 0.1, KEY)
    nnx.jit(lambda layer: layer.analog_tiles()[0].update(jnp.ones((1, 4)), jnp.ones((1, 3)), 0.1, KEY))(layer)
    assert np.isnan(layer.get_weights()[0]).any()
