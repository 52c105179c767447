"""Figures of devices, tiles and training, for papers and for looking (extra ``plot``).

Each figure is a pair: ``compute_*`` returns its numbers as NumPy arrays, ``plot_*`` draws them
and returns a Matplotlib figure. ``plot_*`` also takes a device, a tile configuration or the name
of a preset and computes with defaults; figures of chips take a noise model, a configuration with
one, or the name of either. Matplotlib is imported when the first figure is drawn.
"""

from aihwjax.plot.chip_subject import ChipSubject
from aihwjax.plot.conductance_error import ConductanceError, compute_conductance_error, plot_conductance_error
from aihwjax.plot.device import plot_device, plot_device_compact
from aihwjax.plot.device_fit import plot_device_fit
from aihwjax.plot.learning import LearningCurve, plot_learning_curves, read_learning_curve
from aihwjax.plot.mvm_error import MvmError, compute_mvm_error, plot_mvm_error
from aihwjax.plot.over_time import compute_accuracy_over_time, plot_accuracy_over_time
from aihwjax.plot.programming_error import ProgrammingError, compute_programming_error, plot_programming_error
from aihwjax.plot.pulse_response import PulseResponse, apply_pulses, compute_pulse_response, plot_pulse_response
from aihwjax.plot.pulse_statistics import (
    PulseStatistics,
    compute_pulse_statistics,
    plot_pulse_statistics,
    theoretical_steps,
)
from aihwjax.plot.style import save
from aihwjax.plot.subject import Subject, estimate_n_steps
from aihwjax.plot.sweeps import (
    SweepMeans,
    compute_sweep_means,
    plot_sweep_curves,
    plot_sweep_map,
    plot_sweep_parallel,
)
from aihwjax.plot.symmetry import SymmetryPoints, compute_symmetry_points, plot_device_symmetry
from aihwjax.plot.weight_drift import WeightDrift, compute_weight_drift, plot_weight_drift
from aihwjax.plot.weights import WeightTraces, compute_weight_traces, plot_weights, trace_weights

__all__ = [
    "ChipSubject",
    "ConductanceError",
    "LearningCurve",
    "MvmError",
    "ProgrammingError",
    "PulseResponse",
    "PulseStatistics",
    "Subject",
    "SweepMeans",
    "SymmetryPoints",
    "WeightDrift",
    "WeightTraces",
    "apply_pulses",
    "compute_accuracy_over_time",
    "compute_conductance_error",
    "compute_mvm_error",
    "compute_programming_error",
    "compute_pulse_response",
    "compute_pulse_statistics",
    "compute_sweep_means",
    "compute_symmetry_points",
    "compute_weight_drift",
    "compute_weight_traces",
    "estimate_n_steps",
    "plot_accuracy_over_time",
    "plot_conductance_error",
    "plot_device",
    "plot_device_compact",
    "plot_device_fit",
    "plot_device_symmetry",
    "plot_learning_curves",
    "plot_mvm_error",
    "plot_programming_error",
    "plot_pulse_response",
    "plot_pulse_statistics",
    "plot_sweep_curves",
    "plot_sweep_map",
    "plot_sweep_parallel",
    "plot_weight_drift",
    "plot_weights",
    "read_learning_curve",
    "save",
    "theoretical_steps",
    "trace_weights",
]
