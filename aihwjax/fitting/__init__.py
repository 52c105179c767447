"""Fits of devices to measured pulse curves.

Curves (:mod:`~aihwjax.fitting.curves`) are judged by their likelihood (:mod:`~aihwjax.fitting.likelihood`): from each
reading the next one is predicted by the device's own law, whose noise is that of its pulses. Numbers of each
measured device and of all together are searched by gradients from several starts
(:mod:`~aihwjax.fitting.search`), and summed up as the fields of a configuration with their errors
(:mod:`~aihwjax.fitting.summing`).
"""

from aihwjax.fitting.curves import PulseCurves
from aihwjax.fitting.fit import fit_device
from aihwjax.fitting.result import DeviceFit

__all__ = ["DeviceFit", "PulseCurves", "fit_device"]
