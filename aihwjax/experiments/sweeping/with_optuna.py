"""Searches in which Optuna proposes and whole batches of its proposals are trained at once (extra ``optuna``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aihwjax import arguments
from aihwjax.errors import ConfigError, MissingExtraError
from aihwjax.experiments.data import Dataset, Splits
from aihwjax.experiments.sweeping.engine import Engine, Row
from aihwjax.experiments.sweeping.points import points_of
from aihwjax.experiments.sweeping.running import seeds_of
from aihwjax.experiments.sweeping.spaces import Choice, Distribution, Integers, LogUniform, Uniform
from aihwjax.experiments.sweeping.table import SweepTable, joined, simple, wanted_metric
from aihwjax.experiments.training import BasicTraining, check_whole
from aihwjax.progress import Bar
from aihwjax.typing import Key

if TYPE_CHECKING:
    import optuna


@arguments.answered
def optuna_search(
    study: optuna.Study,
    experiment: BasicTraining,
    space: Mapping[str, Distribution | Sequence[Any]],
    trials: int,
    *,
    batch: int = 16,
    metric: str = "valid_loss",
    seeds: int | Sequence[int] = 1,
    key: Key | int = 0,
    data: Splits | Dataset | tuple[np.ndarray, ...] | None = None,
    memory: int | None = None,
    way: str | None = None,
    progress: bool = True,
) -> SweepTable:
    """Search for the best configuration with an Optuna study, a batch of its trials in a compiled call.

    Optuna is asked for a batch of trials, all of them are trained as by :func:`aihwjax.sweep`, and it is told what each
    came to. All batches share their programs. Sampler, storage and direction are those of the study; it is told every
    epoch, too. A configuration that diverged is a pruned trial with the attribute ``diverged``: the sampler keeps away.

    Args:
        study: From ``optuna.create_study(direction=...)``; trials that it has stay.
        experiment: What is varied.
        space: A distribution, or a list of values, for each path.
        trials: How many are added.
        batch: Trials that Optuna proposes before it learns of their results: a larger one is faster a trial, and knows
            less.
        metric: Name of an entry of rows after the last epoch, of which the study gets the mean over seeds.
        seeds: Networks of each configuration, or their numbers.
        key: Source of all devices, order and noise; trials differ by what is varied alone.
        data: As for :func:`aihwjax.fit`.
        memory: As for :func:`aihwjax.sweep`.
        way: As for :func:`aihwjax.sweep`.
        progress: Show a bar of trials.

    Returns:
        The rows of the trials, with the number of the trial as ``index``.

    Raises:
        MissingExtraError: If Optuna is not installed.
        ConfigError: If an argument is not allowed, as for :func:`aihwjax.sweep`, or the study has several directions.
        DataError: If the data do not fit the model, or come as a stream.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("a search with Optuna needs: pip install 'aihwjax[optuna]'") from None
    if not isinstance(study, optuna.Study) or len(study.directions) != 1:
        what = "one with several directions" if isinstance(study, optuna.Study) else type(study).__name__
        raise ConfigError(f"study={what} is not allowed: give one from optuna.create_study(direction=...)")
    check_whole("trials", trials, 1)
    check_whole("batch", batch, 1)
    spread = {path: _Values(path, values) for path, values in _checked(space).items()}
    kinds = {path: each.distribution(optuna.distributions) for path, each in spread.items()}
    engine, numbers = Engine(experiment, data, key, memory, way), seeds_of(seeds)
    # a look at a corner of the space, before a study is asked for anything
    corner = points_of(experiment, [{path: each.first() for path, each in spread.items()}])
    known = {name for chunk in engine.plan(corner, numbers).chunks for name in engine.metrics(chunk.group)}
    wanted_metric(metric, "smallest", known)
    rows: dict[tuple[int, int], list[Row]] = {}
    with Bar(progress, trials, "compiling", unit="trials") as bar:
        done = 0
        while done < trials:
            asked = [study.ask(kinds) for _ in range(min(batch, trials - done))]
            told = 0
            try:
                points = [{path: spread[path].value(trial.params[path]) for path in spread} for trial in asked]
                found = _trained(engine, points_of(experiment, points), numbers, [trial.number for trial in asked])
                rows |= found
                for trial in asked:
                    _tell(study, trial, [found[trial.number, seed] for seed in numbers], metric)
                    told += 1
            except BaseException:
                for trial in asked[told:]:  # else they would count as running for ever
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise
            done += len(asked)
            bar.show(done, _said(study))
    return SweepTable(joined(rows), tuple(spread))


def _trained(
    engine: Engine, points: Sequence[Mapping[str, Any]], seeds: Sequence[int], indices: Sequence[int]
) -> dict[tuple[int, int], list[Row]]:
    """Return the rows of a batch by configuration and seed."""
    plan = engine.plan(points, seeds, indices)
    found: dict[tuple[int, int], list[Row]] = {}
    for chunk, size, epochs in zip(plan.chunks, plan.at_once, plan.epochs, strict=True):
        call = engine.start(chunk, size)
        call.advance(epochs)
        found |= {(run.index, run.seed): rows for run, rows in zip(call.runs, call.rows, strict=True)}
    return found


def _tell(study: Any, trial: Any, networks: Sequence[Sequence[Row]], metric: str) -> None:
    """Tell a study what a trial came to."""
    import optuna

    if any(rows[-1]["diverged"] for rows in networks):
        trial.set_user_attr("diverged", True)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)  # of failed ones samplers learn nothing
        return
    for epochs in zip(*networks, strict=True):
        values = [row[metric] for row in epochs if metric in row]
        if len(values) == len(epochs):
            trial.report(float(np.mean(values)), int(epochs[0]["epoch"]))
    study.tell(trial, float(np.mean([rows[-1][metric] for rows in networks])))


class _Values:
    """The values of a path, and what stands for them in a study, which keeps numbers and text only."""

    def __init__(self, path: str, values: Any) -> None:
        self._spread: Distribution = values if isinstance(values, Distribution) else Choice(values)
        self._named: dict[Any, Any] = {}
        if isinstance(self._spread, Choice):
            names = [simple(value) for value in self._spread.values]
            if len(set(names)) < len(names):
                names = [f"{number}: {name}" for number, name in enumerate(names)]
            self._named = dict(zip(names, self._spread.values, strict=True))
        elif not isinstance(self._spread, Uniform | LogUniform | Integers):
            raise ConfigError(f"space[{path!r}]={values!r} is none that Optuna knows: give Uniform, LogUniform, ...")

    def distribution(self, kinds: Any) -> Any:
        """Return what Optuna calls it."""
        if isinstance(self._spread, Choice):
            return kinds.CategoricalDistribution(list(self._named))
        assert isinstance(self._spread, Uniform | LogUniform | Integers)
        if isinstance(self._spread, Integers):
            return kinds.IntDistribution(int(self._spread.low), int(self._spread.high))
        log = isinstance(self._spread, LogUniform)
        return kinds.FloatDistribution(float(self._spread.low), float(self._spread.high), log=log)

    def value(self, proposed: Any) -> Any:
        """Return the value that a proposal stands for."""
        return self._named[proposed] if self._named else proposed

    def first(self) -> Any:
        """Return one of the values."""
        return self._spread.value(0.0)


def _checked(space: Any) -> Mapping[str, Any]:
    if not isinstance(space, Mapping) or not space:
        raise ConfigError("space is not allowed: give a dict such as {'device.dw_min': LogUniform(1e-4, 1e-2)}")
    return space


def _said(study: Any) -> str:
    try:
        return f"best {study.best_value:.4g}"
    except ValueError:
        return "none yet"
