"""What a device is: a frozen configuration, and a few pure functions that a tile asks of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Bool, Float

from aihwjax import showing
from aihwjax.config import Config, configclass
from aihwjax.devices.counts import PulseCounts
from aihwjax.devices.drifting import DriftState
from aihwjax.random import Noise, Stream
from aihwjax.typing import Crosspoints, Hidden, Marks, Number, Shape, Weights

if TYPE_CHECKING:
    from aihwjax.pulses import UpdateMode, UpdateParameters


class Steps(NamedTuple):
    """Sizes of one noise-free up and down step, each ``(out, in)``; a down step is subtracted."""

    up: Crosspoints
    down: Crosspoints


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DeviceState(showing.Record):
    """Per-crosspoint parameters and hidden state of a device; every array is ``(out, in)``.

    A field is ``None`` where the configuration switches the feature off.
    """

    max_bound: Crosspoints | None = None
    """Upper hard bound of the weight."""
    min_bound: Crosspoints | None = None
    """Lower hard bound of the weight."""
    dwmin_up: Crosspoints | None = None
    """Size of an up step (before the model's dependence on the weight)."""
    dwmin_down: Crosspoints | None = None
    """Size of a down step."""
    decay_scales: Crosspoints | None = None
    """Factor of one decay call."""
    diffusion_rates: Crosspoints | None = None
    """Standard deviation of one diffusion call."""
    reset_bias: Crosspoints | None = None
    """Weight after a reset and the rest point of the decay."""
    drift: DriftState | None = None
    """Drift exponents and clock."""
    persistent: Weights | None = None
    """Weights without write noise, if there is write noise."""
    coarseness: Float[Array, " 2"] | None = None
    """Mean |d step / d weight| and mean step over half range, ``(2,)``; they decide how pulses are grouped."""
    pulses: PulseCounts | None = None
    """Pulses that each crosspoint got, if they are counted."""
    model: dict[str, Crosspoints] = dataclasses.field(default_factory=dict)
    """Parameters of the device model, under the reference's names."""


@configclass
class Device(Config):
    """Base of all devices: what a tile asks of one."""

    construction_seed: int = 0
    """0: parameters are drawn from the tile's key; else equal draws in all tiles of equal shape."""
    reference_quirks: bool = False
    """Set by the tile configuration; see ``TileConfig.reference_quirks``."""

    pulsed: ClassVar[bool] = False
    """Whether updates are pulse trains; otherwise they are exact."""
    counts_vectors: ClassVar[bool] = False
    """Whether an update must see a whole mini-batch, whose vectors it counts; else parts of it may come in turn."""

    def has_derivatives(self) -> bool:
        """Whether updates have derivatives in the mode ``DIFFERENTIABLE``: nothing but pulses keeps them from it."""
        return True

    def resolved(self) -> Device:
        """Return the device that does the work (for a device that is a conversion of another)."""
        return self

    def of_resolved(self, device: Device, errors: Mapping[str, Any]) -> tuple[Device, dict[str, Any]]:
        """Return the device of this class that :meth:`resolved` turns into another one, as far as there is one.

        Args:
            device: What it shall be resolved to; of the class of ``resolved()``.
            errors: Standard errors of its fields.

        Returns:
            The device, and the standard errors of its own fields.
        """
        return device, dict(errors)

    def check_steps(self, *, downward: bool = True) -> None:
        """Refuse numbers at which the model's steps are not defined; asked without ``reference_quirks``.

        Args:
            downward: Whether down pulses reach the device.

        Raises:
            ConfigError: If they are known not to be.
        """

    def init(self, key: Noise, shape: Shape) -> DeviceState:
        """Draw the per-crosspoint parameters of a tile of ``shape`` (out, in)."""
        raise AssertionError

    def weight_granularity(self) -> Number:
        """Return the mean step size that sets the number of pulses, in weight units."""
        raise AssertionError

    def set_weights(self, state: DeviceState, weights: Weights, stream: Stream) -> tuple[DeviceState, Weights]:
        """Write ``weights`` and return the new state and the apparent weights."""
        raise AssertionError

    def decay_weights(
        self, state: DeviceState, weights: Weights, alpha: Number, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        """Decay the weights; ``alpha`` scales the decay."""
        raise AssertionError

    def diffuse_weights(self, state: DeviceState, weights: Weights, stream: Stream) -> tuple[DeviceState, Weights]:
        """Add one step of the weight diffusion."""
        raise AssertionError

    def drift_weights(
        self, state: DeviceState, weights: Weights, delta_t: Number, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        """Let ``delta_t`` pass."""
        raise AssertionError

    def reset_weights(
        self, state: DeviceState, weights: Weights, where: Marks, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        """Reset the crosspoints where ``where`` is true."""
        raise AssertionError

    def reset_columns(
        self, state: DeviceState, weights: Weights, columns: Bool[Array, "1 in"], probability: Number, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        """Reset each crosspoint of the marked ``columns``, ``(1, in)`` bool, with a probability."""
        chance = stream.child("reset_chance").uniform(weights.shape) < probability
        return self.reset_weights(state, weights, columns & chance, stream)

    def clip_weights(
        self, state: DeviceState, weights: Weights, limit: Number | None, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        """Clip to the device's bounds and to plus and minus ``limit`` if given."""
        raise AssertionError

    def update(
        self,
        state: DeviceState,
        weights: Weights,
        x: Float[Array, "n in"],
        d: Float[Array, "n out"],
        learning_rate: Number | jax.Array,
        parameters: UpdateParameters,
        mode: UpdateMode,
        stream: Stream,
    ) -> tuple[DeviceState, Weights]:
        """Update by a mini-batch; devices that are pulsed one by one are updated by the tile instead.

        Args:
            state: State of the device.
            weights: Apparent weights ``(out, in)``.
            x: Inputs ``(n, in)``.
            d: Output gradients ``(n, out)``.
            learning_rate: At least 0; 0 changes nothing.
            parameters: How pulses are made.
            mode: Whether pulses may be applied together.
            stream: Randomness.
        """
        raise AssertionError

    def with_update_index(self, state: DeviceState, index: Number) -> DeviceState:
        """Return the state with another device of a unit cell in turn; other devices ignore it."""
        return state

    def decays(self) -> bool:
        """Whether the end of a batch decays the weights."""
        raise AssertionError

    def diffuses(self) -> bool:
        """Whether the end of a batch diffuses the weights."""
        raise AssertionError

    def hidden_parameters(self, state: DeviceState, weights: Weights) -> dict[str, Hidden]:
        """Return the per-crosspoint parameters and hidden weights under the reference's names."""
        return {}

    def fixed_parameters(self, state: DeviceState) -> dict[str, str]:
        """Return those of :meth:`hidden_parameters` that cannot be set, each with the reason and what to do."""
        return {}

    def set_hidden_parameters(
        self,
        state: DeviceState,
        weights: Weights,
        values: Mapping[str, Hidden],
        written: Weights | None = None,
    ) -> tuple[DeviceState, Weights]:
        """Replace hidden parameters and return the new state and the apparent weights.

        Args:
            state: State of the device.
            weights: Apparent weights ``(out, in)``.
            values: New parameters, some of those of :meth:`hidden_parameters` that are not fixed.
            written: New apparent weights; by default they stay, as far as the new parameters allow it.
        """
        return state, weights if written is None else written
