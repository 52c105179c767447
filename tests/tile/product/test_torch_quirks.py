"""What the reference's torch tile does otherwise than its other tiles (spec: forward, sections 10 and 16)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile

KEY = jax.random.key(0)


def outputs(x: Any, weights: Any, quirks: bool, **fields: Any) -> np.ndarray:
    io = aj.IOParameters(**{"out_noise": 0.0, "out_res": -1, **fields})
    config = aj.TorchInferenceRPUConfig(forward=io, reference_quirks=quirks)
    weights = jnp.asarray(weights, jnp.float32)
    state = tile.set_weights(config, tile.init(config, KEY, weights.shape), weights, KEY)
    return np.asarray(tile.forward(config, state, jnp.asarray(x, jnp.float32), KEY))


def test_a_clipped_vector_repeats_the_others() -> None:
    """At half the input 5/63 has the code 2 (half to even): 4/63."""
    x, weights = [[1.0, 5 / 63], [1.0, 1.0]], [[0.0, 1.0], [0.8, 0.8]]
    right, quirky = (outputs(x, weights, quirks, out_bound=1.5)[0, 0] for quirks in (False, True))
    assert right == pytest.approx(5 / 63) and quirky == pytest.approx(4 / 63)
    below = {"out_bound": 1.5, "bm_test_negative_bound": False}
    right, quirky = (outputs([[1.0, 1.0]], [[-0.8, -0.8]], quirks, **below)[0, 0] for quirks in (False, True))
    assert right == pytest.approx(-1.5) and quirky == pytest.approx(-1.6, abs=0.03)


def test_zeros_beside_others_are_converted() -> None:
    for x, converted in (([[0.0], [1.0]], True), ([[0.0], [0.0]], False)):
        assert outputs(x, [[1.0]], False, out_noise=0.1)[0, 0] == 0
        assert bool(outputs(x, [[1.0]], True, out_noise=0.1)[0, 0] != 0) is converted
    largest = {"noise_management": "MAX"}
    values = [outputs([[-0.5], [1.0]], [[1.0]], quirks, **largest)[0, 0] for quirks in (False, True)]
    assert values[0] == 0 and values[1] == pytest.approx(-0.5, abs=0.01)


def test_numbers_that_do_not_act() -> None:
    values = [outputs([[1.0]], [[0.5]], quirks, is_perfect=True, out_scale=2.0)[0, 0] for quirks in (False, True)]
    assert values == pytest.approx([1.0, 0.5])
    io = aj.IOParameters(out_noise=0.1, out_noise_std=0.3)
    count, found = 2000, []
    for quirks in (False, True):
        config = aj.TorchInferenceRPUConfig(forward=io, reference_quirks=quirks)
        found.append(np.asarray(tile.init(config, KEY, (count, 1)).forward.out_noise_values))
    # |N(0.1, 0.03²)|, and |N(0.1, 0.1²)| with the mean 0.1167 and the spread 0.0799
    assert found[0].std() == pytest.approx(0.03, rel=5 / np.sqrt(2 * count))
    assert found[1].mean() == pytest.approx(0.1167, abs=5 * 0.0799 / np.sqrt(count))
    assert found[1].std() == pytest.approx(0.0799, rel=5 / np.sqrt(2 * count))
