"""Soft bounds given by the number of pulses that cover a range.

The conductance curve after p up pulses is ``range_min + B (1 - exp(-alpha p))`` with
``B = (range_max - range_min) / (1 - exp(-p_max alpha))``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from aihwjax import showing
from aihwjax.config import configclass, known, number
from aihwjax.devices.base import Device, shared_fields
from aihwjax.devices.soft_bounds import SoftBoundsDevice
from aihwjax.errors import ConfigError
from aihwjax.typing import Number

_COMPUTED = ("dw_min", "up_down", "w_max", "w_min")
"""Fields of soft bounds that follow from the curve."""


@configclass
class SoftBoundsPmaxDevice(SoftBoundsDevice):
    """Soft-bounds device whose bounds and steps follow from a measured pulse curve.

    ``p_max`` up pulses lead from ``range_min`` to ``range_max``. The fields ``w_min``, ``w_max``,
    ``dw_min`` and ``up_down`` are computed and cannot be given. Spec: devices, section 3.4; the
    reference's conversion (its bug 1) is used under ``reference_quirks``.
    """

    dw_min: Number | None = number(None, optional=True)  # type: ignore[assignment]
    """Computed."""
    up_down: Number | None = number(None, optional=True)  # type: ignore[assignment]
    """Computed."""
    w_max: Number | None = number(None, optional=True)  # type: ignore[assignment]
    """Computed."""
    w_min: Number | None = number(None, optional=True)  # type: ignore[assignment]
    """Computed."""
    p_max: Number = number(1000.0, above=0, infinite=True)
    """Number of pulses from ``range_min`` to ``range_max``; infinity: it is only approached."""
    alpha: Number = number(0.0005, above=0)
    """Rate at which the step fades, per pulse."""
    range_min: Number = number(-1.0)
    """Weight at the beginning of the curve."""
    range_max: Number = number(1.0)
    """Weight after ``p_max`` pulses."""

    def validate(self) -> None:
        super().validate()
        for name in _COMPUTED:
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"SoftBoundsPmaxDevice.{name}={showing.word(getattr(self, name))} is not allowed: it is computed; "
                    "give p_max, alpha, range_min and range_max, or take a SoftBoundsDevice"
                )
        given = (self.range_min, self.range_max, self.p_max, self.alpha)
        if any(isinstance(value, jax.core.Tracer) for value in given):
            return
        if (known(self.range_min) >= known(self.range_max)).any():
            raise ConfigError(
                f"SoftBoundsPmaxDevice.range_min={self.range_min!r} is not allowed: "
                f"give less than range_max={self.range_max!r}"
            )
        bottom, top = (known(bound) for bound in self._bounds())
        if (bottom > 0).any() or (top < 0).any():
            raise ConfigError(
                f"SoftBoundsPmaxDevice.range_min={self.range_min!r} and range_max={self.range_max!r} are not allowed: "
                f"they make bounds from {bottom.max():.4g} to {top.min():.4g}, which have to contain 0"
            )

    def _bounds(self) -> tuple[Number | jax.Array, Number | jax.Array]:
        """Return the lower and the upper bound: where endless pulses down and up lead."""
        span = (self.range_max - self.range_min) / -jnp.expm1(-self.p_max * self.alpha)
        return self.range_min if self.reference_quirks else self.range_max - span, self.range_min + span

    def resolved(self) -> Device:
        w_min, w_max = self._bounds()
        computed: dict[str, Any]
        if self.reference_quirks:
            span = w_max - w_min
            up_down = 1 + 2 * w_min / span
            computed = {"w_max": w_max, "w_min": w_min, "dw_min": span * self.alpha, "up_down": up_down}
        else:
            # steps alpha (w_max - w) and alpha (w - w_min); the larger of the two sets dw_min
            largest = jnp.maximum(w_max, -w_min)
            up_down = (w_max + w_min) / largest
            computed = {"w_max": w_max, "w_min": w_min, "dw_min": self.alpha * largest, "up_down": up_down}
        own = {
            name: getattr(self, name)
            for name in (
                "mult_noise",
                "reverse_up",
                "reverse_down",
                "reverse_offset",
                "write_noise_std",
                "apply_write_noise_on_set",
            )
        }
        return SoftBoundsDevice(**{**shared_fields(self), **own, **computed})

    def of_resolved(self, device: Device, errors: Mapping[str, Any]) -> tuple[Device, dict[str, Any]]:
        # p_max stays: any number of pulses describes the same curve, with the range that it covers
        assert isinstance(device, SoftBoundsDevice)
        top, bottom = float(device.w_max), float(device.w_min)
        up = float(device.dw_min) * (1 + min(float(device.up_down), 0.0)) / top
        down = float(device.dw_min) * (1 - max(float(device.up_down), 0.0)) / -bottom
        alpha = (up + down) / 2
        part = -math.expm1(-float(self.p_max) * alpha)
        span = (top - bottom) / (2 - part)
        own = {"alpha": alpha, "range_min": top - span, "range_max": bottom + span}
        given = {name: getattr(device, name) for name in errors if name not in _COMPUTED}
        kept = {name: error for name, error in errors.items() if name not in _COMPUTED}
        # of up and down the mean, known to half of what both leave open; the ends as the bounds that they come from
        step = float(errors["dw_min"]) / float(device.dw_min)
        bounds = math.hypot(float(errors["w_max"]) / top, float(errors["w_min"]) / bottom) / 2
        kept["alpha"] = alpha * math.hypot(step, bounds)
        kept |= {"range_min": errors["w_min"], "range_max": errors["w_max"]}
        return self.replace({**given, **own}), kept

    def check_steps(self, *, downward: bool = True) -> None:
        for bound, direction, pulsed in zip(self._bounds(), ("down", "up"), (downward, True), strict=True):
            value = known(bound)
            if pulsed and value.size and (value == 0).any():
                raise ConfigError(
                    f"SoftBoundsPmaxDevice.range_min={self.range_min!r} and range_max={self.range_max!r} are not "
                    f"allowed: they make a bound of 0, to which the {direction} step refers; shift both so that the "
                    "bounds lie on both sides of 0, and take a SoftBoundsReferenceDevice to shift the weight back"
                )

    def weight_granularity(self) -> Number:
        return self.resolved().weight_granularity()
