"""Tiki-Taka with choppers: signs that flip now and then remove what is not gradient (c-TTv2).

Spec: compounds, section 8; Rasch et al., Nature Communications 2024.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.compounds.blocks import Slices, slice_count
from aihwjax.compounds.buffered import single_pulse, whole_steps
from aihwjax.compounds.cells import CellState
from aihwjax.compounds.moves import Memory, Reads
from aihwjax.compounds.transfer import TransferBase
from aihwjax.config import configclass, not_positive, number, part, zero
from aihwjax.devices.base import PulsedDevice
from aihwjax.errors import ConfigError
from aihwjax.pulses import UpdateParameters
from aihwjax.tile.pulsed_update.pulsing import Pulses
from aihwjax.typing import Number, Shape


def negative(value: float) -> bool:
    """Off condition of a period that is automatic below zero."""
    return value < 0


@configclass
class ChoppedBase(TransferBase):
    """Base of the chopped compounds: choppers, automatic scales and the buffer, in steps.

    Memory: ``buffer`` in steps, a line for each slice; choppers ``in`` of each slice and ``out`` of each line
    across (±1), ``sweeps`` done, running maxima ``x_max`` and ``d_max``.
    """

    transfer_every: Number = number(1.0, off=negative, infinite=True)
    """Time between reads, in vectors or mini-batches; infinity: never; below 0 it is set from the device's states."""
    units_in_mbatch: bool = False
    """Whether ``transfer_every`` counts mini-batches, else vectors."""
    scale_fast_lr: bool = False
    """Whether ``fast_lr`` is a factor on the optimizer's learning rate."""
    transfer_update: UpdateParameters = part(single_pulse)
    """Pulses of the writes; ``desired_bl`` also bounds the steps of a write."""
    in_chop_prob: Number = number(0.1, minimum=0, maximum=1)
    """Probability that the chopper of a slice flips after a read; its inverse is the period if not random."""
    in_chop_random: bool = True
    """Whether choppers flip at random, else regularly."""
    out_chop_prob: Number = number(0.0, minimum=0, maximum=1, off=zero)
    """Probability that the chopper of a line across the slices flips after a full sweep."""
    buffer_granularity: Number = number(1.0)
    """Buffer content that makes a step, in units of the fast device's granularity; 1 at 0 and below."""
    auto_granularity: Number = number(0.0, off=not_positive)
    """Number of vectors after which a full gradient makes a step, whatever the size of the tile; 0: off."""
    step: Number = number(1.0)
    """Size of a written step, in units of the slow device's granularity."""
    momentum: Number = number(0.0)
    """Part of the buffer that stays after a step."""
    forget_buffer: bool = True
    """Whether a step clears the buffer down to ``momentum``, else only what was written is subtracted."""
    no_buffer: bool = False
    """Whether every read starts from an empty buffer."""
    auto_scale: bool = False
    """Whether the rate of the fast device follows the running maxima of x and d."""
    auto_momentum: Number = number(0.99, minimum=0, maximum=1)
    """Inertia of the running maxima, per mini-batch."""
    correct_gradient_magnitudes: bool = False
    """Whether the transfer is corrected for the rate of the fast device and the ratio of granularities."""

    at_once: ClassVar[tuple[str, ...]] = (
        "in_chop_prob", "in_chop_random", "out_chop_prob", "buffer_granularity", "auto_granularity", "step",
        "momentum", "forget_buffer", "no_buffer", "auto_scale", "auto_momentum", "correct_gradient_magnitudes",
    )  # fmt: skip

    def validate(self) -> None:
        super().validate()
        name = type(self).__name__
        if len(self.unit_cell_devices) != 2:
            raise ConfigError(f"{name}.unit_cell_devices has {len(self.unit_cell_devices)} entries: give two")
        if self.n_reads_per_transfer != 1:
            raise ConfigError(f"{name}.n_reads_per_transfer={self.n_reads_per_transfer!r} is not allowed: give 1")
        if self.reference_quirks:  # spec: compounds, bug 20: the reference ignores the one and does the other
            return
        if self.random_selection:
            raise ConfigError(f"{name}.random_selection=True is not allowed: give False")
        if self.present("with_reset_prob"):
            raise ConfigError(f"{name}.with_reset_prob={self.with_reset_prob!r} is not allowed: give 0")

    def start(self, shape: Shape) -> Memory:
        slices, across = slice_count((shape[0], shape[1]), self.transfer_columns)
        return {
            **super().start(shape),
            "buffer": self.lines(shape),
            "in": jnp.ones((slices,), jnp.float32),
            "out": jnp.ones((across,), jnp.float32),
            "sweeps": jnp.zeros((), jnp.int32),
            "x_max": jnp.zeros((), jnp.float32),
            "d_max": jnp.zeros((), jnp.float32),
        }

    # ------------------------------------------------------------ fast device
    def pulse_rate(
        self,
        state: CellState,
        x: jax.Array,
        d: jax.Array,
        learning_rate: Number | jax.Array,
        parameters: UpdateParameters,
        active: jax.Array,
    ) -> Number | jax.Array:
        rate = super().pulse_rate(state, x, d, learning_rate, parameters, active)
        if not self.auto_scale:
            return rate
        x_max, d_max = self._maxima(state, x, d, active, x.shape[0])
        product = jnp.where((x_max > 0) & (d_max > 0), x_max * d_max, 1.0)
        granularity = self.unit_cell_devices[0].weight_granularity()
        scaled = self.fast_lr * parameters.desired_bl * granularity / product
        if self.scale_fast_lr:
            scaled = scaled * learning_rate
        return jnp.where(jnp.asarray(self.fast_lr) > 0, scaled, rate)

    def _maxima(
        self, state: CellState, x: jax.Array, d: jax.Array, active: jax.Array, batch: int
    ) -> tuple[jax.Array, jax.Array]:
        """Return the running maxima of x and d after each vector, each ``(n,)``."""
        rate = (1 - jnp.asarray(self.auto_momentum, jnp.float32)) / batch
        start = jnp.stack([state.memory["x_max"], state.memory["d_max"]])
        values = jnp.stack([jnp.max(jnp.abs(x), axis=1), jnp.max(jnp.abs(d), axis=1)])
        x_max, d_max = jax.vmap(running_maximum, (0, 0, None, None))(start, values, active, rate)
        return x_max, d_max

    def begin(self, state: CellState, pulses: Pulses, active: jax.Array, batch: int) -> CellState:
        if not self.auto_scale:
            return state
        x_max, d_max = self._maxima(state, pulses.x, pulses.d, active, batch)
        return state.remember(x_max=x_max[-1], d_max=d_max[-1])

    def words(self, vectors: int) -> int:
        # automatic scales send long trains
        return min(-(-vectors // 16) * 8, 32)

    def signed(self, pulses: Pulses, memory: Memory) -> Pulses:
        along, across = memory["in"], memory["out"]
        for_x, for_d = (along, across) if self.transfer_columns else (across, along)
        if pulses.signs is not None:
            for_x, for_d = for_x * pulses.signs[0], for_d * pulses.signs[1]
        return pulses._replace(signs=(for_x, for_d))

    # ---------------------------------------------------------------- transfer
    def every(self, batch: int, shape: tuple[int, int]) -> tuple[jax.Array, ...]:
        counts = super().every(batch, shape)
        slices, _ = slice_count(shape, self.transfer_columns)
        time = jnp.asarray(self.transfer_every, jnp.float32)
        automatic = []
        for device in self.unit_cell_devices:
            states = number_of_states(device)
            wanted = jnp.floor(states / slices * jnp.abs(time) + 0.5)
            automatic.append(jnp.maximum(wanted, 1.0).astype(jnp.int32))
        return tuple(jnp.where(time < 0, own, count) for own, count in zip(automatic, counts, strict=True))

    def slower(self) -> tuple[tuple[int, int, int], ...]:
        # spec: compounds, bug 18: a transfer of the slow device to itself reads the fast one again
        return ((1, 0, 1),) if self.reference_quirks and self._again() else ()

    def _again(self) -> bool:
        return bool(self.transfer_every_vec) or not self.no_self_transfer or not self.present("transfer_every")

    def scale(self, reads: Reads, memory: Memory) -> jax.Array:
        """Return how many steps a unit of weight on the fast device counts, for each slice."""
        fast, slow = (device.weight_granularity() for device in self.unit_cell_devices)
        given = jnp.asarray(self.buffer_granularity, jnp.float32)
        unit = jnp.where(given > 0, given, 1.0) * fast
        if self.present("auto_granularity"):
            auto = jnp.asarray(self.auto_granularity, jnp.float32)
            sweep = memory["in"].shape[0] * jnp.abs(jnp.asarray(self.transfer_every, jnp.float32))
            if self.units_in_mbatch and not self.reference_quirks:  # spec: compounds, bug 21
                sweep = sweep * reads.batch
            unit = jnp.where(auto > 0, unit * auto / jnp.where(sweep > 0, sweep, 1.0), unit)
        if self.correct_gradient_magnitudes:
            return jnp.abs(reads.rate) / (unit * slow / fast) / reads.pulse_rate
        return jnp.broadcast_to(jnp.abs(reads.rate) / unit, reads.pulse_rate.shape)

    def writes_only_steps(self) -> bool:
        return True

    def transfer_rate(self, source: int, learning_rate: Number | jax.Array) -> Number | jax.Array:
        rate = super().transfer_rate(source, learning_rate)
        if self.fully_hidden():
            return rate
        fast, slow = (jnp.asarray(weight, jnp.float32) for weight in self.weighting())
        both = (fast > 0) & (slow > 0)
        return jnp.where(both, rate * fast / jnp.where(both, slow, 1.0), rate)

    def period(self) -> jax.Array:
        """Return the sweeps between two regular flips."""
        probability = jnp.asarray(self.in_chop_prob, jnp.float32)
        wanted = jnp.ceil(1 / jnp.where(probability > 0, probability, 1.0))
        return jnp.where(probability > 0, jnp.clip(wanted, 2, 2.0**30), 2.0).astype(jnp.int32)

    def sign(self, memory: Memory, slices: Slices) -> jax.Array:
        """Return the product of the choppers at each crosspoint of a block, as lines."""
        return memory["in"][slices.number][:, None] * memory["out"][None, :]

    def keep(self, total: jax.Array, steps: jax.Array) -> jax.Array:
        """Return what stays in the buffer after a step."""
        if self.forget_buffer:
            return jnp.asarray(self.momentum) * total
        return total - (1 - jnp.clip(self.momentum, 0.0, 1.0)) * steps

    def chopped(self, memory: Memory, slices: Slices, flips: jax.Array) -> Memory:
        """Flip the choppers of slices of a block where ``flips``, ``(size,)`` bool."""
        signs = memory["in"][slices.number]
        flipped = jnp.where(flips, -signs, signs)
        return {**memory, "in": lax.dynamic_update_slice_in_dim(memory["in"], flipped, slices.start, 0)}

    def turns_with_sweeps(self) -> bool:
        return self.present("out_chop_prob")

    def closed(self, memory: Memory, reads: Reads) -> Memory:
        """Flip choppers of the lines across the slices if a sweep ends."""
        if not self.turns_with_sweeps():
            return memory
        ends = jnp.any(reads.live & (reads.slices.number == memory["in"].shape[0] - 1))
        flips = reads.stream.child("out").uniform(memory["out"].shape) < self.out_chop_prob
        return {**memory, "out": jnp.where(flips & ends, -memory["out"], memory["out"])}

    def swept(self, memory: Memory, slices: Slices, live: jax.Array) -> Memory:
        """Return the memory with one more sweep if the last slice was read."""
        count = memory["in"].shape[0]
        ends = jnp.any(live & (slices.number == count - 1))
        return {**memory, "sweeps": memory["sweeps"] + ends.astype(jnp.int32)}

    # ----------------------------------------------------------------- weights
    def visible(self, state: CellState, arrays: tuple[jax.Array, ...]) -> jax.Array:
        fast, slow = self.weighting()
        along, across = state.memory["in"], state.memory["out"]
        for_x, for_d = (along, across) if self.transfer_columns else (across, along)
        sign = for_d[:, None] * for_x[None, :]
        if self.reference_quirks and self.transfer_columns:
            # spec: compounds, bug 4: the place in memory is taken apart as if columns came first
            place = lax.iota(jnp.int32, sign.size).reshape(sign.shape)
            sign = along[place // sign.shape[0]] * across[place % sign.shape[0]]
        total = jnp.asarray(fast) * sign * arrays[0] + jnp.asarray(slow) * arrays[1]
        if self.reference_quirks and self.gamma_vec:  # spec: compounds, bug 14
            hidden = (jnp.asarray(fast) == 0) & (jnp.asarray(slow) == 1)
            return jnp.where(hidden, arrays[1], total)
        return total


@configclass
class ChoppedTransferCompound(ChoppedBase):
    """Tiki-Taka with choppers and a digital buffer (c-TTv2).

    When to use: where the symmetry point of the fast device is not exactly known; the choppers
    average an offset away. Spec: compounds, section 8; Rasch et al., Nature Communications 2024,
    doi 10.1038/s41467-024-51221-z.
    """

    def move(
        self, memory: Memory, source: int, target: int, reads: Reads
    ) -> tuple[Memory, jax.Array, Number | jax.Array]:
        slices, live = reads.slices, reads.live
        old = slices.take_lines(memory["buffer"])
        total = self.scale(reads, memory)[:, None] * self.sign(memory, slices) * reads.values
        if not self.no_buffer:
            total = old + total
        fires = jnp.abs(total) >= 1
        steps = jnp.where(fires, whole_steps(total, self.transfer_update.desired_bl), 0.0)
        new = jnp.where(live[:, None], jnp.where(fires, self.keep(total, steps), total), old)
        memory = {**memory, "buffer": slices.put_lines(memory["buffer"], new)}

        probability = jnp.asarray(self.in_chop_prob, jnp.float32)
        if self.in_chop_random:
            flips = reads.stream.child("in").uniform(live.shape) < probability
        else:
            regular = (memory["sweeps"] % self.period() == self.period() - 1) & (probability > 0)
            flips = jnp.broadcast_to(regular, live.shape)
        memory = self.chopped(memory, slices, flips & live)
        slow = self.unit_cell_devices[target].weight_granularity()
        return self.swept(memory, slices, live), -steps, self.step * slow

    def buffers(self) -> dict[str, str]:
        return {"buffered_FP_weight_0": "buffer"}


def running_maximum(start: jax.Array, values: jax.Array, active: jax.Array, rate: jax.Array) -> jax.Array:
    """Return a running mean of maxima after each vector, ``(n,)``.

    The first value above zero is taken as it is, later ones with ``rate``; zeros and vectors that
    are not active leave it. All at once: the mean is a weighted sum of the values before it.
    """
    counts = active & (values > 0)
    index = jnp.arange(values.shape[0])
    before = index[None, :] <= index[:, None]
    number = jnp.sum(jnp.where(before, counts[None, :], False), axis=1, dtype=jnp.int32)
    first = (number == 1) & (start <= 0)
    since = (number[:, None] - number[None, :]).astype(jnp.float32)
    decay = jnp.log(jnp.maximum(1 - rate, 1e-30))
    weight = jnp.where(before & counts[None, :], jnp.exp(since * decay) * jnp.where(first, 1.0, rate)[None, :], 0.0)
    old = jnp.where(start > 0, jnp.exp(number * decay), number == 0)
    return old * start + jnp.sum(weight * values[None, :], axis=1)


def number_of_states(device: object) -> Number | jax.Array:
    """Return the number of steps across the range of a device, or of the first device of a cell."""
    while not isinstance(device, PulsedDevice):
        device = device.unit_cell_devices[0]  # type: ignore[attr-defined]
    return (device.w_max - device.w_min) / device.weight_granularity()
