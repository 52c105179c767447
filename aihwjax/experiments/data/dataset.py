"""The description of a data set, and the arrays it loads into."""

from __future__ import annotations

import dataclasses
import hashlib
import operator
import os
from typing import NamedTuple, Protocol, Self, TypeAlias

import numpy as np
from jaxtyping import Num

from aihwjax import arguments
from aihwjax.errors import DataError
from aihwjax.experiments.data.streams import Stream

PathLike: TypeAlias = str | os.PathLike[str]
"""A folder, as text or as a path object."""


class Splits(NamedTuple):
    """The two splits of a data set, as NumPy arrays (and so a pytree of four leaves)."""

    train_x: Num[np.ndarray, " train *example"]
    """Training inputs, float32 ``(N, channels, height, width)``, or ``(N, ...)`` for arrays of the user's own."""
    train_y: Num[np.ndarray, " train *answer"]
    """Training labels, int32 ``(N,)``, or float32 targets ``(N, ...)``."""
    valid_x: Num[np.ndarray, " valid *example"]
    """Validation inputs, shaped like the training inputs but for their number; none if there is no such split."""
    valid_y: Num[np.ndarray, " valid *answer"]
    """Validation labels or targets."""


class WeightedSplits(Splits):
    """Splits whose training examples have weights: the same tuple of four arrays, and one more attribute."""

    train_weight: Num[np.ndarray, " train"]
    """Weight of each training example, float32 ``(N,)``."""

    def with_weight(self, weight: np.ndarray) -> Self:
        """Set the weights of a new object and return it.

        Args:
            weight: Float32 ``(N,)``.
        """
        self.train_weight = weight
        return self


class StreamedSplits(Splits):
    """Splits whose training examples come in pieces; ``train_x`` and ``train_y`` are the first piece alone."""

    stream: Stream
    """The training examples."""

    def with_stream(self, stream: Stream) -> Self:
        """Set the stream of a new object and return it.

        Args:
            stream: The training examples.
        """
        self.stream = stream
        return self


def sample_weight(splits: Splits) -> np.ndarray | None:
    """Return the weight of each training example, ``None`` if all count the same.

    Args:
        splits: The loaded data.
    """
    return splits.train_weight if isinstance(splits, WeightedSplits) else None


def _weighted(splits: Splits, weight: np.ndarray | None) -> Splits:
    return splits if weight is None else WeightedSplits(*splits).with_weight(weight)


