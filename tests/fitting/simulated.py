"""Measurements that are simulated pulse by pulse by the physics of a device, apart from all code of fits."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import aihwjax as aj
from aihwjax.devices.base import PulsedDevice


def measured(
    device: aj.devices.Device, pulses: int, cycles: int = 2, devices: int = 30, seed: int = 0, noise: float = 0.0
) -> aj.PulseCurves:
    """Return curves of devices under up pulses and as many down pulses, read after each.

    Args:
        device: What is measured.
        pulses: Up pulses of a cycle.
        cycles: How often.
        devices: How many devices.
        seed: Of the devices and all noise.
        noise: Standard deviation of a reading.
    """
    signs = np.tile(np.repeat([1, -1], pulses), cycles)
    resolved = device.resolved()
    assert isinstance(resolved, PulsedDevice)
    weights = np.array(_traces(resolved, jnp.asarray(signs), jax.random.key(seed), devices), np.float64)
    weights += noise * np.random.default_rng(seed).standard_normal(weights.shape)
    return aj.PulseCurves.from_arrays(weights, signs)


@partial(jax.jit, static_argnames="devices")
def _traces(device: PulsedDevice, signs: jax.Array, key: jax.Array, devices: int) -> jax.Array:
    state = device.init(key, (devices, 1))
    start = device.external(state, jnp.clip(device.internal(state, jnp.zeros((devices, 1))), state.min_bound,
                                            state.max_bound))  # fmt: skip

    def pulse(weights: jax.Array, entry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, sign = entry
        v = device.internal(state, weights)
        steps = device.steps(state, v)
        noise = device.pulse_noise(state, v, steps)
        xi = jax.random.normal(jax.random.fold_in(key, number), weights.shape)
        change = jnp.where(sign > 0, steps.up + noise.up * xi, -steps.down + noise.down * xi)
        weights = device.external(state, jnp.clip(v + change, state.min_bound, state.max_bound))
        return weights, weights[:, 0]

    _, later = jax.lax.scan(pulse, start, (jnp.arange(signs.size), signs))
    return jnp.concatenate([start[:, 0][None], later])
