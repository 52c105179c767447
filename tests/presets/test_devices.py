"""Every device that a preset is made of follows its law: mean steps, and balance at the symmetry point.

The laws are written down here a second time, in NumPy, from the equations (spec: devices, section 3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import aihwjax as aj
from aihwjax import presets
from aihwjax.devices.base import PulsedDevice
from tests.marks import some

SHAPE = (8, 8)
REPEATS = 512
# For the largest of some thousand standard normal numbers (3e-8 a number), and for a single one
MOST, MEAN = 5.7, 4.5


def parts(value: Any) -> Iterator[PulsedDevice]:
    """Yield the pulsed devices of a configuration, of compounds in compounds too."""
    if isinstance(value, PulsedDevice):
        yield value
    elif isinstance(value, tuple | list):
        for entry in value:
            yield from parts(entry)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from parts(getattr(value, field.name))


def devices() -> dict[str, PulsedDevice]:
    """Return the different devices of all presets, by the first preset that has them."""
    found: dict[str, PulsedDevice] = {}
    for name in presets.names():
        for device in parts(presets.by_name(name)()):
            if device not in found.values():
                found[name] = device
    return found


DEVICES = devices()
# Devices whose steps balance only at a bound (phase-change memory, used one-sided), or whose noise spans the range
NOWHERE_FREE = ("PCMPresetDevice", "ReRamArrayOMPresetDevice", "ReRamArrayHfO2PresetDevice")

pytestmark = pytest.mark.slow


class Law(NamedTuple):
    """Steps and pulse noise at each crosspoint, all absolute."""

    up: np.ndarray
    down: np.ndarray
    noise_up: np.ndarray
    noise_down: np.ndarray


def law(device: Any, hidden: dict[str, np.ndarray], w: np.ndarray) -> Law:
    """Return the law of a device at the weights ``w``."""
    up, down, top, bottom = (hidden[name] for name in ("dwmin_up", "dwmin_down", "max_bound", "min_bound"))
    sigma = float(device.dw_min_std)
    if isinstance(device, aj.ConstantStepDevice):
        return Law(up, down, sigma * up, sigma * down)
    if isinstance(device, aj.LinearStepDevice):
        u, d = up + hidden["slope_up"] * w, down + hidden["slope_down"] * w
        if device.mult_noise:
            return Law(u, d, sigma * np.abs(u), sigma * np.abs(d))
        return Law(u, d, sigma * up, sigma * down)
    if isinstance(device, aj.SoftBoundsReferenceDevice):
        assert not device.mult_noise
        v = w + hidden["reference"]
        return Law(up * (1 - v / top), down * (1 - v / bottom), sigma * up, sigma * down)
    assert isinstance(device, aj.ExpStepDevice)
    z = 2 * float(device.a) * w / (top - bottom) + float(device.b)
    u = up * np.maximum(1 - float(device.A_up) * np.exp(float(device.gamma_up) * z), 0)
    d = down * np.maximum(1 - float(device.A_down) * np.exp(-float(device.gamma_down) * z), 0)
    more = float(device.dw_min_std_add) + float(device.dw_min_std_slope) * np.abs(w)
    return Law(u, d, sigma * (u + more), sigma * (d + more))


def clipped_mean(mean: np.ndarray, noise: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the mean of a normal number that is clipped to a range."""
    noise = np.maximum(noise, 1e-12)
    a, b = (low - mean) / noise, (high - mean) / noise
    inside = mean * (norm.cdf(b) - norm.cdf(a)) - noise * (norm.pdf(b) - norm.pdf(a))
    return low * norm.cdf(a) + high * norm.sf(b) + inside


