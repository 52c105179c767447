"""Ideal device: exact updates on an analog tile whose products may be imperfect."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax.config import configclass, not_positive, number, part, zero
from aihwjax.devices.device import Device, DeviceState
from aihwjax.devices.drift import DriftParameter
from aihwjax.devices.drifting import DriftState, drift_step
from aihwjax.products import outer
from aihwjax.random import Noise, Stream, normals
from aihwjax.typing import Marks, Number, Shape, Weights

if TYPE_CHECKING:
    from aihwjax.pulses import UpdateMode, UpdateParameters


@configclass
class ExactDevice(Device):
    """Behaviour shared by devices without pulses and bounds (spec: devices, section 6)."""

    diffusion: Number = number(0.0, minimum=0, off=zero)
    """Standard deviation of the diffusion per mini-batch, in weight units."""
    lifetime: Number = number(0.0, off=not_positive, infinite=True)
    """Decay time, in mini-batches; 0 or below, or infinity: no decay."""
    reset_std: Number = number(0.01, minimum=0)
    """Standard deviation of the weight after a reset, in weight units."""
    drift: DriftParameter = part(DriftParameter)
    """Conductance drift."""

    at_once: ClassVar[tuple[str, ...]] = ("diffusion", "lifetime", "reset_std")

    def init(self, key: Noise, shape: Shape) -> DeviceState:
        drift = None
        if self.drift.present("nu"):
            spread = self.drift.nu_dtod * normals(key, ["drift_nu"], shape)["drift_nu"]
            drift = DriftState.start(jnp.asarray(self.drift.nu) * (1 + spread), shape)
        return DeviceState(drift=drift)

    def weight_granularity(self) -> Number:
        return 1.0

    def set_weights(self, state: DeviceState, weights: Weights, stream: Stream) -> tuple[DeviceState, Weights]:
        return state, weights

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
        return state, weights - learning_rate * outer(d, x)

    def decays(self) -> bool:
        return self.present("lifetime")

    def diffuses(self) -> bool:
        return self.present("diffusion")

    def decay_weights(
        self, state: DeviceState, weights: Weights, alpha: Number, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        if not self.decays():
            return state, weights
        lifetime = jnp.asarray(self.lifetime)
        factor = 1 - alpha / jnp.where(lifetime > 1, lifetime, 1.0)
        acts = (lifetime > 1) & (factor > 0) & (factor < 1)
        return state, jnp.where(acts, factor, 1.0) * weights

    def diffuse_weights(self, state: DeviceState, weights: Weights, stream: Stream) -> tuple[DeviceState, Weights]:
        if not self.diffuses():
            return state, weights
        return state, weights + self.diffusion * stream.child("diffusion").normal(weights.shape)

    def reset_weights(
        self, state: DeviceState, weights: Weights, where: Marks, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        fresh = self.reset_std * stream.child("reset").normal(weights.shape)
        return state, jnp.where(where, fresh, weights)

    def drift_weights(
        self, state: DeviceState, weights: Weights, delta_t: Number, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        if state.drift is None:
            return state, weights
        weights, drift = drift_step(self.drift, state.drift, weights, delta_t, stream, self.reference_quirks)
        return dataclasses.replace(state, drift=drift), weights

    def clip_weights(
        self, state: DeviceState, weights: Weights, limit: Number | None, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        return state, weights if limit is None else jnp.clip(weights, -limit, limit)


@configclass
class IdealDevice(ExactDevice):
    """Exact floating-point updates, no bounds, no hidden parameters.

    When to use: to see what the converters and the read noise alone do to training. Drift is off
    by default; the reference has it only where the pulse type ``NONE`` turns a pulsed device into
    this one. Spec: devices, section 6.
    """
