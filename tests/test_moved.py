"""People who come from aihwkit are told in one line what is here in the place of what they look for."""

from __future__ import annotations

import copy
import dataclasses

import jax.numpy as jnp
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import moved


@pytest.mark.parametrize("name", moved.NAMES)
def test_a_name_of_the_reference_says_where_it_is(name: str) -> None:
    with pytest.raises(AttributeError, match="module 'aihwjax' has no attribute") as caught:
        getattr(aj, name)
    assert moved.NAMES[name] in str(caught.value)
    assert not hasattr(aj, name)


def test_what_is_named_instead_is_there() -> None:
    assert aj.analog_sgd and aj.optim.AnalogSGD and aj.nn.AnalogLinear and aj.nn.AnalogTile and aj.LocalRunner
    assert aj.config.from_toml and aj.experiments.save and aj.experiments.load and aj.tile.remap
    with pytest.raises(AttributeError, match="No aihwjax attribute nothing"):
        aj.nothing  # noqa: B018


@pytest.mark.parametrize("name", moved.ATTRIBUTES)
def test_an_attribute_of_a_layer_says_what_is_there_instead(name: str) -> None:
    layer = aj.nn.AnalogLinear(2, 1, rngs=nnx.Rngs(0))
    with pytest.raises(AttributeError, match=f"'AnalogLinear' object has no attribute {name!r}: ") as caught:
        getattr(layer, name)
    assert moved.ATTRIBUTES[name] in str(caught.value)
    with pytest.raises(AttributeError, match="no attribute 'nothing'$"):
        layer.nothing  # noqa: B018
    assert jnp.array_equal(copy.deepcopy(layer).get_weights()[0], layer.get_weights()[0])


def test_a_configuration_says_how_to_change_it() -> None:
    config = aj.SingleRPUConfig(device=aj.ConstantStepDevice())
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"config.replace\(\{'dw_min': 0.1\}\)"):
        config.device.dw_min = 0.1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="does not change"):
        del config.device  # type: ignore[misc]
    assert config.device == aj.ConstantStepDevice()
