"""What would take the place of a variable of a module is refused where it is assigned, in one line."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn

X = jnp.ones((2, 4))
LEARNED = aj.InferenceRPUConfig(
    mapping=aj.MappingParameter(learn_out_scaling=True),
    pre_post=aj.PrePostProcessingParameter(input_range=aj.InputRangeParameter(enable=True)),
)


def layer(**options: Any) -> nn.AnalogLinear:
    return nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0), **options)


REFUSED = [
    ("bias", layer, np.zeros(3), "write layer.bias.set_value(array), or layer.set_weights"),
    ("bias", layer, jnp.zeros(3), "write layer.bias.set_value(array), or layer.set_weights"),
    ("bias", layer, [0.0, 0.0, 0.0], "write layer.bias.set_value(array), or layer.set_weights"),
    ("bias", lambda: layer(bias=False), np.zeros(3), "made without a digital one; make it with bias=True"),
    ("config", lambda: layer().tiles[0], aj.SingleRPUConfig(), "write tile.config.set_value(config)"),
    ("state", lambda: layer().tiles[0], layer().tiles[0].state.get_value(), "write tile.state.set_value(state)"),
    ("out_scaling", lambda: layer(config=LEARNED).tiles[0], jnp.ones(1), "write out_scaling.set_value(value)"),
    ("input_range", lambda: layer(config=LEARNED).tiles[0], 3.0, "write input_range.set_value(value)"),
]


@pytest.mark.parametrize(("name", "make", "value", "message"), REFUSED)
def test_a_plain_value_is_refused_where_it_is_assigned(name: str, make: Any, value: Any, message: str) -> None:
    module = make()
    with pytest.raises(AttributeError, match=f"{name!r} of .* object is not allowed to be set: ") as caught:
        setattr(module, name, value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_variables_and_none_can_be_assigned() -> None:
    module = layer()
    with_bias = module(X, key=0)
    module.bias = nnx.Param(module.bias.get_value() + 1)
    np.testing.assert_allclose(module(X, key=0), with_bias + 1, atol=1e-6)
    old = module.bias.get_value()
    module.bias = None
    np.testing.assert_allclose(module(X, key=0), with_bias + 1 - old, atol=1e-6)
    copied = copy.deepcopy(layer())
    graph, state = nnx.split(copied)
    np.testing.assert_array_equal(nnx.merge(graph, state)(X, key=0), with_bias)
    nnx.update(copied, jax.tree.map(lambda leaf: leaf, state))


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 1)])
def test_a_bias_of_another_shape_is_refused_by_the_call(shape: tuple[int, ...]) -> None:
    module = layer()
    module.bias.set_value(jnp.zeros(shape))
    with pytest.raises(aj.ShapeError, match=r"AnalogLinear\(4, 3\): bias has shape .*, give \(3,\)"):
        module(X, key=0)


def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(aj.ConfigError, match="config=ConstantStepDevice is not allowed: give a TileConfig"):
        layer().tiles[0].config.set_value(aj.ConstantStepDevice())
