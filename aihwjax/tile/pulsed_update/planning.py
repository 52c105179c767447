"""How many pulses may be applied together: the regimes of the aggregated update.

All decisions are run-time numbers: nothing recompiles. The limits are on the page "physics: update".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.products import outer
from aihwjax.tile.pulsed_update.span import Span
from aihwjax.tile.pulsed_update.trains import Trains


class Limits(NamedTuple):
    """Largest errors of a pass (docs: physics of the update).

    With N pulses at the busiest crosspoint: ``slope`` bounds N |d step / d w|, ``edge`` bounds
    N (step / half range)^2 (1 + sigma^2), ``travel`` bounds N step / half range.
    """

    slope: float
    edge: float
    travel: float


FINE = Limits(slope=0.02, edge=1e-3, travel=0.03)
MEDIUM = Limits(slope=0.1, edge=0.02, travel=0.02)
# Bound on sqrt(N h) step / half range, for pulses that come in lumps of h: how far the way of N pulses depends on
# their order. It is enough where it allows more than the bound on the travel
_ORDER = 0.02
# A medium chunk with fewer rows costs more than the exact pass
_SHORTEST_CHUNK = 16
# Bound on N |d step / d w| for the pulses of one vector in a pass, which have one sign and no order: the mean path
# is exact for an affine step
_BURST_SLOPE = {"constant": 0.3, "affine": 0.3, "nonlinear": 0.1}
# The same where a pass is of several such vectors, whose order is not kept
_MIXED_SLOPE = 0.15
# The same where a pass is one vector and nothing else
_VECTOR_SLOPE = {"constant": 0.5, "affine": 0.5, "nonlinear": 0.1}
# A smaller share of crosspoints within reach of a bound is not waited for
_FEW = 1e-3
# Limits that come from the bounds hold where this share of crosspoints or more can reach one; where fewer can, they
# are wider in proportion, at most so many times
_MANY = 0.01
_WIDEST = 4.0
# Crosspoints that are looked at
_SAMPLE = 16_384
# Spread of the reach over crosspoints and over the noise of their pulses
_REACH = 1.5
_REACH_NOISE = 3.0


class Plan(NamedTuple):
    """How the pulse rows of a mini-batch are applied."""

    fine: jax.Array
    """Whether all pulse rows may be applied at first order."""
    chunk: jax.Array
    """Most pulse rows of a medium pass; 0: apply them one by one; below 0: a vector a pass."""
    burst: jax.Array
    """Mean number of pulses at a crosspoint that come together with one sign."""
    free: jax.Array
    """Whether the bounds are out of reach of medium passes."""


class Coarseness(NamedTuple):
    """What one pulse contributes to each of the :class:`Limits`."""

    slope: jax.Array
    edge: jax.Array
    travel: jax.Array
    step: jax.Array
    """Step over half range."""

    def is_fine(self, pulses: jax.Array, longest: jax.Array) -> jax.Array:
        """Whether ``pulses`` pulses, in trains of at most ``longest`` slots, may be applied at first order."""
        first = (pulses * self.slope < FINE.slope) & (pulses * self.travel < FINE.travel)
        return first & (pulses * self.edge * longest < FINE.edge)


def coarseness(device: PulsedDevice, state: DeviceState, vectors: int) -> Coarseness:
    """Return how coarse a device is for an update by a number of vectors."""
    assert state.coarseness is not None
    slope, step = state.coarseness[0], state.coarseness[1]
    noise = jnp.asarray(device.dw_min_std) ** 2
    edge, travel = step * step * (1.0 + noise), step
    if vectors == 1:  # all pulses of a vector at a crosspoint have one sign: only noise turns back
        edge, travel = step * step * noise, jnp.zeros_like(step)
    if not device.meets_bounds():
        travel = jnp.zeros_like(step)
    return Coarseness(slope, edge, travel, step)


def plan(
    device: PulsedDevice,
    state: DeviceState,
    trains: Trains,
    total: jax.Array,
    stored: jax.Array,
    span: Span | None = None,
    load: Load | None = None,
) -> Plan:
    """Decide how many pulse rows may be applied together.

    The number of pulses at the busiest crosspoint follows from the line probabilities; with the
    device's mean slope and its step over half range it tells how far a pass would be wrong. Where
    few crosspoints can reach a bound, what bounds ask for is relaxed; where hardly any can, only the slope counts.
    """
    pulse = coarseness(device, state, trains.length.shape[0])
    longest = jnp.max(trains.length).astype(jnp.float32)
    rows = total.astype(jnp.float32)

    def easy() -> Plan:
        return Plan(jnp.asarray(True), total, jnp.asarray(1.0), jnp.asarray(True))

    def careful() -> Plan:
        weight = trains.length.astype(jnp.float32)
        by_column, by_row, both = load_of(trains) if load is None else load
        pulses = jnp.maximum(jnp.max(by_column) * jnp.max(by_row) / jnp.maximum(rows, 1.0), 1e-30)
        noise = jnp.asarray(device.dw_min_std)
        lumps = _burst(trains, both, rows)
        # what the noise of the pulses moves hides in which order they came
        way = (1 + noise) / jnp.maximum(pulse.travel, 1e-30)
        allowed = jnp.maximum(MEDIUM.travel * way, (_ORDER * way) ** 2 / lumps)
        edges = jnp.maximum(pulse.edge / MEDIUM.edge, 1 / allowed)
        free = jnp.asarray(not device.meets_bounds())
        if device.meets_bounds():
            if span is not None:
                by_column = span.narrow(by_column, 0) if span.columns else by_column
                by_row = by_row if span.columns else span.narrow(by_row, 0)
            most = MEDIUM.slope / jnp.maximum(pulse.slope, 1e-30)
            reach = partial(_reach, step=pulse.step, noise=noise, most=most)
            own = state if span is None else span.cut(state)
            share = _within_reach(device, own, stored, by_row / jnp.maximum(rows, 1.0), by_column, reach)
            free = share < _FEW
            edges = edges / jnp.clip(_MANY / jnp.maximum(share, _FEW), 1.0, _WIDEST)
        edges = jnp.where(free, 0.0, edges)
        worst = jnp.maximum(pulse.slope / MEDIUM.slope, edges)
        part = jnp.minimum(1 / jnp.maximum(pulses * worst, 1e-30), 1.0)
        # pulses of one vector at a busy crosspoint come together; if they are many, a chunk may be all of that vector
        lump = jnp.max(weight * both) * pulse.slope
        most = _BURST_SLOPE[device.step_law] / jnp.maximum(pulse.slope * jnp.max(both), 1e-30)
        most = jnp.where(lump < min(_MIXED_SLOPE, _BURST_SLOPE[device.step_law]), rows, most)
        chunk = jnp.floor(jnp.minimum(rows * part, most)).astype(jnp.int32)
        burst = _burst(trains, both, chunk.astype(jnp.float32))
        fine = pulse.is_fine(pulses, longest) | (free & (pulses * pulse.slope < FINE.slope))
        chunk = jnp.where(chunk < _SHORTEST_CHUNK, 0, chunk)
        # all pulses of one vector at a crosspoint have one sign: where trains are long, a pass a vector is nearly exact
        straight = (lump < _VECTOR_SLOPE[device.step_law]) & (
            jnp.max(weight * both) * (pulse.step * noise) ** 2 < MEDIUM.edge
        )
        mean_length = rows / jnp.maximum(jnp.sum(trains.length > 0), 1)
        by_vector = straight & (mean_length > jnp.maximum(chunk, _SHORTEST_CHUNK))
        return Plan(fine, jnp.where(by_vector, -1, chunk), burst, free)

    # the number of pulse rows bounds the number of pulses: usually that settles it
    decision = lax.cond(pulse.is_fine(rows, longest), easy, careful)
    if not device.strays():
        return decision
    order = pulses_strays(device, state, stored, trains, span)
    return decision._replace(fine=decision.fine & ~order, chunk=jnp.where(order, 0, decision.chunk))


def pulses_strays(
    device: PulsedDevice, state: DeviceState, stored: jax.Array, trains: Trains, span: Span | None
) -> jax.Array:
    """Return whether a weight outside its bounds may get a pulse: what follows depends on its first one."""
    state = state if span is None else span.cut(state)
    assert state.max_bound is not None and state.min_bound is not None
    v, live = device.internal(state, stored), (trains.length > 0)[:, None]
    columns, rows = (jnp.any((lines > 0) & live, axis=0) for lines in (trains.columns, trains.rows))
    if span is not None:
        columns = span.narrow(columns, 0) if span.columns else columns
        rows = rows if span.columns else span.narrow(rows, 0)
    outside = (v > state.max_bound) | (v < state.min_bound)
    return jnp.any(outside & rows[:, None] & columns[None, :])


def _burst(trains: Trains, both: jax.Array, rows: jax.Array) -> jax.Array:
    """Return the mean number of pulses at a busy crosspoint that come together with one sign, in so many rows."""
    weight = trains.length.astype(jnp.float32)
    together = jnp.maximum(jnp.minimum(weight, rows) - 1, 0.0)
    return 1 + jnp.sum(weight * together * both**2) / jnp.maximum(jnp.sum(weight * both), 1e-30)


def _reach(pulses: jax.Array, *, step: jax.Array, noise: jax.Array, most: jax.Array) -> jax.Array:
    """Return how far pulses come, over half the range; ``most`` at a time."""
    pulses = jnp.minimum(pulses, most)
    return _REACH * step * (pulses + _REACH_NOISE * noise * jnp.sqrt(pulses))


def _within_reach(
    device: PulsedDevice,
    state: DeviceState,
    stored: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    reach: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Return the share of crosspoints at which ``rows x columns`` pulses can reach a bound; of a sample of rows."""
    stride = max(stored.size // _SAMPLE, 1)

    def sample(array: jax.Array) -> jax.Array:
        return array[::stride] if array.shape == stored.shape else array

    (state, now), chosen = jax.tree.map(sample, (state, stored)), rows[::stride]
    assert state.max_bound is not None and state.min_bound is not None
    v = device.internal(state, now)
    room = jnp.minimum(state.max_bound - v, v - state.min_bound)
    half = (state.max_bound - state.min_bound) / 2
    near = room < reach(chosen[:, None] * columns[None, :]) * half
    return jnp.mean(near.astype(jnp.float32))


class Load(NamedTuple):
    """What the pulse trains of a mini-batch bring."""

    columns: jax.Array
    """Mean number of slots in which a column fires, ``(in,)``."""
    rows: jax.Array
    """The same of rows, ``(out,)``."""
    both: jax.Array
    """Probability that the busiest crosspoint of a vector gets a pulse in a slot, ``(n,)``."""


def load_of(trains: Trains) -> Load:
    """Return the load of pulse trains."""
    weight = trains.length.astype(jnp.float32)
    p, q = jnp.minimum(trains.columns, 1.0), jnp.minimum(trains.rows, 1.0)
    both = jnp.where(trains.length > 0, jnp.max(p, axis=1) * jnp.max(q, axis=1), 0.0)
    columns, rows = outer(weight[:, None], p)[0], outer(weight[:, None], q)[0]
    return Load(columns, rows, both)
