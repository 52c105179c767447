"""Running golden cases: one by one, or spread over processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aihwjax import arguments
from aihwjax.errors import AihwjaxError, ConfigError, nearest
from aihwjax.fidelity.agreement import Values, Verdict, combined, compare
from aihwjax.fidelity.cases import Case, TileCase, load
from aihwjax.fidelity.evidence import Evidence, differences, record_evidence
from aihwjax.fidelity.program import compiled
from aihwjax.fidelity.records import Record
from aihwjax.fidelity.sampling import sample, tiles_of
from aihwjax.pulses import UpdateMode
from aihwjax.reference import from_reference

MODES = tuple(mode.name.lower() for mode in (UpdateMode.AGGREGATED, UpdateMode.SEQUENTIAL))
"""Names of the update modes."""

_Task = tuple[Case, str | None]


@arguments.answered
def run(
    folder: str | Path,
    families: Collection[str] | None = None,
    pattern: str | None = None,
    modes: Collection[str] = ("aggregated",),
    jobs: int | None = None,
    repeats: int | None = None,
    on_record: Callable[[Record], None] | None = None,
    keep: bool = False,
) -> list[Record]:
    """Compare the library with recorded statistics of the reference.

    Args:
        folder: Folder with ``FAMILY.json`` (or ``.json.gz``) and ``FAMILY.npz``.
        families: Names of families; all in the folder if not given.
        pattern: Only cases whose name, with or without the family, matches this shell pattern.
        modes: Update modes in which cases with pulsed updates run: ``"aggregated"``, ``"sequential"``.
        jobs: Number of processes, each with one thread on the CPU; the default is the number of
            processors. With 1 everything runs in this process, on JAX's default device.
        repeats: Tiles behind a record that is not pooled, or seeds of a training case; the default
            is at least that of the reference.
        on_record: Called with each record as it is done.
        keep: Whether records keep both statistics (``Record.evidence``), which a report draws.

    Returns:
        One record a case and mode, in the order of the files. A case that the library cannot run
        is a record that has not passed.

    Raises:
        DataError: If the folder or a family is not there or damaged, or no case matches.
        ConfigError: If a mode is unknown or a number is below 1.
    """
    for mode in modes:
        if mode not in MODES:
            raise ConfigError(f"mode={mode!r} is not allowed: give {' or '.join(MODES)}{nearest(mode, MODES)}")
    for name, count in (("jobs", jobs), ("repeats", repeats)):
        if count is not None and count < 1:
            raise ConfigError(f"{name}={count!r} is not allowed: give at least 1")
    cases = load(folder, families, pattern)
    tasks = [(case, mode) for case in cases for mode in (modes if has_update(case) else (None,))]
    groups = grouped(tasks)
    jobs = min(jobs or _processors(), len(groups))
    done: dict[tuple[str, str | None], Record] = {}
    results = _serial(groups, repeats, keep) if jobs == 1 else _parallel(groups, repeats, keep, jobs)
    for record in results:
        done[record.name, record.mode] = record
        if on_record is not None:
            on_record(record)
    return [done[case.name, mode] for case, mode in tasks]


@arguments.answered
def has_update(case: Case) -> bool:
    """Whether a case's result can depend on the update mode."""
    return not isinstance(case, TileCase) or any(step[0] == "update" for step in case.steps)


@arguments.answered
def evaluate(
    case: Case, mode: str | None = None, repeats: int | None = None, seed: int = 0, keep: bool = False
) -> Record:
    """Run one case and compare; whatever goes wrong becomes the record's message.

    Args:
        case: The case.
        mode: Update mode; the library's default if not given.
        repeats: Tiles or seeds; see :func:`run`.
        seed: Seed of all noise.
        keep: Whether the record keeps both statistics.
    """
    start = time.perf_counter()
    evidence = None
    try:
        verdict, evidence = _verdict(case, mode, repeats, seed, keep)
    except AihwjaxError as error:
        verdict = Verdict(False, np.inf, str(error))
    except Exception as error:  # a case must not end the run
        text = str(error).splitlines() or [""]
        verdict = Verdict(False, np.inf, f"{type(error).__name__}: {text[0]}")
    seconds = time.perf_counter() - start
    return Record(case.name, case.family, verdict.passed, verdict.worst, seconds, mode, verdict.message, evidence)


