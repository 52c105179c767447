"""Draw the figures of the documentation into docs/assets.

Usage: python docs/draw_figures.py [NAME ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from flax import nnx
from matplotlib.figure import Figure

import aihwjax as aj
from aihwjax import plot

ASSETS = Path(__file__).parent / "assets"
SOFT = aj.SoftBoundsDevice(dw_min=0.01, dw_min_dtod=0.3, w_max_dtod=0.15, w_min_dtod=0.15)


def learning_curves() -> Figure:
    """Train a small network on two devices and on exact weights."""
    configs = {
        "floating point": aj.FloatingPointRPUConfig(),
        "constant step": aj.SingleRPUConfig(device=aj.ConstantStepDevice()),
        "soft bounds": aj.SingleRPUConfig(device=aj.SoftBoundsDevice()),
    }
    runs = {}
    for name, config in configs.items():
        layer = aj.nn.AnalogLinear(784, 10, config=config, rngs=nnx.Rngs(0))
        model = aj.nn.AnalogSequential(aj.nn.Flatten(), layer, aj.nn.LogSoftmax())
        experiment = aj.BasicTraining(dataset=aj.MNIST10K, model=model, epochs=6, learning_rate=0.1)
        runs[name] = aj.run_local(experiment, key=0, max_elements_train=4000)
    return plot.plot_learning_curves(runs)


def accuracy_over_time() -> Figure:
    """Train a small network, and put it onto chips of two kinds of phase-change memory."""
    kinds = {"single-pair array": "PCMLikeNoiseModel", "Hermes": "HermesNoiseModel"}
    return plot.plot_accuracy_over_time({name: plot.compute_accuracy_over_time(kind) for name, kind in kinds.items()})


FIGURES: dict[str, Callable[[], Figure]] = {
    "pulse_response": lambda: plot.plot_pulse_response(plot.compute_pulse_response(SOFT, pulses=300, cycles=1, key=7)),
    "device": lambda: plot.plot_device("ReRamESPresetDevice"),
    "step_size": lambda: plot.plot_pulse_statistics("EcRamPresetDevice"),
    "symmetry_point": lambda: plot.plot_device_symmetry("EcRamPresetDevice"),
    "weights": lambda: plot.plot_weights(plot.compute_weight_traces("TikiTakaEcRamPreset", updates=1000)),
    "mvm_error": lambda: plot.plot_mvm_error("PresetIOParameters"),
    "learning_curves": learning_curves,
    "programming_error": lambda: plot.plot_programming_error("PCMLikeNoiseModel"),
    "conductance_error": lambda: plot.plot_conductance_error("HermesNoiseModel"),
    "weight_drift": lambda: plot.plot_weight_drift("PCMLikeNoiseModel"),
    "accuracy_over_time": accuracy_over_time,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or FIGURES:
        figure = FIGURES[name]()
        plot.save(figure, ASSETS / f"{name}.svg")
        print(name)
