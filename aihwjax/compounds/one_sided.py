"""A pair of devices that are only pulsed up: the weight is their difference (spec: compounds, section 5)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax import random
from aihwjax.compounds import reading, writing
from aihwjax.compounds.blocks import Slices
from aihwjax.compounds.cells import CellState, CopyingCell, UnitCell, lead
from aihwjax.compounds.schedule import NEVER
from aihwjax.config import configclass, not_positive, number, part
from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.errors import ConfigError
from aihwjax.loops import repeat_while
from aihwjax.pulses import PulseType, UpdateParameters
from aihwjax.random import Noise, Stream
from aihwjax.tile.product.frozen import REDRAW
from aihwjax.tile.product.io import IOParameters
from aihwjax.tile.pulsed_update.bit_lines import Route
from aihwjax.tile.pulsed_update.pulsing import Pulses
from aihwjax.typing import Number, Shape

_MINUS, _PLUS = 0, 1
_ROUTES = (Route.DOWN_AS_UP, Route.UP)
_DENSE = (PulseType.MEAN_COUNT, PulseType.DETERMINISTIC_IMPLICIT)


class _Turn(NamedTuple):
    """Where a mini-batch stands: vectors done, refreshes done, state and weights of both devices."""

    vector: jax.Array
    refreshes: jax.Array
    devices: tuple[DeviceState, ...]
    arrays: tuple[jax.Array, ...]


@configclass
class OneSidedUnitCell(CopyingCell):
    """Two devices of which one is raised to lower the weight and the other to raise it.

    When to use: for devices that can only be pulsed in one direction, such as phase change memory.
    A refresh resets pairs in which both are high and writes their difference anew. Index 0 is the
    device that counts negatively. Spec: compounds, section 5.

    One device in the list serves as both. Memory: ``vectors`` counted, ``refreshed`` crosspoints.
    """

    refresh_every: Number = number(0, integer=True, off=not_positive)
    """Time between refreshes, in mini-batches or vectors; 0 or below: never."""
    units_in_mbatch: bool = True
    """Whether that time counts mini-batches, else vectors."""
    refresh_upper_thres: Number = number(0.75, infinite=True)
    """A pair is refreshed if one device is above this fraction of ``w_max`` (infinity: none is) …"""
    refresh_lower_thres: Number = number(0.25, infinite=True)
    """… and the other above this one (infinity: none is)."""
    refresh_forward: IOParameters = part(IOParameters)
    """Periphery of the reads of a refresh."""
    refresh_update: UpdateParameters = part(UpdateParameters)
    """Pulses of the writes of a refresh."""
    copy_inverted: bool = False
    """Whether the second device is the first one with up and down exchanged."""

    at_once: ClassVar[tuple[str, ...]] = (
        "refresh_every", "units_in_mbatch", "refresh_upper_thres", "refresh_lower_thres", "refresh_forward",
        "refresh_update",
    )  # fmt: skip

    def validate(self) -> None:
        count = len(self.unit_cell_devices)
        if count == 1:
            object.__setattr__(self, "unit_cell_devices", self.unit_cell_devices * 2)
        if count > 2:
            raise ConfigError(f"{type(self).__name__}.unit_cell_devices has {count} entries: give one or two")
        super().validate()
        for i, device in enumerate(self.unit_cell_devices):
            if isinstance(device, UnitCell):
                raise ConfigError(
                    f"{type(self).__name__}.unit_cell_devices[{i}]={type(device).__name__} is not allowed: "
                    "give a single pulsed device"
                )
        first, second = self.unit_cell_devices
        if type(first) is not type(second):
            raise ConfigError(
                f"{type(self).__name__}.unit_cell_devices[1]={type(second).__name__} is not allowed: "
                f"give a {type(first).__name__} like the first"
            )
        if self.copy_inverted and not self.reference_quirks:
            second = first.inverted()  # type: ignore[attr-defined]
        elif self.copy_inverted or self.reference_quirks:
            second = first  # spec: compounds, bug 6: the second configuration is replaced by the first
        self.use((first, second))

    def check_steps(self, *, downward: bool = True) -> None:
        # pulses go up alone; an inverted copy goes up as the first device goes down
        super().check_steps(downward=self.copy_inverted)

    # ------------------------------------------------------------ construction
    def fresh(self, state: CellState, key: Noise, shape: Shape) -> CellState:
        if self.copy_inverted:
            device = self.unit_cell_devices[_PLUS]
            first, second = state.devices
            assert isinstance(device, PulsedDevice)
            # spec: compounds, bug 7: in the reference only the shape comes from the first device
            mirror = mirrored(second, first, second) if self.reference_quirks else mirrored(first, first, first)
            mirror = dataclasses.replace(mirror, coarseness=device.coarseness(mirror))
            state = dataclasses.replace(state, devices=(first, mirror))
        frozen = None
        if self.present("refresh_every"):
            source = random.derive(key, "read")
            frozen = reading.freeze(self.refresh_forward, source, (shape[0], shape[1]), True, self.reference_quirks)
        state = dataclasses.replace(state, read=frozen)
        return state.remember(vectors=jnp.zeros((), jnp.uint32), refreshed=jnp.zeros((), jnp.uint32))

    def weighting(self) -> tuple[Number, ...]:
        return -1.0, 1.0

    # ------------------------------------------------------------------ update
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
        number = jnp.sum(active.astype(jnp.int32))
        memory = {**state.memory, "vectors": state.memory["vectors"] + number.astype(jnp.uint32)}
        if not self.present("refresh_every"):
            devices, arrays = self._pulse(state.devices, state.weights, pulses, active, learning_rate, batch, stream)
            return self.shown(dataclasses.replace(state, memory=memory), devices, arrays)
        if state.read is None:
            raise ConfigError(
                f"refresh_every={self.refresh_every!r} is not allowed on this tile, which was drawn without: {REDRAW}"
            )
        every = jnp.asarray(self.refresh_every, jnp.int32)
        if self.units_in_mbatch:
            every = jnp.minimum(every, NEVER // batch) * batch
        safe = jnp.maximum(every, 1)
        place = jnp.cumsum(active.astype(jnp.int32)) - 1
        before = (state.memory["vectors"] % safe.astype(jnp.uint32)).astype(jnp.int32)

        def one_turn(turn: _Turn) -> _Turn:
            # up to the next refresh, or to the end of the mini-batch
            due = turn.vector + safe - (before + turn.vector) % safe
            end = jnp.where(every > 0, jnp.minimum(due, number), number)
            own = stream.child("turn").child(turn.vector)
            chosen = active & (place >= turn.vector) & (place < end)
            devices, arrays = self._pulse(turn.devices, turn.arrays, pulses, chosen, learning_rate, batch, own)
            turn = _Turn(end, turn.refreshes, devices, arrays)
            refreshes = (every > 0) & (end == due)
            return lax.cond(refreshes, lambda t: self._refresh(state, t, own.child("refresh")), lambda t: t, turn)

        start = _Turn(jnp.zeros((), jnp.int32), state.memory["refreshed"], state.devices, state.weights)
        turn = repeat_while(lambda t: t.vector < number, one_turn, start)
        state = dataclasses.replace(state, memory={**memory, "refreshed": turn.refreshes})
        return self.shown(state, turn.devices, turn.arrays)

    def _pulse(
        self,
        devices: tuple[DeviceState, ...],
        arrays: tuple[jax.Array, ...],
        pulses: Pulses,
        active: jax.Array,
        learning_rate: Number | jax.Array,
        batch: int,
        stream: Stream,
    ) -> tuple[tuple[DeviceState, ...], tuple[jax.Array, ...]]:
        results = [
            lead(device, devices[k], arrays[k], pulses, active, learning_rate, batch, stream.child(k), _ROUTES[k])
            for k, device in enumerate(self.unit_cell_devices)
        ]
        return tuple(parts for parts, _ in results), tuple(array for _, array in results)

    def _refresh(self, state: CellState, turn: _Turn, stream: Stream) -> _Turn:
        """Reset the pairs of which both are high and write their differences anew, open loop."""
        shape = (turn.arrays[0].shape[0], turn.arrays[0].shape[1])
        slices = Slices(True, shape, jnp.zeros((), jnp.int32), shape[1])
        assert state.read is not None
        read = []
        for k in (_MINUS, _PLUS):
            own = stream.child("read").child(k)
            whole = turn.arrays[k]
            lines = reading.read(self.refresh_forward, state.read, whole, whole, slices, own, self.reference_quirks)
            values = slices.turned(lines)
            top = jnp.abs(jnp.asarray(self.unit_cell_devices[k].w_max, jnp.float32))  # type: ignore[attr-defined]
            read.append((values, values / top))
        (minus, minus_part), (plus, plus_part) = read
        upper, lower = self.refresh_upper_thres, self.refresh_lower_thres
        raises = plus > minus
        high = jnp.where(raises, plus_part > upper, plus_part > lower)
        both = high & jnp.where(raises, minus_part > lower, minus_part > upper)
        again = {
            _PLUS: jnp.where(both & raises, plus - minus, 0.0),
            _MINUS: jnp.where(both & ~raises, minus - plus, 0.0),
        }
        devices, arrays = list(turn.devices), list(turn.arrays)
        for k in (_MINUS, _PLUS):
            device, parts = self.unit_cell_devices[k], devices[k]
            assert isinstance(device, PulsedDevice)
            own = stream.child("write").child(k)
            parts, array = device.reset_weights(parts, arrays[k], both, own.child("reset"))
            # spec: compounds, bug 5: a negative learning rate turns both lines where pulses are counted
            downward = self.reference_quirks and self.refresh_update.pulse_type in _DENSE
            lines = slices.turned(again[k] if downward else -again[k])
            devices[k], arrays[k] = writing.write(device, parts, array, lines, 1.0, self.refresh_update, slices, own)
        refreshed = turn.refreshes + jnp.sum(both.astype(jnp.uint32))
        return turn._replace(refreshes=refreshed, devices=tuple(devices), arrays=tuple(arrays))

    # ----------------------------------------------------------------- weights
    def set_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        """Write positive weights to the second device and negative ones to the first."""
        parts = (jnp.maximum(-weights, 0.0), jnp.maximum(weights, 0.0))
        devices, arrays = [], []
        for k, device in enumerate(self.unit_cell_devices):
            own, array = device.set_weights(state.devices[k], parts[k], stream.child(f"device {k}"))
            devices.append(own)
            arrays.append(array)
        state = state.remember(vectors=jnp.zeros((), jnp.uint32), refreshed=jnp.zeros((), jnp.uint32))
        return self.shown(state, tuple(devices), tuple(arrays))


def mirrored(own: DeviceState, shape: DeviceState, reference: DeviceState) -> DeviceState:
    """Return a device state with up and down exchanged and the weight mirrored.

    Args:
        own: Where bounds and step sizes come from.
        shape: Where the parameters of the device model come from.
        reference: Where the reference of a reference device comes from.
    """
    model = dict(shape.model)
    for up, down, sign in (("slope_up", "slope_down", -1.0), ("gamma_up", "gamma_down", 1.0)):
        if up in model:
            model[up], model[down] = sign * shape.model[down], sign * shape.model[up]
    if "reference" in model:
        model["reference"] = -reference.model["reference"]
    assert own.max_bound is not None and own.min_bound is not None
    return dataclasses.replace(
        own,
        max_bound=-own.min_bound,
        min_bound=-own.max_bound,
        dwmin_up=own.dwmin_down,
        dwmin_down=own.dwmin_up,
        model=model,
    )


DifferenceUnitCell = OneSidedUnitCell
"""The reference's older name of the cell."""
