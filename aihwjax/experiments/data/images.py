"""The sources that consist of files: the MNIST family, in a folder or in the package, and SVHN."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from aihwjax.errors import DataError
from aihwjax.experiments.data import idx
from aihwjax.experiments.data.checks import (
    check_image_shape,
    check_labels,
    check_pair,
    one_line,
    read_bytes,
    whole_numbers,
)
from aihwjax.experiments.data.dataset import PathLike, Splits
from aihwjax.experiments.data.folder import FileSet

_CLASSES = 10
_GRAY_SHAPE = (28, 28)
_COLOUR_SHAPE = (32, 32, 3)
_MNIST_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "valid": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def _gray_split(images: bytes, labels: bytes, images_where: str, labels_where: str) -> tuple[np.ndarray, np.ndarray]:
    """Parse a pair of IDX files into ``(N, 1, 28, 28)`` uint8 and ``(N,)`` int32."""
    x = idx.parse(images, images_where, dimensions=3)
    y = idx.parse(labels, labels_where, dimensions=1)
    check_pair(x, y, images_where, labels_where)
    check_image_shape(x, _GRAY_SHAPE, images_where)
    return x[:, np.newaxis], check_labels(y, _CLASSES, labels_where)


@dataclass(frozen=True)
class IdxFolder:
    """The four IDX files of MNIST or FashionMNIST in a folder."""

    files: FileSet
    """The files and where they come from."""

    def read(self, root: PathLike | None, download: bool) -> Splits:
        """Read both splits; the published test split is the validation split.

        Raises:
            DataError: If a file is missing, damaged or does not fit its partner.
        """
        paths = self.files.locate(root, download)
        train, valid = (self._split(paths, names) for names in _MNIST_FILES.values())
        return Splits(*train, *valid)

    def _split(self, paths: dict[str, Path], names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
        images, labels = (paths[name] for name in names)
        return _gray_split(read_bytes(images), read_bytes(labels), str(images), str(labels))


@dataclass(frozen=True)
class PackagedMNIST:
    """The 10,000 test images of MNIST that are part of the package, split into two.

    By Yann LeCun, Corinna Cortes and Christopher J.C. Burges; Creative Commons Attribution-Share Alike 3.0.
    """

    sums: tuple[str, str]
    """SHA-256 sums of the image and the label file."""
    train_size: int
    """Number of images in the training split; the rest is the validation split."""

    def read(self, root: PathLike | None, download: bool) -> Splits:
        """Read both splits from the package; ``root`` and ``download`` are not needed.

        Raises:
            DataError: If the installed package is damaged.
        """
        folder = resources.files("aihwjax.experiments.data") / "resources"
        names = _MNIST_FILES["valid"]
        images, labels = (self._content(folder / name, sum_) for name, sum_ in zip(names, self.sums, strict=True))
        x, y = _gray_split(images, labels, *names)
        return Splits(x[: self.train_size], y[: self.train_size], x[self.train_size :], y[self.train_size :])

    @staticmethod
    def _content(file: Traversable, sha256: str) -> bytes:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(f"{file}: missing from the package; allowed: a complete installation") from error
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise DataError(f"{file}: damaged, its SHA-256 sum is {found}; allowed: {sha256}, as in the package")
        return content


@dataclass(frozen=True)
class MatlabFolder:
    """The two cropped-digit MATLAB files of SVHN in a folder."""

    files: FileSet
    """The files and where they come from."""

    def read(self, root: PathLike | None, download: bool) -> Splits:
        """Read both splits; the published test split is the validation split.

        Raises:
            DataError: If a file is missing, damaged or of another content.
        """
        paths = self.files.locate(root, download)
        train, valid = (self._split(paths[file.name]) for file in self.files.files)
        return Splits(*train, *valid)

    @staticmethod
    def _split(path: Path) -> tuple[np.ndarray, np.ndarray]:
        content = _read_matlab(path)
        x, y = content.get("X"), content.get("y")
        if x is None or y is None or x.ndim != 4 or x.dtype != np.uint8:
            raise DataError(f"{path}: holds {sorted(content)}; allowed: X, uint8 (32, 32, 3, N), and y, (N, 1)")
        x, y = x.transpose(3, 2, 0, 1), whole_numbers(y.reshape(-1), str(path))
        check_pair(x, y, str(path), str(path))
        check_image_shape(x.transpose(0, 2, 3, 1), _COLOUR_SHAPE, str(path))
        # The digit 0 is published as the label 10.
        return x, check_labels(np.where(y == _CLASSES, 0, y), _CLASSES, str(path))


def _read_matlab(path: Path) -> dict[str, np.ndarray]:
    """Return the variables of a MATLAB file."""
    import scipy.io

    try:
        return scipy.io.loadmat(str(path), variable_names=("X", "y"))
    except Exception as error:  # a damaged file can raise nearly anything in the parser
        raise DataError(f"{path}: damaged ({one_line(error)}); allowed: a MATLAB file, v5 to v7") from error
