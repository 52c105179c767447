"""Linear step: the step size depends linearly on the weight.

    up    w <- clip(w + (dw_up   + slope_up   w) (1 + sigma xi))
    down  w <- clip(w - (dw_down + slope_down w) (1 + sigma xi))

with ``slope = -gamma dw / w_bound``, so that ``gamma = 1`` is a soft bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp

from aihwjax.config import configclass, known, number
from aihwjax.devices.base import Device, DeviceState, StepLaw, Steps, WriteNoiseDevice, with_model
from aihwjax.errors import ConfigError
from aihwjax.random import Noise, normals
from aihwjax.typing import Number, Shape, Weights


def slope(gamma: Number | jax.Array, step: jax.Array, bound: jax.Array) -> jax.Array:
    """Return ``-gamma step / bound``, or 0 where the bound is exactly 0."""
    safe = jnp.where(bound == 0, 1.0, bound)
    return jnp.where(bound == 0, 0.0, -gamma * step / safe)


@configclass
class LinearStepDevice(WriteNoiseDevice):
    """Device whose step shrinks (or grows) linearly towards the bound.

    When to use: for devices with a measured linear dependence, such as ECRAM and capacitor cells.
    Spec: devices, section 3.2.
    """

    gamma_up: Number = number(0.0)
    """Relative loss of the up step at the upper bound."""
    gamma_down: Number = number(0.0)
    """Relative loss of the down step at the lower bound."""
    gamma_up_dtod: Number = number(0.05, minimum=0)
    """Spread of ``gamma_up`` over crosspoints (additive)."""
    gamma_down_dtod: Number = number(0.05, minimum=0)
    """Spread of ``gamma_down`` over crosspoints (additive)."""
    allow_increasing: bool = False
    """Whether a step may grow towards the bound (negative gamma)."""
    mean_bound_reference: bool = True
    """Whether the slope refers to the mean bound instead of the crosspoint's own."""
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
    fitted: ClassVar[tuple[str, ...]] = ("gamma_up", "gamma_down", "gamma_up_dtod", "gamma_down_dtod")

    def validate(self) -> None:
        super().validate()
        check_reverse(self.mult_noise, self.reverse_up, self.reverse_down, type(self).__name__)

    def check_steps(self, *, downward: bool = True) -> None:
        up, down = (
            any(number.size and (number != 0).any() for number in (known(mean), known(spread)))
            for mean, spread in ((self.gamma_up, self.gamma_up_dtod), (self.gamma_down, self.gamma_down_dtod))
        )
        check_bounds(self, up, down and downward)

    def of_resolved(self, device: Device, errors: Mapping[str, Any]) -> tuple[Device, dict[str, Any]]:
        assert isinstance(device, LinearStepDevice)
        if self.allow_increasing:
            return device, dict(errors)
        # only the size of a slope acts
        return device.replace(gamma_up=abs(device.gamma_up), gamma_down=abs(device.gamma_down)), dict(errors)

    def sample_model(self, key: Noise, shape: Shape, state: DeviceState) -> DeviceState:
        normal = normals(key, ["gamma_up", "gamma_down"], shape)
        up = self.gamma_up + self.gamma_up_dtod * normal["gamma_up"]
        down = self.gamma_down + self.gamma_down_dtod * normal["gamma_down"]
        if not self.allow_increasing:
            up, down = jnp.abs(up), jnp.abs(down)
        mean = self.mean_bound_reference
        high = jnp.full(shape, self.w_max) if mean else state.max_bound
        low = jnp.full(shape, self.w_min) if mean else state.min_bound
        return add_slopes(state, up, down, high, low, self)

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        return linear_steps(state, weights)

    def law(self, state: DeviceState) -> tuple[Steps, Steps]:
        return linear_law(state)

    def pulse_noise(self, state: DeviceState, weights: Weights, steps: Steps) -> Steps:
        return linear_noise(self, state, steps)


class Slopes(Protocol):
    """The fields of a device that say to which bounds its slopes refer."""

    @property
    def w_max(self) -> Number:
        """Mean upper bound."""

    @property
    def w_min(self) -> Number:
        """Mean lower bound."""

    @property
    def reverse_up(self) -> bool:
        """Whether the up slope refers to the lower bound."""

    @property
    def reverse_down(self) -> bool:
        """Whether the down slope refers to the upper bound."""

    @property
    def reverse_offset(self) -> Number:
        """Distance of a reversed reference from the bound."""


