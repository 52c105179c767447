"""When a sample of ours agrees with recorded statistics of the reference.

With n, m, s, m4 of the reference and n', m', s', m4' of ours, ``q = max(m4 - s^4, 0) / n``,
``c = max(1, |m|)`` and S the typical spread (s itself for pooled records, else the root mean
square of s along the last axis):

    mean    |m - m'| <= 5 sqrt(s^2/n + s'^2/n') + 0.02 s + 0.01 S + 1e-5 c
    spread  |s - s'| <= 5 (sqrt(q)/2s + sqrt(q')/2s') + 0.02 s + 0.05 S + 1e-5 c
    whole   |<s^2> - <s'^2>| <= 4 sqrt(10/N) sqrt<q + q'> + 0.03 <s^2> + 1e-10 <c^2>
    change  |sum (D' - D) D| / sum D^2 <= 0.03 + 4 sqrt(10) sqrt(sum (s^2/n + s'^2/n') D^2) / sum D^2
    quantile  the fraction of ours below q_p - e is at most p + 0.03, below q_p + e at least p - 0.03

``N`` is the number of elements (the root of 10/N is left out below 10), D = m - w0 the mean
change of a weight record, ``e = 1e-6 max(1, s)``. At most 0.5 % of the elements (at least one
from 100 elements on) may exceed, none by more than twice. The floors exist because the
reference draws its normals from a table of 32,768 values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aihwjax import arguments

Values = NDArray[Any]

QUANTILES = (0.01, 0.05, 0.25, 0.50, 0.75, 0.95, 0.99)
"""Probabilities of the recorded quantiles."""


@arguments.answering
@dataclass(frozen=True)
class Statistics:
    """Moments of a record: of each element over repeats, or of all elements together (pooled)."""

    n: int
    """Number of values behind each moment."""
    mean: Values
    """Mean."""
    std: Values
    """Standard deviation of the population."""
    m4: Values
    """Fourth central moment."""
    quantiles: Values | None = None
    """Values at the probabilities ``QUANTILES``; pooled records only."""

    @property
    def variance_error(self) -> Values:
        """Squared standard error of the variance, ``q`` of the module docstring."""
        return np.maximum(self.m4 - self.std**4, 0) / self.n


@arguments.answering
@dataclass(frozen=True)
class Verdict:
    """What came out of a comparison."""

    passed: bool
    """Whether the sample agrees."""
    worst: float
    """Largest deviation over what is allowed; 1 is the limit (2 for a few single elements)."""
    message: str
    """What disagrees, with both numbers; empty if nothing does."""


@arguments.answered
def statistics(samples: Values) -> Statistics:
    """Return the moments of ``samples`` over its first axis, in double precision.

    Args:
        samples: ``(n, ...)``.
    """
    values = np.asarray(samples, np.float64)
    mean = values.mean(axis=0)
    squares = (values - mean) ** 2
    return Statistics(len(values), mean, np.sqrt(squares.mean(axis=0)), (squares**2).mean(axis=0))


@arguments.answered
def compare(reference: Statistics, samples: Values, *, start: Values | None = None, pooled: bool = False) -> Verdict:
    """Compare a sample with the reference's statistics of the same record.

    Args:
        reference: Recorded statistics; arrays of the record's shape, scalars if pooled.
        samples: ``(n, ...)`` with the record's shape behind, or ``(n,)`` if pooled.
        start: Weights before the update (broadcast to the record), for weight records only.
        pooled: Whether the record is pooled over crosspoints.
    """
    if samples.shape[1:] != np.shape(reference.mean):
        return Verdict(False, np.inf, f"shape {samples.shape[1:]} against {np.shape(reference.mean)}")
    with np.errstate(over="ignore", invalid="ignore"):
        ours = statistics(samples)
        verdicts = [_elements(reference, ours, pooled), _whole(reference, ours)]
        if start is not None:
            verdicts.append(_change(reference, ours, start))
        if pooled and reference.quantiles is not None:
            verdicts.append(_quantiles(reference, samples))
    return combined(verdicts)


def combined(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict on several parts taken together."""
    parts = list(verdicts)
    return Verdict(
        all(part.passed for part in parts),
        max((part.worst for part in parts), default=0.0),
        "; ".join(part.message for part in parts if part.message),
    )


def ratio(deviation: Values, allowed: Values) -> Values:
    """Return ``|deviation| / allowed`` with 0/0 = 0; a deviation that is not a number is infinite."""
    deviation, allowed = np.broadcast_arrays(np.abs(deviation), allowed)
    result = np.full(deviation.shape, np.inf)
    np.divide(deviation, allowed, out=result, where=allowed > 0)
    result[deviation == 0] = 0.0
    result[~np.isfinite(deviation)] = np.inf
    return result


