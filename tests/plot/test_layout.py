"""Nothing lies over anything else in a figure: legends, tick labels and titles are apart, and inside of the figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

import aihwjax as aj
from aihwjax import cli, plot
from tests.marks import some
from tests.plot.sweep_tables import sweep_table

DOCS = Path(__file__).resolve().parents[2] / "docs"
SOFT = aj.SoftBoundsDevice(dw_min=0.01, dw_min_dtod=0.3, w_max_dtod=0.15, w_min_dtod=0.15)
CHIP = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True))
PAIRS = aj.PCMLikeNoiseModel(g_converter=aj.DualPairConductanceConverter(f_lst=(1.0, 3.0)))
WEIGHTS = np.linspace(-1, 1, 600).reshape(20, 30)
TRANSFER = aj.TransferCompound(unit_cell_devices=(aj.SoftBoundsDevice(), aj.ConstantStepDevice()))


@pytest.fixture(autouse=True)
def _agg() -> None:
    mpl.use("agg")


def run(epochs: int) -> list[aj.experiments.metrics.EpochMetrics]:
    """Metrics whose curves reach all corners of their axes."""
    return [
        {"epoch": i, "accuracy": i % 2, "train_loss": 1.0 - i % 2, "valid_loss": i % 2, "time_epoch": 1.0, "f1": 1.0}  # type: ignore[typeddict-unknown-key]
        for i in range(epochs)
    ]


RUNS = {
    "$digital": run(30),
    "_analog": run(1),
    "a run with a name that is longer than most axes of a paper": run(12),
}
TABLES = {
    "usual training, no compensation": aj.nn.OverTime("accuracy", np.array([0.0, 1.0, 3e7]), np.array([[1.0, 0.9, 0]])),
    "trained with noise": aj.nn.OverTime("accuracy", np.array([1.0, 3600.0]), np.array([[1.0, 0.0], [0.0, 1.0]])),
}
FIGURES: dict[str, Callable[[], Figure]] = {
    "pulse response": lambda: plot.plot_pulse_response(plot.compute_pulse_response(SOFT, pulses=40, crosspoints=32)),
    "step size": lambda: plot.plot_pulse_statistics(plot.compute_pulse_statistics(SOFT, crosspoints=32)),
    "symmetry point": lambda: plot.plot_device_symmetry(plot.compute_symmetry_points(SOFT, pairs=30, crosspoints=32)),
    "device": lambda: plot.plot_device("ReRamESPresetDevice", pulses=20),
    "compact device": lambda: plot.plot_device_compact(SOFT, pulses=20),
    "hidden weights": lambda: plot.plot_weights(plot.compute_weight_traces(TRANSFER, updates=20)),
    "eight weights": lambda: plot.plot_weights(plot.compute_weight_traces(SOFT, updates=20, crosspoints=8)),
    "product": lambda: plot.plot_mvm_error(plot.compute_mvm_error(aj.IOParameters(), vectors=8, sizes=[16, 1024])),
    "learning curves": lambda: plot.plot_learning_curves(RUNS),
    "sweep, map": lambda: plot.plot_sweep_map(sweep_table(4)),
    "sweep, map without a grid": lambda: plot.plot_sweep_map(sweep_table(4, grid=False)),
    "sweep, parallel": lambda: plot.plot_sweep_parallel(sweep_table(4)),
    "sweep, curves": lambda: plot.plot_sweep_curves(sweep_table(2)),
    "sweep, many curves": lambda: plot.plot_sweep_curves(sweep_table(4)),
    "programming error": lambda: plot.plot_programming_error(plot.compute_programming_error(CHIP, weights=WEIGHTS)),
    "conductances": lambda: plot.plot_conductance_error(plot.compute_conductance_error(PAIRS, weights=WEIGHTS)),
    "drift": lambda: plot.plot_weight_drift(plot.compute_weight_drift(CHIP, times=[0.0, 1.0, 3e7], crosspoints=8)),
    "accuracy over time": lambda: plot.plot_accuracy_over_time(TABLES, exact=0.99),
    "one epoch": lambda: plot.plot_learning_curves(run(1)),
}


def faults(figure: Figure) -> list[str]:
    """What lies over something else in a figure, or outside of it."""
    figure.draw_without_rendering()
    found, boxes = [], dict(_boxes(figure))
    found += [f"{name} is outside of the figure" for name, box in boxes.items() if not _inside(box, figure.bbox)]
    found += [
        f"{first} overlaps {second}"
        for first, second in combinations(boxes, 2)
        if _overlap(boxes[first], boxes[second])
    ]
    return found


def _boxes(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """Legends, texts, and the areas of axes, by name."""
    if figure.get_suptitle():
        yield "the title of the figure", figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
    for number, ax in enumerate(figure.axes):
        yield f"axes {number}", ax.bbox
        named: dict[str, Artist | None] = {"legend": ax.get_legend(), "title": ax.title if ax.get_title() else None}
        for letter, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
            named[f"{letter} label"] = axis.label if axis.label.get_visible() and axis.label.get_text() else None
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                label = tick.label1
                if low <= tick.get_loc() <= high and label.get_visible() and label.get_text():
                    named[f"{letter} tick {label.get_text()}"] = label
        for name, artist in named.items():
            if artist is not None:
                yield f"{name} of axes {number}", artist.get_window_extent()


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(np.all(box.min >= frame.min - 1) and np.all(box.max <= frame.max + 1))


def _overlap(first: Bbox, second: Bbox) -> bool:
    """Whether two boxes share more than a pixel."""
    return bool(np.all(np.minimum(first.max, second.max) - np.maximum(first.min, second.min) > 1))


@pytest.mark.parametrize("name", some(FIGURES, list(FIGURES)[::3]))
def test_every_kind_of_figure_is_legible(name: str) -> None:
    assert faults(FIGURES[name]()) == []


@pytest.mark.parametrize(
    "kind", ["pulse response", "step size", "symmetry point", "weights", "learning curves", "chips"]
)
def test_legends_in_given_axes_are_beside_the_curves(kind: str) -> None:
    drawings: dict[str, Callable[[Axes], Figure]] = {
        "pulse response": lambda ax: plot.plot_pulse_response(plot.compute_pulse_response(SOFT, pulses=40), ax),
        "step size": lambda ax: plot.plot_pulse_statistics(SOFT, ax),
        "symmetry point": lambda ax: plot.plot_device_symmetry(plot.compute_symmetry_points(SOFT, pairs=30), ax),
        "weights": lambda ax: plot.plot_weights(plot.compute_weight_traces(SOFT, updates=20), ax),
        "chips": lambda ax: plot.plot_accuracy_over_time(TABLES, ax),
        "learning curves": lambda ax: plot.plot_learning_curves({"first": run(9), "second": run(9)}, ax),
    }
    assert faults(drawings[kind](Figure().subplots())) == []


KINDS: dict[str, tuple[str, ...]] = {
    "device": ("SoftBoundsDevice",),
    "pulse-response": ("SoftBoundsDevice",),
    "step-size": ("SoftBoundsDevice",),
    "symmetry-point": ("SoftBoundsDevice",),
    "weights": ("SoftBoundsDevice", "--updates", "20"),
    "mvm-error": ("SoftBoundsDevice", "--vectors", "8"),
    "programming-error": ("FloatingPointPreset",),
    "conductance-error": ("HermesNoiseModel",),
    "weight-drift": ("FloatingPointPreset", "--crosspoints", "8"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_the_command_line_are_legible(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(plot, "save", lambda figure, path: drawn.append(figure))
    name, *less = KINDS[kind]
    assert cli.main(["plot", kind, name, "-o", str(tmp_path / "a.svg"), *less]) == 0
    (figure,) = drawn
    assert (figure.get_suptitle() or figure.axes[0].get_title()).startswith(name)
    assert faults(figure) == []


DOCUMENTED = (
    *("pulse_response", "device", "step_size", "symmetry_point", "weights", "mvm_error", "learning_curves"),
    *("programming_error", "conductance_error", "weight_drift", "accuracy_over_time"),
)


@pytest.mark.parametrize("name", some(DOCUMENTED, DOCUMENTED[:1]))
def test_figures_of_the_documentation_are_legible(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    import draw_figures

    assert set(draw_figures.FIGURES) == set(DOCUMENTED)
    assert faults(draw_figures.FIGURES[name]()) == []