def check_bounds(device: Slopes, up: bool, down: bool) -> None:
    """Refuse slopes that refer to a bound of 0, where ``step / bound`` is not defined.

    Args:
        device: The device.
        up: Whether its up step depends on the weight.
        down: Whether its down step does.

    Raises:
        ConfigError: If a bound is known to be 0; names it and what to do.
    """
    offset = known(device.reverse_offset)
    for direction, sloped, reverse in (("up", up, device.reverse_up), ("down", down, device.reverse_down)):
        if not sloped:
            continue
        field = "w_max" if (direction == "up") is not reverse else "w_min"
        place = known(getattr(device, field))
        if reverse:
            place = place - offset if field == "w_min" else place + offset
        if place.size and (place == 0).any():
            refuse_bound(device, field, direction)


def refuse_bound(device: object, field: str, direction: str) -> None:
    """Say that the step in a direction refers to a bound of 0.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(
        f"{type(device).__name__}.{field}={getattr(device, field)!r} is not allowed: its {direction} step refers to "
        "that bound and has no size at 0; give bounds on both sides of 0 and shift the weight by a reference, as "
        "SoftBoundsReferenceDevice(w_min=-0.5, w_max=0.5, reference_mean=-0.5) for weights from 0 to 1, or as "
        "ReferenceUnitCell"
    )


def check_reverse(mult_noise: bool, reverse_up: bool, reverse_down: bool, name: str) -> None:
    """Refuse reversed slopes with additive noise, as the reference does."""
    if (reverse_up or reverse_down) and not mult_noise:
        raise ConfigError(f"{name}.mult_noise=False is not allowed with a reversed slope: give True")


def add_slopes(
    state: DeviceState,
    gamma_up: Number | jax.Array,
    gamma_down: Number | jax.Array,
    high: jax.Array | None,
    low: jax.Array | None,
    device: LinearStepDevice | object,
) -> DeviceState:
    """Add the slopes of the up and down steps, referred to the bounds ``high`` and ``low``."""
    assert high is not None and low is not None
    assert state.dwmin_up is not None and state.dwmin_down is not None
    up_reference, down_reference = high, low
    offset = getattr(device, "reverse_offset", 0.0)
    if getattr(device, "reverse_up", False):
        up_reference = low - offset
    if getattr(device, "reverse_down", False):
        down_reference = high + offset
    up, down = slope(gamma_up, state.dwmin_up, up_reference), slope(gamma_down, state.dwmin_down, down_reference)
    return with_model(
        state,
        slope_up=_defined(up, gamma_up, device, "w_max", getattr(device, "reverse_up", False)),
        slope_down=_defined(down, gamma_down, device, "w_min", getattr(device, "reverse_down", False)),
    )


def _defined(slopes: jax.Array, gamma: Number | jax.Array, device: Any, field: str, reverse: bool) -> jax.Array:
    """Return slopes, NaN if they refer to a traced bound of 0, which nobody could refuse (see :func:`check_bounds`)."""
    if reverse:
        field, sign = ("w_min", -1) if field == "w_max" else ("w_max", 1)
        place = getattr(device, field) + sign * device.reverse_offset
    else:
        place = getattr(device, field)
    if device.reference_quirks or not isinstance(place, jax.core.Tracer):
        return slopes
    return jnp.where((place == 0) & (jnp.asarray(gamma) != 0), jnp.nan, slopes)


def linear_steps(state: DeviceState, weights: Weights) -> Steps:
    """Return steps that are affine in the weight."""
    assert state.dwmin_up is not None and state.dwmin_down is not None
    return Steps(
        state.dwmin_up + state.model["slope_up"] * weights,
        state.dwmin_down + state.model["slope_down"] * weights,
    )


def linear_law(state: DeviceState) -> tuple[Steps, Steps]:
    """Return the coefficients of :func:`linear_steps`, which stand in the state."""
    assert state.dwmin_up is not None and state.dwmin_down is not None
    return Steps(state.dwmin_up, state.dwmin_down), Steps(state.model["slope_up"], state.model["slope_down"])


def linear_noise(device: WriteNoiseDevice, state: DeviceState, steps: Steps) -> Steps:
    """Return the pulse noise of a linear device: of the step, or of the step at weight 0."""
    assert state.dwmin_up is not None and state.dwmin_down is not None
    sigma = jnp.asarray(device.dw_min_std)
    if device.mult_noise:  # type: ignore[attr-defined]
        return Steps(sigma * steps.up, sigma * steps.down)
    return Steps(sigma * state.dwmin_up, sigma * state.dwmin_down)
