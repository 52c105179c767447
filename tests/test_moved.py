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


@pytest.mark.parametrize("name", moved.MODULES)
def test_a_habit_of_torch_says_what_is_there_instead(name: str) -> None:
    layer = aj.nn.AnalogLinear(2, 1, rngs=nnx.Rngs(0))
    for module in (layer, layer.tiles[0], aj.nn.AnalogSequential(layer), aj.nn.Tanh()):
        with pytest.raises(AttributeError, match=f"object has no attribute {name!r}: ") as caught:
            getattr(module, name)
        assert moved.MODULES[name] in str(caught.value)


@pytest.mark.parametrize("name", moved.TILES)
def test_an_attribute_of_a_tile_says_what_is_there_instead(name: str) -> None:
    tile = aj.nn.AnalogLinear(2, 1, rngs=nnx.Rngs(0)).tiles[0]
    with pytest.raises(AttributeError, match=f"'AnalogTile' object has no attribute {name!r}: tile"):
        getattr(tile, name)
    for said in moved.TILES.values():
        assert all(hasattr(tile, word.split(".")[1].split("(")[0]) for word in said.split() if word.startswith("tile."))


def test_what_is_said_instead_runs() -> None:
    model = aj.nn.AnalogSequential(aj.nn.AnalogLinear(2, 1, rngs=nnx.Rngs(0)), aj.nn.Tanh())
    layer, x, key = model[0], jnp.ones((3, 2)), 0
    optimizer = aj.analog_sgd(0.1)
    state = optimizer.init(model)
    loss = lambda model, x, key: (model(x, key=key) ** 2).mean()  # noqa: E731
    value, gradients = aj.nn.value_and_grad(loss)(model, x, key)
    state = optimizer.update(model, gradients, state, key)
    assert nnx.state(model, nnx.Param) and model.get_weights() and value > 0 and state.step == 1
    assert aj.nn.analog_layers(model)["layers/0"] is layer and len(list(nnx.iter_modules(model))) > 2
    aj.analog_sgd({"layers/0": 0.0, "default": 0.1}).init(model)
    assert layer.analog_tiles()[0].config == aj.SingleRPUConfig()
    layer.redraw({"device.dw_min": 0.01}, key=key)
    layer.bias.set_value(jnp.ones(1))
    assert layer.get_weights(realistic=True, key=key)[1] == 1


def test_train_takes_no_mode() -> None:
    model = aj.nn.AnalogSequential(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    with pytest.raises(aj.ModuleError, match=r"train\(False\) is not allowed: write model.train\(\), or model.eval"):
        model.train(False)
    model.eval()
    assert model[0].deterministic
    model.train()
    assert not model[0].deterministic


def test_a_configuration_says_how_to_change_it() -> None:
    config = aj.SingleRPUConfig(device=aj.ConstantStepDevice())
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"config.replace\(\{'dw_min': 0.1\}\)"):
        config.device.dw_min = 0.1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="does not change"):
        del config.device  # type: ignore[misc]
    assert config.device == aj.ConstantStepDevice()
