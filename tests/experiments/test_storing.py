"""Models on disk: what comes back computes the same, and nothing unknown is built."""

from __future__ import annotations

import json
import pickle

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.devices.soft_bounds import SoftBoundsDevice
from aihwjax.errors import CheckpointError, ConfigError
from aihwjax.experiments import fit, load, load_all, save
from aihwjax.experiments.architecture import from_document, registry, to_document
from aihwjax.experiments.arrays import digest, to_arrays
from aihwjax.tile.config import SingleRPUConfig
from aihwjax.tile.product.periphery import MappingParameter
from tests.experiments import small

ANALOG_BIAS = SingleRPUConfig(mapping=MappingParameter(digital_bias=False, weight_scaling_omega=0.6))
SOFT = SingleRPUConfig(device=SoftBoundsDevice(dw_min=0.003))


def rngs():
    return nnx.Rngs(0)


MODELS = [
    ("three layers", lambda: small.model(small.ANALOG)),
    ("no bias", lambda: small.model(SOFT, bias=False)),
    ("analog bias, scaled", lambda: small.model(ANALOG_BIAS)),
    (
        "nested, digital and functions",
        lambda: nn.AnalogSequential(
            nn.Flatten(),
            nn.AnalogSequential(nn.AnalogLinear(6, 4, config=small.EXACT, rngs=rngs()), nn.LeakyReLU(0.2)),
            nnx.Linear(4, 3, use_bias=False, rngs=rngs()),
            nnx.BatchNorm(3, momentum=0.5, rngs=rngs()),
            nn.LogSoftmax(dim=1),
        ),
    ),
]


@pytest.mark.parametrize("build", [row[1] for row in MODELS], ids=[row[0] for row in MODELS])
def test_a_model_comes_back_bit_for_bit(tmp_path, build):
    model = build()
    model.eval()
    save(tmp_path / "model", model)
    back = load(tmp_path / "model")
    back.eval()
    assert digest(to_arrays(nnx.state(back))) == digest(to_arrays(nnx.state(model)))
    x, key = jax.random.normal(jax.random.key(1), (4, 6)), jax.random.key(2)
    np.testing.assert_array_equal(back(x, key=key), model(x, key=key))
    assert to_document(back) == to_document(model)


