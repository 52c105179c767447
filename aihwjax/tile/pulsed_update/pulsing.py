"""Pulses as an object of their own: made once for a mini-batch, applied to one device or several.

A single device gets its pulses from :func:`update`. A compound makes pulses with :func:`make` and
leads them to its devices with :func:`apply`, each device with noise of its own.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.devices.base import Device, DeviceState, PulsedDevice
from aihwjax.devices.counts import PulseCounts
from aihwjax.pulses import PulseType, UpdateMode, UpdateParameters
from aihwjax.random import Stream
from aihwjax.tile.pulsed_update import aggregated, counted_pulses, counting, derivative, sequential
from aihwjax.tile.pulsed_update.aggregated import Packed
from aihwjax.tile.pulsed_update.bit_lines import Route
from aihwjax.tile.pulsed_update.span import Span
from aihwjax.tile.pulsed_update.trains import Trains, plan
from aihwjax.typing import Number


class Pulses(NamedTuple):
    """The pulse trains of a mini-batch of ``n`` vectors."""

    parameters: UpdateParameters
    """How they are made."""
    mode: UpdateMode
    """Whether they may be applied together."""
    trains: Trains
    """Train lengths and probabilities."""
    x: jax.Array
    """Inputs ``(n, in)``."""
    d: jax.Array
    """Output gradients ``(n, out)``."""
    rate: jax.Array
    """Learning rate of each vector, ``(n,)``; 0: no pulses."""
    stream: Stream
    """Randomness of the lines; the same for all devices that get the pulses."""
    signs: tuple[jax.Array, jax.Array] | None = None
    """Signs ±1 of all columns and all rows, by which choppers turn the direction of the pulses."""
    packed: Packed | None = None
    """The first pulse rows, if they were packed before."""

    def only(self, vectors: jax.Array) -> Pulses:
        """Silence all but the marked ``vectors``, ``(n,)`` bool."""
        trains = self.trains.only(vectors)
        return self._replace(trains=trains, rate=jnp.where(vectors, self.rate, 0.0), packed=None)

    @property
    def drawn(self) -> bool:
        """Whether lines fire at random and coincidences are counted together."""
        return self.mode.aggregated and self.parameters.pulse_type not in (*_EXACT, *_NUMBERS)

    @property
    def lengths_follow(self) -> jax.Array:
        """Of which vectors the length of the trains follows the learning rate, ``(n,)`` bool; the longest does not."""
        if self.parameters.update_bl_management:
            return self.trains.length < self.parameters.desired_bl
        return (self.trains.length > self.parameters.desired_bl) & (not self.parameters.fixed_bl)

    def pack(self, words: int) -> Pulses:
        """Pack the first pulse rows, 32 a word, for several calls of :func:`apply`."""
        if not self.drawn:
            return self
        return self._replace(packed=aggregated.pack(self.trains, self.x, self.d, self.stream, words))

    def laid_out(self, span: Span | None) -> Pulses:
        """Return the pulses with their first pulse rows, of the vectors that reach ``span``, if not packed before."""
        if self.packed is not None:
            return self
        trains = self.trains if span is None else self.trains.only(span.vectors(self.x.shape[0]))
        return self._replace(trains=trains, packed=aggregated.pack(trains, self.x, self.d, self.stream))

    @property
    def turns(self) -> jax.Array | None:
        """Which lines the choppers turn, columns first, then rows, ``(in + out,)`` bool."""
        return None if self.signs is None else jnp.concatenate(self.signs) < 0

    def turned(self, matrix: jax.Array, by_x: bool) -> jax.Array:
        """Return x (or d) with the signs of the choppers."""
        return matrix if self.signs is None else matrix * self.signs[0 if by_x else 1]


_EXACT = (PulseType.NONE, PulseType.NONE_WITH_DEVICE)
_NUMBERS = (PulseType.MEAN_COUNT, PulseType.DETERMINISTIC_IMPLICIT)


def make(
    parameters: UpdateParameters,
    mode: UpdateMode,
    granularity: Number,
    x: jax.Array,
    d: jax.Array,
    learning_rate: Number | jax.Array,
    stream: Stream,
    quirks: bool,
) -> Pulses:
    """Make the pulses that realise ``-learning_rate d x`` on average.

    Args:
        parameters: How pulses are made.
        mode: Whether they may be applied together.
        granularity: Mean step of the device that they are made for.
        x: Inputs ``(n, in)``.
        d: Output gradients ``(n, out)``.
        learning_rate: At least 0, one number or one for each vector.
        stream: Randomness of the lines.
        quirks: Reproduce the reference's bugs.
    """
    rate = jnp.broadcast_to(jnp.asarray(learning_rate, jnp.float32), (x.shape[0],))
    trains = plan(parameters, granularity, x, d, learning_rate, stream.child("plan"), quirks)
    return Pulses(parameters, mode, trains, x, d, rate, stream.child("trains"))


def apply(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    pulses: Pulses,
    stream: Stream,
    route: Route = Route.BOTH,
    span: Span | None = None,
) -> tuple[DeviceState, jax.Array]:
    """Apply pulses to a device and return its new state and apparent weights.

    Args:
        device: The device.
        state: Its state.
        weights: Its apparent weights ``(out, in)``.
        pulses: What to apply.
        stream: Randomness of the steps.
        route: Which coincidences reach the device.
        span: Block of lines that ``weights`` are of.
    """
    if pulses.mode is UpdateMode.DIFFERENTIABLE and pulses.parameters.pulse_type not in _EXACT:
        return _followed(device, state, weights, pulses, stream, route, span)
    if state.pulses is None:
        return _applied(device, state, weights, pulses, stream, route, span)
    if pulses.drawn:
        pulses = pulses.laid_out(span)
    # what is applied knows nothing of counters, which it would carry through each of its loops
    counts, state = state.pulses, dataclasses.replace(state, pulses=None)
    state, weights = _applied(device, state, weights, pulses, stream, route, span)
    return dataclasses.replace(state, pulses=_counted(counts, pulses, route, span)), weights


def _followed(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    pulses: Pulses,
    stream: Stream,
    route: Route,
    span: Span | None,
) -> tuple[DeviceState, jax.Array]:
    """Apply pulses as always, and give the result the derivative of the mean path."""
    silent = dataclasses.replace(state, pulses=None)
    fixed = derivative.held(pulses)
    fixed = fixed.laid_out(span) if fixed.drawn else fixed
    after = _applied(*derivative.held((device, silent, weights)), fixed, stream, route, span)
    counts = _counted(PulseCounts.none(weights.shape), fixed, route, span)
    x, d = pulses.turned(pulses.x, True), pulses.turned(pulses.d, False)
    numbers = derivative.expected(pulses.trains, x, d, route, span, pulses.drawn, pulses.lengths_follow)
    own = silent if span is None else span.cut(silent)
    moved, apparent = derivative.followed(device, own, weights, after, counts, numbers)
    counters = None if state.pulses is None else state.pulses + counts
    return dataclasses.replace(silent, persistent=moved.persistent, pulses=counters), apparent


def _counted(start: PulseCounts, pulses: Pulses, route: Route, span: Span | None) -> PulseCounts:
    """Return the counters of a device, or of its block, after the pulses; exact steps are none."""
    kind = pulses.parameters.pulse_type
    if kind in _EXACT:
        return start
    if kind in _NUMBERS:
        x, d = pulses.turned(pulses.x, True), pulses.turned(pulses.d, False)
        return counting.of_numbers(kind, pulses.trains, x, d, start, route, span)
    packed = pulses.laid_out(span).packed  # where pulses act one by one, lines fire in the same slots
    assert packed is not None
    return counting.of_lines(packed, pulses.x.shape[1], pulses.stream, start, route, span, pulses.turns)


def _applied(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    pulses: Pulses,
    stream: Stream,
    route: Route,
    span: Span | None,
) -> tuple[DeviceState, jax.Array]:
    kind = pulses.parameters.pulse_type
    if span is not None and not pulses.drawn:
        state = span.cut(state)
    if kind in _EXACT:
        return _exact(device, state, weights, pulses, stream, route, span)
    if pulses.drawn:
        pulses = pulses.laid_out(span)
        trains, packed, turns = pulses.trains, pulses.packed, pulses.turns
        assert packed is not None
        return aggregated.update(device, state, weights, trains, packed, pulses.stream, stream, route, span, turns)
    trains, x, d = pulses.trains, pulses.turned(pulses.x, True), pulses.turned(pulses.d, False)
    if kind in _NUMBERS:
        together = pulses.mode.aggregated
        return counted_pulses.update(device, state, weights, kind, trains, x, d, together, stream, route, span)
    return sequential.update(device, state, weights, trains, x, d, pulses.stream, stream, route, span)


def _exact(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    pulses: Pulses,
    stream: Stream,
    route: Route,
    span: Span | None,
) -> tuple[DeviceState, jax.Array]:
    """Exact rank-one steps, one vector after the other, each clipped to the device's bounds."""
    stored = device.stored(state, weights)
    top, bottom = state.max_bound, state.min_bound
    assert top is not None and bottom is not None

    def one_vector(now: jax.Array, entry: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        number, x, d, rate = entry
        step = -rate * d[:, None] * x[None, :]
        if span is not None:
            step = span.matrix(step, number)
        if route is not Route.BOTH:
            step = jnp.maximum(step if route is Route.UP else -step, 0.0)
        return jnp.maximum(jnp.minimum(now + step, top), bottom), None

    count = pulses.x.shape[0]
    x, d = pulses.turned(pulses.x, True), pulses.turned(pulses.d, False)
    moved, _ = lax.scan(one_vector, stored, (jnp.arange(count), x, d, pulses.rate))
    if device.write_noise() is not None and device.reference_quirks:
        moved = stored  # spec: update, bug 3: the step goes to the apparent weights and is lost
    idle = jnp.max(pulses.rate) <= 0
    result = device.store(state, moved, stream)
    return jax.tree.map(lambda new, old: jnp.where(idle, old, new), result, (state, weights))


def update(
    device: Device,
    state: DeviceState,
    weights: jax.Array,
    x: jax.Array,
    d: jax.Array,
    learning_rate: Number | jax.Array,
    parameters: UpdateParameters,
    mode: UpdateMode,
    stream: Stream,
) -> tuple[DeviceState, jax.Array]:
    """Update any device by a mini-batch and return its new state and apparent weights.

    Args:
        device: A device or a compound.
        state: Its state.
        weights: Its apparent weights ``(out, in)``.
        x: Inputs ``(n, in)``.
        d: Output gradients ``(n, out)``.
        learning_rate: At least 0; 0 changes nothing.
        parameters: How pulses are made.
        mode: Whether they may be applied together.
        stream: Randomness.
    """
    if not isinstance(device, PulsedDevice):
        return device.update(state, weights, x, d, learning_rate, parameters, mode, stream)
    quirks = device.reference_quirks
    pulses = make(parameters, mode, device.weight_granularity(), x, d, learning_rate, stream, quirks)
    return apply(device, state, weights, pulses, stream.child("pulses"))
