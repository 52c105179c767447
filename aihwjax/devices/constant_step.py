"""Constant step: every pulse moves the weight by the same amount.

up    w <- clip(w + dw_up   (1 + sigma xi))
down  w <- clip(w - dw_down (1 + sigma xi))
"""

from __future__ import annotations

from typing import ClassVar

from aihwjax.config import configclass
from aihwjax.devices.base import DeviceState, PulsedDevice, StepLaw, Steps
from aihwjax.typing import Weights


@configclass
class ConstantStepDevice(PulsedDevice):
    """Device with constant steps and hard bounds; the textbook resistive processing unit.

    When to use: as the simplest device with all kinds of variation, and to compare with papers
    that follow Gokmen and Vlasov, Frontiers in Neuroscience 2016. Spec: devices, section 3.1.
    """

    step_law: ClassVar[StepLaw] = "constant"
    additive: ClassVar[bool] = True
    fitted: ClassVar[tuple[str, ...]] = ()

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        assert state.dwmin_up is not None and state.dwmin_down is not None
        return Steps(state.dwmin_up, state.dwmin_down)
