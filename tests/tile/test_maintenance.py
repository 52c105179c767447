"""Decay, diffusion, drift, reset and the end of a batch (spec: devices, section 4)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile
from tests.helpers import PULSED_DEVICES

SHAPE = (40, 50)
QUIET = {"dw_min_dtod": 0, "up_down_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0}


def made(device: aj.devices.Device, key: jax.Array, value: float = 0.3, **fields: object) -> tuple:
    config = aj.SingleRPUConfig(device=device, **fields)
    return config, tile.set_weights(config, tile.init(config, key, SHAPE), jnp.full(SHAPE, value), key)


@pytest.mark.parametrize("device", [aj.ConstantStepDevice, aj.FloatingPointDevice, aj.IdealDevice])
def test_drift_follows_its_power_law(device: type, key: jax.Array) -> None:
    """The check values of the specification, with a rewriting in between."""
    drift = aj.DriftParameter(nu=0.1)
    extra = QUIET if device is aj.ConstantStepDevice else {}
    config, state = made(device(drift=drift, **extra), key)
    values = []
    for delta in (0.5, 10, 10):
        state = tile.drift(config, state, delta, key)
        values.append(float(state.weights[0, 0]))
    state = tile.set_weights(config, state, jnp.full(SHAPE, 0.25), key)
    for delta in (10, 10):
        state = tile.drift(config, state, delta, key)
        values.append(float(state.weights[0, 0]))
    assert np.allclose(values, [0.3, 0.237139, 0.221792, 0.25, 0.198582], atol=2e-6)


def test_read_noise_of_drift_does_not_accumulate(key: jax.Array) -> None:
    config, state = made(aj.ConstantStepDevice(**QUIET, drift=aj.DriftParameter(nu=1e-9, w_noise_std=0.01)), key)
    for i in range(10):
        state = tile.drift(config, state, 1.0, jax.random.fold_in(key, i))
    assert float(state.weights.std()) == pytest.approx(0.01, rel=5 / np.sqrt(2 * state.weights.size))


def test_decay_and_lifetime(key: jax.Array) -> None:
    config, state = made(aj.ConstantStepDevice(**QUIET, lifetime=20.0, reset=0.1), key)
    once = tile.decay(config, state, 1.0, key).weights
    assert np.allclose(once, 0.2 * 0.95 + 0.1, atol=1e-6)
    assert np.allclose(tile.decay(config, state, 0.3, key).weights, 0.2 * (1 - 0.3 / 20) + 0.1, atol=1e-6)
    full = made(aj.ConstantStepDevice(**QUIET, lifetime=0.5), key)
    assert np.allclose(tile.decay(*full, 1.0, key).weights, 0.0)
    ideal = made(aj.IdealDevice(lifetime=0.5), key)
    assert np.allclose(tile.decay(*ideal, 1.0, key).weights, 0.3)
    assert np.allclose(tile.decay(*made(aj.IdealDevice(lifetime=20.0), key), 1.0, key).weights, 0.3 * 0.95)


def test_diffusion(key: jax.Array) -> None:
    for device in (aj.ConstantStepDevice(**QUIET, diffusion=0.02), aj.IdealDevice(diffusion=0.02)):
        config, state = made(device, key, 0.0)
        spread = float(tile.diffuse(config, state, key).weights.std())
        assert spread == pytest.approx(0.02, rel=5 / np.sqrt(2 * state.weights.size))


def test_reset_takes_its_columns_and_wraps(key: jax.Array) -> None:
    config, state = made(aj.ConstantStepDevice(**QUIET, reset=-0.2), key)
    changed = np.asarray(tile.reset(config, state, 48, 4, 1.0, key).weights != state.weights).all(axis=0)
    assert np.flatnonzero(changed).tolist() == [0, 1, 48, 49]
    everything = tile.reset(config, state, key=key).weights
    assert float(everything.mean()) == pytest.approx(-0.2, abs=5 * 0.01 / np.sqrt(everything.size))
    assert float(everything.std()) == pytest.approx(0.01, rel=0.15)
    half = np.asarray(tile.reset(config, state, 0, -1, 0.5, key).weights != state.weights).mean()
    assert half == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(everything.size))
    assert np.array_equal(tile.reset(config, state, 0, -1, 0.0, key).weights, state.weights)
    with pytest.raises(aj.ConfigError, match="key=None"):
        tile.reset(config, state)
    with pytest.raises(aj.ConfigError, match="FloatingPointDevice cannot be reset"):
        tile.reset(*made(aj.FloatingPointDevice(), key), key=key)


def test_end_of_batch_does_only_what_is_configured(key: jax.Array) -> None:
    config, state = made(aj.ConstantStepDevice(), key)
    assert jax.tree.all(jax.tree.map(np.array_equal, tile.end_of_batch(config, state, key), state))
    both = aj.ConstantStepDevice(**QUIET, diffusion=0.01, lifetime=10.0)
    config, state = made(both, key)
    by_hand = tile.diffuse(config, state, jax.random.fold_in(key, 0)).weights
    ended = tile.end_of_batch(config, state, key).weights
    assert float(ended.mean()) == pytest.approx(0.9 * 0.3, abs=5 * 0.01 / np.sqrt(by_hand.size))
    assert float(ended.std()) == pytest.approx(0.9 * 0.01, rel=0.15)


@pytest.mark.parametrize("name", PULSED_DEVICES)
def test_maintenance_stays_in_bounds(name: str, key: jax.Array) -> None:
    device = PULSED_DEVICES[name].replace(diffusion=0.5, lifetime=5.0, drift=aj.DriftParameter(nu=0.1))
    config = aj.SingleRPUConfig(device=device)
    state = tile.init(config, key, SHAPE)
    state = tile.reset(config, tile.end_of_batch(config, state, key), 0, 7, 1.0, key)
    state = tile.clip(config, tile.drift(config, state, 10.0, key), key, 0.1)
    assert (state.weights <= state.device.max_bound + 1e-6).all()
    assert (state.weights >= state.device.min_bound - 1e-6).all()
    assert np.isfinite(state.weights).all()


def test_write_noise_appears_and_does_not_persist(key: jax.Array) -> None:
    device = aj.SoftBoundsDevice(**QUIET, dw_min=0.01, write_noise_std=2.0)
    config, state = made(device, key)
    error = 5 / np.sqrt(2 * state.weights.size)
    assert np.allclose(tile.hidden_parameters(config, state)["persistent_weights"], 0.3)
    assert float(state.weights.std()) == pytest.approx(0.02, rel=error)
    again = tile.clip(config, tile.diffuse(config, state, key), jax.random.fold_in(key, 1))
    assert np.allclose(again.device.persistent, 0.3)
    assert float(again.weights.std()) == pytest.approx(0.02, rel=error)
    assert abs(np.corrcoef(again.weights.ravel(), state.weights.ravel())[0, 1]) < 5 / np.sqrt(state.weights.size)
    quiet_config, quiet = made(device.replace(apply_write_noise_on_set=False), key)
    assert np.allclose(quiet.weights, 0.3)
    x, d = jnp.ones((1, SHAPE[1])), jnp.zeros((1, SHAPE[0])).at[0, 3].set(-1.0)
    pulsed = tile.update(quiet_config, quiet, x, d, 0.1, key)
    assert np.array_equal(pulsed.weights[:3], quiet.weights[:3]), "only pulsed crosspoints are written"
    assert float((pulsed.weights - pulsed.device.persistent)[3].std()) == pytest.approx(0.02, rel=5 / np.sqrt(100))


def test_a_tile_without_drift_carries_no_drift_state(key: jax.Array) -> None:
    for device in (aj.ConstantStepDevice(), aj.IdealDevice()):
        assert tile.init(aj.SingleRPUConfig(device=device), key, SHAPE).device.drift is None
