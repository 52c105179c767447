"""Models as programs that run without this library."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import CheckpointError, ConfigError, MissingExtraError, ModuleError, ShapeError
from tests.nn.models import exact, inputs, noisy

needs_flatbuffers = pytest.mark.skipif("not __import__('importlib').util.find_spec('flatbuffers')")
KEY = jax.random.key(3)
CONFIG = aj.InferenceRPUConfig(
    mapping=aj.MappingParameter(max_input_size=20, weight_scaling_omega=0.6),
    forward=aj.IOParameters(
        bound_management="ITERATIVE", out_bound=0.7, w_noise=0.02, w_noise_type="ADDITIVE_CONSTANT"
    ),
)


def network() -> nn.AnalogSequential:
    """Return a network with everything that noise and converters do."""
    rngs = nnx.Rngs(0)
    return nn.AnalogSequential(
        nn.AnalogConv2d(2, 3, 3, config=CONFIG, rngs=rngs),
        nn.ReLU(),
        nn.MaxPool((2, 2)),
        nn.Flatten(),
        nn.AnalogLinear(12, 5, config=noisy(), rngs=rngs),
        nn.LogSoftmax(),
    )


class Reader(nnx.Module):
    """A model that gives its layers no keys, with several arguments and results."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(7, 4, rngs=rngs)
        self.rnn = nn.AnalogRNN("AnalogGRUCell", 4, 3, config=noisy(), rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, tokens: jax.Array, scale: jax.Array, kind: str) -> dict[str, Any]:
        assert kind == "scaled"
        y = self.drop(self.rnn(self.embed(tokens)))
        return {"y": scale * y, "last": (y[:, -1],)}


PROGRAM = """
import sys
sys.modules["aihwjax"] = sys.modules["flax"] = None
import jax, numpy as np
import jax.export
for name in sys.argv[1:]:
    arrays = dict(np.load(name + ".npz"))
    program = jax.export.deserialize(open(name + ".jaxexport", "rb").read())
    results = program.call(*[arrays[f"x{i}"] for i in range(len(arrays))], jax.random.key_data(jax.random.key(3)))
    np.savez(name + ".result.npz", *jax.tree.leaves(results))
"""


@needs_flatbuffers
@pytest.mark.slow
def test_a_program_gives_the_same_bits_without_this_library(tmp_path: Path) -> None:
    reader = Reader()
    reader.eval()
    tokens = jnp.arange(10).reshape(2, 5) % 7
    models: dict[str, tuple[nnx.Module, tuple[Any, ...], tuple[Any, ...]]] = {
        "network": (network(), (inputs(1, 4, 4, 2),), (inputs(6, 4, 4, 2),)),
        "reader": (reader, (tokens, jnp.float32(2.0), "scaled"), (jnp.tile(tokens, (2, 1)), jnp.float32(0.5))),
    }
    for name, (model, example, given) in models.items():
        content = aj.export(model, *example, path=tmp_path / f"{name}.jaxexport")
        assert (tmp_path / f"{name}.jaxexport").read_bytes() == content
        np.savez(tmp_path / f"{name}.npz", **{f"x{i}": np.asarray(x) for i, x in enumerate(given)})  # type: ignore[arg-type]
    names = [str(tmp_path / name) for name in models]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    plain: Any = models["network"][0]
    expected = {
        "network": jax.jit(lambda x, key: plain(x, key=key))(*models["network"][2], KEY),
        "reader": jax.jit(lambda *x, key: nn.call(reader, *x, "scaled", key=key))(*models["reader"][2], key=KEY),
    }
    for name, result in expected.items():
        with np.load(tmp_path / f"{name}.result.npz") as found:
            for ours, theirs in zip(jax.tree.leaves(result), found.values(), strict=True):
                np.testing.assert_array_equal(ours, theirs)


