"""The data sets that have a name of their own (spec: experiments, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from aihwjax import arguments
from aihwjax.errors import DataError, nearest
from aihwjax.experiments.data.arrays import from_arrays
from aihwjax.experiments.data.dataset import Dataset, Normalization, Splits
from aihwjax.experiments.data.folder import FileSet, RemoteFile
from aihwjax.experiments.data.images import IdxFolder, MatlabFolder, PackagedMNIST
from aihwjax.experiments.data.tfds_source import tfds

_PAIR = 2
_TFDS_PREFIX = "tfds:"
_MNIST_NORMALIZATION = Normalization((0.1307,), (0.3081,))
_SVHN_NORMALIZATION = Normalization((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))

FashionMNIST = Dataset(
    name="fashion_mnist",
    title="FashionMNIST",
    classes=10,
    shape=(1, 28, 28),
    source=IdxFolder(
        FileSet(
            title="FashionMNIST",
            files=(
                RemoteFile("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                RemoteFile("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                RemoteFile("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                RemoteFile("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
            ),
            mirrors=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            subfolders=("FashionMNIST/raw", "FashionMNIST", "."),
        )
    ),
    normalization=Normalization((0.2860,), (0.3205,)),
    inference_normalization=None,
)
"""Zalando's articles of clothing: 60,000 and 10,000 gray images of 28 x 28, ten classes; MIT licence."""

MNIST = Dataset(
    name="mnist",
    title="MNIST",
    classes=10,
    shape=(1, 28, 28),
    source=IdxFolder(
        FileSet(
            title="MNIST",
            files=(
                RemoteFile("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                RemoteFile("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
                RemoteFile("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
                RemoteFile("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
            ),
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            subfolders=("MNIST/raw", "MNIST", "."),
        )
    ),
    normalization=_MNIST_NORMALIZATION,
    inference_normalization=_MNIST_NORMALIZATION,
)
"""Handwritten digits: 60,000 and 10,000 gray images of 28 x 28, by LeCun, Cortes and Burges; CC BY-SA 3.0."""

SVHN = Dataset(
    name="svhn",
    title="SVHN",
    classes=10,
    shape=(3, 32, 32),
    source=MatlabFolder(
        FileSet(
            title="SVHN",
            files=(
                RemoteFile("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
                RemoteFile("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
            ),
            mirrors=("http://ufldl.stanford.edu/housenumbers/",),
            subfolders=("SVHN", "."),
        )
    ),
    normalization=_SVHN_NORMALIZATION,
    inference_normalization=_SVHN_NORMALIZATION,
)
"""Street view house numbers, cropped digits: 73,257 and 26,032 colour images of 32 x 32; non-commercial use."""

MNIST10K = Dataset(
    name="mnist10k",
    title="MNIST10K",
    classes=10,
    shape=(1, 28, 28),
    source=PackagedMNIST(
        sums=(
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        train_size=8000,
    ),
    normalization=_MNIST_NORMALIZATION,
    inference_normalization=_MNIST_NORMALIZATION,
)
"""The 10,000 test images of MNIST, 8,000 to train and 2,000 to validate; part of the package, no download."""

DEFAULT = MNIST10K
"""The data set of commands and examples that name none."""

_CATALOG = {dataset.name: dataset for dataset in (FashionMNIST, MNIST, MNIST10K, SVHN)}


def names() -> tuple[str, ...]:
    """Return the names that :func:`by_name` knows."""
    return tuple(_CATALOG)


@arguments.answered
def by_name(name: str) -> Dataset:
    """Return the data set of a name, for instance from a configuration file.

    Case, dashes and underscores do not matter; ``"tfds:NAME"`` is a data set of tensorflow-datasets.

    >>> by_name("FashionMNIST").name
    'fashion_mnist'

    Args:
        name: One of :func:`names`, or ``"tfds:NAME"``.

    Raises:
        DataError: If there is no such data set; the nearest name is given.
        MissingExtraError: If tensorflow-datasets is needed and not installed.
    """
    if not isinstance(name, str):
        raise DataError(f"dataset is {name!r}; allowed: {_allowed()}")
    if name.startswith(_TFDS_PREFIX):
        return tfds(name.removeprefix(_TFDS_PREFIX))
    known = {_plain(key): dataset for key, dataset in _CATALOG.items()}
    if _plain(name) not in known:
        raise DataError(f"dataset is {name!r}{nearest(name.lower(), _CATALOG)}; allowed: {_allowed()}")
    return known[_plain(name)]


@arguments.answered
def as_dataset(value: Dataset | str | type | Sequence[ArrayLike] | Sequence[Sequence[ArrayLike]]) -> Dataset:
    """Return a data set from what a user may pass as one.

    Args:
        value: A :class:`Dataset`; a name; four arrays (train_x, train_y, valid_x, valid_y), two pairs of
            them, or the first two alone; or one of torchvision's dataset classes, which stands for the data set of
            that name.

    Raises:
        DataError: If it is none of these, or the arrays are not valid.
    """
    if isinstance(value, Dataset):
        return value
    if isinstance(value, str):
        return by_name(value)
    if isinstance(value, type) and value.__module__.startswith("torchvision."):
        return by_name(value.__name__)
    if isinstance(value, (tuple, list)):
        pairs = len(value) == _PAIR and all(_is_pair(part) for part in value)
        arrays = [part for pair in value for part in pair] if pairs else list(value)
        if len(arrays) in (_PAIR, len(Splits._fields)):
            return from_arrays(*arrays)
    kind = getattr(value, "__name__", type(value).__name__)
    raise DataError(
        f"dataset is {kind}; allowed: a Dataset, a name, arrays (train_x, train_y, valid_x, valid_y), or the first two"
    )


def _is_pair(value: object) -> bool:
    """Whether a value is inputs and labels; a list of two numbers is not."""
    return isinstance(value, (tuple, list)) and len(value) == _PAIR and np.ndim(value[1]) > 0


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _allowed() -> str:
    return ", ".join((*_CATALOG, f"{_TFDS_PREFIX}NAME"))
