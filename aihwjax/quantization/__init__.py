"""Digital quantisation as pure functions: uniform grids, and the estimators that set their range.

The range of a quantiser is data: :func:`start_range` makes it, :func:`advance_range` lets it see a batch, and
:func:`range_grid` is the grid to which :func:`quantize` rounds. What the layers make of it is in the guide, Inference
chips.
"""

from aihwjax.quantization.config import (
    ActivationQuantConfig,
    CrossEntropyEstimatorParams,
    CurrentMinMaxEstimatorParams,
    MSEEstimatorParams,
    OptMethod,
    QuantConfig,
    RangeEstimatorParams,
    RangeEstimators,
    RunningMinMaxEstimatorParams,
)
from aihwjax.quantization.grid import Grid, quantize, uniform_grid
from aihwjax.quantization.ranges import RangeState, advance_range, is_unknown, range_grid, start_range

__all__ = [
    "ActivationQuantConfig",
    "CrossEntropyEstimatorParams",
    "CurrentMinMaxEstimatorParams",
    "Grid",
    "MSEEstimatorParams",
    "OptMethod",
    "QuantConfig",
    "RangeEstimatorParams",
    "RangeEstimators",
    "RangeState",
    "RunningMinMaxEstimatorParams",
    "advance_range",
    "is_unknown",
    "quantize",
    "range_grid",
    "start_range",
    "uniform_grid",
]
