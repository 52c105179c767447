"""Soft bounds given by the number of pulses that cover a range.

The conductance curve after p up pulses is ``range_min + B (1 - exp(-alpha p))`` with
``B = (range_max - range_min) / (1 - exp(-p_max alpha))``.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from aihwjax.config import configclass, number
from aihwjax.devices.base import Device, shared_fields
from aihwjax.devices.soft_bounds import SoftBoundsDevice
from aihwjax.errors import ConfigError
from aihwjax.typing import Number


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
    p_max: Number = number(1000.0, above=0)
    """Number of pulses from ``range_min`` to ``range_max``."""
    alpha: Number = number(0.0005, above=0)
    """Rate at which the step fades, per pulse."""
    range_min: Number = number(-1.0)
    """Weight at the beginning of the curve."""
    range_max: Number = number(1.0)
    """Weight after ``p_max`` pulses."""

    def validate(self) -> None:
        super().validate()
        low, high = self.range_min, self.range_max
        if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
            raise ConfigError(
                f"SoftBoundsPmaxDevice.range_min={low!r} is not allowed: give less than range_max={high!r}"
            )

    def resolved(self) -> Device:
        span = (self.range_max - self.range_min) / (1 - jnp.exp(-self.p_max * self.alpha))
        w_max = self.range_min + span
        computed: dict[str, Any]
        if self.reference_quirks:
            up_down = 1 + 2 * self.range_min / span
            computed = {"w_max": w_max, "w_min": self.range_min, "dw_min": span * self.alpha, "up_down": up_down}
        else:
            # steps alpha (w_max - w) and alpha (w - w_min); the larger of the two sets dw_min
            w_min = self.range_max - span
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

    def weight_granularity(self) -> Number:
        return self.resolved().weight_granularity()
