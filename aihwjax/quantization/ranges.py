"""What sets the range of a quantiser: estimators as pure functions of what they know and a batch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from aihwjax import arguments, showing
from aihwjax.errors import ConfigError
from aihwjax.precision import in_single
from aihwjax.quantization.config import (
    CurrentMinMaxEstimatorParams,
    MSEEstimatorParams,
    OptMethod,
    QuantConfig,
    RangeEstimators,
    RunningMinMaxEstimatorParams,
)
from aihwjax.quantization.grid import Grid, uniform_grid
from aihwjax.quantization.search import Losses, searched
from aihwjax.typing import Number


@arguments.answering
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RangeState(showing.Record):
    """What is known of the numbers of a quantiser; with channels of each of them."""

    low: Float[Array, "*channels"]
    """Lower end of the range."""
    high: Float[Array, "*channels"]
    """Upper end of the range."""
    batches: Int[Array, ""]
    """Number of batches that it has seen; 0: the range is not known."""
    fixed: Bool[Array, ""]
    """Whether the range stays from now on."""
    losses: Losses | None = None
    """What a search knows; ``None`` without one."""


@arguments.answered
def start_range(config: QuantConfig, channels: int | None = None) -> RangeState:
    """Return what is known before any batch.

    Args:
        config: The quantiser.
        channels: Number of channels, each with a range of its own; ``None``: one range for all numbers.

    Raises:
        ConfigError: If ``channels`` do not go with the estimator, or a grid of candidates needs a number of bits that
            is traced.
    """
    size = () if channels is None else (channels,)
    zeros = jnp.zeros(size, jnp.float32)
    losses = None
    if isinstance(parameters := config.parameters, MSEEstimatorParams):
        if channels is not None and config.range_estimator is RangeEstimators.cross_entropy:
            raise ConfigError(
                "range_estimator=cross_entropy is not allowed with channels, whose softmax it needs: give MSE"
            )
        losses = Losses(None, (jnp.zeros((), jnp.float32),) * 2, jnp.zeros((), bool))
        if parameters.range_opt_method is OptMethod.grid:
            shape = (*size, parameters.num_candidates, *(() if config.symmetric else (_skews(config), 2)))
            losses = losses._replace(candidates=jnp.zeros(shape, jnp.float32))
    return RangeState(zeros, zeros, jnp.zeros((), jnp.int32), jnp.zeros((), bool), losses)


def _skews(config: QuantConfig) -> int:
    """Return how many shifts of a range a grid of candidates tries, each to both sides."""
    if not isinstance(config.n_bits, int | float):
        raise ConfigError(
            "n_bits as an array is not allowed with symmetric=False and range_opt_method=grid, whose size depends on "
            "it: give one number, or golden_section"
        )
    return max(1, int(2**config.n_bits) // 4)


@arguments.answered
@in_single
def advance_range(config: QuantConfig, state: RangeState, x: Float[Array, "*shape"]) -> RangeState:
    """Return what is known after a batch; a range that is fixed stays, and so does one that sees no numbers.

    ::

        current_minmax   low = min x, high = max x
        allminmax        low = min(low, min x), high = max(high, max x)
        running_minmax   low = m low + (1 - m) min x, and so high; the first batch: those of the batch

    Example:
        >>> import jax.numpy as jnp
        >>> import aihwjax as aj
        >>> config = aj.ActivationQuantConfig(n_bits=8)
        >>> state = advance_range(config, start_range(config), jnp.array([-1.0, 2.0]))
        >>> state = advance_range(config, state, jnp.array([-2.0, 4.0]))
        >>> [round(float(each), 6) for each in (state.low, state.high)]
        [-1.1, 2.2]

    Args:
        config: The quantiser.
        state: What was known.
        x: The batch; with channels, these are the first axis.
    """
    if x.size == 0:
        return state
    x = jax.lax.stop_gradient(x)

    def after(state: RangeState) -> RangeState:
        low, high, losses = _estimated(config, state, x)
        return dataclasses.replace(state, low=low, high=high, batches=state.batches + 1, losses=losses)

    return jax.lax.cond(state.fixed, lambda state: state, after, state)


def _estimated(
    config: QuantConfig, state: RangeState, x: Float[Array, "*shape"]
) -> tuple[Float[Array, "*channels"], Float[Array, "*channels"], Losses | None]:
    parameters, first = config.parameters, state.batches == 0
    match config.range_estimator, parameters:
        case RangeEstimators.current_minmax, CurrentMinMaxEstimatorParams(percentile=p) if p is not None:
            return (*_percentiles(x, p, state.low.ndim > 0), None)
        case RangeEstimators.MSE | RangeEstimators.cross_entropy, MSEEstimatorParams():
            assert state.losses is not None
            return searched(config, parameters, state.losses, first, x, state.low.ndim > 0)
    rows = x.reshape(*state.low.shape, -1)
    low, high = rows.min(axis=-1), rows.max(axis=-1)
    match config.range_estimator, parameters:
        case RangeEstimators.allminmax, _:
            low = jnp.where(first, low, jnp.minimum(low, state.low))
            high = jnp.where(first, high, jnp.maximum(high, state.high))
        case RangeEstimators.running_minmax, RunningMinMaxEstimatorParams(momentum=m):
            low = jnp.where(first, low, (1 - m) * low + m * state.low)
            high = jnp.where(first, high, (1 - m) * high + m * state.high)
    return low, high, None


def _percentiles(
    x: Float[Array, "*shape"], p: Number, channels: bool
) -> tuple[Float[Array, "*channels"], Float[Array, "*channels"]]:
    if not channels:
        return jnp.percentile(x, p), x.max()
    rows = x.reshape(x.shape[0], -1)
    return jnp.percentile(rows, p, axis=-1), jnp.percentile(rows, 100 - p, axis=-1)


@arguments.answered
def range_grid(config: QuantConfig, state: RangeState) -> Grid:
    """Return the grid of a quantiser in its present range.

    Args:
        config: The quantiser.
        state: What is known, of one batch at least.
    """
    return uniform_grid(config.n_bits, config.symmetric, state.low, state.high)


@arguments.answered
def is_unknown(state: RangeState) -> bool:
    """Whether a range is seen not to be known; of a traced one nobody can say.

    Args:
        state: What is known, or a stack of it.
    """
    batches = state.batches
    return not isinstance(batches, jax.core.Tracer) and bool(np.any(np.asarray(batches) == 0))
