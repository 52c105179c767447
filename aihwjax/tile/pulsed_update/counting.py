"""How many pulses of a mini-batch reach each crosspoint: what the update applies, added up.

The lines are keyed by vector and slot, so that the same pulse rows can be drawn once more. The update itself
doesn't know of it: a tile that isn't counted runs the same program.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.devices.counts import PulseCounts
from aihwjax.loops import in_strides
from aihwjax.pulses import PulseType
from aihwjax.random import Stream
from aihwjax.tile.pulsed_update import bit_lines
from aihwjax.tile.pulsed_update.aggregated import Packed
from aihwjax.tile.pulsed_update.bit_lines import BITS, Route
from aihwjax.tile.pulsed_update.counted_pulses import arriving
from aihwjax.tile.pulsed_update.span import Span
from aihwjax.tile.pulsed_update.trains import Trains


def of_lines(
    packed: Packed,
    in_size: int,
    stream: Stream,
    start: PulseCounts,
    route: Route = Route.BOTH,
    span: Span | None = None,
    turns: jax.Array | None = None,
) -> PulseCounts:
    """Return the counters after the coincidences of lines that fire at random.

    Args:
        packed: The lines of the mini-batch, with their first pulse rows.
        in_size: Number of columns of the tile.
        stream: Randomness of the lines.
        start: The counters before.
        route: Which coincidences reach the device.
        span: Block of lines that the counters are of; all of the tile if not given.
        turns: Lines whose signs are turned, ``(in + out,)`` bool.
    """
    lines, words = packed.lines, packed.words
    count = words.fires.shape[0]

    def one_group(begin: jax.Array, sums: PulseCounts) -> PulseCounts:
        drawn = lax.cond(
            begin > 0, lambda: bit_lines.pack(lines, begin, count, stream, seldom=True), lambda: words
        ).turned(turns)
        columns = in_size
        if span is not None:
            drawn, columns = span.words(drawn, in_size, lines, begin)
        rows = jnp.minimum(lines.total - begin, count * BITS)
        first = jnp.zeros((), jnp.int32)
        counts = bit_lines.packed_counts(drawn.columns(columns), drawn.rows(columns), first, rows, route)
        return sums + PulseCounts(*bit_lines.split(counts))

    return in_strides(lines.total, count * BITS, one_group, start)


def of_numbers(
    pulse_type: PulseType,
    trains: Trains,
    x: jax.Array,
    d: jax.Array,
    start: PulseCounts,
    route: Route = Route.BOTH,
    span: Span | None = None,
) -> PulseCounts:
    """Return the counters after pulses whose numbers are computed; arguments as :func:`of_lines`.

    Args:
        pulse_type: ``MEAN_COUNT`` or ``DETERMINISTIC_IMPLICIT``.
        trains: Train lengths and probabilities.
        x: Inputs ``(n, in)``.
        d: Output gradients ``(n, out)``.
        start: The counters before.
        route: Which coincidences reach the device.
        span: Block of lines that the counters are of; all of the tile if not given.
    """

    def add(vector: jax.Array, sums: PulseCounts) -> PulseCounts:
        counts = arriving(pulse_type, trains, x, d, vector, route, span)
        return sums + PulseCounts(jnp.maximum(-counts, 0), jnp.maximum(counts, 0))

    return lax.fori_loop(0, x.shape[0], add, start)
