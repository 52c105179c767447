"""The physics that all pulsed devices share (spec: devices, sections 2 and 4).

A new pulsed model subclasses :class:`PulsedDevice` (or :class:`WriteNoiseDevice`) for the
shared fields and supplies

* ``weight_granularity``: the mean step that the update divides the learning rate by,
* ``sample_model``: its own per-crosspoint parameters, if any,
* ``steps``: the size of an up and a down step at a weight,
* ``pulse_noise``: the standard deviation of one pulse, if not multiplicative,
* the static facts ``step_law`` and ``meets_bounds`` that let the update choose its code,
* in ``at_once`` the fields that may change after a tile was drawn; all others are fixed then.

Nothing else in the library knows which device it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax.config import configclass, known, not_positive, number, part, zero
from aihwjax.devices import hidden
from aihwjax.devices.counts import PulseCounts
from aihwjax.devices.device import Device, DeviceState, Steps
from aihwjax.devices.drift import DriftParameter
from aihwjax.devices.drifting import DriftState, drift_step
from aihwjax.errors import ConfigError
from aihwjax.random import Noise, Stream, normals, uniforms
from aihwjax.typing import Crosspoints, Hidden, Marks, Number, Shape, Weights

StepLaw = Literal["constant", "affine", "nonlinear"]
_WIDEST_LOG_NORMAL = 10.0


@configclass
class PulsedDevice(Device):
    """Fields and behaviour shared by all devices that are updated by pulses.

    The step sizes of a crosspoint are ``dw_min (G ± r)`` with one draw ``G`` shared by both
    directions and one draw ``r`` of opposite signs.
    """

    dw_min: Number = number(0.001, above=0)
    """Mean step size, in weight units."""
    dw_min_dtod: Number = number(0.3, minimum=0)
    """Spread of the step size over crosspoints, relative to ``dw_min``."""
    dw_min_dtod_log_normal: bool = False
    """Whether that spread is log-normal."""
    dw_min_std: Number = number(0.3, minimum=0, off=zero)
    """Cycle-to-cycle noise of a pulse, relative to the step."""
    up_down: Number = number(0.0)
    """Asymmetry: above 0 the down step is smaller by this fraction of ``dw_min``, below 0 the up step."""
    up_down_dtod: Number = number(0.01, minimum=0)
    """Spread of the asymmetry over crosspoints, relative to ``dw_min``."""
    w_max: Number = number(0.6, minimum=0)
    """Mean upper bound."""
    w_min: Number = number(-0.6, maximum=0)
    """Mean lower bound."""
    w_max_dtod: Number = number(0.3, minimum=0)
    """Spread of the upper bound over crosspoints, relative to ``w_max``."""
    w_min_dtod: Number = number(0.3, minimum=0)
    """Spread of the lower bound over crosspoints, relative to ``w_min``."""
    enforce_consistency: bool = True
    """Make step sizes positive and bounds ordered around zero."""
    perfect_bias: bool = False
    """Whether the last column has ideal steps and 100 times wider bounds."""
    corrupt_devices_prob: Number = number(0.0, minimum=0, maximum=1)
    """Probability of a crosspoint to be stuck at a random weight."""
    corrupt_devices_range: Number = number(0.1, minimum=0)
    """Largest magnitude of a stuck weight."""
    diffusion: Number = number(0.0, minimum=0, off=zero)
    """Standard deviation of the diffusion per mini-batch, in weight units."""
    diffusion_dtod: Number = number(0.0, minimum=0)
    """Relative spread of the diffusion over crosspoints."""
    lifetime: Number = number(0.0, off=not_positive, infinite=True)
    """Decay time, in mini-batches; 0 or below, or infinity: no decay."""
    lifetime_dtod: Number = number(0.0, minimum=0)
    """Relative spread of the decay time over crosspoints."""
    reset: Number = number(0.0)
    """Mean weight after a reset, in weight units."""
    reset_dtod: Number = number(0.0, minimum=0)
    """Spread of that weight over crosspoints, in weight units (additive)."""
    reset_std: Number = number(0.01, minimum=0)
    """Variation of that weight from reset to reset, in weight units."""
    drift: DriftParameter = part(DriftParameter)
    """Conductance drift."""
    count_pulses: bool = False
    """Whether each crosspoint counts its up and down pulses; read them with ``tile.pulse_counts``."""

    at_once: ClassVar[tuple[str, ...]] = ("dw_min_std", "reset_std")
    pulsed: ClassVar[bool] = True
    step_law: ClassVar[StepLaw] = "nonlinear"
    """How the step size depends on the weight."""
    additive: ClassVar[bool] = False
    """Whether the pulse noise never depends on the weight."""
    fitted: ClassVar[tuple[str, ...] | None] = None
    """Fields of its own that pulse curves can tell, for fits; ``None``: all numbers that the class adds."""
    relative_draws: ClassVar[tuple[str, ...]] = ()
    """Drawn fields of its own whose spread is relative to their mean."""

    def validate(self) -> None:
        """Refuse a log-normal spread so wide that a step could be infinite."""
        super().validate()
        if self.dw_min_dtod_log_normal and (known(self.dw_min_dtod) > _WIDEST_LOG_NORMAL).any():
            raise ConfigError(
                f"{type(self).__name__}.dw_min_dtod={self.dw_min_dtod!r} is not allowed with "
                f"dw_min_dtod_log_normal=True: give at most {_WIDEST_LOG_NORMAL:g}"
            )

    # ------------------------------------------------------------ construction
    def init(self, key: Noise, shape: Shape) -> DeviceState:
        if self.construction_seed != 0:
            key = jax.random.key(self.construction_seed)

        drifts = self.drift.present("nu")
        sources = ["w_max", "w_min", "dw_min", "up_down", "reset"]
        sources += ["diffusion"] * self.diffuses() + ["lifetime"] * self.decays() + ["drift_nu"] * drifts
        normal = normals(key, sources, shape)
        uniform = uniforms(key, ["corrupt", "corrupt_level"], shape)

        w_max, w_min, dw_min, up_down = self.w_max, self.w_min, self.dw_min, self.up_down
        top = w_max * (1 + self.w_max_dtod * normal["w_max"])
        bottom = w_min * (1 + self.w_min_dtod * normal["w_min"])
        spread = self.dw_min_dtod * normal["dw_min"]
        gain = jnp.exp(spread) if self.dw_min_dtod_log_normal else 1 + spread
        skew = self.up_down_dtod * normal["up_down"]
        up = dw_min * (gain + skew + jnp.minimum(up_down, 0.0))
        down = dw_min * (gain - skew - jnp.maximum(up_down, 0.0))
        if self.enforce_consistency:
            up, down = jnp.abs(up), jnp.abs(down)
            top, bottom = jnp.maximum(top, bottom), jnp.minimum(top, bottom)
            top, bottom = jnp.abs(top), -jnp.abs(bottom)
        else:
            middle = (top + bottom) / 2
            frozen = bottom > top
            top, bottom = jnp.where(frozen, middle, top), jnp.where(frozen, middle, bottom)

        low = jnp.maximum(jnp.minimum(top, bottom), -self.corrupt_devices_range)
        high = jnp.minimum(jnp.maximum(top, bottom), self.corrupt_devices_range)
        stuck = self.corrupt_devices_prob > uniform["corrupt"]
        level = low + (high - low) * uniform["corrupt_level"]
        top, bottom = jnp.where(stuck, level, top), jnp.where(stuck, level, bottom)
        up, down = jnp.where(stuck, 0.0, up), jnp.where(stuck, 0.0, down)
        if self.perfect_bias:
            last = jnp.arange(shape[1]) == shape[1] - 1
            up, down = jnp.where(last, dw_min, up), jnp.where(last, dw_min, down)
            top, bottom = jnp.where(last, 100 * w_max, top), jnp.where(last, 100 * w_min, bottom)

        diffusion = decay = drift = None
        if self.diffuses():
            diffusion = jnp.abs(self.diffusion * (1 + self.diffusion_dtod * normal["diffusion"]))
        if self.decays():
            life = self.lifetime * (1 + self.lifetime_dtod * normal["lifetime"])
            decay = jnp.where(life > 1, 1 - 1 / life, 0.0)
            lasting = (jnp.asarray(self.lifetime) <= 0) | jnp.isinf(jnp.asarray(self.lifetime))
            decay = jnp.where(lasting, 1.0, decay)
        bias = jnp.asarray(self.reset) + self.reset_dtod * normal["reset"]
        if drifts:
            exponents = jnp.asarray(self.drift.nu) * (1 + self.drift.nu_dtod * normal["drift_nu"])
            drift = DriftState.start(exponents, shape)
        state = DeviceState(
            max_bound=top,
            min_bound=bottom,
            dwmin_up=up,
            dwmin_down=down,
            decay_scales=decay,
            diffusion_rates=diffusion,
            reset_bias=bias,
            drift=drift,
        )
        state = self.sample_model(key, shape, state)
        persistent = None if self.write_noise() is None else jnp.zeros(shape, jnp.float32)
        pulses = PulseCounts.none(shape) if self.count_pulses else None
        return dataclasses.replace(state, coarseness=self.coarseness(state), persistent=persistent, pulses=pulses)

    def sample_model(self, key: Noise, shape: Shape, state: DeviceState) -> DeviceState:
        """Draw the parameters of the device model and add them to the shared ones."""
        return state

    # ------------------------------------------------------------------ pulses
    def weight_granularity(self) -> Number:
        return self.dw_min

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        """Return the noise-free step sizes at the internal weights (see ``internal``)."""
        raise AssertionError

    def law(self, state: DeviceState) -> tuple[Steps, Steps]:
        """Return the steps at internal weight 0 and their derivatives; asked only where ``step_law`` is affine."""
        assert state.dwmin_up is not None
        zero = jnp.zeros_like(state.dwmin_up)
        return jax.jvp(lambda v: self.steps(state, v), (zero,), (jnp.ones_like(zero),))

    def pulse_noise(self, state: DeviceState, weights: Weights, steps: Steps) -> Steps:
        """Return the standard deviation of one up and one down pulse; asked only if ``dw_min_std`` is present."""
        sigma = jnp.asarray(self.dw_min_std)
        return Steps(sigma * steps.up, sigma * steps.down)

    def internal(self, state: DeviceState, weights: Weights) -> Weights:
        """Return the coordinate in which the bounds hold: weight plus reference, if there is one."""
        reference = state.model.get("reference")
        return weights if reference is None else weights + reference

    def external(self, state: DeviceState, weights: Weights) -> Weights:
        """Undo :meth:`internal`."""
        reference = state.model.get("reference")
        return weights if reference is None else weights - reference

    def admit(self, state: DeviceState, weights: Weights, up: Marks, down: Marks) -> tuple[Weights, Steps | None]:
        """Return the internal weights from which pulses start, and which pulses are used up by that.

        Args:
            state: Parameters of the device.
            weights: Internal weights.
            up: Where there is an up pulse (bool).
            down: Where there is a down pulse (bool).
        """
        return weights, None

    def reacts(self, state: DeviceState) -> Marks | None:
        """Return which crosspoints pulses reach at all, bool; ``None``: all of them.

        Others keep their weight, its write noise included.
        """
        return None

    def strays(self) -> bool:
        """Whether weights can lie outside the bounds, from where the first pulse brings them back.

        While one of them gets pulses, these are applied in their order (docs: physics of the update).
        """
        return not self.enforce_consistency

    def meets_bounds(self) -> bool:
        """Whether pulses can run into the bounds (a multiplicative soft bound is never reached)."""
        return True

    def coarseness(self, state: DeviceState) -> Float[Array, " 2"]:
        """Return the mean |d step / d weight| and the mean of step over half range of all crosspoints.

        Both are numbers, computed once; the aggregated update decides by them how many pulses may
        be applied together (docs: physics of the update).
        """
        assert state.max_bound is not None and state.min_bound is not None
        assert state.dwmin_up is not None and state.dwmin_down is not None
        span = jnp.maximum(state.max_bound - state.min_bound, 1e-12)
        middle = (state.max_bound + state.min_bound) / 2
        slope = step = jnp.zeros(())
        places = (-0.3, 0.0, 0.3)
        for place in places:
            point = middle + place * span
            sizes, slopes = jax.jvp(lambda v: self.steps(state, v), (point,), (jnp.ones_like(point),))
            slope += jnp.mean(jnp.abs(slopes.up) + jnp.abs(slopes.down)) / 2
            step += jnp.mean((jnp.abs(sizes.up) + jnp.abs(sizes.down)) / span)
        return jnp.stack([slope, step]) / len(places)

    def inverted(self) -> Self:
        """Return the device with the shapes of its up and down steps exchanged, for a mirrored weight."""
        return self.replace(up_down=-self.up_down)

    # ------------------------------------------------------------- write noise
    def write_noise(self) -> Number | None:
        """Return the standard deviation of the write noise in weight units, ``None`` without it."""
        return None

    def stored(self, state: DeviceState, weights: Weights) -> Weights:
        """Return the weights that pulses act on: persistent if there is write noise, else apparent."""
        return weights if state.persistent is None else state.persistent

    def store(self, state: DeviceState, stored: Weights, stream: Stream) -> tuple[DeviceState, Weights]:
        """Write the stored weights of all crosspoints and return the state and the apparent weights."""
        sigma = self.write_noise()
        if sigma is None:
            return state, stored
        apparent = stored + sigma * stream.child("write").normal(stored.shape)
        return dataclasses.replace(state, persistent=stored), apparent

    def set_weights(self, state: DeviceState, weights: Weights, stream: Stream) -> tuple[DeviceState, Weights]:
        return self.store(state, bounded(state, weights), stream)

    # ------------------------------------------------------------- maintenance
    def decays(self) -> bool:
        return self.present("lifetime")

    def diffuses(self) -> bool:
        return self.present("diffusion")

    def decay_weights(
        self, state: DeviceState, weights: Weights, alpha: Number, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        stored = self.stored(state, weights)
        if state.decay_scales is not None:
            rest = jnp.asarray(0.0) if state.reset_bias is None else state.reset_bias
            stored = (stored - rest) * (1 + alpha * (state.decay_scales - 1)) + rest
        return self.store(state, bounded(state, stored), stream)

    def diffuse_weights(self, state: DeviceState, weights: Weights, stream: Stream) -> tuple[DeviceState, Weights]:
        stored = self.stored(state, weights)
        if state.diffusion_rates is not None:
            stored = stored + state.diffusion_rates * stream.child("diffusion").normal(stored.shape)
        return self.store(state, bounded(state, stored), stream)

    def reset_weights(
        self, state: DeviceState, weights: Weights, where: Marks, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        assert state.reset_bias is not None
        stored = self.stored(state, weights)
        fresh = state.reset_bias + self.reset_std * stream.child("reset").normal(stored.shape)
        return self.store(state, jnp.where(where, bounded(state, fresh), stored), stream)

    def drift_weights(
        self, state: DeviceState, weights: Weights, delta_t: Number, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        if state.drift is None:
            return state, weights
        stored, drift = drift_step(
            self.drift, state.drift, self.stored(state, weights), delta_t, stream, self.reference_quirks
        )
        stored = bounded(state, stored)
        drift = dataclasses.replace(drift, last=bounded(state, drift.last))
        return self.store(dataclasses.replace(state, drift=drift), stored, stream)

    def clip_weights(
        self, state: DeviceState, weights: Weights, limit: Number | None, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        stored = self.stored(state, weights)
        if limit is not None:
            stored = jnp.clip(stored, -limit, limit)
        return self.store(state, bounded(state, stored), stream)

    def hidden_parameters(self, state: DeviceState, weights: Weights) -> dict[str, Hidden]:
        return hidden.parameters(state)

    def fixed_parameters(self, state: DeviceState) -> dict[str, str]:
        return hidden.fixed_parameters(state)

    def set_hidden_parameters(
        self,
        state: DeviceState,
        weights: Weights,
        values: Mapping[str, Hidden],
        written: Weights | None = None,
    ) -> tuple[DeviceState, Weights]:
        assert state.coarseness is not None
        new = hidden.with_parameters(state, values)
        # where nothing is new nothing moves, not even the last digit of what is computed from it
        coarseness = jnp.where(hidden.steps_differ(state, new), self.coarseness(new), state.coarseness)
        before = self.stored(state, weights)
        stored = self.stored(new, weights if written is None else written)
        if written is not None and new.persistent is not None and "persistent_weights" not in values:
            stored = before + (written - weights)
        touched = hidden.bounds_differ(state, new) | (stored != before)
        inside = jnp.where(touched, bounded(new, stored), stored)
        if new.persistent is None:
            return dataclasses.replace(new, coarseness=coarseness), inside
        apparent = weights + (inside - before) if written is None else written + (inside - stored)
        return dataclasses.replace(new, coarseness=coarseness, persistent=inside), apparent


@configclass
class WriteNoiseDevice(PulsedDevice):
    """A pulsed device whose written weights appear with write noise."""

    write_noise_std: Number = number(0.0, minimum=0, off=zero)
    """Standard deviation of the write noise, relative to ``dw_min``."""
    apply_write_noise_on_set: bool = True
    """Whether setting weights is noisy too."""

    at_once: ClassVar[tuple[str, ...]] = ("apply_write_noise_on_set",)

    def write_noise(self) -> Number | None:
        if not self.present("write_noise_std"):
            return None
        return self.write_noise_std * self.dw_min

    def set_weights(self, state: DeviceState, weights: Weights, stream: Stream) -> tuple[DeviceState, Weights]:
        stored = bounded(state, weights)
        if self.write_noise() is not None and not self.apply_write_noise_on_set:
            return dataclasses.replace(state, persistent=stored), stored
        return self.store(state, stored, stream)


def bounded(state: DeviceState, weights: Weights) -> Weights:
    """Clip weights to the bounds of each crosspoint; a NaN becomes the upper bound.

    The reference takes the minimum with the upper bound first, which is how a NaN of the drift
    (spec: devices, bug 10) ends at that bound.
    """
    assert state.max_bound is not None and state.min_bound is not None
    upper = jnp.where(weights < state.max_bound, weights, state.max_bound)
    return jnp.maximum(upper, state.min_bound)


def with_model(state: DeviceState, **model: Crosspoints) -> DeviceState:
    """Return the state with parameters of the device model added."""
    return dataclasses.replace(state, model={**state.model, **model})


def shared_fields(device: PulsedDevice) -> dict[str, Any]:
    """Return the fields that all pulsed devices share, for building one device from another."""
    return {field.name: getattr(device, field.name) for field in dataclasses.fields(PulsedDevice)}  # type: ignore[arg-type]
