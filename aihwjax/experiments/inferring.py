"""Running an inference experiment: from data and key to the accuracy of chips over time."""

from __future__ import annotations

import json
import math
import operator
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num

from aihwjax import arguments, random
from aihwjax.chip_results import ChipResult, InferenceReport, InferenceResult, chip_rows, result
from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments.batches import Split
from aihwjax.experiments.data import Dataset, Splits
from aihwjax.experiments.data.dataset import StreamedSplits
from aihwjax.experiments.inferencing import BasicInferencing
from aihwjax.experiments.loop import validate
from aihwjax.experiments.losses import OwnLoss, PerExample, resolved
from aihwjax.experiments.program import Program
from aihwjax.experiments.reporting import check_reports, goes_on_after
from aihwjax.experiments.shapes import batch_sizes, check_labels_fit, check_loss_fits, prediction
from aihwjax.experiments.tasks import Task, task_of
from aihwjax.experiments.templates import prepared, say_scales
from aihwjax.experiments.training import short
from aihwjax.nn.many_chips import ManyChips
from aihwjax.nn.over_time import checked_times
from aihwjax.nn.programmed_tile import checked_config
from aihwjax.nn.programming import tiles_of
from aihwjax.optim import take_apart
from aihwjax.progress import Bar
from aihwjax.random import Noise
from aihwjax.typing import Key

_TIMES = 10


@arguments.answered
def run_local_inference(
    experiment: BasicInferencing,
    key: Key | int = 0,
    dataset_root: str | Path | None = None,
    max_elements: int = 0,
    stdout: bool = False,
    n_inference_times: int = _TIMES,
    reports: Iterable[InferenceReport] = (),
    progress: bool = True,
    memory: int | None = None,
) -> InferenceResult:
    """Run an inference experiment on this machine: all chips and times in one compiled call.

    With ``stdout`` or reports each chip is a call of its own, so that there is something to tell; the values are those
    of the single call.

    Example:
        >>> import aihwjax as aj
        >>> from flax import nnx
        >>> layer = aj.nn.AnalogLinear(784, 10, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
        >>> model = aj.nn.AnalogSequential(aj.nn.Flatten(), layer, aj.nn.LogSoftmax())
        >>> experiment = aj.BasicInferencing(dataset=aj.MNIST10K, model=model)
        >>> runs = aj.run_local_inference(experiment, key=0, max_elements=50)["inference_runs"]
        >>> runs["inference_repeat"], runs["is_partial"], len(runs["inference_results"])
        (2, False, 10)

    Args:
        experiment: What to do; its model stays as it is.
        key: Seed or JAX key; the same key gives the same result.
        dataset_root: Folder of the data set's files; ``None``: the default folder.
        max_elements: If above 0, only so many first examples.
        stdout: Print one line of JSON after each chip.
        n_inference_times: How many times there are, see :meth:`BasicInferencing.time_grid`.
        reports: A list of functions, each called with the result so far after each chip. One that returns ``False``
            ends the run there.
        progress: Show a bar of chips on a terminal, a line of them in a notebook; not with ``stdout``.
        memory: Bytes that chips evaluated at once may take, as for :func:`aihwjax.evaluate_over_time`.

    Returns:
        ``inference_runs`` as the reference has it (accuracies and errors in percent), and ``chips``, a row for each
        chip and time.

    Raises:
        AihwjaxError: As :func:`infer`.
    """
    started = time.monotonic()
    data = load_examples(experiment, dataset_root, max_elements)
    printing: tuple[InferenceReport, ...] = (_print,) if stdout else ()
    return infer(
        experiment,
        data,
        key,
        n_inference_times=n_inference_times,
        reports=(*printing, *_checked(reports)),
        progress=progress and not stdout,
        memory=memory,
        started=started,
    )


