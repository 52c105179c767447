"""Layers whose digital scales, bias and outputs are quantised (spec: layers, section 12)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import treescope
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.nn.quantization_ranges import refuse_unknown_ranges
from tests.marks import slow
from tests.quantization.waves import wave

KEY = jax.random.key(3)
W = (0.3 * np.sin(1 + 0.9 * np.arange(20))).reshape(5, 4).astype(np.float32)
B = np.array([0.31, -0.22, 0.05, 0.4, -0.13], np.float32)
SPLIT = {"max_input_size": 2, "max_output_size": 3}
"""Four tiles in two stacks."""


def config(
    bits: int = 8, periphery: int = 0, *, split: bool = False, quirks: bool = False, **periph: Any
) -> aj.TileConfig:
    """Perfect products with a mapping scale and a learned scale for each output."""
    mapping = aj.MappingParameter(
        weight_scaling_omega=0.7, weight_scaling_columnwise=True, learn_out_scaling=True, out_scaling_columnwise=True,
        **(SPLIT if split else {}),
    )  # fmt: skip
    quantised = aj.PeripheryQuantizationParameter(n_bits=periphery, **periph)
    return aj.QuantizedTorchInferenceRPUConfig(
        forward=aj.IOParameters(is_perfect=True),
        mapping=mapping,
        pre_post=aj.PrePostProcessingParameterQuant(periph_quant=quantised),
        act_quant_config=aj.ActivationQuantConfig(n_bits=bits, symmetric=quantised.symmetric),
        reference_quirks=quirks,
    )


def linear(config: aj.TileConfig) -> nn.AnalogLinear:
    layer = nn.AnalogLinear(4, 5, config=config, rngs=nnx.Rngs(0))
    layer.set_weights(W, B, key=KEY)
    return layer


def loss(layer: Any, x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = nn.call(layer, x, key=KEY)
    return (y * t).sum(), y


@nnx.jit
def descend(layer: Any, x: jax.Array, t: jax.Array) -> tuple[jax.Array, nn.Gradients]:
    """Take a step of plain descent of the digital parameters, and return the outputs before and the gradients."""
    (_, y), gradients = nn.value_and_grad(loss, has_aux=True)(layer, x, t)
    params = nnx.state(layer, nnx.Param)
    nnx.update(layer, jax.tree.map(lambda value, slope: value - 0.001 * slope, params, gradients.digital))
    return y, gradients


# --------------------------------------------------------------------- the reference
# aihwkit 1.2.0, AnalogLinear(4, 5) with the weights above and a mapping as above: four steps of plain descent with
# rate 0.001 of bias, scales and learned steps, on wave(k) with the gradient wave(k + 5, columns=5) at the outputs. The
# first row of the outputs and the gradient of the bias in the last step; the first row of an evaluation of wave(9).
REFERENCE: dict[str, tuple[dict[str, Any], list[float], list[float], list[float], dict[str, float]]] = {
    "array": (
        {"bits": 4, "periphery": 4, "split": True, "quirks": True},
        [0.916346, -0.916346, 0.610897, 0.0, 0.0],
        [-4.170553, 2.81884, 5.710306, 0.228255, -5.624098],
        [0.916346, -0.916346, 0.763621, 0.0, 0.0],
        {},
    ),
    "present": (
        {"bits": 8, "periphery": 4, "quirks": True},
        [0.841397, -0.882242, 0.661681, -0.024507, 0.049013],
        [-4.170553, 2.81884, 5.710306, 0.228255, -5.624098],
        [0.89858, -0.890411, 0.66985, -0.040845, 0.065351],
        {},
    ),
    "learned": (
        {"bits": 8, "periphery": 6, "learn_quant_params": True, "init_learning_after": 2},
        [0.868104, -0.859914, 0.655173, -0.024569, 0.032759],
        [-4.170553, 2.81884, 5.710306, 0.064589, -5.624098],
        [0.835345, -0.876294, 0.646983, -0.171983, 0.057328],
        {"tiles/0/scale_quantizer/step": 0.175251, "bias_quantizer/step": 4.777287},
    ),
    "asymmetric": (
        {"bits": 8, "periphery": 6, "learn_quant_params": True, "init_learning_after": 2, "symmetric": False},
        [0.568633, -0.648825, 0.597794, -0.43012, 0.167674],
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.561343, -0.656115, 0.612374, -0.43741, 0.182254],
        {"tiles/0/scale_quantizer/step": -0.200199, "bias_quantizer/step": 0.0},
    ),
}


@pytest.mark.parametrize("name", ["learned", slow("present"), slow("array"), slow("asymmetric")])
def test_numbers_of_the_reference(name: str) -> None:
    fields, outputs, slope, evaluated, steps = REFERENCE[name]
    layer = linear(config(**fields))
    for k in range(4):
        y, gradients = descend(layer, wave(k), wave(k + 5, columns=5))
    flat = {"/".join(map(str, path)): value.get_value() for path, value in nnx.to_flat_state(gradients.digital)}
    np.testing.assert_allclose(y[0], outputs, atol=5e-6)
    np.testing.assert_allclose(flat["bias"], slope, atol=1e-5)
    np.testing.assert_allclose(layer(wave(9), key=KEY)[0], evaluated, atol=5e-6)
    for path, value in steps.items():
        np.testing.assert_allclose(flat[path], value, atol=2e-4)


# ----------------------------------------------------------------------- equations
@pytest.mark.parametrize("split", [False, slow(True)])
def test_without_bits_it_is_the_torch_tile(split: bool) -> None:
    plain = config(0, split=split)
    other = aj.TorchInferenceRPUConfig(
        forward=plain.forward, mapping=plain.mapping, pre_post=aj.PrePostProcessingParameter()
    )
    ends = []
    for each in (plain, other):
        layer = linear(each)
        y, gradients = descend(layer, wave(0), wave(5, columns=5))
        ends.append([y, *jax.tree.leaves(gradients), layer(wave(1), key=KEY)])
    assert all(np.array_equal(a, b) for a, b in zip(*ends, strict=True))
    assert layer.output_quantizer is None and layer.bias_quantizer is None


@pytest.mark.parametrize("estimator", ["running_minmax", "MSE"])
def test_eight_bits_are_within_half_a_step(estimator: str) -> None:
    exact, layer = linear(config(0)), linear(config(8).replace({"act_quant_config.range_estimator": estimator}))
    x = wave(0)
    descend(layer, x, jnp.zeros((6, 5)))
    state = layer.output_quantizer.range.get_value()
    step = max(-float(state.low), float(state.high)) / 127
    away = np.abs(layer(x, key=KEY) - exact(x, key=KEY)).max()
    assert 0.2 * step < away < (0.51 if estimator == "running_minmax" else 2) * step
    np.testing.assert_allclose(np.round(layer(x, key=KEY) / step) * step, layer(x, key=KEY), atol=1e-6)


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    signed = values.min() < 0
    step = np.abs(values).max() / (2 ** (bits - signed) - 1)
    return step * np.round(values / step)


@pytest.mark.parametrize("ranged", [False, True])
def test_scales_are_merged_and_drift_is_not_quantised(ranged: bool) -> None:
    own = config(0, 3).replace({"pre_post.input_range": aj.InputRangeParameter(enable=ranged, init_value=1.7)})
    layer, x = linear(own), wave(0).clip(-1, 1)
    tile = layer.tiles[0]
    a = np.array([1.0, 0.8, 1.3, 0.6, 1.1], np.float32)
    tile.out_scaling.set_value(jnp.asarray(a))
    state = tile.state.get_value()
    scales = np.asarray(state.mapping_scales) * a * (1.7 if ranged else 1)
    product = x @ state.weights.T / (1.7 if ranged else 1)
    assert np.abs(rounded(scales, 3) / scales - 1).max() > 0.02
    expected = product * rounded(scales, 3) + rounded(B, 3)
    np.testing.assert_allclose(layer(x, key=KEY), expected, atol=1e-6)
    chip = aj.program(layer, 0)
    kept = chip.tiles[0].chip.get_value()
    for alpha in (1.0, 1.37):
        chip.tiles[0].chip.set_value(dataclasses.replace(kept, alpha=jnp.float32(alpha)))
        weights = chip.tiles[0].state.get_value().weights
        product = x @ weights.T / (1.7 if ranged else 1)
        expected = product * rounded(scales, 3) * alpha + rounded(B, 3)
        np.testing.assert_allclose(chip(x, key=KEY), expected, atol=1e-5)


def test_a_scale_of_zero_stays_zero() -> None:
    layer = linear(config(0, 4))
    layer.tiles[0].out_scaling.set_value(jnp.array([0.0, 1.0, 1.0, 1.0, 1.0]))
    assert (layer(wave(0), key=KEY)[:, 0] == rounded(B, 4)[0]).all()


@pytest.mark.slow
def test_tiles_of_an_array_are_quantised_before_the_sum() -> None:
    layer, x = linear(config(3, split=True)), wave(0)
    assert [tile.output_quantizer.count for tile in layer.tiles] == [2, 2]
    parts = [linear(config(0, split=True)).tiles[n] for n in range(2)]
    inputs = [layer.grid.input(n, x) for n in range(2)]
    outputs = [np.asarray(part(given, key=KEY)) for part, given in zip(parts, inputs, strict=True)]
    whole = layer.grid.outputs([jnp.asarray([rounded(tile, 3) for tile in part]) for part in outputs]) + B
    y, _ = descend(layer, x, jnp.zeros((6, 5)))
    np.testing.assert_allclose(y, rounded(np.asarray(whole), 3), atol=1e-6)


# ------------------------------------------------------------------- how ranges live
def test_training_moves_ranges_and_evaluation_does_not() -> None:
    layer = linear(config(8))
    descend(layer, wave(0), jnp.zeros((6, 5)))
    first = layer.output_quantizer.range.get_value()
    descend(layer, 3 * wave(0), jnp.zeros((6, 5)))
    second = layer.output_quantizer.range.get_value()
    assert second.batches == 2 and second.high > first.high
    layer(9 * wave(1), key=KEY)
    assert layer.output_quantizer.range.get_value().batches == 2
    assert np.abs(layer(99 * wave(1), key=KEY)).max() <= 1.01 * max(-second.low, second.high)


def test_steps_follow_until_they_learn() -> None:
    layer = linear(config(0, 6, learn_quant_params=True, init_learning_after=2))
    quantizer, steps = layer.bias_quantizer, []
    for k in range(3):
        layer.bias.set_value(layer.bias.get_value() * 2)
        largest = np.abs(layer.bias.get_value()).max()
        _, gradients = descend(layer, wave(k), 0.001 * wave(k + 5, columns=5))
        slope = float(gradients.digital["bias_quantizer"]["step"].get_value())
        assert (slope != 0) is (k == 2)
        steps.append(float(quantizer.step.get_value()) / (largest / 31))
    assert quantizer.batches.get_value() == 2
    np.testing.assert_allclose(steps, [1, 1, 0.5], rtol=0.01)  # the bias is twice as large, the step stays


def test_an_unknown_range_is_one_line() -> None:
    layer = linear(config(8))
    with pytest.raises(aj.ModuleError, match=r"outputs of AnalogLinear\(4, 5\) is not known: train it, or") as caught:
        layer(wave(0), key=KEY)
    assert "\n" not in str(caught.value)
    assert np.isnan(nnx.jit(lambda layer, x: layer(x, key=KEY))(layer, wave(0))).all()
    model = nn.AnalogSequential(nn.ReLU(), layer)
    with pytest.raises(aj.ModuleError, match="outputs of layers/1 is not known"):
        aj.evaluate_over_time(model, (wave(0), jnp.zeros(6, int)), [1.0], repeats=1, key=0)


@pytest.mark.slow
def test_ranges_by_data(tmp_path: Path) -> None:
    """After input ranges, which need no output ranges; then chips are evaluated, and all is saved."""
    model = nn.AnalogSequential(
        linear(config(8, 8)), nn.ReLU(), nn.AnalogLinear(5, 3, config=config(8), rngs=nnx.Rngs(1))
    )
    batches = jnp.stack([wave(n) for n in range(4)])
    aj.calibrate(model, batches, "MAX", key=0)
    aj.calibrate_quantization_ranges(model, batches, 3, key=0)
    refuse_unknown_ranges(model)
    first = model.layers[0].output_quantizer.range.get_value()
    assert first.batches == 3 and bool(first.fixed)
    state = nnx.clone(model)
    descend(state, 9 * wave(0), jnp.zeros((6, 3)))
    assert state.layers[0].output_quantizer.range.get_value().high == first.high
    data = wave(0), jnp.zeros(6, int)
    result = aj.evaluate_over_time(model, data, [1.0, 3600.0], repeats=2, key=0)
    assert result.values.shape == (2, 2)
    aj.save(tmp_path / "model", model)
    again = aj.load(tmp_path / "model")
    assert np.array_equal(again(wave(1), key=KEY), model(wave(1), key=KEY))


def test_a_list_of_batches_and_going_on() -> None:
    layer = linear(config(8))
    aj.calibrate_quantization_ranges(layer, iter([wave(0), wave(1)]), 1, key=0, fix=False)
    found = layer.output_quantizer.range.get_value()
    assert found.batches == 1 and not found.fixed
    for wrong in (0, 2.5, True):
        with pytest.raises(aj.ConfigError, match="max_num_batches="):
            aj.calibrate_quantization_ranges(layer, [wave(0)], wrong, key=0)  # type: ignore[arg-type]
    with pytest.raises(aj.ConfigError, match="a model without quantised outputs"):
        aj.calibrate_quantization_ranges(linear(config(0)), [wave(0)], key=0)
    with pytest.raises(aj.DataError, match="batches has none"):
        aj.calibrate_quantization_ranges(layer, [], key=0)


# --------------------------------------------------------------- everywhere else
@pytest.mark.slow
def test_convolutions_and_conversion() -> None:
    digital = nnx.Sequential(
        nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0)),
        lambda x: x.reshape(x.shape[0], -1),
        nnx.Linear(36, 3, rngs=nnx.Rngs(1)),
    )
    own = config(8, 8).replace({"mapping.max_input_size": 20})
    model = aj.convert_to_analog(digital, own, key=0)
    x = wave(0, 4, 9).reshape(4, 3, 3, 1)
    y, _ = descend(model, x, jnp.ones((4, 3)))
    np.testing.assert_allclose(y, digital(x), atol=0.05 * np.abs(digital(x)).max())
    assert model.layers[0].output_quantizer.range.get_value().batches == 1
    back = aj.convert_to_digital(model)
    np.testing.assert_allclose(back(x), nn.call(model, x, key=KEY), atol=0.05 * np.abs(y).max())


@pytest.mark.slow
def test_recurrent_layers_carry_ranges_through_time() -> None:
    own = config(8, 6, learn_quant_params=True, init_learning_after=3)
    cell = nn.AnalogRNN("AnalogVanillaRNNCell", 4, 3, config=own, rngs=nnx.Rngs(0))
    x = jnp.stack([wave(n) for n in range(5)], axis=1)

    def total(model: Any, x: jax.Array) -> jax.Array:
        out = model(x, key=KEY)
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(out))

    _, gradients = nnx.jit(nn.value_and_grad(total))(cell, x)
    found = [part for _, part in nnx.iter_modules(cell) if isinstance(part, nn.OutputQuantizer)]
    assert found and all(part.range.get_value().batches >= 1 for part in found)
    assert max(int(part.range.get_value().batches) for part in found) == 5
    steps = [value for value in jax.tree.leaves(gradients.digital) if value.ndim == 0]
    assert any(float(value) != 0 for value in steps) and all(np.isfinite(value).all() for value in steps)
    assert np.isfinite(total(cell, x))


def test_bits_are_swept_and_the_layout_stays() -> None:
    layer = linear(config(8, 8))
    aj.calibrate_quantization_ranges(layer, [wave(0)], key=0)

    def outputs(bits: jax.Array) -> jax.Array:
        return nn.with_config(layer, {"act_quant_config.n_bits": bits})(wave(0), key=KEY)

    found = jax.jit(jax.vmap(outputs))(jnp.array([3, 8, 0]))
    assert len(np.unique(np.round(found[0], 5))) <= 8 < len(np.unique(np.round(found[1], 5)))
    np.testing.assert_allclose(found[1], layer(wave(0), key=KEY), atol=1e-6)
    for path, value in (
        ("act_quant_config.n_bits", 0),
        ("act_quant_config.symmetric", False),
        ("act_quant_config.range_estimator", "MSE"),
        ("pre_post.periph_quant.n_bits", 0),
        ("pre_post.periph_quant.learn_quant_params", True),
    ):
        with pytest.raises(aj.ConfigError, match=f"{path}=.* is not allowed on this layer"):
            nn.with_config(layer, {path: value})


@pytest.mark.slow
def test_gradients_of_inputs_and_any_optimizer() -> None:
    """The gradient of a loss is that of the unquantised layer where nothing is clipped, at the quantised scales."""
    layer, plain = linear(config(8)), linear(config(0))
    x, t = wave(0), wave(5, columns=5)
    aj.calibrate_quantization_ranges(layer, [2 * x], key=0)
    of_x = [jax.grad(lambda x, each=each: (each(x, key=KEY) * t).sum())(x) for each in (layer, plain)]
    np.testing.assert_allclose(*of_x, atol=1e-6)
    optimizer = aj.analog_optimizer(optax.adam(0.01))
    state = optimizer.init(layer)
    before = float(loss(layer, x, t)[0])
    for _ in range(3):
        _, gradients = nn.value_and_grad(lambda m, x: loss(m, x, t)[0])(layer, x)
        state = optimizer.update(layer, gradients, state, KEY)
    assert float(loss(layer, x, t)[0]) < before


def test_text() -> None:
    layer = linear(config(8, 8, learn_quant_params=True, split=True))
    assert str(layer.output_quantizer) == "OutputQuantizer()"
    assert str(layer.tiles[0].output_quantizer) == "OutputQuantizer(2 tiles)"
    assert str(layer.bias_quantizer) == "PeripheryQuantizer(learned)"
    assert "output_quantizer" in treescope.render_to_text(layer.tiles[0])


@pytest.mark.slow
def test_training_runs_and_pulsed_tiles() -> None:
    """In the loop of an experiment, whose state goes through a scan, also on tiles that learn by pulses."""
    x = np.asarray(jax.random.normal(KEY, (64, 4)))
    data = aj.data.from_arrays(x, (x[:, 0] > 0).astype(int))
    for own in (config(6, 6, learn_quant_params=True, init_learning_after=3), pulsed()):
        layer = nn.AnalogLinear(4, 2, config=own, rngs=nnx.Rngs(0))
        model = nn.AnalogSequential(layer, nn.LogSoftmax())
        experiment = aj.BasicTraining(dataset=data, model=model, batch_size=8, epochs=2, learning_rate=0.05)
        trained, metrics = aj.fit(experiment, data, 0)
        assert trained.layers[0].output_quantizer.range.get_value().batches >= 8
        assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]


def pulsed() -> aj.TileConfig:
    return aj.SingleRPUConfig(act_quant_config=aj.ActivationQuantConfig(n_bits=6, range_estimator="allminmax"))
