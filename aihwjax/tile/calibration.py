"""Calibrating an input range by inputs that a tile sees, after training (spec: inference, section 12).

Statistics of fixed size are carried from batch to batch, so that any number of batches is one compiled loop. Of a batch
the vectors that are not all zero count, X::

    MAX              c = max(c, max|X|)                             range c
    CACHE_QUANTILE   a random subset of all vectors so far          range: their quantile
    MOVING_QUANTILE  v = quantile of X      r = (n r + v)/(n + 1)   if v > 0, n = n + 1
    MOVING_STD       v = std_alpha std(X)   the same, for the first max_samples batches

Quantiles are of the signed values: after an activation such as ReLU the upper tail is all there is, and inputs of both
signs are taken as symmetric.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from aihwjax import arguments, random, showing
from aihwjax.config.core import clean_enum
from aihwjax.errors import ConfigError, DataError, ShapeError
from aihwjax.precision import in_single
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, checked_count, one_number, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.state import TileState
from aihwjax.typing import Number


class InputRangeCalibrationType(enum.Enum):
    """How an input range is found from inputs."""

    NONE = "None"
    """Not at all: ranges stay as they are."""
    MOVING_STD = "MovingStd"
    """Mean over batches of a multiple of the standard deviation."""
    MOVING_QUANTILE = "MovingQuantile"
    """Mean over batches of a quantile."""
    CACHE_QUANTILE = "CacheQuantile"
    """Quantile of a random subset of all inputs."""
    MAX = "Max"
    """Largest magnitude of all inputs."""

    @property
    def moving(self) -> bool:
        """Whether products apply the range while it is being found."""
        return self in (InputRangeCalibrationType.MOVING_STD, InputRangeCalibrationType.MOVING_QUANTILE)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RangeSearch(showing.Record):
    """How a range is searched for: numbers are traced, choices are not."""

    method: InputRangeCalibrationType = dataclasses.field(metadata={"static": True})
    """The statistic."""
    max_samples: int = dataclasses.field(metadata={"static": True})
    """Vectors that ``CACHE_QUANTILE`` keeps, batches that ``MOVING_STD`` takes."""
    quantile: Float[Array, "*stack"]
    """The quantile, from 0 to 1."""
    above: Float[Array, "*stack"]
    """1 minus the quantile, which close to 1 single precision has no room for otherwise."""
    std_alpha: Float[Array, "*stack"]
    """Number of standard deviations of ``MOVING_STD``."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RangeStatistics(showing.Record):
    """What is known of the inputs of a tile so far."""

    value: Float[Array, "*stack"]
    """Largest magnitude, or the moving range."""
    count: Int[Array, "*stack"]
    """Vectors that are kept, or batches that have moved the range; of ``MAX`` batches with a number other than 0."""
    kept: Float[Array, "*stack samples in"] | None
    """Vectors that ``CACHE_QUANTILE`` keeps, ``(max_samples, in)``, the first ``count`` of them."""


def search(method: object, quantile: object, max_samples: object, std_alpha: Number) -> RangeSearch:
    """Return a search with checked arguments.

    Args:
        method: An :class:`InputRangeCalibrationType` or its name.
        quantile: From 0 to 1.
        max_samples: A whole number of at least 1.
        std_alpha: A number above 0, checked before; see :func:`checked_alpha`.

    Raises:
        ConfigError: If one of them is not allowed.
    """
    kind = clean_enum("method", method, InputRangeCalibrationType)
    samples = checked_count("max_samples", max_samples)
    part = one_number("quantile", quantile)
    if not isinstance(part, jax.core.Tracer) and not 0 <= float(np.asarray(part)) <= 1:
        raise ConfigError(f"quantile={part!r} is not allowed: give a number from 0 to 1")
    numbers = (jnp.asarray(number, jnp.float32) for number in (part, 1 - part, std_alpha))
    return RangeSearch(kind, samples, *numbers)


def checked_alpha(value: object) -> Number:
    """Return a number of standard deviations, refused if it is no finite number above 0.

    Args:
        value: The number; it may be traced.

    Raises:
        ConfigError: If it is not allowed.
    """
    alpha = one_number("std_alpha", value)
    if not isinstance(alpha, jax.core.Tracer) and not 0 < float(np.asarray(alpha)) < np.inf:
        raise ConfigError(f"std_alpha={alpha!r} is not allowed: give a finite number above 0")
    return alpha


