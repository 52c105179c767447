"""Data sets whose training examples come in batches, from a generator or a loader of another library."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Num
from numpy.typing import ArrayLike

from aihwjax import arguments
from aihwjax.errors import DataError
from aihwjax.experiments.data.arrays import (
    MOST_CLASSES,
    as_answers,
    as_inputs,
    as_weights,
    described,
    from_arrays,
)
from aihwjax.experiments.data.checks import check_labels, check_pair
from aihwjax.experiments.data.dataset import Dataset, Normalization, PathLike, Splits, StreamedSplits
from aihwjax.experiments.data.streams import Batches, Piece, Stream


@arguments.answered
def from_batches(
    batches: Batches,
    valid_x: Num[ArrayLike, " valid *example"] | None = None,
    valid_y: Num[ArrayLike, " valid *answer"] | None = None,
    *,
    classes: int | None = None,
    name: str = "batches",
    normalization: Normalization | None = None,
) -> Dataset:
    """Make a data set of training examples that come in batches, from a generator or a loader of another library.

    An experiment puts the examples into batches of its own size, in the order in which they come; shuffling and
    augmenting is up to the generator. It runs in a thread beside the training. A run that is continued is the same as
    one that was never interrupted if the batches depend on epoch and seed alone.

    >>> import numpy as np
    >>> def batches(epoch, seed):
    ...     generator = np.random.default_rng([seed, epoch])
    ...     for _ in range(4):
    ...         x = generator.normal(size=(8, 2))
    ...         yield x, (x[:, 0] > x[:, 1]).astype(int)
    >>> from_batches(batches, classes=2).shape
    (2,)

    Args:
        batches: ``batches(epoch, seed)`` returns an iterable of ``(x, y)`` or ``(x, y, weight)``, arrays as
            ``train_x``, ``train_y`` and ``sample_weight`` of :func:`from_arrays`, of any number of examples; ``epoch``
            counts from 0, ``seed`` comes from the key of the run. Or an iterable itself, gone through in each epoch.
            The first batch, with seed 0, is looked at when the data set is made.
        valid_x: Validation inputs, an array; ``None``: nothing to validate with.
        valid_y: Validation labels or targets, of the same kind.
        classes: Number of classes; None: one more than the largest label of validation set and first batch. Not for
            targets.
        name: Name of the data set in results and checkpoints.
        normalization: Applied on loading, after the scaling of 8-bit images.

    Raises:
        DataError: If it is neither, the first batch or a validation array cannot be used, or the user's code fails.
    """
    if not callable(batches) and not isinstance(batches, Iterable):
        raise DataError(f"batches is {type(batches).__name__}; allowed: a function of epoch and seed, or an iterable")
    if isinstance(batches, Iterator):
        raise DataError("batches is an iterator, which is used up after an epoch; allowed: a function that makes one")
    stream = Stream(batches, _checked_piece)
    first = next(iter(stream.pieces(0, 0)))
    parts = from_arrays(first.x, first.y, valid_x, valid_y, classes=classes)
    source = BatchSource(dataclasses.replace(stream, check=_Like(first)), parts.source.read(None, False))
    return described(source.first, source, parts.classes, name, normalization)


@dataclass(frozen=True)
class _Like:
    """Checks that a batch is one of the same kind as the first."""

    first: Piece

    def __call__(self, x: Any, y: Any, weight: Any) -> Piece:
        piece = _checked_piece(x, y, weight)
        for name, mine, other in zip(Piece._fields, piece, self.first, strict=True):
            if (mine is None) is not (other is None):
                raise DataError(f"{name} is {'missing' if mine is None else 'new'}; allowed: as in the first batch")
            if mine is not None and other is not None and mine.shape[1:] != other.shape[1:]:
                raise DataError(
                    f"{name} has shape {mine.shape}; allowed: (n, *{other.shape[1:]}), as in the first batch"
                )
            if mine is not None and other is not None and mine.dtype != other.dtype:
                raise DataError(f"{name} has type {mine.dtype}; allowed: {other.dtype}, as in the first batch")
        return piece


def _checked_piece(x: Any, y: Any, weight: Any) -> Piece:
    inputs, answers = as_inputs(x, "x"), as_answers(y, "y")
    check_pair(inputs, answers, "x", "y")
    if answers.ndim == 1:
        answers = check_labels(answers, MOST_CLASSES, "y")
    if weight is None:
        return Piece(inputs, answers, None)
    return Piece(inputs, answers, as_weights(weight, len(answers), some=False))


@dataclass(frozen=True, eq=False)
class BatchSource:
    """Training examples in batches, validation arrays in memory."""

    stream: Stream
    """The training examples."""
    first: Splits = field(repr=False)
    """The first batch, and the validation arrays."""

    def read(self, root: PathLike | None, download: bool) -> Splits:
        """Return the arrays and the stream; ``root`` and ``download`` are not needed."""
        return StreamedSplits(*self.first).with_stream(self.stream)
