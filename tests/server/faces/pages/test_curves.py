"""Where the lines of learning curves are."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("jinja2", reason="needs the extra composer")

from aihwjax.server.faces.pages import curves, histories
from aihwjax.server.faces.pages.histories import Epoch


def epochs(*values: float | None) -> list[Epoch]:
    return [Epoch(number, value, value, value, 1.0) for number, value in enumerate(values)]


def points(path: str) -> list[tuple[str, float, float]]:
    return [(pen, float(x), float(y)) for pen, x, y in re.findall(r"([ML])(\S+) ([^ML]+)", path)]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.13, 1.9, [0.0, 0.5, 1.0, 1.5, 2.0]),
        (-3.0, 4.0, [-4.0, -2.0, 0.0, 2.0, 4.0]),
        (2.0, 2.0, [2.0, 2.5]),
        (0.0, 0.0, [0.0, 0.2]),
    ],
)
def test_axes_have_round_numbers_around_the_values(low: float, high: float, wanted: list[float]) -> None:
    assert curves.ticks(low, high) == pytest.approx(wanted)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 7.3, 1e30])
def test_axes_hold_all_values(scale: float) -> None:
    found = curves.ticks(0.3 * scale, 1.7 * scale)
    assert found[0] <= 0.3 * scale and found[-1] >= 1.7 * scale and 3 <= len(found) <= 8


def test_a_line_goes_through_its_values() -> None:
    loss, accuracy = curves.charts(epochs(2.0, 1.0, 0.5), planned=5, ended=False)
    line = points(loss.lines[0].path)
    assert [pen for pen, _, _ in line] == ["M", "L", "L"]
    assert [x for _, x, _ in line] == pytest.approx([68, 167.5, 267], abs=0.1)  # room for two more
    zero, two = loss.y_ticks[0].at, loss.y_ticks[-1].at
    assert (loss.y_ticks[0].label, loss.y_ticks[-1].label) == ("0.5", "2.0")
    assert [y for _, _, y in line] == pytest.approx([two, zero + (two - zero) / 3, zero], abs=0.1)
    assert [mark.text for mark in accuracy.lines[0].marks][1] == "Validation, epoch 1: 100.00\N{NO-BREAK SPACE}%"


def test_the_axis_ends_where_the_run_did() -> None:
    ended = curves.charts(epochs(2.0, 1.0), planned=100, ended=True)[0]
    assert points(ended.lines[0].path)[-1][1] == curves.RIGHT


def test_what_is_not_finite_is_a_gap_and_is_told() -> None:
    loss = curves.charts(epochs(2.0, None, 1.0, 1e300), planned=4, ended=True)[0]
    assert [pen for pen, _, _ in points(loss.lines[0].path)] == ["M", "M"]
    nothing = curves.charts(epochs(None, None), planned=2, ended=True)[0]
    assert nothing.lines[0].path == "" and "not finite in any epoch" in nothing.description
    assert nothing.lines[0].last == "not finite"


def test_many_epochs_are_drawn_by_their_extremes() -> None:
    values = [1.0 + 0.1 * (number % 7) for number in range(10_000)]
    values[5_000] = 9.0
    loss = curves.charts(epochs(*values), planned=10_000, ended=True)[0]
    line = points(loss.lines[0].path)
    assert len(line) <= 400 and not loss.lines[0].marks
    assert sorted(x for _, x, _ in line) == [x for _, x, _ in line]
    highest = min(line, key=lambda point: point[2])
    assert highest[1] == pytest.approx((curves.LEFT + curves.RIGHT) / 2, abs=1)
    assert "highest 9.000 at epoch 5000" in loss.description


def test_a_regression_has_no_accuracy_and_own_metrics_have_charts() -> None:
    entry = {"epoch": 0, "train_loss": 2.0, "valid_loss": 1.0, "time_epoch": 0.5}
    told = [entry, {**entry, "epoch": 1, "f1": 0.5, "<b>": None}]
    found = [histories._epoch(data, number) for number, data in enumerate(told)]
    assert [epoch.entries() for epoch in found] == told
    charts = curves.charts(found, planned=2, ended=True)
    assert [(chart.id, chart.title) for chart in charts] == [("loss", "Loss"), ("metric-0", "f1"), ("metric-1", "<b>")]
    assert charts[1].lines[0].last == "0.5000" and "0.5000 at epoch 1" in charts[1].description
    classes = {**entry, "accuracy": 0.5}
    assert [chart.id for chart in curves.charts([histories._epoch(classes, 0)], 1, True)] == ["loss", "accuracy"]
    assert histories._epoch(classes, 0).entries() == classes


def test_one_epoch_is_a_mark() -> None:
    loss = curves.charts(epochs(1.5), planned=1, ended=True)[0]
    assert len(loss.lines[0].marks) == 1 and "1.500 at epoch 0" in loss.description


@pytest.mark.parametrize(
    ("planned", "wanted"),
    [(1, "0 1"), (3, "0 1 2"), (10, "0 2 4 6 8"), (30, "0 10 20"), (10_000, "0 2000 4000 6000 8000")],
)
def test_epochs_are_counted_from_zero(planned: int, wanted: str) -> None:
    loss = curves.charts(epochs(1.5), planned=planned, ended=False)[0]
    assert " ".join(tick.label for tick in loss.x_ticks) == wanted
    assert loss.x_ticks[0].at == curves.LEFT
