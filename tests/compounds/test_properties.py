"""What holds for every compound: bounds, replay, zero learning rate, vmap, extreme fields, both update modes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from tests.compounds.ideal import KEY, started, update
from tests.compounds.table import COMPOUNDS
from tests.marks import slow, some

SHAPE = (3, 4)
QUICK = ("vector", "transfer", "mixed precision")
"""One of each kind; the others are among the slow tests."""
FEW = ("chopped", "mixed precision")
"""The same for tests that take long."""
SOME = some(COMPOUNDS, QUICK, ("one-sided", "chopped"))


def batch(size: float = 0.1, vectors: int = 6) -> tuple[jax.Array, jax.Array]:
    """Return inputs and gradients of a mini-batch."""
    first, second = jax.random.split(jax.random.key(5))
    x = jax.random.normal(first, (vectors, SHAPE[1]))
    return x, size * jax.random.normal(second, (vectors, SHAPE[0]))


def trained(config: aj.TileConfig, learning_rate: float | jax.Array, size: float | jax.Array) -> jax.Array:
    """Return the leaves of a tile after some mini-batches, flattened to one vector."""
    state = aj.tile.init(config, KEY, SHAPE)
    x, d = batch(size)

    def step(state, number):  # type: ignore[no-untyped-def]
        own = jax.random.fold_in(KEY, number)
        state = aj.tile.update(config, state, x, d, learning_rate, own)
        return aj.tile.end_of_batch(config, state, jax.random.fold_in(own, 1)), None

    state = jax.lax.scan(step, state, jnp.arange(8))[0]
    return jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(state)])


_trained = jax.jit(trained)


@pytest.mark.parametrize("mode", ["AGGREGATED", slow("SEQUENTIAL")])
@pytest.mark.parametrize("name", some(COMPOUNDS, FEW, ("one-sided", "transfer")))
def test_replays_from_its_key_and_stays_finite_at_any_size(name: str, mode: str) -> None:
    config = aj.TileConfig(device=COMPOUNDS[name], update_mode=mode)
    first = _trained(config, 0.2, 0.1)
    np.testing.assert_array_equal(first, _trained(config, 0.2, 0.1))
    compiled = _trained._cache_size()
    for learning_rate, size in ((1e-6, 1e-20), (0.2, 1e4), (50.0, 1.0)):
        assert np.isfinite(_trained(config, learning_rate, size)).all()
    assert _trained._cache_size() == compiled


@pytest.mark.parametrize("name", some(COMPOUNDS, FEW, ("one-sided", "transfer")))
def test_a_zero_learning_rate_changes_nothing(name: str) -> None:
    config, state = started(COMPOUNDS[name], SHAPE, pulses=aj.UpdateParameters())
    same = update(config, state, *batch(), 0.0, KEY)
    moved = update(config, state, *batch(), 0.2, KEY)
    jax.tree.map(np.testing.assert_array_equal, state, same)
    changes = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state, moved)
    assert any(jax.tree.leaves(changes))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transfer", "vector", "one-sided", "chopped", "mixed precision"])
def test_a_sweep_is_a_loop(name: str) -> None:
    config = aj.TileConfig(device=COMPOUNDS[name])
    first = "device.device.dw_min" if "mixed" in name else "device.unit_cell_devices.0.dw_min"
    steps = jnp.array([0.01, 0.03])

    @jax.jit
    def alone(step: jax.Array) -> jax.Array:
        return trained(aj.config.replace(config, {first: step}), 0.2, 0.1)

    for row, step in zip(jax.jit(jax.vmap(alone))(steps), steps, strict=True):
        np.testing.assert_allclose(row, alone(step), atol=1e-5)


@pytest.mark.parametrize("name", SOME)
def test_hidden_weights_stay_in_their_bounds(name: str) -> None:
    config, state = started(COMPOUNDS[name], SHAPE, pulses=aj.UpdateParameters())
    for call in range(3):
        state = update(config, state, *batch(size=10.0), 1.0, jax.random.fold_in(KEY, call))
    hidden = {name: np.asarray(value) for name, value in aj.tile.hidden_parameters(config, state).items()}
    checked = 0
    for bound in [name for name in hidden if name.startswith("max_bound")]:
        suffix = bound.removeprefix("max_bound")
        weights = hidden.get(f"persistent_weights{suffix}", hidden.get(f"hidden_weights{suffix}"))
        if weights is None:  # of a single device in mixed precision
            weights = np.asarray(state.weights)
        inside = weights + hidden.get(f"reference{suffix}", 0.0)
        assert (inside <= hidden[bound] + 1e-6).all()
        assert (inside >= hidden[f"min_bound{suffix}"] - 1e-6).all()
        checked += 1
    assert checked


@pytest.mark.parametrize("name", COMPOUNDS)
def test_survives_toml(name: str) -> None:
    config = aj.TileConfig(device=COMPOUNDS[name])
    assert aj.config.from_toml(aj.config.to_toml(config)) == config


def test_maintenance_reaches_every_device() -> None:
    config, state = started(COMPOUNDS["transfer"], SHAPE)
    for k in range(2):
        state = update(config, state, *batch(size=1.0), 0.3, jax.random.fold_in(KEY, k))
    names = ("persistent_weights_0", "persistent_weights_1")
    before = aj.tile.hidden_parameters(config, state)
    drained = aj.tile.hidden_parameters(config, aj.tile.decay(config, state, 50.0, KEY))
    assert np.abs(drained[names[1]]).max() < np.abs(before[names[1]]).max()
    reset = aj.tile.hidden_parameters(config, aj.tile.reset(config, state, 0, -1, 1.0, KEY))
    assert not np.allclose(reset[names[0]], before[names[0]])
    np.testing.assert_array_equal(reset[names[1]], before[names[1]])  # the slow device is not reset


def test_a_reference_is_programmed_through_its_index() -> None:
    config, state = started(COMPOUNDS["reference"], SHAPE)
    state = aj.tile.set_hidden_update_index(config, state, 1)
    state = aj.tile.set_weights(config, state, jnp.full(SHAPE, 0.1), KEY)
    state = aj.tile.set_hidden_update_index(config, state, 0)
    state = aj.tile.set_weights(config, state, jnp.full(SHAPE, 0.2), KEY)
    hidden = aj.tile.hidden_parameters(config, state)
    fits = (hidden["max_bound_0"] > 0.2) & (hidden["max_bound_1"] > 0.1)
    np.testing.assert_allclose(state.weights[fits], 0.1, atol=1e-6)


def test_pulse_type_none_is_plain_gradient_descent() -> None:
    pulses = aj.UpdateParameters(pulse_type="NONE")
    config, state = started(COMPOUNDS["transfer"], SHAPE, pulses=pulses)
    x, d = batch()
    state = update(config, state, x, d, 0.1, KEY)
    np.testing.assert_allclose(state.weights, -0.1 * d.T @ x, atol=1e-6)
    assert aj.tile.hidden_parameters(config, state) == {}
