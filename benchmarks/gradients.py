"""How far are gradients of training runs from the truth, how noisy are they, and what do they cost?

A small network of two layers is trained many times. For each number of its devices the mean derivative of the loss at
the end, of ``--seeds`` networks, stands beside the central difference of the mean loss of ``--runs`` pairs of networks
with equal keys; bias is the difference of the two, in its standard error. The standard deviations are those of one
network and of one pair; it takes the square of their ratio in pairs to know a derivative as well as one network of ours
does. Times are those of the processor, of a network with its derivative, compiling apart.

Run: ``python -m benchmarks.gradients [--seeds N] [--runs N] [--json FILE] [NUMBER ...]``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

import aihwjax as aj
from aihwjax.devices import PulsedDevice

SOFT, LINEAR = aj.SoftBoundsDevice(dw_min=0.01), aj.LinearStepDevice(dw_min=0.01, gamma_up=0.5, gamma_down=0.3)
POWER = aj.PowStepDevice(dw_min=0.01, pow_gamma=1.5)
NUMBERS: dict[str, tuple[PulsedDevice, str, float, float]] = {
    "soft bounds, up_down": (SOFT, "device.up_down", 0.2, 0.05),
    "soft bounds, dw_min": (SOFT, "device.dw_min", 0.02, 0.004),
    "soft bounds, w_max": (SOFT, "device.w_max", 0.6, 0.06),
    "soft bounds, dw_min_dtod": (SOFT, "device.dw_min_dtod", 0.3, 0.05),
    "linear, gamma_up": (LINEAR, "device.gamma_up", 0.5, 0.1),
    "linear, dw_min_std": (LINEAR, "device.dw_min_std", 0.5, 0.1),
    "power, pow_gamma": (POWER, "device.pow_gamma", 1.5, 0.15),
    "soft bounds, learning rate": (SOFT, "learning_rate", 0.3, 0.04),
}
"""Device, path, value, and half the width of the difference."""


def experiment(device: PulsedDevice) -> aj.BasicTraining:
    """A network of two analog layers on a separable problem."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8)).astype("float32")
    y = (x @ rng.normal(size=(8, 3))).argmax(1)
    config, rngs = aj.SingleRPUConfig(device=device), nnx.Rngs(0)
    model = aj.nn.AnalogSequential(
        aj.nn.AnalogLinear(8, 6, config=config, rngs=rngs),
        aj.nn.Tanh(),
        aj.nn.AnalogLinear(6, 3, config=config, rngs=rngs),
        aj.nn.LogSoftmax(),
    )
    data = x[:240], y[:240], x[240:], y[240:]
    return aj.BasicTraining(data, model, batch_size=8, epochs=2, learning_rate=0.3)


def measured(device: PulsedDevice, path: str, at: float, width: float, seeds: int, runs: int) -> dict[str, Any]:
    """Return both derivatives with their errors, spreads and seconds."""
    own = experiment(device)
    gradient = aj.training_gradient(own, [path], seeds=seeds)
    gradient({path: at}, key=0)
    start = time.process_time()
    found = gradient({path: at}, key=1)
    seconds = time.process_time() - start
    space = {path: [at - width, at + width]}
    table = aj.sweep(own, space, seeds=runs, key=2, progress=False)
    losses = np.array([row["valid_loss"] for row in table.last()]).reshape(2, runs)
    pairs = (losses[1] - losses[0]) / (2 * width)
    return {
        "slope": found.gradient[path], "slope_error": found.error[path], "slope_std": float(found.slopes[path].std()),
        "difference": float(pairs.mean()), "difference_error": float(pairs.std() / runs**0.5),
        "difference_std": float(pairs.std()), "ms": 1000 * seconds / seeds,
    }  # fmt: skip


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="*", help=f"any of: {'; '.join(NUMBERS)}")
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if unknown := set(options.numbers) - set(NUMBERS):
        parser.error(f"{', '.join(sorted(unknown))}: give any of {'; '.join(NUMBERS)}")
    found = {name: measured(*NUMBERS[name], options.seeds, options.runs) for name in options.numbers or NUMBERS}
    table = Table(
        "number", "slope", "difference", "bias in errors", "std, network", "std, pair", "pairs a network", "ms"
    )
    for name, row in found.items():
        error = np.hypot(row["slope_error"], row["difference_error"])
        table.add_row(
            name,
            f"{row['slope']:.4f} ± {row['slope_error']:.4f}",
            f"{row['difference']:.4f} ± {row['difference_error']:.4f}",
            f"{(row['slope'] - row['difference']) / error:.1f}",
            f"{row['slope_std']:.3f}",
            f"{row['difference_std']:.3f}",
            f"{(row['difference_std'] / row['slope_std']) ** 2:.1f}",
            f"{row['ms']:.1f}",
        )
    Console(width=140).print(table)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
