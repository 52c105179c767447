"""Any transformation on inference tiles: as in digital training, exact gradients, beside pulses, forms of a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn, optim
from aihwjax.errors import AihwjaxError, ConfigError, ModuleError, NonFiniteError
from aihwjax.nn.parameters import gradient_of, weights_of
from tests.nn.models import BARE, exact, inputs, linear, network

KEY = jax.random.key(6)
PERFECT = aj.IOParameters(is_perfect=True)
X, Y = inputs(8, 4), inputs(8, 3, seed=2)
NOISE = aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.2)
ADAM = optax.adam(0.01)


def inference(mapping: dict[str, Any] | None = None, **fields: Any) -> aj.TileConfig:
    """Return an inference tile with a perfect product."""
    return aj.InferenceRPUConfig(**{"forward": PERFECT, "mapping": aj.MappingParameter(**(mapping or {})), **fields})


def loss(model: Any, x: jax.Array, y: jax.Array, key: Any) -> jax.Array:
    return nn.losses.MSELoss()(model(x, key=key), y)


def trained(model: nnx.Module, optimizer: optim.Optimizer, steps: int = 1, loss: Callable[..., Any] = loss) -> Any:
    """Train a model in place and return the state of its optimizer."""
    state = optimizer.init(model)
    for i in range(steps):
        key = jax.random.fold_in(KEY, i)
        _, gradients = nn.value_and_grad(loss)(model, X, Y, key)
        state = optimizer.update(model, gradients, state, key)
    return state


def assert_equal(first: Any, second: Any, atol: float = 1e-6) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol), first, second)


# ------------------------------------------------------------------ as in digital training
def conv(**options: Any) -> nnx.Conv:
    return nnx.Conv(4, 6, (3,), rngs=nnx.Rngs(0), **options)


def dense() -> nnx.Linear:
    return nnx.Linear(4, 4, rngs=nnx.Rngs(0))


AS_DIGITAL: dict[str, tuple[Callable[[], nnx.Module], aj.TileConfig]] = {
    "linear": (dense, inference()),
    "scaled": (dense, inference({"weight_scaling_omega": 0.3, "weight_scaling_columnwise": True})),
    "compensated": (dense, inference({"weight_scaling_omega": 0.3, "weight_scaling_lr_compensation": True})),
    "analog bias": (dense, inference({"digital_bias": False})),
    "stacked": (dense, inference({"weight_scaling_omega": 0.3, "max_input_size": 2})),
    "remapped": (dense, inference(remap=aj.WeightRemapParameter(type="CHANNELWISE_SYMMETRIC"))),
    "torch tile": (dense, aj.TorchInferenceRPUConfig(forward=PERFECT)),
    "convolution": (conv, inference()),
    "grouped convolution": (lambda: conv(feature_group_count=2), inference({"weight_scaling_omega": 0.3})),
}


@pytest.mark.parametrize(("build", "config"), AS_DIGITAL.values(), ids=AS_DIGITAL)
def test_adam_learns_as_on_a_digital_layer(build: Callable[[], nnx.Module], config: aj.TileConfig) -> None:
    """A layer that is called twice, by Adam with decay, after clipping by a norm over matrix and bias."""
    transformation = optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(0.01, weight_decay=0.1))
    digital = build()
    analog = nn.convert_to_analog(digital, config, key=0)
    twice = not isinstance(digital, nnx.Conv)
    x = inputs(8, 4) if twice else inputs(2, 7, 4)

    def value(model: Any, *, of: Callable[..., jax.Array]) -> jax.Array:
        y = of(model, jnp.tanh(of(model, x))) if twice else of(model, x)
        return jnp.cos(3 * y).sum()

    optimizer = aj.analog_optimizer(transformation)
    state = optimizer.init(analog)
    params = nnx.state(digital, nnx.Param)
    moments = transformation.init(params)
    slope = jax.jit(jax.grad(lambda params: value(nnx.merge(graph, params), of=lambda model, x: model(x))))
    graph = nnx.graphdef(digital)
    for _ in range(3):
        _, found = nn.value_and_grad(lambda model: value(model, of=lambda model, x: model(x, key=KEY)))(analog)
        state = optimizer.update(analog, found, state, KEY)
        changes, moments = transformation.update(slope(params), moments, params)
        params = optax.apply_updates(params, changes)
    assert_equal(nnx.to_pure_dict(nnx.state(nn.convert_to_digital(analog), nnx.Param)), nnx.to_pure_dict(params))
    assert not np.allclose(params["kernel"].get_value(), digital.kernel.get_value(), atol=0.01)


def test_images_in_parts_have_the_gradient_of_all() -> None:
    steps = []
    for memory in (2**28, 1):
        config = inference({"max_input_size": 3})
        layer = nn.AnalogConv(2, 3, (3,), config=config, patch_memory=memory, rngs=nnx.Rngs(0))
        optimizer = aj.analog_optimizer(optax.sgd(1.0))
        _, gradients = nn.value_and_grad(lambda layer: jnp.cos(layer(inputs(4, 6, 2), key=KEY)).sum())(layer)
        optimizer.update(layer, gradients, optimizer.init(layer), KEY)
        steps.append(layer.get_weights())
    assert_equal(*steps)


# ------------------------------------------------------------------ exact gradients
def rich(**mapping: Any) -> nn.AnalogSequential:
    """Return two layers with all that is between logical weights and outputs, but for coarse converters."""
    ranged = aj.InputRangeParameter(enable=True, init_value=0.7, init_from_data=0)
    config = inference(
        {"weight_scaling_omega": 0.4, "weight_scaling_columnwise": True, "learn_out_scaling": True, **mapping},
        forward=BARE.replace(out_noise=0.1),
        modifier=NOISE,
        pre_post=aj.PrePostProcessingParameter(input_range=ranged),
    )
    model = network(config)
    for path, tile in nn.analog_tiles(model).items():
        if path.startswith("layers/2"):  # a clipped input passes its gradient straight through, so clip none of these
            tile.input_range.set_value(jnp.full_like(tile.input_range.get_value(), 1.5))
        tile.out_scaling.set_value(1.5 * tile.out_scaling.get_value())
        tile.end_of_batch(KEY)
    return model


@pytest.mark.parametrize("mapping", [{"digital_bias": False}, {"max_input_size": 3}], ids=["analog bias", "stack"])
def test_the_gradient_is_that_of_finite_differences_with_the_noise_fixed(mapping: dict[str, Any]) -> None:
    model, size = rich(**mapping), 1e-2
    graph = nnx.graphdef(model)
    evaluate = jax.jit(lambda state: nn.value_and_grad(loss)(nnx.merge(graph, state, copy=True), X, Y, KEY))
    _, gradients = evaluate(nnx.state(model))
    for path, tile in nn.analog_tiles(model).items():
        gradient, state = gradient_of(tile, *gradients.analog[path]), tile.state.get_value()
        scales = state.mapping_scales[..., None]
        np.testing.assert_allclose(weights_of(tile), state.weights * scales, rtol=1e-6)
        direction = inputs(*gradient.shape, seed=4)
        values = []
        for sign in (1, -1):  # the weights that training reads, with the same noise of the modifier
            moved = dataclasses.replace(state, modified=state.modified + sign * size * direction / scales)
            tile.state.set_value(moved)
            values.append(float(evaluate(nnx.state(model))[0]))
        tile.state.set_value(state)
        slope = (values[0] - values[1]) / (2 * size)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=0.01)


def test_learned_scales_and_input_ranges_take_it_too() -> None:
    """The first step of Adam is the rate, whatever the gradient."""
    model = rich(max_input_size=3)
    optimizer = aj.analog_optimizer(ADAM)
    before = optimizer.parameters(model)
    trained(model, optimizer)
    after = nnx.to_flat_state(optimizer.parameters(model))
    names = {path[-1] for path, _ in after}
    assert names == {"bias", "weights", "out_scaling", "input_range"}
    for (path, new), (_, old) in zip(after, nnx.to_flat_state(before), strict=True):
        np.testing.assert_allclose(abs(new.get_value() - old.get_value()), 0.01, rtol=1e-3, err_msg=str(path))


def test_under_quirks_it_is_the_analog_weights_that_are_stepped() -> None:
    """Trap 17: a step of Adam is one of the analog weights; plain descent is the same either way."""
    for quirks in (False, True):
        layer = linear(inference({"weight_scaling_omega": 0.3}, reference_quirks=quirks))
        (tile,) = layer.analog_tiles()
        before, scale = layer.get_weights()[0], float(tile.state.get_value().mapping_scales[0])
        trained(layer, aj.analog_optimizer(ADAM))
        step = 0.01 * (scale if quirks else 1)
        np.testing.assert_allclose(abs(layer.get_weights()[0] - before), step, rtol=1e-3)
    plain, general = (linear(inference({"weight_scaling_omega": 0.3}, reference_quirks=True)) for _ in range(2))
    trained(plain, aj.analog_sgd(0.2), 2)
    trained(general, aj.analog_optimizer(optax.sgd(0.2)), 2)
    assert_equal(plain.get_weights(), general.get_weights())


# ------------------------------------------------------------------ beside other tiles, frozen layers, upkeep
def mixed() -> nn.AnalogSequential:
    """Return an inference tile, and one that takes plain steps of its own."""
    return nn.AnalogSequential(linear(inference(), 4, 6), nn.Tanh(), linear(exact(), 6, 3))


def test_other_tiles_take_plain_steps_at_their_rate() -> None:
    plain, general = mixed(), mixed()
    start = plain.get_weights()
    trained(plain, aj.analog_sgd(0.2))
    trained(general, aj.analog_optimizer(ADAM, learning_rate=0.2))
    first, second = plain.get_weights(), general.get_weights()
    assert_equal(first["layers/2"][0], second["layers/2"][0])
    for layer, part in (("layers/0", 0), ("layers/0", 1), ("layers/2", 1)):
        np.testing.assert_allclose(abs(second[layer][part] - start[layer][part]), 0.01, rtol=1e-3)


def test_a_rate_of_zero_by_path_freezes_whatever_is_there() -> None:
    decaying = optax.adamw(0.01, weight_decay=0.5)
    for rates in ({"layers/0": 0.0, "default": 0.2}, {"layers/0": optax.constant_schedule(0.0), "default": 0.2}):
        model = mixed()
        start = model.get_weights()
        trained(model, aj.analog_optimizer(decaying, rates), 2)
        end = model.get_weights()
        assert_equal(end["layers/0"], start["layers/0"], atol=0)
        assert not np.allclose(end["layers/2"][0], start["layers/2"][0])
    model = mixed()
    trained(model, aj.analog_optimizer(decaying, 0.0))
    assert_equal(model.get_weights()["layers/2"][0], start["layers/2"][0], atol=0)
    assert not np.allclose(model.get_weights()["layers/0"][0], start["layers/0"][0]), "one rate is that of other tiles"


def test_what_follows_a_mini_batch_follows() -> None:
    clip = aj.WeightClipParameter(type="FIXED_VALUE", fixed_value=0.1)
    layer = linear(inference(clip=clip, modifier=NOISE))
    trained(layer, aj.analog_optimizer(ADAM))
    (tile,) = layer.analog_tiles()
    state = tile.state.get_value()
    assert float(abs(state.weights).max()) == pytest.approx(0.1)
    assert not np.allclose(state.modified, state.weights)


def test_a_tile_that_was_not_called_has_the_gradient_zero() -> None:
    model = network(inference())
    before = model.get_weights()
    decaying = aj.analog_optimizer(optax.adamw(0.1, weight_decay=0.5))
    trained(model, decaying, loss=lambda model, x, y, key: (model[0](x, key=key) ** 2).sum())
    np.testing.assert_allclose(model.get_weights()["layers/2"][0], 0.95 * before["layers/2"][0], rtol=1e-5)


def test_a_transformation_for_each_kind_of_parameter() -> None:
    def kinds(params: Any) -> Any:
        return nnx.map_state(lambda path, each: "tile" if isinstance(each, nn.TileWeights) else "other", params)

    transformation = optax.multi_transform({"tile": optax.adam(0.1), "other": optax.adam(0.01)}, kinds)
    layer = linear(inference())
    before = layer.get_weights()
    trained(layer, aj.analog_optimizer(transformation))
    for old, new, step in zip(before, layer.get_weights(), (0.1, 0.01), strict=True):
        np.testing.assert_allclose(abs(new - old), step, rtol=1e-3)


# ------------------------------------------------------------------ forms of a step
def test_micro_batches_take_the_step_of_one_batch() -> None:
    whole, parts = network(inference()), network(inference())
    optimizer = aj.analog_optimizer(ADAM)
    _, gradients = nn.value_and_grad(loss)(whole, X, Y, KEY)
    optimizer.update(whole, gradients, optimizer.init(whole), KEY)
    _, gradients = nn.accumulate(loss)(parts, X.reshape(2, 4, 4), Y.reshape(2, 4, 3), KEY)
    optimizer.update(parts, gradients, optimizer.init(parts), KEY)
    assert_equal(whole.get_weights(), parts.get_weights(), atol=1e-5)


def test_compiled_loops_over_several_models_take_the_steps_of_each() -> None:
    config = inference(modifier=NOISE)
    models = [network(config) for _ in range(3)]
    models[1].set_weights(jax.tree.map(lambda w: 0.5 * w, models[1].get_weights()), key=KEY)
    models[2] = nnx.clone(models[1])
    optimizer = aj.analog_optimizer(optax.adam(optax.exponential_decay(0.05, 1, 0.9)))
    parts = [optim.take_apart(model) for model in models]
    step = optim.training_step(loss, optimizer, parts[0])

    def run(moving: Any) -> Any:
        def body(carry: Any, i: jax.Array) -> Any:
            moving, state, value = step(*carry, parts[0].fixed, jax.random.fold_in(KEY, i), X, Y)
            return (moving, state), value

        start = optimizer.init(nnx.merge(parts[0].graph, moving, parts[0].fixed, copy=True))
        return jax.lax.scan(body, (moving, start), jnp.arange(3))

    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *(part.moving for part in parts[:2]))
    (moving, state), values = jax.jit(jax.vmap(run))(stacked)
    assert values.shape == (2, 3) and state.step.tolist() == [3, 3]

    @nnx.jit
    def one(model: nnx.Module, state: optim.OptimizerState, key: jax.Array) -> optim.OptimizerState:
        noise = aj.random.stream(key, aj.NoiseEngine.COUNTER)
        own = aj.random.plain(aj.random.derive(noise, "loss"))
        _, gradients = nn.value_and_grad(loss)(model, X, Y, own)
        return optimizer.update(model, gradients, state, aj.random.derive(noise, "update"))

    state = optimizer.init(models[2])
    for i in range(3):
        state = one(models[2], state, jax.random.fold_in(KEY, i))
    alone = optimizer.parameters(models[2])
    nnx.update(models[1], jax.tree.map(lambda array: array[1], moving))
    assert_equal(nnx.to_pure_dict(optimizer.parameters(models[1])), nnx.to_pure_dict(alone), atol=1e-5)


def test_a_saved_state_goes_on(tmp_path: Any) -> None:
    model, optimizer = network(inference()), aj.analog_optimizer(optax.adamw(0.01))
    state = trained(model, optimizer)
    aj.save(tmp_path, model, optimizer=state)
    fresh = network(inference())
    saved = aj.load_all(tmp_path, fresh, optimizer.init(fresh))
    assert jax.tree.structure(saved.optimizer) == jax.tree.structure(state)
    for one, its in ((model, state), (saved.model, saved.optimizer)):
        _, gradients = nn.value_and_grad(loss)(one, X, Y, KEY)
        optimizer.update(one, gradients, its, KEY)
    assert_equal(saved.model.get_weights(), model.get_weights(), atol=0)


def test_a_digital_model_trains_too() -> None:
    model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    before = model.kernel.get_value()
    trained(model, aj.analog_optimizer(ADAM), loss=lambda model, x, y, key: ((model(x) - y) ** 2).mean())
    np.testing.assert_allclose(abs(model.kernel.get_value() - before), 0.01, rtol=1e-3)


# ------------------------------------------------------------------ wrong use
@pytest.mark.parametrize("value", [optax.adam, 0.1, None, aj.analog_sgd(0.1), aj.analog_optimizer(ADAM)])
def test_a_transformation_must_be_one(value: Any) -> None:
    with pytest.raises(ConfigError, match="transformation=.* is not allowed: give an optax transformation"):
        aj.analog_optimizer(value)


def test_what_does_not_fit_is_refused() -> None:
    def update(optimizer: optim.Optimizer, model: nnx.Module, state: Any, gradients: Any = None) -> None:
        optimizer.update(model, found if gradients is None else gradients, state, KEY)

    model, other = network(inference()), linear(inference(), 6, 3)
    general, plain = aj.analog_optimizer(ADAM), aj.analog_sgd(0.1, digital=ADAM)
    _, found = nn.value_and_grad(loss)(model, X, Y, KEY)
    spoiled = found._replace(analog={path: (x, d * jnp.nan) for path, (x, d) in found.analog.items()})
    before = model.get_weights()
    wrong: dict[str, tuple[type[AihwjaxError], Callable[[], Any]]] = {
        "learning_rate is missing: layers/2/tiles/0 is no inference tile": (ConfigError, lambda: general.init(mixed())),
        "learning_rate=-1 is not allowed": (ConfigError, lambda: aj.analog_optimizer(ADAM, -1)),
        "where nothing learns": (ConfigError, lambda: aj.analog_optimizer(ADAM, {"layers/9": 0.0}).init(model)),
        "state belongs to another model": (ModuleError, lambda: update(general, model, general.init(other))),
        "or another transformation": (ModuleError, lambda: update(general, model, plain.init(model))),
        "state belongs to": (ModuleError, lambda: update(plain, model, plain.init(other))),
        "a tile 'layers/0/tiles/0' that the model lacks": (
            ModuleError,
            lambda: update(general, other, general.init(other)),
        ),
        "NaN or infinite": (NonFiniteError, lambda: update(general, model, general.init(model), spoiled)),
    }
    for text, (kind, call) in wrong.items():
        with pytest.raises(kind, match=text):
            call()
    assert_equal(model.get_weights(), before, atol=0)
    assert not general.sound(spoiled, jnp.int32(0)) and general.sound(found, jnp.int32(0))
    frozen = aj.analog_optimizer(ADAM, {"layers": 0.0})
    assert frozen.sound(spoiled, jnp.int32(0)), "nothing is learnt from what is frozen"
