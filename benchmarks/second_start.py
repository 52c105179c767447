"""How long until a command that has run before is in its first epoch? ``python -m benchmarks.second_start``.

``aihwjax train`` starts several times, each time a process of its own with the programs that the first one left behind.
Of each start it says when JAX and Flax were imported, when the network was made and the first epoch was called, and
when that epoch ran: in between it is traced and loaded. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.table import Table

from aihwjax.compiling import SWITCH

ROOT = Path(__file__).resolve().parents[1]
MOMENTS = {"imported": "JAX and Flax imported", "called": "first epoch called", "running": "first epoch runs"}
"""What is timed, from the first line that Python runs."""

# nothing is imported before the clock runs but what the clock needs
_PROGRAM = """
import json, sys, time
begin = time.perf_counter()
moments = {}
def at(moment):
    moments.setdefault(moment, time.perf_counter() - begin)
import jax
import flax.nnx
at("imported")
from aihwjax.cli import main
from aihwjax.experiments import loop
epoch = loop.epoch
def timed(*arguments):
    at("called")
    result = epoch(*arguments)
    at("running")  # it is dispatched, not done
    return result
loop.epoch = timed
code = main(sys.argv[1:])
print(json.dumps(moments))
sys.exit(code)
"""


class Start(TypedDict):
    """Seconds from the first line that a process runs."""

    imported: float
    """JAX and Flax were imported."""
    called: float
    """The first epoch was called: the network was made, the data were read."""
    running: float
    """The first epoch ran: it was traced, and compiled or loaded."""


def start(words: list[str], programs: Path) -> Start:
    """Start ``aihwjax`` once.

    Args:
        words: Its command line.
        programs: Folder of compiled programs.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    command = [sys.executable, "-c", _PROGRAM, *words]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {SWITCH: str(programs)}, capture_output=True, text=True, check=True
    )
    found: Start = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: list[str] | None = None) -> list[Start]:
    """Run what the command line asks for, print a table and return all starts, the first one without programs.

    Args:
        arguments: The command line without the program's name; ``None``: that of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.second_start", description="Time a second start.")
    parser.add_argument("--config", default="configs/mnist10k_mlp.toml", help="what is trained (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=6, help="processes, of which the first compiles everything")
    options = parser.parse_args(arguments)
    if options.starts < 2:
        parser.error(f"--starts {options.starts} is not allowed: give at least 2, of which the first compiles")
    words = ["train", options.config, "--epochs", "1", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        starts = [start(words, Path(folder)) for _ in range(options.starts)]
    table = Table(title=f"aihwjax train {options.config}, seconds", title_justify="left")
    for heading in ("moment", "first start", "later, median", "later, least"):
        table.add_column(heading, justify="left" if heading == "moment" else "right")
    for moment, name in MOMENTS.items():
        first, *later = [row[moment] for row in starts]  # type: ignore[literal-required]
        table.add_row(name, *(f"{seconds:.1f}" for seconds in (first, statistics.median(later), min(later))))
    Console().print(table)
    return starts


if __name__ == "__main__":
    main()
