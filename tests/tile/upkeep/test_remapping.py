"""Remapping of weights into digital scales (spec: tile_ops, section 9)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile
from aihwjax.tile.upkeep.remapping import remapped

WEIGHTS = jnp.asarray([[0.5, -0.25], [0.0, 0.0], [0.1, 0.4]])
SCALES = jnp.asarray([1.0, 2.0, 4.0])
CHANNEL = {"type": "CHANNELWISE_SYMMETRIC"}


@pytest.mark.parametrize(
    ("fields", "scales"),
    [
        ({}, [1.0, 2.0, 4.0]),
        ({"type": "LAYERWISE_SYMMETRIC"}, [0.5, 1.0, 2.0]),
        ({"type": "LAYERWISE_SYMMETRIC", "remapped_wmax": 2}, [0.25, 0.5, 1.0]),
        (CHANNEL, [0.5, 2.0, 1.6]),
        ({**CHANNEL, "remapped_wmax": 0.5}, [1.0, 2.0, 3.2]),
        # at most 1.2 times the smallest of the scales before
        ({**CHANNEL, "max_scale_range": 1.2}, [0.5, 1.2, 1.2]),
        # the reference scale takes the place of the smallest
        ({**CHANNEL, "max_scale_range": 1.2, "max_scale_ref": 1.25}, [0.5, 1.5, 1.5]),
        ({**CHANNEL, "max_scale_range": 1.2, "max_scale_ref": 0.25}, [0.5, 1.2, 1.2]),
        ({**CHANNEL, "max_scale_ref": 0.25}, [0.5, 2.0, 1.6]),
    ],
)
def test_scales_and_weights(fields: dict, scales: list[float]) -> None:
    weights, new = remapped(aj.WeightRemapParameter(**fields), WEIGHTS, SCALES)
    assert np.allclose(new, scales)
    assert np.allclose(weights * new[:, None], WEIGHTS * SCALES[:, None]), "logical weights stay"


def test_a_limited_range_lets_weights_exceed_one() -> None:
    """Trap 16, with a row that would need four times the scale it may have."""
    parameter = aj.WeightRemapParameter(**CHANNEL, max_scale_range=1.0)
    weights, scales = remapped(parameter, jnp.asarray([[1.0], [1.0]]), jnp.asarray([0.5, 2.0]))
    assert np.allclose(scales, 0.5)
    assert np.allclose(weights, [[1.0], [4.0]])


@pytest.mark.parametrize("kind", ["LAYERWISE_SYMMETRIC", "CHANNELWISE_SYMMETRIC"])
def test_unusual_scales(kind: str) -> None:
    parameter = aj.WeightRemapParameter(type=kind)
    nothing, scales = remapped(parameter, jnp.zeros((2, 2)), jnp.ones(2))
    assert np.allclose(nothing, 0) and np.allclose(scales, 1)
    weights, scales = remapped(parameter, 0.5 * jnp.ones((3, 2)), jnp.asarray([0.0, -2.0, 1.0]))
    assert np.allclose(weights, 1) and np.allclose(scales, [0.0, -1.0, 0.5])


def test_the_end_of_a_batch(key: jax.Array) -> None:
    config = aj.InferenceRPUConfig(remap=aj.WeightRemapParameter(**CHANNEL))
    state = tile.init(config, key, (3, 2))
    assert np.allclose(state.mapping_scales, jnp.ones(3))
    state = tile.set_weights(config, state, WEIGHTS, key)
    once = tile.end_of_batch(config, state, key)
    assert np.allclose(once.mapping_scales, [0.5, 1.0, 0.4])
    assert np.allclose(jnp.abs(once.weights).max(axis=1), [1, 0, 1])
    twice = tile.end_of_batch(config, once, key)
    assert np.allclose(twice.weights, once.weights) and np.allclose(twice.mapping_scales, once.mapping_scales)


def test_a_tile_without_remap_has_no_scales(key: jax.Array) -> None:
    config = aj.InferenceRPUConfig()
    state = tile.init(config, key, (3, 2))
    assert state.mapping_scales is None
    assert tile.remap(config, state, key) is state
    with pytest.raises(aj.ConfigError, match="build the tile with it"):
        tile.remap(config.replace({"remap.type": "LAYERWISE_SYMMETRIC"}), state, key)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: aj.WeightRemapParameter(remapped_wmax=0), "greater than 0"),
        (lambda: aj.WeightRemapParameter(**CHANNEL, max_scale_range=2, remapped_wmax=0.5), "remapped_wmax=0.5"),
        (
            lambda: aj.SingleRPUConfig(remap=aj.WeightRemapParameter(type="LAYERWISE_SYMMETRIC")),
            "remap.type=LAYERWISE_SYMMETRIC is not allowed with the device ConstantStepDevice: give NONE",
        ),
    ],
)
def test_mistakes(build: object, words: str) -> None:
    with pytest.raises(aj.ConfigError, match=words):
        build()


def test_a_swept_range_is_the_same_as_each_by_itself() -> None:
    def scales(most: float | jax.Array) -> jax.Array:
        return remapped(aj.WeightRemapParameter(**CHANNEL, max_scale_range=most), WEIGHTS, SCALES)[1]

    values = [-1.0, 0.0, 1.2, 3.0]
    assert np.allclose(jax.vmap(scales)(jnp.asarray(values)), [scales(value) for value in values])
