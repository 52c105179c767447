"""Successive halving: all configurations for a few epochs, the best of them for more, and so on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aihwjax import arguments
from aihwjax.errors import ConfigError
from aihwjax.experiments.best import Extreme, Goal
from aihwjax.experiments.data import Dataset, Splits
from aihwjax.experiments.sweeping.engine import Call, Engine
from aihwjax.experiments.sweeping.fields import EPOCHS
from aihwjax.experiments.sweeping.folder import Folder, OnTheWay
from aihwjax.experiments.sweeping.plan import Chunk, Plan
from aihwjax.experiments.sweeping.points import Space, points_of
from aihwjax.experiments.sweeping.running import EVERY_SECONDS, columns_of_sweep, identity_of, seeds_of
from aihwjax.experiments.sweeping.table import SweepTable, joined, wanted_metric
from aihwjax.experiments.training import BasicTraining, check_whole
from aihwjax.progress import Bar
from aihwjax.typing import Key


@dataclass(frozen=True)
class Rung:
    """One stage of a successive halving."""

    configurations: int
    """How many are in it, at most."""
    until: int
    """Epochs after which it ends."""


@dataclass(frozen=True)
class HalvingPlan:
    """What a successive halving does, before it does it."""

    rungs: tuple[Rung, ...]
    """In order."""
    networks: Plan = field(repr=False)
    """The calls, and what they would take if none were given up."""
    epochs: int
    """Epochs of all networks together."""
    all_epochs: int
    """What they would be if none were given up."""

    def __str__(self) -> str:
        """Return the lines of the networks, and one of the rungs."""
        steps = ", ".join(f"{rung.configurations} until epoch {rung.until}" for rung in self.rungs)
        return f"{self.networks}\n  halving: {steps}; {self.epochs} of {self.all_epochs} epochs"


@arguments.answered
def successive_halving(
    experiment: BasicTraining,
    space: Space,
    seeds: int | Sequence[int] = 1,
    key: Key | int = 0,
    *,
    metric: str = "valid_loss",
    extreme: Extreme | None = None,
    first: int = 1,
    factor: int = 3,
    data: Splits | Dataset | tuple[np.ndarray, ...] | None = None,
    memory: int | None = None,
    way: str | None = None,
    folder: str | Path | None = None,
    parquet: bool = False,
    progress: bool = True,
) -> SweepTable:
    """Train all configurations for a few epochs, and only the best of them for longer.

    After ``first`` epochs the best of every ``factor`` configurations goes on until ``first * factor`` epochs, of these
    again the best, and so on to the experiment's epochs (Jamieson and Talwalkar, AISTATS 2016). Networks that are given
    up cost nothing any more, and no stage compiles a program of its own (networks side by side: one each time that half
    of them are gone). Rows are those of a :func:`aihwjax.sweep`, as far as each network got.

    The states of all networks stay in memory until the end, also where they take several calls.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> from aihwjax.experiments import successive_halving
        >>> rng = np.random.default_rng(0)
        >>> data = rng.normal(size=(32, 4)).astype("float32"), rng.integers(0, 3, 32)
        >>> model = aj.nn.AnalogSequential(aj.nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0)), aj.nn.LogSoftmax())
        >>> experiment = aj.BasicTraining(data, model, batch_size=8, epochs=4)
        >>> space = {"learning_rate": [0.01, 0.1, 0.5, 1.0]}
        >>> table = successive_halving(experiment, space, metric="train_loss", factor=2, progress=False)
        >>> sorted(row["epoch"] + 1 for row in table.last())
        [1, 1, 2, 4]

    Args:
        experiment: What is varied; its epochs are those of the configurations that get to the end.
        space: As for :func:`aihwjax.sweep`; all configurations have the same number of epochs.
        seeds: Networks of each configuration, or their numbers; a configuration is judged by their mean.
        key: Source of all devices, order and noise.
        metric: By which configurations are judged; one that diverged is the worst.
        extreme: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as the name says.
        first: Epochs of all configurations.
        factor: Of so many configurations one goes on, for so many times the epochs.
        data: As for :func:`aihwjax.fit`.
        memory: As for :func:`aihwjax.sweep`.
        way: As for :func:`aihwjax.sweep`.
        folder: Where networks are kept after each stage, and in long ones from time to time; a successive halving that
            was stopped goes on from there, and ends with the same table.
        parquet: Write rows to ``parts/`` in the folder and to ``table.parquet`` at the end (extra ``tables``).
        progress: Print the plan first, and show a bar of stages.

    Raises:
        ConfigError: If an argument is not allowed, as for :func:`aihwjax.sweep`.
        DataError: If the data do not fit the model, or come as a stream.
        CheckpointError: If the folder cannot be used, or belongs to another sweep.
        MissingExtraError: If Parquet is asked for and pyarrow is not installed.
    """
    if parquet and folder is None:
        raise ConfigError("parquet=True is not allowed without a folder to write to: give folder")
    check_whole("first", first, 1)
    check_whole("factor", factor, 2)
    engine = Engine(experiment, data, key, memory, way)
    points, numbers = points_of(experiment, space), seeds_of(seeds)
    if any(EPOCHS in point for point in points):
        raise ConfigError("space['epochs'] is not allowed: a successive halving says how long each one is trained")
    if experiment.epochs < 1:
        raise ConfigError(f"epochs={experiment.epochs} is not allowed: give at least 1")
    plan = engine.plan(points, numbers)
    known = {name for chunk in plan.chunks for name in engine.metrics(chunk.group)}
    wanted = wanted_metric(metric, extreme, known)
    if experiment.validate_every != 1 and metric != "train_loss":
        every = experiment.validate_every
        raise ConfigError(f"validate_every={every} is not allowed: {metric!r} is asked for after each stage")
    stages = rungs(len(points), experiment.epochs, first, factor)
    whole = HalvingPlan(stages, plan, _epochs(stages) * len(numbers), len(points) * len(numbers) * experiment.epochs)
    kept = None
    if folder is not None:
        columns = columns_of_sweep(engine, plan, points) if parquet else None
        own = {"metric": wanted.metric, "extreme": wanted.extreme, "first": int(first), "factor": int(factor)}
        kept = Folder(folder, {**identity_of(engine, points, numbers, plan), "halving": own}, columns)
    if progress:
        print(whole, flush=True)
    calls: list[Call] = []
    with Bar(progress, len(stages), "compiling", unit="stages") as bar:
        for number, stage in enumerate(stages):
            if number:
                _choose(calls, wanted, stage.configurations, stages[number - 1].until)
            for place, (chunk, size) in enumerate(zip(plan.chunks, plan.at_once, strict=True)):
                if not number:
                    calls.append(_started(engine, chunk, size, place, stages[-1].until, kept))
                _advance(calls[place], stage.until, place, kept)
            bar.show(number + 1, f"{stage.configurations} configurations")
    rows = {(run.index, run.seed): each for call in calls for run, each in zip(call.runs, call.rows, strict=True)}
    table = SweepTable(joined(rows), tuple(dict.fromkeys(path for point in points for path in point)), whole)
    if kept is not None:
        for place, call in enumerate(calls):
            if kept.rows(place) is None:
                kept.write(place, call.flat())
        kept.write_table(table.rows)
    return table


def _started(engine: Engine, chunk: Chunk, size: int, place: int, last: int, folder: Folder | None) -> Call:
    """Return a call at its beginning, or where it was kept; one that was written has nothing left to train."""
    call = engine.start(chunk, size)
    if folder is None:
        return call
    done = folder.rows(place)
    if done is not None:
        call.recall(done, last)
        return call
    kept = folder.kept(place)
    if kept is not None:
        call.go_on(*kept[0], source=kept[1])
    return call


def _advance(call: Call, until: int, place: int, folder: Folder | None) -> None:
    """Train a call until the end of a stage, and keep it there and, in a long one, before."""
    before, written = call.done, time.monotonic()

    def keep(call: Call) -> None:
        nonlocal written
        if folder is not None and time.monotonic() - written >= EVERY_SECONDS:
            folder.keep(place, OnTheWay(call.flat(), call.done, call.started.arrays()))
            written = time.monotonic()

    call.advance(until, keep)
    if folder is not None and call.done > before:
        folder.keep(place, OnTheWay(call.flat(), call.done, call.started.arrays()))


def rungs(configurations: int, epochs: int, first: int, factor: int) -> tuple[Rung, ...]:
    """Return the stages of a successive halving.

    Example:
        >>> [(rung.configurations, rung.until) for rung in rungs(64, 30, 1, 3)]
        [(64, 1), (22, 3), (8, 9), (3, 27), (1, 30)]

    Args:
        configurations: How many there are.
        epochs: Of those that get to the end.
        first: Epochs of the first stage.
        factor: Of so many configurations one goes on.
    """
    found, until = [], min(first, epochs)
    while True:
        if configurations == 1:
            until = epochs
        found.append(Rung(configurations, until))
        if until == epochs:
            return tuple(found)
        configurations, until = math.ceil(configurations / factor), min(until * factor, epochs)


def _epochs(stages: Sequence[Rung]) -> int:
    before = [0, *(stage.until for stage in stages)]
    return sum(stage.configurations * (stage.until - start) for stage, start in zip(stages, before, strict=False))


def _choose(calls: Sequence[Call], wanted: Goal, count: int, reached: int) -> None:
    """Give up all configurations but the best ones that still go on.

    What was trained later does not count, so that calls that were kept at different epochs choose as they did.

    Args:
        calls: All networks.
        wanted: What the best has.
        count: How many go on.
        reached: Epochs after which they are compared.
    """
    values: dict[int, list[float]] = {}
    going: set[int] = set()
    for call in calls:
        for run, rows in zip(call.runs, call.rows, strict=True):
            last: dict[str, Any] = rows[reached - 1] if len(rows) >= reached else {"diverged": True}
            values.setdefault(run.index, []).append(math.nan if last["diverged"] else last.get(wanted.metric, math.nan))
            if not last["diverged"]:
                going.add(run.index)
    means = {index: float(np.mean(values[index])) for index in going}
    sound = [index for index, mean in means.items() if math.isfinite(mean)]
    sign = 1 if wanted.extreme == "smallest" else -1
    best = set(sorted(sound, key=lambda index: (sign * means[index], index))[:count])
    for call in calls:
        sound_ones = (index for index, rows in enumerate(call.rows) if rows and not rows[-1]["diverged"])
        call.going = [index for index in sound_ones if call.runs[index].index in best]