@arguments.answering
@dataclasses.dataclass(frozen=True)
class Normalization:
    """The affine map ``(x - mean) / std``, channel by channel, after the scaling to [0, 1]."""

    mean: tuple[float, ...]
    """Mean of each channel, or a single number for all of them."""
    std: tuple[float, ...]
    """Standard deviation of each channel, above zero."""

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise DataError(f"normalization has mean={self.mean}, std={self.std}; allowed: one of each a channel")
        if not np.all(np.isfinite(self.mean)) or not np.all(np.isfinite(self.std)) or min(self.std) <= 0:
            raise DataError(f"normalization has mean={self.mean}, std={self.std}; allowed: finite numbers, std > 0")

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Normalise the float32 array ``x`` of shape ``(N, channels, ...)`` in place and return it.

        Raises:
            DataError: If the number of channels differs.
        """
        channels = len(self.mean)
        if channels == 1:
            x -= np.float32(self.mean[0])
            x /= np.float32(self.std[0])
            return x
        if x.ndim < 2 or x.shape[1] != channels:
            raise DataError(f"inputs have shape {x.shape}; allowed for {channels} means: (N, {channels}, ...)")
        per_channel = (channels,) + (1,) * (x.ndim - 2)
        x -= np.asarray(self.mean, np.float32).reshape(per_channel)
        x /= np.asarray(self.std, np.float32).reshape(per_channel)
        return x


class Source(Protocol):
    """Where the stored arrays of a data set come from: a folder, the package, memory, another library."""

    def read(self, root: PathLike | None, download: bool) -> Splits:
        """Return both splits as stored: images channel first, uint8 or float; labels int32.

        Args:
            root: The folder that the user named, or None.
            download: Whether files that are missing may be fetched from the network.

        Raises:
            DataError: If anything is missing, damaged or out of range.
        """
        ...


@arguments.answering
@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set by description; nothing is read before :meth:`load`.

    >>> from aihwjax.experiments import data
    >>> splits = data.MNIST10K.load(max_elements=100)
    >>> splits.train_x.shape, splits.train_y.dtype.name
    ((100, 1, 28, 28), 'int32')
    """

    name: str
    """Name in configuration files, for instance ``"fashion_mnist"``."""
    title: str
    """Name for people, for instance ``"FashionMNIST"``."""
    classes: int | None
    """Number of classes; labels are 0 to ``classes - 1``. None if the targets are not classes."""
    shape: tuple[int, ...]
    """Shape of one input, channel first: ``(channels, height, width)``."""
    source: Source
    """Where the stored arrays come from."""
    normalization: Normalization | None = None
    """Applied after the scaling of 8-bit inputs to [0, 1]; None: the scaling only."""
    inference_normalization: Normalization | None = None
    """The same for inference experiments (spec: experiments, section 4)."""

    def __str__(self) -> str:
        return self.title

    def load(self, root: PathLike | None = None, *, max_elements: int = 0, download: bool = True) -> Splits:
        """Read both splits.

        8-bit inputs are scaled to [0, 1], then :attr:`normalization` is applied.

        Args:
            root: Folder of the files; None: the environment variable ``AIHWJAX_DATA_DIR`` if it is set, else
                the user's cache folder. Data sets without files of their own (``mnist10k``, arrays) ignore it.
            max_elements: If above zero, only the first so many examples of each split.
            download: Whether missing files are fetched; False: they are an error.

        Raises:
            DataError: If a file is missing, damaged or out of range, the network or the folder cannot be used,
                or ``max_elements`` is negative.
        """
        _check_max_elements(max_elements)
        stored = truncate(self.source.read(root, download), max_elements)
        scaled = Splits(self._scale(stored.train_x), stored.train_y, self._scale(stored.valid_x), stored.valid_y)
        if isinstance(stored, StreamedSplits):
            return StreamedSplits(*scaled).with_stream(dataclasses.replace(stored.stream, scale=self._scale))
        return _weighted(scaled, sample_weight(stored))

    def for_inference(self) -> Dataset:
        """Return the same data set with the scaling of inference experiments.

        The reference leaves FashionMNIST unnormalised there, to match published weights
        (spec: experiments, section 4); all others are the same.
        """
        return dataclasses.replace(self, normalization=self.inference_normalization)

    def with_normalization(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Dataset:
        """Return the same data set with another normalisation, in training and inference.

        Args:
            mean: Mean of each channel, or one number for all, in units of the [0, 1] scale.
            std: Standard deviation of each channel, or one number for all.

        Raises:
            DataError: If the lengths differ or a standard deviation is not above zero.
        """
        other = Normalization(tuple(mean), tuple(std))
        return dataclasses.replace(self, normalization=other, inference_normalization=other)

    def _scale(self, x: np.ndarray) -> np.ndarray:
        scaled = x.astype(np.float32, order="C")
        if x.dtype == np.uint8:
            scaled /= np.float32(255)
        return self.normalization.apply(scaled) if self.normalization else scaled


@arguments.answered
def truncate(splits: Splits, max_elements: int) -> Splits:
    """Return the first ``max_elements`` examples of both splits, each clamped to its size.

    Zero means no limit (spec: experiments, section 2.2 and bug 11).

    Raises:
        DataError: If ``max_elements`` is negative or not a whole number.
    """
    count = _check_max_elements(max_elements)
    if not count:
        return splits
    if isinstance(splits, StreamedSplits):
        limited = dataclasses.replace(splits.stream, limit=count)
        return StreamedSplits(*(array[:count] for array in splits)).with_stream(limited)
    weight = sample_weight(splits)
    return _weighted(Splits(*(array[:count] for array in splits)), None if weight is None else weight[:count])


def _check_max_elements(max_elements: int) -> int:
    try:
        count = operator.index(max_elements)
    except TypeError:
        count = -1
    if count < 0 or isinstance(max_elements, bool):
        raise DataError(f"max_elements is {max_elements!r}; allowed: whole numbers from 0 (no limit)")
    return count


@arguments.answered
def fingerprint(name: str, splits: Splits) -> str:
    """Return a short hash by which a checkpoint recognises the data it was trained on.

    It covers the name, the sizes, shapes and types of the four arrays, all labels, and 64 inputs of each split.

    Args:
        name: Name of the data set.
        splits: The loaded arrays.
    """
    digest = hashlib.sha256(name.encode())
    for array in splits:
        digest.update(f"|{array.shape}{array.dtype.str}".encode())
    for labels in (splits.train_y, splits.valid_y):
        digest.update(np.ascontiguousarray(labels).tobytes())
    for inputs in (splits.train_x, splits.valid_x):
        chosen = np.linspace(0, max(len(inputs) - 1, 0), min(64, len(inputs))).astype(int)
        digest.update(np.ascontiguousarray(inputs[chosen]).tobytes())
    weight = sample_weight(splits)
    if weight is not None:
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:16]
