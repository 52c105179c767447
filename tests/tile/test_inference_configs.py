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


def quantised() -> aj.TileConfig:
    return aj.QuantizedTorchInferenceRPUConfig(
        pre_post=aj.PrePostProcessingParameterQuant(
            periph_quant=aj.PeripheryQuantizationParameter(n_bits=6, symmetric=False, learn_quant_params=True),
            input_range=aj.InputRangeParameter(enable=True),
        ),
        act_quant_config=aj.ActivationQuantConfig(
            n_bits=8, range_estimator="MSE", range_estimator_params=aj.MSEEstimatorParams(num_candidates=50)
        ),
    )


def test_quantised_periphery() -> None:
    """Its defaults quantise nothing, as the reference's; it goes through files and refuses what others refuse."""
    plain = aj.QuantizedTorchInferenceRPUConfig()
    assert plain.torch_tile and plain.inference and plain.act_quant_config is None
    assert plain.replace(pre_post=aj.PrePostProcessingParameter()) == aj.TorchInferenceRPUConfig()
    periphery = plain.pre_post.periph_quant
    found = periphery.n_bits, periphery.symmetric, periphery.learn_quant_params, periphery.init_learning_after
    assert found == (0, True, False, 100)
    activation = aj.ActivationQuantConfig()
    assert (activation.n_bits, activation.symmetric) == (0, True)
    assert activation.parameters == aj.RunningMinMaxEstimatorParams(momentum=0.9)
    config = quantised()
    assert aj.config.from_toml(aj.config.to_toml(config)) == config
    assert aj.config.from_json(aj.config.to_json(config)) == config
    assert "n_bits=8" in repr(config) and "num_candidates=50" in repr(config)
    with pytest.raises(aj.ConfigError, match="QuantizedTorchInferenceRPUConfig has no argument 'device'"):
        aj.QuantizedTorchInferenceRPUConfig(device=aj.ConstantStepDevice())


def test_quantised_periphery_of_the_reference() -> None:
    flat = {
        "__class__": "QuantizedTorchInferenceRPUConfig",
        "pre_post.__class__": "PrePostProcessingParameterQuant",
        "pre_post.input_range.__class__": "InputRangeParameter",
        "pre_post.input_range.enable": True,
        "pre_post.periph_quant.__class__": "PeripheryQuantizationParameter",
        "pre_post.periph_quant.n_bits": 6,
        "pre_post.periph_quant.symmetric": False,
        "pre_post.periph_quant.learn_quant_params": True,
        "act_quant_config.__class__": "ActivationQuantConfig",
        "act_quant_config.n_bits": 8,
        "act_quant_config._range_estimator": "RangeEstimators.MSE",
        "act_quant_config._range_estimator_params.__class__": "MSEEstimatorParams",
        "act_quant_config._range_estimator_params.num_candidates": 50,
        "act_quant_config._range_estimator_params.range_opt_method": "OptMethod.golden_section",
        "act_quant_config._range_estimator_to_params.__class__": "dict",
    }
    assert aj.config.from_reference(flat) == quantised().replace(reference_quirks=True)
    bare = aj.config.from_reference({"__class__": "QuantizedTorchInferenceRPUConfig", "act_quant_config": None})
    assert bare == aj.QuantizedTorchInferenceRPUConfig(reference_quirks=True)
