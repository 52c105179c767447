"""Whether two samples of tiles have the same distribution, with p-values.

Samples are independent: each tile has devices, pulses and noise of its own. Of every number of a tile three things
are compared: its mean, its variance, and all of its distribution (Kolmogorov and Smirnov). Of the weights also the size
of the mean change: each tile's change is projected on the mean change of half of the reference's tiles and compared
with the other half, so that all crosspoints together say whether steps are a few percent too large or too small.

The aggregated update is not the sequential one to the last digit (see the page on the update), so that a mean may
differ by ``MEAN`` of the spread, a variance by ``VARIANCE``, and the size of the change by ``CHANGE``; a p-value is the
probability of a deviation as large or larger if the true one is just that. Of samples of equal size a skewed
distribution does not matter, since what is compared is the difference of two alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aihwjax import arguments

Values = NDArray[Any]

MEAN = 0.05
"""How far means may differ, as a part of the spread over tiles."""
VARIANCE = 0.10
"""How far variances may differ, relative."""
CHANGE = 0.02
"""How far sizes of the mean change may differ, relative."""
_ROUNDING = 1e-5


class Comparison(NamedTuple):
    """What comes of two samples."""

    p_value: float
    """Smallest p-value times the number of tests: how probable one as small is if nothing differs."""
    tests: int
    """How many there were."""
    worst: str
    """Which test has the smallest p-value, with both numbers."""
    resolution: float
    """Relative error of the size of the change that would be found nineteen times of twenty at a p-value of 1e-6;
    infinite if the weights don't change."""


class _Test(NamedTuple):
    p_value: float
    text: str


@arguments.answered
def compare(
    ours: Mapping[str, Values],
    reference: Mapping[str, Values],
    start: Mapping[str, Values] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two samples of tiles.

    Args:
        ours: By name, ``(tiles, ...)``.
        reference: Of the same names and shapes, with as many tiles of its own.
        start: Values ``(...)`` from which the size of the change of a name is counted.
        seed: Of the small random numbers by which equal values are told apart.
    """
    tests: list[_Test] = []
    resolution = np.inf
    rng = np.random.default_rng(seed)
    for name in sorted({*ours, *reference}):
        if name not in ours or name not in reference or ours[name].shape != reference[name].shape:
            tests.append(_Test(0.0, f"{name}: on one side only, or of another shape"))
            continue
        mine, theirs = (np.asarray(side[name], np.float64) for side in (ours, reference))
        tests += _elements(name, mine.reshape(len(mine), -1), theirs.reshape(len(theirs), -1), rng)
        if start is not None and name in start:
            test, resolution = _change(name, mine - start[name], theirs - start[name])
            tests.append(test)
    if not tests:
        return Comparison(1.0, 0, "nothing to compare", np.inf)
    worst = min(tests, key=lambda test: test.p_value)
    return Comparison(min(1.0, worst.p_value * len(tests)), len(tests), worst.text, float(resolution))


@arguments.answered
def differs(comparison: Comparison, false_alarms: float, comparisons: int = 1) -> bool:
    """Whether two samples differ by more than chance.

    Args:
        comparison: Of the samples.
        false_alarms: Probability that one of several comparisons says so though nothing differs.
        comparisons: How many there are.
    """
    return comparison.p_value < false_alarms / comparisons


def _elements(name: str, mine: Values, theirs: Values, rng: np.random.Generator) -> list[_Test]:
    """Return the tests of single numbers, ``(tiles, numbers)`` each."""
    if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        return [_Test(0.0, f"{name}: NaN or infinity")]
    n, k = len(mine), len(theirs)
    means, others = mine.mean(0), theirs.mean(0)
    squares, other_squares = (mine - means) ** 2, (theirs - others) ** 2
    variances, other_variances = squares.mean(0), other_squares.mean(0)
    scale = np.sqrt((variances + other_variances) / 2)
    rounding = _ROUNDING * np.maximum(np.maximum(np.abs(means), np.abs(others)), 1e-3)
    tests = []
    error = np.sqrt(variances / n + other_variances / k)
    for place in range(mine.shape[1]):
        label = f"{name}[{place}]"
        numbers = f"mean {means[place]:.6g} against {others[place]:.6g}"
        spreads = f"spread {variances[place] ** 0.5:.4g} against {other_variances[place] ** 0.5:.4g}"
        if scale[place] <= rounding[place]:  # the same in every tile, on both sides
            same = abs(means[place] - others[place]) <= 10 * rounding[place]
            tests.append(_Test(1.0 if same else 0.0, f"{label}: {numbers}, always"))
            continue
        allowed = MEAN * scale[place] + rounding[place]
        tests.append(_Test(_beyond(means[place] - others[place], allowed, error[place]), f"{label}: {numbers}"))
        fourth = squares[:, place].var() / n + other_squares[:, place].var() / k
        deviation = variances[place] - other_variances[place]
        tests.append(_Test(_beyond(deviation, VARIANCE * scale[place] ** 2, fourth**0.5), f"{label}: {spreads}"))
        # what is equal but for rounding is told apart at random, alike on both sides
        blur = 1e-3 * scale[place] + rounding[place]
        blurred = (side[:, place] + rng.uniform(-blur, blur, len(side)) for side in (mine, theirs))
        found = _stats().ks_2samp(*blurred, method="asymp")
        tests.append(_Test(float(found.pvalue), f"{label}: distributions differ by {found.statistic:.3f}"))
    return tests


def _change(name: str, mine: Values, theirs: Values) -> tuple[_Test, float]:
    """Compare the size of the mean change; also say how well it is known."""
    half = len(theirs) // 2
    direction = theirs[:half].mean(0)
    ours, others = (np.tensordot(side, direction, direction.ndim) for side in (mine, theirs[half:]))
    size = abs(others.mean())
    error = np.sqrt(ours.var() / len(ours) + others.var() / len(others))
    if size <= 5 * np.sqrt(others.var() / len(others)) or size == 0:  # there is no direction to speak of
        return _Test(1.0, f"{name}: no mean change"), np.inf
    text = f"{name}: size of the mean change {ours.mean() / others.mean():.4f} of what it should be"
    resolution = CHANGE + (_stats().norm.isf(5e-7) + _stats().norm.isf(0.05)) * error / size
    return _Test(_beyond(ours.mean() - others.mean(), (CHANGE + _ROUNDING) * size, error), text), resolution


def _beyond(deviation: float, allowed: float, error: float) -> float:
    """Return how probable a normal deviation is that goes as far beyond what is allowed."""
    beyond = abs(deviation) - allowed
    if beyond <= 0:
        return 1.0
    return float(2 * _stats().norm.sf(beyond / error)) if error > 0 else 0.0


def _stats() -> Any:
    """Import what takes a second, when something is compared."""
    from scipy import stats

    return stats
