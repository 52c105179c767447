"""Data sets from the catalogue of tensorflow-datasets (extra ``tfds``)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from aihwjax import arguments
from aihwjax.errors import AihwjaxError, DataError, MissingExtraError, nearest
from aihwjax.experiments.data.checks import check_image_shape, check_labels, check_pair, one_line
from aihwjax.experiments.data.dataset import Dataset, Normalization, PathLike, Splits


@dataclass(frozen=True)
class TfdsSource:
    """An image classification set of tensorflow-datasets."""

    name: str
    """Name there, for instance ``"kmnist"``."""
    splits: tuple[str, str]
    """Names of the training and the validation split there."""
    classes: int
    """Number of classes."""
    shape: tuple[int, int, int]
    """Shape of one image, channel last as stored there."""

    def read(self, root: PathLike | None, download: bool) -> Splits:
        """Read both splits with channel-first images; ``root`` is the folder of tensorflow-datasets.

        Raises:
            DataError: If tensorflow-datasets cannot provide them.
            MissingExtraError: If it is not installed.
        """
        library = _library()
        try:
            loaded = library.load(
                self.name,
                split=list(self.splits),
                batch_size=-1,
                download=download,
                data_dir=None if root is None else str(root),
            )
            parts = library.as_numpy(loaded)
        except Exception as error:  # the library raises errors of TensorFlow, of the network and of its own
            raise _failure(f"tfds:{self.name}", error) from error
        train, valid = (self._split(part, split) for part, split in zip(parts, self.splits, strict=True))
        return Splits(*train, *valid)

    def _split(self, part: Mapping[str, np.ndarray], split: str) -> tuple[np.ndarray, np.ndarray]:
        where = f"tfds:{self.name}, split {split!r}"
        x, y = np.asarray(part["image"]), np.asarray(part["label"])
        check_pair(x, y, where, where)
        check_image_shape(x, self.shape, where)
        return x.transpose(0, 3, 1, 2), check_labels(y, self.classes, where)


@arguments.answered
def tfds(
    name: str,
    *,
    train: str = "train",
    valid: str = "test",
    normalization: Normalization | None = None,
) -> Dataset:
    """Describe an image classification set of tensorflow-datasets.

    It must have the features ``image``, all of one size, and ``label``, a class label.

    Args:
        name: Name in the catalogue of tensorflow-datasets, for instance ``"kmnist"``.
        train: Its split to train on, in the notation of tensorflow-datasets (``"train[:90%]"`` is allowed).
        valid: Its split to validate on.
        normalization: Applied after the scaling of 8-bit images to [0, 1].

    Raises:
        DataError: If there is no such data set, or it does not consist of images of one size with labels.
        MissingExtraError: If tensorflow-datasets is not installed.
    """
    library = _library()
    try:
        features = library.builder(name).info.features
    except Exception as error:  # as in read
        raise _failure(f"tfds:{name}", error, _hint(name, library)) from error
    if "image" not in features or "label" not in features:
        raise DataError(f"tfds:{name} has the features {sorted(features)}; allowed: sets with image and label")
    shape = tuple(features["image"].shape)
    classes = getattr(features["label"], "num_classes", None)
    if len(shape) != len(("height", "width", "channels")) or None in shape or not classes:
        raise DataError(f"tfds:{name} has images of {shape}, {classes} classes; allowed: a fixed size, class labels")
    height, width, channels = shape
    return Dataset(
        name=f"tfds:{name}",
        title=name,
        classes=int(classes),
        shape=(channels, height, width),
        source=TfdsSource(name, (train, valid), int(classes), (height, width, channels)),
        normalization=normalization,
        inference_normalization=normalization,
    )


def _library() -> ModuleType:
    try:
        return importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise _missing(error) from error


def _missing(error: ImportError) -> MissingExtraError:
    missing = error.name or "a part of tensorflow-datasets"
    return MissingExtraError(f"data.tfds needs {missing}; allowed: with the extra, pip install 'aihwjax[tfds]'")


def _failure(where: str, error: Exception, hint: str = "") -> AihwjaxError:
    if isinstance(error, ImportError):  # TensorFlow itself is imported late
        return _missing(error)
    reason = f"{type(error).__name__}: {one_line(error)}"
    return DataError(f"{where}: tensorflow-datasets failed ({reason}){hint}; allowed: a set that it can load")


def _hint(name: str, library: ModuleType) -> str:
    known = library.list_builders(with_community_datasets=False)
    base = name.split("/")[0].split(":")[0]
    return "" if base in known else nearest(base, known)
