"""The optimizer: order of a step, learning rates, forms in which a step can be written."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from aihwjax import nn, optim, random
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.errors import ConfigError, ModuleError
from aihwjax.random import NoiseEngine
from aihwjax.tile.config import SingleRPUConfig
from aihwjax.tile.product.io import NoiseManagementType
from tests.helpers import PULSED_DEVICES
from tests.nn.models import BARE, exact, inputs, linear, network, noisy, ranged

KEY = jax.random.key(6)
X, Y = inputs(8, 4), inputs(8, 3, seed=2)


def loss(model: Any, x: jax.Array, y: jax.Array, key: Any) -> jax.Array:
    return nn.losses.MSELoss()(model(x, key=key), y)


def take_step(
    model: nnx.Module, optimizer: optim.AnalogSGD, state: optim.OptimizerState | None = None, key: jax.Array = KEY
) -> optim.OptimizerState:
    _, gradients = nn.value_and_grad(loss)(model, X, Y, key)
    return optimizer.update(model, gradients, optimizer.init(model) if state is None else state, key)


def assert_equal(first: Any, second: Any, rtol: float = 1e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), first, second)


@pytest.mark.parametrize("mapping", [{}, {"max_input_size": 3}, {"digital_bias": False}, {"weight_scaling_omega": 0.5}])
def test_exact_tiles_train_like_a_digital_network(mapping: dict[str, Any]) -> None:
    model = network(exact(**mapping))
    weights = model.get_weights()

    def digital(weights: dict[str, tuple[jax.Array, jax.Array]]) -> jax.Array:
        (w1, b1), (w2, b2) = weights["layers/0"], weights["layers/2"]
        return nn.losses.MSELoss()(jnp.tanh(X @ w1.T + b1[None]) @ w2.T + b2[None], Y)

    optimizer = optim.analog_sgd(0.3)
    state = optimizer.init(model)
    for _ in range(3):
        state = take_step(model, optimizer, state)
        weights = jax.tree.map(lambda w, g: w - 0.3 * g, weights, jax.grad(digital)(weights))
    assert int(state.step) == 3
    assert_equal(model.get_weights(), weights, rtol=1e-3)


def test_the_learned_scale_and_the_weights_follow_the_chain_rule() -> None:
    layer = linear(exact(learn_out_scaling=True))
    (tile,) = layer.analog_tiles()
    tile.out_scaling.set_value(jnp.asarray([2.0]))
    weights, bias = (np.asarray(v) for v in layer.get_weights(apply_weight_scaling=False))

    def digital(w: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        return nn.losses.MSELoss()(X @ w.T * a[None] + b[None], Y)

    gradient = jax.grad(digital, (0, 1, 2))(weights, jnp.asarray([2.0]), bias)
    take_step(layer, optim.analog_sgd(0.3))
    new_weights, new_bias = layer.get_weights(apply_weight_scaling=False)
    np.testing.assert_allclose(new_weights, weights - 0.3 * gradient[0], rtol=1e-4)
    np.testing.assert_allclose(tile.out_scaling.get_value(), 2.0 - 0.3 * gradient[1], rtol=1e-4)
    np.testing.assert_allclose(new_bias, bias - 0.3 * gradient[2], rtol=1e-4)


@pytest.mark.parametrize("frozen", [0, 0.0, jnp.asarray(0.0), "traced"])
def test_a_learning_rate_of_zero_freezes_pulses_but_not_the_decay(frozen: Any) -> None:
    for lifetime, moves in ((0.0, False), (10.0, True)):
        layer = linear(noisy().replace({"device.lifetime": lifetime}))
        before = layer.get_weights()
        _, gradients = nn.value_and_grad(loss)(layer, X, Y, KEY)

        @nnx.jit
        def step(layer: nn.AnalogLinear, gradients: nn.Gradients, rate: jax.Array) -> None:
            optimizer = optim.analog_sgd(rate if frozen == "traced" else frozen)
            optimizer.update(layer, gradients, optimizer.init(layer), KEY)

        step(layer, gradients, jnp.asarray(0.0))
        weights, bias = layer.get_weights()
        np.testing.assert_array_equal(bias, before[1])
        if moves:
            np.testing.assert_allclose(weights, before[0] * 0.9, rtol=1e-3, atol=1e-6)
        else:
            np.testing.assert_array_equal(weights, before[0])


def test_only_tiles_that_were_called_are_updated_but_the_batch_ends_for_all() -> None:
    config = noisy().replace({"device.lifetime": 10.0})
    model = nn.AnalogSequential(linear(config), linear(config))
    before = model.get_weights()
    _, gradients = nn.value_and_grad(lambda model: (model[0](X, key=KEY) ** 2).sum())(model)
    optimizer = optim.analog_sgd(0.1)
    optimizer.update(model, gradients, optimizer.init(model), KEY)
    after = model.get_weights()
    np.testing.assert_allclose(after["layers/1"][0], before["layers/1"][0] * 0.9, rtol=1e-3, atol=1e-6)
    assert not np.allclose(after["layers/0"][0], before["layers/0"][0] * 0.9, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("device", PULSED_DEVICES.values(), ids=PULSED_DEVICES)
def test_every_device_trains(device: Any) -> None:
    layer = linear(noisy().replace(device=device))
    layer.set_weights(jnp.zeros((3, 4)), jnp.zeros(3), key=KEY)
    optimizer = optim.analog_sgd(0.1)
    target = X @ (0.2 * jnp.sign(inputs(4, 3, seed=3)))

    @nnx.jit
    def step(layer: nn.AnalogLinear, key: jax.Array) -> jax.Array:
        value, gradients = nn.value_and_grad(loss)(layer, X, target, key)
        optimizer.update(layer, gradients, optimizer.init(layer), key)
        return value

    values = [float(step(layer, jax.random.fold_in(KEY, i))) for i in range(60)]
    assert np.mean(values[-10:]) < 0.6 * values[0]


def test_the_input_range_moves_before_the_tile_uses_it() -> None:
    # spec: tile_ops, trap 9; range 2, x = 3, gradient at the input -1, relative: G = -2, r -> 2.2
    layer = linear(ranged(init_value=2.0, decay=0.0), 1, 1, bias=False)
    layer.set_weights(jnp.full((1, 1), 0.5), key=KEY)
    _, gradients = nn.value_and_grad(lambda layer: -2 * layer(jnp.full((1, 1), 3.0), key=KEY).sum())(layer)
    optimizer = optim.analog_sgd(0.1)
    optimizer.update(layer, gradients, optimizer.init(layer), KEY)
    assert float(layer.analog_tiles()[0].input_range.get_value()) == pytest.approx(2.2)
    # d = -2 and the clipped input 2.2 (not 2): 0.5 + 0.1 * 2 * 2.2
    assert float(layer.get_weights()[0][0, 0]) == pytest.approx(0.94, rel=1e-4)


def test_the_running_average_of_the_noise_management_follows_both_products() -> None:
    io = BARE.replace(noise_management=NoiseManagementType.AVERAGE_ABS_MAX, inp_bound=1.0)
    layer = linear(exact().replace(forward=io, backward=io))
    (tile,) = layer.analog_tiles()
    np.testing.assert_array_equal(tile.state.get_value().running_abs_max, [-1.0, -1.0])

    def scaled(layer: nn.AnalogLinear, x: jax.Array) -> jax.Array:
        return (layer(x, key=KEY) * jnp.asarray([[1.0, -3.0, 2.0]])).sum()

    x = jnp.asarray([[1.0, -4.0, 0.0, 2.0]])
    nn.value_and_grad(scaled)(layer, x)
    np.testing.assert_allclose(tile.state.get_value().running_abs_max, [4.0, 3.0])
    layer(2 * x, key=KEY)  # evaluation
    np.testing.assert_allclose(tile.state.get_value().running_abs_max, [4.0, 3.0])


def test_a_schedule_gives_the_rate_of_each_step() -> None:
    schedule = optax.piecewise_constant_schedule(0.2, {1: 0.0})
    layer = linear(exact())
    optimizer = optim.analog_sgd(schedule)
    before = layer.get_weights()
    state = take_step(layer, optimizer)
    after = layer.get_weights()
    assert not np.allclose(before[0], after[0])
    assert not np.allclose(before[1], after[1])
    take_step(layer, optimizer, state)
    assert_equal(layer.get_weights(), after)


def test_another_digital_optimizer_leaves_the_tiles_alone() -> None:
    plain, adam = linear(exact()), linear(exact())
    take_step(plain, optim.analog_sgd(0.1))
    start = np.asarray(adam.get_weights()[1])
    state = take_step(adam, optim.analog_sgd(0.1, digital=optax.adam(0.01)))
    np.testing.assert_allclose(plain.get_weights()[0], adam.get_weights()[0], rtol=1e-6)
    np.testing.assert_allclose(np.abs(adam.get_weights()[1] - start), 0.01, rtol=1e-3)
    assert len(jax.tree.leaves(state.digital)) > 0


def test_a_digital_model_trains_too() -> None:
    model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    optimizer = optim.analog_sgd(0.1)
    before = model.bias.get_value()
    _, gradients = nn.value_and_grad(lambda model: model(X).sum())(model)
    optimizer.update(model, gradients, optimizer.init(model), KEY)
    np.testing.assert_allclose(model.bias.get_value(), before - 0.8, rtol=1e-5)


@pytest.mark.parametrize(
    "rate", [-0.1, -1, float("nan"), float("inf"), np.asarray(-0.1), jnp.asarray([0.1, 0.2]), "fast", None, True]
)
def test_learning_rates_that_are_not_allowed(rate: Any) -> None:
    with pytest.raises(ConfigError, match="learning_rate=.* is not allowed: give a finite number of at least 0"):
        optim.analog_sgd(rate)


def test_a_digital_optimizer_must_be_one() -> None:
    with pytest.raises(ConfigError, match="digital=0.1 is not allowed: give an optax transformation"):
        optim.analog_sgd(0.1, digital=0.1)  # type: ignore[arg-type]


def test_gradients_of_another_model_are_refused() -> None:
    model, other = network(exact()), linear(exact())
    _, gradients = nn.value_and_grad(loss)(model, X, Y, KEY)
    optimizer = optim.analog_sgd(0.1)
    with pytest.raises(ModuleError, match="the gradients are for a tile 'layers/0/tiles/0' that the model lacks"):
        optimizer.update(other, gradients._replace(digital=nnx.State({})), optimizer.init(other), KEY)


def test_equal_keys_take_equal_steps_and_other_keys_others() -> None:
    results = []
    for key in (KEY, KEY, jax.random.key(7)):
        layer = linear(noisy())
        take_step(layer, optim.analog_sgd(0.3), key=key)
        results.append(layer.get_weights()[0])
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def by_hand(model: nnx.Module, optimizer: optim.AnalogSGD, steps: int) -> None:
    """Three steps in the NNX style, with the keys of the pure form."""
    compute = nn.value_and_grad(loss)

    @nnx.jit
    def step(model: nnx.Module, state: optim.OptimizerState, key: jax.Array) -> optim.OptimizerState:
        noise = random.stream(key, NoiseEngine.COUNTER)
        _, gradients = compute(model, X, Y, random.plain(random.derive(noise, "loss")))
        return optimizer.update(model, gradients, state, random.derive(noise, "update"))

    state = optimizer.init(model)
    for i in range(steps):
        state = step(model, state, jax.random.fold_in(KEY, i))


def by_scan(model: nnx.Module, optimizer: optim.AnalogSGD, steps: int) -> None:
    """The same as one compiled loop."""
    parts = optim.take_apart(model)
    step = optim.training_step(loss, optimizer, parts)

    @jax.jit
    def run(moving: Any, state: optim.OptimizerState, fixed: Any) -> Any:
        def body(carry: Any, i: jax.Array) -> Any:
            moving, state, value = step(*carry, fixed, jax.random.fold_in(KEY, i), X, Y)
            return (moving, state), value

        return jax.lax.scan(body, (moving, state), jnp.arange(steps))[0][0]

    nnx.update(model, run(parts.moving, optimizer.init(model), parts.fixed))


@pytest.mark.slow
def test_a_compiled_loop_takes_the_same_steps_as_the_nnx_style() -> None:
    models = [network(noisy()) for _ in range(2)]
    by_hand(models[0], optim.analog_sgd(0.2), 3)
    by_scan(models[1], optim.analog_sgd(0.2), 3)
    assert_equal(models[0].get_weights(), models[1].get_weights(), rtol=1e-3)


@pytest.mark.slow
def test_vmap_over_networks_takes_the_steps_of_each() -> None:
    rates, dw_min = jnp.asarray([0.1, 0.3]), (0.001, 0.004)
    base = noisy()
    models = [network(base.replace({"device.dw_min": dw})) for dw in dw_min]
    parts = [optim.take_apart(model) for model in models]

    @jax.jit
    def one(moving: Any, fixed: Any, rate: jax.Array) -> Any:
        optimizer = optim.analog_sgd(rate)
        step = optim.training_step(loss, optimizer, parts[0])
        state = optimizer.init(nnx.merge(parts[0].graph, moving, fixed, copy=True))
        return step(moving, state, fixed, KEY, X, Y)[0]

    moving, fixed = (
        jax.tree.map(lambda *v: jnp.stack(v), *states) for states in zip(*[p[1:] for p in parts], strict=True)
    )
    together = jax.vmap(one)(moving, fixed, rates)
    for i, part in enumerate(parts):
        alone = one(part.moving, part.fixed, rates[i])
        assert_equal(alone, jax.tree.map(lambda v, i=i: v[i], together), rtol=1e-4)


def test_the_mean_of_many_updates_is_gradient_descent() -> None:
    device = ConstantStepDevice(dw_min_dtod=0.0, up_down_dtod=0.0, w_max=5.0, w_min=-5.0)
    layer = linear(SingleRPUConfig(device=device, forward=BARE, backward=BARE), 3, 2, bias=False)
    layer.set_weights(jnp.zeros((2, 3)), key=KEY)
    x, slopes = jnp.asarray([[0.5, -1.0, 0.25]]), jnp.asarray([0.7, -0.2])
    _, gradients = nn.value_and_grad(lambda layer: (slopes[None] * layer(x, key=KEY)).sum())(layer)
    optimizer = optim.analog_sgd(0.02)
    parts = optim.take_apart(layer)

    @jax.jit
    @jax.vmap
    def moved(key: jax.Array) -> jax.Array:
        copy = nnx.merge(*parts, copy=True)
        optimizer.update(copy, gradients, optimizer.init(copy), key)
        return copy.get_weights()[0]

    n = 2000
    weights = moved(jax.random.split(KEY, n))
    expected = -0.02 * slopes[:, None] * x
    error = weights.std(0) / np.sqrt(n)
    # six crosspoints at 4.5 standard errors: a chance of 4e-5 to fail with another key
    assert bool((jnp.abs(weights.mean(0) - expected) < 4.5 * error).all())
    assert bool((error < 0.05 * jnp.abs(expected)).all())
