"""From x, d and the learning rate to pulse trains (spec: update, section 3)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from aihwjax.derivatives import largest, passed_through, root
from aihwjax.pulses import PulseType, UpdateParameters
from aihwjax.random import Stream
from aihwjax.typing import Number


class Trains(NamedTuple):
    """Train lengths and firing probabilities of a mini-batch of ``n`` vectors."""

    length: jax.Array
    """Number of slots of each vector, ``(n,)`` int32; 0 where nothing fires."""
    columns: jax.Array
    """Firing probability of each column in a slot, ``(n, in)``; above 1 it always fires."""
    rows: jax.Array
    """Firing probability of each row in a slot, ``(n, out)``."""

    def only(self, vectors: jax.Array) -> Trains:
        """Silence all but the marked ``vectors``, ``(n,)`` bool."""
        return self._replace(length=jnp.where(vectors, self.length, 0))


def plan(
    parameters: UpdateParameters,
    granularity: Number,
    x: jax.Array,
    d: jax.Array,
    learning_rate: Number | jax.Array,
    stream: Stream,
    quirks: bool,
) -> Trains:
    """Return the pulse trains that realise ``-learning_rate d x`` on average.

    Args:
        parameters: Pulse parameters.
        granularity: Mean step of the device.
        x: Inputs ``(n, in)``.
        d: Output gradients ``(n, out)``.
        learning_rate: At least 0, one number or one for each vector, ``(n,)``; at 0 nothing fires.
        stream: Randomness of the stochastic rounding.
        quirks: Reproduce the reference's handling of resolutions above 1.
    """
    rate = jnp.asarray(learning_rate, jnp.float32)
    longest = jnp.asarray(parameters.desired_bl, jnp.float32)
    x_abs, d_abs = jnp.abs(x), jnp.abs(d)
    managed = parameters.update_management or parameters.update_bl_management
    n = x.shape[0]
    length = jnp.broadcast_to(longest, (n,))
    amplitude = root(rate / (granularity * longest))
    if not (parameters.fixed_bl or parameters.update_bl_management):
        short = granularity * longest >= rate
        free = jnp.maximum(jnp.ceil(rate / granularity), 1.0)
        length = jnp.broadcast_to(jnp.where(short, longest, free), (n,))
        # the length is a whole number: its derivative, that of its mean, is with the probabilities
        pulses = jnp.where(short, 1.0, rate / granularity)
        amplitude = jnp.where(short, amplitude, root(pulses / stop_gradient(pulses)))
    for_rows = for_columns = jnp.broadcast_to(amplitude, (n,))
    if managed:
        x_max, d_max = largest(x_abs), largest(d_abs)
        silent = (x_max == 0) | (d_max == 0)
        x_max = jnp.where(silent, 1.0, x_max)
        d_scaled = parameters.um_grad_scale * jnp.where(silent, 1.0, d_max)
        needed = rate * x_max * d_scaled / granularity
        if parameters.update_bl_management:
            length = jnp.minimum(jnp.ceil(needed), longest)
            for_rows = for_columns = root(rate / (granularity * jnp.maximum(length, 1.0)))
        d_scaled = jnp.where(needed > longest, d_scaled * longest / jnp.where(needed > longest, needed, 1.0), d_scaled)
        balance = jnp.sqrt(x_max / d_scaled)
        for_rows, for_columns = for_rows * balance, for_columns / balance
        length = jnp.where(silent, 0.0, length)
    length = jnp.where(rate > 0, length, 0.0).astype(jnp.int32)
    columns, rows = for_columns[:, None] * x_abs, for_rows[:, None] * d_abs
    if parameters.pulse_type is PulseType.DETERMINISTIC_IMPLICIT:
        column_field, row_field = "x_res_implicit", "d_res_implicit"
    else:
        column_field = row_field = "res"
    columns = discretise(parameters, column_field, columns, stream.child("columns"), quirks)
    rows = discretise(parameters, row_field, rows, stream.child("rows"), quirks)
    return Trains(length, columns, rows)


def discretise(
    parameters: UpdateParameters, field: str, probability: jax.Array, stream: Stream, quirks: bool
) -> jax.Array:
    """Round firing probabilities to the bins of the resolution called ``field``."""
    if not parameters.present(field):
        return probability
    resolution = jnp.asarray(getattr(parameters, field), jnp.float32)
    if not quirks:  # spec: update, bug 1: above 1 a resolution is a number of steps
        resolution = jnp.where(resolution > 1, 1 / resolution, resolution)
    safe = jnp.where(resolution > 0, resolution, 1.0)
    bins = probability / safe
    if parameters.sto_round:
        bins = bins + stream.uniform(probability.shape) - 0.5
    return jnp.where(resolution > 0, passed_through(bins, jnp.round(bins)) * safe, probability)
