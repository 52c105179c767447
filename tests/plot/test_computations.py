"""The numbers behind the figures, against the formulas of the devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import plot, tile
from aihwjax.compounds import MixedPrecisionCompound, OneSidedUnitCell, TransferCompound, VectorUnitCell
from aihwjax.plot.pulse_statistics import without_spread
from aihwjax.plot.subject import certain_pulses, pulse_size, tile_config, weight_range
from tests.helpers import PULSED_DEVICES
from tests.marks import some
from tests.shapes.checking import unfitting

N = 400
QUIET = {"dw_min_dtod": 0.0, "dw_min_std": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}


def test_every_pulse_is_certain_and_one() -> None:
    device = aj.ConstantStepDevice(dw_min=0.01, **QUIET)
    response = plot.compute_pulse_response(device, pulses=30, cycles=2, crosspoints=5)
    steps = np.diff(response.weights, axis=0)
    assert response.weights.shape == (121, 5)
    assert unfitting(response) == []
    assert response.signs.tolist() == ([1] * 30 + [-1] * 30) * 2
    np.testing.assert_allclose(steps, 0.01 * response.signs[:, None] * np.ones(5), atol=1e-6)


def test_response_of_soft_bounds_follows_its_closed_form() -> None:
    device = aj.SoftBoundsDevice(dw_min=0.01, w_max=0.5, **QUIET)
    weights = plot.compute_pulse_response(device, pulses=50, cycles=1, crosspoints=2).weights[:51, 0]
    # w <- w + dw (1 - w / w_max): the distance to the bound shrinks by 1 - dw / w_max
    np.testing.assert_allclose(weights, 0.5 * (1 - (1 - 0.01 / 0.5) ** np.arange(51)), atol=1e-5)


def test_response_shows_write_noise_and_keeps_the_persistent_weight_apart() -> None:
    device = aj.LinearStepDevice(dw_min=0.01, write_noise_std=3.0, **QUIET)
    response = plot.compute_pulse_response(device, pulses=20, crosspoints=N)
    noise = (response.weights - response.persistent)[1:]
    assert np.std(noise) == pytest.approx(0.03, rel=5 / np.sqrt(2 * noise.size))
    again = plot.compute_pulse_response(device, pulses=20, crosspoints=N)
    other = plot.compute_pulse_response(device, pulses=20, crosspoints=N, key=jax.random.key(1))
    np.testing.assert_array_equal(again.weights, response.weights)
    assert not np.array_equal(other.weights, response.weights)


def test_default_number_of_pulses_crosses_the_range() -> None:
    assert plot.estimate_n_steps(aj.ConstantStepDevice(dw_min=0.01, **QUIET)) == 120
    assert plot.estimate_n_steps(aj.ConstantStepDevice(dw_min=1e-6)) == 5000
    assert plot.estimate_n_steps(aj.IdealDevice()) == 200
    shifted = aj.SoftBoundsReferenceDevice(reference_mean=0.2, **QUIET)
    assert weight_range(certain_pulses(tile_config(shifted))) == pytest.approx((-0.8, 0.4), abs=1e-5)


@pytest.mark.parametrize("name", some(PULSED_DEVICES, ("linear_step", "soft_bounds_reference"), ("pow_step",)))
def test_measured_steps_are_the_theory_and_spread_is_the_pulse_noise(name: str) -> None:
    device = without_spread(PULSED_DEVICES[name]).replace({"dw_min_std": 0.3})  # type: ignore[arg-type]
    low, high = weight_range(certain_pulses(tile_config(device)))
    places = np.linspace(0.8 * low, 0.8 * high, 7)
    s = plot.compute_pulse_statistics(device, weights=places, crosspoints=N)
    assert s.theory_up is not None and s.theory_down is not None
    assert (s.counts == N).all()
    for mean, spread, theory in ((s.up_mean, s.up_std, s.theory_up), (s.down_mean, s.down_std, s.theory_down)):
        assert (np.abs(mean - theory) < 4.5 * spread / np.sqrt(N) + 2e-6).all()
    assert (s.up_mean > 0).all()
    assert (s.down_mean < 0).all()


def test_step_noise_is_relative_to_the_step() -> None:
    device = aj.ConstantStepDevice(dw_min=0.01, **{**QUIET, "dw_min_std": 0.4})
    s = plot.compute_pulse_statistics(device, weights=[-0.1, 0.2], crosspoints=N)
    np.testing.assert_allclose([s.up_std, s.down_std], 0.004, rtol=4.5 / np.sqrt(2 * N))
    burst = plot.compute_pulse_statistics(device, weights=[0.0], crosspoints=N, burst=16)
    np.testing.assert_allclose(burst.up_mean, 0.01, rtol=4.5 * 0.4 / np.sqrt(16 * N))
    np.testing.assert_allclose(burst.up_std, 0.001, rtol=4.5 / np.sqrt(2 * N))


def test_weights_that_no_crosspoint_holds_are_not_a_number() -> None:
    s = plot.compute_pulse_statistics(aj.ConstantStepDevice(**QUIET), weights=[0.0, 0.7], crosspoints=8)
    assert s.counts.tolist() == [8, 0]
    assert unfitting(s) == []
    assert np.isnan([s.up_mean[1], s.down_std[1], s.theory_up[1]]).all()  # type: ignore[index]


def test_no_theory_without_pulses() -> None:
    assert plot.theoretical_steps(aj.IdealDevice(), [0.0]) is None
    assert plot.compute_symmetry_points(aj.IdealDevice(), pairs=4, crosspoints=2).theory is None


@pytest.mark.parametrize(("up_down", "w_max", "w_min"), [(0.0, 0.6, -0.6), (0.2, 0.6, -0.6), (0.0, 0.9, -0.3)])
def test_symmetry_point_of_soft_bounds(up_down: float, w_max: float, w_min: float) -> None:
    device = aj.SoftBoundsDevice(dw_min=0.01, up_down=up_down, w_max=w_max, w_min=w_min, **QUIET)
    points = plot.compute_symmetry_points(device, crosspoints=4)
    up, down = 0.01, 0.01 * (1 - up_down)
    expected = (up - down) / (up / w_max - down / w_min)  # up (1 - w / w_max) = down (1 - w / w_min)
    np.testing.assert_allclose(points.theory, expected, atol=1e-5)
    np.testing.assert_allclose(points.measured, expected, atol=0.005)  # half a step, between the two pulses


def test_symmetry_points_differ_from_crosspoint_to_crosspoint_as_the_theory_says() -> None:
    device = aj.SoftBoundsDevice(dw_min=0.01, **{**QUIET, "w_max_dtod": 0.2, "w_min_dtod": 0.2, "up_down_dtod": 0.1})
    points = plot.compute_symmetry_points(device, crosspoints=100)
    assert np.corrcoef(points.theory, points.measured)[0, 1] > 0.99
    np.testing.assert_allclose(points.measured, points.theory, atol=0.02)


def test_without_balance_the_symmetry_point_is_a_bound_or_undefined() -> None:
    lost = aj.ConstantStepDevice(dw_min=0.01, up_down=0.2, **QUIET)
    points = plot.compute_symmetry_points(lost, pairs=800, crosspoints=4)
    np.testing.assert_allclose(points.theory, 0.6, atol=1e-5)
    np.testing.assert_allclose(points.measured, 0.6, atol=0.01)
    even = plot.compute_symmetry_points(aj.ConstantStepDevice(dw_min=0.01, **QUIET), pairs=10, crosspoints=4)
    assert np.isnan(even.theory).all()  # type: ignore[arg-type]
    assert unfitting(even) == []


CONSTANT = aj.ConstantStepDevice(dw_min=0.01, **QUIET)


@pytest.mark.parametrize(
    "compound",
    [
        OneSidedUnitCell(unit_cell_devices=(CONSTANT,)),
        VectorUnitCell(unit_cell_devices=(CONSTANT, CONSTANT)),
        MixedPrecisionCompound(device=CONSTANT),
    ],
    ids=lambda compound: type(compound).__name__,
)
def test_a_compound_shows_its_visible_weight(compound: aj.devices.Device) -> None:
    weights = plot.compute_pulse_response(compound, pulses=3, cycles=1, crosspoints=2).weights
    np.testing.assert_allclose(weights[:, 1], [0, 0.01, 0.02, 0.03, 0.02, 0.01, 0], atol=1e-6)


def test_a_compound_has_no_theory_and_its_hidden_weights_are_traced() -> None:
    compound = TransferCompound(unit_cell_devices=(CONSTANT, CONSTANT))
    assert plot.theoretical_steps(compound, [0.0]) is None
    traces = plot.compute_weight_traces(compound, updates=20)
    assert list(traces.parts) == ["weights", "hidden_weights_0"], "the slow device is what is visible"
    assert unfitting(traces) == []
    assert np.ptp(traces.parts["hidden_weights_0"], axis=0).max() > 0.01


def test_weights_approach_the_target() -> None:
    device = aj.ConstantStepDevice(dw_min=0.001)
    traces = plot.compute_weight_traces(device, updates=300, crosspoints=8)
    assert traces.target is not None
    assert traces.steps.tolist() == list(range(301))
    weights = traces.parts["weights"]
    assert weights.shape == (301, 8)
    assert np.abs(weights[-1] - traces.target).mean() < 0.25 * np.abs(weights[0] - traces.target).mean()


@pytest.mark.slow
def test_traces_of_recorded_states_are_their_weights() -> None:
    config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(write_noise_std=2.0))
    state = tile.init(config, jax.random.key(0), (2, 3))
    states = [state]
    for number in range(3):
        x, d = jnp.ones((1, 3)), jnp.ones((1, 2))
        states.append(tile.update(config, states[-1], x, d, 0.01, jax.random.key(number)))
    traces = plot.trace_weights(config, states, [(0, 0), (1, 2)])
    assert list(traces.parts) == ["weights", "persistent_weights"]
    np.testing.assert_array_equal(traces.parts["weights"][:, 1], [s.weights[1, 2] for s in states])
    np.testing.assert_array_equal(traces.parts["persistent_weights"][:, 0], [s.device.persistent[0, 0] for s in states])
    with pytest.raises(aj.ShapeError, match=r"crosspoint \(0, 3\) is outside the tile: its shape is \(2, 3\)"):
        plot.trace_weights(config, states, [(0, 3)])
    with pytest.raises(aj.ConfigError, match="nothing to trace"):
        plot.trace_weights(config, [])


def test_mvm_error_of_output_noise_alone() -> None:
    io = aj.IOParameters(inp_res=0, out_res=0, out_noise=0.05, out_bound=0, noise_management="NONE",
                         bound_management="NONE", inp_bound=0)  # fmt: skip
    error = plot.compute_mvm_error(io, in_size=64, out_size=32, vectors=64, scales=[0.5, 1, 2], sizes=[16, 64])
    residual = error.analog - error.exact
    assert residual.std() == pytest.approx(0.05, rel=5 / np.sqrt(2 * residual.size))
    # the same noise on outputs of another size
    size = np.sqrt(np.mean(error.exact**2))
    np.testing.assert_allclose(error.scale_errors, 0.05 / size / np.asarray([0.5, 1, 2]), rtol=0.08)
    np.testing.assert_allclose(error.size_errors, 0.05 / size * np.asarray([2, 1]), rtol=0.15)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        (CONSTANT, "ConstantStepDevice, default converters of a tile"),
        ("ConstantStepDevice", "ConstantStepDevice, default converters of a tile"),
        ("EcRamPresetDevice", "EcRamPresetDevice, default converters of a tile"),
        (aj.SingleRPUConfig(device=CONSTANT), "ConstantStepDevice"),
        ("StandardIOParameters", "StandardIOParameters"),
    ],
)
def test_the_error_of_a_device_says_whose_converters_it_has(subject: plot.Subject, name: str) -> None:
    assert plot.compute_mvm_error(subject, in_size=16, vectors=4, scales=[1], sizes=[16]).name == name


def test_perfect_product_has_no_error() -> None:
    error = plot.compute_mvm_error(aj.IOParameters(is_perfect=True), in_size=16, vectors=4, scales=[1], sizes=[8])
    assert unfitting(error) == []
    assert error.scale_errors.max() < 1e-5
    assert error.size_errors.max() < 1e-5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: plot.compute_pulse_response(d, pulses=0), "pulses=0 is not allowed: give at least 1"),
        (lambda d: plot.compute_pulse_statistics(d, burst=0), "burst=0 is not allowed"),
        (lambda d: plot.compute_symmetry_points(d, crosspoints=-1), "crosspoints=-1 is not allowed"),
        (lambda d: plot.compute_weight_traces(d, crosspoints=9), "crosspoints=9 is not allowed: give at most 8"),
        (lambda d: plot.compute_mvm_error(d, sizes=[16, 0]), r"sizes\[1\]=0 is not allowed"),
        (lambda d: plot.compute_mvm_error(d, scales=[0.0]), r"scales\[0\]=0.0 is not allowed: give a number above 0"),
        (lambda d: plot.compute_pulse_response(3), "subject=3 is not allowed: give a device"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(aj.ConfigError, match=message):
        call(aj.ConstantStepDevice())


def test_granularity_is_the_size_of_a_pulse() -> None:
    device = aj.PowStepDevice(pow_gamma=1.7)
    assert pulse_size(tile_config(device)) == pytest.approx(float(device.weight_granularity()))
