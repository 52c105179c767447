"""Inference tiles whose gradients are those of the product itself (spec: forward, section 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from tests.marks import slow
from tests.nn.models import inputs

KEY = jax.random.key(5)
NOISY = aj.IOParameters(inp_noise=0.05, out_noise=0.1, out_bound=0.7)
"""Some outputs are clipped, and bound management repeats them."""
BARE = aj.IOParameters(noise_management="NONE", bound_management="NONE", out_noise=0.0, out_bound=0.6, out_res=-1)


def config(io: aj.IOParameters, **fields: Any) -> aj.TileConfig:
    return aj.TorchInferenceRPUConfig(forward=io, **fields)


def linear(io: aj.IOParameters, weights: Any, **fields: Any) -> nn.AnalogLinear:
    weights = jnp.asarray(weights, jnp.float32)
    layer = nn.AnalogLinear(
        weights.shape[1], weights.shape[0], bias=False, config=config(io, **fields), rngs=nnx.Rngs(0)
    )
    layer.set_weights(weights, key=KEY)
    return layer


def test_gradients_see_what_the_converters_do() -> None:
    """Of the inputs 0.51 and 1.5 the array sees 32/63 and 1; the second output is clipped, the second input too."""
    layer = linear(BARE, [[0.4, 0.2], [0.9, 0.9]])

    def loss(layer: nn.AnalogLinear, x: jax.Array) -> jax.Array:
        return layer(x, key=KEY).sum()

    x = jnp.asarray([[0.51, 1.5]])
    _, gradients = nn.value_and_grad(loss)(layer, x)
    np.testing.assert_allclose(gradients.weights["tiles/0"], [[32 / 63, 1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(jax.grad(loss, 1)(layer, x), [[0.4, 0.0]], atol=1e-6)
    before = np.asarray(layer.get_weights()[0])
    optimizer = aj.analog_sgd(0.1)
    optimizer.update(layer, gradients, optimizer.init(layer), KEY)
    np.testing.assert_allclose(before - layer.get_weights()[0], [[3.2 / 63, 0.1], [0, 0]], atol=1e-6)


def twice() -> nnx.Module:
    class Twice(nnx.Module):
        def __init__(self) -> None:
            self.layer = linear(NOISY, inputs(3, 3, seed=2))

        def __call__(self, x: jax.Array, *, key: Any) -> jax.Array:
            return self.layer(jnp.tanh(self.layer(x, key=key)), key=jax.random.fold_in(key, 1))

    return Twice()


def stacked() -> nnx.Module:
    small = aj.MappingParameter(max_input_size=2, max_output_size=2, digital_bias=False, weight_scaling_omega=0.5)
    ranged = aj.PrePostProcessingParameter(
        input_range=aj.InputRangeParameter(enable=True, init_value=1.5, init_from_data=0)
    )
    return nn.AnalogLinear(3, 4, config=config(NOISY, mapping=small, pre_post=ranged), rngs=nnx.Rngs(0), bias=True)


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {"twice": (twice, (4, 3)), "stacked": (stacked, (4, 3))}


@pytest.mark.parametrize("name", ["stacked", slow("twice")])
def test_gradients_are_derivatives_of_the_product(name: str) -> None:
    """The gradient of a step is what a derivative with respect to the tiles themselves gives."""
    build, shape = MODELS[name]
    model, x = build(), inputs(*shape)
    graph, tiles, rest = nnx.split(model, nn.TileVariable, ...)

    def loss(model: Any) -> jax.Array:
        return (jnp.sin(model(x, key=KEY)) * jnp.arange(1.0, 5.0)[:, None]).sum()

    _, gradients = nn.value_and_grad(loss)(model)
    direct = jax.jit(jax.grad(lambda tiles: loss(nnx.merge(graph, tiles, rest)), allow_int=True))(tiles)
    assert gradients.weights
    for path, found in gradients.weights.items():
        slope, scales = (at(state, path) for state in (direct, tiles))
        expected = slope.weights if scales.mapping_scales is None else slope.weights / scales.mapping_scales[..., None]
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
        assert np.abs(found).max() > 0.1


def at(state: Any, path: str) -> Any:
    """Return what a state of tiles has at the path of a tile."""
    flat = {"/".join(map(str, place)): variable.get_value() for place, variable in nnx.to_flat_state(state)}
    return flat[f"{path}/state"]


def test_micro_batches_add_up_and_optimizers_agree() -> None:
    layer = linear(NOISY.replace(out_noise=0.0, inp_noise=0.0), inputs(2, 3, seed=2))
    x = inputs(6, 3)

    def loss(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
        return (layer(x, key=key) ** 2).mean()

    _, whole = nn.value_and_grad(loss)(layer, x, KEY)
    _, parts = nn.accumulate(loss)(layer, x.reshape(2, 3, 3), KEY)
    np.testing.assert_allclose(parts.weights["tiles/0"], whole.weights["tiles/0"], atol=1e-6)
    ends = []
    for optimizer in (aj.analog_sgd(0.1), aj.analog_optimizer(optax.sgd(0.1))):
        graph, state = nnx.split(layer)
        copy = nnx.merge(graph, state, copy=True)
        optimizer.update(copy, whole, optimizer.init(copy), KEY)
        ends.append(np.asarray(copy.get_weights()[0]))
    np.testing.assert_allclose(ends[0], layer.get_weights()[0] - 0.1 * whole.weights["tiles/0"], atol=1e-6)
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-6)


def test_each_product_of_training_has_a_copy_of_its_own() -> None:
    modifier = aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.2)
    size = 40
    layer = linear(aj.IOParameters(is_perfect=True), jnp.ones((size, size)), modifier=modifier)
    each = jnp.eye(size)

    def loss(layer: nn.AnalogLinear) -> tuple[jax.Array, jax.Array]:
        read = jnp.stack([layer(each, key=jax.random.fold_in(KEY, n)) for n in range(2)])
        return read.sum(), read

    (_, read), gradients = nn.value_and_grad(loss, has_aux=True)(layer)
    difference = np.asarray(read[0] - read[1])
    assert difference.std() == pytest.approx(0.2 * np.sqrt(2), rel=5 / np.sqrt(2 * size * size))
    np.testing.assert_allclose(gradients.weights["tiles/0"], 2, atol=1e-5)
    np.testing.assert_allclose(layer(each, key=KEY), 1, atol=1e-6, err_msg="evaluation reads the weights")
