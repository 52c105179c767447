"""Run benchmarks: ``python -m benchmarks.run [NAME ...] [--peer DIR] [--json FILE]``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks import record
from benchmarks.rates import Options

NAMES = (
    "train", "modifier", "chips", "ir_drop", "compounds", "models", "forward", "memory", "conversion", "compile",
    "update_pass", "sweep", "sweeps",
)  # fmt: skip
"""The benchmarks; each is a module with a function ``records(options)``."""


def main(arguments: list[str] | None = None) -> list[record.Record]:
    """Run what the command line asks for and return the records.

    Args:
        arguments: The command line without the program's name; ``None``: that of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure what the library costs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benchmarks to run: {', '.join(NAMES)}; default: all")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="virtual environment in which aihwkit is installed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one record a measurement to FILE")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in NAMES:
            parser.error(f"no benchmark {name!r}: give any of {', '.join(NAMES)}")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds} is not allowed: give at least 1")
    if options.peer is not None and not (options.peer / "bin" / "python").exists():
        parser.error(f"--peer {options.peer}: no bin/python there; give the reference's virtual environment")
    taken: list[record.Record] = []
    for name in options.names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        new = module.records(Options(options.peer, options.rounds, options.quick))
        record.show(str(module.__doc__).splitlines()[0], new)
        taken += new
        if options.json is not None:
            record.write_json(taken, options.json)
    return taken


if __name__ == "__main__":
    main()
