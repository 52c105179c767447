"""Soft bounds: the step vanishes at the bound.

    up    w <- clip(w + dw_up   (1 - w / w_max) (1 + sigma xi))
    down  w <- clip(w - dw_down (1 - w / w_min) (1 + sigma xi))

with the bounds of each crosspoint.
"""

from __future__ import annotations

from typing import ClassVar

from aihwjax.config import configclass, number
from aihwjax.devices.base import DeviceState, StepLaw, Steps, WriteNoiseDevice
from aihwjax.devices.linear_step import add_slopes, check_bounds, check_reverse, linear_law, linear_noise, linear_steps
from aihwjax.random import Noise
from aihwjax.typing import Number, Shape, Weights


@configclass
class SoftBoundsDevice(WriteNoiseDevice):
    """Device that saturates softly: a linear step with gamma 1 towards its own bounds.

    When to use: for filamentary resistive memory, whose conductance change fades towards both
    ends. Spec: devices, section 3.3.
    """

    mult_noise: bool = True
    """Whether the pulse noise scales with the step (else with the step at weight 0)."""
    reverse_up: bool = False
    """Refer the up slope to the lower bound."""
    reverse_down: bool = False
    """Refer the down slope to the upper bound."""
    reverse_offset: Number = number(0.01)
    """Distance of a reversed reference from the bound, in weight units."""

    at_once: ClassVar[tuple[str, ...]] = ("mult_noise",)
    step_law: ClassVar[StepLaw] = "affine"
    fitted: ClassVar[tuple[str, ...]] = ()

    def validate(self) -> None:
        super().validate()
        check_reverse(self.mult_noise, self.reverse_up, self.reverse_down, type(self).__name__)

    def check_steps(self, *, downward: bool = True) -> None:
        check_bounds(self, True, downward)

    def sample_model(self, key: Noise, shape: Shape, state: DeviceState) -> DeviceState:
        return add_slopes(state, 1.0, 1.0, state.max_bound, state.min_bound, self)

    def meets_bounds(self) -> bool:
        return not self.mult_noise or self.reverse_up or self.reverse_down

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        return linear_steps(state, weights)

    def law(self, state: DeviceState) -> tuple[Steps, Steps]:
        return linear_law(state)

    def pulse_noise(self, state: DeviceState, weights: Weights, steps: Steps) -> Steps:
        return linear_noise(self, state, steps)
