"""Hardware-aware training: inference tiles in layers (spec: tile_ops, sections 8 to 10 and 13)."""

from __future__ import annotations

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
from tests.nn.models import BARE, inputs, linear, network

PERFECT = aj.IOParameters(is_perfect=True)
NOISE = aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.2)


def square(model: nnx.Module, x: jax.Array, key: jax.Array) -> jax.Array:
    return 0.5 * (model(x, key=key) ** 2).sum()


def state_of(layer: nn.AnalogLinear) -> aj.tile.TileState:
    return layer.tiles[0].state.get_value()


def trained(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array, steps: int = 1, rate: float = 0.01) -> None:
    optimizer = aj.analog_sgd(rate)
    state = optimizer.init(layer)
    for step in range(steps):
        own = jax.random.fold_in(key, step)
        _, gradients = nn.value_and_grad(square)(layer, x, own)
        state = optimizer.update(layer, gradients, state, own)


def test_training_reads_the_modified_weights_and_evaluation_does_not(key: jax.Array) -> None:
    layer = linear(aj.InferenceRPUConfig(forward=PERFECT, modifier=NOISE), bias=False)
    x = inputs(5, 4)
    trained(layer, x, key)
    clean, noisy = state_of(layer).weights, state_of(layer).modified
    assert noisy is not None and not np.allclose(clean, noisy)
    assert np.allclose(layer(x, key=key), x @ clean.T, atol=1e-6)

    def loss(layer: nn.AnalogLinear, x: jax.Array) -> jax.Array:
        return square(layer, x, key)

    value, gradients = nn.value_and_grad(loss)(layer, x)
    assert float(value) == pytest.approx(float(0.5 * ((x @ noisy.T) ** 2).sum()), rel=1e-5)
    ((inputs_seen, d),) = gradients.analog.values()
    assert np.allclose(inputs_seen, x) and np.allclose(d, x @ noisy.T, atol=1e-5)


def test_the_gradient_goes_back_through_the_modified_weights(key: jax.Array) -> None:
    model = network(aj.InferenceRPUConfig(forward=PERFECT, modifier=NOISE))
    x = inputs(5, 4)
    optimizer = aj.analog_sgd(0.01)
    _, gradients = nn.value_and_grad(square)(model, x, key)
    optimizer.update(model, gradients, optimizer.init(model), key)
    first, last = (layer.tiles[0].state.get_value().modified for layer in (model.layers[0], model.layers[2]))
    biases = [model.layers[i].bias.get_value() for i in (0, 2)]
    _, gradients = nn.value_and_grad(square)(model, x, key)
    hidden = jnp.tanh(x @ first.T + biases[0])
    d_last = hidden @ last.T + biases[1]
    d_first = (d_last @ last) * (1 - hidden**2)
    assert np.allclose(gradients.analog["layers/2/tiles/0"][1], d_last, atol=1e-5)
    assert np.allclose(gradients.analog["layers/0/tiles/0"][1], d_first, atol=1e-5)


def test_the_update_acts_on_the_weights_themselves(key: jax.Array) -> None:
    layer = linear(aj.InferenceRPUConfig(forward=PERFECT, modifier=NOISE), bias=False)
    x = inputs(5, 4)
    trained(layer, x, key)
    before = state_of(layer)
    trained(layer, x, jax.random.fold_in(key, 1))
    d = x @ before.modified.T
    assert np.allclose(state_of(layer).weights, before.weights - 0.01 * d.T @ x, atol=1e-5)


def test_a_dropped_column_in_training_only(key: jax.Array) -> None:
    parameter = aj.WeightModifierParameter(type="DROP_CONNECT", pdrop=1.0, copy_last_column=True)
    config = aj.InferenceRPUConfig(forward=PERFECT, modifier=parameter, mapping=aj.MappingParameter(digital_bias=False))
    layer = linear(config)
    layer.tiles[0].end_of_batch(key)
    x = inputs(5, 4)
    _, bias = layer.get_weights()
    value, _ = nn.value_and_grad(square)(layer, x, key)
    assert float(value) == pytest.approx(0.5 * 5 * float((bias**2).sum()), rel=1e-5), "only the bias is left"
    assert not np.allclose(layer(x, key=key), bias)


def test_an_input_gradient_of_an_evaluation(key: jax.Array) -> None:
    """Trap 6 through a layer: the gradient is that of the product, with the quirk that of the copy."""
    for quirks, expected in ((False, 2.0), (True, 0.0)):
        parameter = aj.WeightModifierParameter(type="DROP_CONNECT", pdrop=1.0)
        config = aj.InferenceRPUConfig(forward=PERFECT, modifier=parameter, reference_quirks=quirks)
        layer = linear(config, 1, 1, bias=False)
        layer.set_weights(jnp.full((1, 1), 2.0), key=key)
        layer.tiles[0].end_of_batch(key)
        assert float(jax.grad(lambda x, layer=layer: layer(x, key=key)[0])(jnp.ones(1))[0]) == expected


@pytest.mark.parametrize("columnwise", [False, True])
@pytest.mark.parametrize("omega", [0.0, 0.5])
def test_a_remap_folds_the_learned_scale(columnwise: bool, omega: float, key: jax.Array) -> None:
    mapping = aj.MappingParameter(learn_out_scaling=True, out_scaling_columnwise=columnwise, weight_scaling_omega=omega)
    config = aj.InferenceRPUConfig(
        forward=PERFECT, mapping=mapping, remap=aj.WeightRemapParameter(type="CHANNELWISE_SYMMETRIC")
    )
    layer = linear(config)
    analog = layer.tiles[0]
    analog.out_scaling.set_value(jnp.asarray([0.5, 2.0, 3.0]) if columnwise else jnp.asarray([0.5]))
    logical = layer.get_weights()[0]
    analog.end_of_batch(key)
    assert np.allclose(layer.get_weights()[0], logical, atol=1e-6)
    assert np.allclose(analog.out_scaling.get_value(), 1.0)
    assert np.allclose(jnp.abs(state_of(layer).weights).max(axis=1), 1.0)
    assert np.allclose(state_of(layer).mapping_scales, jnp.abs(logical).max(axis=1), atol=1e-6)


