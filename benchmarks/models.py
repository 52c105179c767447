"""How fast do LeNet-5 and an LSTM train on mnist10k, in steady state?"""

from __future__ import annotations

from benchmarks import rates
from benchmarks.problem import Network, Problem
from benchmarks.rates import Options
from benchmarks.record import Record


def records(options: Options) -> list[Record]:
    """Measure LeNet-5 and the LSTM on ConstantStep devices at batch 64 and 8."""
    problems = [
        Problem(batch=batch, network=network, learning_rate=0.01)
        for network in (Network.LENET, Network.LSTM)
        for batch in (64, 8)
    ]
    return rates.measure(problems, options)