@needs_flatbuffers
def test_batches_platforms_and_symbols_of_the_users_own() -> None:
    # 4 lines are 2 and 2, 3 are 2 and 1: stacks of two sizes
    layer = nn.AnalogLinear(4, 3, config=noisy(max_input_size=3, max_output_size=2), rngs=nnx.Rngs(0))
    words = jax.random.key_data(KEY)

    def program(*example: Any, **options: Any) -> jax.export.Exported:
        return jax.export.deserialize(bytearray(aj.export(layer, *example, platforms=("cpu",), **options)))

    any_batch, fixed = program(inputs(5, 4)), program(inputs(5, 4), batch="fixed")
    assert any_batch.platforms == ("cpu",) and str(any_batch.out_avals[0]) == "float32[batch,3]"
    compiled = jax.jit(lambda x, key: layer(x, key=key))
    np.testing.assert_allclose(any_batch.call(inputs(2, 4), words), compiled(inputs(2, 4), KEY), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(fixed.call(inputs(5, 4), words), compiled(inputs(5, 4), KEY))
    with pytest.raises(ValueError, match="5"):
        fixed.call(inputs(2, 4), words)
    rows, columns = jax.export.symbolic_shape("rows, columns")
    wide = program(jax.ShapeDtypeStruct((rows, columns, 4), jnp.float32))
    assert wide.call(inputs(2, 6, 4), words).shape == (2, 6, 3)
    single = program(inputs(4), batch="fixed")
    np.testing.assert_array_equal(single.call(inputs(4), words), compiled(inputs(4), KEY))


class Odd(nnx.Module):
    """A model that is not made for every batch."""

    def __init__(self) -> None:
        self.layer = nn.AnalogLinear(4, 3, config=exact(), rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))

    def paired(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Call a layer with pairs of vectors."""
        return self.layer(x.reshape(len(x) // 2, 2, 4), key=key)

    def normed(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Change statistics."""
        return self.layer(self.norm(x), key=key)

    def named(self, x: jax.Array, key: jax.Array) -> Any:
        """Return what cannot be stored."""
        return jax.tree_util.Partial(jnp.sin, self.layer(x, key=key))


@pytest.fixture(scope="module")
def odd() -> Odd:
    return Odd()


@needs_flatbuffers
def test_a_batch_that_cannot_be_any_is_fixed_with_a_line(odd: Odd) -> None:
    with pytest.warns(UserWarning, match="the batch is fixed to 6: ") as caught:
        content = aj.export(odd.paired, inputs(6, 4), platforms=["cpu"])
    assert "\n" not in str(caught[0].message)
    program = jax.export.deserialize(bytearray(content))
    assert program.call(inputs(6, 4), jax.random.key_data(KEY)).shape == (3, 2, 3)


X = jax.ShapeDtypeStruct((6, 4), jnp.float32)
WRONG: dict[str, tuple[Callable[[Odd, Path], Any], type[Exception], str]] = {
    "state": (lambda m, _: aj.export(m.normed, X), ModuleError, "the call changes norm/mean and 1 more"),
    "shape": (lambda m, _: aj.export(m.layer, inputs(6, 5)), ShapeError, "x has shape (6, 5), give (..., 4)"),
    "nothing": (lambda m, _: aj.export(m.layer), ConfigError, "example has no arrays"),
    "keyword": (lambda m, _: aj.export(m.layer, x=X), ConfigError, "give them by position"),
    "platform": (lambda m, _: aj.export(m.layer, X, platforms="gpu"), ConfigError, "a GPU is cuda or rocm"),
    "platforms": (lambda m, _: aj.export(m.layer, X, platforms=["cp"]), ConfigError, "did you mean 'cpu'?"),
    "batch": (lambda m, _: aj.export(m.layer, X, batch=3), ConfigError, "batch=3 is not allowed"),  # type: ignore[arg-type]
    "result": (lambda m, _: aj.export(m.named, X), ModuleError, "give arrays in tuples, lists or dicts"),
    "folder": (lambda m, path: aj.export(m.layer, X, path=path / "no" / "file"), CheckpointError, "cannot write"),
}


@needs_flatbuffers
@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line(name: str, odd: Odd, tmp_path: Path) -> None:
    call, kind, text = WRONG[name]
    with pytest.raises(kind) as caught:
        call(odd, tmp_path)
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_has_to_be_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(MissingExtraError, match="aihwjax.export."):
        aj.export(nnx.Module(), X)
