"""Tiles whose product or update is a function of the user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.config import configclass, number
from aihwjax.errors import CheckpointError, ConfigError, DataError, ShapeError
from aihwjax.typing import Number
from tests.marks import slow
from tests.nn.models import inputs

KEY = jax.random.key(3)
SIZES = {"max_input_size": 3, "max_output_size": 2}


def saturating(config: aj.TileConfig, weights: jax.Array, x: jax.Array, key: jax.Array) -> jax.Array:
    """A product that saturates, with noise."""
    return jnp.tanh(x @ weights.T) + 0.1 * jax.random.normal(key, (x.shape[0], weights.shape[0]))


def ternary(
    config: aj.TileConfig, weights: jax.Array, x: jax.Array, d: jax.Array, learning_rate: jax.Array, key: jax.Array
) -> jax.Array:
    """An update by steps of one size, up, down or none, right on average."""
    wanted = -learning_rate * d.T @ x
    step = 0.1
    moves = jax.random.uniform(key, weights.shape) < jnp.abs(wanted) / step
    return weights + step * jnp.sign(wanted) * moves


def both(**mapping: Any) -> aj.TileConfig:
    """Return a tile with a product and an update."""
    return aj.CustomRPUConfig(product=saturating, update=ternary, mapping=aj.MappingParameter(**mapping))


def test_a_tile_calls_the_functions() -> None:
    config, x, d = both(), inputs(2, 5, 4), inputs(2, 5, 3, seed=2)
    state = aj.tile.set_weights(config, aj.tile.init(config, KEY, (3, 4)), inputs(3, 4, seed=5), KEY)
    flat = x.reshape(10, 4)
    y = aj.tile.forward(config, state, x, KEY)
    np.testing.assert_allclose(y, saturating(config, state.weights, flat, KEY).reshape(2, 5, 3), rtol=1e-6)
    new = aj.tile.update(config, state, x, d, 0.01, KEY)
    expected = ternary(config, state.weights, flat, d.reshape(10, 3), jnp.float32(0.01), KEY)
    np.testing.assert_allclose(new.weights, expected, rtol=1e-6)
    for changed in (jax.jit(aj.tile.update)(config, state, x, d, 0.01, KEY), aj.tile.end_of_batch(config, new, KEY)):
        np.testing.assert_allclose(changed.weights, expected, rtol=1e-6)
    keys = jax.random.split(KEY, 2000)
    mean = jax.vmap(lambda key: aj.tile.update(config, state, flat, d.reshape(10, 3), 0.001, key).weights)(keys).mean(0)
    wanted = state.weights - 0.001 * d.reshape(10, 3).T @ flat
    np.testing.assert_allclose(mean, wanted, atol=4 * 0.1 * 0.5 / 2000**0.5)
    gradient = jax.grad(lambda x: aj.tile.forward(config, state, x, KEY).sum())(flat)
    slope = 1 - jnp.tanh(flat @ state.weights.T) ** 2
    np.testing.assert_allclose(gradient, slope @ state.weights, rtol=1e-4, atol=1e-5)


def loss(model: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    """The loss of a model that calls its layers without a key."""
    return (nn.call(model, x, key=key) ** 2).mean()


@pytest.mark.parametrize("mapping", [SIZES, slow({"digital_bias": False, "weight_scaling_omega": 0.5})], ids=str)
def test_layers_train_with_it(mapping: dict[str, Any]) -> None:
    digital = nnx.Sequential(nnx.Conv(2, 3, (2,), rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(3, 2, rngs=nnx.Rngs(1)))
    model = aj.convert_to_analog(digital, both(**mapping), key=0)
    x, before = inputs(2, 4, 2), [layer.get_weights()[0] for layer in nn.analog_layers(model).values()]
    value, gradients = nn.value_and_grad(loss)(model, x, KEY)
    np.testing.assert_allclose(value, loss(model, x, KEY), rtol=1e-5)
    optimizer = aj.analog_sgd(0.5)
    optimizer.update(model, gradients, optimizer.init(model), KEY)
    for layer, old in zip(nn.analog_layers(model).values(), before, strict=True):
        moved = (
            layer.get_weights(apply_weight_scaling=False)[0] - old if "weight_scaling_omega" not in mapping else None
        )
        assert (layer.get_weights()[0] != old).any()
        if moved is not None:
            np.testing.assert_allclose(jnp.abs(moved), 0.1 * (jnp.abs(moved) > 0.05), atol=1e-5)


def test_the_gradient_of_the_inputs_is_the_derivative_of_the_product() -> None:
    layer = nn.AnalogLinear(4, 3, config=both(), rngs=nnx.Rngs(0))
    weights, x = layer.get_weights()[0], inputs(5, 4)
    slope = 1 - jnp.tanh(x @ weights.T) ** 2
    for gradient in (
        jax.grad(lambda x: layer(x, key=KEY).sum())(x),
        jax.jit(jax.grad(lambda x: layer(x, key=KEY).sum()))(x),
    ):
        np.testing.assert_allclose(gradient, slope @ weights, rtol=1e-4, atol=1e-5)

    @jax.custom_vjp
    def own(x: jax.Array, weights: jax.Array) -> jax.Array:
        return x @ weights.T

    own.defvjp(lambda x, w: (own(x, w), (x, w)), lambda kept, d: (7 * jnp.ones_like(kept[0]), jnp.zeros_like(kept[1])))
    config = aj.CustomRPUConfig(product=lambda config, weights, x, key: own(x, weights))
    layer = nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(jax.grad(lambda x: layer(x, key=KEY).sum())(x), jnp.full((5, 4), 7.0))


@configclass
class LogTile(aj.TileConfig):
    """A tile with a number of its own."""

    floor: Number = number(0.1, above=0)
    """Smallest magnitude."""


def test_numbers_of_the_functions_are_those_of_a_class() -> None:
    def product(config: LogTile, weights: jax.Array, x: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.where(jnp.abs(x) < config.floor, 0.0, x) @ weights.T

    config = LogTile(device=aj.IdealDevice(), own_product=product)
    state, x = aj.tile.init(config, KEY, (3, 4)), inputs(5, 4)
    swept = jax.vmap(lambda floor: aj.tile.forward(config.replace(floor=floor), state, x, KEY))(jnp.array([0.1, 9.0]))
    assert (swept[0] != 0).all() and (swept[1] == 0).all()


def test_saved_models_and_texts_have_the_name(tmp_path: Path) -> None:
    layer = nn.AnalogLinear(4, 3, config=both(), rngs=nnx.Rngs(0))
    aj.save(tmp_path, layer)
    with pytest.raises(
        CheckpointError, match="own_product='saturating' is not allowed: give a function, which no file"
    ):
        aj.load(tmp_path)
    again = aj.load(tmp_path, nn.AnalogLinear(4, 3, config=both(), rngs=nnx.Rngs(1)))
    np.testing.assert_array_equal(again(inputs(5, 4), key=KEY), layer(inputs(5, 4), key=KEY))
    assert "product=saturating" in repr(both()) and both() == both() and hash(both()) == hash(both())
    assert aj.config.to_dict(both())["own_update"] == "ternary"


def given(**functions: Any) -> tuple[aj.TileConfig, aj.tile.TileState]:
    """Return a tile with functions."""
    config = aj.CustomRPUConfig(**functions)
    return config, aj.tile.init(config, KEY, (3, 4))


def forward(product: Any) -> Any:
    """Multiply once."""
    return aj.tile.forward(*given(product=product), inputs(5, 4), KEY)


def step(update: Any) -> Any:
    """Update once."""
    return aj.tile.update(*given(update=update), inputs(5, 4), inputs(5, 3), 0.1, KEY)


def transposed() -> Any:
    """Multiply from the other side."""
    return aj.tile.backward(*given(product=saturating), inputs(5, 3), KEY)


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "shape": (lambda: forward(lambda c, w, x, k: x), ShapeError, "own_product=<lambda> returned shape (5, 4)"),
    "weights": (lambda: step(lambda c, w, x, d, r, k: w.T), ShapeError, "returned shape (4, 3): give (3, 4)"),
    "type": (lambda: forward(lambda c, w, x, k: (x @ w.T).astype(int)), DataError, "an array of type int"),
    "none": (lambda: step(lambda c, w, x, d, r, k: None), DataError, "returned NoneType: give one of floating-point"),
    "no function": (lambda: given(product=3), ConfigError, "TileConfig.own_product=3 is not allowed: give a function"),
    "neither": (lambda: given(), ConfigError, "CustomRPUConfig needs the argument 'product' or 'update'"),
    "device": (
        lambda: aj.SingleRPUConfig(own_update=ternary),
        ConfigError,
        "own_update is not allowed with the device ConstantStepDevice",
    ),
    "backward": (transposed, ConfigError, "has no backward product of d alone"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line(name: str) -> None:
    call, kind, text = WRONG[name]
    with pytest.raises(kind) as caught:
        call()
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_an_inference_tile_may_have_a_product_of_its_own() -> None:
    config = aj.InferenceRPUConfig(own_product=saturating)
    assert config.inference and not dataclasses.replace(config, own_update=ternary).inference
    layer = nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0))
    tiles = nnx.Any(nnx.Param, nn.TileVariable)
    gradient = nnx.grad(lambda layer: layer(inputs(5, 4), key=KEY).sum(), argnums=nnx.DiffState(0, tiles))(layer)
    slope = 1 - jnp.tanh(inputs(5, 4) @ layer.get_weights()[0].T) ** 2
    found = gradient["tiles"][0]["state"].get_value().weights
    np.testing.assert_allclose(found, slope.T @ inputs(5, 4), rtol=1e-4, atol=1e-5)
