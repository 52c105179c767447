"""The models that the notebooks make analog: what they read, and that perfect tiles change nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PERFECT = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True))
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def models() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The files as the notebooks import them."""
    sys.path.insert(0, str(NOTEBOOKS))
    try:
        from models import resnet, sentences

        yield resnet, sentences
    finally:
        sys.path.remove(str(NOTEBOOKS))
        for name in [name for name in sys.modules if name.partition(".")[0] == "models"]:
            del sys.modules[name]


def unlike(analog: Any, digital: Any, *arguments: Any) -> float:
    """Return the largest difference of outputs."""
    called = nnx.jit(lambda model, key: nn.call(model, *arguments, key=key))(analog, KEY)
    return float(jnp.abs(called - digital(*arguments)).max())


@pytest.mark.slow
def test_a_residual_network_does_what_it_did(models: tuple[Any, Any]) -> None:
    resnet, _ = models
    digital = resnet.ResNet18(3, channels=1, width=4, small=True, rngs=nnx.Rngs(0))
    digital.eval()
    analog = aj.convert_to_analog(digital, PERFECT)
    assert len(nn.analog_layers(analog)) == 21
    assert unlike(analog, digital, jax.random.normal(KEY, (2, 8, 8, 1))) < 1e-4


@pytest.mark.exhaustive
@pytest.mark.parametrize("config", [PERFECT, aj.InferenceRPUConfig()], ids=["perfect", "default"])
def test_the_published_network_runs_on_an_image(models: tuple[Any, Any], config: aj.TileConfig) -> None:
    resnet, _ = models
    digital = resnet.ResNet18(rngs=nnx.Rngs(0))
    digital.eval()
    analog = aj.convert_to_analog(digital, config)
    image = jax.random.normal(KEY, (1, 224, 224, 3))
    y = nnx.jit(lambda model, image, key: nn.call(model, image, key=key))(analog, image, KEY)
    assert y.shape == (1, 1000) and bool(jnp.isfinite(y).all())


def test_sentences_become_pieces(models: tuple[Any, Any]) -> None:
    _, sentences = models
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cafe", "##s", ",", "tile", "!", "中", "a"]
    tokens, there = sentences.Tokenizer(pieces, longest=6)(["Cafés, tiles!", "Xyz a中 a"])
    np.testing.assert_array_equal(tokens, [[2, 4, 5, 6, 7, 3], [2, 1, 10, 9, 10, 3]])
    assert there.all()
    tokens, there = sentences.Tokenizer(pieces)(["a", "a a"])
    np.testing.assert_array_equal(tokens, [[2, 10, 3, 0], [2, 10, 10, 3]])
    np.testing.assert_array_equal(there.sum(axis=1), [3, 4])


def test_an_encoder_reads_published_weights_and_perfect_tiles_change_nothing(
    models: tuple[Any, Any], tmp_path: Path
) -> None:
    _, sentences = models
    encoder = sentences.Encoder(11, 8, 8, 12, 2, 1, rngs=nnx.Rngs(0))
    draw, arrays = np.random.default_rng(0), {}
    for path, variable in nnx.to_flat_state(nnx.state(encoder, nnx.Param)):
        where, shape = "/".join(map(str, path)), variable.get_value().shape
        inputs = int(np.prod(shape[:-1])) if where.endswith("out/kernel") else shape[0]
        flat = (inputs, -1) if where.endswith(("kernel", "embedding")) else -1
        array = draw.normal(size=shape).astype(np.float32).reshape(flat)
        arrays[sentences.names(1)[where][0]] = array.T if where.endswith("kernel") else array
    path = tmp_path / "model.safetensors"
    write(path, arrays)
    read = sentences.read_safetensors(path)
    assert all((read[name] == array).all() for name, array in arrays.items())
    sentences.load(encoder, read)
    wide = arrays["encoder.layer.0.intermediate.dense.weight"]
    np.testing.assert_array_equal(encoder.layers[0].wide.kernel.get_value(), wide.T)
    query = arrays["encoder.layer.0.attention.self.query.weight"]
    np.testing.assert_array_equal(encoder.layers[0].attend.query.kernel.get_value().reshape(8, 8), query.T)
    tokens, there = jnp.asarray([[2, 4, 3, 0], [2, 5, 6, 3]]), jnp.asarray([[1, 1, 1, 0], [1, 1, 1, 1]], bool)
    y = encoder(tokens, there)
    np.testing.assert_allclose(jnp.linalg.norm(y, axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(y[:1], encoder(tokens[:1, :3], there[:1, :3]), atol=1e-5)  # what fills up counts nothing
    analog = aj.convert_to_analog(encoder, PERFECT)
    np.testing.assert_allclose(nn.call(analog, tokens, there, key=KEY), y, atol=1e-5)


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a file in the format safetensors."""
    entries, end = {}, 0
    for name, array in arrays.items():
        entries[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    head = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    path.write_bytes(
        len(head).to_bytes(8, "little")
        + head
        + b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    )
