"""Soft bounds with a reference device that is subtracted.

With ``v = w + R`` (R is the reference of the crosspoint):

    multiplicative  up  v += dw_up   (1 - v / w_max) (1 + sigma xi)
                    down v -= dw_down (1 - v / w_min) (1 + sigma xi)
    additive        up  v += dw_up   (1 - v / w_max + sigma xi), down alike
    w <- clip(v) - R
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from aihwjax.config import configclass, known, number
from aihwjax.devices.base import DeviceState, StepLaw, Steps, WriteNoiseDevice, with_model
from aihwjax.devices.linear_step import refuse_bound
from aihwjax.random import Noise, normals
from aihwjax.typing import Number, Shape, Weights


@configclass
class SoftBoundsReferenceDevice(WriteNoiseDevice):
    """Soft-bounds device read against a reference, with optional symmetry-point subtraction.

    When to use: for resistive memory in Tiki-Taka algorithms, where the symmetry point of the
    device has to lie at zero. Spec: devices, section 3.5.
    """

    mult_noise: bool = False
    """Whether the pulse noise scales with the step (else with the step at weight 0)."""
    slope_up_dtod: Number = number(0.0, minimum=0)
    """Relative spread of the up slope over crosspoints."""
    slope_down_dtod: Number = number(0.0, minimum=0)
    """Relative spread of the down slope over crosspoints."""
    reference_mean: Number = number(0.0)
    """Mean of the reference, in weight units."""
    reference_std: Number = number(0.0, minimum=0)
    """Spread of the reference over crosspoints, in weight units."""
    subtract_symmetry_point: bool = False
    """Whether the reference contains the symmetry point of its crosspoint."""

    at_once: ClassVar[tuple[str, ...]] = ("mult_noise",)
    step_law: ClassVar[StepLaw] = "affine"
    fitted: ClassVar[tuple[str, ...]] = ()  # a reference and spreads of slopes act as other bounds and steps

    def check_steps(self, *, downward: bool = True) -> None:
        for field, direction, pulsed in (("w_max", "up", True), ("w_min", "down", downward)):
            bound = known(getattr(self, field))
            if pulsed and bound.size and (bound == 0).any():
                refuse_bound(self, field, direction)

    def sample_model(self, key: Noise, shape: Shape, state: DeviceState) -> DeviceState:
        top, bottom, up, down = state.max_bound, state.min_bound, state.dwmin_up, state.dwmin_down
        assert top is not None and bottom is not None and up is not None and down is not None
        regular = (top > 0) & (bottom < 0)
        normal = normals(key, ["slope_down", "slope_up", "reference"], shape)
        down_spread = jnp.abs(1 + self.slope_down_dtod * normal["slope_down"])
        up_spread = jnp.abs(1 + self.slope_up_dtod * normal["slope_up"])
        bottom = jnp.where(regular, bottom / down_spread, bottom)
        top = jnp.where(regular, top / up_spread, top)
        reference = self.reference_mean + self.reference_std * normal["reference"]
        state = dataclasses.replace(state, max_bound=top, min_bound=bottom)
        if self.subtract_symmetry_point:
            slopes = up / jnp.where(regular, top, 1.0) - down / jnp.where(regular, bottom, 1.0)
            crosses = regular & (slopes != 0)
            point = jnp.where(crosses, (up - down) / jnp.where(crosses, slopes, 1.0), 0.0)
            reference = reference + point
            if self.reference_quirks:  # spec: devices, bug 4: the reset bias is raised although w has R subtracted
                assert state.reset_bias is not None
                state = dataclasses.replace(state, reset_bias=state.reset_bias + point)
        return with_model(state, reference=jnp.broadcast_to(reference, shape))

    def strays(self) -> bool:
        return True  # weights are clipped without the reference when they are set

    def meets_bounds(self) -> bool:
        return not self.mult_noise

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        top, bottom = state.max_bound, state.min_bound
        assert top is not None and bottom is not None
        assert state.dwmin_up is not None and state.dwmin_down is not None
        # a division and its derivative, by one reciprocal
        above = jnp.where(top > 0, 1 / jnp.where(top > 0, top, 1.0), 0.0)
        below = jnp.where(bottom < 0, 1 / jnp.where(bottom < 0, bottom, 1.0), 0.0)
        return Steps(state.dwmin_up * (1 - above * weights), state.dwmin_down * (1 - below * weights))

    def pulse_noise(self, state: DeviceState, weights: Weights, steps: Steps) -> Steps:
        if self.mult_noise:
            return super().pulse_noise(state, weights, steps)
        assert state.dwmin_up is not None and state.dwmin_down is not None
        sigma = jnp.asarray(self.dw_min_std)
        return Steps(sigma * state.dwmin_up, sigma * state.dwmin_down)
