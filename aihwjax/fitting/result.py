"""What a fit found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from aihwjax import arguments
from aihwjax.devices.device import Device
from aihwjax.fitting.curves import PulseCurves

if TYPE_CHECKING:
    from rich.table import Table


@arguments.answering
@dataclass(frozen=True)
class DeviceFit:
    """A device that was fitted to measured pulse curves; ``aj.plot.plot_device_fit`` draws it."""

    device: Device
    """The configuration: the given model with the fitted fields."""
    errors: Mapping[str, Any]
    """Standard error of each fitted field: what noise and the number of devices leave open. Very large where the curves
    say nothing of a field."""
    curves: PulseCurves
    """The measurement."""
    response: Float64[np.ndarray, "readings devices"]
    """Weights of each measured device without noise, as fitted, under the same pulses from its first reading on."""
    residual: float
    """Root mean square difference of readings and ``response``, in weight units; with noisy pulses it grows along the
    curve, as noise adds up."""
    r_squared: float
    """Part of the variance of the readings that ``response`` explains."""
    chi_square: float
    """Mean square of what readings are off from their prediction by the reading before, in standard deviations of the
    fitted noise: near 1 for a device that describes the curves, and much above it where the law is wrong."""
    read_noise: float
    """Standard deviation of a reading in weight units, by readings before and after it; 0 if it is not significant."""
    losses: Float64[np.ndarray, " restarts"]
    """Minus the logarithm of the likelihood for each reading, in units of the typical step, of each start."""
    crosspoints: Mapping[str, Float64[np.ndarray, " devices"]]
    """Fitted numbers of each measured device: ``dwmin_up``, ``dwmin_down``, ``max_bound``, ``min_bound``."""

    def __str__(self) -> str:
        """Return the fields with their errors, one a line, and how good the fit is."""
        lines = [f"{type(self.device).__name__} of {self.curves.weights.shape[1]} devices"]
        for name, error in self.errors.items():
            lines.append(f"  {name} = {shown(getattr(self.device, name), error)}")
        lines.append(f"  R² = {self.r_squared:.4f}, chi² = {self.chi_square:.3f}, residual {self.residual:.3g}")
        return "\n".join(lines)

    def table(self) -> Table:
        """Return the fields with their errors as a table for a terminal."""
        from rich.table import Table

        table = Table("field", "value", "standard error")
        for name, error in self.errors.items():
            value = np.atleast_1d(np.asarray(getattr(self.device, name), np.float64))
            for place, (one, own) in enumerate(zip(value, np.atleast_1d(error), strict=True)):
                label = name if value.size == 1 else f"{name}[{place}]"
                table.add_row(label, f"{one:.5g}", f"{own:.2g}")
        return table


def shown(value: Any, error: Any) -> str:
    """Return a value with its error as text.

    Args:
        value: A number, or several.
        error: The same of its error.
    """
    values, errors = np.atleast_1d(np.asarray(value, np.float64)), np.atleast_1d(np.asarray(error, np.float64))
    return ", ".join(f"{one:.5g} ± {own:.2g}" for one, own in zip(values, errors, strict=True))
