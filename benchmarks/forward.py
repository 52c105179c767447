"""How fast are outputs alone, without gradients?"""

from __future__ import annotations

from benchmarks import rates
from benchmarks.problem import Problem, Task
from benchmarks.rates import Options
from benchmarks.record import Record


def records(options: Options) -> list[Record]:
    """Measure the outputs of the seed network and of one layer of 512 x 512; the device has no part in them."""
    problems = [Problem(task=Task.FORWARD, batch=64), Problem(task=Task.FORWARD, batch=64, layers=(512, 512))]
    return rates.measure(problems, options)
