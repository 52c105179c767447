"""Random choices, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class Dice:
    """What is drawn, from one generator."""

    def __init__(self, seed: int | list[int]) -> None:
        """Seed the generator."""
        self.generator = np.random.default_rng(seed)

    def chance(self, probability: float) -> bool:
        return bool(self.generator.random() < probability)

    def one_of(self, *choices: Any) -> Any:
        return choices[int(self.generator.integers(len(choices)))]

    def between(self, low: float, high: float, digits: int = 3) -> float:
        return round(float(self.generator.uniform(low, high)), digits)

    def scale(self, low: float, high: float) -> float:
        """Return a number whose logarithm is evenly distributed, with three digits."""
        return float(f"{np.exp(self.generator.uniform(np.log(low), np.log(high))):.3g}")

    def some(self, probability: float, fields: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Return each field with a probability."""
        return {name: draw() for name, draw in fields.items() if self.chance(probability)}

    def vectors(self, count: int, size: int, zeros: float = 0.1) -> np.ndarray:
        values = self.generator.uniform(-1, 1, (count, size)).round(3)
        return np.where(self.generator.random((count, size)) < zeros, 0.0, values)
