"""How fast is this library with another JAX? ``python -m benchmarks.versions DIR`` compares two environments.

Newer runtimes were slower for others, so this is asked before pins move: the same training in two processes in turn,
one with the interpreter that runs this, one with that of ``DIR``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.measure import interleave
from benchmarks.own_process import OwnProcessRunner
from benchmarks.problem import BATCHES, DEVICES, HARDWARE_AWARE, PRESETS, Problem
from benchmarks.rates import Options, steps_of, work
from benchmarks.record import Record

PROBLEMS = [
    *(Problem(device=device, batch=batch) for device in DEVICES for batch in BATCHES),
    *(Problem(device=preset, batch=64) for preset in (*PRESETS, HARDWARE_AWARE)),
]
"""What is trained: what the benchmarks ``train`` and ``compounds`` train, and inference tiles."""


def compare(problem: Problem, other: Path, options: Options) -> Record:
    """Train in both environments in turn.

    Args:
        problem: What is trained.
        other: The other interpreter.
        options: Rounds and sizes.

    Returns:
        The other's rate over that of this interpreter; the details have both rates, versions and compile times.
    """
    size = work(problem.batch, options.quick, steps_of(problem))
    with contextlib.ExitStack() as stack:
        runners = {}
        for side, python in (("this", Path(sys.executable)), ("other", other)):
            runners[side] = OwnProcessRunner(problem, size.examples, python=python)
            stack.callback(runners[side].close)
        figures = interleave(runners, size.epochs, options.rounds)
    return Record(
        name=problem.name,
        unit="times the rate",
        higher_is_better=True,
        ours=figures["other"].rate / figures["this"].rate,
        rounds=options.rounds,
        details={
            side: {**runner.versions, "compile_s": runner.compile_s, **dataclasses.asdict(figures[side])}
            for side, runner in runners.items()
        },
    )


def main(arguments: list[str] | None = None) -> list[Record]:
    """Run what the command line asks for, print a table and return the records.

    Args:
        arguments: The command line without the program's name; ``None``: that of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description="Compare two versions of JAX.")
    parser.add_argument("other", type=Path, metavar="DIR", help="virtual environment with the other JAX")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one record a measurement to FILE")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one problem of a tiny size, to see that it runs")
    options = parser.parse_args(arguments)
    python = options.other / "bin" / "python"
    if not python.exists():
        parser.error(f"{options.other}: no bin/python there; give a virtual environment with this library")
    problems = PROBLEMS[:1] if options.quick else PROBLEMS
    taken = []
    for problem in problems:
        taken.append(compare(problem, python, Options(None, options.rounds, options.quick)))
        if options.json is not None:
            record.write_json(taken, options.json)
    show(taken)
    return taken


def show(records: list[Record]) -> None:
    """Print both rates and their ratio."""
    table = Table(title="Training with two versions of JAX, examples/s", title_justify="left")
    for heading in ("measurement", "this", "other", "other / this", "compile, this", "compile, other"):
        table.add_column(heading, justify="left" if heading == "measurement" else "right")
    for row in records:
        sides: Any = row.details
        this, other = sides["this"], sides["other"]
        table.add_row(
            row.name,
            f"{this['rate']:,.0f}",
            f"{other['rate']:,.0f}",
            f"{row.ours:.2f}",
            f"{this['compile_s']:.1f} s",
            f"{other['compile_s']:.1f} s",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
