"""What all unit cells share: several devices at one crosspoint, read together (spec: compounds, sections 2 and 12).

A unit cell is a device made of devices; its devices may be unit cells again. A new cell subclasses
:class:`UnitCell` and supplies

* ``weighting``: how much each device counts in the visible weight,
* ``receive``: what a mini-batch of pulses does,
* ``set_weights``: where written weights go.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from aihwjax import arguments, random
from aihwjax.config import configclass, part
from aihwjax.devices.base import Device, DeviceState, PulsedDevice
from aihwjax.errors import ConfigError
from aihwjax.pulses import PulseType, UpdateMode, UpdateParameters
from aihwjax.random import Noise, Stream
from aihwjax.tile.pulsed_update import pulsing
from aihwjax.tile.pulsed_update.bit_lines import Route
from aihwjax.tile.pulsed_update.pulsing import Pulses
from aihwjax.tile.state import FrozenIO
from aihwjax.typing import Hidden, Number, Shape, Weights


@arguments.answering
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CellState(DeviceState):
    """DeviceState of a unit cell: that of its devices, their weights, and what the cell itself remembers.

    The parameters of single devices, which it inherits, are ``None``.
    """

    devices: tuple[DeviceState, ...] = ()
    """DeviceState of each device."""
    weights: tuple[Weights, ...] = ()
    """Apparent weights of each device, ``(out, in)``; without the last one where that is the visible weight."""
    memory: dict[str, Shaped[Array, " ..."]] = dataclasses.field(default_factory=dict)
    """Counters, indices and digital buffers, by name; see the cell."""
    read: FrozenIO | None = None
    """Frozen values of the periphery that the cell reads its devices with."""

    def remember(self, **memory: Shaped[Array, " ..."]) -> CellState:
        """Return the state with some of the memory replaced."""
        return dataclasses.replace(self, memory={**self.memory, **memory})


_Action = Callable[[Device, DeviceState, jax.Array, Stream], tuple[DeviceState, jax.Array]]


@configclass
class UnitCell(Device):
    """Base of all devices that are made of several."""

    unit_cell_devices: tuple[Device, ...] = part(tuple)
    """Devices at each crosspoint; pulsed devices or unit cells."""

    pulsed: ClassVar[bool] = True
    tile_name: ClassVar[str] = "UnitCellRPUConfig"
    counts_vectors: ClassVar[bool] = True

    def validate(self) -> None:
        if not self.unit_cell_devices:
            raise ConfigError(f"{type(self).__name__}.unit_cell_devices=() is not allowed: give at least one device")
        for i, device in enumerate(self.unit_cell_devices):
            if not isinstance(device, PulsedDevice | UnitCell):
                name = type(device).__name__
                raise ConfigError(
                    f"{type(self).__name__}.unit_cell_devices[{i}]={name} is not allowed: "
                    "give a pulsed device or a unit cell"
                )
        devices = tuple(with_quirks(device, self.reference_quirks) for device in self.unit_cell_devices)
        object.__setattr__(self, "unit_cell_devices", devices)

    def check_steps(self, *, downward: bool = True) -> None:
        for device in self.unit_cell_devices:
            device.check_steps(downward=downward)

    def has_derivatives(self) -> bool:
        return False  # what is read of a device and written to another is rounded

    def resolved(self) -> Device:
        return self.replace(unit_cell_devices=tuple(device.resolved() for device in self.unit_cell_devices))

    # ------------------------------------------------------------ construction
    def init(self, key: Noise, shape: Shape) -> CellState:
        if self.construction_seed != 0:
            key = jax.random.key(self.construction_seed)
        devices = tuple(
            device.replace(construction_seed=0).init(random.derive(key, f"device {k}"), shape)
            for k, device in enumerate(self.unit_cell_devices)
        )
        weights = tuple(jnp.zeros(shape, jnp.float32) for _ in devices)
        return self.fresh(CellState(devices=devices, weights=weights), random.derive(key, "cell"), shape)

    def fresh(self, state: CellState, key: Noise, shape: Shape) -> CellState:
        """Add what the cell itself remembers to the state of a new tile."""
        return state

    # ----------------------------------------------------------------- weights
    def weight_granularity(self) -> Number:
        steps = [device.weight_granularity() for device in self.unit_cell_devices]
        return sum(steps[1:], start=steps[0]) / len(steps)

    def weighting(self) -> tuple[Number, ...]:
        """Return how much each device counts in the visible weight."""
        raise AssertionError

    def arrays(self, state: CellState, weights: jax.Array) -> tuple[jax.Array, ...]:
        """Return the weights of all devices, given the visible ones."""
        return state.weights

    def shown(
        self, state: CellState, devices: tuple[DeviceState, ...], arrays: tuple[jax.Array, ...]
    ) -> tuple[CellState, jax.Array]:
        """Put devices and weights back into the state and return it with the visible weights."""
        state = dataclasses.replace(state, devices=devices, weights=arrays)
        return state, self.visible(state, arrays)

    def visible(self, state: CellState, arrays: tuple[jax.Array, ...]) -> jax.Array:
        """Return the visible weights."""
        total = jnp.zeros_like(arrays[0])
        for weight, array in zip(self.weighting(), arrays, strict=True):
            total = total + weight * array
        return total

    # ------------------------------------------------------------------ update
    def update(
        self,
        state: CellState,  # type: ignore[override]
        weights: jax.Array,
        x: jax.Array,
        d: jax.Array,
        learning_rate: Number | jax.Array,
        parameters: UpdateParameters,
        mode: UpdateMode,
        stream: Stream,
    ) -> tuple[CellState, jax.Array]:
        if self.reference_quirks and parameters.pulse_type is PulseType.NONE_WITH_DEVICE:
            return self.exact_update(state, weights, x, d, learning_rate, stream)
        active = jnp.broadcast_to(jnp.asarray(learning_rate) != 0, (x.shape[0],))
        rate = self.pulse_rate(state, x, d, learning_rate, parameters, active)
        pulses = pulsing.make(
            parameters,
            mode,
            self.weight_granularity(),
            x,
            d,
            jnp.where(active, rate, 0.0),
            stream.child("lines"),
            self.reference_quirks,
        )
        return self.receive(state, weights, pulses, active, learning_rate, x.shape[0], stream.child("cycles"))

    def pulse_rate(
        self,
        state: CellState,
        x: jax.Array,
        d: jax.Array,
        learning_rate: Number | jax.Array,
        parameters: UpdateParameters,
        active: jax.Array,
    ) -> Number | jax.Array:
        """Return the learning rate that pulses are made with, one number or one for each vector."""
        return learning_rate

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
        """Take the pulses of a mini-batch, vector by vector.

        Args:
            state: DeviceState of the cell.
            weights: Visible weights.
            pulses: The pulses of all vectors.
            active: Which of the vectors reach this cell, ``(n,)`` bool; others are not counted.
            learning_rate: The optimizer's learning rate.
            batch: Vectors in the mini-batch, the unit of schedules.
            stream: Randomness of the cell.
        """
        raise AssertionError

    def exact_update(
        self,
        state: CellState,
        weights: jax.Array,
        x: jax.Array,
        d: jax.Array,
        learning_rate: Number | jax.Array,
        stream: Stream,
    ) -> tuple[CellState, jax.Array]:
        """Reproduce what pulse type ``NONE_WITH_DEVICE`` does in the reference (spec: compounds, bug 13).

        The step goes to the visible weight, which is recombined from the devices right after.
        """
        idle = jnp.asarray(learning_rate) == 0
        clipped = self.clip_weights(state, weights, None, stream)
        return jax.tree.map(lambda new, old: jnp.where(idle, old, new), clipped, (state, weights))

    # ------------------------------------------------------------- maintenance
    def decays(self) -> bool:
        return any(device.decays() for device in self.unit_cell_devices)

    def diffuses(self) -> bool:
        return any(device.diffuses() for device in self.unit_cell_devices)

    def each(
        self, state: CellState, weights: jax.Array, stream: Stream, action: _Action, only: int | None = None
    ) -> tuple[CellState, jax.Array]:
        """Apply an action to every device (or to one of them) and recombine the visible weight."""
        devices, arrays = list(state.devices), list(self.arrays(state, weights))
        for k, device in enumerate(self.unit_cell_devices):
            if only is None or only == k:
                devices[k], arrays[k] = action(device, devices[k], arrays[k], stream.child(f"device {k}"))
        return self.shown(state, tuple(devices), tuple(arrays))

    def decay_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, alpha: Number, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self.each(state, weights, stream, lambda device, s, w, own: device.decay_weights(s, w, alpha, own))

    def diffuse_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self.each(state, weights, stream, lambda device, s, w, own: device.diffuse_weights(s, w, own))

    def drift_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, delta_t: Number, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self.each(state, weights, stream, lambda device, s, w, own: device.drift_weights(s, w, delta_t, own))

    def reset_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, where: jax.Array, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self.each(state, weights, stream, lambda device, s, w, own: device.reset_weights(s, w, where, own))

    def reset_columns(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, columns: jax.Array, probability: Number, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        """Reset columns of each device, each with chances of its own (spec: compounds, section 12.3)."""
        return self.each(
            state, weights, stream, lambda device, s, w, own: device.reset_columns(s, w, columns, probability, own)
        )

    def clip_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, limit: Number | None, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self.each(state, weights, stream, lambda device, s, w, own: device.clip_weights(s, w, limit, own))

    def hidden_parameters(self, state: CellState, weights: Weights) -> dict[str, Hidden]:  # type: ignore[override]
        hidden: dict[str, jax.Array] = {}
        arrays = self.arrays(state, weights)
        for k, (device, parts) in enumerate(zip(self.unit_cell_devices, state.devices, strict=True)):
            own = device.hidden_parameters(parts, arrays[k])
            hidden.update({f"{name}_{k}": value for name, value in own.items()})
            hidden[f"hidden_weights_{k}"] = arrays[k]
        buffers = {name: self.turned(state.memory[place]) for name, place in self.buffers().items()}
        return {**hidden, **buffers}

    def fixed_parameters(self, state: CellState) -> dict[str, str]:  # type: ignore[override]
        fixed: dict[str, str] = {}
        for k, (device, parts) in enumerate(zip(self.unit_cell_devices, state.devices, strict=True)):
            fixed |= {f"{name}_{k}": reason for name, reason in device.fixed_parameters(parts).items()}
            if isinstance(device, UnitCell):
                fixed[f"hidden_weights_{k}"] = "it is the sum of a cell's devices, so set the weights of these"
        return fixed

    def set_hidden_parameters(  # type: ignore[override]
        self, state: CellState, weights: Weights, values: Mapping[str, Hidden], written: Weights | None = None
    ) -> tuple[CellState, Weights]:
        """Replace parameters of the devices, their weights and the buffers; the visible weight is theirs."""
        before = self.arrays(state, weights)
        devices, arrays = list(state.devices), list(before)
        for k, device in enumerate(self.unit_cell_devices):
            names = device.hidden_parameters(devices[k], arrays[k])
            own = {name: values[f"{name}_{k}"] for name in names if f"{name}_{k}" in values}
            weight = values.get(f"hidden_weights_{k}")
            devices[k], arrays[k] = device.set_hidden_parameters(devices[k], arrays[k], own, weight)
        kept = {place: self.turned(values[name]) for name, place in self.buffers().items() if name in values}
        state, visible = self.shown(state.remember(**kept), tuple(devices), tuple(arrays))
        # a sum that is computed again may differ in its last digit
        moved = jnp.any(jnp.stack([new != old for new, old in zip(arrays, before, strict=True)]), axis=0)
        return state, jnp.where(moved, visible, weights)

    def buffers(self) -> dict[str, str]:
        """Return the reference's names of the cell's digital buffers, and where in the memory they are."""
        return {}

    def turned(self, lines: jax.Array) -> jax.Array:
        """Turn a buffer into the orientation of the tile ``(out, in)``, or back."""
        return lines


@configclass
class CopyingCell(UnitCell):
    """Base of cells that make some of their devices like another one and discard what is given for them."""

    discarded_decays: bool = False
    """Set by the cell: whether a discarded configuration decays. The reference asks what was given (quirks)."""
    discarded_diffuses: bool = False
    """Set by the cell: whether a discarded configuration diffuses."""

    at_once: ClassVar[tuple[str, ...]] = ("discarded_decays", "discarded_diffuses")

    def use(self, devices: tuple[Device, ...]) -> None:
        """Put ``devices`` in the place of those given, and note what upkeep the discarded ones ask for."""
        devices = tuple(with_quirks(device, self.reference_quirks) for device in devices)
        pairs = zip_longest(self.unit_cell_devices, devices)
        discarded = [given for given, used in pairs if given and not (used and _alike(given, used))]
        object.__setattr__(self, "unit_cell_devices", devices)
        if discarded:
            object.__setattr__(self, "discarded_decays", any(device.decays() for device in discarded))
            object.__setattr__(self, "discarded_diffuses", any(device.diffuses() for device in discarded))

    def decays(self) -> bool:
        return super().decays() or (self.reference_quirks and self.discarded_decays)

    def diffuses(self) -> bool:
        return super().diffuses() or (self.reference_quirks and self.discarded_diffuses)


def _alike(first: Device, second: Device) -> bool:
    """Whether two configurations hold the same, as far as it is known: traced numbers may be equal.

    Features that are off are part of the structure, so that equal structures ask for the same upkeep.
    """
    mine, tree = jax.tree.flatten(first)
    theirs, other = jax.tree.flatten(second)
    if tree != other:  # type: ignore[operator]
        return False
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in (*mine, *theirs))
    return traced or all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))


def with_quirks(device: Device, quirks: bool) -> Device:
    """Return the device with the reference's bugs on or off."""
    return device if device.reference_quirks is quirks else device.replace(reference_quirks=quirks)


def lead(
    device: Device,
    state: DeviceState,
    weights: jax.Array,
    pulses: Pulses,
    active: jax.Array,
    learning_rate: Number | jax.Array,
    batch: int,
    stream: Stream,
    route: Route = Route.BOTH,
) -> tuple[DeviceState, jax.Array]:
    """Lead the pulses of the active vectors to one of the devices of a cell; arguments as ``UnitCell.receive``."""
    if isinstance(device, PulsedDevice):
        return pulsing.apply(device, state, weights, pulses.only(active), stream, route)
    assert isinstance(device, UnitCell) and isinstance(state, CellState) and route is Route.BOTH
    return device.receive(state, weights, pulses, active, learning_rate, batch, stream)