def allowed_deviations(reference: Statistics, ours: Statistics, pooled: bool) -> tuple[Values, Values]:
    """Return how far the mean and the spread of each element may differ.

    Args:
        reference: The reference's statistics of a record.
        ours: Ours.
        pooled: Whether the record is pooled over crosspoints.
    """
    m, s = np.asarray(reference.mean, np.float64), np.asarray(reference.std, np.float64)
    scale = np.maximum(1, np.abs(m))
    typical = s if pooled or s.ndim == 0 else np.sqrt(np.mean(s**2, axis=-1, keepdims=True))
    mean_error = np.sqrt(s**2 / reference.n + ours.std**2 / ours.n)
    spread_error = _half(reference.variance_error, s) + _half(ours.variance_error, ours.std)
    floor = 0.02 * s + 1e-5 * scale
    return 5 * mean_error + 0.01 * typical + floor, 5 * spread_error + 0.05 * typical + floor


def _half(error: Values, std: Values) -> Values:
    return np.divide(np.sqrt(error), 2 * std, out=np.zeros_like(error), where=std > 0)


def _elements(reference: Statistics, ours: Statistics, pooled: bool) -> Verdict:
    m, s = np.asarray(reference.mean, np.float64), np.asarray(reference.std, np.float64)
    allowed_mean, allowed_spread = allowed_deviations(reference, ours, pooled)
    of_mean = ratio(m - ours.mean, allowed_mean)
    of_spread = ratio(s - ours.std, allowed_spread)
    worst = np.maximum(of_mean, of_spread)
    exceeding = int((worst > 1).sum())
    tolerated = max(int(0.005 * worst.size), 1 if worst.size >= 100 else 0)
    passed = exceeding <= tolerated and not bool((worst > 2).any())
    message = ""
    if not passed:
        place = np.unravel_index(int(np.argmax(worst)), worst.shape)
        which = "spread" if of_spread[place] >= of_mean[place] else "mean"
        theirs, mine = (s, ours.std) if which == "spread" else (m, ours.mean)
        allowed = np.broadcast_to(allowed_spread if which == "spread" else allowed_mean, worst.shape)
        where = f"[{', '.join(map(str, map(int, place)))}] " if place else ""
        message = (
            f"{exceeding} of {worst.size} elements exceed (allowed {tolerated}), worst: {where}{which}"
            f" {mine[place]:.6g} against {theirs[place]:.6g} (allowed {allowed[place]:.2g})"
        )
    return Verdict(passed, float(worst.max()), message)


def _whole(reference: Statistics, ours: Statistics) -> Verdict:
    theirs, mine = np.mean(reference.std**2), np.mean(ours.std**2)
    count = np.size(reference.std)
    error = np.sqrt(np.mean(reference.variance_error + ours.variance_error))
    scale = np.mean(np.maximum(1, np.abs(reference.mean)) ** 2)
    allowed = 4 * np.sqrt(min(10 / count, 1.0)) * error + 0.03 * theirs + 1e-10 * scale
    return _single("mean variance", mine, theirs, allowed)


def _change(reference: Statistics, ours: Statistics, start: Values) -> Verdict:
    """Compare the size of the mean change of a weight record."""
    theirs, mine = reference.mean - start, ours.mean - start
    total = np.sum(theirs**2)
    if total == 0:
        return Verdict(True, 0.0, "")
    error = np.sum((reference.std**2 / reference.n + ours.std**2 / ours.n) * theirs**2)
    allowed = 0.03 + 4 * np.sqrt(10) * np.sqrt(error) / total
    return _single("size of the mean change, relative", 1 + np.sum((mine - theirs) * theirs) / total, 1.0, allowed)


def _quantiles(reference: Statistics, samples: Values) -> Verdict:
    assert reference.quantiles is not None
    values = np.sort(np.asarray(samples, np.float64).ravel())
    epsilon = 1e-6 * max(1.0, float(reference.std))
    verdicts = []
    for p, quantile in zip(QUANTILES, reference.quantiles, strict=True):
        below = np.searchsorted(values, quantile - epsilon, side="left") / len(values)
        up_to = np.searchsorted(values, quantile + epsilon, side="left") / len(values)
        nearest = min(max(p, below), up_to)
        verdicts.append(_single(f"fraction below the {100 * p:g} % quantile {quantile:.6g}", nearest, p, 0.03))
    return combined(verdicts)


def _single(name: str, mine: float, theirs: float, allowed: float) -> Verdict:
    worst = float(ratio(np.asarray(mine - theirs), np.asarray(allowed)))
    if worst <= 1:
        return Verdict(True, worst, "")
    return Verdict(False, worst, f"{name} {mine:.6g} against {theirs:.6g} (allowed {allowed:.2g})")
