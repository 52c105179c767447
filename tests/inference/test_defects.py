"""Devices of a chip that are stuck or open: which ones, what they do, and what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from tests.marks import some

W = jax.random.normal(jax.random.key(1), (40, 50))
QUIET = {"prog_noise_scale": 0.0, "read_noise_scale": 0.0}
PERFECT = aj.IOParameters(is_perfect=True)
CONVERTERS = {
    "pair": aj.SinglePairConductanceConverter(g_min=2.0),
    "dual": aj.DualPairConductanceConverter(f_lst=(1.0, 3.0)),
    "device": aj.SingleDeviceConductanceConverter(),
    "fusion": aj.FusionConductanceConverter(),
    "bits": aj.BitSlicedConductanceConverter(digits=2, levels=4),
}


def config(converter: Any = None, **defects: Any) -> aj.TileConfig:
    """Return a configuration without noise, and without compensation."""
    model = aj.PCMLikeNoiseModel(g_converter=converter or CONVERTERS["pair"], **QUIET)
    return aj.InferenceRPUConfig(
        forward=PERFECT, noise_model=model, drift_compensation=None, defects=aj.DefectParameter(**defects)
    )


def test_as_many_devices_fail_as_were_asked_for() -> None:
    own = config(stuck_high_prob=0.1, stuck_low_prob=0.2, open_prob=0.05)
    devices = aj.inference.program(own, W, 0).devices
    at = np.asarray(devices.conductances)[np.asarray(devices.stuck)]
    count = 2 * W.size
    for value, share in ((25.0, 0.1), (2.0, 0.2), (0.0, 0.05)):
        assert np.mean(at == value) * at.size / count == pytest.approx(share, abs=4 * np.sqrt(share / count))


def test_other_devices_are_as_they_would_be_without() -> None:
    plain = aj.InferenceRPUConfig()
    broken = plain.replace({"defects.stuck_low_prob": 0.05})
    before, after = aj.inference.program(plain, W, 0), aj.inference.program(broken, W, 0)
    works = ~np.asarray(after.devices.stuck).any(0)
    assert 0.8 < works.mean() < 0.95
    # the two programs may be rounded otherwise
    mine, theirs = (np.asarray(chip.weights)[works] for chip in (before, after))
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(before.parameters, after.parameters, rtol=1e-5)


def test_probabilities_are_swept_and_more_only_adds() -> None:
    def broken(p: jax.Array) -> jax.Array:
        return aj.inference.program(config(stuck_high_prob=0.1, open_prob=p), W, 0).devices.stuck

    found = np.asarray(jax.vmap(broken)(jnp.array([0.0, 0.1, 0.4])))
    np.testing.assert_allclose(found.mean((1, 2, 3)), [0.1, 0.2, 0.5], atol=0.03)
    assert (found[0] <= found[1]).all() and (found[1] <= found[2]).all()


@pytest.mark.parametrize("name", some(CONVERTERS, ("dual",), ("pair", "fusion", "bits")))
def test_each_converter_sees_what_its_devices_do(name: str) -> None:
    converter = CONVERTERS[name]
    slices, params = aj.inference.convert(converter, W)
    kinds = np.zeros((converter.slices(), *W.shape), int)
    kinds[0, :5, :3], kinds[-1, 5:9, :], kinds[-1, 10, 4] = 1, 2, 3
    own = config(converter, defect_map=kinds)
    chip = aj.inference.program(own, W, 0)
    assert own == aj.config.from_toml(aj.config.to_toml(own))
    expected = np.where(kinds == 1, converter.g_max, np.stack(slices))
    expected = np.where(kinds == 2, converter.g_min, np.where(kinds == 3, 0.0, expected))
    back = aj.inference.convert_back(converter, list(jnp.asarray(expected, jnp.float32)), params)
    np.testing.assert_allclose(chip.weights, back, rtol=1e-5, atol=1e-5)
    # a day later: the others decay, each with its own exponent, and the broken ones stay
    late = aj.inference.drift(own, chip, 86400.0, 1)
    decayed = expected * np.exp(-np.asarray(chip.parameters) * np.log((86400.0 + 20) / 20))
    aged = jnp.asarray(np.where(kinds > 0, expected, decayed), jnp.float32)
    back = aj.inference.convert_back(converter, list(aged), params)
    np.testing.assert_allclose(late.weights, back, rtol=1e-4, atol=1e-4)


def test_the_partner_of_a_stuck_device_keeps_its_conductance() -> None:
    # -0.5 on a pair whose up device is stuck: 25 - 12.5 of 25 uS; the weight alone would be split as 12.5 - 0
    kinds = np.zeros((2, 1, 2), int)
    kinds[0, 0, 1] = 1
    own = config(aj.SinglePairConductanceConverter(), defect_map=kinds).replace({"noise_model.drift_scale": 0.0})
    chip = aj.inference.program(own, jnp.array([[1.0, -0.5]]), 0)
    np.testing.assert_allclose(chip.weights, [[1.0, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(aj.inference.drift(own, chip, 1e5, 1).weights, [[1.0, 0.5]], rtol=1e-6)


def test_conductances_are_differentiated_through_defects() -> None:
    def total(g_max: jax.Array) -> jax.Array:
        own = config(stuck_high_prob=0.2).replace({"noise_model.g_converter.g_max": g_max})
        return aj.inference.drift(own, aj.inference.program(own, W, 0), 1e3, 1).weights.std()

    slope, step = jax.grad(total)(25.0), (total(25.1) - total(24.9)) / 0.2
    assert float(slope) == pytest.approx(float(step), rel=0.05, abs=1e-3)


@pytest.mark.slow
def test_models_on_several_tiles_and_over_time() -> None:
    mapping = aj.MappingParameter(max_input_size=4, max_output_size=3)
    own = aj.InferenceRPUConfig(forward=PERFECT, mapping=mapping)
    model = nn.AnalogLinear(8, 6, config=own, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(2), (30, 8))
    broken = aj.program(model, 0, defects=aj.DefectParameter(open_prob=0.3))
    (tile,) = nn.analog_tiles(broken).values()
    stuck = np.asarray(tile.chip.get_value().devices.stuck)
    assert stuck.shape == (4, 2, 3, 4) and 0.15 < stuck.mean() < 0.45
    late = aj.drift(broken, 1e4, 1)
    (after,) = nn.analog_tiles(late).values()
    np.testing.assert_array_equal(after.chip.get_value().devices.stuck, stuck)
    assert np.isfinite(late(x, key=0)).all()
    data = x, jnp.argmax(model(x, key=0), -1)
    bad = nn.AnalogLinear(
        8, 6, config=own.replace({"defects.open_prob": 0.5}), weights=model.get_weights(), rngs=nnx.Rngs(0)
    )
    scores = [aj.evaluate_over_time(each, data, [1.0], repeats=4, key=0).mean[0] for each in (model, bad)]
    assert scores[0] > scores[1] + 0.1


KINDS = np.zeros((2, 40, 50), int)
ERRORS = [
    (lambda: aj.DefectParameter(open_prob=1.5), "DefectParameter.open_prob=1.5 is not allowed: give at most 1"),
    (lambda: aj.DefectParameter(open_prob=-0.1), "DefectParameter.open_prob=-0.1 is not allowed: give at least 0"),
    (
        lambda: aj.DefectParameter(open_prob=0.5, stuck_low_prob=0.7),
        "probabilities of 1.2 together is not allowed: give at most 1",
    ),
    (lambda: aj.DefectParameter(defect_map=KINDS + 4), "DefectParameter.defect_map=.* is not allowed: give at most 3"),
    (lambda: aj.DefectParameter(defect_map=KINDS + 0.5), "is not allowed: give a whole number"),
    (lambda: aj.DefectParameter(defect_map=[[0, 1]]), r"defect_map of shape \(1, 2\) is not allowed: give an array"),
    (
        lambda: aj.DefectParameter(defect_map=KINDS, open_prob=0.1),
        "DefectParameter.open_prob=0.1 is not allowed with a defect_map: give 0",
    ),
    (
        lambda: aj.inference.program(config(defect_map=KINDS[:, :3]), W, 0),
        r"defects.defect_map has shape \(2, 3, 50\): give \(2, 40, 50\), a state for each of the 2 devices",
    ),
    (
        lambda: aj.inference.drift(config(), aj.inference.program(config(open_prob=0.1), W, 0), 1.0, 0),
        "a chip with other defects or another converter than config has is not allowed: give the configuration",
    ),
]


@pytest.mark.parametrize(("call", "message"), ERRORS)
def test_bad_input_is_one_line(call: Any, message: str) -> None:
    with pytest.raises(aj.AihwjaxError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
