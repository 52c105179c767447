"""Data sets from arrays that the user has in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Num
from numpy.typing import ArrayLike

from aihwjax import arguments
from aihwjax.errors import DataError
from aihwjax.experiments.data.checks import check_labels, check_pair, whole_numbers
from aihwjax.experiments.data.dataset import (
    Dataset,
    Normalization,
    PathLike,
    Source,
    Splits,
    WeightedSplits,
)

MOST_CLASSES = 2**31


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Arrays in memory."""

    splits: Splits = field(repr=False)
    """The arrays, checked."""

    def read(self, root: PathLike | None, download: bool) -> Splits:
        """Return the arrays; ``root`` and ``download`` are not needed."""
        return self.splits


@arguments.answered
def from_arrays(
    train_x: Num[ArrayLike, " train *example"],
    train_y: Num[ArrayLike, " train *answer"],
    valid_x: Num[ArrayLike, " valid *example"] | None = None,
    valid_y: Num[ArrayLike, " valid *answer"] | None = None,
    *,
    sample_weight: Num[ArrayLike, " train"] | None = None,
    classes: int | None = None,
    name: str = "arrays",
    normalization: Normalization | None = None,
) -> Dataset:
    """Make a data set of arrays.

    >>> import numpy as np
    >>> x, y = np.zeros((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    >>> from_arrays(x, y, x, y).classes
    3

    Args:
        train_x: Training inputs ``(N, ...)``, finite. 8-bit images (uint8) are scaled to [0, 1] on loading; other
            numbers are taken as they are, as float32.
        train_y: Labels: whole numbers ``(N,)``, zero or above. Or several labels an example: 0 and 1, ``(N, k)``,
            of any type. Or targets for a regression loss: floating-point ``(N, k, ...)``.
        valid_x: Validation inputs, with examples of the same shape; ``None``: nothing to validate with.
        valid_y: Validation labels or targets, of the same kind.
        sample_weight: How much each training example counts in the loss: finite numbers of at least 0 ``(N,)``.
        classes: Number of classes; None: one more than the largest label. Not for targets.
        name: Name of the data set in results and checkpoints.
        normalization: Applied on loading, after the scaling of 8-bit images.

    Raises:
        DataError: If an array is empty, not numeric, not finite, or of a shape or label that does not fit; or one
            of the validation set is missing.
    """
    if (valid_x is None) is not (valid_y is None):
        given, missing = ("valid_y", "valid_x") if valid_x is None else ("valid_x", "valid_y")
        raise DataError(f"there is {given} without {missing}; allowed: both or none")
    train_inputs, train_answers = as_inputs(train_x, "train_x"), as_answers(train_y, "train_y")
    check_pair(train_inputs, train_answers, "train_x", "train_y")
    if valid_x is None or valid_y is None:
        valid_inputs, valid_answers = train_inputs[:0], train_answers[:0]
    else:
        valid_inputs, valid_answers = as_inputs(valid_x, "valid_x"), as_answers(valid_y, "valid_y")
        check_pair(valid_inputs, valid_answers, "valid_x", "valid_y")
    classes = _check_alike(train_inputs, train_answers, valid_inputs, valid_answers, classes)
    if classes is not None:
        train_answers = check_labels(train_answers, classes, "train_y")
        valid_answers = check_labels(valid_answers, classes, "valid_y")
    splits = Splits(train_inputs, train_answers, valid_inputs, valid_answers)
    if sample_weight is not None:
        splits = WeightedSplits(*splits).with_weight(as_weights(sample_weight, len(train_answers)))
    return described(splits, ArraySource(splits), classes, name, normalization)


