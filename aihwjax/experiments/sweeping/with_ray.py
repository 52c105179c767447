"""Searches on a cluster: Ray Tune trains configurations on all of its machines and halves them (extra ``ray``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aihwjax import arguments, random
from aihwjax.errors import ConfigError, DivergedError, MissingExtraError
from aihwjax.experiments.best import Extreme
from aihwjax.experiments.data import Dataset, Splits
from aihwjax.experiments.fitting import fit, run_key_of, splits_of
from aihwjax.experiments.sweeping.engine import Row
from aihwjax.experiments.sweeping.networks import DEVICES
from aihwjax.experiments.sweeping.points import Point, Space, configured, points_of
from aihwjax.experiments.sweeping.table import SweepTable, simple, wanted_metric
from aihwjax.experiments.training import BasicTraining, check_whole
from aihwjax.typing import Key


@arguments.answered
def ray_trainable(
    experiment: BasicTraining,
    key: Key | int = 0,
    *,
    metric: str = "valid_loss",
    extreme: Extreme | None = None,
    data: Splits | Dataset | tuple[np.ndarray, ...] | None = None,
) -> Callable[[dict[str, Any]], None]:
    """Return a function that ``ray.tune.Tuner`` takes: it trains a configuration and reports each epoch.

    A trial is the row of a :func:`aihwjax.sweep` with the seed 0 and the same key, on whatever machine of a cluster.
    One that diverges reports ``diverged`` and the worst possible value, and ends.

    Args:
        experiment: What is varied.
        key: Source of all devices, order and noise.
        metric: What the scheduler judges by.
        extreme: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as the name says.
        data: As for :func:`aihwjax.fit`.

    Raises:
        ConfigError: If the metric does not say what is better.
        DataError: If the data are missing or damaged.
    """
    wanted = wanted_metric(metric, extreme, {metric})
    splits = splits_of(experiment if data is None else data)
    # keys have no form in which they can be sent
    words = np.asarray(jax.random.key_data(run_key_of(key))), str(jax.random.key_impl(run_key_of(key)))
    worst = math.inf if wanted.extreme == "smallest" else -math.inf

    def trial(point: dict[str, Any]) -> None:
        from ray import tune

        _train(experiment, splits, words, point, metric, worst, tune.report)

    return trial


@arguments.answered
def ray_search(
    experiment: BasicTraining,
    space: Space,
    key: Key | int = 0,
    *,
    metric: str = "valid_loss",
    extreme: Extreme | None = None,
    first: int = 1,
    factor: int = 3,
    data: Splits | Dataset | tuple[np.ndarray, ...] | None = None,
    resources: Mapping[str, float] | None = None,
    storage: str | Path | None = None,
) -> SweepTable:
    """Train configurations on a Ray cluster with asynchronous successive halving, and return what each came to.

    A trial is a network in a process of its own, and stops when it is not among the best of every ``factor`` after
    ``first`` epochs, ``first * factor`` epochs and so on (``ray.tune.schedulers.ASHAScheduler``). Which trials are
    stopped depends on when they report; the rows of a trial don't. On one machine
    :func:`~aihwjax.experiments.successive_halving` is faster: it compiles once, not once in each process.

    Args:
        experiment: What is varied; its epochs are those of the trials that get to the end.
        space: As for :func:`aihwjax.sweep`.
        key: Source of all devices, order and noise.
        metric: What trials are judged by.
        extreme: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as the name says.
        first: Epochs of every trial.
        factor: Of so many trials one goes on.
        data: As for :func:`aihwjax.fit`.
        resources: What a trial takes of the cluster, such as ``{"cpu": 1, "gpu": 0.1}``; ``None``: one processor.
        storage: Folder of the results of Ray, which all machines see; ``None``: its own.

    Raises:
        MissingExtraError: If Ray Tune is not installed.
        ConfigError: If an argument is not allowed.
        DataError: If the data are missing or damaged.
    """
    try:
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler
    except ImportError:
        raise MissingExtraError("a search on a cluster needs: pip install 'aihwjax[ray]'") from None
    check_whole("first", first, 1)
    check_whole("factor", factor, 2)
    points = points_of(experiment, space)
    if any("epochs" in point for point in points):
        raise ConfigError("space['epochs'] is not allowed: the scheduler says how long each one is trained")
    train = ray_trainable(experiment, key, metric=metric, extreme=extreme, data=data)
    mode = "min" if wanted_metric(metric, extreme, {metric}).extreme == "smallest" else "max"
    scheduler = ASHAScheduler(
        metric=metric, mode=mode, max_t=experiment.epochs, grace_period=min(first, experiment.epochs),
        reduction_factor=factor,
    )  # fmt: skip

    def numbered(config: dict[str, Any]) -> None:
        train({**points[config["index"]]})

    tuner = tune.Tuner(
        tune.with_resources(numbered, dict(resources or {"cpu": 1})),
        param_space={"index": tune.grid_search(list(range(len(points))))},
        tune_config=tune.TuneConfig(scheduler=scheduler),
        run_config=tune.RunConfig(storage_path=None if storage is None else str(Path(storage).resolve()), verbose=0),
    )
    rows = []
    for result in sorted(tuner.fit(), key=lambda each: each.config["index"]):
        index = int(result.config["index"])
        if result.error is not None:
            raise ConfigError(f"configuration {index} failed: {' '.join(str(result.error).split())[-300:]}")
        told = result.metrics_dataframe.to_dict("records")
        rows += _rows(index, points[index], told, tuple(experiment.metrics))
    return SweepTable(rows, tuple(dict.fromkeys(path for point in points for path in point)))


def _train(
    experiment: BasicTraining,
    splits: Splits,
    words: tuple[np.ndarray, str],
    point: Point,
    metric: str,
    worst: float,
    report: Callable[[dict[str, Any]], Any],
) -> None:
    """Train one configuration and report each epoch, as the row of a sweep with the seed 0."""
    run = jax.random.fold_in(jax.random.wrap_key_data(jax.numpy.asarray(words[0]), impl=words[1]), 0)

    def told(metrics: list[Any]) -> None:
        report({**{name: value for name, value in metrics[-1].items() if name != "time_epoch"}, "diverged": False})

    try:
        fit(configured(experiment, point, random.fold(run, DEVICES)), splits, run, reports=[told], progress=False)
    except DivergedError as error:
        report({"epoch": len(error.metrics), metric: worst, "diverged": True})


def _rows(index: int, point: Point, reported: Sequence[Mapping[str, Any]], further: tuple[str, ...] = ()) -> list[Row]:
    """Return the rows of a trial: of all that Ray tells, what was reported."""
    values = {path: simple(value) for path, value in point.items()}
    own = ("epoch", "accuracy", "train_loss", "valid_loss", *further, "pulses", "diverged")
    rows = []
    for entry in sorted(reported, key=lambda each: each["epoch"]):
        told = {name: simple(entry[name]) for name in own if name in entry and entry[name] == entry[name]}
        rows.append({"index": index, "seed": 0, **values, **told, "epoch": int(entry["epoch"])})
    return rows
