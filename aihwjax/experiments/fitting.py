"""Running a training experiment: from data and key to a trained model and its metrics."""

from __future__ import annotations

import dataclasses
import math
import operator
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from aihwjax import arguments, optim, random
from aihwjax.devices import counts
from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments import loop, meshes
from aihwjax.experiments.arrays import own_buffers
from aihwjax.experiments.batches import on_device
from aihwjax.experiments.best import BestEpoch, Extreme, Goal, wanted_goal
from aihwjax.experiments.checkpoint import Checkpoints, Progress
from aihwjax.experiments.data import Dataset, Splits, fingerprint, from_arrays
from aihwjax.experiments.data.dataset import StreamedSplits, WeightedSplits
from aihwjax.experiments.divergence import FiniteCheck
from aihwjax.experiments.feeding import Labels, in_parts
from aihwjax.experiments.fingerprint import describe
from aihwjax.experiments.losses import OwnLoss, resolved
from aihwjax.experiments.metrics import EpochMetrics, Printer, Report
from aihwjax.experiments.own_metrics import measured
from aihwjax.experiments.padding import inert
from aihwjax.experiments.reporting import check_reports, goes_on_after
from aihwjax.experiments.shapes import check_fit, label_limit
from aihwjax.experiments.tasks import Task, task_of
from aihwjax.experiments.training import BasicTraining
from aihwjax.experiments.watching import StepReport, Watch, check_step_reports, weighted_mean
from aihwjax.experiments.weighting import example_weights
from aihwjax.layer_rates import parted, schedule_check
from aihwjax.progress import Bar
from aihwjax.scores import scores
from aihwjax.tile.checks import as_numbers
from aihwjax.typing import Key

if TYPE_CHECKING:
    import optax


