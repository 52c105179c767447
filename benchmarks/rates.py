"""Examples a second of us, the reference and digital training, in interleaved rounds."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import jax

from benchmarks import digital, ours
from benchmarks.measure import Figure, Runner, interleave
from benchmarks.own_process import OwnProcessRunner
from benchmarks.peer import REFERENCE, Peer, PeerRunner
from benchmarks.problem import (
    PRESETS,
    SEED_LAYERS,
    SLOW_PRESETS,
    Digits,
    Network,
    Problem,
    Task,
    digits,
    random_digits,
)
from benchmarks.record import Record


@dataclasses.dataclass(frozen=True)
class Options:
    """How a benchmark is run."""

    peer: Path | None = None
    """Virtual environment of the reference; ``None`` leaves it out."""
    rounds: int = 5
    """Counted rounds."""
    quick: bool = False
    """Small sizes, to see that everything runs; the figures mean nothing."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What one measurement of a round goes through; equal for all runners."""

    examples: int
    """Examples in an epoch."""
    epochs: int
    """Epochs."""


def work(batch: int, quick: bool, steps: int | None = None) -> Work:
    """Return the work at a batch size: some seconds for the slowest runner.

    Args:
        batch: Examples in a step.
        quick: Only to see that everything runs.
        steps: Mini-batches, where the reference takes milliseconds an example.
    """
    if quick:
        return Work(4 * batch, 1)
    if steps is not None:
        return Work(steps * batch, 1)
    return {64: Work(8000, 3), 8: Work(8000, 2)}.get(batch, Work(4000, 1))


def steps_of(problem: Problem) -> int | None:
    """Return the mini-batches of a round where the reference takes milliseconds an example; ``None``: by batch size."""
    if problem.network is not Network.CLASSIFIER:
        return {64: 30}.get(problem.batch, 100)
    return SLOW_PRESETS.get(problem.device)


def best(figures: Mapping[str, Figure]) -> str:
    """Return the name of the largest rate."""
    return max(figures, key=lambda name: figures[name].rate)


def measure(problems: list[Problem], options: Options) -> list[Record]:
    """Measure problems one after the other.

    Args:
        problems: What to measure.
        options: With or without the reference, rounds, sizes.

    Returns:
        One record for each problem and rival.
    """
    with contextlib.nullcontext() if options.peer is None else Peer(options.peer) as peer:
        return [record for problem in problems for record in compare(problem, examples_of(problem), peer, options)]


def examples_of(problem: Problem) -> Digits:
    """Return the embedded digits, or made-up examples for a network of other widths."""
    if problem.layers == SEED_LAYERS:
        return digits()
    return random_digits(problem.layers[0], problem.layers[-1], 8000)


def one_thread_helps(problem: Problem, options: Options) -> bool:
    """Whether a process of one thread is tried too: compounds have many small kernels, and compile long."""
    several = jax.default_backend() == "cpu" and len(os.sched_getaffinity(0)) > 1
    return several and problem.task is Task.TRAIN and problem.device in PRESETS and not options.quick


def compare(problem: Problem, data: Digits, peer: Peer | None, options: Options) -> list[Record]:
    """Measure one problem, and return a record for each rival, all of the same rounds.

    Args:
        problem: What to run.
        data: The examples; the first of the embedded digits.
        peer: The running reference, if it takes part.
        options: Rounds and sizes.
    """
    size = work(problem.batch, options.quick, steps_of(problem))
    part = data.cut(size.examples)
    plain = digital.best(problem, part, size.epochs)
    analog: dict[str, ours.OurRunner | OwnProcessRunner] = {**ours.runners(problem, part)}
    if one_thread_helps(problem, options):
        analog["one thread, one tile a layer"] = OwnProcessRunner(problem, size.examples, threads=1)
    reference = {} if peer is None else peer.prepare(problem, part.arrays())
    runners: dict[tuple[str, str], Runner] = {("digital", plain.setting.name): plain}
    runners |= {("ours", name): runner for name, runner in analog.items()}
    runners |= {("peer", name): runner for name, runner in reference.items()}
    groups = {REFERENCE: dict[str, PeerRunner]()}
    for name, rival in reference.items():
        groups.setdefault(rival.setting.rival, {})[name] = rival
    rivals = [[("peer", name) for name in group] for group in groups.values()]
    taken = interleave(runners, size.epochs, options.rounds, rivals)
    for runner in analog.values():
        runner.close()
    ours_figures = {name: figure for (side, name), figure in taken.items() if side == "ours"}
    our_best, digital_figure = best(ours_figures), taken["digital", plain.setting.name]
    records = []
    for who, group in groups.items():
        figures = {name: taken["peer", name] for name in group}
        peer_best = best(figures) if figures else ""
        record = Record(
            name=problem.name if who == REFERENCE else f"{problem.name}/beside {who}",
            unit="examples/s",
            higher_is_better=True,
            ours=ours_figures[our_best].rate,
            peer=figures[peer_best].rate if figures else None,
            digital=digital_figure.rate,
            rounds=options.rounds,
            our_setting=our_best,
            peer_setting=peer_best,
            digital_setting=plain.setting.name,
            details={
                "examples_a_round": size.examples * size.epochs,
                "compile_s": {"ours": analog[our_best].compile_s, "digital": plain.compile_s},
                "ours": {name: dataclasses.asdict(figure) for name, figure in ours_figures.items()},
                "peer": {name: dataclasses.asdict(figure) for name, figure in figures.items()},
                "digital": dataclasses.asdict(digital_figure),
            },
        )
        records.append(record)
    return records
