"""Small files in the published formats."""

import gzip
import struct
from pathlib import Path

import numpy as np
import scipy.io

MNIST_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def labels(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8) % 10


def mnist_files(train: int = 12, valid: int = 7) -> dict[str, bytes]:
    """The four files of the MNIST family, unpacked content by packed name."""
    arrays = (images(train, 1), labels(train), images(valid, 2), labels(valid))
    return {name: idx(array) for name, array in zip(MNIST_NAMES, arrays, strict=True)}


def write_mnist(folder: Path, packed: bool = True, **sizes: int) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, content in mnist_files(**sizes).items():
        paths[name] = folder / (name if packed else name.removesuffix(".gz"))
        paths[name].write_bytes(gzip.compress(content) if packed else content)
    return paths


def write_svhn(folder: Path, train: int = 11, valid: int = 5) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, count in (("train_32x32.mat", train), ("test_32x32.mat", valid)):
        x = np.random.default_rng(count).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        y = (np.arange(count, dtype=np.uint8) % 10 + 1).reshape(-1, 1)
        paths[name] = folder / name
        scipy.io.savemat(paths[name], {"X": x, "y": y}, do_compression=True)
    return paths
