"""Configurations: validation, dotted replace, pytree behaviour, round trips."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import config as configs
from aihwjax.config.limits import NumberInfo

BAD = [
    (lambda: aj.ConstantStepDevice(dw_min=-0.1), ("dw_min", "-0.1", "greater than 0")),
    (lambda: aj.ConstantStepDevice(dw_min=0), ("dw_min", "greater than 0")),
    (lambda: aj.ConstantStepDevice(dw_min=float("nan")), ("dw_min", "nan", "not NaN")),
    (lambda: aj.ConstantStepDevice(dw_min="0.1"), ("dw_min", "'0.1'", "a number")),
    (lambda: aj.ConstantStepDevice(dw_min=True), ("dw_min", "True", "a number")),
    (lambda: aj.ConstantStepDevice(dw_min=None), ("dw_min", "None", "a number")),
    (lambda: aj.ConstantStepDevice(dw_min=np.array([0.1, -1.0])), ("dw_min", "greater than 0")),
    (lambda: aj.ConstantStepDevice(w_min=0.2), ("w_min", "0.2", "at most 0")),
    (lambda: aj.ConstantStepDevice(w_max=-0.2), ("w_max", "-0.2", "at least 0")),
    (lambda: aj.ConstantStepDevice(corrupt_devices_prob=1.5), ("corrupt_devices_prob", "1.5", "at most 1")),
    (lambda: aj.ConstantStepDevice(enforce_consistency=1), ("enforce_consistency", "1", "bool")),
    (lambda: aj.ConstantStepDevice(construction_seed=0.5), ("construction_seed", "0.5", "int")),
    (lambda: aj.PiecewiseStepDevice(piecewise_up=1.0), ("piecewise_up", "1.0", "list of numbers")),
    (lambda: aj.PiecewiseStepDevice(piecewise_up=(1.0, 2.0)), ("piecewise_down", "as many as")),
    (lambda: aj.PiecewiseStepDevice(piecewise_up=(0.0,)), ("piecewise_up[0]", "positive")),
    (lambda: aj.LinearStepDevice(mult_noise=False, reverse_up=True), ("mult_noise", "False", "True")),
    (lambda: aj.SoftBoundsPmaxDevice(range_min=2.0), ("range_min", "2.0", "range_max")),
    (lambda: aj.SoftBoundsPmaxDevice(w_min=0), ("w_min", "0", "computed", "range_min", "SoftBoundsDevice")),
    (lambda: aj.SoftBoundsPmaxDevice(dw_min=0.1), ("dw_min", "0.1", "computed")),
    (lambda: aj.SoftBoundsPmaxDevice().replace(up_down=0.1), ("up_down", "0.1", "computed")),
    (lambda: aj.IOParameters(noise_management="ABSMAX"), ("noise_management", "did you mean 'ABS_MAX'")),
    (lambda: aj.IOParameters(inp_bound=2.0), ("inp_bound", "2.0", "noise_management")),
    (lambda: aj.UpdateParameters(desired_bl=0), ("desired_bl", "0", "at least 1")),
    (lambda: aj.UpdateParameters(desired_bl=1.5), ("desired_bl", "1.5", "whole number")),
    (lambda: aj.TileConfig(device=3), ("device", "3", "Device")),
    (lambda: configs.replace(aj.TileConfig(), {"device.dw_mi": 1}), ("dw_mi", "did you mean 'dw_min'")),
    (lambda: configs.replace(aj.TileConfig(), {"devise.dw_min": 1}), ("devise", "did you mean 'device'")),
    (lambda: configs.replace(aj.TileConfig(), {"reference_quirks.x": 1}), ("reference_quirks", "no fields")),
    (lambda: configs.from_dict({"device": 1}), ("class",)),
    (lambda: configs.from_dict({"class": "ConstantStepDevise"}), ("ConstantStepDevise", "ConstantStepDevice")),
    (lambda: configs.from_dict({"class": "ConstantStepDevice", "dwmin": 1}), ("dwmin", "did you mean 'dw_min'")),
    (lambda: configs.from_toml("class = "), ("TOML",)),
    (lambda: configs.from_json("{"), ("JSON",)),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input_names_argument_value_and_what_is_allowed(case: int) -> None:
    make, words = BAD[case]
    with pytest.raises(aj.ConfigError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("above", [None, 0, 1])
@pytest.mark.parametrize("bounds", [(None, None), (0, None), (1, 5), (None, 1)])
def test_plain_numbers_are_judged_like_arrays(bounds: tuple[Any, Any], above: float | None, integer: bool) -> None:
    values = [0, -0.0, 1, -1, 0.5, 2.0, 2.5, np.nan, np.inf, -np.inf, 1e-40, 1e-38, 3e38, 4e38, 2**24, 2**31, 2**62]
    for infinite in (False, True):
        info = NumberInfo(*bounds, above, integer, optional=False, off=None, infinite=infinite)
        assert [info.problem(value) for value in values] == [info.problem(np.asarray(value)) for value in values]


def test_replace_reaches_into_parts_and_leaves_the_original() -> None:
    config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice())
    changes = {"device.dw_min": 0.002, "device.drift.nu": 0.1, "update.pulse_type": "MEAN_COUNT", "forward.inp_res": -1}
    changed = configs.replace(config, changes)
    assert changed.device.dw_min == 0.002
    assert changed.device.drift.nu == 0.1
    assert changed.update.pulse_type is aj.PulseType.MEAN_COUNT
    assert changed.device.w_max == config.device.w_max
    assert config.device.dw_min == 0.001
    assert config.replace(update_mode="SEQUENTIAL").update_mode is aj.UpdateMode.SEQUENTIAL


def test_whole_numbers_become_floats() -> None:
    assert isinstance(aj.ConstantStepDevice(w_max=1).w_max, float)
    assert isinstance(aj.UpdateParameters(desired_bl=5.0).desired_bl, int)


def test_changing_a_number_does_not_change_the_program() -> None:
    traced = []

    @jax.jit
    def program(config: aj.TileConfig) -> jax.Array:
        traced.append(1)
        return config.device.dw_min * config.forward.out_noise

    config = aj.SingleRPUConfig()
    for step in (0.001, 0.002, 1):
        for noise in (0.06, 1):
            changed = configs.replace(config, {"device.dw_min": step, "forward.out_noise": noise})
            assert float(program(changed)) == pytest.approx(step * noise)
    assert len(traced) == 1


def test_a_feature_that_is_off_leaves_the_tree() -> None:
    on, off = aj.IOParameters(out_noise=0.1), aj.IOParameters(out_noise=0.0)
    assert len(jax.tree.leaves(on)) == len(jax.tree.leaves(off)) + 1
    seen = jax.jit(lambda io: jnp.asarray([io.present("out_noise"), io.present("inp_noise"), io.present("inp_res")]))
    assert seen(on).tolist() == [True, False, True]
    assert seen(off).tolist() == [False, False, True]
    assert not aj.IOParameters(inp_res=-1).present("inp_res")
    assert jax.tree.map(lambda leaf: leaf, aj.IOParameters(inp_res=-1)).inp_res == -1
    assert aj.IOParameters(out_noise=jnp.zeros(())).present("out_noise"), "a swept feature is present"


def test_configurations_can_be_vmapped_and_differentiated() -> None:
    steps = jnp.asarray([0.001, 0.002, 0.003])
    configs_ = jax.vmap(lambda step: configs.replace(aj.SingleRPUConfig(), {"device.dw_min": step}))(steps)
    doubled = jax.vmap(lambda config: 2 * config.device.dw_min)(configs_)
    assert np.allclose(doubled, 2 * steps)
    slope = jax.grad(lambda config: config.device.dw_min**2)(aj.SingleRPUConfig())
    assert float(slope.device.dw_min) == pytest.approx(0.002)


def test_difference_names_the_fields() -> None:
    config = aj.SingleRPUConfig()
    other = configs.replace(config, {"device.dw_min": 0.002, "forward.is_perfect": True})
    assert configs.difference(config, other) == [
        "device.dw_min: 0.001 -> 0.002",
        "forward.is_perfect: False -> True",
    ]
    assert configs.difference(config, config) == []
    assert "SoftBoundsDevice" in configs.difference(config, config.replace(device=aj.SoftBoundsDevice()))[0]


def test_equality_and_hash() -> None:
    assert aj.SingleRPUConfig() == aj.SingleRPUConfig()
    assert hash(aj.SingleRPUConfig()) == hash(aj.SingleRPUConfig())
    assert aj.SingleRPUConfig() != aj.SingleRPUConfig(device=aj.ConstantStepDevice(dw_min=0.1))
    assert aj.SingleRPUConfig() != aj.SingleRPUConfig(device=aj.SoftBoundsDevice())


def test_quirks_reach_the_device() -> None:
    assert aj.SingleRPUConfig(reference_quirks=True).device.reference_quirks
    assert not aj.SingleRPUConfig(device=aj.ExpStepDevice(reference_quirks=True)).device.reference_quirks
