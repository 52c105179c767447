"""Mixed precision: gradients are summed in digital, whole steps are written to the device.

Spec: compounds, section 10; Nandakumar et al., Frontiers in Neuroscience 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax import random
from aihwjax.compounds import writing
from aihwjax.compounds.blocks import Slices, drawn_slice
from aihwjax.compounds.cells import CellState, UnitCell, with_quirks
from aihwjax.compounds.schedule import NEVER
from aihwjax.config import configclass, not_positive, number, part
from aihwjax.devices.base import Device, DeviceState, PulsedDevice
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.errors import ConfigError
from aihwjax.loops import repeat_while
from aihwjax.products import outer
from aihwjax.pulses import UpdateMode, UpdateParameters
from aihwjax.random import Noise, Stream
from aihwjax.tile.pulsed_update import pulsing
from aihwjax.typing import Hidden, Number, Shape, Weights


class _Turn(NamedTuple):
    """Where a mini-batch stands: vectors done, digital matrix, next row, the device and its weights."""

    vector: jax.Array
    chi: jax.Array
    row: jax.Array
    device: DeviceState
    weights: jax.Array


@configclass
class MixedPrecisionCompound(Device):
    """A digital matrix that sums the gradients, and a device that gets its whole steps, row by row.

    When to use: where digital memory for the gradients can be afforded; almost any device trains.
    Writes are pulse trains of the tile's ``update``; a row that asks for more than ``desired_bl``
    pulses loses the rest. Spec: compounds, section 10; Nandakumar et al., Frontiers in
    Neuroscience 2020, doi 10.3389/fnins.2020.00406.

    Memory: ``chi`` the digital matrix, ``vectors`` counted, next ``row``.
    """

    device: Device = part(ConstantStepDevice)
    """The device that is written: a pulsed device or a unit cell."""
    transfer_every: Number = number(1, integer=True, off=not_positive)
    """Mini-batches between transfers; 0 or below: never."""
    n_rows_per_transfer: int = -1
    """Rows of a transfer; below 0: all, 0: never."""
    random_row: bool = False
    """Whether a transfer of some rows begins at a random one."""
    granularity: Number = number(0.0, off=not_positive)
    """Content of the digital matrix that makes a step; at 0, the granularity of the device."""
    transfer_lr: Number = number(1.0)
    """Factor on the written steps; not multiplied by the optimizer's learning rate."""
    n_x_bins: int = 0
    """Levels of the inputs; 0 or below: not quantised."""
    n_d_bins: int = 0
    """Levels of the gradients; 0 or below: not quantised."""
    stoc_round_x: bool = True
    """Whether inputs are rounded stochastically."""
    stoc_round_d: bool = True
    """Whether gradients are rounded stochastically."""

    at_once: ClassVar[tuple[str, ...]] = (
        "transfer_every", "n_rows_per_transfer", "random_row", "granularity", "transfer_lr", "n_x_bins", "n_d_bins",
        "stoc_round_x", "stoc_round_d",
    )  # fmt: skip
    pulsed: ClassVar[bool] = True
    tile_name: ClassVar[str] = "DigitalRankUpdateRPUConfig"
    counts_vectors: ClassVar[bool] = True

    def validate(self) -> None:
        device = self.device
        if not isinstance(device, PulsedDevice | UnitCell):
            raise ConfigError(
                f"MixedPrecisionCompound.device={type(device).__name__} is not allowed: "
                "give a pulsed device or a unit cell"
            )
        for field in ("n_x_bins", "n_d_bins"):
            value = getattr(self, field)
            if value == 1:
                raise ConfigError(f"MixedPrecisionCompound.{field}={value} is not allowed: give 0 or at least 2")
        object.__setattr__(self, "device", with_quirks(device, self.reference_quirks))

    def check_steps(self, *, downward: bool = True) -> None:
        self.device.check_steps(downward=downward)

    def has_derivatives(self) -> bool:
        return False  # what is written are whole steps

    def resolved(self) -> Device:
        return self.replace(device=self.device.resolved())

    # ------------------------------------------------------------ construction
    def init(self, key: Noise, shape: Shape) -> CellState:
        if self.construction_seed != 0:
            key = jax.random.key(self.construction_seed)
        device = self.device.replace(construction_seed=0)
        return CellState(devices=(device.init(random.derive(key, "device"), shape),), memory=_empty(shape))

    def weight_granularity(self) -> Number:
        return self.device.weight_granularity()

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
        batch, memory = x.shape[0], state.memory
        number = jnp.where(jnp.asarray(learning_rate) != 0, batch, 0)
        x = _quantised(x, self.n_x_bins, self.stoc_round_x, stream.child("x"))
        d = _quantised(d, self.n_d_bins, self.stoc_round_d, stream.child("d"))
        if self.reference_quirks and (self.n_x_bins > 0) != (self.n_d_bins > 0):
            d = _misplaced(d, x.shape[1])
        wanted = jnp.asarray(self.transfer_every, jnp.int32)
        every = jnp.clip(wanted, 1, NEVER // batch) * batch
        done = (memory["vectors"] % every.astype(jnp.uint32)).astype(jnp.int32)
        if self.reference_quirks:  # spec: compounds, bug 11: one vector late
            first = jnp.where(memory["vectors"] == 0, every, (every - done) % every)
        else:
            first = every - 1 - done
        place = lax.iota(jnp.int32, batch)

        def one_turn(turn: _Turn) -> _Turn:
            # up to the next transfer, or to the end of the mini-batch
            due = first + jnp.maximum((turn.vector - first + every - 1) // every, 0) * every + 1
            end = jnp.minimum(due, number)
            chosen = (place >= turn.vector) & (place < end)
            chi = turn.chi + learning_rate * outer(jnp.where(chosen[:, None], d, 0.0), x)
            turn = turn._replace(vector=end, chi=chi)
            own = stream.child("transfer").child(end)
            transfers = (due <= number) & (wanted > 0)
            transfers &= (jnp.asarray(self.transfer_lr) != 0) & (self.n_rows_per_transfer != 0)
            return lax.cond(transfers, lambda t: self._transfer(t, parameters, mode, own), lambda t: t, turn)

        zero = jnp.zeros((), jnp.int32)
        turn = _Turn(zero, memory["chi"], memory["row"], state.devices[0], weights)
        turn = repeat_while(lambda t: t.vector < number, one_turn, turn)
        vectors = memory["vectors"] + number.astype(jnp.uint32)
        state = dataclasses.replace(state, devices=(turn.device,))
        return state.remember(chi=turn.chi, vectors=vectors, row=turn.row), turn.weights

    def _transfer(self, turn: _Turn, parameters: UpdateParameters, mode: UpdateMode, stream: Stream) -> _Turn:
        """Write the whole steps of some rows and take them from the digital matrix."""
        out_size, in_size = turn.weights.shape
        count = out_size if self.n_rows_per_transfer < 0 else min(self.n_rows_per_transfer, out_size)
        row = turn.row
        if self.random_row and count < out_size:
            row = drawn_slice(out_size, stream.child("row"), self.reference_quirks)
        chosen = (lax.iota(jnp.int32, out_size) - row) % out_size < count
        step = self.device.weight_granularity()
        if self.present("granularity"):
            given = jnp.asarray(self.granularity, jnp.float32)
            step = jnp.where(given > 0, given, step)
        steps = jnp.where(chosen[:, None], jnp.trunc(turn.chi / step), 0.0)
        rate = step * jnp.abs(jnp.asarray(self.transfer_lr, jnp.float32))
        signed = steps * jnp.sign(jnp.asarray(self.transfer_lr, jnp.float32))
        parameters = parameters.replace(update_management=True, update_bl_management=True)
        own = stream.child("write")
        if isinstance(self.device, PulsedDevice):
            slices = Slices(False, (out_size, in_size), jnp.zeros((), jnp.int32), out_size)
            written = writing.write(self.device, turn.device, turn.weights, signed, rate, parameters, slices, own)
        else:
            rows = (row + lax.iota(jnp.int32, count)) % out_size
            one_hot = (rows[:, None] == lax.iota(jnp.int32, out_size)[None, :]).astype(jnp.float32)
            written = pulsing.update(
                self.device, turn.device, turn.weights, signed[rows], one_hot, rate, parameters, mode, own
            )
        return _Turn(turn.vector, turn.chi - steps * step, (row + count) % out_size, *written)

    # ------------------------------------------------------------- maintenance
    def set_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        """Write the device; the digital matrix and the counters become zero."""
        parts, weights = self.device.set_weights(state.devices[0], weights, stream)
        return CellState(devices=(parts,), memory=_empty(weights.shape)), weights

    def decays(self) -> bool:
        return self.device.decays()

    def diffuses(self) -> bool:
        return self.device.diffuses()

    def decay_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, alpha: Number, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self._inner(state, self.device.decay_weights(state.devices[0], weights, alpha, stream))

    def diffuse_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self._inner(state, self.device.diffuse_weights(state.devices[0], weights, stream))

    def drift_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, delta_t: Number, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self._inner(state, self.device.drift_weights(state.devices[0], weights, delta_t, stream))

    def reset_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, where: jax.Array, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self._inner(state, self.device.reset_weights(state.devices[0], weights, where, stream))

    def reset_columns(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, columns: jax.Array, probability: Number, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self._inner(state, self.device.reset_columns(state.devices[0], weights, columns, probability, stream))

    def clip_weights(  # type: ignore[override]
        self, state: CellState, weights: jax.Array, limit: Number | None, stream: Stream
    ) -> tuple[CellState, jax.Array]:
        return self._inner(state, self.device.clip_weights(state.devices[0], weights, limit, stream))

    @staticmethod
    def _inner(state: CellState, result: tuple[DeviceState, jax.Array]) -> tuple[CellState, jax.Array]:
        return dataclasses.replace(state, devices=(result[0],)), result[1]

    def hidden_parameters(self, state: CellState, weights: jax.Array) -> dict[str, Hidden]:  # type: ignore[override]
        inner = self.device.hidden_parameters(state.devices[0], weights)
        return {**inner, "hidden_weights_chi": state.memory["chi"]}

    def fixed_parameters(self, state: CellState) -> dict[str, str]:  # type: ignore[override]
        return self.device.fixed_parameters(state.devices[0])

    def set_hidden_parameters(  # type: ignore[override]
        self, state: CellState, weights: Weights, values: Mapping[str, Hidden], written: Weights | None = None
    ) -> tuple[CellState, Weights]:
        chi = values.get("hidden_weights_chi", state.memory["chi"])
        changed = self.device.set_hidden_parameters(state.devices[0], weights, values, written)
        return self._inner(state.remember(chi=chi), changed)


def _empty(shape: Shape) -> dict[str, jax.Array]:
    """Return the memory of a new tile."""
    return {
        "chi": jnp.zeros(shape, jnp.float32),
        "vectors": jnp.zeros((), jnp.uint32),
        "row": jnp.zeros((), jnp.int32),
    }


def _misplaced(d: jax.Array, inputs: int) -> jax.Array:
    """Return the gradients as the reference multiplies them if one side alone is quantised.

    All go, one after the other, to the place of the last input, and the last of them stays there; if
    there is no such place it is lost (spec: compounds, bug 8).
    """
    place = lax.iota(jnp.int32, d.shape[1])
    return jnp.where(place == inputs - 1, d[:, -1:], 0.0)


def _quantised(z: jax.Array, bins: int, stochastic: bool, stream: Stream) -> jax.Array:
    """Round each vector to ``bins`` levels of its own range (spec: compounds, section 10)."""
    if bins <= 0:
        return z
    levels = bins // 2
    width = jnp.max(jnp.abs(z), axis=1, keepdims=True) / levels
    width = jnp.where(width > 0, width, 1.0)
    scaled = z / width
    if stochastic:
        scaled = scaled + stream.uniform(z.shape) - 0.5
    return jnp.clip(jnp.round(scaled), -levels, levels) * width
