"""Figures: one for every device and of every kind, what they show, and the missing extra."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

import aihwjax as aj
from aihwjax import plot
from tests.helpers import DEVICES
from tests.marks import some


@pytest.fixture(autouse=True)
def _agg() -> Iterator[None]:
    mpl.use("agg")
    yield
    assert plt.get_fignums() == [], "a figure was left with pyplot"


def check(figure: Figure, path: Path) -> None:
    """Every axes has labels and something drawn, and the figure can be written."""
    for ax in figure.axes:
        assert ax.get_xlabel() or ax.get_shared_x_axes()
        assert ax.get_ylabel()
        assert ax.has_data()
    plot.save(figure, path / "figure.png")
    assert (path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", some(DEVICES, ("constant_step", "pow_step", "ideal"), ("soft_bounds_reference",)))
def test_every_device_has_a_figure(name: str, tmp_path: Path) -> None:
    figure = plot.plot_device_compact(DEVICES[name], pulses=20)
    assert figure.get_suptitle() == type(DEVICES[name]).__name__
    check(figure, tmp_path)


DRAWINGS: dict[str, Callable[..., Figure]] = {
    "pulse response": plot.plot_pulse_response,
    "step size": plot.plot_pulse_statistics,
    "symmetry point": plot.plot_device_symmetry,
    "weights": plot.plot_weights,
    "product": plot.plot_mvm_error,
}


@pytest.mark.parametrize("kind", DRAWINGS)
def test_every_kind_is_drawn_alone_and_into_given_axes(kind: str, tmp_path: Path) -> None:
    draw, device = DRAWINGS[kind], aj.SoftBoundsDevice(dw_min=0.02, write_noise_std=0.5)
    check(draw(device), tmp_path)
    own = Figure()
    ax = own.subplots()
    assert draw(aj.SingleRPUConfig(device=device), ax) is own
    assert own.axes == [ax]
    assert ax.has_data()


def test_device_at_a_glance(tmp_path: Path) -> None:
    figure = plot.plot_device(aj.SoftBoundsDevice(dw_min=0.02), pulses=30)
    assert [ax.get_ylabel() for ax in figure.axes] == ["weight", "change by one pulse", "weight", "crosspoints"]
    check(figure, tmp_path)


def test_response_shows_the_mean_over_crosspoints() -> None:
    response = plot.compute_pulse_response(aj.ConstantStepDevice(dw_min=0.02), pulses=20, crosspoints=32)
    (ax,) = plot.plot_pulse_response(response, traces=2).axes
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.get_lines()}
    np.testing.assert_allclose(lines["mean"], response.weights.mean(axis=1))
    np.testing.assert_array_equal(lines["single crosspoints"], response.weights[:, 0])


def test_same_subject_and_key_give_the_same_file(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        plot.save(plot.plot_pulse_response(aj.ConstantStepDevice(dw_min=0.05)), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert ElementTree.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(aj.ConfigError, match=r"'.*x\.pgn' is not allowed.*did you mean 'png'"):
        plot.save(Figure(), tmp_path / "x.pgn")


# ---------------------------------------------------------------------- learning curves
def metrics(start: float, count: int = 3) -> list[aj.experiments.metrics.EpochMetrics]:
    return [
        {"epoch": i, "accuracy": 0.5 + 0.1 * i, "train_loss": start / (i + 1), "valid_loss": start, "time_epoch": 1.0}
        for i in range(count)
    ]


def written(folder: Path, entries: list) -> Path:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def test_learning_curves_show_what_the_runs_say(tmp_path: Path) -> None:
    folder = written(tmp_path / "analog", metrics(2.0))
    figure = plot.plot_learning_curves({"digital": metrics(1.0, 2), "analog": folder})
    loss, error = figure.axes
    drawn = {line.get_label(): line for line in loss.get_lines()}
    np.testing.assert_allclose(drawn["analog"].get_ydata(), [2, 1, 2 / 3])
    assert drawn["digital"].get_xdata().tolist() == [0, 1]
    np.testing.assert_allclose(error.get_lines()[1].get_ydata(), [50, 40, 30])
    assert [text.get_text() for text in error.get_legend().get_texts()] == ["digital", "analog"]
    check(figure, tmp_path)


def test_own_metrics_have_axes_and_a_regression_has_no_validation_error(tmp_path: Path) -> None:
    regression = [{"epoch": i, "train_loss": 1.0, "valid_loss": 2.0, "r2": 0.1 * i, "$x": 1.0} for i in range(3)]
    folder = written(tmp_path / "analog", regression)
    figure = plot.plot_learning_curves(folder)
    assert [place.get_ylabel() for place in figure.axes] == ["loss", "r2", r"\$x"]
    np.testing.assert_allclose(figure.axes[1].get_lines()[0].get_ydata(), [0, 0.1, 0.2])
    check(figure, tmp_path)
    assert len(plot.plot_learning_curves([{"epoch": 0, "train_loss": 1.0, "valid_loss": 2.0}]).axes) == 1
    with pytest.raises(aj.DataError, match="no run has an accuracy"):
        plot.plot_learning_curves(folder, figure.axes[0])
    curve = plot.read_learning_curve(folder)
    assert curve.accuracy is None and list(curve.metrics) == ["r2", "$x"]

    mixed = plot.plot_learning_curves({"regression": folder, "classes": metrics(1.0)})
    loss, error, r2 = mixed.axes[:3]
    assert (error.get_ylabel(), r2.get_ylabel()) == ("validation error (%)", "r2")
    colours = {line.get_label(): line.get_color() for line in loss.get_lines()}
    assert [(line.get_label(), line.get_color()) for line in error.get_lines()] == [("classes", colours["classes"])]
    assert [line.get_label() for line in r2.get_lines()] == ["regression"]


def test_runs_are_named_by_their_folder_and_told_apart(tmp_path: Path) -> None:
    folder = written(tmp_path / "first", metrics(2.0))
    assert plot.read_learning_curve(folder).name == "first"
    assert plot.read_learning_curve(str(folder / "metrics.jsonl")).name == "first"
    twice = plot.plot_learning_curves([metrics(1.0), metrics(2.0)])
    assert [line.get_label() for line in twice.axes[1].get_lines()] == ["run 1", "run 2"]
    assert len(plot.plot_learning_curves(metrics(1.0)).axes[1].get_lines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"cannot read the metrics '.*metrics\.jsonl': No such file"),
        ("{", "are damaged"),
        ("", "holds no epoch"),
        ('{"epoch": 0, "accuracy": 1.0}\n', "holds no metrics: each epoch needs.*KeyError: 'train_loss'"),
    ],
)
def test_damaged_metrics_are_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(aj.DataError, match=message):
        plot.plot_learning_curves([tmp_path])
    with pytest.raises(aj.DataError, match="there is no run"):
        plot.plot_learning_curves([])


# ------------------------------------------------------------------------------- extra
def test_without_matplotlib_the_extra_is_named_and_numbers_still_come() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = sys.modules['matplotlib.pyplot'] = None\n"
        "import aihwjax as aj\n"
        "from aihwjax.errors import MissingExtraError\n"
        "assert aj.plot.compute_pulse_response(aj.IdealDevice(), pulses=2, crosspoints=2).weights.shape == (9, 2)\n"
        "try: aj.plot.plot_device(aj.IdealDevice())\n"
        "except MissingExtraError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'pip install "aihwjax[plot]"' in done.stdout
