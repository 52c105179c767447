"""Times after programming: which ones a figure has, and their axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64

from aihwjax.errors import ConfigError
from aihwjax.inference.chip import checked_time
from aihwjax.inference.noise.base import NoiseModel
from aihwjax.tile.checks import ascending_times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DAY = 86400.0
TIMES = (1.0, 60.0, 3600.0, _DAY, 2 * _DAY, 7 * _DAY, 30 * _DAY, 365 * _DAY)
"""Seconds after programming that figures have by default, where the noise model says something of them."""


def checked_times(model: NoiseModel, times: Sequence[float] | None) -> Float64[np.ndarray, " times"]:
    """Return the times of a figure in seconds.

    Args:
        model: The noise model.
        times: Seconds after programming; ``None``: those of :data:`TIMES` of which the model says something.

    Raises:
        ConfigError: If they do not ascend, or the model says nothing of one.
    """
    if times is None:
        return np.asarray([t for t in TIMES if _known(model, t)])
    seconds = ascending_times("times", times)
    for t in seconds.tolist():
        checked_time(model, t)
    return seconds


def _known(model: NoiseModel, t: float) -> bool:
    try:
        model.check_time(t)
    except ConfigError:
        return False
    return True


def draw_times(ax: Axes, times: Float[np.ndarray, " times"]) -> None:
    """Give axes a logarithmic axis of time that has a place for 0, if it is one of the times.

    Args:
        ax: Axes with everything drawn.
        times: Seconds after programming, ascending.
    """
    ax.set_xlabel("time since programming (s)")
    later = times[times > 0]
    if len(later) == 0:
        return
    if len(later) == len(times):
        ax.set_xscale("log")
        return
    ax.set_xscale("symlog", linthresh=float(later[0]), linscale=0.5)
    ax.set_xlim(left=-0.1 * float(later[0]))
