"""The pictures of the report as plain geometry: what the template turns into SVG.

Points are one path of round dots, with whole coordinates, so that a case takes a few kilobytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aihwjax.fidelity.agreement import QUANTILES, Values, ratio
from aihwjax.fidelity.evidence import Evidence, RecordEvidence

WIDTH, HEIGHT = 280, 200
"""Size of a picture in its own units."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 20, 34
_MOST_POINTS = 120
_BAND_POINTS = 16
_TICKS = 3
_DEVIATION_LIMIT = 2.2


@dataclass(frozen=True)
class Shape:
    """A part of a picture."""

    path: str
    """Path data."""
    kind: str
    """What it shows, the class of its style."""


@dataclass(frozen=True)
class Picture:
    """One small diagram."""

    title: str
    """What is compared."""
    x_label: str
    """Horizontal axis."""
    y_label: str
    """Vertical axis."""
    x_ticks: tuple[tuple[int, str], ...]
    """Places and labels along the horizontal axis."""
    y_ticks: tuple[tuple[int, str], ...]
    """Places and labels along the vertical axis."""
    shapes: tuple[Shape, ...]
    """What is drawn, the lowest first."""


class _Frame:
    """Maps values to places."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._x, self._y = _widened(*x), _widened(*y)

    def points(self, x: Values, y: Values) -> list[tuple[int, int]]:
        """Return the place of each point, those that are not finite left out."""
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        keep = np.isfinite(x) & np.isfinite(y)
        (x0, x1), (y0, y1) = self._x, self._y
        across = _LEFT + (x[keep] - x0) / (x1 - x0) * (WIDTH - _LEFT - _RIGHT)
        up = HEIGHT - _BOTTOM - (y[keep] - y0) / (y1 - y0) * (HEIGHT - _TOP - _BOTTOM)
        across, up = np.clip(across, _LEFT, WIDTH - _RIGHT), np.clip(up, _TOP, HEIGHT - _BOTTOM)
        return list(zip(np.rint(across).astype(int).tolist(), np.rint(up).astype(int).tolist(), strict=True))

    def dots(self, x: Values, y: Values, kind: str) -> Shape:
        """Return points as round dots."""
        places = dict.fromkeys(self.points(x, y))
        return Shape("".join(f"M{a} {b}h0" for a, b in places), f"dots {kind}")

    def line(self, x: Values, y: Values, kind: str) -> Shape:
        """Return a polyline."""
        return Shape("M" + "L".join(f"{a} {b}" for a, b in self.points(x, y)), f"line {kind}")

    def band(self, x: Values, low: Values, high: Values, kind: str) -> Shape:
        """Return the area between two curves."""
        edge = self.points(x, low) + self.points(x, high)[::-1]
        return Shape("M" + "L".join(f"{a} {b}" for a, b in edge) + "Z", f"band {kind}")

    def picture(
        self,
        title: str,
        labels: tuple[str, str],
        shapes: Sequence[Shape],
        x_ticks: Sequence[tuple[float, str]] | None = None,
    ) -> Picture:
        """Return the picture with its axes."""
        (x0, x1), (y0, y1) = self._x, self._y
        named = x_ticks if x_ticks is not None else _ticks(x0, x1)
        across = tuple((self.points(np.asarray([v]), np.asarray([y0]))[0][0], text) for v, text in named)
        up = tuple((self.points(np.asarray([x0]), np.asarray([v]))[0][1], text) for v, text in _ticks(y0, y1))
        drawn = tuple(shape for shape in shapes if shape.path not in ("", "M", "MZ"))
        return Picture(title, *labels, across, up, drawn)


def pictures(evidence: Evidence) -> list[Picture]:
    """Return the pictures of a case: of its runs, or of its records.

    Args:
        evidence: What the case showed.
    """
    if evidence.runs:
        return [_runs(name, theirs, ours) for name, theirs, ours in evidence.runs]
    pooled = [record for record in evidence.records if record.quantiles is not None]
    series = [record for record in pooled if not record.name.startswith("hidden")]
    drawn = [_series(series)] if len(series) > 1 else []
    alone = [record for record in pooled if record not in series] if drawn else pooled
    drawn += [_quantiles(record) for record in alone if not _is_constant(record)]
    for record in evidence.records:
        if record.quantiles is None and not _is_constant(record):
            drawn += [
                _scatter(record, f"{record.name}: mean", record.mean, record.our_mean, record.allowed_mean),
                _scatter(record, f"{record.name}: spread", record.std, record.our_std, record.allowed_std),
                _deviations(record),
            ]
    return drawn


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return three labelled places, with as many digits as tell them apart."""
    values = [0.0 if abs(v) < 1e-3 * (high - low) else float(v) for v in np.linspace(low, high, _TICKS)]
    digits = next((n for n in range(2, 7) if len({f"{v:.{n}g}" for v in values}) == _TICKS), 7)
    return [(v, f"{v:.{digits}g}") for v in values]