def test_training_with_a_remap_is_plain_gradient_descent_of_the_logical_weights(key: jax.Array) -> None:
    x = inputs(5, 4)
    ends = []
    for remap in ({}, {"type": "CHANNELWISE_SYMMETRIC"}, {"type": "LAYERWISE_SYMMETRIC"}):
        layer = linear(aj.InferenceRPUConfig(forward=PERFECT, remap=aj.WeightRemapParameter(**remap)))
        trained(layer, x, key, steps=5)
        ends.append(layer.get_weights())
    for end in ends[1:]:
        assert np.allclose(end[0], ends[0][0], atol=1e-5) and np.allclose(end[1], ends[0][1], atol=1e-5)


def test_one_scale_for_all_fills_the_scales_of_a_remap(key: jax.Array) -> None:
    mapping = aj.MappingParameter(weight_scaling_omega=0.5)
    layer = linear(aj.InferenceRPUConfig(mapping=mapping, remap=aj.WeightRemapParameter(type="LAYERWISE_SYMMETRIC")))
    weights = inputs(3, 4)
    layer.set_weights(weights, key=key)
    assert np.allclose(state_of(layer).mapping_scales, jnp.full(3, jnp.abs(weights).max() / 0.5))
    assert np.allclose(layer.get_weights()[0], weights, atol=1e-6)


def test_an_inference_tile_learns_with_the_input_range_of_its_products(key: jax.Array) -> None:
    """Section 13: its gradient belongs to the digital step; trap 9 is about the other tiles."""
    ranged = aj.PrePostProcessingParameter(
        input_range=aj.InputRangeParameter(enable=True, init_value=0.5, init_from_data=0, decay=0)
    )
    ends = {}
    for name, build in (("inference", aj.InferenceRPUConfig), ("other", aj.FloatingPointRPUConfig)):
        layer = linear(build(forward=BARE, pre_post=ranged), 1, 1, bias=False)
        layer.set_weights(jnp.full((1, 1), 0.4), key=key)
        before = state_of(layer).weights[0, 0]
        loss = nn.value_and_grad(lambda layer, x, key: -layer(x, key=key).sum())
        _, gradients = loss(layer, jnp.full((1, 1), 2.0), key)
        optimizer = aj.analog_sgd(0.1, digital=optax.sgd(1.0))
        optimizer.update(layer, gradients, optimizer.init(layer), key)
        after = float(layer.tiles[0].input_range.get_value())
        assert after > 0.6
        ends[name] = float(state_of(layer).weights[0, 0] - before), after
    assert ends["inference"][0] == pytest.approx(0.1 * 0.5, rel=1e-5)
    assert ends["other"][0] == pytest.approx(0.1 * ends["other"][1], rel=1e-5)


def test_the_torch_tile_gives_no_gradient_to_clipped_inputs(key: jax.Array) -> None:
    ranged = aj.PrePostProcessingParameter(
        input_range=aj.InputRangeParameter(enable=True, init_value=1.0, init_from_data=0)
    )
    for build, expected in ((aj.InferenceRPUConfig, [2.0, 2.0]), (aj.TorchInferenceRPUConfig, [2.0, 0.0])):
        layer = linear(build(forward=BARE, pre_post=ranged), 2, 1, bias=False)
        layer.set_weights(jnp.full((1, 2), 2.0), key=key)
        gradient = jax.grad(lambda x, layer=layer: layer(x, key=key)[0])(jnp.asarray([0.5, 1.5]))
        assert np.allclose(gradient, expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"modifier": {"type": "ADD_NORMAL", "std_dev": 0.05}},
        {"modifier": {"type": "PCM_NOISE", "std_dev": 1.0, "pdrop": 0.01}, "remap": {"type": "CHANNELWISE_SYMMETRIC"}},
        {"clip": {"type": "LAYER_GAUSSIAN"}, "remap": {"type": "LAYERWISE_SYMMETRIC"}},
    ],
)
@pytest.mark.parametrize("build", [aj.InferenceRPUConfig, slow(aj.TorchInferenceRPUConfig)])
def test_an_experiment_learns(fields: dict[str, Any], build: Any, key: jax.Array) -> None:
    kinds = {
        "modifier": aj.WeightModifierParameter,
        "clip": aj.WeightClipParameter,
        "remap": aj.WeightRemapParameter,
    }
    parts = {name: kinds[name](**value) for name, value in fields.items()}
    config = build(forward=BARE.replace(out_noise=0.01), **parts)
    x = inputs(64, 4)
    labels = jnp.argmax(x @ inputs(4, 3, seed=7), axis=1)
    arrays = aj.data.from_arrays(np.asarray(x), np.asarray(labels), np.asarray(x), np.asarray(labels))
    model = nn.AnalogSequential(
        nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0)),
        nn.LogSoftmax(),
    )
    experiment = aj.BasicTraining(dataset=arrays, model=model, batch_size=8, learning_rate=0.3, epochs=8)
    _, metrics = aj.fit(experiment, key=0)
    assert metrics[-1]["train_loss"] < 0.5 * metrics[0]["train_loss"]
