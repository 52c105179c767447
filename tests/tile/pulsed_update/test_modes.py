"""The aggregated update has the distribution of the sequential one, also for coarse and saturating devices.

Statistics of 2,000 fresh tiles a mode. Both modes draw the same devices and the same pulses, so
five standard errors of independent samples are a generous bound on the sampling error; to it come
the floors of the golden statistics (2 % of the spread, 1 % of the row's spread).
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile
from tests.helpers import MODES, PULSED_DEVICES, VARIANTS
from tests.marks import some

TILES = 2000
SHAPE = (10, 14)
DEVICES = {
    **PULSED_DEVICES,
    "linear_step/write_noise": VARIANTS["linear_step/write_noise"],
    "constant_step/noisy": aj.ConstantStepDevice(dw_min_std=2.0),
}
SLOW = ("soft_bounds", "linear_step/write_noise")
# name: step, learning rate, batch, mini-batches
SETTINGS = {
    "fine": (0.001, 0.05, 8, 1),
    "medium": (0.001, 0.5, 16, 2),
    "coarse": (0.05, 0.5, 8, 2),
    "single vectors": (0.02, 0.5, 1, 6),
}


@jax.jit  # the number of mini-batches is an argument too: settings of equal batches share a program
def final_weights(config: aj.TileConfig, x: jax.Array, d: jax.Array, rate: float, times: int) -> jax.Array:
    start = 0.3 * jax.random.uniform(jax.random.key(1), SHAPE, minval=-1, maxval=1)

    def one(key: jax.Array) -> jax.Array:
        state = tile.set_weights(config, tile.init(config, key, SHAPE), start, key)

        def update(i: jax.Array, state: tile.TileState) -> tile.TileState:
            return tile.update(config, state, x, d, rate, jax.random.fold_in(key, i))

        return jax.lax.fori_loop(0, times, update, state).weights

    # one tile after another: a tile whose pulses are applied in turn doesn't make all others do so
    return jax.lax.map(one, jax.random.split(jax.random.key(7), TILES))


def moments(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    spread = weights.std(0)
    fourth = ((weights - weights.mean(0)) ** 4).mean(0)
    return weights.mean(0), spread, np.maximum(fourth - spread**4, 0) / len(weights)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", some(DEVICES, (), SLOW))
def test_modes_agree_in_distribution(name: str, setting: str) -> None:
    step, rate, n, times = SETTINGS[setting]
    device = DEVICES[name]
    device = device.replace({"alpha": step} if name == "soft_bounds_pmax" else {"dw_min": step})
    if isinstance(device, aj.PowStepReferenceDevice):  # the search for each symmetry point would take most of the time
        device = device.replace(n_estimation_steps=200)
    x_key, d_key = jax.random.split(jax.random.key(3))
    x, d = jax.random.normal(x_key, (n, SHAPE[1])), 0.5 * jax.random.normal(d_key, (n, SHAPE[0]))
    result = {}
    for mode in MODES:
        config = aj.SingleRPUConfig(device=device, update_mode=mode)
        result[mode] = moments(np.asarray(final_weights(config, x, d, rate, times), np.float64))
    (mean, spread, q), (other_mean, other_spread, other_q) = result.values()
    row = np.sqrt((spread**2).mean(axis=1, keepdims=True))
    floor = 0.02 * spread + 0.01 * row + 1e-5
    allowed = 5 * np.sqrt((spread**2 + other_spread**2) / TILES) + floor
    assert (np.abs(mean - other_mean) > allowed).mean() <= 0.005
    assert (np.abs(mean - other_mean) <= 2 * allowed).all()
    safe = np.maximum(np.minimum(spread, other_spread), 1e-9)
    allowed = 5 * (np.sqrt(q) + np.sqrt(other_q)) / (2 * safe) + 0.02 * spread + 0.05 * row + 1e-5
    assert (np.abs(spread - other_spread) > allowed).mean() <= 0.005
