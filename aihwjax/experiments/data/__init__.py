"""Data sets: what an experiment trains on and is judged by.

A :class:`Dataset` is a small frozen description (name, classes, shape, scaling, source);
:meth:`Dataset.load` reads it into :class:`Splits`, four NumPy arrays with images channel first.
Everything that may go wrong with a file, a folder or the network is one :class:`~aihwjax.errors.DataError`.
"""

from __future__ import annotations

from aihwjax.experiments.data.arrays import from_arrays
from aihwjax.experiments.data.batches import from_batches
from aihwjax.experiments.data.catalog import (
    DEFAULT,
    MNIST,
    MNIST10K,
    SVHN,
    FashionMNIST,
    as_dataset,
    by_name,
    names,
)
from aihwjax.experiments.data.dataset import Dataset, Normalization, Source, Splits, fingerprint, truncate
from aihwjax.experiments.data.tfds_source import tfds

__all__ = [
    "DEFAULT",
    "MNIST",
    "MNIST10K",
    "SVHN",
    "Dataset",
    "FashionMNIST",
    "Normalization",
    "Source",
    "Splits",
    "as_dataset",
    "by_name",
    "fingerprint",
    "from_arrays",
    "from_batches",
    "names",
    "tfds",
    "truncate",
]
