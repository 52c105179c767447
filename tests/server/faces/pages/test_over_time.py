"""Chips over time on the page: rows, and where lines and labels are."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("jinja2", reason="needs the extra composer")

from aihwjax.chip_results import chip_entry
from aihwjax.server.faces.pages import curves, over_time
from aihwjax.server.faces.pages.histories import Epoch, _epoch

TIMES = (0.0, 1.0, 3600.0, 86_400.0)


def chips(*accuracies: tuple[float, ...], loss: float = 0.5) -> list[Epoch]:
    """Return chips with accuracies in percent at each time."""
    found = []
    for number, each in enumerate(accuracies):
        rows = [{"chip": number, "time": t, "loss": loss, "accuracy": a} for t, a in zip(TIMES, each, strict=True)]
        found.append(_epoch(chip_entry(rows, 1.0), number))  # type: ignore[arg-type]
    return found


def test_rows_are_over_all_chips() -> None:
    rows = over_time.rows(chips((90, 90, 80, 70), (94, 92, 84, 60)))
    assert [row.time for row in rows] == list(TIMES)
    assert rows[-1].accuracy == pytest.approx((0.65, 0.6, 0.7))
    assert rows[0].accuracy.mean == pytest.approx(0.92)
    assert rows[0].chips == 2


def test_the_axis_of_time_has_equal_ratios_and_named_times() -> None:
    accuracy, loss = over_time.charts(over_time.rows(chips((90, 90, 80, 70), (94, 92, 84, 60))))
    assert (accuracy.id, loss.id, accuracy.over) == ("accuracy", "loss", "time after programming")
    assert [tick.label for tick in accuracy.x_ticks] == ["0", "1 min", "1 h", "1 d"]
    xs = [float(x) for x in re.findall(r"[ML](\S+) ", accuracy.lines[0].path)]
    assert (xs[0], xs[-1]) == (curves.LEFT, curves.RIGHT)
    assert xs == sorted(xs)
    assert [line.name for line in accuracy.lines] == ["Mean of the chips", "Lowest chip"]
    assert accuracy.lines[1].last == "60.00\N{NO-BREAK SPACE}%"
    assert accuracy.lines[0].marks[2].text == "Mean of the chips, after 1 h: 82.00\N{NO-BREAK SPACE}%"
    assert [line.name for line in loss.lines] == ["Mean of the chips", "Highest chip"]


def test_a_loss_that_is_not_finite_is_left_out() -> None:
    rows = over_time.rows(chips((90, 90, 80, 70), loss=float("nan")))
    assert rows[0].loss.mean is None or rows[0].loss.mean != rows[0].loss.mean
    *_, loss = over_time.charts([row._replace(loss=over_time.Spread(None, None, None)) for row in rows])
    assert loss.lines[0].path == ""
    assert over_time.charts([]) == []


def test_entries_are_told_with_their_times() -> None:
    (chip,) = chips((90, 90, 80, 70))
    told = chip.entries()
    assert "train_loss" not in told
    assert told["over_time"][2] == {"time": 3600.0, "accuracy": 0.8, "loss": 0.5}
    assert told["accuracy"] == pytest.approx(0.7)
