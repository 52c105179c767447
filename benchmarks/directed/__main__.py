"""Measure directed cases on the reference: ``python -m benchmarks.directed --peer DIR``.

Without more, the table is measured anew and written to ``tests/golden/data``. ``--again FOLDER`` measures cases of
golden files anew instead and says whether they agree with what is recorded there: a check of the measuring.
``--random N`` draws configurations and prints those in which the library and the reference disagree.
"""

from __future__ import annotations

import argparse
import fnmatch
import time
from collections.abc import Sequence
from pathlib import Path

from aihwjax.fidelity import TileCase, families_in, judge, load
from benchmarks.directed import golden, search, table
from benchmarks.directed.case import Directed
from benchmarks.directed.peer import Reference
from benchmarks.worker import WorkerError

DATA = Path(__file__).parents[2] / "tests" / "golden" / "data"
SOURCE = "aihwkit 1.2.0 CPU"


def measured(reference: Reference, case: Directed) -> TileCase:
    """Return a case with the reference's statistics."""
    config = reference.completed(case.config)
    start = time.perf_counter()
    made = golden.tile_case(case, config, reference.samples(case))
    print(f"{case.name:44} {case.repeats:5} tiles {time.perf_counter() - start:6.1f} s", flush=True)
    return made


def measure_table(peer: Path, pattern: str, folder: Path) -> None:
    """Measure the rows whose name matches; rows that do not stay as they are in ``folder``."""
    rows = table.cases()
    chosen = [row for row in rows if fnmatch.fnmatchcase(row.name, pattern)]
    kept: dict[str, TileCase] = {}
    if len(chosen) < len(rows) and golden.FAMILY in families_in(folder):
        kept = {case.name: case for case in load(folder, [golden.FAMILY]) if isinstance(case, TileCase)}
    try:
        with Reference(peer) as reference:
            for row in chosen:
                kept[f"{golden.FAMILY}/{row.name}"] = measured(reference, row)
    finally:  # a run that is broken off keeps what it has measured
        names = (f"{golden.FAMILY}/{row.name}" for row in rows)
        golden.write([kept[name] for name in names if name in kept], folder, SOURCE)


def measure_again(peer: Path, pattern: str, folder: Path, repeats: int | None) -> None:
    """Measure recorded cases anew and compare with their statistics."""
    with Reference(peer) as reference:
        for case in load(folder, pattern=pattern):
            if not isinstance(case, TileCase) or case.pooled:
                continue
            try:
                samples = reference.samples(golden.directed_of(case), repeats)
            except WorkerError as error:
                print(f"{case.name:44} {error}", flush=True)
                continue
            verdict = judge(case, {name: values for name, values in samples.items() if name in case.stats})
            print(f"{case.name:44} worst {verdict.worst:5.2f} {verdict.message}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.directed", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peer", type=Path, required=True, metavar="DIR", help="environment in which aihwkit is installed"
    )
    parser.add_argument("--case", default="*", metavar="PATTERN", help="only rows whose name matches")
    parser.add_argument("--out", type=Path, default=DATA, metavar="DIR", help="folder of the golden files")
    parser.add_argument("--again", type=Path, metavar="FOLDER", help="measure golden cases of FOLDER anew and compare")
    parser.add_argument("--repeats", type=int, metavar="N", help="tiles of --again; default: as recorded")
    parser.add_argument("--random", type=int, metavar="N", help="draw N configurations and compare")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the first of them; they count up")
    parser.add_argument("--variants", type=int, default=4, metavar="K", help="numbers drawn for each (default: 4)")
    parser.add_argument("--kind", choices=search.KINDS, help="draw only this kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add one line a drawn case to FILE")
    options = parser.parse_args(arguments)
    if options.again is not None:
        measure_again(options.peer, options.case, options.again, options.repeats)
    elif options.random is not None:
        search.search(
            options.peer,
            range(options.seed, options.seed + options.random),
            options.kind,
            options.variants,
            options.json,
        )
    else:
        measure_table(options.peer, options.case, options.out)


if __name__ == "__main__":
    main()
