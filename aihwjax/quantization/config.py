"""How numbers are quantised in digital: bits, the kind of grid, and what sets its range (spec: layers, section 12)."""

from __future__ import annotations

import enum

import numpy as np

from aihwjax.config import Config, configclass, known, not_positive, number
from aihwjax.errors import ConfigError
from aihwjax.typing import Number

MOST_BITS = 24
"""Largest number of bits: single precision has all whole numbers up to here."""


class RangeEstimators(enum.Enum):
    """What sets the range of a quantiser, batch after batch."""

    current_minmax = "current_minmax"
    """Smallest and largest number of the batch, or a percentile."""
    allminmax = "allminmax"
    """Smallest and largest number of all batches."""
    running_minmax = "running_minmax"
    """Running mean of the smallest and of the largest number of each batch."""
    MSE = "MSE"
    """A search for the range of the smallest squared error."""
    cross_entropy = "cross_entropy"
    """A search for the range whose softmax is nearest to the unquantised one."""


class OptMethod(enum.Enum):
    """How a range is searched."""

    grid = "grid"
    """All of a number of candidates, by the sum of their losses over all batches."""
    golden_section = "golden_section"
    """Golden sections, of the loss of the batch."""


@configclass
class RangeEstimatorParams(Config):
    """Base of the parameters of range estimators."""


@configclass
class CurrentMinMaxEstimatorParams(RangeEstimatorParams):
    """Parameters of ``RangeEstimators.current_minmax``."""

    percentile: Number | None = number(None, above=0, maximum=100, optional=True)
    """Percentile p that is the lower end, where the upper is the largest number; with channels the upper end is the
    percentile 100 - p. ``None``: smallest and largest number."""


@configclass
class RunningMinMaxEstimatorParams(RangeEstimatorParams):
    """Parameters of ``RangeEstimators.running_minmax``."""

    momentum: Number = number(0.9, minimum=0, maximum=1)
    """Weight of what was; the batch has the rest."""


@configclass
class MSEEstimatorParams(RangeEstimatorParams):
    """Parameters of ``RangeEstimators.MSE``."""

    range_opt_method: OptMethod = OptMethod.golden_section
    """How the range is searched."""
    num_candidates: int = 100
    """Candidates of a grid."""
    range_margin: Number = number(0.5, minimum=0)
    """How far the search goes beyond the numbers of the first batch."""

    def validate(self) -> None:
        """Refuse a grid without candidates."""
        if self.num_candidates < 1:
            raise ConfigError(
                f"{type(self).__name__}.num_candidates={self.num_candidates} is not allowed: give at least 1"
            )


@configclass
class CrossEntropyEstimatorParams(MSEEstimatorParams):
    """Parameters of ``RangeEstimators.cross_entropy``."""


_PARAMETERS: dict[RangeEstimators, type[RangeEstimatorParams] | None] = {
    RangeEstimators.current_minmax: CurrentMinMaxEstimatorParams,
    RangeEstimators.allminmax: None,
    RangeEstimators.running_minmax: RunningMinMaxEstimatorParams,
    RangeEstimators.MSE: MSEEstimatorParams,
    RangeEstimators.cross_entropy: CrossEntropyEstimatorParams,
}


@configclass
class QuantConfig(Config):
    """A quantiser: its bits, the kind of its grid, and what sets its range."""

    n_bits: Number = number(0, minimum=0, maximum=MOST_BITS, integer=True, off=not_positive)
    """Bits of a number; 0: it is not quantised."""
    symmetric: bool = True
    """Whether 0 lies in the middle of the grid (or at its lower end, if no number is negative)."""
    range_estimator: RangeEstimators = RangeEstimators.current_minmax
    """What sets the range."""
    range_estimator_params: RangeEstimatorParams | None = None
    """Its parameters; ``None``: the defaults."""

    def validate(self) -> None:
        """Refuse a symmetric grid of one bit, and parameters of another estimator."""
        check_bits(type(self).__name__, self.n_bits, self.symmetric)
        kind, given = _PARAMETERS[self.range_estimator], self.range_estimator_params
        if given is not None and type(given) is not kind:
            allowed = "None, since it has no parameters" if kind is None else kind.__name__
            raise ConfigError(
                f"{type(self).__name__}.range_estimator_params={type(given).__name__} is not allowed with "
                f"range_estimator={self.range_estimator.name}: give {allowed}"
            )

    @property
    def parameters(self) -> RangeEstimatorParams | None:
        """The parameters of the estimator, the defaults if none are given; ``None`` if it has none."""
        kind = _PARAMETERS[self.range_estimator]
        return kind() if self.range_estimator_params is None and kind is not None else self.range_estimator_params


@configclass
class ActivationQuantConfig(QuantConfig):
    """How the outputs of a layer are quantised."""

    range_estimator: RangeEstimators = RangeEstimators.running_minmax
    """What sets the range."""


def check_bits(where: str, n_bits: Number, symmetric: bool) -> None:
    """Refuse one bit where one is the sign.

    Args:
        where: The class, for the error.
        n_bits: Number of bits; a traced one is not checked.
        symmetric: Whether the grid is symmetric.

    Raises:
        ConfigError: If there is one bit, and it is symmetric.
    """
    if symmetric and np.any(known(n_bits) == 1):
        raise ConfigError(
            f"{where}.n_bits=1 is not allowed with symmetric=True, where one bit is the sign: give at least 2, or 0 "
            "for no quantisation"
        )
