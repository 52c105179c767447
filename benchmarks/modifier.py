"""How fast do the seed network and LeNet-5 train on inference tiles whose weights are noisy in training?"""

from __future__ import annotations

from benchmarks import rates
from benchmarks.problem import HARDWARE_AWARE, LEARNED_RANGES, Network, Problem
from benchmarks.rates import Options
from benchmarks.record import Record


def records(options: Options) -> list[Record]:
    """Measure hardware-aware training at batch 64, all with a weight modifier of normal noise.

    Once with default converters, then with 8-bit converters and learned input ranges, there also beside
    aihwkit-lightning where the reference's virtual environment has it.
    """
    problems = [Problem(device=device, batch=64) for device in (HARDWARE_AWARE, LEARNED_RANGES)]
    return rates.measure([*problems, Problem(device=LEARNED_RANGES, batch=64, network=Network.LENET)], options)
