"""Whether a model, its data and its loss fit each other, without computing anything."""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aihwjax.errors import AihwjaxError, DataError
from aihwjax.experiments.batches import call
from aihwjax.experiments.data import Splits
from aihwjax.experiments.data.dataset import StreamedSplits, sample_weight
from aihwjax.experiments.loop import validation_rows
from aihwjax.experiments.losses import LossFunction, OwnLoss, WholeBatch, loss_name, resolved
from aihwjax.experiments.training import BasicTraining
from aihwjax.experiments.weighting import check_weights_fit


def prediction(model: nnx.Module, x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Return shape and type of a model's output for a batch.

    Args:
        model: The model; its numbers may be abstract too.
        x: Shape and type of inputs, ``(n, ...)``.

    Raises:
        DataError: If the output is not one vector an example, or a layer of another library refuses its input.
        ShapeError: If the input does not fit a layer; names the layer's path.
    """
    graph, state = nnx.split(model)
    apply = lambda state, x, key: call(nnx.merge(graph, state), x, key)  # noqa: E731
    try:
        output = jax.eval_shape(apply, state, x, jax.random.key(0))
    except AihwjaxError:
        raise
    except Exception as error:  # what layers of other libraries raise can be anything
        whole = f"the model does not fit inputs {x.shape}"
        where = next((note for note in getattr(error, "__notes__", []) if note.startswith("layers/")), whole)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{where}: {reason}") from error
    if output.ndim < 2 or output.shape[0] != x.shape[0]:
        said = f"the model's output for {x.shape[0]} examples has shape {output.shape}"
        raise DataError(f"{said}: give a model with (n, k)")
    return output


def check_fit(experiment: BasicTraining, splits: Splits) -> jax.ShapeDtypeStruct:
    """Apply model and loss abstractly, so that what does not fit fails before anything is compiled.

    Args:
        experiment: Has model and loss.
        splits: The data.

    Returns:
        Shape and type of the model's outputs for a batch of the validation, which need not be traced once more then.

    Raises:
        DataError: If they don't fit.
        ShapeError: If the data do not fit a layer, or a loss of the library.
    """
    count = max(validation_rows(experiment.batch_size, len(splits.valid_y)), 2)  # one would look like none
    x, y = (jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype) for array in (splits.train_x, splits.train_y))
    output = prediction(experiment.model, x)
    weights = experiment.class_weights
    check_weights_fit(weights, experiment.loss_function, output, splits.train_y, sample_weight(splits))
    if experiment.metrics and not len(splits.valid_y):
        raise DataError("metrics of your own need validation data, which this data set lacks: leave them out")
    # of a stream it is not known how many examples there are
    counts = [experiment.batch_size] if isinstance(splits, StreamedSplits) else [len(splits.train_y)]
    sizes = batch_sizes(experiment.batch_size, *counts, len(splits.valid_y))
    check_loss_fits(experiment.loss_function, output, y, sizes)  # first: a regression has no classes
    check_labels_fit(experiment.loss_function, output, [splits.train_y, splits.valid_y])
    return output


def check_labels_fit(loss: LossFunction, output: jax.ShapeDtypeStruct, answers: Iterable[np.ndarray]) -> None:
    """Refuse labels that the outputs of a model have no place for.

    Args:
        loss: The loss.
        output: Shape of the model's outputs.
        answers: Labels or targets, ``(n, ...)``, all of one kind.

    Raises:
        DataError: If there is one; names it.
    """
    given = [labels for labels in answers if len(labels)]
    y = given[0]
    own = isinstance(resolved(loss), OwnLoss)
    # whole numbers of one output, or of several dimensions, are what a user's loss takes them for
    if np.issubdtype(y.dtype, np.integer) and not (own and (len(output.shape), y.ndim) != (2, 1)):
        classes = output.shape[1]
        ends = [end for labels in given for end in (int(labels.min()), int(labels.max()))]
        for label in ends:
            if not 0 <= label < classes and not (own and classes == 1):
                raise DataError(
                    f"label {label} is out of range: the model's {classes} outputs allow 0 to {classes - 1}"
                )


def label_limit(experiment: BasicTraining, output: jax.ShapeDtypeStruct, splits: Splits) -> int | None:
    """Return the number that labels of a stream have to be below, ``None`` if any goes.

    Args:
        experiment: Has the loss.
        output: Shape of the model's outputs.
        splits: The data.
    """
    own = isinstance(resolved(experiment.loss_function), OwnLoss)
    labelled = splits.train_y.ndim == 1 and not (own and (len(output.shape) != 2 or output.shape[1] == 1))
    return output.shape[1] if labelled else None


def check_loss_fits(
    loss: LossFunction, output: jax.ShapeDtypeStruct, y: jax.ShapeDtypeStruct, sizes: Iterable[int] = (2,)
) -> None:
    """Refuse a loss that cannot compare these outputs with these targets.

    Args:
        loss: The loss.
        output: Shape and type of outputs, ``(n, ...)``.
        y: Shape and type of targets, ``(n, ...)``.
        sizes: Numbers of examples that a batch may have.

    Raises:
        DataError: If it cannot, or gives anything but one number (of each example by itself: one each).
        ShapeError: If a loss of the library cannot.
    """
    function = resolved(loss)
    for size in sizes:
        batch = [jax.ShapeDtypeStruct((size, *each.shape[1:]), each.dtype) for each in (output, y)]
        shapes = f"outputs {batch[0].shape} and targets {batch[1].shape}"
        try:
            found = jax.eval_shape(function, *batch)
        except AihwjaxError:
            raise
        except Exception as error:  # what a user's function raises can be anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(f"the loss does not fit {shapes}: {reason}") from error
        if not isinstance(function, OwnLoss):
            continue
        whole = isinstance(function, WholeBatch)
        said = f"loss_function={loss_name(loss)} returns shape {found.shape} of type {found.dtype} for {shapes}"
        if not jnp.issubdtype(found.dtype, jnp.floating):
            raise DataError(f"{said}: give floating-point numbers")
        if found.shape != (() if whole else (size,)):
            hint = f", or wrap it, aj.nn.losses.per_example({loss_name(loss)})" if found.shape == (size,) else ""
            wanted = f"one number for the batch, such as the mean{hint}" if whole else f"one an example, ({size},)"
            raise DataError(f"{said}: give {wanted}")


def batch_sizes(batch_size: int, *counts: int) -> list[int]:
    """Return the numbers of examples that batches of whole data sets have.

    Args:
        batch_size: Examples in a batch.
        counts: Examples in each data set.
    """
    found = {size for count in counts for size in (min(batch_size, count), count % batch_size) if size}
    return sorted(found, reverse=True)