LAYERS = {
    "convolution": (
        lambda: nn.AnalogSequential(
            nn.ChannelsLast(),
            nn.AnalogConv(
                2, 4, (3, 2), strides=2, padding=((1, 0), (0, 2)), feature_group_count=2, config=SOFT, rngs=rngs()
            ),
            nn.MaxPool((2, 1), strides=1, padding="SAME"),
            nn.AnalogConvTranspose(4, 3, (2, 2), use_bias=False, config=ANALOG_BIAS, rngs=rngs()),
            nn.AvgPool(),
        ),
        (2, 2, 8, 6),
    ),
    "recurrence": (
        lambda: nn.AnalogSequential(
            nn.AnalogRNN("AnalogGRUCell", 3, 4, num_layers=2, bidirectional=True, config=SOFT, rngs=rngs()),
            nn.AnalogLinearGeneral((5, 8), 2, axis=(-2, -1), config=ANALOG_BIAS, rngs=rngs()),
        ),
        (2, 5, 3),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_comes_back_bit_for_bit(tmp_path, name):
    build, shape = LAYERS[name]
    model = build()
    save(tmp_path, model)
    back = load(tmp_path)
    assert to_document(back) == to_document(model)
    assert digest(to_arrays(nnx.state(back))) == digest(to_arrays(nnx.state(model)))
    x, key = jax.random.normal(jax.random.key(1), shape), jax.random.key(2)
    np.testing.assert_array_equal(back(x, key=key), model(x, key=key))


class Own(nnx.Module):
    """A model of somebody's own."""

    def __init__(self, config=SOFT, size=4):
        self.layer = nn.AnalogLinear(3, size, config=config, rngs=rngs())
        self.norm = nnx.BatchNorm(size, rngs=rngs())

    def __call__(self, x):
        return self.norm(self.layer(x))


def test_a_model_of_ones_own_goes_on_bit_for_bit(tmp_path):
    optimizer, x = aj.analog_sgd(0.1, digital=optax.adam(1e-2)), jax.random.normal(jax.random.key(1), (5, 3))

    def step(model, state, key):
        loss = nn.value_and_grad(lambda model: (nn.call(model, x, key=key) ** 2).mean())
        return optimizer.update(model, loss(model)[1], state, key)

    model, key = Own(), jax.random.key(7)
    state = step(model, optimizer.init(model), key)
    save(tmp_path, model, optimizer=state, key=key)
    with pytest.raises(CheckpointError, match="has layers of others: give model=, one of the same structure"):
        load(tmp_path)
    fresh = Own()
    saved = load_all(tmp_path, fresh, optimizer.init(fresh))
    assert jax.random.key_data(saved.key).tolist() == jax.random.key_data(key).tolist()
    for one, other in ((model, state), (saved.model, saved.optimizer)):
        step(one, other, jax.random.fold_in(saved.key, 1))
    assert digest(to_arrays(nnx.state(model))) == digest(to_arrays(nnx.state(saved.model)))
    assert digest(to_arrays(nnx.state(fresh))) == digest(to_arrays(nnx.state(Own())))
    assert load_all(tmp_path, fresh).optimizer is None


def test_a_mismatch_is_shown_field_by_field(tmp_path):
    save(tmp_path, Own())
    other = r"other configurations: .*dw_min.* is 0\.003.*, the model has 0\.002"
    with pytest.raises(CheckpointError, match=other) as caught:
        load(tmp_path, Own(SingleRPUConfig(device=SoftBoundsDevice(dw_min=0.002))))
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r" is float32\[4.*\], the model has float32\[2.*\].*; and \d+ more"):
        load(tmp_path, Own(size=2))
    with pytest.raises(CheckpointError, match="has no state of an optimizer: save it with optimizer="):
        load_all(tmp_path, Own(), aj.analog_sgd(0.1).init(Own()))


def test_a_saved_model_can_be_replaced_and_trained_on(tmp_path):
    experiment = small.experiment(epochs=1)
    trained, _ = fit(experiment)
    save(tmp_path, experiment.model)
    save(tmp_path, trained)
    assert digest(to_arrays(nnx.state(load(tmp_path)))) == digest(to_arrays(nnx.state(trained)))
    _, metrics = fit(experiment.replace(model=load(tmp_path)))
    _, wanted = fit(experiment.replace(model=trained))
    assert metrics[0]["valid_loss"] == wanted[0]["valid_loss"]


def test_the_document_is_plain_json():
    document = to_document(small.model(small.ANALOG))
    assert json.loads(json.dumps(document)) == document


class Bomb:
    """Would create a file if it were unpickled."""

    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_nothing_in_a_folder_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model", small.model())
    description = tmp_path / "model" / "0" / "meta" / "metadata"
    description.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="is damaged"):
        load(tmp_path / "model")
    assert not (tmp_path / "exploded").exists()


def test_a_folder_without_a_model(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(CheckpointError, match="has no model: give a folder that was written by save"):
            load(path)


BAD = [
    ({}, "model has no entry 'class'"),
    ({"class": "AnalogLiner"}, "model.class='AnalogLiner' is not a known layer; did you mean 'AnalogLinear'?"),
    ({"class": "os.system"}, "model.class='os.system' is not a known layer"),
    ({"class": "AnalogLinear", "in_features": 3}, r"model \(AnalogLinear\) needs a value for 'out_features'"),
    ({"class": "AnalogLinear", "in_featurs": 3}, "no argument 'in_featurs'; did you mean 'in_features'?"),
    ({"class": "AnalogLinear", "in_features": "3", "out_features": 2}, "in_features='3' is not allowed"),
    ({"class": "AnalogLinear", "in_features": 3, "out_features": 2, "bias": "no"}, "model.bias='no' is not allowed"),
    ({"class": "AnalogSequential", "layers": 3}, "model.layers=3 is not allowed: give a list of layers"),
    ({"class": "AnalogSequential", "layers": [{"class": "Sigmod"}]}, r"model\[0\].class='Sigmod' .* mean 'Sigmoid'"),
]


@pytest.mark.parametrize(("document", "message"), BAD, ids=[str(row[0])[:50] for row in BAD])
def test_a_bad_document_is_refused_in_one_line(document, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")) as caught:
        from_document(document, rngs())
    assert "\n" not in str(caught.value)


def test_only_layers_are_in_the_registry():
    assert all(issubclass(layer, nnx.Module) for layer in registry().values())
    assert {"AnalogLinear", "AnalogSequential", "Flatten", "LogSoftmax", "Linear"} <= set(registry())
