"""A fit finds the numbers with which curves were simulated, within the errors that it states."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import cli
from aihwjax import config as configs
from aihwjax.config import Config
from aihwjax.devices.base import PulsedDevice
from aihwjax.fitting.likelihood import prepared, reading_noise
from aihwjax.fitting.summing import covariance
from tests.fitting.simulated import measured
from tests.marks import some

SHARED: dict[str, Any] = {
    "dw_min": 0.03, "dw_min_dtod": 0.2, "up_down": 0.15, "up_down_dtod": 0.03, "w_max": 0.7, "w_min": -0.5,
    "w_max_dtod": 0.15, "w_min_dtod": 0.1, "dw_min_std": 0.3,
}  # fmt: skip
POWER: dict[str, Any] = {"pow_gamma": 1.7, "pow_gamma_dtod": 0.1, "pow_up_down": 0.2, "pow_up_down_dtod": 0.05}
SPREAD = {name: value for name, value in SHARED.items() if name.endswith(("_dtod", "_std"))}
CASES: dict[str, tuple[PulsedDevice, PulsedDevice]] = {
    "constant_step": (aj.ConstantStepDevice(**SHARED), aj.ConstantStepDevice()),
    "linear_step": (
        aj.LinearStepDevice(**SHARED, gamma_up=0.4, gamma_down=0.6, gamma_up_dtod=0.1, gamma_down_dtod=0.1),
        aj.LinearStepDevice(),
    ),
    "soft_bounds": (aj.SoftBoundsDevice(**SHARED), aj.SoftBoundsDevice()),
    "soft_bounds_reference": (aj.SoftBoundsReferenceDevice(**SHARED), aj.SoftBoundsReferenceDevice()),
    "soft_bounds_pmax": (
        aj.SoftBoundsPmaxDevice(p_max=100.0, alpha=0.03, range_min=-0.6, range_max=0.5, **SPREAD),
        aj.SoftBoundsPmaxDevice(p_max=100.0),
    ),
    "exp_step": (aj.ExpStepDevice(**SHARED), aj.ExpStepDevice(A_up=0.001, A_down=0.3, gamma_up=10.0, gamma_down=10.0)),
    "pow_step": (aj.PowStepDevice(**SHARED, **POWER), aj.PowStepDevice()),
    "pow_step_reference": (aj.PowStepReferenceDevice(**SHARED, **POWER), aj.PowStepReferenceDevice()),
    "piecewise_step": (
        aj.PiecewiseStepDevice(**SHARED, piecewise_up=(1.5, 1.0, 0.5), piecewise_down=(0.4, 1.0, 1.6)),
        aj.PiecewiseStepDevice(piecewise_up=(1.0, 1.0, 1.0), piecewise_down=(1.0, 1.0, 1.0)),
    ),
    "measured_step": (
        aj.MeasuredStepDevice(**SHARED, nodes=(0, 0.3, 0.6, 1), up=(1.5, 1.2, 1.0, 0.5), down=(0.4, 0.7, 1.0, 1.6)),
        aj.MeasuredStepDevice(nodes=(0, 0.3, 0.6, 1), up=np.ones(4), down=np.ones(4)),
    ),
}
"""What is measured, and the model with which the search begins; every device whose step has parameters."""


def off(found: aj.DeviceFit, true: Config, names: list[str] | None = None) -> dict[str, float]:
    """Return how many standard errors each fitted field is off, at its worst entry."""
    result = {}
    for name, error in found.errors.items():
        if names is None or name in names:
            error = np.atleast_1d(error)
            difference = np.atleast_1d(getattr(found.device, name)) - np.atleast_1d(getattr(true, name))
            free = error > 0  # the middle entry of a table is given
            assert np.all(difference[~free] == 0)
            result[name] = float(np.max(np.abs(difference[free]) / error[free]))
    return result


@pytest.mark.parametrize("name", some(CASES, (), ("soft_bounds",)))
def test_the_numbers_are_found_within_their_errors(name: str) -> None:
    """30 devices, two cycles of 100 pulses up and down, pulse noise of 30 %."""
    true, model = CASES[name]
    found = aj.fit_device(measured(true, 100), model)
    assert type(found.device) is type(true)
    wrong = {field: value for field, value in off(found, true).items() if value > 4}
    assert not wrong, f"{wrong}\n{found}"
    assert {"dw_min_std", "w_max_dtod"} <= set(found.errors)
    # 12,000 readings: the mean square of a standard normal is known to 1.3 %
    assert found.chi_square == pytest.approx(1.0, abs=0.1)
    assert found.r_squared > 0.95
    # a field that is told apart at all: its error is no excuse for any value
    told = [field for field in found.errors if not field.endswith("_dtod") and np.all(found.errors[field] < 1)]
    assert {"dw_min_std"} <= set(told)
    assert found.errors["dw_min_std"] < 0.01
    if "dw_min" in found.errors:
        assert found.errors["dw_min"] < 0.1 * true.dw_min  # type: ignore[operator]
    assert found.losses.shape == (4,)


@pytest.mark.slow
def test_the_same_program_takes_other_numbers_and_one_key_gives_one_result() -> None:
    curves = measured(aj.SoftBoundsDevice(**SHARED), 100)
    first, again = aj.fit_device(curves, "SoftBoundsDevice"), aj.fit_device(curves, aj.SoftBoundsDevice)
    assert first.device == again.device
    np.testing.assert_array_equal(first.losses, again.losses)
    # conductances in any unit are the same weights
    volts = aj.PulseCurves.from_arrays(5 + 3 * curves.weights, curves.pulses, weight_range=(-1, 1))
    mapped = aj.fit_device(volts)
    scale = volts.unit / 3
    # where weight 0 is matters for soft bounds: steps at it and bounds from it
    shift = (volts.zero - 5) / 3
    own, other = first.device, mapped.device
    assert isinstance(own, aj.SoftBoundsDevice) and isinstance(other, aj.SoftBoundsDevice)
    assert other.w_max * scale + shift == pytest.approx(own.w_max, rel=0.01)
    assert other.dw_min_std == pytest.approx(own.dw_min_std, rel=0.01)
    assert volts.conductance(volts.weights) == pytest.approx(5 + 3 * curves.weights)
    figure = aj.plot.plot_device_fit(first)
    assert figure.axes[0].get_title().startswith("SoftBoundsDevice")
    assert "dw_min = " in str(first)


@pytest.mark.exhaustive
def test_a_wrong_law_is_seen_and_read_noise_is_told_from_pulse_noise() -> None:
    true = aj.SoftBoundsDevice(**SHARED)
    wrong = aj.fit_device(measured(true, 100), "ConstantStepDevice")
    assert wrong.r_squared < 0.9
    noisy = aj.fit_device(measured(true, 100, noise=0.02), "SoftBoundsDevice")
    assert noisy.read_noise == pytest.approx(0.02, rel=0.1)
    errors = off(noisy, true, ["dw_min", "w_max", "w_min", "dw_min_std"])
    assert max(errors.values()) < 5, f"{errors}\n{noisy}"


@pytest.mark.exhaustive
def test_missing_readings_several_pulses_and_one_device() -> None:
    true = aj.SoftBoundsDevice(**{**SHARED, "dw_min": 0.01})
    whole = measured(true, 180, devices=6)
    weights = whole.weights[::3].copy()
    weights[40, 2] = np.nan
    curves = aj.PulseCurves.from_arrays(weights, whole.pulses.reshape(-1, 3, 6).sum(axis=1))
    found, every = aj.fit_device(curves), aj.fit_device(whole)
    # the first reading and whole groups of three pulses hold nearly as much
    assert found.device.dw_min == pytest.approx(every.device.dw_min, rel=0.05)  # type: ignore[attr-defined]
    assert found.device.dw_min_std == pytest.approx(0.3, rel=0.1)  # type: ignore[attr-defined]
    one = aj.fit_device(aj.PulseCurves.from_arrays(whole.weights[:, 0], whole.pulses[:, 0]))
    assert "dw_min_dtod" not in one.errors
    assert one.crosspoints["dwmin_up"].shape == (1,)


def test_the_variance_of_readings_is_found_in_differences() -> None:
    rng = np.random.default_rng(0)
    pulses = np.tile(np.repeat([1, -1], 50), 2)[:, None] * np.ones(30, int)
    walk = np.cumsum(pulses * 0.01 * (1 + 0.3 * rng.standard_normal(pulses.shape)), axis=0)
    assert reading_noise(np.diff(walk, axis=0), np.ones((199, 30), bool), pulses[1:]) == 0
    read = walk + 0.004 * rng.standard_normal(walk.shape)
    # 6,000 products with a spread of about six times their mean: 4 % of the root
    assert reading_noise(np.diff(read, axis=0), np.ones((199, 30), bool), pulses[1:]) == pytest.approx(0.004, rel=0.15)


def test_readings_that_rest_at_a_bound_are_seen_and_do_not_make_the_step() -> None:
    pulses = np.repeat([1, -1], 50)
    weights = np.clip(np.cumsum(np.r_[0, 0.1 * pulses[:50]]), -0.5, 0.5)
    weights = np.r_[weights, np.clip(0.5 + np.cumsum(0.1 * pulses[50:]), -0.5, 0.5)]
    data, noise = prepared(aj.PulseCurves.from_arrays(weights, pulses), aj.ConstantStepDevice())
    assert noise == 0
    assert float(data["typical"]) == pytest.approx(0.1)
    assert bool(data["top_rests"][0]) and bool(data["bottom_rests"][0])
    assert (int(data["at_top"].sum()), int(data["at_bottom"].sum())) == (46, 41)
    assert not bool(prepared(aj.PulseCurves.from_arrays(weights, pulses), aj.SoftBoundsDevice())[0]["top_rests"][0])


def test_covariance_is_the_inverse_where_everything_is_known() -> None:
    root = np.random.default_rng(1).standard_normal((5, 9))
    information = root @ root.T
    np.testing.assert_allclose(covariance(information), np.linalg.inv(information), rtol=1e-6)
    assert (np.diag(covariance(np.diag([1.0, 0.0]))) > 0).all()


FILE = "device, pulses, conductance\n" + "\n".join(
    f"{name}, {0 if row == 0 else 1 if row < 8 else -1}, {10 + scale * (row if row < 8 else 15 - row) ** 0.9:.4f}"
    for name, scale in (("a", 1.0), ("b", 1.2))
    for row in range(16)
)


def test_a_file_is_read(tmp_path: Any) -> None:
    file = tmp_path / "curves.csv"
    file.write_text(FILE)
    curves = aj.PulseCurves.from_csv(file)
    assert curves.weights.shape == (16, 2)
    assert (np.nanmin(curves.weights), np.nanmax(curves.weights)) == (-1.0, 1.0)
    assert curves.pulses[:8, 1].tolist() == [1] * 7 + [-1]
    file.write_text(FILE.replace("conductance", "weight"))
    assert aj.PulseCurves.from_csv(file).weights[0, 0] == 10.0


WORDS: list[tuple[str, list[str], str]] = [
    (FILE.replace("pulses", "puls"), [], "has a column 'puls' that is not allowed: .* did you mean 'pulses'?"),
    (FILE.replace("conductance", "weight"), [], "readings from 10 to .* cannot be weights, which lie on both"),
    ("pulses, weight\n0, 0\n1, 0.1\n1, 0.2\n-1, 0.1\n-1, 0\n", [], "4 readings after pulses are too few for"),
    ("pulses, weight\n0, 0\n1, 0.1\n1, 0.2\n", [], "device 0 has 0 readings before and after down pulses"),
    ("pulses, weight\n0, 0\n1.5, 0.1\n", [], "pulses have 1.5: give whole numbers"),
    ("pulses, weight\n0, 0\n1, x\n", [], "'x' in row 2 of column 'weight': give a number"),
    ("pulses, weight\n0, nan\n1, nan\n", [], "no reading is a number"),
    ("pulses\n0\n1\n", [], "neither of the columns 'conductance' and 'weight'"),
    ("pulses, weight\n0, 1\n", [], "has no device with two readings"),
    (FILE, ["--model", "SoftBoundDevice"], "no device 'SoftBoundDevice'; did you mean 'SoftBoundsDevice'?"),
    (FILE, ["--model", "IdealDevice"], "model=IdealDevice is not allowed: it has no pulses"),
    (FILE, ["--set", "gamma=1"], "SoftBoundsDevice has no field 'gamma'"),
    (FILE, ["--weight-range", "0.5", "1"], "weight_range=(0.5, 1) is not allowed: give a range that contains"),
    (FILE, ["--plot", "fit.xyz"], "output='fit.xyz' is not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words", "message"), WORDS, ids=[row[2][:40] for row in WORDS])
def test_a_mistake_on_the_command_line_is_one_line(
    text: str, words: list[str], message: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "curves.csv"
    file.write_text(text)
    assert cli.main(["fit", str(file), *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for part in message.split(".*"):
        assert part in said


def test_arrays_that_are_no_curves_are_one_line() -> None:
    for readings, pulses, part in (
        ([[0.0, 1.0]], [1], "readings of shape (1, 2)"),
        ([0.0, 1.0], [1, 1], "pulses of shape (2,) do not fit 2 readings of 1 devices"),
        ([0.0, np.inf], [1], "infinite"),
        ([0.0, 1.0], [1000], "1000 between two readings"),
        ([[0.0], [1.0, 2.0]], [1], "rectangular"),
    ):
        with pytest.raises(aj.DataError) as caught:
            aj.PulseCurves.from_arrays(readings, pulses)  # type: ignore[arg-type]
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(aj.ConfigError, match="key='a' is not allowed: give one JAX key"):
        aj.fit_device(measured(aj.ConstantStepDevice(dw_min=0.1), 4, devices=2), key="a")  # type: ignore[arg-type]
    for wrong in ({"restarts": 0}, {"iterations": 1.5}, {"model": 3}):
        with pytest.raises(aj.ConfigError, match=f"{next(iter(wrong))}="):
            aj.fit_device(measured(aj.ConstantStepDevice(dw_min=0.1), 4, devices=2), **wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_command_prints_and_writes(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    curves = measured(aj.SoftBoundsDevice(**SHARED), 100)
    rows = ["device,pulses,weight"]
    for device in range(curves.weights.shape[1]):
        own = [0, *curves.pulses[:, device]]
        rows += [f"{device},{count},{value}" for count, value in zip(own, curves.weights[:, device], strict=True)]
    file, out, figure = tmp_path / "curves.csv", tmp_path / "device.toml", tmp_path / "fit.svg"
    file.write_text("\n".join(rows))
    assert cli.main(["fit", str(file), "-o", str(out), "--plot", str(figure)]) == 0
    assert "standard error" in capsys.readouterr().out
    device = configs.from_toml(out.read_text())
    assert device == aj.fit_device(curves).device
    assert figure.read_text().startswith("<?xml")


@pytest.mark.exhaustive
def test_the_parameters_of_functions_are_fitted() -> None:
    def up(w: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.exp(-a * w)

    def down(w: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.exp(b * w)

    true = aj.devices.from_steps(up, down, parameters=(1.2, 0.7), **SHARED)
    found = aj.fit_device(measured(true, 100), aj.devices.from_steps(up, down, parameters=(0.5, 0.5)))
    assert max(off(found, true).values()) < 4, str(found)
