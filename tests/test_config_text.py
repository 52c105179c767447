"""Configurations as text."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import presets
from tests.compounds.table import COMPOUNDS


def test_what_differs_from_the_defaults_is_shown() -> None:
    config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(dw_min=0.01), update_mode=aj.UpdateMode.SEQUENTIAL)
    assert repr(config) == "SingleRPUConfig(device=SoftBoundsDevice(dw_min=0.01), update_mode=UpdateMode.SEQUENTIAL)"
    assert str(config) == repr(config)
    assert repr(aj.IOParameters()) == "IOParameters()"
    assert "[0.1" in repr(aj.SoftBoundsDevice(dw_min=jnp.array([0.1, 0.2])))


WRITTEN = [
    "SingleRPUConfig()",
    "SingleRPUConfig(device=SoftBoundsDevice(dw_min=0.01))",
    "SingleRPUConfig(device=IdealDevice())",
    "SingleRPUConfig(device=IdealDevice(), backward=IOParameters(out_noise=0.1))",
    "UnitCellRPUConfig(device=VectorUnitCell(unit_cell_devices=(ConstantStepDevice(), SoftBoundsDevice())))",
    "DigitalRankUpdateRPUConfig(device=MixedPrecisionCompound(device=SoftBoundsDevice()))",
    "FloatingPointRPUConfig()",
    "FloatingPointRPUConfig(forward=IOParameters(), mapping=MappingParameter(max_input_size=64))",
    "InferenceRPUConfig()",
    "InferenceRPUConfig(noise_model=None, drift_compensation=None)",
    "InferenceRPUConfig(forward=IOParameters(inp_res=0.1), modifier=WeightModifierParameter(std_dev=0.1))",
    "TorchInferenceRPUConfig(noise_model=PCMLikeNoiseModel(read_noise_scale=2.0))",
    "TorchInferenceRPUConfigIRDropT(forward=IOParametersIRDropT(mv_type=AnalogMVType.SPLIT_MODE))",
]


@pytest.mark.parametrize("written", WRITTEN)
def test_a_configuration_of_a_tile_reads_as_it_was_written_and_can_be_pasted(written: str) -> None:
    config = eval(written, {name: getattr(aj, name) for name in aj.__all__})
    assert repr(config) == written


def own_product(config: Any, weights: Any, x: Any, key: Any) -> Any:
    return x @ weights.T


def test_a_function_of_ones_own_and_a_class_of_ones_own_keep_their_names() -> None:
    text = repr(aj.CustomRPUConfig(product=own_product))
    assert text.startswith("CustomRPUConfig(product=") and text.endswith("own_product)")

    @aj.config.configclass
    class MyTile(aj.TileConfig):
        pass

    assert repr(MyTile()) == "MyTile()"


SINGLE = {
    "NumPy's number": np.float32(0.1),
    "an array of one": jnp.float32(0.1),
    "an array": jnp.array([0.1, 0.7]),
    "many": np.full(300, 0.1, np.float32),
}


@pytest.mark.parametrize("value", SINGLE.values(), ids=SINGLE)
def test_numbers_in_single_precision_are_shown_as_they_were_given(value: Any) -> None:
    config = aj.SoftBoundsDevice(dw_min=value)
    negative = pytest.raises(aj.ConfigError, match=r"dw_min=.*-0\.1\b.* is not allowed: give greater than 0")
    with negative as refused:
        aj.SoftBoundsDevice(dw_min=-value)
    other = "\n".join(aj.config.difference(config, aj.SoftBoundsDevice(dw_min=0.5)))
    for text in (repr(config), aj.config.whole(config), aj.config.to_toml(config), other, str(refused.value)):
        assert "0.1" in text and "0.10000000" not in text and "0.69999" not in text
    assert "\n" not in repr(config) + str(refused.value)
    again = aj.config.from_json(aj.config.to_json(config))
    np.testing.assert_array_equal(np.asarray(again.dw_min, np.float32), np.asarray(value))


@pytest.mark.parametrize("value", [jnp.float32(0.7), np.float32(0.7), np.array(0.7), jnp.array(0.7)])
def test_an_array_of_one_number_is_shown_as_the_number(value: Any) -> None:
    devices = tuple(jax.tree.map(lambda leaf: value, aj.SoftBoundsDevice(dw_min=0.7)) for _ in range(2))
    texts = [repr(devices[0]), repr(aj.UnitCellRPUConfig(device=aj.VectorUnitCell(unit_cell_devices=devices)))]
    texts += [repr(aj.analog_sgd({"layers/0": value, "default": 0}).learning_rate)]
    for text in texts:
        assert "0.7" in text and "rray" not in text and "float" not in text and "0.69" not in text


def test_what_has_no_value_is_shown_as_it_is() -> None:
    traced: list[str] = []
    jax.jit(lambda value: traced.append(repr(aj.SoftBoundsDevice(dw_min=value))) or value)(0.7)
    assert "Traced" in traced[0] or "Tracer" in traced[0]
    gone = jnp.float32(0.7)
    device = aj.SoftBoundsDevice(dw_min=gone)
    gone.delete()
    assert "deleted" in repr(device)


def test_what_went_through_a_program_differs_in_nothing() -> None:
    config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(dw_min=0.1))
    assert aj.config.difference(config, jax.jit(lambda config: config)(config)) == []


@pytest.mark.parametrize("name", presets.names())
def test_the_text_of_a_preset_makes_it_again(name: str) -> None:
    config = presets.by_name(name)()
    text = repr(config)
    assert eval(text, dict(vars(aj)) | {name: getattr(aj, name) for name in dir(aj)}) == config
    assert len(text) < 1500


@pytest.mark.parametrize("name", COMPOUNDS)
def test_the_whole_has_every_field(name: str) -> None:
    device = COMPOUNDS[name]
    names = {name: getattr(aj, name) for name in dir(aj)}
    assert eval(aj.config.whole(device), names) == device
    assert "construction_seed=" in aj.config.whole(device)