def started(how: RangeSearch, in_size: int, value: Float[Array, ""], count: Int[Array, ""]) -> RangeStatistics:
    """Return the statistics before any input.

    Args:
        how: The search.
        in_size: Number of inputs of the tile.
        value: The range to start from.
        count: Number of batches that count as seen already, of the moving kinds.
    """
    if how.method.moving:
        return RangeStatistics(value, count, None)
    cached = how.method is InputRangeCalibrationType.CACHE_QUANTILE
    kept = jnp.zeros((how.max_samples, in_size), jnp.float32) if cached else None
    return RangeStatistics(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), kept)


def seen(how: RangeSearch, statistics: RangeStatistics, x: Float[Array, "*batch in"], key: Noise) -> RangeStatistics:
    """Return the statistics after a batch of inputs.

    Args:
        how: The search.
        statistics: Those before.
        x: Inputs ``(..., in)``.
        key: Source of the random subset.
    """
    x = jnp.reshape(x, (-1, x.shape[-1]))
    live, largest = jnp.any(x != 0, axis=1), jnp.max(jnp.abs(x), initial=0.0)
    old, n = statistics.value, statistics.count
    match how.method:
        case InputRangeCalibrationType.MAX:
            return dataclasses.replace(statistics, value=jnp.maximum(old, largest), count=n + (largest > 0))
        case InputRangeCalibrationType.CACHE_QUANTILE:
            assert statistics.kept is not None
            kept, n = _subset(statistics.kept, n, x, live, key)
            return dataclasses.replace(statistics, kept=kept, count=n)
        case InputRangeCalibrationType.MOVING_QUANTILE:
            v = jnp.where(how.above <= 0, largest, _quantile(how, x, live))
            moves = v > 0
        case InputRangeCalibrationType.MOVING_STD:
            v = how.std_alpha * _std(x, live)
            moves = (v > 0) & (n < how.max_samples)
        case _:
            return statistics
    return dataclasses.replace(statistics, value=jnp.where(moves, (n * old + v) / (n + 1), old), count=n + moves)


def found(how: RangeSearch, statistics: RangeStatistics) -> Float[Array, ""]:
    """Return the range that statistics lead to; 0 or below where there is none, and without inputs.

    Args:
        how: The search.
        statistics: After the last batch.
    """
    if statistics.kept is None:
        return jnp.where(statistics.count > 0, statistics.value, 0.0)
    live = jnp.arange(how.max_samples) < statistics.count
    return jnp.where(statistics.count > 0, _quantile(how, statistics.kept, live), 0.0)


def _subset(
    kept: Float[Array, "samples in"],
    count: Int[Array, ""],
    x: Float[Array, "n in"],
    live: Bool[Array, " n"],
    key: Noise,
) -> tuple[Float[Array, "samples in"], Int[Array, ""]]:
    """Return a random subset of the vectors that were kept and those that are new, and its number."""
    size = kept.shape[0]
    valid = jnp.concatenate([jnp.arange(size) < count, live])
    order = random.stream(key, random.NoiseEngine.COUNTER).uniform(valid.shape)
    chosen = jnp.argsort(jnp.where(valid, order, 2.0))[:size]
    return jnp.concatenate([kept, x])[chosen], jnp.minimum(valid.sum(dtype=jnp.int32), size)


def _quantile(how: RangeSearch, x: Float[Array, "n in"], live: Bool[Array, " n"]) -> Float[Array, ""]:
    """Return the quantile of the signed numbers of some vectors, linear between neighbours; infinite without any."""
    ordered = jnp.sort(jnp.where(live[:, None], x, jnp.inf).ravel())
    last = live.sum(dtype=jnp.int32) * x.shape[1] - 1

    def at(place: Int[Array, ""]) -> Float[Array, ""]:
        return ordered[jnp.clip(place, 0, jnp.maximum(last, 0))]

    # counted from the nearer end: single precision has no room for places in a long list
    from_top = how.above < how.quantile
    steps = jnp.where(from_top, how.above, how.quantile) * last.astype(jnp.float32)
    whole = jnp.floor(steps)
    rest, number = steps - whole, whole.astype(jnp.int32)
    first = jnp.where(from_top, last - number, number)
    second = jnp.where(from_top, first - 1, first + 1)
    low = at(first)
    value = low + rest * (at(second) - low)
    return jnp.where(last >= 0, value, 0.0)


