"""Which numbers a field of a configuration takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

LARGEST, SMALLEST = 1e18, 1e-18
"""Limits of the magnitude of a number: beyond them its square leaves the range of single precision."""
LARGEST_WHOLE = 2**24
"""Largest whole number: single precision has all up to here."""


@dataclasses.dataclass(frozen=True)
class NumberInfo:
    """What is allowed for a numeric field, and when the feature counts as off."""

    minimum: float | None
    maximum: float | None
    above: float | None
    integer: bool
    optional: bool
    off: Callable[[float], bool] | None
    infinite: bool = False
    sequence: bool = False

    def problem(self, value: Any) -> str | None:
        """Return what is allowed if ``value`` is not, else ``None``."""
        if type(value) in (float, int) and self._takes(value):
            return None
        array = np.asarray(value)
        if array.dtype == object or not np.issubdtype(array.dtype, np.number):
            return "a whole number" if self.integer else "a number"
        if np.isnan(array).any():
            return "a number that is not NaN"
        if (array == -np.inf).any() or (not self.infinite and (array == np.inf).any()):
            return "a number above -infinity" if self.infinite else "a finite number"
        finite = array[np.isfinite(array)]
        if self.integer and np.issubdtype(array.dtype, np.floating) and (finite % 1 != 0).any():
            return "a whole number"
        if self.minimum is not None and (array < self.minimum).any():
            return f"at least {self.minimum:g}"
        if self.above is not None and (array <= self.above).any():
            return f"greater than {self.above:g}"
        if self.above == 0 and (array < SMALLEST).any():
            return f"at least {SMALLEST:g}"
        if self.maximum is not None and (array > self.maximum).any():
            return f"at most {self.maximum:g}"
        largest = LARGEST_WHOLE if self.integer else LARGEST
        if (np.abs(finite) > largest).any():
            return f"at most {largest:.8g} in magnitude" + (" or infinity" if self.infinite else "")
        return None

    def _takes(self, value: float) -> bool:
        """Whether a plain number is allowed for sure: nearly all are, and arrays are slow to ask."""
        return (
            abs(value) <= (LARGEST_WHOLE if self.integer else LARGEST)  # not NaN either
            and (not self.integer or value % 1 == 0)
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.above != 0 or value >= SMALLEST)
            and (self.maximum is None or value <= self.maximum)
        )
