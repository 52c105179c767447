"""Mean and spread of a quantity along another one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

_BINS = 24
_FEWEST = 2


class Spread(NamedTuple):
    """Mean and standard deviation in each bin that holds enough values; places ascend."""

    places: Float64[np.ndarray, " bins"]
    """Mean place of the values of each bin."""
    mean: Float64[np.ndarray, " bins"]
    """Mean of the values."""
    std: Float64[np.ndarray, " bins"]
    """Standard deviation of the values."""


def spread_over(
    places: Float[np.ndarray, " values"], values: Float[np.ndarray, " values"], bins: int = _BINS
) -> Spread:
    """Return mean and standard deviation of values in bins of equal width.

    Values at the smallest place have a bin of their own if they are many, such as the idle devices of pairs.

    Args:
        places: Where each value is.
        values: The values.
        bins: Number of bins.
    """
    x, y = np.asarray(places, np.float64), np.asarray(values, np.float64)
    low, high = float(x.min()), float(x.max())
    width = (high - low) / bins if high > low else 1.0
    number = 1 + np.clip(((x - low) / width).astype(int), 0, bins - 1)
    number[x == low] = 0
    counts = np.bincount(number, minlength=bins + 1)
    kept = counts >= _FEWEST

    def mean(numbers: Float64[np.ndarray, " values"]) -> Float64[np.ndarray, " bins"]:
        return np.bincount(number, numbers, minlength=bins + 1)[kept] / counts[kept]

    centre = np.zeros(bins + 1)
    centre[kept] = mean(y)
    return Spread(mean(x), centre[kept], np.sqrt(mean((y - centre[number]) ** 2)))