class Bench:
    """A tile of a device and its pulses, one to every crosspoint."""

    def __init__(self, name: str, device: PulsedDevice, key: jax.Array) -> None:
        pulses = aj.UpdateParameters(pulse_type="DETERMINISTIC_IMPLICIT", desired_bl=1, update_bl_management=False)
        self.name, self.device, self.key = name, device, key
        self.config = aj.SingleRPUConfig(device=device, update=pulses)
        self.state = aj.tile.init(self.config, key, SHAPE)
        hidden = aj.tile.hidden_parameters(self.config, self.state)
        self.hidden = {name: np.asarray(value, np.float64) for name, value in hidden.items()}
        reference = self.hidden.get("reference", 0.0)
        self.low, self.high = self.hidden["min_bound"] - reference, self.hidden["max_bound"] - reference

    def pulse(self, weights: np.ndarray, up: bool) -> np.ndarray:
        """Return the stored weights after one pulse, ``(REPEATS, out, in)``."""
        start = aj.tile.set_weights(self.config, self.state, jnp.asarray(weights, jnp.float32), self.key)
        d = jnp.full((1, SHAPE[0]), -1.0 if up else 1.0)
        keys = jax.random.split(jax.random.fold_in(self.key, int(up)), REPEATS)
        return np.asarray(_pulsed(self.config, start, d, self.device.weight_granularity(), keys), np.float64)

    def expected(self, weights: np.ndarray, up: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and noise (before the bounds) of the stored weights after one pulse."""
        steps = law(self.device, self.hidden, weights)
        step, noise = (steps.up, steps.noise_up) if up else (-steps.down, steps.noise_down)
        return clipped_mean(weights + step, noise, self.low, self.high), noise


@jax.jit
def _pulsed(config: aj.TileConfig, start, d: jax.Array, rate: jax.Array, keys: jax.Array) -> jax.Array:
    def once(key: jax.Array) -> jax.Array:
        state = aj.tile.update(config, start, jnp.ones((1, SHAPE[1])), d, rate, key)
        hidden = aj.tile.hidden_parameters(config, state)
        return hidden.get("persistent_weights", state.weights)

    return jax.vmap(once)(keys)


@pytest.fixture(params=some(DEVICES, (), tuple(DEVICES)[::3]))
def bench(request: pytest.FixtureRequest, key: jax.Array) -> Bench:
    return Bench(request.param, DEVICES[request.param], key)


def test_there_are_devices_of_every_kind() -> None:
    kinds = {type(device) for device in DEVICES.values()}
    assert {aj.ConstantStepDevice, aj.LinearStepDevice, aj.ExpStepDevice, aj.SoftBoundsReferenceDevice} <= kinds


def test_the_mean_step_follows_the_law(bench: Bench) -> None:
    place = np.random.default_rng(3).uniform(0.2, 0.8, SHAPE)
    weights = bench.low + place * (bench.high - bench.low)
    for up in (True, False):
        mean, noise = bench.expected(weights, up)
        found = bench.pulse(weights, up)
        rounding = 4e-7 * (1 + np.abs(weights))
        error = found.mean(axis=0) - mean
        assert (np.abs(error) <= MOST * noise / np.sqrt(REPEATS) + rounding).all()
        assert abs(error.mean()) <= MEAN * np.sqrt((noise**2).mean() / REPEATS / error.size) + rounding.mean()
        assert (found >= bench.low - 1e-6).all() and (found <= bench.high + 1e-6).all()


def test_up_and_down_balance_at_the_symmetry_point(bench: Bench) -> None:
    if isinstance(bench.device, aj.ConstantStepDevice):  # steps that don't change balance everywhere or nowhere
        np.testing.assert_allclose(bench.hidden["dwmin_up"].mean(), bench.hidden["dwmin_down"].mean(), rtol=0.01)
        return
    low, high = bench.low.copy(), bench.high.copy()
    for _ in range(60):
        middle = (low + high) / 2
        steps = law(bench.device, bench.hidden, middle)
        low, high = np.where(steps.up > steps.down, middle, low), np.where(steps.up > steps.down, high, middle)
    point = (low + high) / 2
    steps = law(bench.device, bench.hidden, point)
    ups, downs = bench.pulse(point, True).mean(axis=0), bench.pulse(point, False).mean(axis=0)
    drift, noise = ups + downs - 2 * point, np.hypot(steps.noise_up, steps.noise_down)
    error = MOST * noise / np.sqrt(REPEATS) + 8e-7 * (1 + np.abs(point))
    # a pulse can't leave the range; where that is in reach, the mean is not that of the free step
    wanted = bench.expected(point, True)[0] + bench.expected(point, False)[0] - 2 * point
    assert (np.abs(drift - wanted) <= error).all()
    free = np.abs(wanted) <= 1e-6
    assert (np.abs(drift[free]) <= error[free] + 1e-6).all()
    assert free.any() or bench.name in NOWHERE_FREE


def test_a_zero_learning_rate_changes_nothing(bench: Bench) -> None:
    weights = (bench.low + bench.high) / 2
    start = aj.tile.set_weights(bench.config, bench.state, jnp.asarray(weights, jnp.float32), bench.key)
    d = jnp.ones((1, SHAPE[0]))
    same = aj.tile.update(bench.config, start, jnp.ones((1, SHAPE[1])), d, 0.0, bench.key)
    jax.tree.map(np.testing.assert_array_equal, start, same)
