"""Power-law step.

up    w <- clip(w + dw_up   ((w_max - w) / (w_max - w_min))^gamma_up   (1 + sigma xi))
down  w <- clip(w - dw_down ((w - w_min) / (w_max - w_min))^gamma_down (1 + sigma xi))
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp

from aihwjax.config import LARGEST, configclass, number
from aihwjax.devices.base import DeviceState, StepLaw, Steps, WriteNoiseDevice, with_model
from aihwjax.random import Noise, normals
from aihwjax.typing import Crosspoints, Marks, Number, Shape, Weights


class PowerLaw(Protocol):
    """The fields of a power-law device from which its exponents are drawn."""

    @property
    def pow_gamma(self) -> Number:
        """Mean exponent."""

    @property
    def pow_gamma_dtod(self) -> Number:
        """Relative spread of the exponent over crosspoints."""

    @property
    def pow_up_down(self) -> Number:
        """Relative asymmetry of the exponents."""

    @property
    def pow_up_down_dtod(self) -> Number:
        """Relative spread of that asymmetry over crosspoints."""

    @property
    def enforce_consistency(self) -> bool:
        """Whether exponents are made positive."""


def sample_exponents(device: PowerLaw, key: Noise, shape: Shape) -> tuple[Crosspoints, Crosspoints]:
    """Draw the exponents of the up and the down step of each crosspoint."""
    mean = jnp.asarray(device.pow_gamma)
    skew_mean = device.pow_up_down
    normal = normals(key, ["pow_gamma", "pow_up_down"], shape)
    gain = 1 + device.pow_gamma_dtod * normal["pow_gamma"]
    skew = device.pow_up_down_dtod * normal["pow_up_down"]
    up = mean * (gain + skew + jnp.minimum(skew_mean, 0.0))
    down = mean * (gain - skew - jnp.maximum(skew_mean, 0.0))
    if device.enforce_consistency:
        up, down = jnp.abs(up), jnp.abs(down)
    return up, down


def has_range(state: DeviceState) -> Marks:
    """Return which crosspoints have a range to step in; a power law is not defined without."""
    assert state.max_bound is not None and state.min_bound is not None
    return jnp.not_equal(state.max_bound, state.min_bound)


def power_steps(state: DeviceState, weights: Weights) -> Steps:
    """Return the power-law steps at ``weights``."""
    top, bottom = state.max_bound, state.min_bound
    assert top is not None and bottom is not None
    assert state.dwmin_up is not None and state.dwmin_down is not None
    span = top - bottom
    live = span != 0
    safe = jnp.where(live, span, 1.0)
    up = _finite(_power((top - weights) / safe, state.model["gamma_up"]))
    down = _finite(_power((weights - bottom) / safe, state.model["gamma_down"]))
    return Steps(jnp.where(live, state.dwmin_up * up, 0.0), jnp.where(live, state.dwmin_down * down, 0.0))


@jax.custom_jvp
def _power(base: jax.Array, exponent: jax.Array) -> jax.Array:
    """Return a power. At a bound, where the base is 0, its derivatives are 0 instead of infinite."""
    return base**exponent


@_power.defjvp
def _power_slope(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    base, exponent = primals
    inside = base > 0
    safe = jnp.where(inside, base, 1.0)
    slope, growth = exponent * safe ** (exponent - 1), safe**exponent * jnp.log(safe)
    return _power(base, exponent), jnp.where(inside, slope * tangents[0] + growth * tangents[1], 0.0)


def _finite(power: jax.Array) -> jax.Array:
    """Return a power that may be infinite (a large or a negative exponent) as a number that exceeds every range."""
    return jnp.where(power > LARGEST, LARGEST, power)


@configclass
class PowStepDevice(WriteNoiseDevice):
    """Device whose step is a power of the distance to the bound.

    When to use: for measured curves between constant (gamma 0) and soft bounds (gamma 1), or
    steeper. Spec: devices, section 3.7.
    """

    pow_gamma: Number = number(1.0, minimum=-1e6, maximum=1e6)
    """Mean exponent."""
    pow_gamma_dtod: Number = number(0.1, minimum=0, maximum=1e6)
    """Relative spread of the exponent over crosspoints."""
    pow_up_down: Number = number(0.0, minimum=-1e6, maximum=1e6)
    """Relative asymmetry of the exponents."""
    pow_up_down_dtod: Number = number(0.0, minimum=0, maximum=1e6)
    """Relative spread of that asymmetry over crosspoints."""

    step_law: ClassVar[StepLaw] = "nonlinear"
    fitted: ClassVar[tuple[str, ...]] = ("pow_gamma", "pow_up_down", "pow_gamma_dtod", "pow_up_down_dtod")
    relative_draws: ClassVar[tuple[str, ...]] = ("pow_gamma",)

    def weight_granularity(self) -> Number:
        return self.dw_min * 0.5**self.pow_gamma

    def sample_model(self, key: Noise, shape: Shape, state: DeviceState) -> DeviceState:
        up, down = sample_exponents(self, key, shape)
        return with_model(state, gamma_up=up, gamma_down=down)

    def reacts(self, state: DeviceState) -> Marks | None:
        return has_range(state)

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        if self.strays():  # the power needs a weight inside the bounds
            weights = jnp.clip(weights, state.min_bound, state.max_bound)
        return power_steps(state, weights)
