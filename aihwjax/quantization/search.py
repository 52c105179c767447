"""The range of a quantiser by search: candidates on a grid, or golden sections (spec: layers, section 12).

Ranges reach from -r to r, or from 0 to r if the first batch has no negative number. An asymmetric one is also shifted,
by up to a quarter of its steps to either side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from aihwjax.quantization.config import MSEEstimatorParams, OptMethod, QuantConfig, RangeEstimators
from aihwjax.quantization.grid import power, quantize, uniform_grid

Range: TypeAlias = tuple[Float[Array, "*channels"], Float[Array, "*channels"]]
"""Lower and upper end."""
_Loss: TypeAlias = Callable[[Float[Array, "*n"], Float[Array, ""], Float[Array, ""]], Float[Array, ""]]

_GOLDEN = 0.6180339887
_SECTIONS = 24
"""Golden sections of a search: then the interval is a hundred thousandth of what it was."""


class Losses(NamedTuple):
    """What a search knows."""

    candidates: Float[Array, ...] | None
    """Loss ``(channels, candidates)`` over all batches, of asymmetric ranges of each shift and its sign too; ``None``
    without candidates."""
    ends: Range
    """Smallest and largest number of the first batch, less and more the margin."""
    one_sided: Bool[Array, ""]
    """Whether the first batch has no negative number."""


def searched(
    config: QuantConfig,
    parameters: MSEEstimatorParams,
    losses: Losses,
    first: Bool[Array, ""],
    x: Float[Array, "*shape"],
    channels: bool,
) -> tuple[Float[Array, "*channels"], Float[Array, "*channels"], Losses]:
    """Return the range of the smallest loss, and what is known then.

    Args:
        config: The quantiser.
        parameters: How to search.
        losses: What is known.
        first: Whether this is the first batch.
        x: The batch, ``(n,)``; with channels these are the first axis.
        channels: Whether each channel has a range of its own.
    """
    one_sided = jnp.where(first, x.min() >= 0, losses.one_sided)
    now = x.min() - parameters.range_margin, x.max() + parameters.range_margin
    ends = jnp.where(first, now[0], losses.ends[0]), jnp.where(first, now[1], losses.ends[1])
    reach = jnp.maximum(-ends[0], ends[1])
    loss = _loss(config)
    if parameters.range_opt_method is OptMethod.golden_section:

        def golden(x: Float[Array, "*n"]) -> Range:
            return _by_sections(config, loss, x, reach, one_sided)

        low, high = jax.vmap(golden)(x.reshape(x.shape[0], -1)) if channels else golden(x)
        return low, high, Losses(None, ends, one_sided)

    def tried(x: Float[Array, "*n"], before: Float[Array, "candidates ..."]) -> tuple[Range, Float[Array, ...]]:
        return _by_candidates(config, parameters, loss, x, before, reach, one_sided, ends)

    assert losses.candidates is not None
    rows = x.reshape(x.shape[0], -1) if channels else x
    (low, high), after = (jax.vmap(tried) if channels else tried)(rows, losses.candidates)
    return low, high, Losses(after, ends, one_sided)


def _loss(config: QuantConfig) -> _Loss:
    """Return the loss of numbers that are quantised in a range."""

    def squared(x: Float[Array, "*n"], low: Float[Array, ""], high: Float[Array, ""]) -> Float[Array, ""]:
        grid = uniform_grid(config.n_bits, config.symmetric, low, high)
        return ((x - quantize(x, grid, config.n_bits)) ** 2).sum()

    def entropy(x: Float[Array, "*n"], low: Float[Array, ""], high: Float[Array, ""]) -> Float[Array, ""]:
        grid = uniform_grid(config.n_bits, config.symmetric, low, high)
        coarse = quantize(x, grid, config.n_bits)
        return -(jax.nn.softmax(x, axis=-1) * jax.nn.log_softmax(coarse, axis=-1)).sum()

    return entropy if config.range_estimator is RangeEstimators.cross_entropy else squared


# ------------------------------------------------------------------------ candidates
def _by_candidates(
    config: QuantConfig,
    parameters: MSEEstimatorParams,
    loss: _Loss,
    x: Float[Array, "*n"],
    before: Float[Array, "candidates ..."],
    reach: Float[Array, ""],
    one_sided: Bool[Array, ""],
    ends: Range,
) -> tuple[Range, Float[Array, ...]]:
    """Return the best candidate by the sum of its losses, and the sums."""
    r = jnp.arange(1, parameters.num_candidates + 1) * (reach / parameters.num_candidates)
    low, high = jnp.where(one_sided, 0.0, -r), r
    if not config.symmetric:
        number = jnp.arange(before.shape[1])[None, :, None]
        skew = number * jnp.array([1.0, -1.0]) * (2 * r / (power(config.n_bits) - 1))[:, None, None]
        # a two-sided one stays within the ends
        wide = jnp.maximum(-r[:, None, None] + skew, ends[0]), jnp.minimum(r[:, None, None] + skew, ends[1])
        low = jnp.where(one_sided, 0.0, wide[0])
        high = jnp.where(one_sided, jnp.broadcast_to(r[:, None, None], skew.shape), wide[1])
    each = lax.map(lambda both: loss(x, *both), (low.reshape(-1), high.reshape(-1))).reshape(before.shape)
    after = before + each
    best = jnp.argmin(after)
    return (low.reshape(-1)[best], high.reshape(-1)[best]), after


# -------------------------------------------------------------------- golden sections
def _by_sections(
    config: QuantConfig, loss: _Loss, x: Float[Array, "*n"], reach: Float[Array, ""], one_sided: Bool[Array, ""]
) -> Range:
    """Return the range whose loss of this batch is smallest, of those from a hundredth of the reach on."""

    def centred(r: Float[Array, ""]) -> Float[Array, ""]:
        return loss(x, jnp.where(one_sided, 0.0, -r), r)

    def middle() -> Range:
        r = _smallest(centred, 0.01 * reach, reach)
        return jnp.where(one_sided, 0.0, -r), r

    def best_shift(r: Float[Array, ""]) -> Float[Array, ""]:
        most = 2 * r / (power(config.n_bits) - 1) * jnp.floor(power(config.n_bits) / 4)
        return _smallest(lambda shift: loss(x, shift - r, shift + r), -most, most)

    def shifted() -> Range:
        def of(r: Float[Array, ""]) -> Float[Array, ""]:
            shift = best_shift(r)
            return loss(x, shift - r, shift + r)

        r = _smallest(of, 0.01 * reach, reach)
        shift = best_shift(r)
        return shift - r, shift + r

    return middle() if config.symmetric else lax.cond(one_sided, middle, shifted)


def _smallest(
    function: Callable[[Float[Array, ""]], Float[Array, ""]], low: Float[Array, ""], high: Float[Array, ""]
) -> Float[Array, ""]:
    """Return where a function is smallest between two numbers, by golden sections."""
    width = high - low
    inner, outer = high - _GOLDEN * width, low + _GOLDEN * width
    start = low, high, inner, outer, function(inner), function(outer)

    def turn(_: int, known: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        low, high, inner, outer, at_inner, at_outer = known
        left = at_inner < at_outer
        low, high = jnp.where(left, low, inner), jnp.where(left, outer, high)
        new = jnp.where(left, high - _GOLDEN * (high - low), low + _GOLDEN * (high - low))
        value = function(new)
        return (
            low,
            high,
            jnp.where(left, new, outer),
            jnp.where(left, inner, new),
            jnp.where(left, value, at_outer),
            jnp.where(left, at_inner, value),
        )

    _, _, inner, outer, at_inner, at_outer = lax.fori_loop(0, _SECTIONS, turn, start)
    return jnp.where(at_inner < at_outer, inner, outer)
