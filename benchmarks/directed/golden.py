"""Golden files of directed cases: written from samples of the reference, read as cases of our own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aihwjax.fidelity import Statistics, TileCase, statistics
from aihwjax.fidelity.cases import FORMAT_VERSION
from benchmarks.directed.case import Directed, Flat

FAMILY = "directed"
"""Name of the family."""


def tile_case(case: Directed, config: Flat, samples: Mapping[str, np.ndarray]) -> TileCase:
    """Return the golden case that samples of the reference make.

    Args:
        case: What was done.
        config: Its configuration, complete.
        samples: Record to values, ``(repeats, ...)``.
    """
    return TileCase(
        name=f"{FAMILY}/{case.name}",
        family=FAMILY,
        config=config,
        shape=case.shape,
        steps=tuple(tuple(step) for step in case.steps),
        inputs={name: np.asarray(values, np.float32) for name, values in case.inputs.items()},
        stats={record: _single(statistics(values)) for record, values in samples.items()},
        repeats=len(next(iter(samples.values()))),
        pooled=False,
    )


def _single(exact: Statistics) -> Statistics:
    moments = (np.asarray(values, np.float32) for values in (exact.mean, exact.std, exact.m4))
    return Statistics(exact.n, *moments)


def write(cases: Sequence[TileCase], folder: Path, source: str) -> None:
    """Write a family of golden cases.

    Args:
        cases: The cases.
        folder: Where ``directed.json.gz`` and ``directed.npz`` go.
        source: What was measured, ``"aihwkit 1.2.0 CPU"``.
    """
    arrays: dict[str, np.ndarray] = {}
    places: dict[tuple[Any, ...], str] = {}

    def place(key: str, values: np.ndarray) -> str:
        """Keep an array once, whatever number of cases name it."""
        content = (values.shape, values.tobytes())
        if content not in places:
            arrays[key] = values
            places[content] = key
        return places[content]

    entries = [_entry(number, case, place) for number, case in enumerate(cases)]
    document = {"format_version": FORMAT_VERSION, "generated_with": source, "cases": entries}
    text = json.dumps(document, separators=(",", ":")).encode()
    (folder / f"{FAMILY}.json.gz").write_bytes(gzip.compress(text, mtime=0))
    np.savez_compressed(folder / f"{FAMILY}.npz", allow_pickle=False, **arrays)


def _entry(number: int, case: TileCase, place: Any) -> dict[str, Any]:
    stats = {
        record: {
            "n": one.n,
            **{
                moment: place(f"{number}/stat/{record}/{moment}", getattr(one, moment))
                for moment in ("mean", "std", "m4")
            },
        }
        for record, one in case.stats.items()
    }
    return {
        "name": case.name,
        "family": case.family,
        "config": dict(case.config),
        "shape": list(case.shape),
        "inputs": {name: place(f"{number}/input/{name}", values) for name, values in case.inputs.items()},
        "steps": [list(step) for step in case.steps],
        "stats": stats,
        "repeats": case.repeats,
        "pooled": case.pooled,
    }


def directed_of(case: TileCase) -> Directed:
    """Return what a golden case does, to do it again."""
    return Directed(case.name, dict(case.config), case.shape, dict(case.inputs), case.steps, case.repeats)
