"""Every training preset trains a small tile."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import presets
from aihwjax.compounds import OneSidedUnitCell, TransferCompound, VectorUnitCell
from aihwjax.presets.facts import facts
from tests.marks import some
from tests.presets.table import TRAINING

SHAPE = (3, 4)
STEPS, BATCH = 10, 5
SLOW = ("EcRamPreset", "PCMPreset", "TikiTakaReRamSBPreset", "GokmenVlasovPreset", "MixedPrecisionCapacitorPreset")


@jax.jit  # the configuration is an argument: presets that differ in numbers only share a program
def run(config: aj.TileConfig, state, x: jax.Array, d: jax.Array, key: jax.Array):
    """Return the state after a mini-batch for each row of ``x`` and ``d``."""

    def step(state, batch):
        number, x, d = batch
        state = aj.tile.update(config, state, x, d, 0.1, jax.random.fold_in(key, 2 * number))
        return aj.tile.end_of_batch(config, state, jax.random.fold_in(key, 2 * number + 1)), None

    return jax.lax.scan(step, state, (jnp.arange(STEPS), x, d))[0]


def trained(config: aj.TileConfig, key: jax.Array):
    """Return the state of a new tile and its state after ten mini-batches."""
    start, data, pulses = jax.random.split(key, 3)
    state = aj.tile.init(config, start, SHAPE)
    weights = jax.random.uniform(start, SHAPE, minval=-0.3, maxval=0.3)
    state = aj.tile.set_weights(config, state, weights, start)
    x = jax.random.uniform(data, (STEPS, BATCH, SHAPE[1]), minval=-1)
    d = jax.random.normal(jax.random.fold_in(data, 1), (STEPS, BATCH, SHAPE[0]))
    return state, run(config, state, x, d, pulses)


def bounds(config: aj.TileConfig, hidden: dict[str, jax.Array]):
    """Return the range of the visible weights, as the cell adds its devices up."""
    device = getattr(config.device, "device", config.device)

    def of(name: str, k: int | None):
        suffix = "" if k is None else f"_{k}"
        return hidden[f"{name}{suffix}"] - hidden.get(f"reference{suffix}", 0.0)

    if isinstance(device, OneSidedUnitCell):
        return -of("max_bound", 0), of("max_bound", 1)
    if isinstance(device, VectorUnitCell):
        cells = range(len(device.unit_cell_devices))
        return tuple(np.mean([of(name, k) for k in cells], axis=0) for name in ("min_bound", "max_bound"))
    k = 1 if "max_bound_1" in hidden else None  # of a transfer compound the slow array is visible
    return of("min_bound", k), of("max_bound", k)


@pytest.mark.parametrize("name", some(TRAINING, (), SLOW))
def test_a_tile_trains_within_its_bounds_and_replays(name: str, key: jax.Array) -> None:
    config = presets.by_name(name)()
    before, state = trained(config, key)
    weights = np.asarray(aj.tile.get_weights(config, state))
    assert np.isfinite(weights).all()
    low, high = bounds(config, aj.tile.hidden_parameters(config, state))
    noise = facts(config).write_noise  # on the visible weight only: 6 standard deviations of at most four devices
    assert (weights >= np.asarray(low) - 6 * noise - 1e-6).all()
    assert (weights <= np.asarray(high) + 6 * noise + 1e-6).all()
    # something was learned, if only in a hidden array or a buffer
    changed = [not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state), strict=True)]
    assert any(changed)

    again, other = trained(config, key)[1], trained(config, jax.random.fold_in(key, 1))[1]
    for first, second in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(weights, aj.tile.get_weights(config, other))

    y = aj.tile.forward(config, state, jnp.ones((2, SHAPE[1])), key)
    assert y.shape == (2, SHAPE[0])
    assert np.isfinite(y).all()


def test_a_fully_hidden_compound_is_what_the_presets_use() -> None:
    device = presets.TikiTakaEcRamPreset().device
    assert isinstance(device, TransferCompound)
    assert device.gamma == 0
