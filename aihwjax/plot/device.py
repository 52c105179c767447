"""A device at a glance: its response, its steps and its symmetry point together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aihwjax import arguments
from aihwjax.plot.pulse_response import compute_pulse_response, plot_pulse_response
from aihwjax.plot.pulse_statistics import compute_pulse_statistics, plot_pulse_statistics
from aihwjax.plot.style import drawn, panels, pyplot
from aihwjax.plot.subject import Seed, Subject, name_of
from aihwjax.plot.symmetry import compute_symmetry_points, draw_histogram, plot_device_symmetry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@arguments.answered
@drawn
def plot_device(subject: Subject, *, pulses: int | None = None, key: Seed = 0) -> Figure:
    """Draw a device or tile on four axes: pulse response, step size, symmetry point and its histogram.

    Example:
        >>> import aihwjax as aj
        >>> len(aj.plot.plot_device(aj.SoftBoundsDevice(dw_min=0.02)).axes)
        4

    Args:
        subject: Device, tile configuration or preset name.
        pulses: Up pulses of a cycle, and half the pairs of alternating pulses; by default enough to
            cross the range.
        key: Key or seed of the devices and all noise.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    pyplot()  # fails before the simulation does its work
    response = compute_pulse_response(subject, pulses=pulses, key=key)
    points = compute_symmetry_points(subject, pairs=None if pulses is None else 2 * pulses, key=key)
    figure, (first, second, third, fourth) = panels(2, 2)
    plot_pulse_response(response, first)
    plot_pulse_statistics(compute_pulse_statistics(subject, key=key), second)
    plot_device_symmetry(points, third)
    draw_histogram(points, fourth)
    _one_title(figure, name_of(subject))
    return figure


@arguments.answered
@drawn
def plot_device_compact(subject: Subject, *, pulses: int | None = None, key: Seed = 0) -> Figure:
    """Draw the pulse response and the step size of a device or tile side by side.

    Args:
        subject: Device, tile configuration or preset name.
        pulses: Up pulses of a cycle; by default enough to cross the range.
        key: Key or seed of the devices and all noise.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    pyplot()
    response = compute_pulse_response(subject, pulses=pulses, cycles=1, key=key)
    figure, (left, right) = panels(2)
    plot_pulse_response(response, left)
    plot_pulse_statistics(compute_pulse_statistics(subject, key=key), right)
    _one_title(figure, name_of(subject))
    return figure


def _one_title(figure: Figure, name: str) -> None:
    for ax in figure.axes:
        ax.set_title("")
    figure.suptitle(name, fontsize=9)
