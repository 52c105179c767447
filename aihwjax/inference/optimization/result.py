"""What an optimised programming gives: the tables, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from aihwjax import arguments
from aihwjax.inference.conductance.custom_pair import CustomPairConductanceConverter


@arguments.answering
@dataclass(frozen=True)
class Search:
    """What one way of searching found."""

    method: str
    """``"gradient"`` or ``"evolution"``."""
    converter: CustomPairConductanceConverter
    """The converter with the tables that were found."""
    loss: float
    """Mean square of ``(α w(t) − w) / max |w|`` on chips that the search did not see."""
    standard_error: float
    """Standard error of the loss."""
    seconds: float
    """How long the search took, compilation included."""
    chips: int
    """Number of chips that were simulated for it."""


@arguments.answering
@dataclass(frozen=True)
class OptimizedProgramming:
    """What :func:`aihwjax.optimize_programming` found, by each way of searching."""

    baseline: float
    """Loss of the converter of the configuration, on the same chips as the others."""
    baseline_standard_error: float
    """Standard error of the baseline."""
    searches: tuple[Search, ...]
    """One for each method, in the order in which they were given."""

    @property
    def best(self) -> Search:
        """The search with the smallest loss."""
        return min(self.searches, key=lambda search: search.loss)

    @property
    def converter(self) -> CustomPairConductanceConverter:
        """The converter of the best search, for ``noise_model.g_converter`` of a configuration."""
        return self.best.converter

    @property
    def improved(self) -> bool:
        """Whether the best loss is below the baseline by more than twice the error of their difference."""
        spread = np.hypot(self.baseline_standard_error, self.best.standard_error)
        return bool(self.best.loss < self.baseline - 2 * spread)

    @property
    def weights(self) -> Float[np.ndarray, " points"]:
        """Weights at which the tables have their points, relative to the largest weight."""
        return np.linspace(-1.0, 1.0, np.shape(self.converter.g_lst)[1])

    @property
    def conductances(self) -> Float[np.ndarray, "slices points"]:
        """Tables of the best search in microsiemens: up and down device of each pair in turn."""
        return np.asarray(self.converter.g_lst, np.float64)

    def __str__(self) -> str:
        """Return a table with a line for the baseline and one for each search."""
        lines = [f"{'':>12}  {'loss':>10}  {'error':>9}  {'gain':>6}  {'seconds':>8}  {'chips':>8}"]
        lines.append(f"{'baseline':>12}  {self.baseline:10.3e}  {self.baseline_standard_error:9.1e}")
        for each in self.searches:
            gain = 1 - each.loss / self.baseline if self.baseline > 0 else 0.0
            lines.append(
                f"{each.method:>12}  {each.loss:10.3e}  {each.standard_error:9.1e}  {gain:6.1%}  "
                f"{each.seconds:8.1f}  {each.chips:8d}"
            )
        return "\n".join(lines)
