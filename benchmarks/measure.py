"""Samples and their medians, taken in turn."""

from __future__ import annotations

import dataclasses
import resource
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

_Name = TypeVar("_Name")


@dataclasses.dataclass(frozen=True)
class Sample:
    """One timed piece of work."""

    examples: int
    """Examples that were worked through."""
    seconds: float
    """Time on the wall."""
    cpu_s: float
    """Processor time of all threads of the process."""
    loss: float
    """The last loss (a mean output when only outputs are computed): shows that work was done."""
    peak_rss_mib: float
    """Largest resident memory of the process so far, in MiB."""

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self.examples / self.seconds


class Runner(Protocol):
    """A prepared network that can go on for some epochs."""

    def measure(self, epochs: int) -> Sample:
        """Go on for ``epochs`` passes over the data and return what it took."""
        ...


def peak_rss_mib() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rss_mib() -> float:
    """Return the resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def timed(work: Callable[[], float], examples: int) -> Sample:
    """Run ``work`` and return it as a sample.

    Args:
        work: Does the work, waits for it and returns the last loss.
        examples: Examples it goes through.
    """
    start, cpu = time.perf_counter(), time.process_time()
    loss = work()
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    return Sample(examples, seconds, cpu_s, loss, peak_rss_mib())


@dataclasses.dataclass(frozen=True)
class Figure:
    """The rate of one runner over all rounds."""

    rate: float
    """Median of examples a second."""
    spread: float
    """Half the distance between the quartiles, relative to the median."""
    cores: float
    """Median of processor time over wall time."""
    per_core: float
    """Median of examples a second of processor time."""
    rates: list[float]
    """Examples a second of each round, in order."""


def figure(samples: Iterable[Sample]) -> Figure:
    """Return the medians of a runner's samples."""
    samples = list(samples)
    rates = [sample.rate for sample in samples]
    cores = statistics.median(sample.cpu_s / sample.seconds for sample in samples)
    per_core = statistics.median(sample.examples / max(sample.cpu_s, 1e-9) for sample in samples)
    return Figure(statistics.median(rates), spread(rates), cores, per_core, rates)


def spread(values: list[float]) -> float:
    """Return half the distance between the quartiles, relative to the median."""
    if len(values) < 2:
        return 0.0
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / (2 * median)


def interleave(
    runners: Mapping[_Name, Runner], epochs: int, rounds: int, rivals: Iterable[Collection[_Name]] = ()
) -> dict[_Name, Figure]:
    """Measure all runners in turn, round by round, so that a busy machine hits them alike.

    Every runner goes through the same number of examples, so all are at the same point of training
    in the same round. One round before the first warms up and is not counted.

    Args:
        runners: What to measure, by name.
        epochs: Passes over the data of each runner in each round.
        rounds: Number of counted rounds.
        rivals: Groups of runners of which only the best will count: one that is less than half as fast as the
            best of its group in the first round is left out, and that round is its figure.

    Returns:
        The figure of each runner.
    """
    warm = {name: runner.measure(epochs) for name, runner in runners.items()}
    lost = set[_Name]()
    for group in rivals:
        lead = max((warm[name].rate for name in group), default=0.0)
        lost |= {name for name in group if warm[name].rate < lead / 2}
    samples: dict[_Name, list[Sample]] = {name: [warm[name]] if name in lost else [] for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            if name not in lost:
                samples[name].append(runner.measure(epochs))
    return {name: figure(taken) for name, taken in samples.items()}
