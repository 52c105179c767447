"""The input range: product, gradient, initialisation from data (spec: tile_ops, section 7)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn
from aihwjax.errors import ModuleError
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.input_range import range_sums
from aihwjax.tile.product.periphery import MappingParameter
from tests.marks import slow
from tests.nn.models import exact, inputs, linear, ranged

KEY = jax.random.key(4)


def single(config: TileConfig, weight: float = 0.5) -> nn.AnalogLinear:
    layer = linear(config, 1, 1, bias=False)
    layer.set_weights(jnp.full((1, 1), weight), key=KEY)
    return layer


def slope(config: TileConfig, x: list[float], d: list[float], weight: float = 0.5) -> float:
    """Gradient of the range for inputs x and output gradients d."""
    layer = single(config, weight)

    def loss(layer: nn.AnalogLinear) -> jax.Array:
        return (layer(jnp.asarray(x)[:, None], key=KEY)[:, 0] * jnp.asarray(d)).sum()

    _, gradients = nn.value_and_grad(loss)(layer)
    return float(jax.tree.leaves(gradients.digital)[0])


# weight 0.5, range 2, so that d = 2 g gives the input gradient g of the check values
CHECK_VALUES: list[tuple[dict[str, Any], list[float], list[float], float]] = [
    ({"gradient_relative": False}, [3.0], [-2.0], -1.0),
    ({"gradient_relative": False}, [3.0], [2.0], 0.0),
    ({"gradient_relative": False}, [-3.0], [2.0], -1.0),
    ({"gradient_relative": False}, [-3.0], [-2.0], 0.0),
    ({"gradient_relative": False}, [1.0], [-2.0], 0.0),
    ({"gradient_relative": False}, [3.0, -3.0, 2.5], [-2.0, 2.0, -2.0], -3.0),
    ({"gradient_relative": False, "gradient_scale": 5.0}, [3.0], [-1.0], -0.5),
    ({"gradient_scale": 5.0}, [3.0], [-1.0], -5.0),
    ({"decay": 0.1}, [1.0, 1.0], [1.0, 1.0], 0.2),
    ({"decay": 0.1, "gradient_relative": False}, [1.0, 3.0], [1.0, -2.0], -1.0),
    ({"decay": 0.1, "input_min_percentage": 0.4, "gradient_relative": False}, [1.0, 3.0], [1.0, -2.0], -0.8),
]


@pytest.mark.parametrize(("fields", "x", "d", "expected"), CHECK_VALUES)
def test_gradient_of_the_range(fields: dict[str, Any], x: list[float], d: list[float], expected: float) -> None:
    assert slope(ranged(init_value=2.0, **{"decay": 0.0, **fields}), x, d) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("quirks", "expected"), [(False, -0.5 * 2), (True, -0.25 * 2)])
def test_clipped_outputs_shrink_the_range(quirks: bool, expected: float) -> None:
    # one of two outputs clipped, from two inputs: half of the outputs, but a quarter of the inputs (bug 4)
    config = ranged(quirks, out_bound=0.4, init_value=2.0, decay=0.0, manage_output_clipping=True)
    layer = linear(config, 2, 1, bias=False)
    layer.set_weights(jnp.asarray([[0.5, 0.0]]), key=KEY)
    x = jnp.asarray([[1.9, 0.0], [0.1, 0.0]])  # 0.475 and 0.025 at the converter
    _, gradients = nn.value_and_grad(lambda layer: layer(x, key=KEY).sum())(layer)
    assert float(gradients.digital["tiles"][0]["input_range"].get_value()) == pytest.approx(expected, rel=1e-5)


def test_inputs_beyond_the_range_are_clipped_and_pass_their_gradient() -> None:
    layer = single(ranged(init_value=2.0))
    x = jnp.asarray([[1.0], [3.0], [-5.0]])
    np.testing.assert_allclose(layer(x, key=KEY), [[0.5], [1.0], [-1.0]], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: layer(x, key=KEY).sum())(x), 0.5)


def test_a_clipped_output_blocks_the_input_gradient_but_not_the_update() -> None:
    layer = single(ranged(out_bound=0.4, init_value=1.0))
    x = jnp.asarray([[0.9], [0.1]])
    np.testing.assert_allclose(jax.grad(lambda x: layer(x, key=KEY).sum())(x), [[0.0], [0.5]])
    _, gradients = nn.value_and_grad(lambda layer: layer(x, key=KEY).sum())(layer)
    np.testing.assert_allclose(gradients.analog["tiles/0"][1], 1.0)


def test_the_range_starts_as_a_multiple_of_the_spread_of_the_first_batches() -> None:
    layer = linear(ranged(init_from_data=2, init_std_alpha=3.0, init_value=50.0), 4, 3)
    (tile,) = layer.analog_tiles()
    batches = [inputs(8, 4, seed=seed) * (seed + 1) for seed in range(3)]
    spreads = [3 * float(np.std(np.asarray(x), ddof=1)) for x in batches]
    expected = [spreads[0], (spreads[0] + spreads[1]) / 2, (spreads[0] + spreads[1]) / 2]
    step = nnx.jit(nn.value_and_grad(lambda layer, x: layer(x, key=KEY).sum()))
    for x, value, count in zip(batches, expected, (1, 2, 2), strict=True):
        step(layer, x)
        assert float(tile.input_range.get_value()) == pytest.approx(value, rel=1e-5)
        assert int(tile.input_range_count.get_value()) == count


def test_the_first_batch_already_uses_the_range_and_its_gradient_is_taken_there() -> None:
    layer = single(ranged(init_from_data=1, init_std_alpha=1.0, init_value=50.0, decay=0.0))
    x = jnp.asarray([[-1.0], [1.0], [3.0]])  # standard deviation 2
    value, gradients = nn.value_and_grad(lambda layer: -layer(x, key=KEY).sum())(layer)
    assert float(value) == pytest.approx(-0.5 * (-1 + 1 + 2))
    assert float(jax.tree.leaves(gradients.digital)[0]) == pytest.approx(-0.5 * 2)


@pytest.mark.parametrize("x", [jnp.ones((3, 4)), jnp.zeros((3, 4))])
def test_data_without_spread_initialise_nothing(x: jax.Array) -> None:
    layer = linear(ranged(init_from_data=5, init_value=2.0), 4, 3)
    (tile,) = layer.analog_tiles()
    nn.value_and_grad(lambda layer: layer(x, key=KEY).sum())(layer)
    assert float(tile.input_range.get_value()) == 2.0
    assert int(tile.input_range_count.get_value()) == 0


def test_evaluation_leaves_the_range_alone() -> None:
    layer = linear(ranged(init_from_data=5, init_value=2.0), 4, 3)
    layer(inputs(8, 4), key=KEY)
    assert float(layer.analog_tiles()[0].input_range.get_value()) == 2.0


def test_a_fixed_range_is_initialised_but_not_a_parameter() -> None:
    layer = linear(ranged(init_from_data=5, learn_input_range=False), 4, 3, bias=False)
    _, gradients = nn.value_and_grad(lambda layer: layer(inputs(8, 4), key=KEY).sum())(layer)
    assert jax.tree.leaves(gradients.digital) == []
    assert int(layer.analog_tiles()[0].input_range_count.get_value()) == 1


def test_initialisation_from_data_inside_a_loop_over_time_is_refused() -> None:
    layer = linear(ranged(init_from_data=5), 4, 3)

    def loss(layer: nn.AnalogLinear) -> jax.Array:
        return nn.scan(lambda c, x: (c, layer(x, key=KEY).sum()), 0.0, inputs(3, 2, 4))[1].sum()

    with pytest.raises(ModuleError, match="init_from_data is not allowed in a layer inside"):
        nn.value_and_grad(loss)(layer)


@pytest.mark.parametrize(("quirks", "factor"), [(False, 1.0), (True, 1 / 2)])
def test_the_update_follows_the_gradient_except_for_the_references_missing_factor(quirks: bool, factor: float) -> None:
    # spec: update, bug 4: the reference's effective learning rate is lr/r
    layer = linear(ranged(quirks, init_value=2.0), 2, 1, bias=False)
    (tile,) = layer.analog_tiles()
    before, _ = layer.get_weights()
    tile.update(jnp.asarray([[1.0, 3.0]]), jnp.asarray([[0.5]]), 0.1, KEY)
    moved = layer.get_weights()[0] - before
    np.testing.assert_allclose(moved, -0.1 * 0.5 * factor * jnp.asarray([[1.0, 2.0]]), rtol=1e-4, atol=1e-7)


SCALED = [
    {},
    {"weight_scaling_columnwise": True},
    {"weight_scaling_lr_compensation": True},
    {"weight_scaling_columnwise": True, "weight_scaling_lr_compensation": True},
    {"digital_bias": False},
]


@pytest.mark.parametrize("mapping", SCALED)
@pytest.mark.parametrize("with_range", [slow(False), True])
def test_scales_do_not_change_how_logical_weights_learn(mapping: dict[str, bool], with_range: bool) -> None:
    fields = {"weight_scaling_omega": 0.3, **mapping}
    config = ranged(init_value=1.5, mapping=MappingParameter(**fields)) if with_range else exact(**fields)
    layer = linear(config)
    (tile,) = layer.analog_tiles()
    weights, bias = layer.get_weights()
    x, d = inputs(5, 4), inputs(5, 3, seed=8)
    tile.update(x, d, 0.1, KEY)
    new_weights, new_bias = layer.get_weights()
    seen = jnp.clip(x, -1.5, 1.5) if with_range else x
    np.testing.assert_allclose(new_weights - weights, -0.1 * d.T @ seen, rtol=1e-3, atol=1e-6)
    if layer.analog_bias:
        np.testing.assert_allclose(new_bias - bias, -0.1 * d.sum(0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 7)])
def test_sums_over_a_batch_are_those_of_numpy_and_have_a_derivative(shape: tuple[int, ...]) -> None:
    x, delta = (3 * jax.random.normal(key, shape) for key in jax.random.split(KEY))
    limit = jnp.float32(1.5)
    sums = jax.jit(range_sums)(limit, x, delta, None)
    above, below = x >= limit, x <= -limit
    pull = np.minimum(delta, 0)[above].sum() - np.maximum(delta, 0)[below].sum()
    assert float(sums.pull) == pytest.approx(pull, rel=1e-5)
    assert int(sums.inside) == int((abs(x) < limit).sum())
    slope = jax.grad(lambda delta: range_sums(limit, x, delta, None).pull)(delta)
    expected = np.where(above & (delta < 0), 1.0, 0.0) - np.where(below & (delta > 0), 1.0, 0.0)
    np.testing.assert_array_equal(slope, expected)
    both = jax.vmap(range_sums, (0, None, None, None))(jnp.stack([limit, 2 * limit]), x, delta, None)
    assert int(both.inside[0]) == int(sums.inside) < int(both.inside[1])
