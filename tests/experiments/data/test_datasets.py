"""The descriptions, the embedded set, arrays, lookups and tensorflow-datasets."""

import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from aihwjax.errors import DataError, MissingExtraError
from aihwjax.experiments import data
from aihwjax.experiments.data import images

X = np.random.default_rng(0).normal(size=(6, 1, 4, 4))
Y = np.array([0, 1, 2, 0, 1, 2])


def test_mnist10k_is_embedded_and_split() -> None:
    splits = data.MNIST10K.load()
    assert [array.shape for array in splits] == [(8000, 1, 28, 28), (8000,), (2000, 1, 28, 28), (2000,)]
    assert [array.dtype.name for array in splits] == ["float32", "int32", "float32", "int32"]
    assert splits.train_y[:5].tolist() == [7, 2, 1, 0, 4]
    assert set(splits.valid_y.tolist()) == set(range(10))
    darkest, brightest = (0 - 0.1307) / 0.3081, (1 - 0.1307) / 0.3081
    assert splits.train_x.min() == pytest.approx(darkest)
    assert splits.train_x.max() == pytest.approx(brightest)
    # The constants are mean and standard deviation of the 60,000 training images.
    assert abs(splits.train_x.mean()) < 0.05
    assert abs(splits.train_x.std() - 1) < 0.05


def test_a_damaged_package_is_reported() -> None:
    source = images.PackagedMNIST(sums=("0" * 64, "0" * 64), train_size=8000)
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: damaged, its SHA-256 sum is 8d422c7b"):
        source.read(None, download=False)


@pytest.mark.parametrize(("limit", "sizes"), [(0, (8000, 2000)), (1, (1, 1)), (3000, (3000, 2000))])
def test_max_elements_takes_the_first_and_clamps(limit: int, sizes: tuple[int, int]) -> None:
    whole, some = data.MNIST10K.load(), data.MNIST10K.load(max_elements=limit)
    assert (len(some.train_x), len(some.valid_x)) == sizes
    assert (len(some.train_y), len(some.valid_y)) == sizes
    np.testing.assert_array_equal(some.train_x, whole.train_x[: sizes[0]])
    np.testing.assert_array_equal(some.valid_y, whole.valid_y[: sizes[1]])
    for one, other in zip(some, data.truncate(whole, limit), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("limit", [-1, 1.5, "3", None, True])
def test_other_max_elements_are_refused_before_anything_is_read(limit: object) -> None:
    with pytest.raises(DataError, match=r"max_elements is .*; allowed: whole numbers from 0"):
        data.FashionMNIST.load("/does/not/exist", max_elements=limit)


def test_inference_scaling_follows_the_reference() -> None:
    assert data.FashionMNIST.normalization is not None
    assert data.FashionMNIST.for_inference().normalization is None
    for dataset in (data.SVHN, data.MNIST, data.MNIST10K):
        assert dataset.for_inference().normalization == dataset.normalization


def test_another_normalization() -> None:
    plain = data.MNIST10K.with_normalization((0.0,), (1.0,)).load(max_elements=4)
    assert plain.train_x.min() == 0
    assert plain.train_x.max() == 1


@pytest.mark.parametrize(("mean", "std"), [((), ()), ((0.0,), (0.0,)), ((0.0,), (1.0, 1.0)), ((np.nan,), (1.0,))])
def test_bad_normalizations_are_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="normalization has"):
        data.Normalization(mean, std)


