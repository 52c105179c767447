"""Reports every so many training steps, within an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, TypedDict

import numpy as np

from aihwjax import arguments
from aihwjax.errors import ConfigError
from aihwjax.layer_rates import AnyRate, LayerRates
from aihwjax.rates import rate_at

_NEVER = 2**62


@arguments.answering
class StepMetrics(TypedDict):
    """What a report between steps is told."""

    epoch: int
    """Number of the epoch, from 0."""
    step: int
    """Steps done, over all epochs."""
    train_loss: float
    """Mean loss over the epoch's examples so far."""
    recent_loss: float
    """Mean loss over its examples since the last report."""
    learning_rate: float | dict[str, float]
    """Of the last step; with rates by layer, by the paths that were given."""


StepReport: TypeAlias = Callable[[StepMetrics], bool | None]
"""Called every so many steps; ``False`` ends the run."""


class Watch:
    """Calls reports every so many steps, counted over the whole run."""

    def __init__(self, reports: Iterable[StepReport], every: int, learning_rate: AnyRate) -> None:
        """Prepare.

        Args:
            reports: Functions.
            every: Steps between two calls; 0: never.
            learning_rate: Of the run.
        """
        self._reports, self._every, self._rate = tuple(reports), every, learning_rate
        self._seen = (-1, 0)

    def __bool__(self) -> bool:
        return self._every > 0

    def following(self, step: int) -> int:
        """Return the next number of steps after ``step`` at which the reports are called."""
        return (step // self._every + 1) * self._every if self else _NEVER

    def is_due(self, step: int) -> bool:
        """Whether the reports are called after ``step`` steps."""
        return bool(self) and step % self._every == 0

    def __call__(self, epoch: int, step: int, losses: np.ndarray, weights: np.ndarray) -> bool:
        """Call every report; return whether the run goes on.

        Args:
            epoch: The epoch, from 0.
            step: Steps done, over all epochs.
            losses: Mean loss of each step of the epoch so far.
            weights: How much each of them counts.
        """
        seen = self._seen[1] if self._seen[0] == epoch else 0
        self._seen = epoch, len(losses)
        metrics = StepMetrics(
            epoch=epoch,
            step=step,
            train_loss=weighted_mean(losses, weights),
            recent_loss=weighted_mean(losses[seen:], weights[seen:]),
            learning_rate=self._rate_of(step - 1),
        )
        answers = [report(StepMetrics(**metrics)) for report in self._reports]
        return not any(isinstance(answer, bool | np.bool_) and not answer for answer in answers)

    def _rate_of(self, step: int) -> float | dict[str, float]:
        if isinstance(self._rate, LayerRates):
            return {path: float(rate) for path, rate in self._rate.values(step).items()}
        return float(rate_at(self._rate, step))


def weighted_mean(losses: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean loss of steps, each with its weight; 0 if all weights are.

    Args:
        losses: Of each step.
        weights: Of each step.
    """
    total = float(weights.sum(dtype=np.float64))
    return float(np.dot(losses.astype(np.float64), weights.astype(np.float64))) / total if total else 0.0


def check_step_reports(reports: Iterable[StepReport], every: int) -> tuple[StepReport, ...]:
    """Return reports if they and their interval can be some.

    Args:
        reports: Functions.
        every: Steps between two calls; 0: never.

    Raises:
        ConfigError: If ``reports`` is no list of functions, ``every`` no whole number of at least 0, or 0 though there
            are reports.
    """
    if callable(reports) or not isinstance(reports, Iterable):
        raise ConfigError("step_reports is not allowed: give a list of functions, such as [report]")
    found = tuple(reports)
    for index, report in enumerate(found):
        if not callable(report):
            raise ConfigError(f"step_reports[{index}]={report!r} is not allowed: give a function of what a step says")
    if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 0:
        raise ConfigError(f"report_every={every!r} is not allowed: give a whole number of at least 0")
    if found and not every:
        raise ConfigError("step_reports are never called with report_every=0: give the steps between two calls")
    return found
