"""The pulsed update: moments and covariances from theory, properties of all devices in both modes."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import config as configs
from aihwjax import random, tile
from aihwjax.tile.pulsed_update.trains import plan
from tests.helpers import DEVICES, MODES, PULSED_DEVICES, VARIANTS
from tests.marks import exhaustive, slow, some

SHAPE = (5, 7)
QUIET = {"dw_min_dtod": 0, "up_down_dtod": 0, "w_max": 5, "w_min": -5, "w_max_dtod": 0, "w_min_dtod": 0}
EVERY = {**DEVICES, **VARIANTS}


def batch(n: int, shape: tuple[int, int] = SHAPE, seed: int = 3) -> tuple[jax.Array, jax.Array]:
    x_key, d_key = jax.random.split(jax.random.key(seed))
    return jax.random.normal(x_key, (n, shape[1])), 0.5 * jax.random.normal(d_key, (n, shape[0]))


@partial(jax.jit, static_argnames="repeats")
def changes(config: aj.TileConfig, x: jax.Array, d: jax.Array, rate: float, repeats: int) -> jax.Array:
    """Weight changes of fresh tiles from weight 0, ``(repeats, out, in)``."""
    shape = (d.shape[1], x.shape[1])

    def one(key: jax.Array) -> jax.Array:
        state = tile.init(config, key, shape)
        state = tile.set_weights(config, state, jnp.zeros(shape), key)
        return tile.update(config, state, x, d, rate, jax.random.fold_in(key, 1)).weights

    return jax.vmap(one)(jax.random.split(jax.random.key(17), repeats))


MOMENTS = [
    slow(aj.NoiseEngine.THREEFRY, 0.09, {}),  # the engines share all code but the draws: one setting is enough
    exhaustive(aj.NoiseEngine.COUNTER, 0.01, {}),
    (aj.NoiseEngine.COUNTER, 0.09, {}),
    (aj.NoiseEngine.COUNTER, 0.09, {"update_bl_management": False, "desired_bl": 40}),
    slow(aj.NoiseEngine.COUNTER, 0.05, {"update_bl_management": False, "update_management": False, "fixed_bl": False}),
    exhaustive(aj.NoiseEngine.COUNTER, 0.3, {"um_grad_scale": 0.5}),
    slow(aj.NoiseEngine.COUNTER, 0.09, {"pulse_type": "STOCHASTIC"}),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("engine", "rate", "fields"), MOMENTS)
def test_moments_and_covariances(mode: aj.UpdateMode, engine: aj.NoiseEngine, rate: float, fields: dict) -> None:
    """Spec: update, section 7. Means within 5 standard errors, variances within 5 of theirs, likewise covariances."""
    n, g, sigma = 4000, 0.001, 0.3
    x, d = jnp.asarray([[1.0, 0.5, -0.2]]), jnp.asarray([[0.31, -0.1]])
    config = aj.SingleRPUConfig(
        device=aj.ConstantStepDevice(**QUIET, dw_min_std=sigma),
        update=aj.UpdateParameters(**fields),
        update_mode=mode,
        noise_engine=engine,
    )
    w = np.asarray(changes(config, x, d, rate, n), np.float64) / g
    trains = plan(config.update, g, x, d, rate, random.stream(jax.random.key(0), engine), False)
    length = float(trains.length[0])
    p, q = np.minimum(trains.columns[0], 1.0).astype(float), np.minimum(trains.rows[0], 1.0).astype(float)
    sign = -np.sign(np.outer(d[0], x[0]))
    chance = np.outer(q, p)
    mean, variance = sign * length * chance, length * chance * (1 - chance + sigma**2)
    assert (np.abs(w.mean(0) - mean) < 5 * np.sqrt(variance / n) + 1e-3).all()
    kurtosis = ((w - w.mean(0)) ** 4).mean(0)
    error = np.sqrt(np.maximum(kurtosis - w.var(0) ** 2, 0) / n)
    assert (np.abs(w.var(0) - variance) < 5 * error + 1e-3 * variance).all()
    centred = w - w.mean(0)
    for (i, j), (k, m) in [((0, 0), (0, 1)), ((0, 0), (0, 2)), ((0, 0), (1, 0)), ((0, 1), (1, 1)), ((0, 0), (1, 1))]:
        products = centred[:, i, j] * centred[:, k, m]
        expected = 0.0
        if i == k:
            expected = length * p[j] * p[m] * q[i] * (1 - q[i])
        elif j == m:
            expected = length * q[i] * q[k] * p[j] * (1 - p[j])
        expected *= sign[i, j] * sign[k, m]
        assert abs(products.mean() - expected) < 5 * products.std() / np.sqrt(n) + 1e-3


# one of each law
QUICK = ("constant_step", "linear_step", "exp_step")
SLOW = ("soft_bounds_reference", "pow_step/write_noise", "piecewise_step", "ideal")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", some(EVERY, QUICK, SLOW))
def test_properties_of_an_update(name: str, mode: aj.UpdateMode, key: jax.Array) -> None:
    """Same key, same result; jit equals eager; zero rate changes nothing; bounds hold; no NaN."""
    config = aj.SingleRPUConfig(device=EVERY[name], update_mode=mode)
    state = tile.init(config, key, SHAPE)
    x, d = batch(3)
    compiled = jax.jit(tile.update)
    first = compiled(config, state, x, d, 0.1, key)
    assert jax.tree.all(jax.tree.map(np.array_equal, first, compiled(config, state, x, d, 0.1, key)))
    assert not np.array_equal(first.weights, state.weights)
    eager = tile.update(config, state, x, d, 0.1, key)
    assert np.allclose(first.weights, eager.weights, atol=1e-6)
    for rate in (0.0, jnp.zeros(())):
        same = compiled(config, state, x, d, rate, key)
        assert jax.tree.all(jax.tree.map(np.array_equal, same, state))
    wild = compiled(config, state, 100 * x, 100 * d, 10.0, key)
    hidden = tile.hidden_parameters(config, wild)
    if hidden:
        stored = hidden.get("persistent_weights", wild.weights)
        offset = hidden.get("reference", 0.0)
        assert (stored + offset <= hidden["max_bound"] + 1e-6).all()
        assert (stored + offset >= hidden["min_bound"] - 1e-6).all()
    assert np.isfinite(wild.weights).all()


@pytest.mark.parametrize("name", some(PULSED_DEVICES, QUICK[1:2], ("soft_bounds", "pow_step_reference")))
def test_vmap_over_configurations_equals_a_loop(name: str, key: jax.Array) -> None:
    """Eight devices of different step sizes: keys bit for bit, values to rounding."""
    x, d = batch(6)
    base = aj.SingleRPUConfig(device=PULSED_DEVICES[name])
    field = "alpha" if name == "soft_bounds_pmax" else "dw_min"
    values = jnp.geomspace(1e-4, 5e-2, 8)
    keys = jax.random.split(key, 8)

    def one(value: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        config = configs.replace(base, {f"device.{field}": value})
        state = tile.init(config, key, SHAPE)
        return state.device.max_bound, tile.update(config, state, x, d, 0.1, key).weights

    together = jax.jit(jax.vmap(one))(values, keys)
    alone = [jax.jit(one)(value, key) for value, key in zip(values, keys, strict=True)]
    assert np.allclose(together[0], jnp.stack([a[0] for a in alone]), rtol=1e-6)
    assert np.allclose(together[1], jnp.stack([a[1] for a in alone]), atol=2e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_vector_sends_the_same_pulses_alone_or_in_a_batch(mode: aj.UpdateMode, key: jax.Array) -> None:
    x, d = batch(5)
    config = aj.SingleRPUConfig(device=aj.ConstantStepDevice(**QUIET, dw_min_std=0.0), update_mode=mode)
    state = tile.set_weights(config, tile.init(config, key, SHAPE), jnp.zeros(SHAPE), key)
    whole = tile.update(config, state, x, d, 0.05, key).weights
    silent = tile.update(config, state, x, d * jnp.asarray([1, 1, 0, 0, 0])[:, None], 0.05, key).weights
    rest = tile.update(config, state, x, d * jnp.asarray([0, 0, 1, 1, 1])[:, None], 0.05, key).weights
    first = tile.update(config, state, x[:2], d[:2], 0.05, key).weights
    assert np.allclose(silent, first, atol=1e-7)
    assert np.allclose(whole, silent + rest, atol=1e-6)


def test_both_modes_send_the_same_pulses(key: jax.Array) -> None:
    x, d = batch(40)
    results = []
    for mode in MODES:
        config = aj.SingleRPUConfig(device=aj.ConstantStepDevice(**QUIET, dw_min_std=0.0), update_mode=mode)
        state = tile.set_weights(config, tile.init(config, key, SHAPE), jnp.zeros(SHAPE), key)
        results.append(tile.update(config, state, x, d, 0.3, key).weights)
    assert np.allclose(results[0], results[1], atol=5e-6)


@pytest.mark.parametrize(
    "name", [slow("constant_step"), slow("soft_bounds"), "pow_step_reference", slow("linear_step/write_noise")]
)
def test_coarse_devices_are_exact_without_noise(name: str, key: jax.Array) -> None:
    """A coarse device is pulsed row by row, so without pulse noise the modes agree to rounding."""
    x, d = batch(12)
    results = []
    for mode in MODES:
        device = EVERY[name].replace(dw_min=0.1, dw_min_std=0.0)
        config = aj.SingleRPUConfig(device=device, update_mode=mode)
        state = tile.update(config, tile.init(config, key, SHAPE), x, d, 0.5, key)
        results.append(tile.hidden_parameters(config, state).get("persistent_weights", state.weights))
    assert np.allclose(results[0], results[1], atol=2e-5)


def test_few_firing_rows_give_the_numbers_of_the_dense_pass(key: jax.Array) -> None:
    """On a CPU a tile of which few rows fire is visited row by row; the numbers are the same."""
    shape = (64, 9)
    config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice())
    state = tile.init(config, key, shape)
    x = jnp.ones((1, 9))
    d = jnp.zeros((1, 64)).at[0, :6].set(0.02)
    sparse = tile.update(config, state, x, d, 0.05, key).weights
    crowded = tile.update(config, state, x, d.at[0, 6:].set(0.02), 0.05, key).weights
    assert not np.array_equal(sparse[:6], state.weights[:6])
    assert np.array_equal(sparse[6:], state.weights[6:])
    assert np.allclose(sparse[:6], crowded[:6], atol=1e-7)


@pytest.mark.parametrize("pulse_type", [p.name for p in aj.PulseType])
@pytest.mark.parametrize("mode", some(MODES, [aj.UpdateMode.AGGREGATED]))
def test_every_pulse_type_moves_the_weights_downhill(pulse_type: str, mode: aj.UpdateMode, key: jax.Array) -> None:
    config = aj.SingleRPUConfig(
        device=aj.ConstantStepDevice(**QUIET), update=aj.UpdateParameters(pulse_type=pulse_type), update_mode=mode
    )
    x, d = batch(30)
    state = tile.set_weights(config, tile.init(config, key, SHAPE), jnp.zeros(SHAPE), key)
    rate = 0.01  # below saturation of the trains
    new = tile.update(config, state, x, d, rate, key).weights
    target = -rate * d.T @ x
    assert float(jnp.corrcoef(new.ravel(), target.ravel())[0, 1]) > 0.95
    assert float(jnp.vdot(new, target) / jnp.vdot(target, target)) == pytest.approx(1, abs=0.1)


def test_bad_arguments(key: jax.Array) -> None:
    config = aj.SingleRPUConfig()
    state = tile.init(config, key, SHAPE)
    x, d = batch(2)
    with pytest.raises(aj.ConfigError, match=r"learning_rate=-0\.1 is not allowed: give a finite number of at least 0"):
        tile.update(config, state, x, d, -0.1, key)
    with pytest.raises(aj.ConfigError, match="learning_rate=nan"):
        tile.update(config, state, x, d, float("nan"), key)
    with pytest.raises(aj.ShapeError, match=r"x has shape \(2, 5\): give \(n, 7\)"):
        tile.update(config, state, d, d, 0.1, key)
    with pytest.raises(aj.ShapeError, match=r"d has shape \(1, 5\): give \(2, 5\)"):
        tile.update(config, state, x, d[:1], 0.1, key)
    with pytest.raises(aj.ShapeError, match=r"weights have shape \(7, 5\): give \(5, 7\)"):
        tile.set_weights(config, state, jnp.zeros((7, 5)), key)
    with pytest.raises(aj.ShapeError, match=r"shape=\(0, 3\)"):
        tile.init(config, key, (0, 3))
    assert np.array_equal(tile.update(config, state, x[:0], d[:0], 0.1, key).weights, state.weights)


def test_values_that_are_not_finite_are_refused(key: jax.Array) -> None:
    config = aj.SingleRPUConfig()
    state = tile.init(config, key, SHAPE)
    x, d = batch(2)
    calls = {
        "x": lambda bad: tile.forward(config, state, x.at[0, 0].set(bad), key),
        "d": lambda bad: tile.backward(config, state, d.at[0, 0].set(bad), key),
        "x ": lambda bad: tile.update(config, state, x.at[0, 0].set(bad), d, 0.1, key),
        "d ": lambda bad: tile.update(config, state, x, d.at[0, 0].set(bad), 0.1, key),
        "weights": lambda bad: tile.set_weights(config, state, state.weights.at[0, 0].set(bad), key),
    }
    for name, call in calls.items():
        for bad in (jnp.nan, jnp.inf):
            with pytest.raises(aj.NonFiniteError, match=rf"^{name.strip()} has 1 NaN or infinite of \d+ values"):
                call(bad)
