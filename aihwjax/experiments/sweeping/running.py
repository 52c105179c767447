"""Sweeps: many configurations of one experiment in a few compiled calls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from aihwjax import arguments
from aihwjax.errors import ConfigError
from aihwjax.experiments.data import Dataset, Splits, fingerprint
from aihwjax.experiments.fingerprint import describe
from aihwjax.experiments.fitting import dataset_of
from aihwjax.experiments.inferencing import BasicInferencing
from aihwjax.experiments.sweeping.engine import Call, Engine, Row
from aihwjax.experiments.sweeping.fields import Experiment
from aihwjax.experiments.sweeping.folder import Folder, OnTheWay
from aihwjax.experiments.sweeping.inference import swept_chips
from aihwjax.experiments.sweeping.news import SweepNews, SweepReport
from aihwjax.experiments.sweeping.plan import Plan
from aihwjax.experiments.sweeping.points import Space, points_of
from aihwjax.experiments.sweeping.table import SweepTable, joined, simple
from aihwjax.experiments.sweeping.tables import Columns, kind
from aihwjax.progress import Bar
from aihwjax.typing import Key

EVERY_SECONDS = 30.0
"""A call that takes longer is kept so often, after the epoch in which that time is over."""


@arguments.answered
def sweep(
    experiment: Experiment,
    space: Space,
    seeds: int | Sequence[int] = 1,
    key: Key | int = 0,
    *,
    data: Splits | Dataset | tuple[np.ndarray, ...] | None = None,
    memory: int | None = None,
    way: str | None = None,
    folder: str | Path | None = None,
    parquet: bool = False,
    progress: bool = True,
    mesh: Mesh | None = None,
    reports: Sequence[SweepReport] = (),
) -> SweepTable:
    """Train many configurations of an experiment, as many as the memory allows in one compiled call.

    Paths are those of a tile's configuration, for all analog layers (``"device.dw_min"``) or those below a path in the
    model (``"layers/1:device.dw_min"``), fields of the experiment (``"learning_rate"``, ``"batch_size"``), and numbers
    within a learning rate that is an :func:`aihwjax.schedule` (``"learning_rate.decay"``) or rates by path. Numbers
    are arguments of the compiled program: all configurations that differ in numbers alone share one; ``"epochs"``, too,
    need none of their own. Others, such as another device or noise management, are grouped by what they have in common.

    Each network is the single run of its configuration: ``fit(configured(experiment, point, key=k0), data, key=k)``
    with the key ``k = jax.random.fold_in(key, seed)`` and ``k0 = aj.random.fold(k, "devices")``, see
    :func:`aihwjax.experiments.configured`. All configurations of a seed have the same key, so that they differ by what
    is varied and not by their noise. A network that diverges ends with a row that says so; others do not notice.

    An inference experiment is swept in the same way, with ``run_local_inference`` in place of ``fit``: rows are those
    of its chips and times.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> rng = np.random.default_rng(0)
        >>> data = rng.normal(size=(32, 4)).astype("float32"), rng.integers(0, 3, 32)
        >>> model = aj.nn.AnalogSequential(aj.nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0)), aj.nn.LogSoftmax())
        >>> experiment = aj.BasicTraining(data, model, batch_size=8, epochs=1)
        >>> table = aj.sweep(experiment, {"device.dw_min": [0.001, 0.002]}, seeds=2, progress=False)
        >>> [(row["index"], row["seed"], row["device.dw_min"]) for row in table.rows]
        [(0, 0, 0.001), (0, 1, 0.001), (1, 0, 0.002), (1, 1, 0.002)]

    Args:
        experiment: What is varied; it stays as it is.
        space: A list of values for each path, of which all combinations are trained, or a list of configurations, such
            as :func:`aihwjax.experiments.sampled` draws.
        seeds: Networks of each configuration, or their numbers.
        key: Source of all devices, order and noise.
        data: As for :func:`aihwjax.fit`.
        memory: Bytes that the networks of a call may take on a device, by an estimate; ``None``: a quarter of what the
            device has, on a CPU 256 MiB.
        way: ``"map"``: the networks of a call one after the other; ``"vmap"``: side by side; ``None``: the first on a
            CPU, the second on an accelerator.
        folder: Where the rows of each call are written when it is done, and networks that take long from time to time;
            a sweep that was stopped goes on from there.
        parquet: Write rows to ``parts/`` in the folder as they come, and all of them to ``table.parquet`` at the end
            (extra ``tables``).
        progress: Print the plan first, and show a bar of calls.
        mesh: Devices among which the networks of a call are divided, along all axes of the mesh; ``None``: one device
            has all. Rows do not depend on it.
        reports: Called with a :class:`~aihwjax.experiments.sweeping.news.SweepNews` after each epoch of a call and
            when it is done.

    Raises:
        ConfigError: If a path does not exist (with the nearest name), a value or an argument is not allowed, the
            memory is less than one network takes, the mesh is none of this process, or one or reports are given for
            chips.
        DataError: If the data do not fit the model, or come as a stream.
        CheckpointError: If the folder cannot be used, or belongs to another sweep.
        MissingExtraError: If Parquet is asked for and pyarrow is not installed.
    """
    if parquet and folder is None:
        raise ConfigError("parquet=True is not allowed without a folder to write to: give folder")
    if isinstance(experiment, BasicInferencing):
        if mesh is not None:
            raise ConfigError("mesh is not allowed with a BasicInferencing: leave it out")
        if reports:
            raise ConfigError("reports is not allowed with a BasicInferencing: leave it out")
        return swept_chips(experiment, space, seeds_of(seeds), key, data, memory, way, folder, parquet, progress)
    engine = Engine(experiment, data, key, memory, way, mesh)
    points, numbers = points_of(experiment, space), seeds_of(seeds)
    plan = engine.plan(points, numbers)
    kept = None
    if folder is not None:
        columns = columns_of_sweep(engine, plan, points) if parquet else None
        kept = Folder(folder, identity_of(engine, points, numbers, plan), columns)
    if progress:
        print(plan, flush=True)
    rows: dict[tuple[int, int], list[Row]] = {}
    paths = tuple(dict.fromkeys(path for point in points for path in point))
    started = time.monotonic()
    with Bar(progress, len(plan.chunks), "compiling", unit="calls") as bar:
        for number in range(len(plan.chunks)):
            found = None if kept is None else kept.rows(number)
            if found is None:
                found = _trained(engine, plan, number, kept, bar, reports)
                if kept is not None:
                    kept.write(number, found)
            for report in reports:
                report(SweepNews(number, len(plan.chunks), plan.epochs[number], plan.epochs[number], found, True))
            for row in found:
                rows.setdefault((row["index"], row["seed"]), []).append(row)
            said = f"{len(rows)} networks, {time.monotonic() - started:.0f} s"
            bar.show(number + 1, said, beneath=SweepTable(joined(rows), paths).ranking(count=10) if bar.seen else "")
    table = SweepTable(joined(rows), paths, plan)
    if kept is not None:
        kept.write_table(table.rows)
    return table


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """Return the numbers of the networks of each configuration.

    Args:
        seeds: How many, or which.

    Raises:
        ConfigError: If they are neither.
    """

    def whole(value: Any, least: int) -> bool:
        real = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return real and bool(least <= value < 2**32)

    if whole(seeds, 1):
        return list(range(int(seeds)))  # type: ignore[arg-type]
    if isinstance(seeds, Sequence | np.ndarray) and not isinstance(seeds, str):
        if len(seeds) and all(whole(seed, 0) for seed in seeds) and len(set(seeds)) == len(seeds):
            return [int(seed) for seed in seeds]
        raise ConfigError(f"seeds={seeds!r} is not allowed: give whole numbers from 0, each once")
    raise ConfigError(f"seeds={seeds!r} is not allowed: give a whole number of at least 1")


def columns_of_sweep(engine: Engine, plan: Plan, points: Sequence[Mapping[str, Any]]) -> Columns:
    """Return the columns of the table before anything is trained, so that all of its parts have the same.

    Args:
        engine: Knows what rows say.
        plan: The plan.
        points: The configurations.
    """
    values: dict[str, list[Any]] = {}
    for point in points:
        for path, value in point.items():
            values.setdefault(path, []).append(simple(value))
    names = dict.fromkeys(name for chunk in plan.chunks for name in engine.metrics(chunk.group))
    metrics: Columns = {name: int if name == "pulses" else float for name in names}
    paths = {path: kind(each) for path, each in values.items()}
    return {"index": int, "seed": int, **paths, "epoch": int, **metrics, "diverged": bool}


def _trained(
    engine: Engine, plan: Plan, number: int, folder: Folder | None, bar: Bar, reports: Sequence[SweepReport]
) -> list[Row]:
    """Return the rows of the networks of a call, network by network."""
    call = engine.start(plan.chunks[number], plan.at_once[number])
    if folder is not None:
        kept = folder.kept(number)
        if kept is not None:
            call.go_on(*kept[0], source=kept[1])
    written = time.monotonic()

    def after(call: Call) -> None:
        nonlocal written
        bar.show(number, f"call {number + 1}, {call.done} of {call.last} epochs")
        for report in reports:
            report(SweepNews(number, len(plan.chunks), call.done, plan.epochs[number], call.flat(), False))
        if folder is not None and time.monotonic() - written >= EVERY_SECONDS and call.done < call.last:
            folder.keep(number, OnTheWay(call.flat(), call.done, call.started.arrays()))
            written = time.monotonic()

    call.advance(plan.epochs[number], after)
    return call.flat()


def identity_of(
    engine: Engine, points: Sequence[Mapping[str, Any]], seeds: Sequence[int], plan: Plan
) -> dict[str, Any]:
    """Return what a sweep is, by which its folder knows it.

    Args:
        engine: What trains it.
        points: The configurations.
        seeds: Numbers of the networks of each.
        plan: The plan.
    """
    experiment = engine.experiment
    result = describe(experiment, fingerprint(dataset_of(experiment).name, engine.splits), engine.key)
    for number, point in enumerate(points):
        result |= {f"configuration {number}: {path}": simple(value) for path, value in point.items()}
    calls = [len(chunk.runs) for chunk in plan.chunks]
    # in short where they are numbered from 0
    named = len(seeds) if list(seeds) == list(range(len(seeds))) else list(seeds)
    own = {"epochs": int(experiment.epochs), "seeds": named, "calls": calls, "way": plan.way}
    return {**result, **own}
