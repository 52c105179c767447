"""How fast does the seed network train on inference tiles whose weights are noisy in training?"""

from __future__ import annotations

from benchmarks import rates
from benchmarks.problem import HARDWARE_AWARE, Problem
from benchmarks.rates import Options
from benchmarks.record import Record


def records(options: Options) -> list[Record]:
    """Measure hardware-aware training at batch 64: default converters, and a weight modifier of normal noise."""
    return rates.measure([Problem(device=HARDWARE_AWARE, batch=64)], options)
