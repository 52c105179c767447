"""Chips over time as pictures and a table: the mean over the chips so far, and the lowest and highest of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aihwjax.server.faces.pages import words
from aihwjax.server.faces.pages.curves import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Chart,
    Line,
    Mark,
    Tick,
    percent_tick,
    plain_tick,
    shown,
    ticks,
)
from aihwjax.server.faces.pages.histories import Epoch

_NAMED = ((0.0, "0"), (1.0, "1 s"), (60.0, "1 min"), (3600.0, "1 h"), (86_400.0, "1 d"), (31_536_000.0, "1 y"))
_NEAR = 34  # units of the picture between two labels


class Spread(NamedTuple):
    """A score over chips; ``None`` if one of them is not finite, or there are none."""

    mean: float | None
    low: float | None
    high: float | None


class TimeRow(NamedTuple):
    """All chips so far at one time."""

    time: float
    """Seconds after programming."""
    chips: int
    accuracy: Spread
    """As fractions."""
    loss: Spread


def rows(epochs: Sequence[Epoch]) -> list[TimeRow]:
    """Return a row for each time.

    Args:
        epochs: The chips so far.
    """
    times = list(dict.fromkeys(row.time for epoch in epochs for row in epoch.over_time))
    found = []
    for time in times:
        at = [row for epoch in epochs for row in epoch.over_time if row.time == time]
        found.append(TimeRow(time, len(at), _spread([row.accuracy for row in at]), _spread([row.loss for row in at])))
    return found


def charts(found: Sequence[TimeRow]) -> list[Chart]:
    """Return the charts of accuracy, if there is one, and loss.

    Args:
        found: From :func:`rows`.
    """
    if not found:
        return []
    made = []
    if any(row.accuracy.mean is not None for row in found):
        values = [(row.time, row.accuracy) for row in found]
        made.append(_chart("accuracy", "Accuracy", "correct answers", values, words.percent, percent_tick))
    losses = [(row.time, row.loss) for row in found]
    return [*made, _chart("loss", "Loss", "mean loss", losses, words.number, plain_tick)]


def time_text(seconds: float) -> str:
    """Return a time after programming, for people."""
    return f"{seconds:.4g} s" if seconds < 60 else words.seconds(seconds)


def _spread(values: list[float | None]) -> Spread:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Spread(None, None, None)
    return Spread(math.fsum(known) / len(known), min(known), max(known))


def _chart(
    name: str,
    title: str,
    label: str,
    points: list[tuple[float, Spread]],
    say: Callable[[object], str],
    axis: Callable[[float, float], str],
) -> Chart:
    values = [value for _, spread in points for value in spread if shown(value)] or [0.0, 1.0]
    y_values = ticks(min(values), max(values))
    low, high = y_values[0], y_values[-1]
    # equal ratios of times are equally long; the first time after 0 says where that begins
    unit = min((time for time, _ in points if time > 0), default=1.0)
    end = math.log1p(max(points[-1][0] / unit, 1.0))

    def along(time: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * math.log1p(time / unit) / end, 1)

    def up(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), 1)

    def line(name: str, kind: str, curve: list[tuple[float, float | None]]) -> Line:
        finite = [(time, value) for time, value in curve if shown(value)]
        path = "".join(f"{'L' if number else 'M'}{along(t):g} {up(v):g}" for number, (t, v) in enumerate(finite))
        marks = [Mark(along(t), up(v), f"{name}, after {time_text(t)}: {say(v)}") for t, v in finite]
        return Line(name, kind, path, marks, say(curve[-1][1]))

    mean = line("Mean of the chips", "valid", [(time, spread.mean) for time, spread in points])
    worst = "Lowest chip" if name == "accuracy" else "Highest chip"
    edge = line(worst, "train", [(t, spread.low if name == "accuracy" else spread.high) for t, spread in points])
    last = points[-1]
    step = y_values[1] - y_values[0]
    return Chart(
        id=name,
        title=title,
        label=label,
        description=(
            f"Mean of the chips: {say(points[0][1].mean)} after {time_text(points[0][0])}, {say(last[1].mean)} after "
            f"{time_text(last[0])}. {worst} then: {edge.last}."
        ),
        lines=[mean, edge],
        x_ticks=_x_ticks(along, last[0]),
        y_ticks=[Tick(up(value), axis(value, step)) for value in y_values],
        over="time after programming",
    )


def _x_ticks(along: Callable[[float], float], last: float) -> list[Tick]:
    """Return labels of times that are not too near to each other."""
    found: list[Tick] = []
    for time, label in _NAMED:
        if time <= last and (not found or along(time) - found[-1].at >= _NEAR):
            found.append(Tick(along(time), label))
    return found
