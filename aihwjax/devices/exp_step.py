"""Exponential step: the step falls off exponentially towards the bounds.

    z  = 2 a w / (w_max - w_min) + b
    yu = max(1 - A_up exp(gamma_up z), 0),  yd = max(1 - A_down exp(-gamma_down z), 0)
    up w += yu dw_up (1 + sigma xi),        down w -= yd dw_down (1 + sigma xi)

With ``dw_min_std_add`` or ``dw_min_std_slope`` the noise of a pulse has the standard deviation
``sigma (|step| + dw_min_std_add + dw_min_std_slope |w|)``.
"""

from __future__ import annotations

from typing import ClassVar, Self

import jax
import jax.numpy as jnp

from aihwjax.config import configclass, number, zero
from aihwjax.devices.base import DeviceState, StepLaw, Steps, WriteNoiseDevice
from aihwjax.typing import Marks, Number, Weights


@configclass
class ExpStepDevice(WriteNoiseDevice):
    """Device with exponentially saturating steps, fitted to measured ReRAM.

    When to use: for the ReRAM of Gong et al., Nature Communications 2018 (preset ``ReRamES``) and
    similar devices with a steep end of the range. Spec: devices, section 3.6.
    """

    A_up: Number = number(0.00081)
    """Weight of the exponential of the up step."""
    A_down: Number = number(0.36833)
    """Weight of the exponential of the down step."""
    gamma_up: Number = number(12.44625)
    """Rate of the exponential of the up step."""
    gamma_down: Number = number(12.78785)
    """Rate of the exponential of the down step."""
    a: Number = number(0.244)
    """Scale of the weight inside the exponentials."""
    b: Number = number(0.2425)
    """Offset inside the exponentials."""
    dw_min_std_add: Number = number(0.0, off=zero)
    """Constant part of the pulse noise, in weight units, before ``dw_min_std``."""
    dw_min_std_slope: Number = number(0.0, off=zero)
    """Part of the pulse noise that grows with |w|, before ``dw_min_std``."""

    at_once: ClassVar[tuple[str, ...]] = ("dw_min_std_add", "dw_min_std_slope")
    step_law: ClassVar[StepLaw] = "nonlinear"
    # a and b only scale the rates and the weights of the exponentials
    fitted: ClassVar[tuple[str, ...]] = ("A_up", "A_down", "gamma_up", "gamma_down")

    def weight_granularity(self) -> Number:
        down = 1 - jnp.maximum(self.up_down, 0.0)
        down = down * jnp.maximum(1 - self.A_down * _growth(-self.gamma_down * self.b), 0.0)
        mean = down
        if not self.reference_quirks:  # spec: devices, bug 2: the reference averages the down step with itself
            up = 1 + jnp.minimum(self.up_down, 0.0)
            up = up * jnp.maximum(1 - self.A_up * _growth(self.gamma_up * self.b), 0.0)
            mean = (up + down) / 2
        return jnp.where(mean > 0, self.dw_min * mean, self.dw_min)

    def inverted(self) -> Self:
        return self.replace(
            up_down=-self.up_down,
            A_up=self.A_down,
            A_down=self.A_up,
            gamma_up=self.gamma_down,
            gamma_down=self.gamma_up,
            b=-self.b,
        )

    def reacts(self, state: DeviceState) -> Marks | None:
        assert state.max_bound is not None and state.min_bound is not None
        return state.max_bound > state.min_bound

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        top, bottom = state.max_bound, state.min_bound
        assert top is not None and bottom is not None
        assert state.dwmin_up is not None and state.dwmin_down is not None
        live = top > bottom
        z = 2 * self.a * weights / jnp.where(live, top - bottom, 1.0) + self.b
        up = jnp.maximum(1 - self.A_up * _growth(self.gamma_up * z), 0.0)
        down = jnp.maximum(1 - self.A_down * _growth(-self.gamma_down * z), 0.0)
        return Steps(jnp.where(live, up * state.dwmin_up, 0.0), jnp.where(live, down * state.dwmin_down, 0.0))

    def pulse_noise(self, state: DeviceState, weights: Weights, steps: Steps) -> Steps:
        if not (self.present("dw_min_std_add") or self.present("dw_min_std_slope")):
            return super().pulse_noise(state, weights, steps)
        assert state.max_bound is not None and state.min_bound is not None
        live = state.max_bound > state.min_bound
        extra = self.dw_min_std_add + self.dw_min_std_slope * jnp.abs(weights)
        up, down = jnp.abs(steps.up) + extra, jnp.abs(steps.down) + extra
        return Steps(jnp.where(live, self.dw_min_std * up, 0.0), jnp.where(live, self.dw_min_std * down, 0.0))


def _growth(exponent: Number | jax.Array) -> jax.Array:
    """Return the exponential, which stops growing where a step has long become zero, before it is infinite."""
    return jnp.exp(jnp.minimum(exponent, 40.0))