def _verdict(
    case: Case, mode: str | None, repeats: int | None, seed: int, keep: bool
) -> tuple[Verdict, Evidence | None]:
    config = from_reference(case.config)
    if mode is not None:
        config = config.replace(update_mode=UpdateMode[mode.upper()])
    if not isinstance(case, TileCase):
        from aihwjax.fidelity.training import compare_seeds, train_seeds

        ours = train_seeds(case, config, repeats, seed)
        runs = tuple((name, np.asarray(case.runs[name]), ours[name]) for name in case.runs)
        return compare_seeds(case, ours), Evidence(differences(config), runs=runs) if keep else None
    samples = sample(case, config, tiles_of(case, repeats), seed)
    verdicts = _judged(case, samples)
    evidence = None
    if keep:
        parts = (
            record_evidence(record, verdicts[record], case.stats[record], samples[record], case.pooled)
            for record in case.stats
            if record in samples and samples[record].shape[1:] == np.shape(case.stats[record].mean)
        )
        evidence = Evidence(differences(config), tuple(parts))
    return _together(verdicts), evidence


@arguments.answered
def judge(case: TileCase, samples: dict[str, Values]) -> Verdict:
    """Compare the samples of all records of a case.

    Args:
        case: The case with the reference's statistics.
        samples: Record to values, as from :func:`~aihwjax.fidelity.sampling.sample`.
    """
    return _together(_judged(case, samples))


def _judged(case: TileCase, samples: dict[str, Values]) -> dict[str, Verdict]:
    """Return the verdict on each record."""
    starts = _starts(case)
    verdicts = {}
    for record, statistics in case.stats.items():
        if record not in samples:
            verdicts[record] = Verdict(False, np.inf, "not there")
        else:
            verdicts[record] = compare(statistics, samples[record], start=starts.get(record), pooled=case.pooled)
    for record in sorted(set(samples) - set(case.stats)):
        verdicts[record] = Verdict(False, np.inf, "the reference has no such record")
    return verdicts


def _together(verdicts: dict[str, Verdict]) -> Verdict:
    def led(record: str, verdict: Verdict) -> Verdict:
        message = f"{record}: {verdict.message}" if verdict.message else ""
        return Verdict(verdict.passed, verdict.worst, message)

    return combined(led(record, verdict) for record, verdict in verdicts.items())


def _starts(case: TileCase) -> dict[str, Values]:
    """Return the weights from which the mean change of each weight record is counted."""
    starts: dict[str, Values] = {}
    written = None
    chip = any(step[0] == "program" for step in case.steps)
    for step in case.steps:
        if step[0] == "set_weights" and step[1] in case.inputs:
            written = np.asarray(case.inputs[step[1]], np.float64)
        elif step[0] == "program":
            written = np.asarray(case.inputs["w0"], np.float64)
        elif step[0] == "weights" and written is not None and not (chip and "/" in step[1]):
            starts[step[1]] = written.mean() if case.pooled else written
    return starts


# ------------------------------------------------------------------------- processes
def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def grouped(tasks: Sequence[tuple[Case, str | None]]) -> list[list[tuple[Case, str | None]]]:
    """Gather cases and their update modes that share a compiled program, the longest first."""
    groups: dict[object, list[_Task]] = {}
    for case, mode in tasks:
        groups.setdefault(_structure(case, mode), []).append((case, mode))
    return sorted(groups.values(), key=lambda group: (group[0][0].family != "training", -len(group)))


def _structure(case: Case, mode: str | None) -> object:
    try:
        config = jax.tree.structure(from_reference(case.config))
        if isinstance(case, TileCase):
            return mode, compiled(case).program, case.shape, config
        return mode, repr(sorted(case.experiment.items())), config
    except AihwjaxError:
        return case.name, mode


def _serial(groups: Sequence[Sequence[_Task]], repeats: int | None, keep: bool) -> Iterator[Record]:
    for group in groups:
        for case, mode in group:
            yield evaluate(case, mode, repeats, keep=keep)


def _evaluate_group(group: Sequence[_Task], repeats: int | None, keep: bool) -> list[Record]:
    return [evaluate(case, mode, repeats, keep=keep) for case, mode in group]


_CACHE = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


def _one_thread(cache: Mapping[str, Any]) -> None:
    """Keep a worker process on one thread of the CPU, with our cache of programs; runs before JAX has a device."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    os.environ.update(NPROC="1", OMP_NUM_THREADS="1")
    for name, value in {**cache, "jax_platforms": "cpu"}.items():
        jax.config.update(name, value)


def _parallel(groups: Sequence[Sequence[_Task]], repeats: int | None, keep: bool, jobs: int) -> Iterator[Record]:
    context = multiprocessing.get_context("spawn")
    cache = {name: getattr(jax.config, name) for name in _CACHE}
    with concurrent.futures.ProcessPoolExecutor(jobs, context, _one_thread, (cache,)) as pool:
        pending = {pool.submit(_evaluate_group, group, repeats, keep): group for group in groups}
        for future in concurrent.futures.as_completed(pending):
            group = pending[future]
            try:
                yield from future.result()
            except concurrent.futures.process.BrokenProcessPool as error:
                for case, mode in group:
                    yield Record(case.name, case.family, False, np.inf, 0.0, mode, f"a worker process died: {error}")
