"""The configurations of inference tiles (spec: inference, section 1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile

BUILDS = {"InferenceRPUConfig": aj.InferenceRPUConfig, "TorchInferenceRPUConfig": aj.TorchInferenceRPUConfig}


@pytest.mark.parametrize("name", BUILDS)
def test_what_they_stand_for(name: str, key: jax.Array) -> None:
    config = BUILDS[name]()
    assert isinstance(config.device, aj.IdealDevice) and config.backward.is_perfect
    assert config.update.pulse_type is aj.PulseType.NONE
    assert config.forward == aj.IOParameters()
    assert config.inference and config.exact and config.torch_tile is (name == "TorchInferenceRPUConfig")
    state = tile.init(config, key, (3, 4))
    d = jnp.asarray([1.0, -2.0, 0.5])
    assert np.allclose(tile.backward(config, state, d, key), d @ state.weights, atol=1e-6)
    x = jnp.arange(4.0)
    after = tile.update(config, state, x, d, 0.1, key)
    assert np.allclose(after.weights, state.weights - 0.1 * jnp.outer(d, x), atol=1e-6)


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize(
    ("field", "value"),
    [("device", aj.ConstantStepDevice()), ("backward", aj.IOParameters()), ("update", aj.UpdateParameters())],
)
def test_what_they_refuse(name: str, field: str, value: object) -> None:
    with pytest.raises(aj.ConfigError, match=f"{name} has no argument '{field}'"):
        BUILDS[name](**{field: value})


def test_training_configurations_are_no_inference_tiles() -> None:
    assert not aj.SingleRPUConfig().exact
    assert aj.FloatingPointRPUConfig().exact and not aj.FloatingPointRPUConfig().inference
    assert aj.SingleRPUConfig(update=aj.UpdateParameters(pulse_type="NONE")).exact


@pytest.mark.parametrize("name", BUILDS)
def test_round_trips(name: str) -> None:
    config = BUILDS[name](
        clip=aj.WeightClipParameter(type="LAYER_GAUSSIAN", sigma=2.0),
        remap=aj.WeightRemapParameter(type="CHANNELWISE_SYMMETRIC", max_scale_range=3.0),
        modifier=aj.WeightModifierParameter(type="POLY", std_dev=0.3, coeffs=(0.1, 0.2)),
    )
    assert aj.config.from_toml(aj.config.to_toml(config)) == config
    assert aj.config.from_json(aj.config.to_json(config)) == config


@pytest.mark.parametrize("name", BUILDS)
def test_from_reference(name: str) -> None:
    flat = {
        "__class__": name,
        "forward.is_perfect": True,
        "clip.__class__": "WeightClipParameter",
        "clip.type": "WeightClipType.FIXED_VALUE",
        "clip.fixed_value": 1,
        "remap.type": "WeightRemapType.CHANNELWISE_SYMMETRIC",
        "modifier.type": "WeightModifierType.POLY",
        "modifier.std_dev": 0.5,
        "modifier.coeffs.__len__": 2,
        "modifier.coeffs.0": 0.1,
        "modifier.coeffs.1": 1,
        "noise_model.__class__": "PCMLikeNoiseModel",
    }
    expected = BUILDS[name](
        forward=aj.IOParameters(is_perfect=True),
        clip=aj.WeightClipParameter(type="FIXED_VALUE", fixed_value=1.0),
        remap=aj.WeightRemapParameter(type="CHANNELWISE_SYMMETRIC"),
        modifier=aj.WeightModifierParameter(type="POLY", std_dev=0.5, coeffs=(0.1, 1.0)),
        reference_quirks=True,
    )
    assert aj.config.from_reference(flat) == expected
