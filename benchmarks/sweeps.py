"""What does a configuration of a sweep cost, beside the reference in as many processes as there are cores?

Every network has a step size and a step noise of its own and trains one epoch of the seed problem on mnist10k, devices
drawn and rows made, as ``aj.sweep`` does it; the first call, which compiles, is told apart. The reference trains a
sample of them in as many one-thread processes as there are cores, built before the clock starts.

``python -m benchmarks.sweeps FILE.json PICTURE.svg`` draws what ``python -m benchmarks.run sweeps --json FILE.json``
found.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from aihwjax.experiments import BasicTraining, LogUniform, Uniform, sampled
from aihwjax.experiments.sweeping.engine import Engine
from benchmarks import compilations, ours
from benchmarks.measure import Runner, Sample, interleave, peak_rss_mib, timed
from benchmarks.peer import PeerWorker
from benchmarks.problem import Digits, Problem, digits
from benchmarks.rates import Options
from benchmarks.record import Record

SIZES = (1, 8, 64, 256)
"""Configurations of a sweep."""
_AGAINST = 64
"""Of them beside the reference."""
_STEPS = 30
"""Mini-batches of an epoch where only the number of configurations matters."""
_MEMORY = 2**31
"""Bytes of a call: all networks are in one."""


def records(options: Options) -> list[Record]:
    """Measure sweeps of several sizes, and one of them beside the reference.

    Args:
        options: Rounds and sizes.
    """
    problem, data = Problem(batch=64), digits()
    return [*by_size(problem, data, options), against(problem, data, options)]


def by_size(problem: Problem, data: Digits, options: Options) -> list[Record]:
    """Measure the seconds that a configuration takes, for each number of them.

    Args:
        problem: What each network runs.
        data: The examples.
        options: Rounds and sizes.
    """
    part = data.cut(problem.batch * (2 if options.quick else _STEPS))
    runners = {size: SweepRunner(problem, part, size) for size in ((1, 3) if options.quick else SIZES)}
    figures = interleave(runners, 1, options.rounds)
    return [
        Record(
            name=f"sweeps/{problem.device}/batch{problem.batch}/{size} configurations",
            unit=f"ms/configuration of {len(part.labels)} examples",
            higher_is_better=False,
            ours=1e3 * len(part.labels) / figures[size].rate,
            rounds=options.rounds,
            our_setting=runner.way,
            details={
                "configurations": size,
                "compile_s": runner.compile_s,
                "first_call_s": runner.first_call_s,
                "planned_s": runner.planned_s,
                "planned_mib": runner.planned_mib,
                "ours": dataclasses.asdict(figures[size]),
            },
        )
        for size, runner in runners.items()
    ]


def against(problem: Problem, data: Digits, options: Options) -> Record:
    """Measure one epoch of many configurations beside the reference, which trains a sample of them.

    Args:
        problem: What each network runs.
        data: The examples.
        options: Rounds and sizes.
    """
    part, size = (data.cut(2 * problem.batch), 2) if options.quick else (data, _AGAINST)
    mine = SweepRunner(problem, part, size)
    runners: dict[str, Runner] = {"ours": mine}
    with contextlib.ExitStack() as stack:
        if options.peer is not None:
            runners["peer"] = stack.enter_context(Processes(options.peer, problem, part))
        figures = interleave(runners, 1, options.rounds)
        others = runners.get("peer")
        peer_mib = others.peak_mib if isinstance(others, Processes) else None
    cores = len(os.sched_getaffinity(0))
    return Record(
        name=f"sweeps/{problem.device}/batch{problem.batch}/{size} configurations, an epoch of {len(part.labels)}",
        unit="examples/s",
        higher_is_better=True,
        ours=figures["ours"].rate,
        peer=figures["peer"].rate if "peer" in figures else None,
        rounds=options.rounds,
        our_setting=f"{mine.way}, one process",
        peer_setting=f"{cores} processes, OMP_NUM_THREADS=1" if "peer" in figures else "",
        details={
            "configurations": size,
            "compile_s": mine.compile_s,
            "first_call_s": mine.first_call_s,
            "planned_s": mine.planned_s,
            "planned_mib": mine.planned_mib,
            "peak_rss_mib": peak_rss_mib(),
            "peer_peak_rss_mib": peer_mib,
            **{name: dataclasses.asdict(figure) for name, figure in figures.items()},
        },
    )


class SweepRunner:
    """Sweeps of one size, one epoch each, with the programs of the first."""

    def __init__(self, problem: Problem, data: Digits, size: int) -> None:
        """Plan and compile.

        Args:
            problem: What each network runs.
            data: The examples.
            size: Number of configurations.
        """
        arrays = data.images, data.labels, data.images[:1], data.labels[:1]
        model = ours.network(problem, ours.tile_config(problem.device))
        rate = problem.learning_rate
        experiment = BasicTraining(arrays, model, batch_size=problem.batch, learning_rate=rate, epochs=1)
        space = {"device.dw_min": LogUniform(5e-4, 2e-3), "device.dw_min_std": Uniform(0.0, 0.5)}
        self._engine = Engine(experiment, key=0, memory=_MEMORY)
        self.way = self._engine.way
        before, start = compilations.so_far(), time.perf_counter()
        self._plan = self._engine.plan(sampled(space, size, key=0), [0])
        self.planned_s, self.planned_mib = self._plan.seconds, self._plan.memory / 2**20
        self._examples = size * len(data.labels)
        self._train()
        self.first_call_s = time.perf_counter() - start
        """Seconds of planning, tracing, compiling and the first epoch."""
        self.compile_s = (compilations.so_far() - before).seconds
        """Seconds of them in the compiler."""

    def _train(self) -> float:
        losses: list[float] = []
        for chunk, size in zip(self._plan.chunks, self._plan.at_once, strict=True):
            call = self._engine.start(chunk, size)
            call.advance(1)
            losses += [row["train_loss"] for row in call.flat()]
        return float(np.mean(losses))

    def measure(self, epochs: int) -> Sample:
        """Sweep so many times, one epoch each."""
        return timed(lambda: [self._train() for _ in range(epochs)][-1], epochs * self._examples)


class Processes(contextlib.ExitStack):
    """Networks of the reference, one in each of as many one-thread processes as there are cores, at the same time."""

    def __init__(self, folder: Path, problem: Problem, data: Digits) -> None:
        """Start the processes and build a network in each.

        Args:
            folder: Virtual environment of the reference.
            problem: What each network runs.
            data: The examples.

        Raises:
            WorkerError: One of them failed; none is left running.
        """
        super().__init__()
        self.peak_mib = 0.0
        with contextlib.ExitStack() as started:
            count = len(os.sched_getaffinity(0))
            self._workers = [started.enter_context(PeerWorker(folder, 1)) for _ in range(count)]
            for seed, worker in enumerate(self._workers):
                worker.prepare("network", problem, data.arrays(), single_tile=True, seed=seed)
            self._threads = started.enter_context(concurrent.futures.ThreadPoolExecutor(count))
            self.push(started.pop_all())

    def measure(self, epochs: int) -> Sample:
        """Train a network for so many epochs in each process, and wait for all."""
        start = time.perf_counter()
        each = list(self._threads.map(lambda worker: worker.measure("network", epochs), self._workers))
        seconds = time.perf_counter() - start
        self.peak_mib = max(self.peak_mib, sum(sample.peak_rss_mib for sample in each))
        loss = float(np.mean([sample.loss for sample in each]))
        cpu = sum(sample.cpu_s for sample in each)
        return Sample(sum(sample.examples for sample in each), seconds, cpu, loss, self.peak_mib)


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Draw the cost of a configuration and the time to compile against the number of configurations.

    Args:
        found: The records, as JSON has them.
        path: The picture.
    """
    import matplotlib.pyplot as plt

    rows = [each for each in found if each["unit"].startswith("ms/configuration")]
    sizes = [row["details"]["configurations"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    left.plot(sizes, [row["ours"] for row in rows], "o-")
    left.set_ylabel(rows[0]["unit"].partition(" of ")[0])
    right.plot(sizes, [row["details"]["compile_s"] for row in rows], "o-", label="compiler")
    right.plot(sizes, [row["details"]["first_call_s"] for row in rows], "s--", label="first call in all")
    right.set_ylabel("s")
    right.legend()
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set_xlabel("configurations")
        axis.set_ylim(bottom=0)
    figure.savefig(path)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
