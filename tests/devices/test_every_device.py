"""Properties of every device, over the tables of ``tests/helpers.py``."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax.devices
from aihwjax import config as configs
from aihwjax import tile
from aihwjax.devices.base import Device, PulsedDevice, WriteNoiseDevice
from aihwjax.devices.ideal import ExactDevice
from aihwjax.tile.config import TileConfig
from tests.helpers import DEVICES, PULSED_DEVICES, VARIANTS
from tests.marks import some

SHAPE = (6, 9)
EVERY = {**DEVICES, **VARIANTS}
PULSED = {**PULSED_DEVICES, **VARIANTS}
# one of each law, one with write noise
QUICK = ("constant_step", "linear_step/write_noise", "pow_step", "soft_bounds_reference", "ideal", "floating_point")
SLOW = ("soft_bounds", "exp_step/complex_noise", "piecewise_step")
BASES = {Device, PulsedDevice, WriteNoiseDevice, ExactDevice}


def all_subclasses(cls: type) -> set[type]:
    return {cls}.union(*(all_subclasses(child) for child in cls.__subclasses__()))


def test_every_device_of_the_library_is_in_the_table() -> None:
    own = {cls for cls in all_subclasses(Device) if cls.__module__.startswith(aihwjax.devices.__name__ + ".")}
    assert {type(device) for device in DEVICES.values()} == own - BASES


@pytest.mark.parametrize("name", [name for name in EVERY if name != "custom_step"])
def test_survives_toml_and_json(name: str) -> None:
    device = EVERY[name]
    assert configs.from_toml(configs.to_toml(device)) == device
    assert configs.from_json(configs.to_json(device)) == device


def test_functions_travel_in_no_file() -> None:
    with pytest.raises(aihwjax.ConfigError, match="CustomStepDevice.up='falling' is not allowed: give a function"):
        configs.from_toml(configs.to_toml(EVERY["custom_step"]))


@pytest.mark.parametrize("name", EVERY)
def test_same_key_same_tile(name: str, key: jax.Array) -> None:
    config = TileConfig(device=EVERY[name])
    first, second = tile.init(config, key, SHAPE), tile.init(config, key, SHAPE)
    other = tile.init(config, jax.random.fold_in(key, 1), SHAPE)
    assert jax.tree.all(jax.tree.map(np.array_equal, first, second))
    assert not np.array_equal(first.weights, other.weights)


@pytest.mark.parametrize("name", some(PULSED, QUICK, SLOW))
def test_construction_seed_fixes_the_crosspoints(name: str, key: jax.Array) -> None:
    config = TileConfig(device=PULSED[name].replace(construction_seed=3))
    first = tile.hidden_parameters(config, tile.init(config, key, SHAPE))
    second = tile.hidden_parameters(config, tile.init(config, jax.random.fold_in(key, 1), SHAPE))
    drawn = set(first) - {"persistent_weights"}
    assert all(np.array_equal(first[part], second[part]) for part in drawn)


@pytest.mark.parametrize("name", PULSED)
def test_hidden_parameters_begin_with_the_eight_of_every_device(name: str, key: jax.Array) -> None:
    config = TileConfig(device=PULSED[name])
    hidden = tile.hidden_parameters(config, tile.init(config, key, SHAPE))
    assert list(hidden)[:8] == [
        "max_bound",
        "min_bound",
        "dwmin_up",
        "dwmin_down",
        "decay_scales",
        "diffusion_rates",
        "reset_bias",
        "drift_nu",
    ]
    assert all(part.shape == SHAPE for part in hidden.values())


@pytest.mark.parametrize("name", PULSED)
def test_set_weights_respects_the_bounds(name: str, key: jax.Array) -> None:
    config = TileConfig(device=PULSED[name].replace(write_noise_std=0.0) if "write_noise" in name else PULSED[name])
    state = tile.init(config, key, SHAPE)
    hidden = tile.hidden_parameters(config, state)
    for wanted in (jnp.full(SHAPE, 50.0), jnp.full(SHAPE, -50.0)):
        weights = tile.get_weights(config, tile.set_weights(config, state, wanted, key))
        bound = hidden["max_bound"] if wanted[0, 0] > 0 else hidden["min_bound"]
        np.testing.assert_allclose(weights, bound, rtol=1e-6)


@pytest.mark.parametrize("name", some(EVERY, QUICK, SLOW))
def test_weights_move_against_the_gradient_and_rest_without_one(name: str, key: jax.Array) -> None:
    config = TileConfig(device=EVERY[name])
    shape = (16, 16)
    start = tile.set_weights(config, tile.init(config, key, shape), jnp.zeros(shape), key)
    x = jnp.stack([jnp.ones((4, 16)), jnp.ones((4, 16)), jnp.zeros((4, 16))])
    d = jnp.stack([jnp.ones((4, 16)), -jnp.ones((4, 16)), jnp.ones((4, 16))])
    learning_rate = 0.5 * config.device.weight_granularity()
    program = jax.jit(lambda config, state, x, d: tile.update(config, state, x, d, learning_rate, key))
    positive, negative, idle = (program(config, start, x[i], d[i]).weights - start.weights for i in range(3))
    assert float(jnp.mean(positive)) < 0 < float(jnp.mean(negative))
    np.testing.assert_array_equal(idle, 0)