@arguments.answered
def infer(
    experiment: BasicInferencing,
    data: Splits | None = None,
    key: Key | int = 0,
    *,
    n_inference_times: int = _TIMES,
    reports: Iterable[InferenceReport] = (),
    progress: bool = True,
    memory: int | None = None,
    known: Sequence[ChipResult] = (),
    started: float | None = None,
) -> InferenceResult:
    """Program the model of an experiment onto its chips and evaluate them.

    Args:
        experiment: What to do; its model stays as it is.
        data: From :func:`load_examples`; ``None``: the data set of the experiment.
        key: Seed or JAX key of programming, drift and products. A chip is the same however many there are.
        n_inference_times: How many times there are.
        reports: Functions that are called with the result so far after each chip; ``False`` ends the run.
        progress: Show a bar of chips.
        memory: Bytes that chips evaluated at once may take.
        known: Rows of the first chips, from an earlier run with the same experiment, data and key; the run goes on
            after them.
        started: When the run began, by the monotonic clock; ``None``: now.

    Raises:
        ConfigError: If a tile has no noise model, a time is not allowed for one, or another argument is not allowed.
        DataError: If the data are missing, damaged, or do not fit the model, or the template is missing or damaged.
        ShapeError: If the data or the template do not fit a layer; names the layer's path.
        ModuleError: If the model has no analog layer.
        AihwjaxError: As :func:`~aihwjax.experiments.templates.prepared`, of the weights.
    """
    started = time.monotonic() if started is None else started
    if not isinstance(experiment, BasicInferencing):
        raise ConfigError(f"experiment={short(experiment)} is not allowed: give a BasicInferencing")
    source, calls = random.as_key(key), _checked(reports)
    grid = experiment.time_grid(n_inference_times)
    for path, tile in tiles_of(experiment.model).items():
        checked_config(tile.config.get_value(), path)
    seconds = checked_times(experiment.model, grid)
    x, y = _evaluated_on(load_examples(experiment) if data is None else data)
    task = _check_fit(experiment, x, y)
    judge = _Judge(resolved(experiment.loss_function), int(experiment.batch_size), task)
    model = prepared(experiment, _weights_key(source))
    chips = ManyChips(model, (jnp.asarray(x), jnp.asarray(y)), seconds, random.fold(source, "chips"), judge, memory)
    repeats = int(experiment.inference_repeats)
    rows = _checked_known(known, grid, repeats)
    found = result(rows, repeats, time.monotonic() - started)
    with Bar(progress, repeats, "compiling", unit="chips") as bar:
        done = len(rows) // len(grid)
        size = _equal_parts(repeats - done, 1 if calls else chips.at_once)
        for first in range(done, repeats, size):
            count = min(size, repeats - first)  # of the last ones perhaps too many are computed, by the same program
            rows += chip_rows(first, grid, chips.values(first, size)[:count], len(y), task is not None)
            found = result(rows, repeats, time.monotonic() - started)
            bar.show(first + count, _said(found))
            if not goes_on_after(calls, found):
                break
    return found


@arguments.answered
def load_examples(
    experiment: BasicInferencing, dataset_root: str | Path | None = None, max_elements: int = 0
) -> Splits:
    """Read the data set of an inference experiment, scaled as the reference does there (spec: experiments, section 4).

    Args:
        experiment: The experiment.
        dataset_root: Folder of the data set's files; ``None``: the default folder.
        max_elements: If above 0, only so many first examples.

    Raises:
        ConfigError: If ``max_elements`` is negative.
        DataError: If the data are missing or damaged.
    """
    if isinstance(max_elements, bool) or not hasattr(max_elements, "__index__") or max_elements < 0:
        raise ConfigError(f"max_elements={max_elements!r} is not allowed: give a whole number from 0")
    if not isinstance(experiment, BasicInferencing):
        raise ConfigError(f"experiment={short(experiment)} is not allowed: give a BasicInferencing")
    assert isinstance(experiment.dataset, Dataset)  # the experiment made it one
    return experiment.dataset.for_inference().load(dataset_root, max_elements=operator.index(max_elements))


