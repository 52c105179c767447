"""How fast are outputs alone, without gradients?"""

from __future__ import annotations

from benchmarks import rates
from benchmarks.problem import Problem, Task
from benchmarks.rates import Options
from benchmarks.record import Record


def records(options: Options) -> list[Record]:
    """Measure the outputs of the seed network at batch 64; the device has no part in them."""
    return rates.measure([Problem(task=Task.FORWARD, batch=64)], options)
