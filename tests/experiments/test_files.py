"""Experiments as TOML files, and changes of single values."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import pytest
from flax import nnx

from aihwjax import config as configs
from aihwjax import nn
from aihwjax.errors import AihwjaxError
from aihwjax.experiments import files
from aihwjax.experiments.arrays import digest, to_arrays
from tests.marks import some

FOLDER = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = sorted(set(FOLDER.glob("*.toml")) - set(FOLDER.glob("*_inference.toml")))
SMALL = {
    "experiment": {"dataset": "mnist10k", "epochs": 2},
    "tile": {"class": "SingleRPUConfig", "device": {"class": "ConstantStepDevice", "dw_min": 0.01}},
    "model": {
        "layers": [
            {"class": "Flatten"},
            {"class": "AnalogLinear", "in_features": 784, "out_features": 10},
            {"class": "LogSoftmax"},
        ]
    },
}


def tiles(described):
    return [tile.config.get_value() for tile in nn.analog_tiles(described.experiment.model).values()]


@pytest.mark.parametrize("path", some(CONFIGS, CONFIGS[:1]), ids=[path.name for path in CONFIGS])
def test_the_files_of_the_project_describe_a_network_for_their_data(path):
    described = files.build(files.read(path))
    kinds = [type(layer).__name__ for layer in nn.analog_layers(described.experiment.model).values()]
    convolutions = ["AnalogConv2d"] * 2 if "lenet" in path.name else ["AnalogLinear"]
    assert kinds == [*convolutions, "AnalogLinear", "AnalogLinear"]
    assert described.experiment.dataset.shape == (1, 28, 28)
    image = jax.ShapeDtypeStruct((2, 1, 28, 28), "float32")
    output = jax.eval_shape(lambda x: described.experiment.model(x, key=0), image)
    assert output.shape == (2, 10)


def test_the_resolved_document_gives_the_same_experiment():
    changes = ["device.w_max=0.5", "loss_function=CrossEntropyLoss", "key=4", "keep_best=accuracy", "best=largest"]
    weighted = ["class_weights=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0.7]", "learning_rate.default=0.3"]
    document = {**SMALL, "experiment": {**SMALL["experiment"], "learning_rate": {"layers/1": 0.0}}}
    first = files.build(files.assign(document, [*changes, *weighted]))
    text = files.to_toml(first.resolved)
    second = files.build(configs.read_toml(text))
    assert files.to_toml(second.resolved) == text
    for field in dataclasses.fields(first.experiment):
        if field.name not in ("model", "dataset"):
            assert repr(getattr(first.experiment, field.name)) == repr(getattr(second.experiment, field.name))
    models = (first.experiment.model, second.experiment.model)
    assert len({digest(to_arrays(nnx.state(model))) for model in models}) == 1
    assert (second.key, second.keep_best, second.best) == (4, "accuracy", "largest")


SET = [
    ("accumulate=4", lambda d: d.experiment.accumulate, 4),
    ("validate_every=0", lambda d: d.experiment.validate_every, 0),
    ('learning_rate={"layers/1"=0.0, default=0.1}', lambda d: d.experiment.learning_rate.values(0)["layers/1"], 0.0),
    ("class_weights=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5]", lambda d: float(d.experiment.class_weights[9]), 0.5),
    ("keep_best=valid_loss", lambda d: (d.keep_best, d.best), ("valid_loss", None)),
    ("device.dw_min=0.002", lambda d: tiles(d)[0].device.dw_min, 0.002),
    ("tile.device.dw_min=0.002", lambda d: tiles(d)[0].device.dw_min, 0.002),
    ("forward.out_noise=0", lambda d: tiles(d)[0].forward.out_noise, 0.0),
    ("update_mode=SEQUENTIAL", lambda d: tiles(d)[0].update_mode.name, "SEQUENTIAL"),
    ("device.class=SoftBoundsDevice", lambda d: type(tiles(d)[0].device).__name__, "SoftBoundsDevice"),
    ("class=FloatingPointRPUConfig", lambda d: type(tiles(d)[0].device).__name__, "ConstantStepDevice"),
    ("learning_rate=0.3", lambda d: d.experiment.learning_rate, 0.3),
    ("experiment.batch_size=3", lambda d: d.experiment.batch_size, 3),
    ("max_elements_train=30", lambda d: d.max_elements_train, 30),
    ('dataset="fashion_mnist"', lambda d: d.experiment.dataset.name, "fashion_mnist"),
    ("dataset=fashion_mnist", lambda d: d.experiment.dataset.name, "fashion_mnist"),
    ("model.layers.1.bias=false", lambda d: d.experiment.model[1].bias, None),
    ("model.layers.1.tile.device.dw_min=0.5", lambda d: tiles(d)[0].device.dw_min, 0.5),
]


@pytest.mark.parametrize(("assignment", "read", "wanted"), SET, ids=[row[0] for row in SET])
def test_a_value_is_set_by_its_path(assignment, read, wanted):
    assert read(files.build(files.assign(SMALL, [assignment]))) == wanted
    assert SMALL["tile"]["device"]["dw_min"] == 0.01


BAD = [
    ("device.dw_mi=1", ["tile.device.dw_mi", "did you mean 'dw_min'?"]),
    ("devise.dw_min=1", ["'devise'", "did you mean 'device'?"]),
    ("learning_rat=1", ["'learning_rat'", "did you mean 'learning_rate'?"]),
    ("experiment.epoch=1", ["experiment has no entry 'epoch'", "did you mean 'epochs'?"]),
    ("device.class=SoftBound", ["'SoftBound'", "did you mean 'SoftBoundsDevice'?"]),
    ("class=SingleRPUConfi", ["tile.class='SingleRPUConfi'", "did you mean 'SingleRPUConfig'?"]),
    ("update_mode=SEQUENTAL", ["'SEQUENTAL'", "did you mean 'SEQUENTIAL'?"]),
    ("epochs=2.5", ["experiment.epochs=2.5", "a whole number"]),
    ("epochs=true", ["experiment.epochs=True", "a whole number"]),
    ("epochs=two", ["experiment.epochs='two'", "a whole number"]),
    ("learning_rate=fast", ["experiment.learning_rate='fast'", "a number"]),
    ('learning_rate={"layers/0"=0.1}', ["'layers/0', where nothing learns: give one of layers/1, or 'default'"]),
    ('learning_rate={default="fast"}', ["experiment.learning_rate.default='fast'", "a number"]),
    ("learning_rate={}", ["learning_rate={}", "rates by path"]),
    ("class_weights=2", ["experiment.class_weights=2", "a list of numbers"]),
    ("class_weights=[1, true]", ["experiment.class_weights[1]=True", "a number"]),
    ("keep_best=3", ["experiment.keep_best=3", "text"]),
    ("learning_rate=-1", ["learning_rate=-1", "at least 0"]),
    ("learning_rate=nan", ["learning_rate=nan", "finite"]),
    ("batch_size=0", ["batch_size=0", "at least 1"]),
    ("dataset=mnist20k", ["'mnist20k'", "did you mean 'mnist10k'?"]),
    ("dataset=3", ["experiment.dataset=3", "text"]),
    ("loss_function=NLLoss", ["'NLLoss'", "did you mean 'NLLLoss'?"]),
    ("device.dw_min=-1", ["dw_min=-1", "greater than 0"]),
    ("device.dw_min=nan", ["dw_min=nan", "not NaN"]),
    ("device.dw_min=small", ["dw_min='small'", "a number"]),
    ("forward.is_perfect=1", ["is_perfect=1", "bool"]),
    ("device=3", ["tile.device=3", "a table"]),
    ("device.dw_min.x=3", ["device.dw_min.x", "no entries"]),
    ("device.dw_min", ["PATH=VALUE"]),
    ("=3", ["PATH=VALUE"]),
    ("tile=3", ["tile=3", "a table"]),
    ("model.layers=3", ["model.layers"]),
    ("model.layers.7.bias=true", ["model.layers.7.bias"]),
    ("model.layers.1.class=AnalogLiner", ["'AnalogLiner'", "did you mean 'AnalogLinear'?"]),
    ("model.layers.1.in_featurs=3", ["'in_featurs'", "did you mean 'in_features'?"]),
    ("model.layers.1.in_features=0", ["in_features=0", "at least 1"]),
    ("model.layers.0.tile.device.dw_min=3", ["model[0].tile", "no analog layer"]),
    ("model.layer=3", ["model has no entry 'layer'", "did you mean 'layers'?"]),
]


@pytest.mark.parametrize(("assignment", "parts"), BAD, ids=[row[0] for row in BAD])
def test_a_mistake_is_one_line_with_the_nearest_name(assignment, parts):
    with pytest.raises(AihwjaxError) as caught:
        files.build(files.assign(SMALL, [assignment]))
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


TEXTS = [
    ("[experiment\n", "is not valid TOML"),
    ("[experimnt]\n", "no entry 'experimnt'; did you mean 'experiment'?"),
    ("[experiment]\nepochs = 3\n", "experiment.dataset is missing"),
    ('[experiment]\ndataset = "mnist10k"\n', "model.layers is missing"),
    ('model = 3\n[experiment]\ndataset = "mnist10k"\n', "model=3 is not allowed: give a table"),
    ('[experiment]\ndataset = "mnist10k"\n[model]\nlayers = [3]\n', "model[0]=3 is not allowed"),
    ("\xff", "not UTF-8"),
]


@pytest.mark.parametrize(("text", "part"), TEXTS, ids=[row[1][:30] for row in TEXTS])
def test_a_bad_file_is_one_line(tmp_path, text, part):
    path = tmp_path / "experiment.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(AihwjaxError) as caught:
        files.build(files.read(path))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(AihwjaxError, match="cannot read the experiment .*nope.toml': No such file or directory"):
        files.read(tmp_path / "nope.toml")


def test_a_tile_with_quantised_outputs():
    tile = {
        "class": "QuantizedTorchInferenceRPUConfig",
        "pre_post": {"periph_quant": {"n_bits": 6}},
        "act_quant_config": {"class": "ActivationQuantConfig", "n_bits": 8, "range_estimator": "MSE"},
    }
    built = files.build_tile({**SMALL, "tile": tile})
    assert built.act_quant_config.n_bits == 8 and built.act_quant_config.range_estimator.name == "MSE"
    assert built.pre_post.periph_quant.n_bits == 6 and built.torch_tile
    with pytest.raises(AihwjaxError, match="n_bits=-3 is not allowed"):
        files.build_tile({**SMALL, "tile": {**tile, "pre_post": {"periph_quant": {"n_bits": -3}}}})
