"""Several devices at one crosspoint whose weighted sum is the weight (spec: compounds, section 3)."""

from __future__ import annotations

import dataclasses
import enum
from typing import ClassVar

import jax
import jax.numpy as jnp

from aihwjax import random
from aihwjax.compounds.cells import CellState, UnitCell, lead
from aihwjax.config import configclass, numbers
from aihwjax.devices.device import DeviceState
from aihwjax.errors import ConfigError
from aihwjax.random import Noise, NoiseEngine, Stream
from aihwjax.tile.pulsed_update.pulsing import Pulses
from aihwjax.typing import Number, Shape


class VectorUnitCellUpdatePolicy(enum.Enum):
    """Which devices of a cell a vector pulses."""

    ALL = "All"
    SINGLE_FIXED = "SingleFixed"
    SINGLE_SEQUENTIAL = "SingleSequential"
    SINGLE_RANDOM = "SingleRandom"


@configclass
class VectorUnitCell(UnitCell):
    """Devices in parallel: the visible weight is their weighted sum.

    When to use: to average over device variation, or to spread pulses over several devices.
    A policy other than ``ALL`` pulses one device a vector, which divides the effective learning
    rate by the number of devices. Spec: compounds, section 3.

    Memory: ``index`` in turn, ``vectors`` counted.
    """

    update_policy: VectorUnitCellUpdatePolicy = VectorUnitCellUpdatePolicy.ALL
    """Which devices a vector pulses."""
    first_update_idx: int = 0
    """Index of the device in turn after construction and after setting weights."""
    gamma_vec: tuple[Number, ...] = numbers(())
    """Weight of each device in the sum; if empty, one over their number each."""

    at_once: ClassVar[tuple[str, ...]] = ("update_policy", "first_update_idx")

    def validate(self) -> None:
        super().validate()
        name, count = type(self).__name__, len(self.unit_cell_devices)
        if self.gamma_vec and len(self.gamma_vec) != count:
            raise ConfigError(f"{name}.gamma_vec={self.gamma_vec!r} is not allowed: give {count} numbers")
        if not 0 <= self.first_update_idx < count:
            raise ConfigError(f"{name}.first_update_idx={self.first_update_idx} is not allowed: give 0 to {count - 1}")

    def has_derivatives(self) -> bool:
        return all(device.has_derivatives() for device in self.unit_cell_devices)

    def weighting(self) -> tuple[Number, ...]:
        count = len(self.unit_cell_devices)
        return self.gamma_vec or (1 / count,) * count

    def fresh(self, state: CellState, key: Noise, shape: Shape) -> CellState:
        if self.reference_quirks and self.update_policy is VectorUnitCellUpdatePolicy.SINGLE_FIXED:
            state = self._written(state, random.stream(key, NoiseEngine.COUNTER))
        return state.remember(index=jnp.asarray(self.first_update_idx, jnp.int32), vectors=jnp.zeros((), jnp.uint32))

    def _written(self, state: CellState, stream: Stream) -> CellState:
        """Write zeros to all devices, as the reference does once more than needed while it builds a tile.

        What setting weights leaves alone so has one layer of write noise more (spec: compounds, section 4).
        """
        written = [
            device.set_weights(state.devices[k], state.weights[k], stream.child(f"device {k}"))
            for k, device in enumerate(self.unit_cell_devices)
        ]
        return dataclasses.replace(
            state, devices=tuple(parts for parts, _ in written), weights=tuple(array for _, array in written)
        )

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
        policy, count = self.update_policy, len(self.unit_cell_devices)
        index = state.memory["index"]
        turn = jnp.broadcast_to(index, active.shape)
        if policy is VectorUnitCellUpdatePolicy.SINGLE_SEQUENTIAL:
            turn = (index + jnp.cumsum(active.astype(jnp.int32))) % count
        elif policy is VectorUnitCellUpdatePolicy.SINGLE_RANDOM:
            turn = jnp.floor(stream.child("policy").uniform(active.shape) * count).astype(jnp.int32)
        devices: list[DeviceState] = []
        arrays: list[jax.Array] = []
        for k, device in enumerate(self.unit_cell_devices):
            own = active if policy is VectorUnitCellUpdatePolicy.ALL else active & (turn == k)
            parts, array = lead(
                device, state.devices[k], state.weights[k], pulses, own, learning_rate, batch, stream.child(k)
            )
            devices.append(parts)
            arrays.append(array)
        number = jnp.sum(active.astype(jnp.int32))
        last = jnp.max(jnp.where(active, jnp.arange(active.shape[0]), -1))
        state = state.remember(
            index=jnp.where(number > 0, turn[last], index),
            vectors=state.memory["vectors"] + number.astype(jnp.uint32),
        )
        return self.shown(state, tuple(devices), tuple(arrays))

    def set_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        fixed = self.update_policy is VectorUnitCellUpdatePolicy.SINGLE_FIXED
        index = state.memory["index"]
        devices: list[DeviceState] = []
        arrays: list[jax.Array] = []
        for k, device in enumerate(self.unit_cell_devices):
            chosen, before = index == k, (state.devices[k], state.weights[k])
            target = jnp.where(chosen, weights, before[1]) if fixed else weights
            after = device.set_weights(before[0], target, stream.child(f"device {k}"))
            if fixed and not self.reference_quirks:
                # spec: compounds, section 4: the reference writes the other devices' weights to them once more
                after = jax.tree.map(lambda new, old, chosen=chosen: jnp.where(chosen, new, old), after, before)
            devices.append(after[0])
            arrays.append(after[1])
        first = jnp.asarray(self.first_update_idx, jnp.int32)
        state = state.remember(index=index if fixed else first, vectors=jnp.zeros((), jnp.uint32))
        return self.shown(state, tuple(devices), tuple(arrays))

    def with_update_index(self, state: CellState, index: Number) -> CellState:  # type: ignore[override]
        count = len(self.unit_cell_devices)
        if isinstance(index, int) and not 0 <= index < count:
            raise ConfigError(f"index={index} is not allowed: give 0 to {count - 1}, one of the cell's devices")
        return state.remember(index=jnp.asarray(index, jnp.int32))
