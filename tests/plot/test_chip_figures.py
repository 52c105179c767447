"""Figures of chips: the numbers behind them against formulas and against the chips themselves, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
import pytest
from flax import nnx
from matplotlib.figure import Figure

import aihwjax as aj
from aihwjax import plot
from aihwjax.plot.spread import spread_over
from aihwjax.plot.times import TIMES, checked_times
from tests.marks import slow
from tests.shapes.checking import unfitting

PERFECT = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True))
QUIET = PERFECT.replace(
    noise_model=aj.StateIndependentNoiseModel(prog_noise_scale=0.0, read_noise_scale=0.0, drift_nu_std=0.0)
)
SPLIT = aj.MappingParameter(max_input_size=3, max_output_size=2)


@pytest.fixture(autouse=True)
def _agg() -> None:
    mpl.use("agg")


def layer(config: aj.TileConfig = PERFECT) -> aj.nn.AnalogLinear:
    """Return a layer of six inputs and four outputs."""
    return aj.nn.AnalogLinear(6, 4, config=config, rngs=nnx.Rngs(0))


def table(values: list[list[float]], name: str = "accuracy", first: float = 1.0) -> aj.nn.OverTime:
    """Return a table of some chips at three times."""
    return aj.nn.OverTime(name, np.asarray([first, 3600.0, 86400.0]), np.asarray(values))


# ---------------------------------------------------------------------------------- numbers
def test_mean_and_spread_in_bins() -> None:
    places = np.array([0.0, 0.0, 0.0, 1.0, 3.9, 4.0, 2.5])
    band = spread_over(places, np.array([1.0, 2.0, 3.0, 7.0, 5.0, 9.0, 1.0]), bins=4)
    np.testing.assert_allclose(band.places, [0.0, 3.95])  # a bin needs two values
    np.testing.assert_allclose(band.mean, [2.0, 7.0])
    np.testing.assert_allclose(band.std, [np.sqrt(2 / 3), 2.0])


@pytest.mark.parametrize(
    "converter", [aj.DualPairConductanceConverter(f_lst=(1, 3)), slow(aj.SinglePairConductanceConverter())]
)
def test_conductances_are_those_behind_the_weights_of_a_chip(converter: Any) -> None:
    config = PERFECT.replace(noise_model=aj.PCMLikeNoiseModel(g_converter=converter), drift_compensation=None)
    w = np.asarray(jax.random.normal(jax.random.key(3), (5, 7)))
    error = plot.compute_conductance_error(config, weights=w, key=4)
    slices, params = aj.inference.convert(converter, w)
    np.testing.assert_allclose(error.target, np.stack(slices).reshape(len(slices), -1), rtol=1e-6)
    programmed = [values.reshape(5, 7) for values in error.programmed]
    back = aj.inference.convert_back(converter, programmed, params)  # type: ignore[arg-type]
    np.testing.assert_allclose(back, aj.inference.program(config, w, 4).weights, atol=1e-6)
    assert unfitting(error) == []


def test_programming_noise_of_a_constant_spread() -> None:
    config = PERFECT.replace(noise_model=aj.StateIndependentNoiseModel(prog_coeff=(0.5, 0.0, 0.0)))
    n = 20_000
    w = np.where(np.arange(n) % 2, 1.0, 0.5).reshape(20, -1)
    error = plot.compute_programming_error(config, weights=2 * w).error
    # one device has N(0, 0.5), the idle one the part above zero of it; both in units of 25 microsiemens
    idle = 0.5 / np.sqrt(2 * np.pi)
    spread = np.sqrt(0.5**2 + 0.5**2 / 2 - idle**2) / 25
    assert error.mean() == pytest.approx(-idle / 25, abs=5 * spread / np.sqrt(n))
    assert error.std() == pytest.approx(spread, rel=5 / np.sqrt(2 * n))


@pytest.mark.parametrize("mapping", [slow(aj.MappingParameter()), SPLIT])
def test_a_model_is_programmed_once_and_each_tile_has_its_own_unit(mapping: aj.MappingParameter) -> None:
    model = layer(PERFECT.replace(mapping=mapping))
    chip = aj.program(model, 5)
    error = plot.compute_programming_error(chip, key=9)
    np.testing.assert_array_equal(error.error, plot.compute_programming_error(chip, key=1).error)
    assert error.target.shape == (24,)
    exact, programmed = (np.abs(each.get_weights()[0]).max() for each in (model, chip))
    if mapping.max_input_size > 6:
        assert np.abs(error.programmed).max() == pytest.approx(programmed / exact, rel=1e-5)
    tiles = 1 if mapping.max_input_size > 6 else 4
    assert (np.abs(error.target) == 1).sum() == tiles
    assert plot.compute_programming_error(model).error.std() > 0


@pytest.mark.parametrize("compensation", [None, slow(aj.GlobalDriftCompensation()), aj.PerColumnDriftCompensation()])
def test_weights_drift_by_the_power_law_and_the_compensation_undoes_it(compensation: Any) -> None:
    drift = plot.compute_weight_drift(
        QUIET.replace(drift_compensation=compensation), times=[0.0, 20.0, 1e6], levels=[-0.5, 0.25, 1.0], crosspoints=5
    )
    law = (1 + drift.times / 20) ** -0.1  # the default exponent, and t_0 of 20 s
    levels = np.array([-0.5, 0.25, 1.0])[:, None] * np.ones(5)
    np.testing.assert_allclose(drift.target, levels, rtol=1e-6)
    np.testing.assert_allclose(drift.weights, law[:, None, None] * levels, rtol=1e-5)
    assert (drift.compensated is None) is (compensation is None)
    if drift.compensated is not None:
        np.testing.assert_allclose(drift.compensated, np.ones((3, 1, 1)) * levels, rtol=1e-5)
    assert unfitting(drift) == []


@pytest.mark.parametrize("mapping", [aj.MappingParameter(), slow(SPLIT)])
def test_weights_of_a_model_nearest_to_each_level(mapping: aj.MappingParameter) -> None:
    model = layer(QUIET.replace(mapping=mapping))
    drift = plot.compute_weight_drift(aj.program(model, 0), times=[20.0], levels=[0.0, 1.0], crosspoints=2)
    np.testing.assert_allclose(drift.weights[0], 2**-0.1 * drift.target, rtol=1e-4, atol=1e-6)
    assert drift.target[1].max() <= 1
    assert np.abs(drift.target[0]).max() < drift.target[1].min()
    assert drift.compensated is not None
    np.testing.assert_allclose(drift.compensated[0], drift.target, rtol=1e-4, atol=1e-6)


def test_times_are_those_at_which_the_model_was_measured() -> None:
    assert checked_times(aj.ReRamWan2022NoiseModel(), None).tolist() == [1, 86400, 172800]
    assert checked_times(aj.PCMLikeNoiseModel(), None).tolist() == list(TIMES)


# ------------------------------------------------------------------------------------ errors
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "name": (lambda: plot.compute_conductance_error("HermesNoisModel"), "did you mean 'HermesNoiseModel'?"),
    "device": (lambda: plot.compute_conductance_error("EcRamPresetDevice"), "'EcRamPresetDevice' is not allowed"),
    "subject": (lambda: plot.compute_programming_error(3.0), "subject=float is not allowed: give a noise model"),  # type: ignore[arg-type]
    "no chip": (lambda: plot.compute_weight_drift(aj.SingleRPUConfig()), "noise_model=None is not allowed for a chip"),
    "digital": (lambda: plot.compute_weight_drift(nnx.Linear(2, 3, rngs=nnx.Rngs(0))), "Linear has no analog layer"),
    "weights": (
        lambda: plot.compute_conductance_error(QUIET, weights=[1.0]),
        r"weights has shape \(1,\): give a matrix",
    ),
    "weights of a model": (lambda: plot.compute_programming_error(layer(), weights=[[1.0]]), "weights are not allowed"),
    "level": (
        lambda: plot.compute_weight_drift(QUIET, levels=[0.0, 2.0]),
        r"levels\[1\]=2.0 is not allowed: give a weight",
    ),
    "no level": (lambda: plot.compute_weight_drift(QUIET, levels=[]), "levels=.* is not allowed: give at least one"),
    "crosspoints": (lambda: plot.compute_weight_drift(QUIET, crosspoints=0), "crosspoints=0 is not allowed"),
    "times": (lambda: plot.compute_weight_drift(QUIET, times=[2.0, 1.0]), "times with 1 after 2 is not allowed"),
    "time": (lambda: plot.compute_weight_drift(QUIET, times=[-1.0]), "t=-1 is not allowed"),
    "tile": (
        lambda: plot.compute_weight_drift(layer(), tile="tiles/1"),
        "'tiles/1' is not allowed: give one of tiles/0",
    ),
    "tile of none": (
        lambda: plot.compute_weight_drift(QUIET, tile="tiles/0"),
        "'tiles/0' is not allowed without a model",
    ),
    "pulsed": (
        lambda: plot.compute_accuracy_over_time(aj.SingleRPUConfig(noise_model=aj.PCMLikeNoiseModel())),
        "device=ConstantStepDevice is not allowed for this figure: give an inference tile",
    ),
    "no table": (lambda: plot.plot_accuracy_over_time({}), "there is no table: give what"),
    "other table": (lambda: plot.plot_accuracy_over_time([[0.9]]), "chips 1=list is no table: give what"),  # type: ignore[list-item]
    "two metrics": (
        lambda: plot.plot_accuracy_over_time([table([[1.0] * 3]), table([[1.0] * 3], "loss")]),
        "tables of different metrics, accuracy, loss, have no common axis",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(aj.AihwjaxError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------- figures
DRAWINGS: dict[str, Callable[..., Figure]] = {
    "programming": plot.plot_programming_error,
    "conductances": plot.plot_conductance_error,
    "drift": plot.plot_weight_drift,
    "accuracy": lambda _, ax=None: plot.plot_accuracy_over_time(table([[0.9, 0.8, 0.7]], first=0.0), ax),
}


@pytest.mark.parametrize("kind", DRAWINGS)
def test_every_kind_is_drawn_alone_and_into_given_axes(kind: str, tmp_path: Any) -> None:
    figure = DRAWINGS[kind]("PCMLikeNoiseModel" if kind == "conductances" else PERFECT)
    for ax in figure.axes:
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        assert ax.has_data()
    plot.save(figure, tmp_path / "figure.png")
    own = Figure()
    ax = own.subplots()
    assert DRAWINGS[kind](aj.PCMLikeNoiseModel() if kind == "conductances" else PERFECT, ax) is own
    assert own.axes == [ax]
    assert ax.has_data()


def test_accuracy_is_in_percent_with_the_spread_of_chips_and_other_metrics_as_they_are() -> None:
    one = table([[0.9, 0.8, 0.7], [0.8, 0.6, 0.5]])
    (ax,) = plot.plot_accuracy_over_time({"usual": one, "aware": table([[0.9, 0.9, 0.9]])}, exact=0.95).axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_allclose(lines["usual"].get_ydata(), [85, 70, 60])
    assert lines["exact weights"].get_ydata() == pytest.approx([95, 95])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "usual", "aware", "exact weights", "lowest and highest",
    ]  # fmt: skip
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "accuracy (%)")
    (ax,) = plot.plot_accuracy_over_time([table([[1.0, 2.0, 3.0]], "mean_error", first=0.0)]).axes
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [1, 2, 3])
    assert (ax.get_xscale(), ax.get_ylabel()) == ("symlog", "mean error")


def test_devices_of_several_pairs_have_names() -> None:
    pairs = aj.PCMLikeNoiseModel(g_converter=aj.DualPairConductanceConverter(f_lst=(1.0, 3.0)))
    labels = plot.compute_conductance_error(pairs, weights=[[1.0]]).labels
    assert labels == ["+ device 1", "− device 1", "+ device 2", "− device 2"]
    assert plot.compute_conductance_error("ReRamCMONoiseModel", weights=[[1.0, -1.0]]).labels == ["device"]


@pytest.mark.slow
def test_a_small_network_is_trained_and_its_chips_are_worse_after_a_year() -> None:
    config = aj.InferenceRPUConfig(drift_compensation=None, forward=aj.IOParameters(is_perfect=True))
    found = plot.compute_accuracy_over_time(config, times=[1.0, 3e7], chips=2, hidden=16, epochs=2)
    assert found.values.shape == (2, 2)
    assert found.values[:, 0].min() > 0.8  # of 2,000 digits; chance is 0.1
    assert found.mean[1] < found.mean[0]
