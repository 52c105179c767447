"""How fast does the seed network train on mnist10k, in steady state?"""

from __future__ import annotations

from benchmarks import rates
from benchmarks.problem import BATCHES, DEVICES, Problem
from benchmarks.rates import Options
from benchmarks.record import Record


def records(options: Options) -> list[Record]:
    """Measure training at every device and batch size."""
    return rates.measure([Problem(device=device, batch=batch) for device in DEVICES for batch in BATCHES], options)