def with_template(experiment: BasicInferencing, key: Key | int) -> BasicInferencing:
    """Return the same experiment with the weights of its template in its model, and without a template.

    Args:
        experiment: The experiment.
        key: Seed or JAX key of the run, whose result is then that of the experiment itself.

    Raises:
        AihwjaxError: As :func:`~aihwjax.experiments.templates.prepared`.
    """
    model = prepared(experiment, _weights_key(random.as_key(key)))
    say_scales(model)
    return experiment.replace(model=model, weight_template_id="")


def _weights_key(source: Key) -> Key:
    return random.fold(source, "weights")


@dataclass(frozen=True)
class _Judge:
    """Number of right examples and mean loss of a chip, in batches as after an epoch of training."""

    loss: PerExample | OwnLoss
    batch_size: int
    task: Task | None

    def __call__(self, model: nnx.Module, x: Num[Array, "n ..."], y: Num[Array, "n ..."], key: Noise, /) -> Array:
        graph, moving, fixed = take_apart(model)
        program = Program(graph, self.loss, None, None, self.batch_size, False, self.task)
        losses, correct, _ = validate(program, moving, fixed, Split(x, y), random.plain(key), 0)
        return jnp.stack([correct.astype(jnp.float32), (losses.sum() / y.shape[0]).astype(jnp.float32)])


def _evaluated_on(data: Splits) -> tuple[np.ndarray, np.ndarray]:
    """Return the examples that are evaluated."""
    if not isinstance(data, Splits):
        raise DataError(f"data={type(data).__name__} is not allowed: give what load_examples returns")
    if len(data.valid_y):
        return data.valid_x, data.valid_y
    if isinstance(data, StreamedSplits):
        raise DataError("the data set has no validation split, and a stream is not evaluated: give one with both")
    return data.train_x, data.train_y


def _check_fit(experiment: BasicInferencing, x: Float[np.ndarray, "n ..."], y: Num[np.ndarray, "n ..."]) -> Task | None:
    """Apply model and loss abstractly, and return when a prediction is right."""
    output = prediction(experiment.model, jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype))
    target = jax.ShapeDtypeStruct((2, *y.shape[1:]), y.dtype)
    check_loss_fits(experiment.loss_function, output, target, batch_sizes(int(experiment.batch_size), len(y)))
    check_labels_fit(experiment.loss_function, output, [y])
    return task_of(experiment.loss_function, output, Splits(x, y, x[:0], y[:0]))


def _equal_parts(count: int, largest: int) -> int:
    """Return the size of the parts of a number that are as equal, and as large, as can be; at least 1."""
    return max(1, math.ceil(count / max(1, math.ceil(count / largest))))


def _checked_known(rows: Sequence[ChipResult], grid: Sequence[float], repeats: int) -> list[ChipResult]:
    """Return the rows of whole chips with these times."""
    chips = min(len(rows) // len(grid), repeats)
    kept = list(rows[: chips * len(grid)])
    wanted = [(number, t) for number in range(chips) for t in grid]
    if [(row["chip"], row["time"]) for row in kept] != wanted:
        raise ConfigError("known has rows of other chips or times: give those of an earlier run of the same experiment")
    return kept


def _checked(reports: Iterable[InferenceReport]) -> tuple[InferenceReport, ...]:
    return check_reports(reports, "result")


def _print(found: InferenceResult) -> None:
    print(json.dumps({"inference_runs": found["inference_runs"]}), file=sys.stdout, flush=True)


def _said(found: InferenceResult) -> str:
    """Return what there is to say of the last time."""
    last: Any = found["inference_runs"]["inference_results"][-1]
    accuracy = f"accuracy {last['avg_accuracy']:.2f} %" if "avg_accuracy" in last else f"loss {last['avg_loss']:.4g}"
    return f"{accuracy} after {last['t_inference']:.4g} s"
