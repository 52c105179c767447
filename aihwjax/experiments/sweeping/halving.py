"""Successive halving: all configurations for a few epochs, the best of them for more, and so on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aihwjax import arguments
from aihwjax.errors import ConfigError
from aihwjax.experiments.best import Extreme, Goal
from aihwjax.experiments.data import Dataset, Splits
from aihwjax.experiments.sweeping.engine import Call, Engine
from aihwjax.experiments.sweeping.fields import EPOCHS
from aihwjax.experiments.sweeping.plan import Plan
from aihwjax.experiments.sweeping.points import Space, points_of
from aihwjax.experiments.sweeping.running import seeds_of
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
        progress: Print the plan first, and show a bar of stages.

    Raises:
        ConfigError: If an argument is not allowed, as for :func:`aihwjax.sweep`.
        DataError: If the data do not fit the model, or come as a stream.
    """
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
    if progress:
        print(whole, flush=True)
    calls: list[Call] = []
    with Bar(progress, len(stages), "compiling", unit="stages") as bar:
        for number, stage in enumerate(stages):
            if number == 0:
                for chunk, size in zip(plan.chunks, plan.at_once, strict=True):
                    calls.append(engine.start(chunk, size))
                    calls[-1].advance(stage.until)
            else:
                _choose(calls, wanted, stage.configurations)
                for call in calls:
                    call.advance(stage.until)
            bar.show(number + 1, f"{stage.configurations} configurations")
    rows = {(run.index, run.seed): each for call in calls for run, each in zip(call.runs, call.rows, strict=True)}
    return SweepTable(joined(rows), tuple(dict.fromkeys(path for point in points for path in point)), whole)


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


def _choose(calls: Sequence[Call], wanted: Goal, count: int) -> None:
    """Give up all configurations but the best ones that still go on."""
    values: dict[int, list[float]] = {}
    for call in calls:
        for run, rows in zip(call.runs, call.rows, strict=True):
            last: dict[str, Any] = rows[-1]
            values.setdefault(run.index, []).append(math.nan if last["diverged"] else last.get(wanted.metric, math.nan))
    reached = max(call.done for call in calls)
    going = {call.runs[index].index for call in calls for index in call.going if len(call.rows[index]) == reached}
    means = {index: float(np.mean(values[index])) for index in going}
    sound = [index for index, mean in means.items() if math.isfinite(mean)]
    sign = 1 if wanted.extreme == "smallest" else -1
    best = set(sorted(sound, key=lambda index: (sign * means[index], index))[:count])
    for call in calls:
        call.going = [index for index in call.going if call.runs[index].index in best]
