"""How fast are many chips evaluated at many times, and what does a chip cost when there are more of them?"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import numpy as np
from flax import nnx

import aihwjax as aj
from aihwjax.experiments.data import MNIST10K
from aihwjax.nn import many_chips
from benchmarks import ours
from benchmarks.measure import Runner, Sample, interleave, timed
from benchmarks.peer import Peer
from benchmarks.problem import HARDWARE_AWARE, Digits, Problem, Task
from benchmarks.rates import Options, best
from benchmarks.record import Record

CHIPS = 25
"""Chips of the comparison with the reference."""

TIMES = tuple(float(t) for t in np.geomspace(1, 3600 * 24 * 365, 10))
"""Seconds after programming: from a second to a year."""

COUNTS, FEW = (1, 8, 64, 256), (1, 2)
"""Numbers of chips whose cost is compared; those of a quick run."""

PROBLEM = Problem(task=Task.CHIPS, device=HARDWARE_AWARE, batch=2000)
"""The seed network on inference tiles with default converters, on 2,000 digits at once."""


class Fewer:
    """The reference, on a fifth of the chips: they follow each other there, and each takes as long as the first."""

    def __init__(self, runner: Runner) -> None:
        """Keep the runner."""
        self._runner = runner

    def measure(self, epochs: int) -> Sample:
        """Evaluate a fifth of ``epochs`` chips."""
        return self._runner.measure(-(-epochs // 5))


class ChipsRunner:
    """Our evaluation: a round is one call for the given number of chips."""

    def __init__(self, data: Digits, single_tile: bool) -> None:
        """Build the network.

        Args:
            data: Digits on which each chip is evaluated.
            single_tile: One tile a layer.
        """
        self.model = ours.network(PROBLEM, ours.tile_config(PROBLEM.device, single_tile))
        self._data, self._key = (data.images, data.labels), 0

    def call(self, chips: int) -> aj.OverTime:
        """Evaluate fresh chips."""
        self._key += 1
        return aj.evaluate_over_time(self.model, self._data, TIMES, chips, self._key)

    def measure(self, epochs: int) -> Sample:
        """Evaluate ``epochs`` chips at all times."""
        return timed(lambda: float(self.call(epochs).mean[-1]), epochs * len(TIMES))


def unseen(examples: int) -> Digits:
    """Return digits that nothing is trained on, up to 2,000."""
    splits = MNIST10K.load()
    images = splits.valid_x.reshape(len(splits.valid_x), -1)
    return Digits(images, splits.valid_y.astype(np.int32)).cut(examples)


def records(options: Options) -> list[Record]:
    """Measure chips beside the reference, the cost of a chip by their number, and memory against its budget."""
    data = unseen(40 if options.quick else PROBLEM.batch)
    chips = 2 if options.quick else 64
    return [beside(data, options), *costs(data, options), memory(data, chips)]


def beside(data: Digits, options: Options) -> Record:
    """Measure chips times moments a second, ours and the reference's."""
    chips = 2 if options.quick else CHIPS
    runners: dict[tuple[str, str], Runner] = {
        ("ours", "one tile a layer" if single else "default mapping"): ChipsRunner(data, single)
        for single in (False, True)
    }
    if options.peer is None:
        taken = interleave(runners, chips, options.rounds)
    else:
        with Peer(options.peer) as peer:
            arrays = {**data.arrays(), "times": np.asarray(TIMES)}
            reference = {("peer", name): Fewer(runner) for name, runner in peer.prepare(PROBLEM, arrays).items()}
            taken = interleave({**runners, **reference}, chips, options.rounds, [list(reference)])
    figures = {side: {n: f for (who, n), f in taken.items() if who == side} for side in ("ours", "peer")}
    our_best, peer_best = (best(group) if group else "" for group in figures.values())
    return Record(
        name=f"chips/{chips} chips at {len(TIMES)} times",
        unit="evaluations/s",
        higher_is_better=True,
        ours=figures["ours"][our_best].rate,
        peer=figures["peer"][peer_best].rate if peer_best else None,
        rounds=options.rounds,
        our_setting=our_best,
        peer_setting=peer_best,
        details={side: {n: dataclasses.asdict(f) for n, f in group.items()} for side, group in figures.items()},
    )


def costs(data: Digits, options: Options) -> list[Record]:
    """Measure the milliseconds of a chip at all times, by the number of chips in a call."""
    runner = ChipsRunner(data, single_tile=True)
    counts = FEW if options.quick else COUNTS
    found: dict[int, list[float]] = {count: [] for count in counts}
    first: dict[int, float] = {}
    for count in counts:
        start = time.perf_counter()
        runner.call(count)
        first[count] = time.perf_counter() - start
    for _ in range(options.rounds):
        for count in counts:
            found[count].append(1000 * runner.measure(count).seconds / count)
    return [
        Record(
            name=f"chips/cost of each of {count}",
            unit="ms",
            higher_is_better=False,
            ours=float(np.median(taken)),
            rounds=options.rounds,
            details={"all": taken, "first_call_s": first[count]},
        )
        for count, taken in found.items()
    ]


def memory(data: Digits, chips: int, budget: int = 2**28) -> Record:
    """Return what the program of many chips takes, by the compiler's own account, over the budget that it was given."""
    runner = ChipsRunner(data, single_tile=True)
    seen: list[Any] = []
    evaluated = many_chips._evaluated
    try:
        many_chips._evaluated = lambda *args: (seen.append(args), evaluated(*args))[1]  # type: ignore[assignment]
        aj.evaluate_over_time(runner.model, (data.images, data.labels), TIMES, chips, 0, memory=budget)
    finally:
        many_chips._evaluated = evaluated
    account = evaluated.lower(*seen[0]).compile().memory_analysis()
    given = sum(array.nbytes for array in jax.tree.leaves(nnx.state(runner.model)) if hasattr(array, "nbytes"))
    return Record(
        name="chips/memory over its budget",
        unit="ratio",
        higher_is_better=False,
        ours=account.temp_size_in_bytes / budget,
        details={"budget": budget, "temporary": account.temp_size_in_bytes, "model": given, "at_once": seen[0][2]},
    )
