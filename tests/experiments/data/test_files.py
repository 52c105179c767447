"""Data sets from files on disk: what is read, and what is refused."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from aihwjax.errors import DataError
from aihwjax.experiments import data
from aihwjax.experiments.data import download, folder
from tests.experiments.data import files

TRAIN_IMAGES, TRAIN_LABELS, VALID_IMAGES, VALID_LABELS = files.MNIST_NAMES


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a test of local files asked the network")

    monkeypatch.setattr(folder, "download_file", refuse)


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "unpacked"])
@pytest.mark.parametrize("place", ["{}", "{}/raw", ""])
@pytest.mark.parametrize("dataset", [data.FashionMNIST, data.MNIST], ids=str)
def test_mnist_layouts(tmp_path: Path, dataset: data.Dataset, place: str, packed: bool) -> None:
    files.write_mnist(tmp_path / place.format(dataset.title), packed, train=12, valid=7)
    splits = dataset.load(tmp_path)
    mean, std = (dataset.normalization.mean[0], dataset.normalization.std[0])
    expected = (files.images(12, 1).astype(np.float32) / np.float32(255) - np.float32(mean)) / np.float32(std)
    np.testing.assert_array_equal(splits.train_x, expected[:, None])
    np.testing.assert_array_equal(splits.train_y, files.labels(12))
    assert splits.valid_x.shape == (7, 1, 28, 28)
    assert [array.dtype.name for array in splits] == ["float32", "int32", "float32", "int32"]


@pytest.mark.parametrize("place", ["SVHN", ""])
def test_svhn_layouts(tmp_path: Path, place: str) -> None:
    paths = files.write_svhn(tmp_path / place, train=11, valid=5)
    splits = data.SVHN.load(tmp_path)
    stored = scipy.io.loadmat(paths["train_32x32.mat"])["X"]
    mean, std = np.array([0.4377, 0.4438, 0.4728]), np.array([0.1980, 0.2010, 0.1970])
    expected = ((stored.transpose(3, 0, 1, 2) / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(splits.train_x, expected, atol=1e-6)
    assert splits.train_x.flags.c_contiguous
    assert splits.train_y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert splits.valid_x.shape == (5, 3, 32, 32)


def test_the_environment_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_mnist(tmp_path)
    monkeypatch.setenv("AIHWJAX_DATA_DIR", str(tmp_path))
    assert len(data.FashionMNIST.load().train_x) == 12
    assert folder.data_root(tmp_path / "other") == tmp_path / "other"
    monkeypatch.setenv("AIHWJAX_DATA_DIR", "")
    assert folder.data_root(None) == tmp_path / "cache" / "aihwjax" / "datasets"


def test_a_folder_of_the_set_goes_before_the_root(tmp_path: Path) -> None:
    files.write_mnist(tmp_path, train=3)
    files.write_mnist(tmp_path / "FashionMNIST", train=5)
    assert len(data.FashionMNIST.load(tmp_path).train_x) == 5
    assert len(data.MNIST.load(tmp_path).train_x) == 3


@pytest.mark.parametrize("root", [3, "", b"folder", ["a"], "a\0b"])
def test_a_root_that_is_no_path_is_refused(root: object) -> None:
    with pytest.raises(DataError, match="dataset_root is"):
        data.MNIST.load(root)


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="a file; allowed: the path of a folder"):
        data.MNIST.load(tmp_path / "file")


def _gz(array: np.ndarray) -> bytes:
    return gzip.compress(files.idx(array))


GOOD = _gz(files.images(12))
PLAIN = files.idx(files.images(12))
BAD_MNIST = {
    "empty file": (TRAIN_IMAGES, b"", "truncated at 0 bytes"),
    "header only": (TRAIN_IMAGES, gzip.compress(PLAIN[:9]), "truncated at 9 bytes"),
    "no images": (TRAIN_IMAGES, _gz(files.images(0)), "empty"),
    "gzip cut": (TRAIN_IMAGES, GOOD[: len(GOOD) // 2], "damaged gzip"),
    "gzip damaged": (TRAIN_IMAGES, GOOD[:2000] + bytes(20) + GOOD[2020:], "damaged gzip"),
    "gzip checksum": (TRAIN_IMAGES, GOOD[:-8] + bytes(4) + GOOD[-4:], "damaged gzip"),
    "data cut": (VALID_IMAGES, gzip.compress(PLAIN[:-1]), "truncated, 9407 bytes of data; allowed: 9408"),
    "data added": (VALID_IMAGES, gzip.compress(PLAIN + b"x"), "too long, 9409 bytes"),
    "header of a giant": (TRAIN_IMAGES, bytes((0, 0, 8, 3)) + b"\xff" * 12 + bytes(50), "truncated, 50 bytes"),
    "web page": (TRAIN_IMAGES, b"<html><body>sign in</body></html>", "starts with bytes"),
    "labels for images": (TRAIN_IMAGES, _gz(files.labels(12)), "starts with bytes"),
    "other type code": (TRAIN_IMAGES, b"\0\0\x0d\x03" + PLAIN[4:], "starts with bytes (0, 0, 13, 3)"),
    "other image size": (TRAIN_IMAGES, _gz(np.zeros((12, 27, 28))), "images of shape (27, 28)"),
    "too few labels": (TRAIN_LABELS, _gz(files.labels(11)), "11 labels for the 12 examples"),
    "label out of range": (VALID_LABELS, _gz(np.array([1, 2, 10, 3, 4, 5, 6])), "label 10 at index 2; allowed: 0 to 9"),
}


@pytest.mark.parametrize(("name", "content", "reason"), BAD_MNIST.values(), ids=BAD_MNIST)
def test_bad_mnist_files_are_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = files.write_mnist(tmp_path, train=12, valid=7)[name]
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        data.FashionMNIST.load(tmp_path)
    text = str(error.value)
    assert str(path) in text
    assert reason in text
    assert "allowed" in text
    assert "\n" not in text


@pytest.mark.parametrize("name", files.MNIST_NAMES)
def test_a_missing_file_of_the_users_is_named(tmp_path: Path, name: str) -> None:
    files.write_mnist(tmp_path)[name].unlink()
    with pytest.raises(DataError) as error:
        data.FashionMNIST.load(tmp_path)
    assert str(tmp_path / name) in str(error.value)
    assert "missing; allowed" in str(error.value)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_mnist(tmp_path)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match="cannot be read \\(Permission denied\\)"):
        data.FashionMNIST.load(tmp_path)


def _save(path: Path, **variables: np.ndarray) -> None:
    scipy.io.savemat(path, variables)


X = np.zeros((32, 32, 3, 4), np.uint8)
Y = np.array([[1], [2], [3], [10]], np.uint8)
BAD_SVHN = {
    "no images": ({"y": Y}, "allowed: X, uint8 (32, 32, 3, N)"),
    "float images": ({"X": X.astype(float), "y": Y}, "allowed: X, uint8 (32, 32, 3, N)"),
    "other size": ({"X": np.zeros((31, 32, 3, 4), np.uint8), "y": Y}, "images of shape (31, 32, 3)"),
    "label out of range": ({"X": X, "y": Y + 1}, "label 11 at index 3"),
    "too many labels": ({"X": X, "y": np.ones((5, 1))}, "5 labels for the 4 examples"),
    "broken label": ({"X": X, "y": np.array([[1.0], [2.5], [3.0], [4.0]])}, "whole numbers"),
    "text": ({"X": X, "y": np.array(["a", "b", "c", "d"])}, "whole numbers"),
}


@pytest.mark.parametrize(("variables", "reason"), BAD_SVHN.values(), ids=BAD_SVHN)
def test_bad_svhn_content_is_named(tmp_path: Path, variables: dict[str, np.ndarray], reason: str) -> None:
    path = files.write_svhn(tmp_path)["train_32x32.mat"]
    _save(path, **variables)
    with pytest.raises(DataError) as error:
        data.SVHN.load(tmp_path)
    assert str(path) in str(error.value)
    assert reason in str(error.value)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_svhn_files_are_named(tmp_path: Path, seed: int) -> None:
    path = files.write_svhn(tmp_path, train=3, valid=3)["train_32x32.mat"]
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    if seed % 2:
        content = content[: random.integers(0, len(content) - 1)]
    else:  # the text of the first 116 bytes means nothing
        for position in random.integers(116, 400, 8):
            content[position] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataError) as error:
        data.SVHN.load(tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_without_files_the_download_folder_is_inside_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def record(urls: list[str], md5: str, target: Path, title: str) -> Path:
        asked.append((urls[0].rsplit("/", 1)[-1], target, title))
        raise DataError("stop here")

    monkeypatch.setattr(folder, "download_file", record)
    for dataset, expected in ((data.FashionMNIST, "FashionMNIST/raw"), (data.MNIST, "MNIST/raw"), (data.SVHN, "SVHN")):
        with pytest.raises(DataError, match="stop here"):
            dataset.load(tmp_path)
        name, target, title = asked.pop()
        assert target == tmp_path / expected / name
        assert title == dataset.title


def test_the_published_sums_are_of_the_embedded_files() -> None:
    """The embedded files are the published test set, so their MD5 sums are among those that downloads are held to."""
    import hashlib
    from importlib import resources

    sums = {file.name: file.md5 for file in data.MNIST.source.files.files}
    for name in (VALID_IMAGES, VALID_LABELS):
        content = (resources.files("aihwjax.experiments.data") / "resources" / name).read_bytes()
        assert hashlib.md5(content).hexdigest() == sums[name]


def test_a_folder_that_may_not_be_looked_into_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = str(tmp_path / "locked")

    def guarded(function):
        def call(path: str | Path, *arguments: object, **options: object):
            if str(path).startswith(locked):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *arguments, **options)

        return call

    monkeypatch.setattr(folder, "download_file", download.download_file)
    monkeypatch.setattr(os, "stat", guarded(os.stat))
    monkeypatch.setattr(os, "mkdir", guarded(os.mkdir))
    with pytest.raises(
        DataError, match=r"cannot write train-images.*\(Permission denied\); allowed: a writable folder"
    ):
        data.FashionMNIST.load(locked)


def test_timeouts_are_short() -> None:
    assert download.CONNECT_TIMEOUT <= 10
    assert download.READ_TIMEOUT <= 60
