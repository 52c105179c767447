"""A random search for configurations in which the library and the reference disagree."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

from aihwjax.errors import AihwjaxError
from aihwjax.fidelity import MODES, TileCase, evaluate, has_update
from aihwjax.reference import from_reference
from benchmarks.directed import golden
from benchmarks.directed.case import Directed
from benchmarks.directed.drawing import KINDS, draw, varied
from benchmarks.directed.peer import Reference
from benchmarks.worker import WorkerError

__all__ = ["KINDS", "Finding", "compare", "search"]

_AGAIN = 3
"""How many times more tiles decide whether a disagreement is an accident."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of one case."""

    name: str
    """Kind, seed and variant; ``--random 1 --seed SEED`` draws it again."""
    outcome: str
    """``agrees``, ``disagrees``, or who refuses: ``reference refuses``, ``library refuses``, ``both refuse``."""
    messages: dict[str, str]
    """What disagrees in each update mode, or why a side refuses."""
    worst: dict[str, float]
    """Largest deviation over what is allowed, in each update mode."""
    seconds: float
    """How long it took."""
    case: dict[str, Any]
    """Configuration, shape, inputs and steps, to see and to minimise."""


def plain(case: Directed) -> dict[str, Any]:
    """Return a case as it can be written to JSON."""
    inputs = {name: values.tolist() for name, values in case.inputs.items()}
    return {
        "config": case.config,
        "shape": list(case.shape),
        "inputs": inputs,
        "steps": case.steps,
        "repeats": case.repeats,
    }


def compare(reference: Reference, case: Directed, first: str = MODES[0]) -> Finding:
    """Take a case's steps on both sides; what disagrees is measured again with more tiles.

    Args:
        reference: The reference's process.
        case: What to do.
        first: The update mode that is tried; others only when it disagrees, because compiling is most of the time.
    """
    start = time.perf_counter()

    def found(outcome: str, messages: dict[str, str], worst: dict[str, float] | None = None) -> Finding:
        return Finding(case.name, outcome, messages, worst or {}, time.perf_counter() - start, plain(case))

    refused: dict[str, str] = {}
    try:
        config = reference.completed(case.config)
        measured = golden.tile_case(case, config, reference.samples(case))
    except WorkerError as error:
        refused["reference"] = str(error)
        config, measured = case.config, None
    try:
        from_reference(config)
    except AihwjaxError as error:
        refused["library"] = str(error)
    if len(refused) == 2:
        return found("both refuse", refused)
    if measured is None:
        return found("reference refuses", refused)
    if refused:
        return found("library refuses", refused)
    messages: dict[str, str] = {}
    worst: dict[str, float] = {}
    more: TileCase | None = None
    modes = (first, *(mode for mode in MODES if mode != first)) if has_update(measured) else (None,)
    for mode in modes:
        record = evaluate(measured, mode)
        if not record.passed:
            if more is None:
                more = golden.tile_case(case, config, reference.samples(case, _AGAIN * case.repeats))
            record = evaluate(more, mode, seed=1)
        worst[mode or "any"] = record.worst
        if not record.passed:
            messages[mode or "any"] = record.message
        if not messages:
            break
    return found("disagrees" if messages else "agrees", messages, worst)


def search(peer: Path, seeds: Iterable[int], kind: str | None, variants: int, path: Path | None) -> list[Finding]:
    """Compare drawn cases and print those that disagree.

    Args:
        peer: Virtual environment of the reference.
        seeds: One a structure.
        kind: Kind of the cases; drawn if not given.
        variants: Cases of a structure, each with numbers of its own; they share a program.
        path: File that gets one line of JSON a case.
    """
    findings = []
    reference = Reference(peer)
    try:
        for seed, number in itertools.product(seeds, range(variants)):
            case = varied(draw(seed, kind), number)
            finding = compare(reference, case, MODES[seed % len(MODES)])
            if "process" in finding.messages.get("reference", ""):
                reference.close()
                reference = Reference(peer)
            findings.append(finding)
            print(_line(finding), flush=True)
            if path is not None:
                with path.open("a") as file:
                    file.write(json.dumps(dataclasses.asdict(finding)) + "\n")
            if number == variants - 1:
                jax.clear_caches()
    finally:
        reference.close()
    return findings


def _line(finding: Finding) -> str:
    said = "; ".join(f"{mode}: {message}" for mode, message in finding.messages.items())
    worst = " ".join(f"{value:.2f}" for value in finding.worst.values())
    return f"{finding.name:15} {finding.seconds:5.0f} s  {finding.outcome:18} {worst:12} {said}"
