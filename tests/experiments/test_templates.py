"""Weight templates: what comes from a file, a saved model or an address, and what is refused."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.experiments import BasicInferencing, save
from aihwjax.experiments.data import single_file
from aihwjax.experiments.inferring import with_template
from aihwjax.experiments.templates import prepared
from tests.experiments import small
from tests.experiments.data.server import serving

CONFIG = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True))
X = np.asarray(jax.random.normal(jax.random.key(4), (5, small.FEATURES)))


def trained(config: aj.TileConfig = CONFIG) -> nnx.Module:
    """Return the network whose weights are wanted."""
    return small.model(config, seed=7)


def arrays(name: Callable[[str], str] = lambda name: name) -> dict[str, np.ndarray]:
    """Return its weights as a file has them."""
    found = {}
    for path, layer in nn.analog_layers(trained()).items():
        weights, bias = layer.get_weights()
        found |= {name(f"{path}/weights"): np.asarray(weights), name(f"{path}/bias"): np.asarray(bias)}
    return found


def largest(model: nnx.Module) -> list[float]:
    """Return the largest magnitude on each tile."""
    tiles = nn.analog_tiles(model).values()
    return [float(abs(tile.get_weights(apply_weight_scaling=False)).max()) for tile in tiles]


def experiment(template: Any, **fields: Any) -> BasicInferencing:
    """Return an experiment with a template, whose own weights are others."""
    own = {"dataset": small.data(), "model": small.model(CONFIG, seed=1), "weight_template_id": template}
    return BasicInferencing(**{**own, **fields})


def is_trained(model: nnx.Module) -> bool:
    """Whether a model computes what the trained one does."""
    return np.allclose(model(X, key=0), trained()(X, key=0), atol=1e-4)


def as_torch(path: str) -> str:
    """Return the name that an array has in a sequence of torch."""
    return path.replace("layers/", "").replace("/weights", ".weight").replace("/", ".")


@pytest.mark.parametrize("name", [str, lambda path: path.replace("/", "."), as_torch], ids=["paths", "dots", "torch"])
def test_a_file_of_numbers(tmp_path: Path, name: Callable[[str], str]) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **arrays(name))
    made = experiment(path)
    assert not is_trained(made.model)
    model = prepared(made, 0)
    assert is_trained(model)
    assert not is_trained(made.model), "the model of an experiment stays as it is"
    largest = [
        float(abs(tile.get_weights(apply_weight_scaling=False)).max()) for tile in nn.analog_tiles(model).values()
    ]
    np.testing.assert_allclose(largest, 1, rtol=1e-6)


def test_without_remapping_weights_stay_as_they_are_given(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **{name: value / 4 for name, value in arrays().items()})
    assert max(largest(prepared(experiment(path, remap_weights=False), 0))) < 0.5


def test_a_model_that_was_saved_with_another_configuration(tmp_path: Path) -> None:
    save(tmp_path / "model", trained(small.EXACT))
    model = prepared(experiment(tmp_path / "model"), 0)
    assert is_trained(model)
    assert next(iter(nn.analog_tiles(model).values())).config.get_value().noise_model is not None


def test_an_address_with_a_sum_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIHWJAX_DATA_DIR", str(tmp_path))
    content = io.BytesIO()
    np.savez(content, **arrays())
    body = content.getvalue()
    with serving({"w.npz": body, "page.npz": b"<html>not found</html>"}) as server:
        address = f"{server.url}a/w.npz#sha256={hashlib.sha256(body).hexdigest()}"
        for _ in range(2):
            assert is_trained(prepared(experiment(address), 0))
        assert len(server.requests) == 1
        prepared(experiment(f"{server.url}w.npz"), 0)
        prepared(experiment(f"{server.url}w.npz"), 0)
        assert len(server.requests) == 3, "what has no sum may have changed"
        for wrong, message in (
            (f"{server.url}w.npz#sha256={'0' * 64}", "its SHA-256 sum is [0-9a-f]{64}, and not 0{64}"),
            (f"{server.url}missing.npz", "127.0.0.1 answers with the HTTP status 404"),
            (f"{server.url}page.npz", "cannot be read"),
        ):
            with pytest.raises(aj.DataError, match=message):
                prepared(experiment(wrong), 0)
        monkeypatch.setattr(single_file, "LARGEST", 100)
        with pytest.raises(aj.DataError, match="the file has more than 100 bytes, which is not allowed"):
            prepared(experiment(f"{server.url}w.npz"), 0)
        server.cut_after.append(50)
        with pytest.raises(aj.DataError, match="127.0.0.1 cannot be reached"):
            prepared(experiment(f"{server.url}w.npz"), 0)
    assert not list(tmp_path.rglob("*.part"))


def test_an_experiment_with_the_weights_gives_what_its_template_does(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **arrays())
    made = with_template(experiment(tmp_path / "w.npz"), 3)
    assert made.weight_template_id == ""
    assert is_trained(made.model)
    assert is_trained(prepared(made, 8))


def other(**changes: Any) -> dict[str, np.ndarray]:
    """Return arrays of which some are other ones, or none."""
    found = {**arrays(), **{name.replace("_", "/"): value for name, value in changes.items()}}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            other(layers_2_weights=np.ones((4, 5))),
            r"'layers/2/weights' for layers/2/weights has shape \(4, 5\)",
        ),
        (other(layers_2_bias=None), "it has nothing for layers/2/bias of the model"),
        (other(layers_9_weights=np.ones(3)), "the array 'layers/9/weights' has no place"),
        (other(layers_0_bias=np.full(5, np.nan)), "'layers/0/bias' for layers/0/bias has NaN or infinity"),
    ],
)
def test_another_network_is_refused_in_one_line(tmp_path: Path, given: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "w.npz", **given)
    with pytest.raises(aj.AihwjaxError, match=f"^weight_template_id='.*w.npz': {message}") as caught:
        prepared(experiment(tmp_path / "w.npz"), 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("lenet5", "there is no such file"),
        ("weights.pth", "a file .pth is not allowed: give one of .safetensors or .npz, which hold numbers and no code"),
        ("empty", "the folder has no weights"),
        ("ftp://host/w.npz", "an address ftp:// is not allowed: give http:// or https:// and a host"),
        ("https://host/w.pth", "the address of 'w.pth' is not allowed"),
        ("https://host/w.npz#md5=1", "#md5=1 is not allowed: give #sha256= and 64 hexadecimal digits"),
    ],
)
def test_what_is_no_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.pth").write_bytes(b"pickle")
    Path("empty").mkdir()
    with pytest.raises(aj.AihwjaxError, match=message) as caught:
        prepared(experiment(template), 0)
    assert "\n" not in str(caught.value)
    assert "weight_template_id" in str(caught.value)
