"""Models as chips: programming and drift of layers, and the place of the compensation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from tests.compounds.table import COMPOUNDS
from tests.marks import some

PERFECT = aj.IOParameters(is_perfect=True)
X = jax.random.normal(jax.random.key(2), (5, 8))


def layer(compensation: Any = None, count: bool = False, **fields: Any) -> nn.AnalogLinear:
    """Return a layer with a perfect product, on one tile or on four."""
    mapping = aj.MappingParameter(
        max_input_size=4 if count else 0,
        max_output_size=3 if count else 0,
        weight_scaling_omega=0.6,
        learn_out_scaling=True,
    )
    config = aj.InferenceRPUConfig(forward=PERFECT, drift_compensation=compensation, mapping=mapping, **fields)
    return nn.AnalogLinear(8, 6, config=config, rngs=nnx.Rngs(0))


def only(model: nnx.Module) -> nn.AnalogTile:
    """Return the one tile module of a model."""
    (tile,) = nn.analog_tiles(model).values()
    return tile


def test_the_model_itself_stays_as_it_is() -> None:
    model = layer(aj.GlobalDriftCompensation())
    before = model(X, key=0)
    chip = aj.program(model, 1)
    aj.drift(chip, 1e6, 2)
    np.testing.assert_array_equal(model(X, key=0), before)
    assert only(model).chip is None
    np.testing.assert_array_equal(only(chip).chip.get_value().exact, only(model).state.get_value().weights)


@pytest.mark.parametrize("count", [False, True])
def test_a_layer_does_what_its_tiles_do(count: bool) -> None:
    model = layer(aj.PerColumnDriftCompensation(), count)
    for tile in model.analog_tiles():
        tile.out_scaling.set_value(1.5 * tile.out_scaling.get_value())
    late = aj.drift(aj.program(model, 1), 1e6, 2)
    tile = only(late)
    assert tile.count == (4 if count else None)
    alpha = tile.chip.get_value().alpha
    assert alpha.shape == ((4, 3) if count else (6,))
    scaled = tile.get_weights() * alpha[..., None]
    matrix = late.grid.assembled([scaled])
    np.testing.assert_allclose(late(X, key=0), X @ matrix.T + late.bias.get_value(), rtol=1e-5, atol=1e-5)


def test_the_factor_makes_up_for_the_drift() -> None:
    model = layer(aj.GlobalDriftCompensation())
    late = aj.drift(aj.program(model, 1), 1e7, 2)
    bare = aj.drift(aj.program(layer(), 1), 1e7, 2)
    exact, bias = model(X, key=0), model.bias.get_value()
    size = float(jnp.abs(exact - bias).mean())
    assert float(jnp.abs(late(X, key=0) - exact).mean()) < 0.25 * size
    assert float(jnp.abs(bare(X, key=0) - exact).mean()) > 0.3 * size


def test_tiles_of_a_stack_have_chips_of_their_own() -> None:
    late = only(aj.drift(aj.program(layer(aj.GlobalDriftCompensation(), count=True), 1), 1e6, 2))
    alpha = late.chip.get_value().alpha
    assert alpha.shape == (4,)
    assert len(set(np.asarray(alpha).tolist())) == 4


def test_programming_again_starts_from_the_exact_weights() -> None:
    model = layer(aj.GlobalDriftCompensation())
    again = aj.program(aj.drift(aj.program(model, 1), 1e6, 2), 7)
    np.testing.assert_array_equal(
        only(again).state.get_value().weights, only(aj.program(model, 7)).state.get_value().weights
    )
    assert float(only(again).chip.get_value().alpha) == 1


def test_new_weights_are_no_chip() -> None:
    chip = aj.program(layer(), 1)
    chip.set_weights(*chip.get_weights(), key=0)
    assert only(chip).chip is None
    other = aj.program(layer(), 1)
    other.redraw(key=0)
    np.testing.assert_allclose(other.get_weights()[0], layer().get_weights()[0], rtol=1e-6)
    with pytest.raises(aj.ModuleError, match="was not programmed"):
        aj.drift(other, 1.0, 0)


def test_chips_and_times_are_one_program() -> None:
    model = layer(aj.GlobalDriftCompensation(), count=True)
    graph, state = nnx.split(model)

    def outputs(state: Any, key: jax.Array, t: jax.Array) -> jax.Array:
        chip = aj.program(nnx.merge(graph, state, copy=True), key)
        return aj.drift(chip, t, jax.random.fold_in(key, 1))(X, key=key)

    keys = jax.random.split(jax.random.key(0), 3)
    every = jax.jit(jax.vmap(jax.vmap(outputs, (None, None, 0)), (None, 0, None)))(state, keys, jnp.array([0.0, 1e6]))
    assert every.shape == (3, 2, 5, 6)
    np.testing.assert_allclose(every[1, 1], outputs(state, keys[1], jnp.float32(1e6)), rtol=1e-4, atol=1e-5)


def test_a_network_that_was_trained_with_pulses() -> None:
    model = nn.AnalogLinear(8, 6, config=aj.SingleRPUConfig(), rngs=nnx.Rngs(0))
    chip = aj.program(model, 1, noise_model=aj.PCMLikeNoiseModel(), drift_compensation=aj.GlobalDriftCompensation())
    late = aj.drift(chip, 1e6, 2)
    assert float(only(late).chip.get_value().alpha) > 1.2


KINDS = {
    "single": aj.SoftBoundsDevice(),
    **{name: COMPOUNDS[name] for name in ("vector", "reference", "one-sided", "transfer", "buffered", "chopped")},
    **{name: COMPOUNDS[name] for name in ("dynamic", "mixed precision")},
}
EXACT = aj.PCMLikeNoiseModel(prog_noise_scale=0.0, read_noise_scale=0.0)


@pytest.mark.parametrize("name", some(KINDS, (), ("single", "one-sided", "transfer", "mixed precision")))
def test_every_kind_of_pulsed_tile_is_programmed(name: str) -> None:
    """What a chip holds are the weights that the tile reads with; of the devices below nothing is left."""
    model = nn.AnalogLinear(8, 6, config=aj.TileConfig(device=KINDS[name], forward=PERFECT), rngs=nnx.Rngs(0))
    tile = only(model)
    for number in range(3):  # hidden weights and buffers move
        tile.update(X, 0.3 * X[:, :6], 0.1, number)
        tile.end_of_batch(number)
    chip = aj.program(model, 1, noise_model=EXACT, drift_compensation=aj.GlobalDriftCompensation())
    np.testing.assert_allclose(chip(X, key=0), model(X, key=0), rtol=1e-4, atol=1e-5)
    late = aj.drift(chip, 1e6, 2)
    assert float(only(late).chip.get_value().alpha) > 1.2
    size = float(jnp.abs(model(X, key=0) - model.bias.get_value()).mean())
    assert float(jnp.abs(late(X, key=0) - model(X, key=0)).mean()) < 0.2 * size
    with pytest.raises(aj.ModuleError, match="is programmed, so it is not trained"):
        nn.value_and_grad(lambda model: model(X, key=0).sum())(chip)


def test_a_model_of_flax_and_its_convolution() -> None:
    config = aj.InferenceRPUConfig(forward=PERFECT, drift_compensation=aj.PerColumnDriftCompensation())
    conv = nn.AnalogConv(2, 3, (2, 2), config=config, rngs=nnx.Rngs(0))
    model = nnx.Sequential(conv, nnx.BatchNorm(3, use_running_average=True, rngs=nnx.Rngs(0)))
    late = aj.drift(aj.program(model, 1), 1e4, 2)
    assert nn.call(late, jnp.ones((2, 5, 5, 2)), key=0).shape == nn.call(model, jnp.ones((2, 5, 5, 2)), key=0).shape


ERRORS = [
    (lambda: aj.drift(layer(), 1.0, 0), "tiles/0 was not programmed: give what aihwjax.program returns"),
    (lambda: aj.program(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), 0), "model=Linear has no analog layer"),
    (lambda: aj.program(nn.AnalogLinear(2, 3, rngs=nnx.Rngs(0)), 0), "tiles/0: noise_model=None is not allowed"),
    (lambda: aj.drift(aj.program(layer(), 1), -2.0, 0), "t=-2 is not allowed: give seconds after programming"),
    (lambda: aj.program(layer(), "key"), "key='key' is not allowed"),
    (lambda: only(layer()).drift(1.0, 0), "was not programmed: call its program"),
    (
        lambda: nn.value_and_grad(lambda model: model(X, key=0).sum())(aj.program(layer(), 1)),
        "is programmed, so it is not trained: train the model that was given",
    ),
]


@pytest.mark.parametrize(("call", "message"), ERRORS)
def test_bad_input_is_one_line(call: Any, message: str) -> None:
    with pytest.raises(aj.AihwjaxError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
