"""With ``jax_enable_x64`` everything computes in single precision, and what it computes is the same.

Slow: in each run of the checks `make test-strict` has a model, upkeep and training under this option.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import experiments, nn, optim
from aihwjax.devices.device import Device
from tests.compounds.table import COMPOUNDS
from tests.experiments import sweeping_small
from tests.fitting.simulated import measured
from tests.helpers import DEVICES
from tests.marks import some

pytestmark = pytest.mark.slow

SHAPE = (3, 4)
ALL: dict[str, Device] = {**DEVICES, **COMPOUNDS}
DTYPES = {"float32", "int32", "uint32", "bool"}


def life(config: aj.TileConfig, seed: int, rate: Any) -> dict[str, Any]:
    """Return what comes of a tile in a batch of training, from inputs in the default precision."""
    tile, key = aj.tile, jax.random.key(seed)
    x = jnp.asarray(np.linspace(-1, 1, 20).reshape(5, 4))
    d = jnp.asarray(np.linspace(0.5, -0.5, 15).reshape(5, 3))
    state = tile.init(config, key, SHAPE)
    state = tile.set_weights(config, state, np.full(SHAPE, 0.1), key)
    y, back = tile.forward(config, state, x, key), tile.backward(config, state, d, key)
    state = tile.end_of_batch(config, tile.update(config, state, x, d, rate, key), key)
    if not isinstance(config.device, aj.FloatingPointDevice):
        state = tile.reset(config, state, 1, 2, 0.5, key)
    state = tile.drift(config, tile.decay(config, state, 1.0, key), 10.0, key)
    return {"state": state, "forward": y, "backward": back, "hidden": tile.hidden_parameters(config, state)}


def same(double: Any, single: Any) -> None:
    """Compare results, and look at the types of what was computed with doubles."""
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(double)} <= DTYPES
    for first, second in zip(jax.tree.leaves(double), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(first, second, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", some(ALL, (), ("constant_step", "transfer", "mixed precision")))
def test_a_tile(name: str) -> None:
    config = aj.TileConfig(device=ALL[name])
    compiled = jax.jit(life, static_argnums=1)
    with jax.enable_x64(False):
        expected = compiled(config, 7, 0.05)
    with jax.enable_x64(True):
        same(compiled(config, 7, 0.05), expected)


def test_eagerly_and_swept() -> None:
    config = aj.TileConfig(device=aj.SoftBoundsDevice(dw_min=0.01, lifetime=100.0))
    with jax.enable_x64(False):
        expected = life(config, 7, 0.05)
    with jax.enable_x64(True):
        same(life(config, 7, np.float64(0.05)), expected)

        def swept(step: jax.Array) -> Any:
            return life(config.replace({"device.dw_min": step}), 7, 0.05)

        first = jax.tree.map(lambda leaf: leaf[0], jax.jit(jax.vmap(swept))(jnp.array([0.01, 0.02])))
        same(first, expected)


def trained() -> Any:
    """Return loss and model after two epochs of an experiment on own data, and after a step with another optimizer."""
    x = np.linspace(-1, 1, 24 * 6).reshape(24, 6)
    labels = np.arange(24) % 3
    config = aj.SingleRPUConfig(mapping=aj.MappingParameter(max_input_size=4, learn_out_scaling=True))
    model = nn.AnalogSequential(nn.AnalogLinear(6, 3, config=config, rngs=nnx.Rngs(0)), nn.LogSoftmax())
    experiment = aj.BasicTraining(
        dataset=(x, labels, x, labels), model=model, batch_size=7, epochs=2, learning_rate=0.1
    )
    network, metrics = aj.fit(experiment, key=3)
    optimizer = aj.analog_sgd(optax.linear_schedule(0.1, 0.0, 5), digital=optax.adam(1e-2))
    parts = optim.take_apart(network)
    step = jax.jit(optim.training_step(lambda m, x, key: (m(x, key=key) ** 2).mean(), optimizer, parts))
    moving, _, loss = step(parts.moving, optimizer.init(network), parts.fixed, jax.random.key(1), jnp.asarray(x[:5]))
    losses = [np.float32(entry[name]) for entry in metrics for name in ("train_loss", "valid_loss", "accuracy")]
    return [leaf for leaf in jax.tree.leaves(moving) if leaf.dtype == jnp.float32], loss, losses


def swept() -> tuple[str, list[float]]:
    """Return what sweeps, halvings and training gradients say of small networks, and the slopes of the latter."""
    own, point = sweeping_small.experiment(), {"device.dw_min": 0.002, "learning_rate": 0.1}
    given: dict[str, Any] = {"key": sweeping_small.KEY, "progress": False, "way": "map"}
    table = experiments.sweep(own, [point, {**point, "device.dw_min": 0.004}], seeds=2, **given)
    rows = [row for row in table.rows if (row["index"], row["seed"]) == (0, 1)]
    assert sweeping_small.told(rows, point) == sweeping_small.single(own, point, 1)
    rates = {"learning_rate": [0.05, 0.1, 1e12, 0.4]}
    halved = experiments.successive_halving(sweeping_small.exact(), rates, factor=2, **given)
    found = experiments.training_gradient(own, ["device.dw_min"], seeds=1)({"device.dw_min": 0.002}, key=1)
    told = table.rows, halved.rows, found.losses.tolist()
    # as text: the loss of a network that diverged is NaN, which is not itself
    return str(told), found.slopes["device.dw_min"].tolist()


def on_tiles() -> Any:
    """Return the weights of inference tiles after two steps of Adam with a schedule, and its state."""
    config = aj.InferenceRPUConfig(mapping=aj.MappingParameter(weight_scaling_omega=0.5, max_input_size=4))
    model = nn.AnalogLinear(6, 3, config=config, rngs=nnx.Rngs(0))
    optimizer = aj.analog_optimizer(optax.adamw(optax.linear_schedule(0.1, 0.0, 5)))
    state, x = optimizer.init(model), jnp.asarray(np.linspace(-1, 1, 30).reshape(5, 6))
    for _ in range(2):
        _, gradients = nn.value_and_grad(lambda m, x, key: (m(x, key=key) ** 2).mean())(model, x, jax.random.key(1))
        state = optimizer.update(model, gradients, state, jax.random.key(2))
    return optimizer.parameters(model), state


def test_any_transformation_on_tiles() -> None:
    with jax.enable_x64(False):
        expected = on_tiles()
    with jax.enable_x64(True):
        same(on_tiles(), expected)


def test_an_experiment() -> None:
    with jax.enable_x64(False):
        expected = trained()
    with jax.enable_x64(True):
        same(trained(), expected)


def test_a_sweep_a_halving_and_a_gradient() -> None:
    with jax.enable_x64(False):
        expected, slopes = swept()
    with jax.enable_x64(True):
        told, found = swept()
    assert told == expected
    # the arithmetic is the same, but tests compile without optimisation, where conversions move the last digit
    np.testing.assert_allclose(found, slopes, rtol=1e-6)


def test_a_fit() -> None:
    true = aj.SoftBoundsDevice(dw_min=0.05, dw_min_dtod=0.2, dw_min_std=0.3, w_max=0.7)
    with jax.enable_x64(False):
        curves = measured(true, 40, devices=5)
        expected = aj.fit_device(curves)
    with jax.enable_x64(True):
        found = aj.fit_device(curves)
    assert found.device == expected.device and found.errors == expected.errors
