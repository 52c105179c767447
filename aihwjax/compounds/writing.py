"""Writing slices of a tile by pulses: every crosspoint of a slice shares one fired line.

The slices of a block don't interact, so that all are pulsed slot by slot at the same time. This is
the exact process; trains are short and blocks small.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.compounds.blocks import Slices
from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.devices.counts import PulseCounts
from aihwjax.loops import repeat_while
from aihwjax.pulses import PulseType, UpdateParameters
from aihwjax.random import Stream
from aihwjax.tile.pulsed_update.sequential import Weights, one_pulse, restore
from aihwjax.tile.pulsed_update.trains import Trains, plan
from aihwjax.typing import Number


def write(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    lines: jax.Array,
    rate: Number | jax.Array,
    parameters: UpdateParameters,
    slices: Slices,
    stream: Stream,
) -> tuple[DeviceState, jax.Array]:
    """Move a block by ``-rate lines`` on average and return its new state and apparent weights.

    Args:
        device: The device that is written.
        state: Its state; parameters may be those of the whole tile.
        weights: Its apparent weights, of the block alone.
        lines: What to subtract, a line for each slice; 0: no pulses.
        rate: Learning rate, at least 0; one number or one for each slice.
        parameters: How pulses are made.
        slices: The block.
        stream: Randomness.
    """
    ones = jnp.ones((lines.shape[0], 1), jnp.float32)
    x, d = (ones, lines) if slices.columns else (lines, ones)
    now = (device.stored(state, weights), weights)
    counts, state = state.pulses, dataclasses.replace(state, pulses=None)
    kind = parameters.pulse_type
    if kind in (PulseType.NONE, PulseType.NONE_WITH_DEVICE):
        rates = jnp.broadcast_to(jnp.asarray(rate, jnp.float32), (lines.shape[0],))
        step = slices.turned(rates[:, None] * lines)
        state = slices.take(state)
        assert state.max_bound is not None and state.min_bound is not None
        moved = jnp.maximum(jnp.minimum(now[0] - step, state.max_bound), state.min_bound)
        state, apparent = device.store(state, jnp.where(step != 0, moved, now[0]), stream)
        return dataclasses.replace(state, pulses=counts), jnp.where(step != 0, apparent, weights)
    trains = plan(parameters, device.weight_granularity(), x, d, rate, stream.child("plan"), device.reference_quirks)
    trains = trains.only(jnp.any(lines != 0, axis=1))
    numbers = _counted(kind, trains, slices) if kind in _COUNTED else None
    bits, steps = stream.child("lines"), stream.child("steps")
    falls = slices.turned(lines > 0)

    def one_slot(carry: _Carry) -> _Carry:
        slot, current, counted = carry
        if numbers is None:
            fires = _drawn(trains, slices, slot, bits.child(slot))
        else:
            fires = numbers > slot
        fires = slices.turned(fires)
        # cut out here, in one pass over memory: each array for itself would wait for memory alone
        here = slices.take(lax.optimization_barrier((state, slot))[0])
        following, up, down = slot + 1, fires & ~falls, fires & falls
        counted = None if counted is None else counted.and_where(up, down)
        return following, one_pulse(device, here, current, up, down, steps.child(slot)), counted

    longest = jnp.max(trains.length) if numbers is None else jnp.max(numbers)
    start = (jnp.zeros((), jnp.int32), now, counts)
    _, (stored, apparent), counts = repeat_while(lambda carry: carry[0] < longest, one_slot, start)
    return restore(dataclasses.replace(state, pulses=counts), stored, apparent)


_Carry = tuple[jax.Array, Weights, PulseCounts | None]
_COUNTED = (PulseType.MEAN_COUNT, PulseType.DETERMINISTIC_IMPLICIT)


def _probabilities(trains: Trains, slices: Slices) -> tuple[jax.Array, jax.Array]:
    """Return the firing probability of each slice ``(size, 1)`` and of the lines across it."""
    if slices.columns:
        return jnp.minimum(trains.columns, 1.0), jnp.minimum(trains.rows, 1.0)
    return jnp.minimum(trains.rows, 1.0), jnp.minimum(trains.columns, 1.0)


def _drawn(trains: Trains, slices: Slices, slot: jax.Array, stream: Stream) -> jax.Array:
    """Return which crosspoints get a pulse in a slot; one line for each slice."""
    own, others = _probabilities(trains, slices)
    fires = stream.child("slice").uniform(own.shape) < own
    return fires & (stream.child("others").uniform(others.shape) < others) & (slot < trains.length)[:, None]


def _counted(kind: PulseType, trains: Trains, slices: Slices) -> jax.Array:
    """Return the number of pulses at each crosspoint, one line for each slice (spec: update, section 4)."""
    own, others = _probabilities(trains, slices)
    length = trains.length[:, None].astype(jnp.float32)
    if kind is PulseType.MEAN_COUNT:
        counts = jnp.round(length * own) * jnp.round(length * others) / jnp.maximum(length, 1.0)
    else:
        counts = length * own * others
    return jnp.round(counts).astype(jnp.int32)
