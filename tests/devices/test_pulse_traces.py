"""Noise-free pulse traces of every device against independently computed values (spec: devices, section 7)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile
from tests.helpers import MODES

QUIET = {
    "dw_min": 0.01, "dw_min_dtod": 0, "dw_min_std": 0, "up_down": 0.2, "up_down_dtod": 0,
    "w_max": 0.6, "w_max_dtod": 0, "w_min": -0.5, "w_min_dtod": 0,
}  # fmt: skip
LINEAR = {"gamma_up_dtod": 0, "gamma_down_dtod": 0}
POWER = {"pow_gamma": 1.7, "pow_up_down": 0.1, "pow_gamma_dtod": 0}

TRACES = [
    ("constant", aj.ConstantStepDevice, {}, 0.01, "0.21 0.22 0.23 0.222 0.214 0.206"),
    ("linear", aj.LinearStepDevice, {**LINEAR, "gamma_up": 0.4, "gamma_down": 0.7}, 0.01,
     "0.208667 0.217276 0.225827 0.215298 0.204886 0.194592"),
    ("soft bounds", aj.SoftBoundsDevice, {}, 0.01, "0.206667 0.213222 0.219669 0.208154 0.196823 0.185674"),
    ("soft bounds reversed", aj.SoftBoundsDevice, {"reverse_up": True, "reverse_down": True}, 0.01,
     "0.213922 0.228116 0.242589 0.237770 0.232889 0.227943"),
    ("reference", aj.SoftBoundsReferenceDevice, {"reference_mean": 0.1}, 0.01,
     "0.205 0.209917 0.214751 0.201715 0.188888 0.176266"),
    ("reference, symmetry point", aj.SoftBoundsReferenceDevice, {"subtract_symmetry_point": True}, 0.01,
     "0.205646 0.211198 0.216658 0.204212 0.191965 0.179914"),
    ("exponential", aj.ExpStepDevice, {}, 0.0078674, "0.2095 0.218973 0.228418 0.220454 0.212492 0.204532"),
    ("power", aj.PowStepDevice, POWER, 0.0030779, "0.201791 0.203569 0.205333 0.201280 0.197262 0.193279"),
    ("power reference", aj.PowStepReferenceDevice, {**POWER, "subtract_symmetry_point": True}, 0.0030779,
     "0.201305 0.202602 0.203890 0.199238 0.194629 0.190062"),
    ("piecewise", aj.PiecewiseStepDevice, {"piecewise_up": (1.5, 1, 0.5), "piecewise_down": (0.2, 1, 2)}, 0.01,
     "0.208636 0.217194 0.225674 0.215119 0.204717 0.194467"),
]  # fmt: skip


def one_pulse_config(device: aj.devices.PulsedDevice, mode: aj.UpdateMode) -> aj.TileConfig:
    """A configuration that sends exactly one pulse at learning rate g, x = 1, d = ±1 (spec: update, section 4.3)."""
    update = aj.UpdateParameters(pulse_type="DETERMINISTIC_IMPLICIT", desired_bl=1, update_bl_management=False)
    return aj.SingleRPUConfig(device=device, update=update, update_mode=mode, reference_quirks=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", TRACES, ids=lambda case: case[0])
def test_trace(case: tuple, mode: aj.UpdateMode, key: jax.Array) -> None:
    _, kind, fields, granularity, text = case
    device = kind(**{**QUIET, **fields}, reference_quirks=True)
    assert float(device.weight_granularity()) == pytest.approx(granularity, rel=1e-4)
    config = one_pulse_config(device, mode)
    state = tile.set_weights(config, tile.init(config, key, (1, 1)), jnp.full((1, 1), 0.2), key)
    pulse = jax.jit(tile.update)
    trace = []
    for d in (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0):
        state = pulse(config, state, jnp.ones((1, 1)), jnp.full((1, 1), d), device.weight_granularity(), key)
        trace.append(float(state.weights[0, 0]))
    assert np.allclose(trace, [float(word) for word in text.split()], atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(aj.SoftBoundsReferenceDevice, 0.061224), (aj.PowStepReferenceDevice, 0.067910)],
)
def test_symmetry_point(kind: type, expected: float, key: jax.Array) -> None:
    fields = {**QUIET, **(POWER if kind is aj.PowStepReferenceDevice else {}), "subtract_symmetry_point": True}
    hidden = {}
    for quirks in (False, True):
        config = aj.SingleRPUConfig(device=kind(**fields), reference_quirks=quirks)
        hidden[quirks] = tile.hidden_parameters(config, tile.init(config, key, (1, 1)))
        assert float(hidden[quirks]["reference"][0, 0]) == pytest.approx(expected, abs=2e-6)
    assert float(hidden[True]["reset_bias"][0, 0]) == pytest.approx(expected, abs=2e-6), "spec: devices, bug 4"
    assert float(hidden[False]["reset_bias"][0, 0]) == 0


def test_pmax_device_follows_its_pulse_curve(key: jax.Array) -> None:
    """1,000 up pulses lead from range_min to range_max, 1,000 down pulses back; not so in the reference (bug 1)."""
    ends = {}
    for quirks in (False, True):
        quiet = {k: v for k, v in QUIET.items() if k not in ("dw_min", "up_down", "w_max", "w_min")}
        device = aj.SoftBoundsPmaxDevice(**quiet, reference_quirks=quirks)
        config = one_pulse_config(device, aj.UpdateMode.SEQUENTIAL).replace(reference_quirks=quirks)
        for d, start in ((-1.0, -1.0), (1.0, 1.0)):
            state = tile.set_weights(config, tile.init(config, key, (1, 1)), jnp.full((1, 1), start), key)
            x, ds = jnp.ones((1000, 1)), jnp.full((1000, 1), d)
            state = tile.update(config, state, x, ds, config.device.weight_granularity(), key)
            ends[quirks, d] = float(state.weights[0, 0])
    assert ends[False, -1.0] == pytest.approx(1.0, abs=2e-3)
    assert ends[False, 1.0] == pytest.approx(-1.0, abs=2e-3)
    assert ends[True, -1.0] == pytest.approx(1.3559, abs=1e-3)
    assert ends[True, 1.0] == pytest.approx(-0.2646, abs=1e-3)
