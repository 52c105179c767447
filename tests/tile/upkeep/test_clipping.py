"""Clipping of the weights after a mini-batch (spec: tile_ops, section 8)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile
from aihwjax.tile.upkeep.clipping import clip_value

WEIGHTS = jnp.asarray([[1.0, -2.0], [0.5, 4.0]])


def clipped(key: jax.Array, weights: jax.Array = WEIGHTS, torch: bool = False, quirks: bool = False, **fields: object):
    build = aj.TorchInferenceRPUConfig if torch else aj.InferenceRPUConfig
    config = build(clip=aj.WeightClipParameter(**fields), reference_quirks=quirks)
    state = tile.set_weights(config, tile.init(config, key, weights.shape), weights, key)
    return tile.end_of_batch(config, state, key).weights


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({}, np.inf),
        ({"type": "FIXED_VALUE", "fixed_value": 1.5}, 1.5),
        ({"type": "FIXED_VALUE", "fixed_value": 0}, np.inf),
        ({"type": "FIXED_VALUE"}, np.inf),
        # the check values of the specification
        ({"type": "LAYER_GAUSSIAN", "sigma": 1}, 2.46221),
        ({"type": "AVERAGE_CHANNEL_MAX"}, 3.0),
        ({"type": "LAYER_GAUSSIAN", "sigma": 1, "fixed_value": 0.7}, 0.7),
        ({"type": "LAYER_GAUSSIAN", "sigma": 1, "fixed_value": 7}, 2.46221),
        ({"type": "AVERAGE_CHANNEL_MAX", "fixed_value": 2.5}, 2.5),
        ({"type": "LAYER_GAUSSIAN", "sigma": 0}, np.inf),
    ],
)
@pytest.mark.parametrize("quirks", [False, True])
def test_values(fields: dict, value: float, quirks: bool, key: jax.Array) -> None:
    if quirks and fields == {"type": "FIXED_VALUE", "fixed_value": 0}:
        value = 0.0
    after = clipped(key, quirks=quirks, **fields)
    assert np.allclose(after, np.clip(WEIGHTS, -value, value), atol=1e-5)


def test_a_fixed_value_of_zero_or_less(key: jax.Array) -> None:
    """Bug 8: the reference's torch tile then sets every weight to the value, its other tile clips at 0."""
    for fixed, torch, expected in ((-1.0, True, -1.0), (-1.0, False, None), (0.0, False, 0.0), (0.0, True, 0.0)):
        fields = {"type": "FIXED_VALUE", "fixed_value": fixed, "torch": torch}
        wrong = WEIGHTS if expected is None else jnp.full((2, 2), expected)
        assert np.allclose(clipped(key, quirks=True, **fields), wrong)
        assert np.allclose(clipped(key, quirks=False, **fields), WEIGHTS)


def test_a_limit_of_the_call_and_the_configured_value(key: jax.Array) -> None:
    config = aj.InferenceRPUConfig(clip=aj.WeightClipParameter(type="FIXED_VALUE", fixed_value=1.5))
    state = tile.set_weights(config, tile.init(config, key, (2, 2)), WEIGHTS, key)
    for limit, effective in ((None, 1.5), (2.0, 1.5), (0.6, 0.6)):
        assert np.allclose(tile.clip(config, state, key, limit).weights, np.clip(WEIGHTS, -effective, effective))


def test_a_training_device_clips_at_the_smaller_of_value_and_bound(key: jax.Array) -> None:
    quiet = {"dw_min_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0}
    device = aj.ConstantStepDevice(**quiet, w_max=0.6, w_min=-0.3)
    config = aj.SingleRPUConfig(device=device, clip=aj.WeightClipParameter(type="FIXED_VALUE", fixed_value=0.4))
    state = tile.set_weights(config, tile.init(config, key, (2, 2)), WEIGHTS, key)
    assert np.allclose(state.weights, np.clip(WEIGHTS, -0.3, 0.6))
    assert np.allclose(tile.end_of_batch(config, state, key).weights, np.clip(WEIGHTS, -0.3, 0.4))


@pytest.mark.parametrize("kind", ["LAYER_GAUSSIAN", "AVERAGE_CHANNEL_MAX"])
def test_training_devices_refuse_values_that_depend_on_the_weights(kind: str) -> None:
    clip = aj.WeightClipParameter(type=kind)
    with pytest.raises(aj.ConfigError, match=f"clip.type={kind} is not allowed .*: give NONE or FIXED_VALUE"):
        aj.SingleRPUConfig(clip=clip)
    aj.SingleRPUConfig(clip=clip, update=aj.UpdateParameters(pulse_type="NONE"))
    aj.FloatingPointRPUConfig(clip=clip)


def test_a_swept_value_is_the_same_as_each_by_itself() -> None:
    def value(fixed: jax.Array) -> jax.Array | None:
        return clip_value(aj.WeightClipParameter(type="AVERAGE_CHANNEL_MAX", fixed_value=fixed), WEIGHTS)

    swept = jax.vmap(value)(jnp.asarray([-1.0, 0.0, 2.0, 9.0]))
    assert np.allclose(swept, [3.0, 3.0, 2.0, 3.0])
