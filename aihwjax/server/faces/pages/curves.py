"""Learning curves as pictures: where their axes, lines and marks are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from aihwjax.server.faces.pages import words
from aihwjax.server.faces.pages.histories import Epoch

WIDTH, HEIGHT = 480, 290
LEFT, RIGHT, TOP, BOTTOM = 68, 466, 14, 244
_MOST_MARKED = 40  # more epochs make a line without marks
_COLUMNS = 200  # more epochs than twice these are drawn by their extremes
_LARGEST = 1e30


@dataclass(frozen=True)
class Mark:
    """A point of a curve."""

    x: float
    y: float
    text: str
    """What it says to who points at it."""


@dataclass(frozen=True)
class Line:
    """A curve."""

    name: str
    kind: str
    """``train`` or ``valid``: its look."""
    path: str
    """What SVG calls ``d``."""
    marks: list[Mark]
    last: str
    """Its last value."""


@dataclass(frozen=True)
class Tick:
    """A labelled place of an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A picture with curves over epochs."""

    id: str
    title: str
    label: str
    """Of the vertical axis."""
    description: str
    """What it shows, in words."""
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    over: str = "epoch"
    """What the horizontal axis is."""


@dataclass(frozen=True)
class _Curve:
    name: str
    kind: str
    points: list[tuple[int, float | None]]


def charts(epochs: Sequence[Epoch], planned: int, ended: bool) -> list[Chart]:
    """Return the charts of loss, accuracy and further metrics; epochs count from 0, as in files and logs.

    Args:
        epochs: Metrics so far, at least of one epoch.
        planned: Epochs to train; the axis has room for them all while more may come.
        ended: Whether no more will come.
    """
    last = epochs[-1].epoch if ended else max(planned - 1, epochs[-1].epoch)
    train = _Curve("Training", "train", [(epoch.epoch, epoch.train_loss) for epoch in epochs])
    valid = _Curve("Validation", "valid", [(epoch.epoch, epoch.valid_loss) for epoch in epochs])
    found = [_chart("loss", "Loss", "mean loss", [train, valid], last, words.number, plain_tick)]
    if any(epoch.classes for epoch in epochs):
        right = _Curve("Validation", "valid", [(epoch.epoch, epoch.accuracy) for epoch in epochs])
        found.append(_chart("accuracy", "Accuracy", "correct answers", [right], last, words.percent, percent_tick))
    for number, name in enumerate(own_names(epochs)):
        own = _Curve("Validation", "valid", [(epoch.epoch, epoch.value(name)) for epoch in epochs])
        found.append(_chart(f"metric-{number}", name, name, [own], last, words.number, plain_tick))
    return found


def own_names(epochs: Sequence[Epoch]) -> list[str]:
    """Return the names of further metrics, in the order of their first occurrence.

    Args:
        epochs: Metrics so far.
    """
    return [*dict.fromkeys(name for epoch in epochs for name, _ in epoch.own)]


def ticks(low: float, high: float, count: int = 5, least: float = 0.0) -> list[float]:
    """Return round numbers from at most ``low`` to at least ``high``.

    Args:
        low: Smallest value.
        high: Largest value.
        count: About as many steps.
        least: Smallest step.
    """
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(span / count))
    step = max(least, next(size * factor for factor in (1, 2, 5, 10) if span <= count * size * factor * (1 + 1e-9)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _chart(
    name: str,
    title: str,
    label: str,
    curves: list[_Curve],
    last: int,
    say: Callable[[object], str],
    axis: Callable[[float, float], str],
) -> Chart:
    values = [value for curve in curves for _, value in curve.points if shown(value)] or [0.0, 1.0]
    y_values = ticks(min(values), max(values))
    low, high = y_values[0], y_values[-1]
    end = max(1, last)
    x_values = [value for value in ticks(0, end, least=1.0) if value <= end]

    def place(epoch: float, value: float) -> tuple[float, float]:
        x = LEFT + (RIGHT - LEFT) * epoch / end
        return round(x, 1), round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), 1)

    step = y_values[1] - y_values[0]
    return Chart(
        id=name,
        title=title,
        label=label,
        description=" ".join(_told(curve, say) for curve in curves),
        lines=[_line(curve, place, say) for curve in curves],
        x_ticks=[Tick(place(value, low)[0], f"{value:.0f}") for value in x_values],
        y_ticks=[Tick(place(1, value)[1], axis(value, step)) for value in y_values],
    )


def _line(curve: _Curve, place: Callable[[float, float], tuple[float, float]], say: Callable[[object], str]) -> Line:
    pieces: list[str] = []
    pen = "M"
    for epoch, value in _thinned(curve.points):
        if not shown(value):
            pen = "M"  # a gap
            continue
        x, y = place(epoch, value)
        pieces.append(f"{pen}{x:g} {y:g}")
        pen = "L"
    marks = []
    if len(curve.points) <= _MOST_MARKED:
        finite = [(epoch, value) for epoch, value in curve.points if shown(value)]
        marks = [Mark(*place(epoch, value), f"{curve.name}, epoch {epoch}: {say(value)}") for epoch, value in finite]
    return Line(curve.name, curve.kind, "".join(pieces), marks, say(curve.points[-1][1]))


def _thinned(points: list[tuple[int, float | None]]) -> list[tuple[int, float | None]]:
    """Keep the smallest and the largest value of each column: more points than pixels show no more."""
    if len(points) <= 2 * _COLUMNS:
        return points
    kept: list[tuple[int, float | None]] = []
    for column in range(_COLUMNS):
        part = points[column * len(points) // _COLUMNS : (column + 1) * len(points) // _COLUMNS]
        finite = [point for point in part if shown(point[1])]
        kept += sorted({min(finite, key=_value), max(finite, key=_value)}) if finite else part[:1]
    return kept


def _told(curve: _Curve, say: Callable[[object], str]) -> str:
    finite = [(epoch, value) for epoch, value in curve.points if shown(value)]
    if not finite:
        return f"{curve.name}: not finite in any epoch."
    first, last = finite[0], finite[-1]
    lowest, highest = min(finite, key=_value), max(finite, key=_value)
    return (
        f"{curve.name}: {say(first[1])} at epoch {first[0]}, {say(last[1])} at epoch {last[0]}, "
        f"lowest {say(lowest[1])} at epoch {lowest[0]}, highest {say(highest[1])} at epoch {highest[0]}."
    )


def _value(point: tuple[int, float | None]) -> float:
    return point[1] or 0.0


def shown(value: float | None) -> TypeGuard[float]:
    """Whether a value can be drawn."""
    return value is not None and abs(value) <= _LARGEST


def plain_tick(value: float, step: float) -> str:
    """Return the label of a value on an axis with steps of a size."""
    if value != 0 and not 1e-3 <= max(abs(value), step) < 1e5:
        return f"{value:.1e}"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}" if step < 1e5 else f"{value:g}"


def percent_tick(value: float, step: float) -> str:
    """Return the label of a fraction in percent on an axis with steps of a size."""
    return f"{100 * value:.{max(0, -math.floor(math.log10(100 * step) + 1e-9))}f}\N{NO-BREAK SPACE}%"