@arguments.answered
def fit(
    experiment: BasicTraining,
    data: Splits | Dataset | tuple[np.ndarray, ...] | None = None,
    key: Key | int = 0,
    *,
    reports: Iterable[Report] = (),
    checkpoint_dir: str | Path | None = None,
    progress: bool = True,
    step_reports: Iterable[StepReport] = (),
    report_every: int = 0,
    keep_best: str | None = None,
    best: Extreme | None = None,
    mesh: Mesh | None = None,
) -> tuple[nnx.Module, list[EpochMetrics]]:
    """Train a copy of the experiment's model.

    The same experiment, data and key give the same result, bit for bit on the same kind of
    device; with ``checkpoint_dir``, also when the run is killed and started again.

    Args:
        experiment: What to do; its model stays as it is.
        data: The loaded splits, a data set, or four arrays, or the two of the training set; ``None``: the experiment's
            data set.
        key: Seed or JAX key of shuffling, noise and pulses.
        reports: A list of functions, each called with the metrics so far after each epoch. One that returns ``False``
            ends the run there.
        checkpoint_dir: Folder where each epoch is saved and from which a run continues.
        progress: Show a bar of epochs on a terminal, a line of them in a notebook.
        step_reports: A list of functions, each called every ``report_every`` training steps with a dictionary, see
            :class:`~aihwjax.experiments.StepMetrics`. One that returns ``False`` ends the run there; an epoch that
            was not finished has no metrics and no checkpoint.
        report_every: Steps between two of their calls, counted over the whole run.
        keep_best: Name of a metric, your own included: the model of the epoch that is the best by it is kept in
            ``checkpoint_dir``, for :func:`~aihwjax.experiments.load_best`.
        best: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as words like ``loss`` and
            ``accuracy`` in the name say.
        mesh: Devices among which the run is divided: the examples of each step, and the data, along an axis
            ``"batch"``, the tiles of each stack along an axis ``"tiles"``. With the devices of several processes
            (``jax.distributed``) each gives examples of its own, all equally many.

    Returns:
        The trained model and one dictionary an epoch; fewer than the experiment has if a report ended the run.

    Raises:
        DataError: If the data are missing, damaged or do not fit the model.
        ShapeError: If the data do not fit a layer; names the layer's path.
        CheckpointError: If the folder cannot be used or belongs to another experiment.
        ConfigError: If the key, the reports or the mesh are not allowed, ``keep_best`` is no metric of the run, or a
            schedule gives a rate that is not allowed; before the first step that would use it.
        DivergedError: At the end of an epoch in which a loss, a gradient or a weight is not finite; has the metrics
            of the epochs before, whose checkpoints stay.
    """
    splits = splits_of(experiment if data is None else data)
    run_key, reports = run_key_of(key), check_reports(reports)
    if mesh is not None:
        mesh = meshes.training_mesh(mesh, experiment.batch_size)
        if isinstance(splits, StreamedSplits):
            raise DataError("data that come as a stream are not allowed on a mesh: give arrays")
    step_reports = check_step_reports(step_reports, report_every)
    output = check_fit(experiment, splits)
    task = None if "accuracy" in experiment.metrics else task_of(experiment.loss_function, output, splits)
    wanted = _goal(experiment, splits, keep_best, best, checkpoint_dir, task)
    model = nnx.clone(experiment.model)
    model.train()
    graph, moving, fixed = optim.take_apart(model)
    optimizer = optim.with_rate(experiment.optimizer, experiment.learning_rate)
    state: loop.TrainState = own_buffers((moving, optimizer.init(model)))
    reached, goes_on = Progress(0, state, []), True
    finite = FiniteCheck(state)
    checkpoints = kept = None
    if checkpoint_dir is not None:
        hashed = fingerprint(dataset_of(experiment).name, splits)
        identity = describe(experiment, hashed if mesh is None else meshes.one_for_all(mesh, hashed), run_key)
        checkpoints = Checkpoints(checkpoint_dir, identity)
        reached = checkpoints.latest(reached)
        if wanted is not None:
            kept = BestEpoch(checkpoint_dir, wanted, model, identity)
            kept.resume(reached.metrics, reached.state[0])
        if reached.metrics:
            goes_on = goes_on_after(reports, reached.metrics)
    train, valid = on_device(experiment, splits)
    if mesh is not None:
        placed = meshes.data_on(mesh, train, "training")
        assert placed is not None
        train, valid = placed, meshes.data_on(mesh, valid, "validation")
        splits = meshes.of_all(mesh, splits, train, valid)
    # of a stream, steps are not known before they are taken
    count = 0 if isinstance(splits, StreamedSplits) else train.y.shape[0]
    steps = -(-count // (experiment.batch_size * experiment.accumulate))
    look_ahead = schedule_check(optimizer.learning_rate, reached.epochs * steps, experiment.epochs * steps, steps)
    schedule, rate = parted(optimizer.learning_rate)
    program = dataclasses.replace(program_of(experiment, graph, model, count, task, schedule), mesh=mesh)
    # once, as each of the many numbers would be a transfer of its own in every epoch
    numbers, rate = jax.device_put((fixed, rate)) if mesh is None else meshes.placed(mesh, (fixed, rate))
    watch = Watch(step_reports, report_every if step_reports else 0, optimizer.learning_rate)
    labels = Labels(label_limit(experiment, output, splits), experiment.class_weights)
    state, metrics = reached.state, list(reached.metrics)
    if mesh is not None:
        state = meshes.placed(mesh, state, meshes.shardings(mesh, model, state))
        run_key = meshes.placed(mesh, run_key)
    parts = in_parts(program, (numbers, rate), splits, train, run_key, watch, labels)
    with Bar(progress, experiment.epochs, "compiling") as bar:
        for number in range(reached.epochs, experiment.epochs):
            if not goes_on:
                break
            start = time.monotonic()
            look_ahead((number + 1) * steps)
            turn = jax.device_put(np.uint32(number))
            every = experiment.validate_every
            judged = valid if every and (number + 1) % every == 0 else None
            if parts is None:
                state, totals = loop.epoch(program, state, numbers, rate, train, judged, run_key, turn)
            else:
                state, found = parts.epoch(state, judged, number, turn)
                if found is None:
                    break
                totals = found
            totals = jax.device_get(totals)
            here = state if mesh is None else meshes.at_home(mesh, state)
            entry = entry_of(number, totals, splits, program, experiment, counts.total(here[0]))
            finite.after(number, totals.train_loss, entry.get("valid_loss", 0.0), here, metrics)
            entry["time_epoch"] = time.monotonic() - start
            metrics.append(entry)
            if kept is not None:
                kept.after(metrics, here[0])
            if checkpoints is not None:
                checkpoints.save(Progress(number + 1, here, metrics))
            goes_on = goes_on_after(reports, metrics) and not (parts is not None and parts.stopped)
            bar.show(number + 1, "  ".join((f"training loss {entry['train_loss']:.4f}", *scores(entry))))
    if checkpoints is not None:
        checkpoints.close()
    if kept is not None:
        kept.close()
    return nnx.merge(graph, (state if mesh is None else meshes.at_home(mesh, state))[0], fixed), metrics


def program_of(
    experiment: BasicTraining,
    graph: nnx.GraphDef[Any],
    model: nnx.Module,
    count: int,
    task: Task | None,
    schedule: optax.Schedule | None,
) -> loop.Program:
    """Return what an epoch of an experiment is compiled for.

    Args:
        experiment: The experiment.
        graph: Structure of the model.
        model: A model of that structure.
        count: Training examples; 0: not known.
        task: When a prediction is right.
        schedule: Learning rate as a function of the step; ``None``: it is a number.
    """
    loss = resolved(experiment.loss_function)
    return loop.Program(
        graph,
        loss,
        experiment.optimizer,
        schedule,
        experiment.batch_size,
        # no user's loss sees empty rows: their loss, or its slope, need not be finite
        inert(model) and not isinstance(loss, OwnLoss),
        task,
        bool(experiment.metrics),
        # more than there are would be empty
        min(experiment.accumulate, -(-count // experiment.batch_size)) if count else int(experiment.accumulate),
    )


@arguments.answered
def run_local(
    experiment: BasicTraining,
    key: Key | int = 0,
    dataset_root: str | Path | None = None,
    max_elements_train: int = 0,
    stdout: bool = False,
    checkpoint_dir: str | Path | None = None,
    reports: Iterable[Report] = (),
    progress: bool = True,
    step_reports: Iterable[StepReport] = (),
    report_every: int = 0,
    keep_best: str | None = None,
    best: Extreme | None = None,
    mesh: Mesh | None = None,
) -> list[EpochMetrics]:
    """Run a training experiment on this machine.

    Args:
        experiment: What to do; its model stays as it is.
        key: Seed or JAX key; the same key gives the same result.
        dataset_root: Folder of the data set's files; ``None``: the default folder.
        max_elements_train: If above 0, only so many first examples of *both* splits.
        stdout: Print three lines after each epoch.
        checkpoint_dir: Folder where each epoch is saved and from which a run continues.
        reports: Further reports, called with the metrics so far; one that returns ``False`` ends the run.
        progress: Show a bar of epochs on a terminal, a line of them in a notebook; not with ``stdout``.
        step_reports: Functions that are called every ``report_every`` steps; one that returns ``False`` ends the run.
        report_every: Training steps between two of their calls.
        keep_best: Name of a metric, by which the model of the best epoch is kept; see :func:`fit`.
        best: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as the name says.
        mesh: Devices among which the run is divided; see :func:`fit`.

    Returns:
        One dictionary an epoch: ``epoch``, ``accuracy`` (a fraction; only where there are classes),
        ``train_loss``, ``valid_loss``, metrics of your own, ``pulses`` (of all tiles so far; only where devices
        count them), ``time_epoch`` (seconds). Without validation in an epoch, those of the validation are missing.

    Raises:
        AihwjaxError: As :func:`fit`.
    """
    splits = load_data(experiment, dataset_root, max_elements_train)
    reports = check_reports(reports)
    if stdout:
        reports = (Printer(len(splits.valid_y)), *reports)
    shown = progress and not stdout
    return fit(
        experiment,
        splits,
        key,
        reports=reports,
        checkpoint_dir=checkpoint_dir,
        progress=shown,
        step_reports=step_reports,
        report_every=report_every,
        keep_best=keep_best,
        best=best,
        mesh=mesh,
    )[1]


@arguments.answered
def load_data(experiment: BasicTraining, dataset_root: str | Path | None = None, max_elements_train: int = 0) -> Splits:
    """Read an experiment's data set.

    Args:
        experiment: The experiment.
        dataset_root: Folder of the data set's files; ``None``: the default folder.
        max_elements_train: If above 0, only so many first examples of *both* splits.

    Raises:
        ConfigError: If ``max_elements_train`` is negative.
        DataError: If the data are missing or damaged.
    """
    if isinstance(max_elements_train, bool) or not hasattr(max_elements_train, "__index__") or max_elements_train < 0:
        raise ConfigError(f"max_elements_train={max_elements_train!r} is not allowed: give a whole number from 0")
    return dataset_of(experiment).load(dataset_root, max_elements=operator.index(max_elements_train))


def _goal(
    experiment: BasicTraining,
    splits: Splits,
    keep_best: str | None,
    best: Extreme | None,
    checkpoint_dir: str | Path | None,
    task: Task | None,
) -> Goal | None:
    """Return what makes an epoch the best, if that is asked for."""
    if keep_best is None and best is None:
        return None
    if keep_best is not None and checkpoint_dir is None:
        raise ConfigError(f"keep_best={keep_best!r} is not allowed without a folder to keep it in: give checkpoint_dir")
    available = {"train_loss", "time_epoch"}
    if len(splits.valid_y) and experiment.validate_every:
        available |= {"valid_loss", *experiment.metrics, *(("accuracy",) if task is not None else ())}
    available |= {"pulses"} if counts.counters(nnx.state(experiment.model)) else set()
    return wanted_goal(keep_best, best, available)


def dataset_of(experiment: BasicTraining) -> Dataset:
    """Return the data set of an experiment."""
    assert isinstance(experiment.dataset, Dataset)  # the experiment made it one
    return experiment.dataset


def splits_of(data: BasicTraining | Splits | Dataset | tuple[np.ndarray, ...]) -> Splits:
    """Return the splits that :func:`fit` is given, or those of an experiment.

    Args:
        data: As for :func:`fit`, or an experiment.

    Raises:
        DataError: If it is something else.
    """
    if isinstance(data, BasicTraining):
        return load_data(data)
    if isinstance(data, WeightedSplits | StreamedSplits):  # which only a data set makes
        return data
    if isinstance(data, Splits):
        data = Splits(*(as_numbers(name, array) for name, array in data._asdict().items()))  # type: ignore[arg-type]
        sizes = [len(array) if array.ndim else 0 for array in data]
        if all(sizes[:2]) and bool(sizes[2]) is bool(sizes[3]):
            return data
    if isinstance(data, Dataset):
        return data.load()
    if isinstance(data, tuple | list) and len(data) in (2, 4):
        return from_arrays(*data).load()
    raise DataError(f"data={type(data).__name__} is not allowed: give a data set, or arrays as in from_arrays")


def run_key_of(key: Key | int) -> Key:
    """Return the typed key of a run, whose kind belongs to the identity of a checkpoint."""
    key = random.as_key(key)
    return key if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def entry_of(
    number: int,
    totals: loop.Totals,
    splits: Splits,
    program: loop.Program,
    experiment: BasicTraining,
    pulses: int | None,
) -> EpochMetrics:
    """Return the metrics of an epoch, of which the time is still missing.

    Args:
        number: The epoch, from 0.
        totals: What left the device.
        splits: The data.
        program: What was compiled.
        experiment: The experiment.
        pulses: Of all tiles so far; ``None``: they are not counted.
    """
    if totals.train_weight is None:
        weights = np.full(len(totals.train_loss), program.step_size, np.float64)
        weights[-1] = len(splits.train_y) - program.step_size * (len(weights) - 1)
    else:
        weights = np.asarray(totals.train_weight)
    entry: dict[str, Any] = {"epoch": number}
    own: dict[str, float] = {}
    valid_loss = {}
    if totals.valid_loss is not None:
        count = len(splits.valid_y)
        if totals.predictions is not None:
            own = measured(experiment.metrics, np.asarray(totals.predictions), splits.valid_y)
        accuracy = own.pop("accuracy", None) if program.task is None else int(totals.correct) / count
        entry |= {} if accuracy is None else {"accuracy": accuracy}
        each = example_weights(experiment.class_weights, splits.valid_y)
        total = count if each is None else float(each.sum(dtype=np.float64))
        valid_loss = {"valid_loss": math.fsum(totals.valid_loss.tolist()) / total if total else 0.0}
    entry |= {
        "train_loss": weighted_mean(np.asarray(totals.train_loss), weights),
        **valid_loss,
        **own,
        **({} if pulses is None else {"pulses": pulses}),
        "time_epoch": 0.0,
    }
    return cast(EpochMetrics, entry)
