"""Input ranges of whole models from data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import AihwjaxError
from aihwjax.nn.variables import FixedInputRange, InputRange
from tests.marks import some
from tests.nn.models import exact, inputs, linear, network, noisy, ranged

KEY = jax.random.key(5)
BATCHES = [jnp.abs(inputs(6, 4, seed=number)) for number in range(3)]


def ranges(model: nnx.Module) -> list[float]:
    return [float(r) for t in nn.analog_tiles(model).values() for r in jnp.ravel(t.input_range.get_value())]


def test_each_tile_sees_what_the_layers_before_make_of_the_data() -> None:
    model = network(exact())
    hidden = [nnx.tanh(model.layers[0](jnp.clip(x, -3, 3), key=KEY)) for x in BATCHES]
    found = aj.calibrate(model, BATCHES, "MAX", key=0)
    expected = [float(jnp.abs(jnp.stack(each)).max()) for each in (BATCHES, hidden)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert ranges(model) == pytest.approx(expected)


@pytest.mark.parametrize("method", some(["MAX", "CACHE_QUANTILE", "MOVING_QUANTILE", "MOVING_STD"], ["CACHE_QUANTILE"]))
def test_batches_one_by_one_as_an_array_and_as_arguments_are_the_same(method: str) -> None:
    found = []
    for batches in (BATCHES, jnp.stack(BATCHES), iter([((np.asarray(x),), {}) for x in BATCHES])):
        found.append(aj.calibrate(network(noisy()), batches, method, key=0, quantile=0.9))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5)


def test_what_a_calibration_leaves_behind() -> None:
    model = network(aj.InferenceRPUConfig())
    before = jax.tree.leaves(nnx.state(model, nn.TileVariable))
    aj.calibrate(model, BATCHES, "MOVING_STD", key=0)
    for tile, value in zip(nn.analog_tiles(model).values(), ranges(model), strict=True):
        config = tile.config.get_value()
        assert config.forward.noise_management is aj.NoiseManagementType.NONE and not config.forward.is_perfect
        parameter = config.pre_post.input_range
        assert (parameter.enable, parameter.learn_input_range, parameter.init_from_data) == (True, False, 0)
        assert parameter.init_value == pytest.approx(value) and parameter.calibration_info == "MOVING_STD"
        assert isinstance(tile.input_range, FixedInputRange) and tile.watch is None
    for old, new in zip(before, jax.tree.leaves(nnx.state(model, nn.TileVariable)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_learned_range_stays_a_parameter_and_is_trained_on() -> None:
    model = network(ranged(init_from_data=3, decay=0.5))
    aj.calibrate(model, BATCHES, "MAX", key=0)
    assert all(isinstance(tile.input_range, InputRange) for tile in nn.analog_tiles(model).values())
    before = ranges(model)
    _, gradients = nn.value_and_grad(lambda model: model(0.1 * BATCHES[0], key=KEY).sum())(model)
    optimizer = aj.analog_sgd(0.1)
    optimizer.update(model, gradients, optimizer.init(model), KEY)
    np.testing.assert_allclose(ranges(model), 0.95 * np.asarray(before), rtol=1e-5)  # the decay alone, not the data


@pytest.mark.parametrize("method", some(["MAX", "MOVING_QUANTILE"], ["MOVING_QUANTILE"], ["MAX"]))
def test_tiles_of_a_layer_have_ranges_of_their_own(method: str) -> None:
    scale = jnp.array([1.0, 1.0, 5.0, 5.0, 9.0])
    layer = nn.AnalogLinear(5, 4, config=exact(max_input_size=2, max_output_size=2), rngs=nnx.Rngs(0))
    batches = [jnp.abs(inputs(7, 5, seed=number)) * scale for number in range(2)]
    found = aj.calibrate(layer, batches, method, key=0, quantile=1.0)
    over = np.max if method == "MAX" else np.mean
    parts = [float(over([jnp.abs(x[:, a:b]).max() for x in batches])) for a, b in ((0, 2), (2, 4), (4, 5))]
    assert len(found) == 6
    assert sorted(set(np.round(np.asarray(found, float), 4))) == pytest.approx(sorted(parts), rel=1e-3)
    x = jnp.minimum(batches[0], 0.5)
    np.testing.assert_allclose(layer(x, key=KEY), x @ layer.get_weights()[0].T + layer.bias.get_value(), rtol=1e-4)


def test_every_step_of_a_recurrent_layer_and_every_patch_of_an_image_counts() -> None:
    layer = nn.AnalogRNN("AnalogVanillaRNNCell", 2, 3, config=exact(), rngs=nnx.Rngs(0))
    x = inputs(4, 6, 2)
    hidden = layer(jnp.clip(x, -3, 3), key=KEY)  # the outputs are what the next step multiplies
    found = dict(zip(nn.analog_tiles(layer), np.asarray(aj.calibrate(layer, [x], "MAX", key=0)), strict=True))
    of = {place: next(value for path, value in found.items() if place in path) for place in ("input", "hidden")}
    assert of["input"] == pytest.approx(float(jnp.abs(x).max()))
    assert of["hidden"] == pytest.approx(float(jnp.abs(hidden[:, :-1]).max()), rel=1e-5)
    images = inputs(2, 5, 5, 3)
    conv = nn.AnalogConv2d(3, 4, (2, 2), config=exact(), rngs=nnx.Rngs(0))
    assert float(aj.calibrate(conv, [images], "MAX", key=0)[0]) == pytest.approx(float(jnp.abs(images).max()))


def test_layers_that_nobody_gives_a_key_and_flax_transformations() -> None:
    class Model(nnx.Module):
        def __init__(self) -> None:
            rngs = nnx.Rngs(0)
            self.first = nn.AnalogLinear(4, 4, config=exact(), rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x: jax.Array, *, twice: bool = False) -> jax.Array:
            inner = nnx.remat(lambda first, x: first(x))
            x = self.drop(inner(self.first, x))
            return inner(self.first, 10 * x) if twice else x

    x = BATCHES[0]
    once = aj.calibrate(Model(), [x], "MAX", key=0)
    assert float(once[0]) == pytest.approx(float(x.max()))
    model = Model()
    reached = 10 * float(jnp.abs(nn.call(model.first, jnp.clip(x, -3, 3), key=KEY)).max())
    twice = aj.calibrate(model, [((x,), {"twice": True})], "MAX", key=0)
    assert float(twice[0]) == pytest.approx(max(reached, float(x.max())), rel=1e-5)
    assert not model.drop.deterministic  # evaluation was that of a copy


def test_inputs_inside_a_function_that_hides_them_are_an_error() -> None:
    class Hidden(nnx.Module):
        def __init__(self) -> None:
            self.layer = nn.AnalogLinear(4, 4, config=exact(), rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array, *, key: Any = None) -> jax.Array:
            return jax.lax.scan(lambda x, _: (self.layer(x, key=KEY), None), x, None, length=2)[0]

    with pytest.raises(AihwjaxError, match=r"use the transformation of nnx .* or aihwjax.nn.scan"):
        aj.calibrate(Hidden(), BATCHES, key=0)


def test_a_tile_that_sees_nothing_keeps_its_range_with_a_warning() -> None:
    model = network(ranged(init_value=2.0))
    last = model.layers[0].tiles[0]
    last.set_weights(jnp.zeros((6, 4)), KEY)
    model.layers[0].bias.set_value(jnp.zeros(6))
    with pytest.warns(UserWarning, match="the input range of layers/2/tiles/0 stays"):
        found = aj.calibrate(model, BATCHES, "MAX", key=0)
    assert float(found[1]) == 2.0 and float(found[0]) != 2.0


def test_only_tiles_with_a_range_are_calibrated_if_wanted() -> None:
    rngs = nnx.Rngs(0)
    model = nn.AnalogSequential(
        nn.AnalogLinear(4, 4, config=exact(), rngs=rngs), nn.AnalogLinear(4, 3, config=ranged(), rngs=rngs)
    )
    found = aj.calibrate(model, BATCHES, "MAX", key=0, force_all_layers=False)
    assert found.shape == (1,) and model.layers[0].tiles[0].input_range is None
    assert aj.calibrate(model, BATCHES, "NONE", key=0).tolist() == found.tolist()


def test_the_moving_kinds_begin_anew_except_in_the_reference() -> None:
    x = BATCHES[0]

    def found(quirks: bool) -> float:
        layer = nn.AnalogLinear(4, 3, config=ranged(quirks, init_from_data=3), rngs=nnx.Rngs(0))
        nn.value_and_grad(lambda layer: layer(10 * x, key=KEY).sum())(layer)
        result = float(aj.calibrate(layer, [x], "MOVING_STD", key=0)[0])
        info = layer.tiles[0].config.get_value().pre_post.input_range.calibration_info
        assert info is None if quirks else info == "MOVING_STD"
        return result

    one = 3 * float(np.std(np.asarray(x), ddof=1))
    assert found(False) == pytest.approx(one, rel=1e-5)
    assert found(True) == pytest.approx((10 * one + one) / 2, rel=1e-5)


def test_a_range_is_set_by_hand() -> None:
    layer = nn.AnalogLinear(4, 4, config=ranged(mapping=aj.MappingParameter(max_input_size=2)), rngs=nnx.Rngs(0))
    (tile,) = layer.tiles
    tile.set_input_range(-0.5)
    assert tile.input_range.get_value().tolist() == [0.5, 0.5]
    tile.set_input_range(jnp.array([1.0, 2.0]))
    assert ranges(layer) == [1.0, 2.0]
    for value, message in ((0.0, "not allowed as an input range"), (jnp.ones(3), "give one number, or")):
        with pytest.raises(AihwjaxError, match=message):
            tile.set_input_range(value)
    with pytest.raises(AihwjaxError, match="has no input range"):
        network(exact()).layers[0].tiles[0].set_input_range(1.0)


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: aj.calibrate(network(exact()), [], key=0), "batches has none"),
    (lambda: aj.calibrate(network(exact()), iter(()), key=0), "batches has none"),
    (lambda: aj.calibrate(network(exact()), jnp.ones(4), key=0), "batches have shape"),
    (lambda: aj.calibrate(network(exact()), [(BATCHES[0], jnp.ones(6))], key=0), r"batch 0 is of type tuple.*give x"),
    (lambda: aj.calibrate(network(exact()), None, key=0), "batches=NoneType is not allowed"),
    (lambda: aj.calibrate(linear(exact()), [0 * BATCHES[0]], key=0), "batches give no tile an input range"),
    (lambda: aj.calibrate(network(exact()), BATCHES, "MOVING_STDEV", key=0), "did you mean 'MOVING_STD'"),
    (lambda: aj.calibrate(network(exact()), BATCHES, key="k"), "key='k' is not allowed"),
    (lambda: aj.calibrate(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), BATCHES, key=0), "has no analog layer"),
    (
        lambda: aj.calibrate(network(exact()), BATCHES, key=0, force_all_layers=False),
        "force_all_layers=False is not allowed for a model without an input range",
    ),
    (
        lambda: aj.calibrate(
            network(ranged().replace({"forward.noise_management": "ABS_MAX", "forward.inp_bound": 1.0})),
            BATCHES,
            key=0,
            force_all_layers=False,
        ),
        "layers/0/tiles/0: forward.noise_management=ABS_MAX is not allowed",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_mistakes_are_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(AihwjaxError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
