"""The linear layer: splitting, bias, scales, weights, errors (spec: layers, sections 2 and 5; tile_ops)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn
from aihwjax.errors import ConfigError, ModuleError, NonFiniteError, ShapeError
from aihwjax.tile.config import SingleRPUConfig, TileConfig
from aihwjax.tile.product.periphery import MappingParameter
from tests.nn.models import BARE, exact, inputs, linear, noisy, ranged

KEY = jax.random.key(3)
W = inputs(3, 4, seed=5)
B = inputs(3, seed=6)

LAYOUTS = {
    "one tile": exact(),
    "analog bias": exact(digital_bias=False),
    "split inputs": exact(max_input_size=2),
    "split outputs": exact(max_output_size=2),
    "split both ways": exact(max_input_size=3, max_output_size=1),
    "split, analog bias asked for": exact(max_input_size=3, digital_bias=False),
    "scaled": exact(weight_scaling_omega=0.6),
    "scaled per output": exact(weight_scaling_omega=0.6, weight_scaling_columnwise=True),
    "scaled, split": exact(weight_scaling_omega=0.6, max_input_size=2, max_output_size=2),
    "scaled, analog bias": exact(weight_scaling_omega=0.6, digital_bias=False),
    "learned scale": exact(learn_out_scaling=True),
    "learned scales, scaled": exact(learn_out_scaling=True, out_scaling_columnwise=True, weight_scaling_omega=0.6),
    "input range": ranged(init_value=100.0),
    "input range, analog bias": ranged(init_value=100.0, mapping=MappingParameter(digital_bias=False)),
}


@pytest.mark.parametrize("config", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 5, 4)])
def test_exact_tiles_give_the_digital_result_in_every_layout(
    config: TileConfig, bias: bool, shape: tuple[int, ...]
) -> None:
    layer = linear(config, bias=bias)
    layer.set_weights(W, B if bias else None, key=KEY)
    weights, vector = layer.get_weights()
    np.testing.assert_allclose(weights, W, rtol=1e-5, atol=1e-6)
    assert (vector is not None) is bias
    x = inputs(*shape)
    expected = np.asarray(x) @ np.asarray(W).T + (np.asarray(B) if bias else 0)
    y = layer(x, key=KEY)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mapping", "stacks", "analog"),
    [
        ({}, [(3, 4)], False),
        ({"digital_bias": False}, [(3, 5)], True),
        ({"max_input_size": 3}, [(2, 3, 2)], False),
        ({"max_output_size": 2}, [(2, 4), (1, 4)], False),
        ({"max_input_size": 3, "digital_bias": False}, [(2, 3, 2)], False),
        ({"max_input_size": 3, "max_output_size": 2}, [(2, 2, 2), (2, 1, 2)], False),
    ],
)
def test_equal_tiles_are_a_stack_and_the_place_of_the_bias(
    mapping: dict[str, int], stacks: list[tuple[int, ...]], analog: bool
) -> None:
    layer = linear(exact(**mapping))
    assert [tile.state.get_value().weights.shape for tile in layer.analog_tiles()] == stacks
    assert layer.analog_bias is analog
    assert (layer.bias is None) is analog


def test_tiles_of_an_array_have_devices_of_their_own() -> None:
    (stack,) = linear(SingleRPUConfig(mapping=MappingParameter(max_input_size=2))).analog_tiles()
    first, second = stack.hidden_parameters()["max_bound"]
    assert not np.allclose(first, second)


def test_initial_weights_are_uniform_within_one_over_root_fan_in() -> None:
    weights, bias = linear(exact(), 100, 400).get_weights()
    for values in (weights, bias):
        assert float(jnp.abs(values).max()) <= 0.1
        # a uniform variable has standard deviation limit/sqrt(3); its estimate a relative error of about 0.45/sqrt(n)
        assert float(values.std()) == pytest.approx(0.1 / np.sqrt(3), rel=4 * 0.45 / np.sqrt(values.size))
        assert abs(float(values.mean())) < 4 * 0.1 / np.sqrt(3 * values.size)


def test_initial_weights_are_clipped_to_the_devices_bounds() -> None:
    layer = linear(SingleRPUConfig(), 1, 300, bias=False)
    weights, _ = layer.get_weights()
    top = layer.analog_tiles()[0].hidden_parameters()["max_bound"]
    assert bool((weights <= top).all())
    assert float((weights == top).mean()) > 0.1


def test_equal_seeds_make_equal_layers() -> None:
    first, second = (nn.AnalogLinear(4, 3, config=SingleRPUConfig(), rngs=nnx.Rngs(7)) for _ in range(2))
    assert jax.tree.all(jax.tree.map(lambda a, b: jnp.array_equal(a, b), nnx.state(first), nnx.state(second)))


def test_weight_scaling_example_with_analog_bias() -> None:
    # spec: layers, section 2: weights 0.1, bias 2, omega 1 give scale 2, stored 0.05 and 1
    layer = linear(exact(weight_scaling_omega=1.0, digital_bias=False))
    layer.set_weights(jnp.full((3, 4), 0.1), jnp.full((3,), 2.0), key=KEY)
    weights, bias = layer.get_weights(apply_weight_scaling=False)
    np.testing.assert_allclose(weights, 0.05, rtol=1e-6)
    np.testing.assert_allclose(bias, 1.0, rtol=1e-6)
    np.testing.assert_allclose(layer.analog_tiles()[0].state.get_value().mapping_scales, [2.0])


def test_a_digital_bias_takes_no_part_in_the_scaling() -> None:
    layer = linear(exact(weight_scaling_omega=1.0))
    layer.set_weights(jnp.full((3, 4), 0.1), jnp.full((3,), 2.0), key=KEY)
    np.testing.assert_allclose(layer.get_weights(apply_weight_scaling=False)[0], 1.0, rtol=1e-6)
    np.testing.assert_array_equal(layer.get_weights()[1], 2.0)


def test_setting_without_scaling_keeps_the_scales() -> None:
    # spec: tile_ops, trap 1: 0.2 -> 0.08 with a scale of 0.4
    layer = linear(exact(), bias=False)
    layer.set_weights(jnp.full((3, 4), 0.4), key=KEY)
    layer.remap_weights(1.0, key=KEY)
    np.testing.assert_allclose(layer.get_weights()[0], 0.4, rtol=1e-6)
    np.testing.assert_allclose(layer.get_weights(apply_weight_scaling=False)[0], 1.0, rtol=1e-6)
    layer.set_weights(jnp.full((3, 4), 0.2), key=KEY)
    np.testing.assert_allclose(layer.get_weights()[0], 0.08, rtol=1e-6)


def test_scaling_resets_the_learned_scale() -> None:
    layer = linear(exact(learn_out_scaling=True, weight_scaling_omega=0.6), bias=False)
    (tile,) = layer.analog_tiles()
    tile.out_scaling.set_value(jnp.asarray([3.0]))
    before, _ = layer.get_weights()
    layer.remap_weights(0.5, key=KEY)
    np.testing.assert_allclose(layer.get_weights()[0], before, rtol=1e-5)
    np.testing.assert_array_equal(tile.out_scaling.get_value(), [1.0])


def test_a_bias_that_is_left_out_stays_if_digital_and_is_cleared_if_analog() -> None:
    for config, expected in ((exact(), B), (exact(digital_bias=False), jnp.zeros(3))):
        layer = linear(config)
        layer.set_weights(W, B, key=KEY)
        layer.set_weights(W, key=KEY)
        np.testing.assert_allclose(layer.get_weights()[1], expected)


def test_the_analog_bias_keeps_its_size_under_an_input_range_unless_quirky() -> None:
    # spec: tile_ops, bug 6: b = 0.5 and r = 2 give 0.5, the reference gives 1.0
    for quirks, expected in ((False, 0.5), (True, 1.0)):
        layer = linear(ranged(quirks, init_value=2.0, mapping=MappingParameter(digital_bias=False)))
        layer.set_weights(jnp.zeros((3, 4)), jnp.full(3, 0.5), key=KEY)
        np.testing.assert_allclose(layer(jnp.ones((2, 4)), key=KEY), expected, rtol=1e-6)


def test_noise_depends_on_key_and_tile() -> None:
    layer = linear(noisy(), 4, 3)
    x = jnp.ones((20, 4))
    y = layer(x, key=KEY)
    np.testing.assert_array_equal(y, layer(x, key=KEY))
    assert not np.array_equal(y, layer(x, key=jax.random.key(4)))
    split = linear(noisy(max_output_size=2), 4, 4)
    split.set_weights(jnp.zeros((4, 4)), jnp.zeros(4), key=KEY)
    halves = split(x, key=KEY)
    assert not bool((halves[:, :2] == halves[:, 2:]).any())


def test_a_vector_sees_the_same_noise_alone_and_in_a_batch() -> None:
    layer, x = linear(noisy()), inputs(6, 4)
    np.testing.assert_allclose(layer(x, key=KEY)[:2], layer(x[:2], key=KEY), rtol=1e-5, atol=1e-6)


def test_calls_that_do_not_fit() -> None:
    layer = linear(exact())
    with pytest.raises(ModuleError, match=r"AnalogLinear\(4, 3\) needs a key: call it as"):
        layer(jnp.ones((2, 4)))
    with pytest.raises(ShapeError, match=r"x has shape \(2, 5\), give \(\.\.\., 4\)"):
        layer(jnp.ones((2, 5)), key=KEY)
    with pytest.raises(ShapeError, match=r"x has shape \(\), give \(\.\.\., 4\)"):
        layer(jnp.ones(()), key=KEY)


@pytest.mark.parametrize(
    ("weights", "bias", "error", "message"),
    [
        (W[:2], B, ShapeError, r"weights has shape \(2, 4\), give \(3, 4\)"),
        (W.T, B, ShapeError, r"weights has shape \(4, 3\), give \(3, 4\)"),
        (W, B[:2], ShapeError, r"bias has shape \(2,\), give \(3,\)"),
        (W.at[0, 0].set(jnp.nan), B, NonFiniteError, "weights has NaN or infinity"),
        (W, B.at[0].set(jnp.inf), NonFiniteError, "bias has NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit(weights: jax.Array, bias: jax.Array, error: type[Exception], message: str) -> None:
    layer = linear(exact())
    before = layer.get_weights()
    with pytest.raises(error, match=message):
        layer.set_weights(weights, bias, key=KEY)
    np.testing.assert_array_equal(layer.get_weights()[0], before[0])


def test_not_a_number_can_be_written_on_purpose() -> None:
    layer = linear(exact())
    layer.set_weights(W.at[0, 0].set(jnp.nan), B, key=KEY, check_finite=False)
    assert bool(jnp.isnan(layer.get_weights()[0][0, 0]))


def test_a_bias_for_a_layer_without_one() -> None:
    with pytest.raises(ModuleError, match="has no bias"):
        linear(exact(), bias=False).set_weights(W, B, key=KEY)


@pytest.mark.parametrize("sizes", [(0, 3), (4, -1), (4, 2.5), (True, 3)])
def test_sizes_that_are_not_allowed(sizes: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="give a whole number of at least 1"):
        linear(exact(), *sizes)


def test_a_configuration_that_is_none() -> None:
    with pytest.raises(ConfigError, match="give a TileConfig"):
        nn.AnalogLinear(4, 3, config=SingleRPUConfig, rngs=nnx.Rngs(0))  # type: ignore[arg-type]


def test_the_default_configuration_is_a_pulsed_device() -> None:
    (tile,) = nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0)).analog_tiles()
    assert tile.config.get_value() == SingleRPUConfig()


@pytest.mark.parametrize(
    ("field", "io"),
    [
        ("noise_management", {"noise_management": "ABS_MAX"}),
        ("bound_management", {"bound_management": "ITERATIVE"}),
        ("is_perfect", {"is_perfect": True}),
    ],
)
def test_the_input_range_manages_output_clipping_only_where_the_product_does_not(
    field: str, io: dict[str, object]
) -> None:
    config = ranged(manage_output_clipping=True)
    linear(config)
    with pytest.raises(ConfigError, match=f"forward.{field}=.* is not allowed with pre_post.input_range"):
        linear(config.replace(forward=BARE.replace(inp_bound=1.0, **io)))


def test_text_names_size_bias_device_and_tiles() -> None:
    assert str(linear(exact())) == "AnalogLinear(4, 3, bias=True, FloatingPointDevice)"
    assert str(linear(exact(digital_bias=False))) == "AnalogLinear(4, 3, bias=analog, FloatingPointDevice)"
    split = linear(noisy(max_input_size=2), bias=False)
    assert repr(split) == "AnalogLinear(4, 3, bias=False, ConstantStepDevice, 2x1 tiles of up to 2x3)"
    assert str(split.analog_tiles()[0]) == "AnalogTile(2 of 3x2, ConstantStepDevice)"