def _std(x: Float[Array, "n in"], live: Bool[Array, " n"]) -> Float[Array, ""]:
    """Return the standard deviation of the numbers of some vectors, with N - 1; 0 of a single number."""
    total = live.sum(dtype=jnp.int32) * x.shape[1]
    mean = jnp.where(live[:, None], x, 0.0).sum() / jnp.maximum(total, 1)
    squares = jnp.where(live[:, None], jnp.square(x - mean), 0.0).sum()
    return jnp.sqrt(squares / jnp.maximum(total - 1, 1))


@arguments.answered
@in_single
def calibrate(
    config: TileConfig,
    state: TileState,
    batches: Float[Array, "batches n in"],
    method: InputRangeCalibrationType | str = InputRangeCalibrationType.CACHE_QUANTILE,
    *,
    key: Noise,
    quantile: Number = 0.99995,
    max_samples: int = 1000,
    std_alpha: Number | None = None,
) -> TileState:
    """Find the input range of a tile from inputs; its products and updates apply it from now on.

    A whole model is calibrated by :func:`aihwjax.calibrate`, which lets each tile see what the tiles before it make of
    the data.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import aihwjax as aj
        >>> config = aj.InferenceRPUConfig()
        >>> state = aj.tile.init(config, jax.random.key(0), (2, 3))
        >>> x = jnp.linspace(-1.5, 1.5, 30).reshape(2, 5, 3)
        >>> state = aj.tile.calibrate(config, state, x, "MAX", key=jax.random.key(1))
        >>> float(state.input_range)
        1.5

    Args:
        config: The tile's configuration.
        state: The tile.
        batches: Inputs ``(batches, n, in)``; ``(n, in)`` is one batch.
        method: The statistic, or its name.
        key: Source of the random subset of ``CACHE_QUANTILE``.
        quantile: Of the quantile kinds, from 0 to 1.
        max_samples: Vectors that ``CACHE_QUANTILE`` keeps, batches that ``MOVING_STD`` takes.
        std_alpha: Standard deviations of ``MOVING_STD``; ``None``: ``pre_post.input_range.init_std_alpha``.

    Raises:
        ConfigError: If an argument is not allowed.
        ShapeError: If the inputs do not fit the tile.
        DataError: If the inputs are no real numbers, or none of them gives a range above 0. Inside a traced function
            the range is NaN then.
        NonFiniteError: If an input is NaN or infinite (not checked inside a traced function).
    """
    parameter = config.pre_post.input_range
    how = search(
        method, quantile, max_samples, parameter.init_std_alpha if std_alpha is None else checked_alpha(std_alpha)
    )
    key, x = random.as_noise(key), as_numbers("batches", batches)
    if jnp.ndim(x) not in (2, 3) or jnp.shape(x)[-1] != state.shape[1]:
        raise ShapeError(f"batches have shape {jnp.shape(x)}: give (batches, n, {state.shape[1]})")
    require_finite("batches", x)
    if how.method is InputRangeCalibrationType.NONE:
        return state
    x = jnp.asarray(x, jnp.float32).reshape(-1, *jnp.shape(x)[-2:])
    value = _over_batches(how, jnp.asarray(parameter.init_value, jnp.float32), x, key)
    if not isinstance(value, jax.core.Tracer) and not float(value) > 0:
        raise DataError(f"batches give the input range {float(value):g}, {nothing(how)}")
    value = jnp.where(value > 0, value, jnp.nan)
    return dataclasses.replace(state, input_range=value, input_range_count=jnp.zeros((), jnp.int32))


def nothing(how: RangeSearch) -> str:
    """Return what to do about inputs that give no range, for an error."""
    other = "" if how.method is InputRangeCalibrationType.MAX else ", another quantile or method='MAX'"
    return f"which is not allowed: give inputs other than 0{other}"


@jax.jit
def _over_batches(
    how: RangeSearch, start: Float[Array, ""], batches: Float[Array, "batches n in"], key: Noise
) -> Float[Array, ""]:
    def turn(statistics: RangeStatistics, numbered: tuple[jax.Array, jax.Array]) -> tuple[RangeStatistics, None]:
        number, x = numbered
        return seen(how, statistics, x, random.derive(key, number)), None

    first = started(how, batches.shape[-1], start, jnp.zeros((), jnp.int32))
    return found(how, lax.scan(turn, first, (jnp.arange(batches.shape[0]), batches))[0])
