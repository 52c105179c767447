"""The weight modifier for phase-change memory against its formula, written again in NumPy (spec: tile_ops, section 10).

The reference has it on graphics processors only, so its statistics cannot be recorded where the golden ones were.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj

WEIGHTS = np.array([-0.8, -0.3, -0.05, 0.0, 0.01, 0.1, 0.4, 0.8])
DRAWS = 20_000
CASES: dict[str, dict[str, Any]] = {
    "programming and reading": {"std_dev": 1.0},
    "half the noise, another scale": {"std_dev": 0.5, "g_max": 40.0, "rel_to_actual_wmax": False, "assumed_wmax": 0.5},
    "a day": {"std_dev": 1.0, "pcm_t_inference": 86400.0},
    "another start": {"std_dev": 0.3, "pcm_t_inference": 3600.0, "pcm_t0": 100.0},
    "faults": {
        "std_dev": 1.0, "pcm_prob_at_reset": 0.1, "pcm_prob_at_gmax": 0.05, "pcm_prob_at_random": 0.1,
        "pcm_zero_thres": 3.0,
    },
}  # fmt: skip


def formula(fields: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Return draws of the modified weights ``(draws, weights)``, step by step as the spec has it."""
    p = aj.WeightModifierParameter(type="PCM_NOISE", **fields)
    sigma, g, t = float(p.std_dev), float(p.g_max), float(p.pcm_t_inference) + float(p.pcm_t0)
    m = np.abs(WEIGHTS).max() if p.rel_to_actual_wmax else float(p.assumed_wmax)
    shape = (DRAWS, len(WEIGHTS))
    h = np.broadcast_to(np.clip(WEIGHTS, -m, m) * g / m, shape).copy()
    h[np.abs(h) <= float(p.pcm_zero_thres) * sigma * 0.26348] = 0.0
    sign = np.where(h < 0, -1.0, 1.0)
    h[rng.random(shape) < float(p.pcm_prob_at_reset)] = 0.0
    stuck = rng.random(shape) < float(p.pcm_prob_at_gmax)
    h = h + stuck * g * rng.choice([-1.0, 1.0], shape)
    wild = rng.random(shape) < float(p.pcm_prob_at_random)
    h = np.where(wild, np.where(h > 0, 1, -1) * g * rng.random(shape), h)
    h = np.clip(h, -g, g)
    z = np.abs(h) / g
    h1 = h + sigma * (0.26348 + 1.9650 * z - 1.1731 * z**2) * rng.standard_normal(shape)
    z1 = np.abs(h1) / g
    nu = np.abs(rng.standard_normal(shape)) * np.clip(-0.0125 * np.log(np.maximum(z1, 1e-6)) - 0.0059, 0.008, 0.045)
    h2 = h1 * (t / float(p.pcm_t0)) ** -nu if t > float(p.pcm_t0) else h1
    q = np.minimum(0.0088 / np.maximum(z1**0.65, 1e-3), 0.2) * np.sqrt(np.log((t + 250e-9) / 500e-9))
    h3 = h2 + sigma * np.abs(h2) * q * rng.standard_normal(shape)
    return np.where(h == 0, 0.0, sign * np.abs(h3) * m / g)


def drawn(fields: dict[str, Any]) -> np.ndarray:
    """Return draws of the library ``(draws, weights)``."""
    config = aj.InferenceRPUConfig(modifier=aj.WeightModifierParameter(type="PCM_NOISE", **fields))
    weights = jnp.asarray(WEIGHTS, jnp.float32)[None]
    state = aj.tile.set_weights(config, aj.tile.init(config, jax.random.key(0), weights.shape), weights, 1)
    keys = jax.random.split(jax.random.key(2), DRAWS)
    return np.asarray(jax.jit(jax.vmap(lambda key: aj.tile.modify(config, state, key).modified[0]))(keys), np.float64)


@pytest.mark.parametrize("name", CASES)
def test_its_distribution_is_that_of_the_formula(name: str) -> None:
    expected, ours = formula(CASES[name], np.random.default_rng(3)), drawn(CASES[name])
    error = np.sqrt((expected.var(0) + ours.var(0)) / DRAWS)
    assert (np.abs(expected.mean(0) - ours.mean(0)) <= 5 * error + 1e-6).all()
    fourth = ((expected - expected.mean(0)) ** 4).mean(0)
    wide = np.sqrt(2 * np.maximum(fourth - expected.var(0) ** 2, 0) / DRAWS)
    assert (np.abs(expected.var(0) - ours.var(0)) <= 5 * wide + 0.01 * expected.var(0) + 1e-9).all()
    for part in (0.05, 0.5, 0.95):
        edge = np.quantile(expected, part, axis=0)
        below, upto = (ours < edge - 1e-6).mean(0), (ours <= edge + 1e-6).mean(0)
        assert (below <= part + 0.02).all() and (upto >= part - 0.02).all()
