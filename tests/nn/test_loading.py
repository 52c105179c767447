"""Weights of files in models that are there already."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import ConfigError, DataError, MissingExtraError, ModuleError, NonFiniteError, ShapeError
from tests.nn.models import WIDE_DEVICE, exact

CONFIG = exact(weight_scaling_omega=0.5, max_input_size=6)


class Model(nnx.Module):
    """Layers of each kind."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.conv = nn.AnalogConv(2, 3, (2, 2), config=CONFIG, rngs=rngs)
        self.mixed = nn.AnalogLinear(4, 3, config=exact(digital_bias=False), rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.stack = nnx.vmap(lambda key: nn.AnalogLinear(4, 4, config=CONFIG, rngs=nnx.Rngs(key)))(
            jax.random.split(jax.random.key(0), 2)
        )
        self.drop = nnx.Dropout(0.1, rngs=rngs)


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    """Return numbers as files have them."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


ARRAYS = {
    "conv.weight": numbers(3, 2, 2, 2),
    "conv.bias": numbers(3),
    "fc.weight": numbers(3, 4),
    "block.0.weight": numbers(3, 3),
    "block.1.weight": numbers(3, 3, seed=2),
    "block.1.bias": numbers(3, seed=3),
    "norm.running_mean": numbers(3, seed=4),
    "deep.0.w": numbers(4, 4, seed=5),
    "deep.1.w": numbers(4, 4, seed=6),
    "joined": numbers(6),
    "steps": np.array(7),
}
NAMES: dict[str, Any] = {
    "conv.weight": "conv/weights",
    "*.bias": "*/bias",
    "fc.weight": "mixed/weights",
    "block.{}.weight": ("blocks/{}/kernel", np.transpose),
    "norm.running_mean": "norm/mean",
    "deep.{}.w": "stack/weights[{}]",
    "joined": [("norm/scale", lambda a: a[:3]), ("norm/bias", lambda a: a[3:])],
    "steps": None,
}


def filled(model: Model, names: Any = None, **options: Any) -> nn.Loaded:
    """Load everything."""
    arrays = {name.replace("block.1.bias", "blocks.1.bias"): array for name, array in ARRAYS.items()}
    return aj.load_weights(model, arrays, NAMES if names is None else names, **options)


def test_every_kind_of_place_is_filled() -> None:
    model = Model()
    before = model.mixed.get_weights()[1]
    loaded = filled(model)
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(model.conv.get_weights()[0], ARRAYS["conv.weight"].reshape(3, 8), **close)
    assert jnp.abs(model.conv.get_weights(apply_weight_scaling=False)[0]).max() <= 0.5001
    np.testing.assert_allclose(model.conv.bias.get_value(), ARRAYS["conv.bias"], **close)
    np.testing.assert_allclose(model.mixed.get_weights()[0], ARRAYS["fc.weight"], **close)
    np.testing.assert_array_equal(model.mixed.get_weights()[1], before)  # an analog bias stays
    for index in range(2):
        kernel = model.blocks[index].kernel.get_value()
        np.testing.assert_array_equal(kernel, ARRAYS[f"block.{index}.weight"].T)
    np.testing.assert_array_equal(model.blocks[1].bias.get_value(), ARRAYS["block.1.bias"])
    np.testing.assert_array_equal(model.norm.mean.get_value(), ARRAYS["norm.running_mean"])
    np.testing.assert_array_equal(model.norm.bias.get_value(), ARRAYS["joined"][3:])
    stacked = nnx.vmap(lambda layer: layer.get_weights()[0])(model.stack)
    np.testing.assert_allclose(stacked, np.stack([ARRAYS["deep.0.w"], ARRAYS["deep.1.w"]]), **close)
    assert loaded.unused == ["steps"] and loaded.clipped == {}
    assert set(loaded.missing) == {"mixed/bias", "blocks/0/bias", "norm/var", "stack/bias"}
    assert loaded.read["norm/scale"] == "joined" and loaded.read["stack/weights"] == "deep.0.w, deep.1.w"
    assert "norm/var was not given\n" in str(loaded) and "steps was not used\n" in str(loaded)


def test_names_can_be_a_function_or_the_places_themselves() -> None:
    model = Model()
    function = lambda name: "mixed/weights" if name == "fc.weight" else None  # noqa: E731
    assert list(filled(model, function).read) == ["mixed/weights"]
    own = {
        "mixed.weight": numbers(3, 4, seed=8),
        "mixed/bias": numbers(3, seed=9),
        "norm.scale": np.ones(3, np.float16),
    }
    assert set(aj.load_weights(model, own).read) == {"mixed/weights", "mixed/bias", "norm/scale"}
    np.testing.assert_allclose(model.mixed.get_weights()[1], own["mixed/bias"], rtol=1e-6)
    assert model.norm.scale.get_value().dtype == jnp.float32
    layer = nn.AnalogLinear(4, 3, config=exact(), rngs=nnx.Rngs(0))
    assert aj.load_weights(layer, {"weight": numbers(3, 4)}).missing == ["bias"]


def test_what_devices_cannot_hold_is_said() -> None:
    config = aj.SingleRPUConfig(device=WIDE_DEVICE.replace({"w_max": 0.5, "w_min": -0.5}))
    layer = nn.AnalogLinear(2, 2, config=config, rngs=nnx.Rngs(0))
    with pytest.warns(UserWarning, match=r"devices do not hold all weights .*: model \(1\)"):
        loaded = aj.load_weights(layer, {"weights": np.array([[0.2, 0.3], [0.4, 3.0]])})
    assert loaded.clipped == {"model": 1}


ZERO = np.zeros((3, 4))
WRONG: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "place": ({"a": ZERO}, {"a": "mixed/wights"}, ConfigError, "no place 'mixed/wights' in the model; did you mean"),
    "own name": ({"mixd.weight": ZERO}, None, ConfigError, "no place 'mixd/weight'"),
    "idle pattern": (
        {"a": ZERO},
        {"a": "mixed/weights", "b.{}": "norm/{}"},
        ConfigError,
        "names={'b.{}': ...} fits no",
    ),
    "holes": ({"a": ZERO}, {"a": "mixed/{}"}, ConfigError, "more holes than the pattern"),
    "twice": ({"a": ZERO, "b": ZERO}, {"{}": "mixed/weights"}, ConfigError, "'a' and 'b' both go to mixed/weights"),
    "shape": (
        {"a": ZERO.T},
        {"a": "mixed/weights"},
        ShapeError,
        "'a' for mixed/weights has shape (4, 3), the model has",
    ),
    "stack": ({"a": numbers(4, 4)}, {"a": "stack/weights[1]"}, ShapeError, "has 2 stacked layers and is given [1]"),
    "no stack": ({"a": ZERO}, {"a": "mixed/weights[0]"}, ShapeError, "there are no stacked layers"),
    "nan": ({"a": ZERO + np.nan}, {"a": "mixed/weights"}, NonFiniteError, "has NaN or infinity"),
    "change": (
        {"a": ZERO},
        {"a": ("mixed/weights", lambda a: a.no)},
        DataError,
        "the change of 'a', which has shape (3, 4)",
    ),
    "complex": ({"a": ZERO * 1j}, {"a": "mixed/weights"}, DataError, "a has type complex128: give real numbers"),
    "names": ({"a": ZERO}, 3, ConfigError, "names=int is not allowed"),
    "answer": ({"a": ZERO}, {"a": 3}, ConfigError, "the place of 'a' is 3"),
    "source": (3, None, ConfigError, "source=int is not allowed"),
    "file": ("nowhere.npz", None, DataError, "'nowhere.npz' does not exist"),
    "kind": (__file__, None, DataError, "is not known: give a file .safetensors or .npz"),
}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_and_nothing_is_written(name: str, model: Model) -> None:
    source, names, kind, text = WRONG[name]
    if isinstance(source, dict):
        source = {"norm.scale": numbers(3, seed=12), **source}
        names = {"norm.scale": "norm/scale", **names} if isinstance(names, dict) else names
    before = jax.tree.leaves(nnx.state(model))
    with pytest.raises(kind) as caught:
        aj.load_weights(model, source, names)
    assert text in str(caught.value) and "\n" not in str(caught.value)
    for old, new in zip(before, jax.tree.leaves(nnx.state(model)), strict=True):
        assert old is new or bool((old == new).all() if isinstance(old, jax.Array) else old == new)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, weights = nn.AnalogLinear(4, 3, config=exact(), rngs=nnx.Rngs(0)), numbers(3, 4)
    np.savez(tmp_path / "a.npz", **{"fc.weight": weights})
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    assert aj.load_weights(layer, tmp_path / "a.npz", {"fc.*": "*"}).read == {"weights": "fc.weight"}
    np.testing.assert_allclose(layer.get_weights()[0], weights, rtol=1e-6)
    with pytest.raises(DataError, match="broken.npz' cannot be read"):
        aj.load_weights(layer, tmp_path / "broken.npz")
    with pytest.raises(ModuleError, match="give an nnx.Module"):
        aj.load_weights(jnp.sin, tmp_path / "a.npz")  # type: ignore[arg-type]
    (tmp_path / "a.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(MissingExtraError, match="aihwjax.safetensors."):
        aj.load_weights(layer, tmp_path / "a.safetensors")


def test_safetensors(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    first, second = numbers(3, 4), numbers(3, seed=2)
    library.save_file({"fc.weight": first}, tmp_path / "model-1.safetensors")
    library.save_file({"fc.bias": second}, tmp_path / "model-2.safetensors")
    layer = nn.AnalogLinear(4, 3, config=exact(), rngs=nnx.Rngs(0))
    assert aj.load_weights(layer, tmp_path, {"fc.weight": "weights", "fc.bias": "bias"}).missing == []
    np.testing.assert_allclose(layer.get_weights()[0], first, rtol=1e-6)
    np.testing.assert_array_equal(layer.bias.get_value(), second)
    half = jnp.asarray(first, jnp.bfloat16)
    library.save_file({"weights": np.asarray(half)}, tmp_path / "half.safetensors")
    aj.load_weights(layer, tmp_path / "half.safetensors")
    np.testing.assert_allclose(layer.get_weights()[0], half.astype(jnp.float32), rtol=1e-6)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing at all")
    with pytest.raises(DataError, match="bad.safetensors' cannot be read"):
        aj.load_weights(layer, tmp_path / "bad.safetensors")


def test_weights_of_the_reference_give_its_outputs() -> None:
    # written there by the lines of docs/guide/layers.md, with the inputs and outputs of the model
    path = Path(__file__).parent / "data" / "reference_weights.npz"
    config, rngs = exact(weight_scaling_omega=0.6, max_input_size=10), nnx.Rngs(0)
    model = nn.AnalogSequential(
        nn.ChannelsLast(),
        nn.AnalogConv2d(2, 3, 3, padding=1, config=config, rngs=rngs),
        nn.Tanh(),
        nn.Flatten(),
        nn.AnalogLinear(48, 5, config=config, rngs=rngs),
    )

    def channels_last(weights: np.ndarray) -> np.ndarray:
        return weights.reshape(5, 3, 4, 4).transpose(0, 2, 3, 1).reshape(5, 48)

    names = {"0.*": "layers/1/*", "3.weight": ("layers/4/weights", channels_last), "3.bias": "layers/4/bias"}
    loaded = aj.load_weights(model, path, names)
    assert loaded.missing == [] and loaded.unused == ["x", "y"]
    with np.load(path) as arrays:
        np.testing.assert_allclose(model(arrays["x"], key=0), arrays["y"], rtol=1e-5, atol=1e-6)


def test_layers_of_several_axes_and_of_low_rank() -> None:
    rngs = nnx.Rngs(0)
    einsum = nn.AnalogEinsum("...a,ahb->...hb", (4, 2, 3), (2, 3), config=exact(), rngs=rngs)
    given = {"weights": numbers(6, 4), "bias": numbers(2, 3)}
    assert aj.load_weights(einsum, given).missing == []
    np.testing.assert_allclose(einsum.get_weights()[1], given["bias"].reshape(6), rtol=1e-6)
    low = nn.AnalogLoRALinear(4, 3, lora_rank=2, config=exact(), rngs=rngs)
    places = aj.load_weights(low, {}).missing
    assert {"weights", "bias"} <= set(places) and len(places) == 4
    name = next(place for place in places if place.endswith("lora_a"))
    aj.load_weights(low, {name: numbers(4, 2)})