def _widened(low: float, high: float) -> tuple[float, float]:
    if not (np.isfinite(low) and np.isfinite(high)):
        return 0.0, 1.0
    room = 0.04 * (high - low)
    if room <= 1e-9 * max(abs(low), abs(high)):
        room = 0.05 * max(abs(low), abs(high)) or 1.0
    return low - room, high + room


def _is_constant(record: RecordEvidence) -> bool:
    """Whether all elements of both sides are the same number: there is nothing to see."""
    together = [record.mean, record.our_mean, *(q for q in (record.quantiles, record.our_quantiles) if q is not None)]
    low, high = _limits(*together)
    return record.verdict.passed and high - low <= 1e-6 * max(1.0, abs(high)) and not np.any(record.std > 1e-6)


def _limits(*values: Values) -> tuple[float, float]:
    together = np.concatenate([np.ravel(value) for value in values])
    finite = together[np.isfinite(together)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def _shown(worst: Values) -> Values:
    """Return which elements are drawn: all, or an even choice with the worst ones."""
    count = len(worst)
    if count <= _MOST_POINTS:
        return np.arange(count)
    even = np.linspace(0, count - 1, _MOST_POINTS * 3 // 4).astype(int)
    return np.unique(np.concatenate([even, np.argsort(worst)[-_MOST_POINTS // 4 :]]))


def _scatter(record: RecordEvidence, title: str, theirs: Values, ours: Values, allowed: Values) -> Picture:
    """Draw ours against the reference with the allowed band around the diagonal."""
    off = ratio(ours - theirs, allowed)
    chosen = _shown(off)
    limits = _limits(theirs, ours)
    frame = _Frame(limits, limits)
    order = np.argsort(theirs)
    at = order[np.unique(np.linspace(0, len(order) - 1, _BAND_POINTS).astype(int))]
    x = np.asarray(theirs[at], np.float64)
    beyond = chosen[off[chosen] > 1]
    within = chosen[off[chosen] <= 1]
    shapes = [
        frame.band(x, x - allowed[at], x + allowed[at], "allowed"),
        frame.line(np.asarray(limits), np.asarray(limits), "guide"),
        frame.dots(theirs[within], ours[within], "ours"),
        frame.dots(theirs[beyond], ours[beyond], "beyond"),
    ]
    return frame.picture(title, ("reference", "ours"), shapes)


def _deviations(record: RecordEvidence) -> Picture:
    """Draw the deviations of mean and spread over what is allowed, element by element."""
    of_mean = _signed(record.our_mean - record.mean, record.allowed_mean)
    of_std = _signed(record.our_std - record.std, record.allowed_std)
    chosen = _shown(np.maximum(np.abs(of_mean), np.abs(of_std)))
    edge = np.asarray([0.0, max(len(of_mean) - 1, 1)])
    frame = _Frame((0, float(edge[1])), (-_DEVIATION_LIMIT, _DEVIATION_LIMIT))
    one = np.ones(2)
    shapes = [
        frame.band(edge, -one, one, "allowed"),
        frame.line(edge, 0 * one, "guide"),
        frame.dots(chosen, of_mean[chosen], "ours"),
        frame.dots(chosen, of_std[chosen], "spread"),
    ]
    title = f"{record.name}: deviation over allowed"
    return frame.picture(title, ("element", "mean (blue), spread (orange)"), shapes)


def _signed(deviation: Values, allowed: Values) -> Values:
    return np.clip(np.sign(deviation) * ratio(deviation, allowed), -_DEVIATION_LIMIT, _DEVIATION_LIMIT)


def _series(records: Sequence[RecordEvidence]) -> Picture:
    """Draw pooled records one after the other: quantiles as bands, ours as dots and lines."""
    place = np.arange(len(records))
    theirs = np.stack([record.quantiles for record in records])  # type: ignore[misc]
    ours = np.stack([record.our_quantiles for record in records])  # type: ignore[misc]
    mean, our_mean = (np.concatenate([getattr(r, field) for r in records]) for field in ("mean", "our_mean"))
    frame = _Frame((0, len(records) - 1), _limits(theirs, ours))
    low, lower, middle, upper, high = (QUANTILES.index(p) for p in (0.05, 0.25, 0.5, 0.75, 0.95))
    shapes = [
        frame.band(place, theirs[:, low], theirs[:, high], "outer"),
        frame.band(place, theirs[:, lower], theirs[:, upper], "inner"),
        frame.line(place, mean, "theirs"),
        *(frame.line(place, ours[:, p], "thin") for p in (low, lower, middle, upper, high)),
        frame.dots(place, our_mean, "ours"),
    ]
    step = max(1, -(-len(records) // 6))
    ticks = [(float(i), records[i].name) for i in range(0, len(records), step)]
    title = "all crosspoints: quantiles 5, 25, 50, 75, 95 % and mean"
    return frame.picture(title, ("", "bands: reference, lines and dots: ours"), shapes, ticks)


def _quantiles(record: RecordEvidence) -> Picture:
    """Draw our quantiles of a pooled record against the reference's, with means and spreads in the title."""
    assert record.quantiles is not None and record.our_quantiles is not None
    limits = _limits(record.quantiles, record.our_quantiles)
    frame = _Frame(limits, limits)
    shapes = [
        frame.line(np.asarray(limits), np.asarray(limits), "guide"),
        frame.dots(record.quantiles, record.our_quantiles, "ours"),
        frame.dots(record.mean, record.our_mean, "spread"),
    ]
    return frame.picture(record.name.removeprefix("hidden/"), ("reference, quantiles", "ours"), shapes)


def _runs(name: str, theirs: Values, ours: Values) -> Picture:
    """Draw the epochs of a training case: mean and standard deviation over seeds."""
    epochs = np.arange(1, theirs.shape[1] + 1)
    shapes, edges = [], []
    for runs, kind in ((theirs, "theirs"), (ours, "mine")):
        mean, spread = runs.mean(axis=0), runs.std(axis=0)
        edges += [runs, mean - spread, mean + spread]
        shapes.append((runs[:, : len(epochs)], mean, spread, kind))
    frame = _Frame((1, float(epochs[-1])), _limits(*edges))
    drawn = []
    for runs, mean, spread, kind in shapes:
        drawn += [frame.band(epochs, mean - spread, mean + spread, kind), frame.line(epochs, mean, kind)]
        drawn += [frame.dots(epochs, run, f"{kind} small") for run in runs]
    ticks = [(float(epoch), str(epoch)) for epoch in epochs[:: max(1, len(epochs) // 5)]]
    return frame.picture(name.replace("_", " "), ("epoch", "grey: reference, blue: ours"), drawn, ticks)
