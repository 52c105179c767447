"""How many pulses the aggregated update applies together where weights can reach their bounds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import presets, tile
from aihwjax.tile.pulsed_update.planning import Plan, plan
from aihwjax.tile.pulsed_update.trains import Trains

# as that of an electrochemical device, half the range about 1
DEVICE = presets.EcRamPresetDevice(dw_min_dtod=0.0, w_max_dtod=0.0, w_min_dtod=0.0)
SHAPE = (20, 50)


def decide(near: int, length: int, vectors: int) -> tuple[Plan, int]:
    """Plan trains in which the first column and every row nearly always fire, with ``near`` weights at a bound."""
    state = DEVICE.init(jax.random.key(0), SHAPE)
    weights = jnp.zeros(SHAPE).reshape(-1).at[:near].set(0.99 * DEVICE.w_max).reshape(SHAPE)
    columns = jnp.full((vectors, SHAPE[1]), 0.5).at[:, 0].set(0.9)
    trains = Trains(jnp.full(vectors, length), columns, jnp.full((vectors, SHAPE[0]), 0.7))
    total = length * vectors
    return plan(DEVICE, state, trains, jnp.asarray(total), weights), total


def test_all_pulses_come_together_where_no_weight_reaches_a_bound() -> None:
    decision, total = decide(0, 5, 30)
    assert bool(decision.free) and int(decision.chunk) == total


@pytest.mark.parametrize("near", [2, 200])
def test_short_trains_come_together_although_weights_reach_bounds(near: int) -> None:
    decision, total = decide(near, 2, 40)
    assert not bool(decision.free) and int(decision.chunk) == total


def test_long_trains_come_in_chunks_by_the_share_of_weights_that_reach_bounds() -> None:
    chunks = [int(decide(near, 16, 8)[0].chunk) for near in (2, 5, 200)]
    assert chunks == sorted(chunks, reverse=True)
    assert 16 <= chunks[-1] < chunks[0] <= 128
    step = float(jnp.asarray(DEVICE.init(jax.random.key(0), SHAPE).coarseness)[1])
    way, pulse, lumps = (1 + DEVICE.dw_min_std) / step, 0.9 * 0.7, 1 + 15 * 0.9 * 0.7
    allowed = max(0.02 * way, (0.02 * way) ** 2 / lumps)
    assert chunks[-1] == int(allowed / pulse)


@pytest.mark.parametrize(("weight", "free"), [(0.0, True), (0.5, False)])
def test_noisy_pulses_of_one_vector_reach_a_bound_too(weight: float, free: bool) -> None:
    # they go one way, but their noise turns back: without a bound that does not matter, at one it does
    spread = dict.fromkeys(("dw_min_dtod", "w_max_dtod", "w_min_dtod", "up_down_dtod"), 0.0)
    device = aj.ConstantStepDevice(dw_min=0.002, dw_min_std=3.0, **spread)
    state = device.init(jax.random.key(0), SHAPE)
    trains = Trains(jnp.array([31]), jnp.full((1, SHAPE[1]), 0.9), jnp.full((1, SHAPE[0]), 0.9))
    decision = plan(device, state, trains, jnp.asarray(31), jnp.full(SHAPE, weight))
    assert bool(decision.free) == bool(decision.fine) == free


@pytest.mark.slow
def test_weights_near_their_bounds_end_where_single_pulses_bring_them() -> None:
    """One mini-batch of many short trains, a tenth of the weights near a bound.

    Both modes draw the same devices and pulses. The mean over 500 tiles may differ by 0.1 of the row's spread
    where a bound is near, as root mean square; without reflection it differs by 0.12. The order of the vectors is
    the same in all tiles, so that a single weight may differ by more: by 0.28, to which sampling adds 0.06.
    """
    tiles, shape = 500, (12, 30)
    rng = np.random.default_rng(0)
    start = 0.2 * rng.uniform(-1, 1, shape)
    near = np.zeros(start.size, bool)
    near[rng.choice(start.size, start.size // 10, replace=False)] = True
    near = near.reshape(shape)
    start[near] = 0.97 * DEVICE.w_max
    x = jnp.asarray(rng.random((64, shape[1])) < 0.4, jnp.float32)
    d = jnp.asarray(0.3 * rng.normal(size=(64, shape[0])), jnp.float32)
    device = presets.EcRamPresetDevice()

    def final(mode: aj.UpdateMode) -> np.ndarray:
        config = aj.SingleRPUConfig(device=device, update_mode=mode)

        def one(key: jax.Array) -> jax.Array:
            state = tile.set_weights(config, tile.init(config, key, shape), jnp.asarray(start), key)
            return tile.update(config, state, x, d, 0.01, key).weights

        keys = jax.random.split(jax.random.key(7), tiles)
        return np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)

    exact, together = final(aj.UpdateMode.SEQUENTIAL), final(aj.UpdateMode.AGGREGATED)
    row = np.sqrt((exact.std(0) ** 2).mean(axis=1, keepdims=True))
    difference = np.abs(together.mean(0) - exact.mean(0)) / row
    assert np.sqrt((difference[near] ** 2).mean()) < 0.1
    assert difference.max() < 0.35
    assert np.abs(together.std(0) / exact.std(0) - 1).mean() < 0.02