def _check_alike(
    train_inputs: np.ndarray,
    train_answers: np.ndarray,
    valid_inputs: np.ndarray,
    valid_answers: np.ndarray,
    classes: int | None,
) -> int | None:
    """Return the number of classes of two splits of one kind, ``None`` if they have targets."""
    if train_inputs.shape[1:] != valid_inputs.shape[1:]:
        raise DataError(f"valid_x has examples of shape {valid_inputs.shape[1:]}; allowed: {train_inputs.shape[1:]}")
    if train_answers.shape[1:] != valid_answers.shape[1:]:
        raise DataError(f"valid_y has shape {valid_answers.shape}; allowed: (N, *{train_answers.shape[1:]})")
    if train_answers.ndim == 1:
        return _class_count(classes, train_answers, valid_answers)
    if classes is not None:
        raise DataError(f"classes is {classes!r} with targets of shape {train_answers.shape}; allowed: None")
    return None


def described(
    splits: Splits, source: Source, classes: int | None, name: str, normalization: Normalization | None
) -> Dataset:
    """Return the data set of a source.

    Args:
        splits: Its arrays, for the shape of an input.
        source: Where they come from.
        classes: Number of classes; ``None`` if the targets are not classes.
        name: Its name.
        normalization: Applied on loading.
    """
    return Dataset(
        name=name,
        title=name,
        classes=classes,
        shape=splits.train_x.shape[1:],
        source=source,
        normalization=normalization,
        inference_normalization=normalization,
    )


def _as_array(value: ArrayLike, argument: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:  # rows of different lengths, JAX keys
        raise DataError(f"{argument} is not a rectangular array; allowed: an array of numbers") from error
    if array.dtype.kind not in "buif":
        raise DataError(f"{argument} has type {array.dtype}; allowed: real numbers")
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{argument} is empty, shape {array.shape}; allowed: at least 1 example")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        position = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{argument} has {array[position]} at index {position}; allowed: finite numbers")
    return array


def _as_float32(array: np.ndarray, argument: str) -> np.ndarray:
    largest = np.abs(array).max()
    if largest > np.finfo(np.float32).max:
        raise DataError(f"{argument} has a value of magnitude {largest}; allowed: the range of float32")
    return array.astype(np.float32)


def as_inputs(value: ArrayLike, argument: str) -> np.ndarray:
    """Return inputs as 8-bit or float32 numbers ``(N, ...)``, a copy; ``argument`` is their name in an error."""
    array = _as_array(value, argument)
    if array.ndim < 2:
        raise DataError(f"{argument} has shape {array.shape}; allowed: (N, ...), one row an example")
    return array.copy() if array.dtype == np.uint8 else _as_float32(array, argument)


def as_answers(value: ArrayLike, argument: str) -> np.ndarray:
    """Return labels as int64 ``(N,)`` or targets, several labels among them, as float32 ``(N, k, ...)``."""
    array = _as_array(value, argument)
    if array.ndim > 1:
        if array.dtype.kind != "f" and not np.isin(array, (0, 1)).all():
            raise DataError(
                f"{argument} has shape {array.shape} and type {array.dtype}; allowed: whole-number labels (N,),"
                " 0 and 1 for several labels (N, k), or floating-point targets (N, k), such as y.astype(float)"
            )
        return _as_float32(array, argument)
    try:
        return whole_numbers(array, argument)
    except DataError as error:
        raise DataError(f"{error}, or floating-point targets (N, k) of a regression, such as y[:, None]") from None


def as_weights(value: ArrayLike, count: int, some: bool = True) -> np.ndarray:
    """Return weights of ``count`` examples as float32; ``some``: refuse zeros alone."""
    array = _as_float32(_as_array(value, "sample_weight"), "sample_weight")
    if array.shape != (count,):
        raise DataError(f"sample_weight has shape {array.shape}; allowed: ({count},), one number an example")
    if (array < 0).any() or (some and not array.any()):
        raise DataError("sample_weight has a number below 0, or only zeros; allowed: at least 0, and some above")
    return array


def _class_count(classes: int | None, *labels: np.ndarray) -> int:
    if classes is None:
        classes = max(1 + max(int(part.max()) for part in labels if part.size), 1)
    if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or not 1 <= classes < MOST_CLASSES:
        raise DataError(f"classes is {classes!r}; allowed: whole numbers from 1 to {MOST_CLASSES - 1}")
    return int(classes)
