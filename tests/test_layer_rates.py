"""Learning rates by layer: which one counts, what is frozen, what recompiles, what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from aihwjax import nn, optim
from aihwjax.errors import ConfigError
from aihwjax.layer_rates import LayerRates, rates_at
from tests.nn.models import exact, inputs, linear, network, noisy

KEY = jax.random.key(6)
X, Y = inputs(8, 4), inputs(8, 3, seed=2)


def loss(model: Any, x: jax.Array, y: jax.Array, key: Any) -> jax.Array:
    return nn.losses.MSELoss()(model(x, key=key), y)


def moved(rates: Any, model: nnx.Module | None = None, steps: int = 1, **options: Any) -> dict[str, Any]:
    """Return how far weights and bias of each layer go."""
    model = network(exact()) if model is None else model
    before = model.get_weights()
    optimizer = optim.analog_sgd(rates, **options)
    state = optimizer.init(model)
    for _ in range(steps):
        _, gradients = nn.value_and_grad(loss)(model, X, Y, KEY)
        state = optimizer.update(model, gradients, state, KEY)
    return jax.tree.map(lambda a, b: np.asarray(a - b), model.get_weights(), before)


def test_each_layer_has_its_rate_and_the_longest_path_counts() -> None:
    whole = moved(1.0)
    parts = moved({"layers/0": 0.5, "layers": 0.25, "layers/2/bias": 2.0, "default": 7.0})
    for layer, factors in {"layers/0": (0.5, 0.5), "layers/2": (0.25, 2.0)}.items():
        for part, all_of_it, factor in zip(parts[layer], whole[layer], factors, strict=True):
            np.testing.assert_allclose(part, factor * all_of_it, rtol=1e-4, atol=1e-6)


def test_a_path_ends_at_a_slash() -> None:
    rates, _ = rates_at(LayerRates({"layers/1": 0.5, "layers/10/tiles/0": 2.0, "default": 1.0}), 0)
    assert [rates(path) for path in ("layers/1/bias", "layers/10/bias", "layers/10/tiles/0")] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("digital", [None, optax.adamw(0.1, weight_decay=0.5)], ids=["plain", "adamw"])
@pytest.mark.parametrize(
    "zero",
    [0.0, np.float32(0), jnp.asarray([0.0]), optax.constant_schedule(0.0)],
    ids=["number", "numpy", "array", "schedule"],
)
def test_a_frozen_layer_does_not_move_at_all(digital: Any, zero: Any) -> None:
    parts = moved({"layers/0": zero, "default": 0.3}, network(noisy()), 2, digital=digital)
    assert not any(part.any() for part in parts["layers/0"])
    assert all(part.any() for part in parts["layers/2"])


def test_gradients_of_frozen_parameters_do_not_count_in_a_norm() -> None:
    clipped = optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0))
    bias = moved({"layers/0": 0.0, "default": 0.3}, digital=clipped)["layers/2"][1]
    assert np.linalg.norm(bias) == pytest.approx(0.1, rel=1e-3)


def test_devices_of_a_frozen_layer_go_on_decaying() -> None:
    layer = linear(noisy().replace({"device.lifetime": 10.0}))
    before = layer.get_weights()
    parts = moved({"tiles": 0.0, "default": 0.1}, layer)
    np.testing.assert_allclose(parts[0], -0.1 * before[0], rtol=1e-3, atol=1e-6)
    assert parts[1].any()


def test_schedules_freeze_and_unfreeze() -> None:
    late = lambda step: jnp.where(step < 1, 0.0, 0.2)  # noqa: E731
    first = moved({"layers/0": late, "default": 0.3})
    second = moved({"layers/0": late, "default": 0.3}, steps=2)
    assert not any(part.any() for part in first["layers/0"])
    assert all(part.any() for part in second["layers/0"])


def test_other_numbers_need_no_new_program_but_zeros_do() -> None:
    model = network(exact())
    parts, traces = optim.take_apart(model), []

    @jax.jit
    def step(moving: Any, rates: LayerRates) -> Any:
        traces.append(rates)
        optimizer = optim.analog_sgd(rates)
        model = nnx.merge(parts.graph, moving, parts.fixed, copy=True)
        return optim.training_step(loss, optimizer, parts)(moving, optimizer.init(model), parts.fixed, KEY, X, Y)[0]

    for first, rest in ((0.1, 0.2), (0.3, 0.0), (0.4, 0.0), (0.5, 0.6)):
        step(parts.moving, LayerRates({"layers/0": first, "default": rest}))
    assert len(traces) == 2


def test_the_same_steps_compiled_and_not() -> None:
    rates = LayerRates({"layers/0": 0.1, "layers/2": 0.0})
    model = network(exact())
    parts, optimizer = optim.take_apart(model), optim.analog_sgd(rates)
    step = jax.jit(optim.training_step(loss, optimizer, parts))
    before = model.get_weights()
    nnx.update(model, step(parts.moving, optimizer.init(model), parts.fixed, KEY, X, Y)[0])
    compiled = jax.tree.map(lambda a, b: np.asarray(a - b), model.get_weights(), before)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), compiled, moved(rates))


BAD = [
    ({}, "learning_rate={} is not allowed"),
    ({0: 0.1}, "the path 0: give text"),
    ({"layers/0": -1.0}, "learning_rate of 'layers/0': learning_rate=-1.0 is not allowed"),
    ({"layers/0": {"bias": 0.1}}, "learning_rate of 'layers/0': learning_rate=.* is not allowed"),
    (
        {"layer/0": 0.1, "default": 0.1},
        "'layer/0', where nothing learns: give one of layers/0, layers/2, or 'default'; did you mean 'layers/0'",
    ),
    ({"layers/1": 0.1, "default": 0.1}, "the path 'layers/1', where nothing learns"),
    ({"layers/0": 0.1}, "no entry for 'layers/2': name it, or give one for 'default'"),
]


@pytest.mark.parametrize(("rates", "text"), BAD, ids=[text[:30] for _, text in BAD])
def test_refuses_in_one_line(rates: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        optim.analog_sgd(rates).init(network(exact()))
    assert "\n" not in str(caught.value)
