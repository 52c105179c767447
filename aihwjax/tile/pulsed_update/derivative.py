"""The derivative of a pulsed update: through the steps of the device, and straight through its pulses.

The update itself runs as always. Its derivative is that of a second way to the same weights:

* the pulses that came act along the mean path from the weight before to that after, whose derivatives with respect to
  weight and device are exact;
* what is left, the noise of the pulses and of their order, is a number of standard deviations, and these have
  derivatives (a reparameterisation);
* how many pulses come has the derivatives of its mean and of its standard deviation (straight through): of a train of
  L slots in which column and row fire with probabilities p and q, L p q and the root of L p q (1 - p q);
* at a bound the weight is the bound.

Bias comes from the third alone, where what follows is not linear in a weight within the spread of its pulses (docs:
gradients of training runs).
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from aihwjax.derivatives import root, with_further_derivative
from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.devices.counts import PulseCounts
from aihwjax.products import outer
from aihwjax.tile.pulsed_update.bit_lines import Route
from aihwjax.tile.pulsed_update.pulse_pass import mean_path, reached, spread_along, step_law
from aihwjax.tile.pulsed_update.sequential import restore
from aihwjax.tile.pulsed_update.span import Span
from aihwjax.tile.pulsed_update.trains import Trains

_T = TypeVar("_T")
_FARTHEST = 6
# A step that changes by more than this from pulse to pulse ends at a bound
_STEEPEST = 0.9
_SMALLEST = 1e-20


class Expected(NamedTuple):
    """What is known of the numbers of pulses of a mini-batch before they are drawn, each ``(out, in)``."""

    mean: jax.Array
    """Mean numbers."""
    variance: jax.Array
    """Their variances."""

    def drawn(self, came: jax.Array) -> jax.Array:
        """Return the numbers of pulses that came, with derivatives of mean and standard deviation.

        Args:
            came: The numbers.
        """
        deviation = stop_gradient(self.mean)
        deviation = (came - deviation) / jnp.maximum(stop_gradient(root(self.variance)), _SMALLEST)
        followed = self.mean + deviation * root(self.variance)
        return came + (followed - stop_gradient(followed))


def held(tree: _T) -> _T:
    """Return a pytree without derivatives; its Python numbers stay what they are.

    Args:
        tree: The pytree.
    """
    return jax.tree.map(lambda leaf: stop_gradient(leaf) if _floating(leaf) else leaf, tree)


def expected(
    trains: Trains,
    x: jax.Array,
    d: jax.Array,
    route: Route,
    span: Span | None,
    draws: bool,
    follows: jax.Array,
) -> tuple[Expected, Expected]:
    """Return what is expected of the numbers of up and of down pulses that a mini-batch brings.

    Args:
        trains: Train lengths and probabilities.
        x: Inputs ``(n, in)``; only their signs matter here.
        d: Output gradients ``(n, out)``; only their signs matter here.
        route: Which coincidences reach the device.
        span: Block of lines that is meant; all of the tile if not given.
        draws: Whether lines fire at random; else numbers are computed and have no spread.
        follows: Of which vectors the length of the trains follows the learning rate, ``(n,)`` bool.
    """
    length = trains.length.astype(jnp.float32)[:, None]
    # where the length follows, what exceeds 1 is rounding
    capped = ~follows[:, None]
    columns, rows = (jnp.where(capped & (each > 1), 1.0, each) for each in (trains.columns, trains.rows))
    columns, rows = columns * jnp.sign(x), rows * jnp.sign(d)
    if span is not None:
        own = span.contains(jnp.arange(x.shape[0])[:, None])
        if span.columns:
            columns = span.narrow(columns, 1) * own
        else:
            rows = span.narrow(rows, 1) * own

    def of_both_signs(rows: jax.Array, columns: jax.Array) -> tuple[jax.Array, jax.Array]:
        columns = length * columns
        total, net = outer(jnp.abs(rows), jnp.abs(columns)), outer(rows, columns)
        return (total - net) / 2, (total + net) / 2

    means = of_both_signs(rows, columns)
    # a length that follows the mean number keeps the probabilities where they are
    across, along = (jnp.where(follows[:, None], stop_gradient(each), each) for each in (rows, columns))
    squares = of_both_signs(rows * jnp.abs(across), columns * jnp.abs(along)) if draws else means
    up, down = (Expected(mean, jnp.maximum(mean - square, 0.0)) for mean, square in zip(means, squares, strict=True))
    none = Expected(jnp.zeros_like(up.mean), jnp.zeros_like(up.mean))
    if route is Route.BOTH:
        return up, down
    return (up if route is Route.UP else down), none


def followed(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    after: tuple[DeviceState, jax.Array],
    counts: PulseCounts,
    numbers: tuple[Expected, Expected],
) -> tuple[DeviceState, jax.Array]:
    """Return what an update led to, with derivatives.

    Args:
        device: The device.
        state: Its state before, that of the block if a block is updated.
        weights: Its apparent weights before.
        after: State and apparent weights after, from :func:`held` arguments.
        counts: The pulses that came.
        numbers: What was expected of the numbers of up and of down pulses.
    """
    new_state, new_weights = after
    start, end = device.stored(state, weights), device.stored(new_state, new_weights)
    moving = device, state, start, numbers
    stored = with_further_derivative(end, _stored, moving, (end, counts))
    if device.write_noise() is None:
        return restore(state, stored, stored)
    moved = counts.up + counts.down > 0
    further = weights, device.write_noise(), start, stored
    apparent = with_further_derivative(new_weights, _apparent, further, (new_weights, end, moved))
    return restore(state, stored, apparent)


def _stored(
    moving: tuple[PulsedDevice, DeviceState, jax.Array, tuple[Expected, Expected]], fixed: tuple[jax.Array, PulseCounts]
) -> jax.Array:
    """Return the stored weights after the pulses; equal to those of the update but for rounding."""
    device, state, start, numbers = moving
    end, counts = fixed
    assert state.max_bound is not None and state.min_bound is not None
    v, used = device.admit(state, device.internal(state, start), counts.up > 0, counts.down > 0)
    up, down = counts.up.astype(jnp.float32), counts.down.astype(jnp.float32)
    if used is not None:
        up, down = up - used.up, down - used.down
    n_up, n_down = numbers[0].drawn(up), numbers[1].drawn(down)
    path = mean_path(device, state, step_law(device, state), v, n_up, n_down, _STEEPEST)
    steps = device.steps(state, v)
    # one pulse is one step, however steep the device is
    drift = jnp.where(up + down > 1, path.drift, n_up * steps.up - n_down * steps.down)
    variance, walk = spread_along(device, state, path, up, down, 1 / jnp.maximum(up + down, 1.0))
    if path.exponent is not None and path.growth is not None:
        spread = path.growth * root(variance + walk * (path.exponent * path.exponent / 12))
    else:
        spread = root(variance)
    reached_end = device.internal(held(state), end)
    rest = stop_gradient(reached_end - (v + drift))
    # what is farther away is no noise of this spread, but rounding, or pulses that turned back at a bound
    deviations = jnp.where(jnp.abs(rest) < _FARTHEST * spread, rest / jnp.where(spread > 0, spread, 1.0), 0.0)
    moved = v + drift + stop_gradient(deviations) * spread
    moved = jnp.where(reached_end >= state.max_bound, state.max_bound, moved)
    moved = jnp.where(reached_end <= state.min_bound, state.min_bound, moved)
    reacts = reached(device, state, jnp.ones(start.shape, bool))
    return jnp.where(reacts, device.external(state, moved), start)


def _apparent(moving: tuple[jax.Array, Any, jax.Array, jax.Array], fixed: tuple[jax.Array, ...]) -> jax.Array:
    """Return the apparent weights after the pulses: fresh noise on the stored ones, or the noise that was there."""
    before, sigma, start, stored = moving
    apparent, end, moved = fixed
    width = stop_gradient(jnp.asarray(sigma, jnp.float32))
    normal = (apparent - end) / jnp.where(width > 0, width, 1.0)
    return jnp.where(moved, stored + sigma * normal, before + (stored - start))


def _floating(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)
