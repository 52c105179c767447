"""Power-law step with a reference device that is subtracted: a power step on ``v = w + R``."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.config import configclass, number
from aihwjax.devices.base import DeviceState, PulsedDevice, StepLaw, Steps, with_model
from aihwjax.devices.pow_step import has_range, power_steps, sample_exponents
from aihwjax.random import Noise, normals
from aihwjax.typing import Crosspoints, Marks, Number, Shape, Weights

_MOST_ESTIMATION_STEPS = 10_000


@configclass
class PowStepReferenceDevice(PulsedDevice):
    """Power-law device read against a reference, with optional symmetry-point subtraction.

    When to use: like :class:`PowStepDevice`, in algorithms that need the symmetry point at zero.
    It has no write noise. Spec: devices, section 3.8.
    """

    pow_gamma: Number = number(1.0, minimum=-1e6, maximum=1e6)
    """Mean exponent."""
    pow_gamma_dtod: Number = number(0.1, minimum=0, maximum=1e6)
    """Relative spread of the exponent over crosspoints."""
    pow_up_down: Number = number(0.0, minimum=-1e6, maximum=1e6)
    """Relative asymmetry of the exponents."""
    pow_up_down_dtod: Number = number(0.0, minimum=0, maximum=1e6)
    """Relative spread of that asymmetry over crosspoints."""
    reference_mean: Number = number(0.0)
    """Mean of the reference, in weight units."""
    reference_std: Number = number(0.0, minimum=0)
    """Spread of the reference over crosspoints, in weight units."""
    subtract_symmetry_point: bool = False
    """Whether the reference contains the symmetry point of its crosspoint."""
    n_estimation_steps: Number = number(-1, integer=True)
    """Pulse pairs by which the symmetry point is found; 0 or below: ten times the number of states."""

    step_law: ClassVar[StepLaw] = "nonlinear"
    fitted: ClassVar[tuple[str, ...]] = ("pow_gamma", "pow_up_down", "pow_gamma_dtod", "pow_up_down_dtod")
    relative_draws: ClassVar[tuple[str, ...]] = ("pow_gamma",)

    def weight_granularity(self) -> Number:
        return self.dw_min * 0.5**self.pow_gamma

    def sample_model(self, key: Noise, shape: Shape, state: DeviceState) -> DeviceState:
        up, down = sample_exponents(self, key, shape)
        state = with_model(state, gamma_up=up, gamma_down=down)
        reference = self.reference_mean + self.reference_std * normals(key, ["reference"], shape)["reference"]
        reference = jnp.broadcast_to(reference, shape)
        if self.subtract_symmetry_point:
            point = self._symmetry_point(state)
            reference = reference + point
            if self.reference_quirks:  # spec: devices, bug 4: the reset bias is raised although w has R subtracted
                assert state.reset_bias is not None
                state = dataclasses.replace(state, reset_bias=state.reset_bias + point)
        return with_model(state, reference=reference)

    def _symmetry_point(self, state: DeviceState) -> Crosspoints:
        """Alternate noise-free down and up pulses until the weight rests."""
        top, bottom = state.max_bound, state.min_bound
        assert top is not None and bottom is not None
        step_up, step_down = state.dwmin_up, state.dwmin_down
        assert step_up is not None and step_down is not None
        regular = (top > 0) & (bottom < 0)
        smallest = jnp.minimum(jnp.abs(step_up), jnp.abs(step_down))
        states = jnp.round(10 * (top - bottom) / jnp.maximum(smallest, 1e-12))
        count = jnp.where(
            jnp.asarray(self.n_estimation_steps) > 0,
            self.n_estimation_steps,
            jnp.minimum(states, _MOST_ESTIMATION_STEPS),
        ).astype(jnp.int32)
        span = jnp.where(top - bottom == 0, 1.0, top - bottom)

        def pair(i: jax.Array, point: jax.Array) -> jax.Array:
            down = step_down * ((point - bottom) / span) ** state.model["gamma_down"]
            up = step_up * ((top - point) / span) ** state.model["gamma_up"]
            moved = point - down + up
            if not self.reference_quirks:  # pulses larger than the range leave it, where a power is not defined
                moved = jnp.clip(moved, bottom, top)
            return jnp.where(regular & (i < count), moved, point)

        most = jnp.max(jnp.where(regular, count, 0))
        return lax.fori_loop(0, most, pair, jnp.zeros_like(top))

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        steps = power_steps(state, weights)
        if not self.reference_quirks:
            return steps
        return Steps(*(jnp.where(jnp.isnan(size), 0.0, size) for size in steps))

    def reacts(self, state: DeviceState) -> Marks | None:
        return has_range(state)

    def strays(self) -> bool:
        # else weights are brought to the bounds before they get pulses
        return self.reference_quirks

    def admit(self, state: DeviceState, weights: Weights, up: Marks, down: Marks) -> tuple[Weights, Steps | None]:
        assert state.max_bound is not None and state.min_bound is not None
        if not self.reference_quirks:  # spec: devices, bug 3: the power needs a weight inside the bounds
            return jnp.clip(weights, state.min_bound, state.max_bound), None
        steps = power_steps(state, weights)
        lost = Steps(up & jnp.isnan(steps.up), down & jnp.isnan(steps.down))
        return jnp.where(lost.up | lost.down, state.min_bound, weights), lost
