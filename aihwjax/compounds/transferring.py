"""The schedule of a transfer compound within a mini-batch, without a step for each vector.

The vectors of a mini-batch act in order, and after some of them slices of one device are read and
written to the next. Crosspoints don't interact, so most of it can be done for all vectors at once:

* a *run* takes as many reads as come before the slices start over (each slice is read at most
  once), before a slower device's transfer is due, or before the mini-batch ends;
* one pass over the fast device applies all pulses of the run, except that a slice that is read
  gets only those of the vectors before its read;
* then the slices are read, transferred and written, a block at a time, and get the pulses of the
  vectors after their read.

The result is that of the vector-by-vector process. Where the fast device is itself a unit cell, a
run is one transfer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.compounds import reading, writing
from aihwjax.compounds.blocks import Slices, drawn_slice, slice_count
from aihwjax.compounds.cells import CellState, lead
from aihwjax.compounds.moves import Change, Memory, Move, Part, Reads, Run
from aihwjax.compounds.rules import TransferRules
from aihwjax.compounds.schedule import Schedule
from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.loops import once, repeat_while
from aihwjax.random import Stream
from aihwjax.tile.pulsed_update import pulsing
from aihwjax.tile.pulsed_update.bit_lines import BITS
from aihwjax.tile.pulsed_update.pulsing import Pulses
from aihwjax.tile.pulsed_update.span import Span
from aihwjax.typing import Number

# Slices that are read and written together, where there are few reads in a mini-batch and where there are many
_FEW, _MANY = 16, 64
_After = Callable[[jax.Array], jax.Array]
_Changing = tuple[Change, Memory]
_INT = jnp.int32


@dataclasses.dataclass(frozen=True)
class Transfers:
    """The transfers of one mini-batch; arguments of :meth:`UnitCell.receive`."""

    cell: TransferRules
    state: CellState
    pulses: Pulses
    active: jax.Array
    learning_rate: Number | jax.Array
    batch: int
    stream: Stream
    shape: tuple[int, int]
    schedule: Schedule

    # ------------------------------------------------------------------- sizes
    @property
    def vectors(self) -> int:
        """Number of vectors of the mini-batch, active or not."""
        return self.active.shape[0]

    @property
    def columns(self) -> bool:
        """Whether slices are columns."""
        return self.cell.transfer_columns

    @property
    def count(self) -> int:
        """Number of slices."""
        return slice_count(self.shape, self.columns)[0]

    @property
    def reads(self) -> int:
        """Slices of one transfer."""
        return min(self.cell.n_reads_per_transfer, self.count)

    @property
    def splits(self) -> bool:
        """Whether the pulses of a slice can be split at its read."""
        first, second = self.cell.unit_cell_devices[:2]
        return isinstance(first, PulsedDevice) and isinstance(second, PulsedDevice)

    @property
    def together(self) -> bool:
        """Whether a run may have several transfers."""
        return self.splits and not self.cell.random_selection and not self.cell.resets_whole_transfers()

    @property
    def block(self) -> int:
        """Slices of a block of the fast device's transfers."""
        if not self.splits:
            return 1
        if self.cell.resets_whole_transfers():
            return self.reads
        most = _FEW if self.cell.units_in_mbatch else _MANY
        return min(most, self.count, self.vectors * self.reads)

    # ---------------------------------------------------------------- the loop
    def run(self, arrays: tuple[jax.Array, ...]) -> tuple[CellState, tuple[jax.Array, ...]]:
        """Take the mini-batch and return the new state (without weights) and the weights of all devices."""
        changes = tuple(self._change(parts, array) for parts, array in zip(self.state.devices, arrays, strict=True))
        zero = jnp.zeros((), _INT)
        memory = {name: value for name, value in self.state.memory.items() if name not in ("vectors", "slices")}
        start = Run(zero, zero, zero, self.state.memory["slices"], changes, memory)
        total = self.schedule.transfers(0, self.schedule.number) * self.reads

        def goes_on(run: Run) -> jax.Array:
            return (run.vector < self.schedule.number) | (run.read < total)

        end = repeat_while(goes_on, self._one_run, start)
        counted = self.state.memory["vectors"] + self.schedule.number.astype(jnp.uint32)
        state = dataclasses.replace(self.state, devices=tuple(self._state(k, c) for k, c in enumerate(end.devices)))
        state = state.remember(**end.memory, vectors=counted, slices=end.slices)
        return state, tuple(change.weights for change in end.devices)

    def _one_run(self, run: Run) -> Run:
        every, first = self.schedule.every(0), self.schedule.first(0)
        stop = self.schedule.number
        for level, _, _ in self.cell.slower():
            stop = jnp.minimum(stop, self.schedule.following(level, run.slower) + 1)
        if self.together and self.pulses.drawn:
            stop = jnp.minimum(stop, self._fitting(run.vector))
        available = self.schedule.transfers(0, stop) * self.reads
        begin = run.slices[0]
        if self.cell.random_selection:
            drawn = drawn_slice(self.count, self.stream.child("slice").child(run.read), self.cell.reference_quirks)
            begin = jnp.where((run.read % self.reads == 0) & (run.read < available), drawn, begin)
        length = jnp.minimum(available - run.read, self.count - begin)
        if not self.together:
            length = jnp.minimum(length, self.reads - run.read % self.reads)
        length = jnp.maximum(length, 0)
        done = run.read + length
        last = first + (done - 1) // self.reads * every
        # pulses after the last read belong to this run only if they can be kept from the slices
        ends = (done < available) if self.splits else (length > 0)
        if self.cell.turns_with_sweeps():
            ends = ends | ((length > 0) & (begin + length == self.count))
        end = jnp.where(ends, last + 1, stop)

        def after(number: jax.Array) -> jax.Array:
            """Vectors done when the slices ``number`` of this run are read, ``end`` for others."""
            place = run.read + number - begin
            inside = (number >= begin) & (number < begin + length)
            return jnp.where(inside, first + place // self.reads * every + 1, end)

        index = lax.iota(_INT, self.vectors)
        inside = self.active & (index >= self.schedule.place(run.vector)) & (index < self.schedule.place(end))
        pulses = self.pulses.only(inside)
        if self.splits:
            pulses = pulses.pack(self.cell.words(self.vectors))
        run = self._pulse_all(run, pulses, inside, after)
        run = self._blocks(run, pulses, begin, length, after, end)
        following = run.slices.at[0].set((begin + length) % self.count)
        run = run._replace(read=done, vector=jnp.maximum(run.vector, end), slices=following)
        if not self.cell.slower():
            return run
        return lax.cond((end == stop) & (done == available), self._slower, lambda r, e: r, run, end)

    def _fitting(self, vector: jax.Array) -> jax.Array:
        """Return the vector before which the pulse rows from ``vector`` on fill the words of a run, one at least."""
        lengths = jnp.where(self.active, self.pulses.trains.length, 0)
        ends = jnp.cumsum(lengths)
        begin = self.schedule.place(vector)
        before = jnp.append(ends - lengths, ends[-1])[begin]
        fits = ends - before <= self.cell.words(self.vectors) * BITS
        count = jnp.sum((fits & self.active & (lax.iota(_INT, self.vectors) >= begin)).astype(_INT))
        return vector + jnp.maximum(count, 1)

    # ------------------------------------------------------------- fast device
    def _pulse_all(self, run: Run, pulses: Pulses, inside: jax.Array, after: _After) -> Run:
        """Apply the run's pulses to the fast device; slices that are read get those before their read."""
        device, own = self.cell.unit_cell_devices[0], self.stream.child("pulses").child(run.read).child(run.vector)
        parts, weights = self._at(0, run)
        pulses = self.cell.signed(pulses, run.memory)
        if isinstance(device, PulsedDevice):
            last = self.schedule.place(after(lax.iota(_INT, self.count)))
            span = Span(self.columns, None, jnp.broadcast_to(self.schedule.place(run.vector), (self.count,)), last)
            changed = pulsing.apply(device, parts, weights, pulses, own, span=span)
        else:
            changed = lead(device, parts, weights, pulses, inside, self.learning_rate, self.batch, own)
        return self._with(run, 0, *changed)

    def _blocks(
        self, run: Run, pulses: Pulses, begin: jax.Array, length: jax.Array, after: _After, end: jax.Array
    ) -> Run:
        """Read, transfer and complete the slices of a run."""
        size = self.block

        def one_block(carry: tuple[jax.Array, Run]) -> tuple[jax.Array, Run]:
            turn, now = carry
            first = begin + turn * size
            slices = Slices(self.columns, self.shape, jnp.clip(first, 0, self.count - size), size)
            live = (slices.number >= first) & (slices.number < begin + length)
            own = self.stream.child("reads").child(now.read).child(turn)
            done = after(slices.number)
            if not self.splits:
                event = (lax.iota(_INT, self.count) >= begin) & (lax.iota(_INT, self.count) < begin + length)
                return turn + 1, self._transfer(now, 0, 1, slices, live, done, event, own)
            whole = now.devices[0].weights

            def in_block(_: jax.Array, carry: tuple[_Changing, Move]) -> tuple[_Changing, Move]:
                # from here on ``cut`` has the block's part of the fast device and of the memory
                fast, memory = carry[0]
                cut = self._changed(now, 0, fast)._replace(memory=memory)
                block = self._state(0, fast), fast.weights
                move, reads, part = self._move(cut, 0, 1, slices, live, done, block, whole, self.cell.resets(), own)
                cut = cut._replace(memory=move.memory)
                # what a vector before this run has already pulsed is not pulsed again
                rest = self.schedule.place(jnp.where(live, jnp.maximum(done, cut.vector), end))
                last = jnp.broadcast_to(self.schedule.place(end), live.shape)
                span = Span(self.columns, slices.start, rest, last, self.shape)
                device = self.cell.unit_cell_devices[0]
                assert isinstance(device, PulsedDevice)
                signed = self.cell.signed(pulses, cut.memory)
                part = pulsing.apply(device, *part, signed, own.child("rest"), span=span)
                return (self._change(*part), self.cell.closed(move.memory, reads)), move._replace(memory={})

            changing = slices.take(now.devices[0]), slices.take_lines(now.memory)
            idle = Move({}, jnp.zeros(slices.lines, jnp.float32), jnp.zeros((), jnp.float32))
            (fast, memory), move = once(jnp.any(live), in_block, (changing, idle))
            now = self._changed(now, 0, slices.put(now.devices[0], fast))
            now = now._replace(memory=slices.put_lines(now.memory, memory))
            return turn + 1, self._write(now, 1, slices, live, move, own.child("write"))

        zero = jnp.zeros((), _INT)
        return repeat_while(lambda c: c[0] * size < length, one_block, (zero, run))[1]

    # ---------------------------------------------------------------- transfer
    def _transfer(
        self,
        run: Run,
        source: int,
        target: int,
        slices: Slices,
        live: jax.Array,
        after: jax.Array,
        event: jax.Array,
        stream: Stream,
    ) -> Run:
        """Read one slice of a device and write it to another, where ``live``; ``event``: all slices of the transfer."""
        device, cell = self.cell.unit_cell_devices[source], self.cell
        parts, weights = self._at(source, run)
        cuts = isinstance(device, PulsedDevice)
        block = slices.take((parts, weights)) if cuts else (parts, slices.take(weights))
        alone = cell.resets() and cuts and not cell.resets_whole_transfers()
        move, reads, block = self._move(run, source, target, slices, live, after, block, weights, alone, stream)
        if alone:
            run = self._changed(run, source, slices.put(run.devices[source], self._change(*block)))
        elif cell.resets():
            # spec: compounds, bug 2: a hit resets all slices of the transfer, and later ones are read as reset
            own = event if cell.resets_whole_transfers() else lax.iota(_INT, self.count) == slices.start
            where = jnp.broadcast_to((own & self._hit(reads.live, stream.child("reset"))[0])[None, :], self.shape)
            fresh = stream.child("reset").child("fresh")
            run = self._with(run, source, *device.reset_weights(parts, weights, where, fresh))
        run = run._replace(memory=cell.closed(move.memory, reads))
        return self._write(run, target, slices, live, move, stream.child("write"))

    def _move(
        self,
        run: Run,
        source: int,
        target: int,
        slices: Slices,
        live: jax.Array,
        after: jax.Array,
        block: Part,
        whole: jax.Array,
        resets: bool,
        stream: Stream,
    ) -> tuple[Move, Reads, Part]:
        """Read a block and decide what is written; return that, what was read, and the source's part of the block.

        ``whole`` are the apparent weights of the source; ``run`` may have the block's part of the memory only.
        ``resets``: whether slices that were read may be reset here.
        """
        cell, rate = self.cell, self.cell.transfer_rate(source, self.learning_rate)
        live = live & (rate != 0)
        read = partial(self._read, whole, slices=slices)
        values = read(block[1], stream=stream.child("read"))
        if resets:
            block, values = self._reset(source, slices, live, values, block, read, stream.child("reset"))
        pulse_rate = self.pulses.rate[jnp.clip(self.schedule.place(after - 1), 0, self.vectors - 1)]
        reads = Reads(values, slices, live, rate, pulse_rate, self.batch, stream.child("move"))
        memory, steps, write_rate = cell.move(run.memory, source, target, reads)
        move = Move(memory, jnp.where(live[:, None], steps, 0.0), jnp.asarray(write_rate, jnp.float32))
        return move, reads, block

    def _read(self, whole: jax.Array, block: jax.Array, *, slices: Slices, stream: Stream) -> jax.Array:
        assert self.state.read is not None
        io, quirks = reading.unmanaged(self.cell.transfer_forward), self.cell.reference_quirks
        return reading.read(io, self.state.read, whole, block, slices, stream, quirks)

    def _hit(self, live: jax.Array, stream: Stream) -> jax.Array:
        """Return which slices that were read are reset, each with a probability."""
        return live & (stream.child("chance").uniform(live.shape) < self.cell.with_reset_prob)

    def _reset(
        self,
        source: int,
        slices: Slices,
        live: jax.Array,
        values: jax.Array,
        block: Part,
        read: Callable[..., jax.Array],
        stream: Stream,
    ) -> tuple[Part, jax.Array]:
        """Reset slices of a device that were read; return its block and what is read."""
        device, hit, fresh = self.cell.unit_cell_devices[source], self._hit(live, stream), stream.child("fresh")
        assert isinstance(device, PulsedDevice)
        block = slices.take(block[0]), block[1]
        if not self.cell.resets_whole_transfers():
            where = jnp.broadcast_to(slices.along(hit), slices.block)
            return device.reset_weights(*block, where, fresh), values
        # spec: compounds, bug 2: the first hit resets all slices of the transfer, and later ones read as reset
        where = jnp.broadcast_to(slices.along(live & jnp.any(hit)), slices.block)
        block = device.reset_weights(*block, where, fresh)
        later = jnp.cumsum(hit.astype(_INT)) - hit > 0
        again = read(block[1], stream=stream.child("read again"))
        return block, jnp.where(later[:, None], again, values)

    def _write(self, run: Run, target: int, slices: Slices, live: jax.Array, move: Move, stream: Stream) -> Run:
        """Write a move to its target; many transfers have nothing to write."""
        device, parameters, steps = self.cell.unit_cell_devices[target], self.cell.transfer_update, move.steps
        if isinstance(device, PulsedDevice):

            def written(_: jax.Array, part: Change) -> Change:
                block = self._state(target, part), part.weights
                return self._change(*writing.write(device, *block, steps, move.rate, parameters, slices, stream))

            part = once(jnp.any(steps != 0), written, slices.take(run.devices[target]))
            return self._changed(run, target, slices.put(run.devices[target], part))
        one_hot = (lax.iota(_INT, self.count) == slices.start).astype(jnp.float32)[None, :]
        x, d = (one_hot, steps) if self.columns else (steps, one_hot)
        due = jnp.any(steps != 0) if self.cell.writes_only_steps() else live[0]
        parts, weights = self._at(target, run)
        rate = jnp.where(due, move.rate, 0.0)
        parts, weights = pulsing.update(device, parts, weights, x, d, rate, parameters, self.pulses.mode, stream)
        return self._with(run, target, parts, weights)

    # ---------------------------------------------------------- slower devices
    def _slower(self, run: Run, end: jax.Array) -> Run:
        """Transfer the slower devices that are due after vector ``end - 1``, in order."""
        for level, source, target in self.cell.slower():
            due = self.schedule.following(level, run.slower) + 1 == end
            transfer = partial(self._slow_transfer, level=level, source=source, target=target)
            run = lax.cond(due, transfer, lambda r, e: r, run, end)
        return run._replace(slower=end)

    def _slow_transfer(self, run: Run, end: jax.Array, *, level: int, source: int, target: int) -> Run:
        own = self.stream.child("slower").child(level).child(end)
        begin = run.slices[level]
        if self.cell.random_selection:
            begin = drawn_slice(self.count, own.child("slice"), self.cell.reference_quirks)

        def one(turn: jax.Array, now: Run) -> Run:
            slices = Slices(self.columns, self.shape, (begin + turn) % self.count, 1)
            # a transfer that goes on from the first slice is two
            number, over = lax.iota(_INT, self.count), begin + self.reads - self.count
            event = jnp.where(begin + turn < self.count, number >= begin, number < over)
            event = event & (number < begin + self.reads)
            return self._transfer(now, source, target, slices, jnp.ones(1, bool), end[None], event, own.child(turn))

        run = lax.fori_loop(0, self.reads, one, run)
        return run._replace(slices=run.slices.at[level].set((begin + self.reads) % self.count))

    # ------------------------------------------------------------ small things
    @staticmethod
    def _change(parts: DeviceState, weights: jax.Array) -> Change:
        if isinstance(parts, CellState):
            return Change(weights, parts)
        return Change(weights, parts.persistent, parts.pulses)

    def _state(self, k: int, change: Change) -> DeviceState:
        fixed = self.state.devices[k]
        if isinstance(change.state, CellState):
            return change.state
        assert not isinstance(change.state, DeviceState)
        return dataclasses.replace(fixed, persistent=change.state, pulses=change.pulses)

    def _at(self, k: int, run: Run) -> Part:
        return self._state(k, run.devices[k]), run.devices[k].weights

    def _with(self, run: Run, k: int, parts: DeviceState, weights: jax.Array) -> Run:
        return self._changed(run, k, self._change(parts, weights))

    @staticmethod
    def _changed(run: Run, k: int, change: Change) -> Run:
        return run._replace(devices=(*run.devices[:k], change, *run.devices[k + 1 :]))
