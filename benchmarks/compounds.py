"""How fast does the seed network train with Tiki-Taka and its descendants, and with mixed precision?"""

from __future__ import annotations

from benchmarks import rates
from benchmarks.problem import PRESETS, Problem
from benchmarks.rates import Options
from benchmarks.record import Record


def records(options: Options) -> list[Record]:
    """Measure training at batch 64 with one preset of each algorithm."""
    return rates.measure([Problem(device=preset, batch=64) for preset in PRESETS], options)
