"""What the schedule of the transfers asks of a compound; :class:`~aihwjax.compounds.transfer.TransferBase` answers."""

from __future__ import annotations

from typing import Protocol

import jax

from aihwjax.compounds.moves import Memory, Reads
from aihwjax.devices.device import Device
from aihwjax.pulses import UpdateParameters
from aihwjax.tile.product.io import IOParameters
from aihwjax.tile.pulsed_update.pulsing import Pulses
from aihwjax.typing import Number


class TransferRules(Protocol):
    """Fields and decisions of a transfer compound that its schedule follows."""

    @property
    def unit_cell_devices(self) -> tuple[Device, ...]:
        """The devices, the fast one first."""

    @property
    def reference_quirks(self) -> bool:
        """Whether the reference's bugs are reproduced."""

    @property
    def units_in_mbatch(self) -> bool:
        """Whether the time between transfers counts mini-batches, else vectors."""

    @property
    def n_reads_per_transfer(self) -> int:
        """Slices of a transfer; at most as many as there are."""

    @property
    def transfer_columns(self) -> bool:
        """Whether a slice is a column, else a row."""

    @property
    def with_reset_prob(self) -> Number:
        """Probability that a slice of a device is reset after it was read."""

    @property
    def random_selection(self) -> bool:
        """Whether a transfer begins at a random slice."""

    @property
    def transfer_forward(self) -> IOParameters:
        """Periphery of the reads."""

    @property
    def transfer_update(self) -> UpdateParameters:
        """Pulses of the writes."""

    def words(self, vectors: int) -> int:
        """Return how many words of 32 pulse rows are applied together, given the size of the mini-batch."""

    def signed(self, pulses: Pulses, memory: Memory) -> Pulses:
        """Return the pulses as they reach the first device."""

    def slower(self) -> tuple[tuple[int, int, int], ...]:
        """Return index, source and target of the transfers besides that of the first device."""

    def transfer_rate(self, source: int, learning_rate: Number | jax.Array) -> Number | jax.Array:
        """Return the learning rate of the transfers of a device."""

    def move(
        self, memory: Memory, source: int, target: int, reads: Reads
    ) -> tuple[Memory, jax.Array, Number | jax.Array]:
        """Return the new memory, what to subtract from the target, and the learning rate of the write."""

    def closed(self, memory: Memory, reads: Reads) -> Memory:
        """Return the memory after the pulses of all slices up to a read."""

    def turns_with_sweeps(self) -> bool:
        """Whether the end of a sweep changes how pulses reach the first device."""

    def writes_only_steps(self) -> bool:
        """Whether a slice without any step is not written at all."""

    def resets(self) -> bool:
        """Whether slices can be reset when they are read."""

    def resets_whole_transfers(self) -> bool:
        """Whether one reset clears all slices of a transfer."""
