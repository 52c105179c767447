"""Tiki-Taka: gradients are gathered on a fast device and moved to a slow one, a slice at a time.

Spec: compounds, section 6; Gokmen & Haensch, Frontiers in Neuroscience 2020.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax import random
from aihwjax.compounds import reading
from aihwjax.compounds.blocks import slice_count
from aihwjax.compounds.cells import CellState, CopyingCell
from aihwjax.compounds.moves import Memory, Reads
from aihwjax.compounds.schedule import NEVER, Schedule
from aihwjax.compounds.transferring import Transfers
from aihwjax.config import configclass, number, numbers, part, zero
from aihwjax.devices.device import DeviceState
from aihwjax.errors import ConfigError
from aihwjax.pulses import UpdateParameters
from aihwjax.random import Noise, Stream
from aihwjax.tile.product.io import IOParameters
from aihwjax.tile.pulsed_update.pulsing import Pulses
from aihwjax.typing import Number, Shape


@configclass
class TransferBase(CopyingCell):
    """Base of the transfer compounds: fields, learning rates, schedule and visible weight.

    The first device is updated by the mini-batches; device k is read slice by slice and written to
    device k + 1. A subclass says in :meth:`move` what is written for what was read.

    Memory: ``vectors`` counted, next ``slices`` of each device, and what the subclass adds.
    """

    gamma: Number = number(0.0, off=zero)
    """Weight of the hidden devices in the visible weight: device k counts ``gamma^(n - 1 - k)``; 0: hidden."""
    gamma_vec: tuple[Number, ...] = numbers(())
    """Weight of each device in the visible weight, instead of ``gamma``."""
    transfer_every: Number = number(1.0, infinite=True)
    """Time between transfers of the first device, in vectors or mini-batches; 0 or infinity: never."""
    units_in_mbatch: bool = True
    """Whether that time counts mini-batches, else vectors."""
    transfer_every_vec: tuple[Number, ...] = numbers((), infinite=True)
    """Time between transfers of each device; if empty, a full sweep of the one before; 0 or infinity: never."""
    no_self_transfer: bool = True
    """Whether the last device has no transfer of its own."""
    n_reads_per_transfer: int = 1
    """Slices of a transfer; at most as many as there are."""
    transfer_columns: bool = True
    """Whether a slice is a column, else a row."""
    with_reset_prob: Number = number(0.0, minimum=0, maximum=1, off=zero)
    """Probability that a column of a device is reset after it was read."""
    random_selection: bool = False
    """Whether a transfer begins at a random slice."""
    fast_lr: Number = number(1.0)
    """Learning rate of the first device; at 0 and below, that of the optimizer."""
    scale_fast_lr: bool = True
    """Whether ``fast_lr`` is a factor on the optimizer's learning rate."""
    transfer_lr: Number = number(1.0)
    """Learning rate of the transfers."""
    transfer_lr_vec: tuple[Number, ...] = numbers(())
    """Learning rate of the transfers of each device."""
    scale_transfer_lr: bool = True
    """Whether the rates of the transfers are factors on the optimizer's learning rate."""
    transfer_forward: IOParameters = part(IOParameters)
    """Periphery of the reads; noise and bound management are always off."""
    transfer_update: UpdateParameters = part(UpdateParameters)
    """Pulses of the writes."""

    at_once: ClassVar[tuple[str, ...]] = (
        "transfer_every", "units_in_mbatch", "transfer_every_vec", "no_self_transfer", "n_reads_per_transfer",
        "with_reset_prob", "random_selection", "fast_lr", "scale_fast_lr", "transfer_lr", "transfer_lr_vec",
        "scale_transfer_lr", "transfer_forward", "transfer_update",
    )  # fmt: skip

    def validate(self) -> None:
        super().validate()
        name, count = type(self).__name__, len(self.unit_cell_devices)
        if count < 2:
            raise ConfigError(f"{name}.unit_cell_devices has 1 entry: give at least two, the fast and the slow device")
        # the devices behind the first one are all made like the second (spec: compounds, section 6)
        self.use(self.unit_cell_devices[:2] + (self.unit_cell_devices[1],) * (count - 2))
        for field in ("gamma_vec", "transfer_every_vec", "transfer_lr_vec"):
            value = getattr(self, field)
            if value and len(value) != count:
                raise ConfigError(f"{name}.{field}={value!r} is not allowed: give {count} numbers or none")
        if self.gamma_vec and isinstance(self.gamma_vec[-1], int | float) and self.gamma_vec[-1] == 0:
            raise ConfigError(f"{name}.gamma_vec={self.gamma_vec!r} is not allowed: the last number must not be 0")
        if self.n_reads_per_transfer < 1:
            raise ConfigError(
                f"{name}.n_reads_per_transfer={self.n_reads_per_transfer!r} is not allowed: give at least 1"
            )
        if not self.transfer_columns and self.present("with_reset_prob"):
            raise ConfigError(
                f"{name}.with_reset_prob={self.with_reset_prob!r} is not allowed with transfer_columns=False: give 0"
            )

    # ------------------------------------------------------------ construction
    def fresh(self, state: CellState, key: Noise, shape: Shape) -> CellState:
        io = reading.unmanaged(self.transfer_forward)
        size = (shape[0], shape[1])
        frozen = reading.freeze(io, random.derive(key, "read"), size, self.transfer_columns, self.reference_quirks)
        hidden = state.weights[:-1] if self.fully_hidden() else state.weights
        state = dataclasses.replace(state, read=frozen, weights=hidden)
        return state.remember(**self.start(shape))

    def lines(self, shape: Shape) -> jax.Array:
        """Return an empty buffer for a tile of a size, a line for each slice."""
        return jnp.zeros(slice_count((shape[0], shape[1]), self.transfer_columns), jnp.float32)

    def turned(self, lines: jax.Array) -> jax.Array:
        """Return lines, one for each slice, in the orientation of the tile."""
        return lines.T if self.transfer_columns else lines

    def start(self, shape: Shape) -> Memory:
        """Return the memory of a new tile."""
        return {
            "vectors": jnp.zeros((), jnp.uint32),
            "slices": jnp.zeros((len(self.unit_cell_devices),), jnp.int32),
        }

    # ----------------------------------------------------------------- weights
    def fully_hidden(self) -> bool:
        """Whether the visible weight is that of the last device alone, by configuration."""
        return not self.gamma_vec and not self.present("gamma")

    def weighting(self) -> tuple[Number, ...]:
        count = len(self.unit_cell_devices)
        if self.gamma_vec:
            return self.gamma_vec
        if self.fully_hidden():
            return (0.0,) * (count - 1) + (1.0,)
        return tuple(self.gamma ** (count - 1 - k) for k in range(count - 1)) + (1.0,)

    def arrays(self, state: CellState, weights: jax.Array) -> tuple[jax.Array, ...]:
        return (*state.weights, weights) if self.fully_hidden() else state.weights

    def shown(
        self, state: CellState, devices: tuple[DeviceState, ...], arrays: tuple[jax.Array, ...]
    ) -> tuple[CellState, jax.Array]:
        if self.fully_hidden():
            return dataclasses.replace(state, devices=devices, weights=arrays[:-1]), arrays[-1]
        return super().shown(state, devices, arrays)

    def visible(self, state: CellState, arrays: tuple[jax.Array, ...]) -> jax.Array:
        total = super().visible(state, arrays)
        if self.reference_quirks and self.gamma_vec:
            # spec: compounds, bug 14: numbers whose hidden part sums to zero count as hidden
            hidden = (sum(self.gamma_vec[:-1]) == 0) & (jnp.asarray(self.gamma_vec[-1]) == 1)
            return jnp.where(hidden, arrays[-1], total)
        return total

    def weight_granularity(self) -> Number:
        if self.reference_quirks:  # spec: compounds, bug 1: the mean of all devices
            return super().weight_granularity()
        return self.unit_cell_devices[0].weight_granularity()

    # ------------------------------------------------------------------ update
    def pulse_rate(
        self,
        state: CellState,
        x: jax.Array,
        d: jax.Array,
        learning_rate: Number | jax.Array,
        parameters: UpdateParameters,
        active: jax.Array,
    ) -> Number | jax.Array:
        fast = jnp.asarray(self.fast_lr, jnp.float32)
        scaled = fast * learning_rate if self.scale_fast_lr else fast
        return jnp.where(fast > 0, scaled, learning_rate)

    def receive(
        self,
        state: CellState,
        weights: jax.Array,
        pulses: Pulses,
        active: jax.Array,
        learning_rate: Number | jax.Array,
        batch: int,
        stream: Stream,
    ) -> tuple[CellState, jax.Array]:
        state = self.begin(state, pulses, active, batch)
        shape = (weights.shape[0], weights.shape[1])
        schedule = Schedule.of(self.every(batch, shape), state.memory["vectors"], active)
        transfers = Transfers(self, state, pulses, active, learning_rate, batch, stream, shape, schedule)
        state, arrays = transfers.run(self.arrays(state, weights))
        return self.shown(state, state.devices, arrays)

    def begin(self, state: CellState, pulses: Pulses, active: jax.Array, batch: int) -> CellState:
        """Return the state with what changes before the pulses of a mini-batch."""
        return state

    def signed(self, pulses: Pulses, memory: Memory) -> Pulses:
        """Return the pulses as they reach the first device."""
        return pulses

    def words(self, vectors: int) -> int:
        """Return how many words of 32 pulse rows are applied together, given the size of the mini-batch."""
        return min(-(-vectors // 32), 8)

    def move(
        self, memory: Memory, source: int, target: int, reads: Reads
    ) -> tuple[Memory, jax.Array, Number | jax.Array]:
        """Decide what is written for what was read.

        Args:
            memory: The compound's memory.
            source: Index of the device that was read.
            target: Index of the device that is written.
            reads: What was read.

        Returns:
            The new memory, what to subtract from the target, and the learning rate of the write.
        """
        raise AssertionError

    def closed(self, memory: Memory, reads: Reads) -> Memory:
        """Return the memory after the pulses of all slices up to a read; what ends with a sweep changes here."""
        return memory

    def turns_with_sweeps(self) -> bool:
        """Whether the end of a sweep changes how pulses reach the first device."""
        return False

    def writes_only_steps(self) -> bool:
        """Whether a slice without any step is not written at all, which a unit cell as target notices."""
        return False

    # ---------------------------------------------------------------- schedule
    def periods(self, shape: tuple[int, int]) -> tuple[Number | jax.Array, ...]:
        """Return the time between transfers of each device, in the configured unit."""
        if self.transfer_every_vec:
            return self.transfer_every_vec
        slices, crosspoints = slice_count(shape, self.transfer_columns)
        # spec: compounds, bug 3: the reference takes the length of a slice for their number
        sweep = (crosspoints if self.reference_quirks else slices) / min(self.n_reads_per_transfer, slices)
        times = [self.transfer_every * sweep**k for k in range(len(self.unit_cell_devices))]
        if self.no_self_transfer:
            times[-1] = 0.0
        return tuple(times)

    def every(self, batch: int, shape: tuple[int, int]) -> tuple[jax.Array, ...]:
        """Return the number of vectors between transfers of each device; 0: never."""
        times = [jnp.asarray(time, jnp.float32) for time in self.periods(shape)]
        if self.units_in_mbatch:
            counts = [jnp.ceil(time * jnp.float32(batch)) for time in times]
        else:
            counts = [jnp.floor(time + 0.5) for time in times]
        return tuple(jnp.clip(count, 0, float(NEVER)).astype(jnp.int32) for count in counts)

    def slower(self) -> tuple[tuple[int, int, int], ...]:
        """Return index, source and target of the transfers besides that of the first device."""
        return tuple((k, k, k + 1) for k in range(1, len(self.unit_cell_devices) - 1))

    def transfer_rate(self, source: int, learning_rate: Number | jax.Array) -> Number | jax.Array:
        """Return the learning rate of the transfers of a device."""
        rate = self.transfer_lr_vec[source] if self.transfer_lr_vec else self.transfer_lr
        return rate * learning_rate if self.scale_transfer_lr else jnp.asarray(rate, jnp.float32)

    def resets(self) -> bool:
        """Whether slices can be reset when they are read."""
        return False

    def resets_whole_transfers(self) -> bool:
        """Whether one reset clears all slices of a transfer (spec: compounds, bug 2)."""
        return self.resets() and self.reference_quirks and self.n_reads_per_transfer > 1

    # ------------------------------------------------------------- maintenance
    def set_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        """Write the last device; the hidden ones become zero and the schedule starts anew."""
        last = len(self.unit_cell_devices) - 1
        target = weights if self.fully_hidden() else weights / self.weighting()[last]
        arrays = [jnp.zeros_like(weights)] * last + [target]
        devices = list(state.devices)
        for k, device in enumerate(self.unit_cell_devices):
            if k < last and self.fully_hidden() and self.reference_quirks:
                continue  # spec: compounds, bug 15: only the apparent weights are cleared
            devices[k], arrays[k] = device.set_weights(devices[k], arrays[k], stream.child(f"device {k}"))
        fresh = self.start(weights.shape)
        kept = ("vectors", "slices") if self.reference_quirks else tuple(fresh)
        state = state.remember(**{name: value for name, value in fresh.items() if name in kept})
        return self.shown(state, tuple(devices), tuple(arrays))

    def reset_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, where: jax.Array, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        """Reset the first device only."""
        return self.each(
            state, weights, stream, lambda device, s, w, own: device.reset_weights(s, w, where, own), only=0
        )

    def reset_columns(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, columns: jax.Array, probability: Number, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        """Reset columns of the first device only."""
        return self.each(
            state,
            weights,
            stream,
            lambda device, s, w, own: device.reset_columns(s, w, columns, probability, own),
            only=0,
        )

    def exact_update(
        self,
        state: CellState,
        weights: jax.Array,
        x: jax.Array,
        d: jax.Array,
        learning_rate: Number | jax.Array,
        stream: Stream,
    ) -> tuple[CellState, jax.Array]:
        if not self.fully_hidden():
            return super().exact_update(state, weights, x, d, learning_rate, stream)

        # the visible weight is the last device, so that the step stays; each vector is clipped for itself
        def one_vector(
            now: tuple[CellState, jax.Array], entry: tuple[jax.Array, ...]
        ) -> tuple[tuple[CellState, jax.Array], None]:
            number, own_x, own_d = entry
            stepped = now[1] - learning_rate * own_d[:, None] * own_x[None, :]
            own = stream.child(number)
            return super(TransferBase, self).exact_update(now[0], stepped, x, d, learning_rate, own), None

        return lax.scan(one_vector, (state, weights), (jnp.arange(x.shape[0]), x, d))[0]


@configclass
class TransferCompound(TransferBase):
    """Tiki-Taka, first version: what is read from the fast device is written with stochastic pulses.

    When to use: to train with devices whose steps are not symmetric; the fast device's symmetry
    point should be at zero. Spec: compounds, section 6; Gokmen & Haensch, Frontiers in
    Neuroscience 2020, doi 10.3389/fnins.2020.00103.
    """

    def resets(self) -> bool:
        return self.present("with_reset_prob")

    def move(
        self, memory: Memory, source: int, target: int, reads: Reads
    ) -> tuple[Memory, jax.Array, Number | jax.Array]:
        return memory, -reads.values * jnp.sign(reads.rate), jnp.abs(reads.rate)