def test_normalization_of_another_number_of_channels_is_refused() -> None:
    dataset = data.MNIST10K.with_normalization((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    with pytest.raises(DataError, match="allowed for 3 means"):
        dataset.load(max_elements=2)


@pytest.mark.parametrize("name", ["mnist10k", "MNIST10K", "fashion_mnist", "FashionMNIST", "fashion-mnist", "SVHN"])
def test_by_name(name: str) -> None:
    assert data.by_name(name).name.replace("_", "") == name.lower().replace("_", "").replace("-", "")


def test_every_name_is_known() -> None:
    assert data.names() == ("fashion_mnist", "mnist", "mnist10k", "svhn")
    for name in data.names():
        dataset = data.by_name(name)
        assert dataset.name == name
        assert pickle.loads(pickle.dumps(dataset)) == dataset


@pytest.mark.parametrize(
    ("name", "hint"), [("mnist1k", "did you mean 'mnist10k'"), ("fashon_mnist", "'fashion_mnist'"), (7, "dataset is 7")]
)
def test_unknown_names_get_a_hint(name: object, hint: str) -> None:
    with pytest.raises(DataError, match=hint) as error:
        data.by_name(name)
    assert "allowed: fashion_mnist, mnist, mnist10k, svhn, tfds:NAME" in str(error.value)


def test_as_dataset() -> None:
    torchvision_class = type("FashionMNIST", (), {"__module__": "torchvision.datasets.mnist"})
    assert data.as_dataset(data.SVHN) is data.SVHN
    assert data.as_dataset("svhn") is data.SVHN
    assert data.as_dataset(torchvision_class) is data.FashionMNIST
    assert data.as_dataset((X, Y, X, Y)).classes == 3
    assert data.as_dataset(((X, Y), (X, Y))).classes == 3
    for wrong in (3, None, int, (X, Y, X), object()):
        with pytest.raises(DataError, match=r"dataset is .*; allowed: a Dataset"):
            data.as_dataset(wrong)


def test_arrays_are_taken_as_they_are() -> None:
    dataset = data.from_arrays(X, Y, X[:4], Y[:4], name="mine")
    assert (dataset.name, str(dataset), dataset.classes, dataset.shape) == ("mine", "mine", 3, (1, 4, 4))
    splits = dataset.load()
    np.testing.assert_array_equal(splits.train_x, X.astype(np.float32))
    assert splits.valid_y.dtype == np.int32
    assert len(dataset.load(max_elements=5).valid_x) == 4


def test_arrays_are_copied() -> None:
    x = np.full((3, 2, 2), 255, np.uint8)
    dataset = data.from_arrays(x, Y[:3], x, Y[:3])
    x[:] = 0
    loaded = dataset.load().train_x
    assert (loaded == 1).all()  # 8-bit images are scaled
    loaded[:] = 0
    assert (dataset.load().train_x == 1).all()


def test_other_kinds_of_arrays() -> None:
    targets = X.reshape(6, -1)[:, :2]
    regression = data.from_arrays(X, targets, X, targets)
    assert regression.classes is None
    assert regression.load().train_y.dtype == np.float32
    whole = data.from_arrays(X.tolist(), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0], X, Y)
    assert whole.load().train_y.tolist() == Y.tolist()
    assert data.from_arrays(X, Y, X, Y, classes=10).classes == 10
    normalized = data.from_arrays(X, Y, X, Y, normalization=data.Normalization((1.0,), (2.0,)))
    np.testing.assert_allclose(normalized.load().train_x, (X - 1) / 2, rtol=1e-5, atol=1e-6)


def _with(value: float, index: int = 3) -> np.ndarray:
    changed = X.copy()
    changed.flat[index] = value
    return changed


BAD_ARRAYS = {
    "empty": ({"train_x": [], "train_y": []}, "train_x is empty, shape (0,)"),
    "empty validation": ({"valid_x": X[:0], "valid_y": Y[:0]}, "valid_x is empty"),
    "nan": ({"train_x": _with(np.nan)}, "train_x has nan at index (0, 0, 0, 3)"),
    "infinity": ({"valid_x": _with(-np.inf)}, "valid_x has -inf at index"),
    "beyond float32": ({"train_x": _with(1e300)}, "range of float32"),
    "text": ({"train_x": np.full((6, 2), "a")}, "train_x has type <U1"),
    "complex": ({"train_x": X + 1j}, "train_x has type complex128"),
    "ragged": ({"train_x": [[1.0], [2.0, 3.0]]}, "train_x is not a rectangular array"),
    "no examples axis": ({"train_x": np.zeros(6)}, "train_x has shape (6,)"),
    "other shape": ({"valid_x": X[:, :, :3]}, "valid_x has examples of shape (1, 3, 4); allowed: (1, 4, 4)"),
    "too few labels": ({"train_y": Y[:5]}, "train_y: 5 labels for the 6 examples of train_x"),
    "negative label": ({"train_y": Y - 1}, "train_y: label -1 at index 0; allowed: 0 to"),
    "label out of range": ({"valid_y": Y + 1, "classes": 3}, "valid_y: label 3 at index 2; allowed: 0 to 2"),
    "broken label": ({"train_y": Y + 0.5}, "train_y: label 0.5 at index 0"),
    "giant label": ({"train_y": Y + 2**40}, "classes is 1099511627779"),
    "labels in a column": ({"train_y": Y[:, None]}, "train_y has shape (6, 1) and type int64"),
    "labels and targets": ({"train_y": X.reshape(6, -1)}, "valid_y has shape (6,)"),
    "classes with targets": ({"train_y": X, "valid_y": X, "classes": 3}, "classes is 3 with targets"),
    "no classes": ({"classes": 0}, "classes is 0"),
    "classes not whole": ({"classes": 2.5}, "classes is 2.5"),
}


@pytest.mark.parametrize(("changes", "reason"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays_are_refused(changes: dict[str, object], reason: str) -> None:
    arguments = {"train_x": X, "train_y": Y, "valid_x": X, "valid_y": Y} | changes
    with pytest.raises(DataError) as error:
        data.from_arrays(**arguments)
    text = str(error.value)
    assert reason in text
    assert "allowed" in text
    assert "\n" not in text


def test_the_fingerprint_tells_data_apart() -> None:
    splits = data.from_arrays(X, Y, X, Y).load()
    same = data.from_arrays(X.copy(), Y.copy(), X, Y).load()
    assert data.fingerprint("a", splits) == data.fingerprint("a", same)
    others = [
        data.fingerprint("b", splits),
        data.fingerprint("a", data.truncate(splits, 5)),
        data.fingerprint("a", data.from_arrays(X, (Y + 1) % 3, X, Y).load()),
        data.fingerprint("a", data.from_arrays(X, Y, 2 * X, Y).load()),
        data.fingerprint("a", data.from_arrays(X.reshape(6, 16), Y, X.reshape(6, 16), Y).load()),
    ]
    assert len({data.fingerprint("a", splits), *others}) == 6


class FakeLibrary(SimpleNamespace):
    """Stands for tensorflow-datasets: one set, ``tiny``, of colour images with three classes."""

    def __init__(self, features: dict[str, object] | None = None, labels: tuple[int, ...] = (0, 1, 2, 0, 1, 2)) -> None:
        image, label = SimpleNamespace(shape=(5, 4, 3)), SimpleNamespace(num_classes=3)
        self.features = features or {"id": None, "image": image, "label": label}
        self.pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
        self.labels = np.array(labels)
        self.calls: list[dict[str, object]] = []

    def builder(self, name: str) -> SimpleNamespace:
        if name != "tiny":
            raise KeyError(f"no such set\n{name}")
        return SimpleNamespace(info=SimpleNamespace(features=self.features))

    def list_builders(self, with_community_datasets: bool = True) -> list[str]:
        assert not with_community_datasets  # asks the network
        return ["tiny", "large"]

    def load(self, name: str, **options: object) -> list[str]:
        self.calls.append({"name": name, **options})
        return options["split"]

    def as_numpy(self, splits: list[str]) -> list[dict[str, np.ndarray]]:
        sizes = {"train": 6, "test": 4, "none": 0}
        return [{"image": self.pixels[: sizes[s]], "label": self.labels[: sizes[s]]} for s in splits]


def install(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", library)


def test_tfds_is_converted_to_the_same_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    install(monkeypatch, library)
    dataset = data.by_name("tfds:tiny")
    assert (dataset.name, dataset.classes, dataset.shape) == ("tfds:tiny", 3, (3, 5, 4))
    assert library.calls == []  # nothing is read by a description
    splits = dataset.load("/some/folder", max_elements=5)
    (call,) = library.calls
    assert (call["name"], call["split"], call["data_dir"]) == ("tiny", ["train", "test"], "/some/folder")
    assert (splits.train_x.shape, splits.valid_x.shape) == ((5, 3, 5, 4), (4, 3, 5, 4))
    np.testing.assert_array_equal(splits.train_x[2, 1], library.pixels[2, :, :, 1].astype(np.float32) / np.float32(255))
    assert splits.train_y.dtype == np.int32


@pytest.mark.parametrize(
    ("library", "name", "splits", "reason"),
    [
        (FakeLibrary(), "other", {}, "tfds:other: tensorflow-datasets failed (KeyError"),
        (FakeLibrary(), "tinny", {}, "did you mean 'tiny'?"),
        (FakeLibrary({"text": None}), "tiny", {}, "has the features ['text']"),
        (
            FakeLibrary({"image": SimpleNamespace(shape=(None, None, 3)), "label": SimpleNamespace(num_classes=3)}),
            "tiny",
            {},
            "has images of (None, None, 3)",
        ),
        (FakeLibrary(labels=(0, 1, -1, 0, 0, 0)), "tiny", {}, "label -1 at index 2; allowed: 0 to 2"),
        (FakeLibrary(), "tiny", {"valid": "missing"}, "tensorflow-datasets failed (KeyError"),
        (FakeLibrary(), "tiny", {"valid": "none"}, "split 'none': empty"),
    ],
)
def test_bad_tfds_sets_are_refused(
    monkeypatch: pytest.MonkeyPatch, library: FakeLibrary, name: str, splits: dict[str, str], reason: str
) -> None:
    install(monkeypatch, library)
    with pytest.raises(DataError) as error:
        data.tfds(name, **splits).load()
    text = str(error.value)
    assert reason in text
    assert "allowed" in text
    assert "\n" not in text


def test_tfds_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    with pytest.raises(MissingExtraError, match=r"tensorflow_datasets; allowed: .*aihwjax\[tfds\]"):
        data.tfds("mnist")


def test_tfds_without_tensorflow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutTensorFlow(FakeLibrary):
        def load(self, name: str, **options: object) -> list[str]:
            raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    install(monkeypatch, WithoutTensorFlow())
    with pytest.raises(MissingExtraError, match=r"needs tensorflow; allowed: .*aihwjax\[tfds\]"):
        data.tfds("tiny").load()
