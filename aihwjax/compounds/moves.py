"""What is carried from step to step while the transfers of a mini-batch are taken."""

from __future__ import annotations

from typing import NamedTuple

import jax

from aihwjax.compounds.blocks import Slices
from aihwjax.compounds.cells import CellState
from aihwjax.devices.base import DeviceState
from aihwjax.devices.counts import PulseCounts
from aihwjax.random import Stream
from aihwjax.typing import Number

Memory = dict[str, jax.Array]
"""Buffers, choppers, counters and whatever else a compound keeps besides its devices."""
Part = tuple[DeviceState, jax.Array]
"""State and apparent weights of a device, or of a block of it."""


class Change(NamedTuple):
    """Something that changes in a device: its apparent weights and the part of the state that pulses change."""

    weights: jax.Array
    state: CellState | jax.Array | None
    """Persistent weights of a pulsed device, if it has any; the whole state of a cell."""
    pulses: PulseCounts | None = None
    """Counters of a pulsed device, if it has any."""


class Reads(NamedTuple):
    """What was read from a block of a device, and what is known about it."""

    values: jax.Array
    """What was read, a line for each slice, ``(size, crosspoints)``."""
    slices: Slices
    """The block."""
    live: jax.Array
    """Which slices of the block are transferred, ``(size,)`` bool; others are left alone."""
    rate: Number | jax.Array
    """Learning rate of the transfer."""
    pulse_rate: jax.Array
    """Learning rate that the pulses of the fast device were made with before each read, ``(size,)``."""
    batch: int
    """Vectors in the mini-batch."""
    stream: Stream
    """Randomness of the decision."""


class Move(NamedTuple):
    """What a block's transfer comes to."""

    memory: Memory
    """Buffers and choppers afterwards."""
    steps: jax.Array
    """What is subtracted from the target, in units of ``rate``, a line for each slice."""
    rate: jax.Array
    """Learning rate of the write."""


class Run(NamedTuple):
    """Where the schedule stands."""

    vector: jax.Array
    """Vectors that are done, counted among the active ones."""
    read: jax.Array
    """Reads of the fast device that are done in this mini-batch."""
    slower: jax.Array
    """Vectors after which the transfers of slower devices are done."""
    slices: jax.Array
    """Next slice of each device."""
    devices: tuple[Change, ...]
    """The devices."""
    memory: Memory
    """Buffers and choppers of the compound."""
