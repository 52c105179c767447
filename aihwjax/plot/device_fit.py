"""Measured pulse curves and the device that was fitted to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aihwjax import arguments
from aihwjax.fitting.result import DeviceFit
from aihwjax.plot.style import BLUE, GREY, ORANGE, axes, drawn, legend_above, number_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@arguments.answered
@drawn
def plot_device_fit(fit: DeviceFit, ax: Axes | None = None, *, traces: int = 3) -> Figure:
    """Draw measured curves and the fitted response: the mean over devices, its spread, and single devices.

    The fitted response is that without noise, device by device. Readings are in weight units.

    Args:
        fit: From ``aj.fit_device``.
        ax: Where to draw; by default in a new figure.
        traces: Number of single devices.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, ax = axes(ax)
    measured, fitted = fit.curves.weights, fit.response
    # where a device was not read, neither counts
    fitted = np.where(np.isfinite(measured), fitted, np.nan)
    place = np.flatnonzero(np.isfinite(measured).any(axis=1))
    for values, colour, label, style in ((measured, BLUE, "measured", "-"), (fitted, ORANGE, "fitted", "--")):
        some = values[place]
        if values.shape[1] > 1:
            low, high = np.nanquantile(some, [0.05, 0.95], axis=1)
            ax.fill_between(place, low, high, color=colour, alpha=0.15, lw=0, label=f"{label}, 5 to 95 % of devices")
        ax.plot(place, np.nanmean(some, axis=1), style, color=colour, label=f"{label}, mean")
    shown = min(traces, measured.shape[1]) if measured.shape[1] > 1 else 0
    for number in range(shown):
        labels = ("single devices", "single devices, fitted") if number == 0 else (None, None)
        ax.plot(measured[:, number], color=GREY, lw=0.5, label=labels[0])
        ax.plot(fitted[:, number], "--", color=ORANGE, lw=0.5, label=labels[1])
    title = f"{type(fit.device).__name__}, R² = {fit.r_squared:.3f}"
    ax.set(xlabel="reading", ylabel="weight", xlim=(0, max(len(measured) - 1, 1)), title=title)
    number_ticks(ax)
    legend_above(ax)
    return figure
