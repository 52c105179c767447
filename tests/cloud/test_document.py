"""Experiment documents: there and back, and everything that is refused with its path."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn, presets
from aihwjax.cloud import abstract, document
from aihwjax.errors import AihwjaxError, ArchiveError
from aihwjax.experiments import files
from aihwjax.experiments.arrays import digest
from aihwjax.experiments.storing import arrays_of
from aihwjax.tile.config import TileConfig
from tests.cloud import networks
from tests.marks import some

DOCUMENT = document.to_document(networks.experiment(), key=3, max_elements_train=50)


def test_an_experiment_survives_the_journey():
    described = document.from_document(document.loads(document.dumps(DOCUMENT)))
    first, second = networks.experiment(), described.experiment
    for name in ("batch_size", "loss_function", "epochs", "learning_rate", "dataset", "optimizer"):
        assert getattr(first, name) == getattr(second, name)
    assert str(first.model) == str(second.model)
    assert (described.key, described.max_elements_train) == (3, 50)
    assert document.to_document(second, described.key, described.max_elements_train) == DOCUMENT


def test_batches_of_an_update_travel_where_there_are_several():
    described = document.from_document(document.to_document(networks.experiment(accumulate=3)))
    assert described.experiment.accumulate == 3
    assert "accumulate" not in DOCUMENT["experiment"]


def test_rates_by_layer_class_weights_and_the_best_epoch_travel():
    rates, weights = {"layers/1": 0.0, "layers/3/bias": jax.numpy.float32(0.3), "default": 0.1}, [0.7] + [1.0] * 9
    given = networks.experiment(learning_rate=rates, class_weights=weights)
    sent = document.to_document(given, keep_best="accuracy", best="smallest")
    assert sent["experiment"]["learning_rate"] == {"default": 0.1, "layers/1": 0.0, "layers/3/bias": 0.3}
    assert sent["experiment"]["class_weights"] == weights
    described = document.from_document(document.loads(document.dumps(sent)))
    assert repr(described.experiment.learning_rate) == repr(given.learning_rate)
    assert np.array_equal(described.experiment.class_weights, given.class_weights)
    assert (described.keep_best, described.best) == ("accuracy", "smallest")
    assert not {"class_weights", "keep_best", "best"} & DOCUMENT["experiment"].keys()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"keep_best": "f1"}, "keep_best='f1' is no metric of this run: give one of accuracy, time_epoch, train_loss"),
        ({"keep_best": "pulses"}, "keep_best='pulses' is no metric of this run"),
        ({"keep_best": "accuracy", "best": "high"}, "best='high' is not allowed"),
        ({"best": "largest"}, "best='largest' is not allowed alone"),
    ],
)
def test_a_best_epoch_that_cannot_be_found_is_said_before_it_leaves(arguments, text):
    with pytest.raises(aj.ConfigError, match=re.escape(text)):
        document.to_document(networks.experiment(), **arguments)


@pytest.mark.parametrize("key", [0, -5, 2**40, np.int64(7)])
def test_weights_drawn_from_the_key_are_those_of_a_file_with_the_same_key(key):
    layers = {"layers": DOCUMENT["model"]["layers"]}
    file = files.build({"experiment": {"dataset": "mnist10k"}, "model": layers}, key=int(key))
    sent = document.to_document(file.experiment, key)
    drawn = document.from_document(sent).experiment.model
    assert digest(arrays_of(drawn)) == digest(arrays_of(file.experiment.model))


@pytest.mark.parametrize("key", [jax.random.key(5), jax.random.PRNGKey(5), jax.random.key(5, impl="rbg")])
def test_a_key_of_jax_survives_the_journey(key):
    sent = document.loads(document.dumps(document.to_document(networks.experiment(), key)))
    found = document.from_document(sent).key
    data = key if key.dtype == np.uint32 else jax.random.key_data(key)
    assert np.array_equal(jax.random.key_data(found), data)


QUICK = ("IdealizedPreset", "MixedPrecisionPCMPreset", "TikiTakaIdealizedPreset", "WebComposerInferenceRPUConfig")
TILES = [name for name in presets.names() if isinstance(presets.by_name(name)(), TileConfig)]


@pytest.mark.parametrize("name", some(TILES, QUICK, TILES[::8]))
def test_size_and_shapes_are_known_without_building(name):
    model = networks.model(presets.by_name(name)())
    arrays = arrays_of(model)
    sent = document.loads(document.dumps(document.to_document(networks.experiment(model=model))))
    facts = document.facts(sent)
    assert facts.size == sum(array.nbytes for array in arrays.values())
    assert facts.arrays == {n: {"shape": list(a.shape), "dtype": str(a.dtype)} for n, a in arrays.items()}


def test_other_layers_are_known_without_building():
    rngs = nnx.Rngs(0)
    layers = [nn.Flatten(), nnx.Linear(784, 10, rngs=rngs), nnx.BatchNorm(10, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)]
    model = nn.AnalogSequential(*layers, nn.AnalogSequential(nn.LeakyReLU(0.1), nn.LogSoftmax()))
    sent = document.loads(document.dumps(document.to_document(networks.experiment(model=model))))
    assert document.size(sent) == sum(array.nbytes for array in arrays_of(model).values())


def test_a_huge_model_is_measured_and_not_built():
    sent = _with(["model"], {"class": "AnalogSequential", "layers": [{"class": "Flatten"}, *_linear(784, 10**7, 10)]})
    big = {"mapping": {"class": "MappingParameter", "max_input_size": 0, "max_output_size": 0}}
    for layer in sent["model"]["layers"][1:]:
        layer["config"] = {"class": "TileConfig", **big}
    assert document.size(sent) > 4 * 10**7 * 794


CANNOT_TRAVEL = [
    ({"dataset": (np.zeros((4, 3)), np.zeros(4, int), np.zeros((4, 3)), np.zeros(4, int))}, "dataset='arrays'"),
    ({"dataset": aj.MNIST10K.with_normalization((0.5,), (0.5,))}, "dataset='mnist10k' was changed"),
    ({"learning_rate": optax.constant_schedule(0.1)}, "learning_rate is a schedule"),
    (
        {"learning_rate": {"layers/1": optax.constant_schedule(0.1), "default": 0.1}},
        "learning_rate of 'layers/1' is a schedule",
    ),
    ({"validate_every": 2}, "validate_every=2 is not allowed in the cloud"),
    ({"optimizer": optax.adam(0.1)}, "optimizer is not allowed in the cloud: give aihwjax.named_optimizer, or"),
    (
        {"metrics": {"f1": lambda p, t: 0.0}},
        "metrics ('f1') are functions of your own, which cannot travel to the cloud: leave them out",
    ),
    ({"loss_function": aj.nn.losses.per_example(aj.nn.losses.nll_loss)}, "loss_function=per_example(nll_loss)"),
    ({"loss_function": lambda p, t: (p - t).mean()}, "loss_function=<lambda>"),
    ({"model": nn.AnalogSequential(nn.Function(abs))}, "model[0].function"),
]


@pytest.mark.parametrize(("fields", "text"), CANNOT_TRAVEL, ids=[row[1] for row in CANNOT_TRAVEL])
def test_what_cannot_travel_is_said_before_it_leaves(fields, text):
    with pytest.raises(AihwjaxError) as caught:
        document.to_document(networks.experiment(**fields))
    assert text in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [True, 2**63, 1.5, "a", jax.random.split(jax.random.key(0))])
def test_a_key_must_be_one(key):
    with pytest.raises(aj.ConfigError, match="key="):
        document.to_document(networks.experiment(), key)


def test_a_configuration_that_is_not_finite_cannot_travel():
    config = aj.SingleRPUConfig(device=aj.ConstantStepDevice(lifetime=math.inf))
    with pytest.raises(aj.ConfigError, match=r"model.*lifetime is NaN or infinite"):
        document.to_document(networks.experiment(config))


def test_losses_of_the_library_travel_by_name():
    for loss in ("CrossEntropyLoss", nn.losses.CrossEntropyLoss):
        sent = document.to_document(networks.experiment(loss_function=loss))
        assert sent["experiment"]["loss_function"] == "CrossEntropyLoss"


def _linear(*sizes: int) -> list[dict]:
    return [{"class": "AnalogLinear", "in_features": a, "out_features": b} for a, b in itertools.pairwise(sizes)]


def _with(path: list, value: object) -> dict:
    """Return the document with one entry replaced, or removed if the value is ``...``."""
    changed = copy.deepcopy(DOCUMENT)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def _deep(levels: int) -> dict:
    inner: dict = {"class": "AnalogSequential", "layers": []}
    for _ in range(levels):
        inner = {"class": "AnalogSequential", "layers": [inner]}
    return inner


LAYERS = ["model", "layers"]
CONV = {"class": "AnalogConv2d", "in_features": 1, "out_features": 2, "kernel_size": 3}
GENERAL = {"class": "AnalogLinearGeneral", "in_features": 4, "out_features": 4}
RNN = {"class": "AnalogRNN", "cell": "AnalogGRUCell", "in_features": 4, "hidden_features": 4}
REFUSED = [
    (["format"], "aihwjax experiment, version 2", "format", "version 1"),
    (["format"], ..., "format", "format=None"),
    (["kind"], "BasicWriting", "kind", "BasicTraining"),
    (["experiment"], ..., "experiment", "missing"),
    (["experiment"], [], "experiment", "missing"),
    (["model"], None, "model", "missing"),
    (["extra"], 1, None, "'extra'"),
    (["experiment", "dataset"], ..., "experiment.dataset", "missing"),
    (["experiment", "dataset"], "tfds:mnist", "experiment.dataset", "in the cloud"),
    (["experiment", "dataset"], "mnist20k", "experiment.dataset", "did you mean 'mnist10k'?"),
    (["experiment", "dataset"], ["mnist"], "experiment.dataset", "text"),
    (["experiment", "epoch"], 3, "experiment", "did you mean 'epochs'?"),
    (["experiment", "epochs"], -1, "experiment.epochs", "0 to"),
    (["experiment", "epochs"], 1.5, "experiment.epochs", "a whole number"),
    (["experiment", "epochs"], True, "experiment.epochs", "a whole number"),
    (["experiment", "epochs"], 10**12, "experiment.epochs", "0 to"),
    (["experiment", "epochs"], 10**30, "experiment.epochs", "too large"),
    (["experiment", "batch_size"], 0, "experiment.batch_size", "1 to"),
    (["experiment", "batch_size"], 10**9, "experiment.batch_size", "1 to"),
    (["experiment", "learning_rate"], -0.1, "experiment.learning_rate", "give 0 to"),
    (["experiment", "learning_rate"], math.nan, "experiment.learning_rate", "NaN"),
    (["experiment", "learning_rate"], math.inf, "experiment.learning_rate", "infinite"),
    (["experiment", "learning_rate"], 1e300, "experiment.learning_rate", "too large"),
    (["experiment", "learning_rate"], 1e19, "experiment.learning_rate", "0 to 1e+18"),
    (["experiment", "learning_rate"], {"layers/1": "fast"}, "experiment.learning_rate", "layers/1='fast'"),
    (["experiment", "learning_rate"], {"layers/1": -0.1}, "experiment.learning_rate", "layers/1=-0.1"),
    (["experiment", "learning_rate"], {"layers/1": math.nan}, "experiment.learning_rate.layers/1", "NaN"),
    (["experiment", "learning_rate"], {}, "experiment.learning_rate", "rates by path"),
    (["experiment", "learning_rate"], {"layers/1": 0.1}, "experiment.learning_rate", "no entry for 'layers/3'"),
    (["experiment", "learning_rate"], {"layers/2": 0.1, "default": 0}, "experiment.learning_rate", "nothing learns"),
    (["experiment", "learning_rate"], dict.fromkeys(map(str, range(10**5)), 0.1), "experiment.learning_rate", "most"),
    (["experiment", "class_weights"], 3, "experiment.class_weights", "a list of numbers"),
    (["experiment", "class_weights"], [1, "2"], "experiment.class_weights", "class_weights[1]='2'"),
    (["experiment", "class_weights"], [1.0] * 9, "experiment.class_weights", "9 class_weights: the model has 10"),
    (["experiment", "class_weights"], [-1.0] * 10, "experiment.class_weights", "at least 0"),
    (["experiment", "keep_best"], "f1", "experiment.keep_best", "no metric of this run"),
    (["experiment", "keep_best"], 3, "experiment.keep_best", "text"),
    (["experiment", "best"], "largest", "experiment.keep_best", "not allowed alone"),
    (["best"], {"epoch": 0}, "best", "hexadecimal"),
    (["best"], {"epoch": 0, "digest": "0" * 32}, "metrics", "no result"),
    ([*LAYERS, 2], {"class": "LeakyReLU", "negative_slope": 1e39}, "model.layers[2].negative_slope", "too large"),
    (["experiment", "learning_rate"], "0.1", "experiment.learning_rate", "a number"),
    ([*LAYERS, 1, "config", "device", "dw_min"], math.inf, "model.layers[1].config.device.dw_min", "infinite"),
    (["experiment", "loss_function"], "NLLoss", "experiment.loss_function", "did you mean 'NLLLoss'?"),
    (["experiment", "max_elements_train"], -1, "experiment.max_elements_train", "0 to"),
    (["experiment", "key"], 1.5, "experiment.key", "whole number"),
    (["experiment", "key"], {"impl": "threefry2x32", "data": [1]}, "experiment.key", "whole number"),
    (["experiment", "key"], {"impl": "os.system", "data": [1, 2]}, "experiment.key", "whole number"),
    (["experiment", "key"], {"impl": "threefry2x32", "data": [1, 2**32]}, "experiment.key", "whole number"),
    (["parameters"], {"digest": "../../etc/passwd"}, "parameters", "hexadecimal"),
    (["experiment", "accumulate"], 0, "experiment.accumulate", "give 1 to 1000000"),
    (["experiment", "validate_every"], 1, "experiment", "no entry 'validate_every'"),
    (["parameters"], "x", "parameters", "hexadecimal"),
    (["metrics"], {}, "metrics", "no result"),
    (["metrics"], [{"epoch": 0}], "metrics[0]", "accuracy"),
    (["model", "class"], "AnalogSequentia", "model.class", "did you mean 'AnalogSequential'?"),
    (["model", "class"], "os.system", "model.class", "not a known layer"),
    ([*LAYERS, 1, "class"], "Linea", "model[1].class", "did you mean 'Linear'?"),
    ([*LAYERS, 1, "class"], "Function", "model[1]", "Function"),
    ([*LAYERS, 1, "in_feature"], 3, "model[1]", "did you mean 'in_features'?"),
    ([*LAYERS, 1, "in_features"], ..., "model[1]", "in_features"),
    ([*LAYERS, 1, "in_features"], "784", "model[1]", "in_features"),
    ([*LAYERS, 1, "in_features"], 0, "model[1]", "at least 1"),
    ([*LAYERS, 1, "in_features"], -3, "model[1]", "at least 1"),
    ([*LAYERS, 1, "in_features"], 100, "model[1]", "784"),
    ([*LAYERS, 1, "in_features"], 10**9, "model[1]", "tiles"),
    ([*LAYERS, 1, "out_features"], 10**9, "model[1]", "tiles"),
    ([*LAYERS, 1, "bias"], "yes", "model[1].bias", "bool"),
    ([*LAYERS, 1, "config", "device", "class"], "SoftBound", "model[1].config", "did you mean"),
    ([*LAYERS, 1, "config", "device", "dw_min"], "small", "model[1].config", "a number"),
    ([*LAYERS, 1, "config", "device", "dw_mi"], 1, "model[1].config", "dw_min"),
    ([*LAYERS, 1, "config"], {"class": "ConstantStepDevice"}, "model[1].config", "TileConfig"),
    ([*LAYERS, 1, "config"], 3, "model[1]", "TileConfig"),
    ([*LAYERS, 1], 3, "model[1]", "class"),
    ([*LAYERS, 3], {"class": "Linear", "in_features": 4, "out_features": 9}, "model", "needs 10"),
    ([*LAYERS, 3], {"class": "Linear", "in_features": 4, "out_features": 10, "kernel_init": "x"}, "model[3]", "built"),
    ([*LAYERS, 3], {"class": "Linear", "in_features": 5, "out_features": 10}, "model[3]", "got shape (2, 4)"),
    ([*LAYERS, 3], {"class": "Conv", "kernel_size": 0}, "model[3].kernel_size", "at least 1"),
    ([*LAYERS, 3], {"class": "Conv", "kernel_size": [3, "3"]}, "model[3].kernel_size", "integers"),
    ([*LAYERS, 3], {"class": "Linear", "in_features": 4, "out_features": -1}, "model[3].out_features", "at least 1"),
    ([*LAYERS, 3], {"class": "BatchNorm", "num_features": 10.0}, "model[3].num_features", "integers"),
    ([*LAYERS, 2], {"class": "AnalogGRUCell", "in_features": 4, "hidden_features": 4}, "model[2].class", "AnalogRNN"),
    ([*LAYERS, 2], {**CONV, "kernel_size": [3, 0]}, "model[2]", "kernel_size=(3, 0) is not allowed"),
    ([*LAYERS, 2], {**CONV, "padding": "SAM"}, "model[2]", "did you mean 'SAME'"),
    ([*LAYERS, 2], {**CONV, "strides": "2"}, "model[2].strides", "give int"),
    ([*LAYERS, 2], {**CONV, "feature_group_count": 3}, "model[2]", "does not divide"),
    ([*LAYERS, 2], CONV, "model[2]", "x has shape (2, 4)"),
    ([*LAYERS, 2], {**CONV, "kernel_size": [10**6, 10**6]}, "model[2]", "tiles"),
    ([*LAYERS, 2], {**CONV, "in_features": 10**6, "feature_group_count": 10**6}, "model[2]", "tiles"),
    ([*LAYERS, 2], {**RNN, "num_layers": 10**9}, "model[2]", "tiles"),
    ([*LAYERS, 2], {**RNN, "hidden_features": 10**7}, "model[2]", "tiles"),
    ([*LAYERS, 2], {**RNN, "cell": "AnalogGRU"}, "model[2]", "did you mean 'AnalogGRUCell'"),
    ([*LAYERS, 2], {**RNN, "cell": "os.system"}, "model[2]", "cell='os.system' is not allowed"),
    (
        [*LAYERS, 2],
        {"class": "AnalogLinearGeneral", "in_features": [10**5] * 3, "out_features": 1},
        "model[2]",
        "tiles",
    ),
    (LAYERS, 7, "model.layers", "list"),
    (LAYERS, [{"class": "Flatten"}] * 5000, "model", "too many layers"),
    (["model"], _deep(20), None, "too deep"),
    (["model"], _deep(500), None, "too deep"),
    (["model"], {"class": "Sigmoid"}, "model", "needs 10"),
]


@pytest.mark.parametrize(("path", "value", "field", "text"), REFUSED, ids=range(len(REFUSED)))
def test_a_document_is_refused_with_the_path_of_what_is_wrong(path, value, field, text):
    with pytest.raises(ArchiveError) as caught:
        document.check(_with(path, value))
    assert text in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) <= 400
    if field is not None or "deep" not in text:
        assert caught.value.field == field


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "null", "{", b"\xff\xfe", '{"a": NaN}', '{"a": -Infinity}', "[" * 10**5, f'{{"a": {"9" * 5000}}}'],
    ids=range(10),
)
def test_text_that_is_no_document_is_refused(text):
    with pytest.raises(ArchiveError):
        document.loads(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e400"])
@pytest.mark.parametrize("entry", ['"learning_rate":0.1', '"dw_min":0.01'])
def test_text_with_a_number_that_is_not_finite_is_refused_with_its_path(number, entry):
    name = entry.split('"')[1]
    text = document.dumps(DOCUMENT)
    assert entry in text
    with pytest.raises(ArchiveError, match="give a finite number") as caught:
        document.loads(text.replace(entry, f'"{name}":{number}', 1))
    assert caught.value.field.endswith(name) and caught.value.field in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, "x", [], b"x", {1: 2}, {"model": object()}])
def test_a_value_that_is_no_document_is_refused(value):
    with pytest.raises(ArchiveError):
        document.check(value)


def test_metrics_that_are_not_finite_come_back_as_nan():
    entry = {"epoch": 0, "accuracy": 0.1, "train_loss": None, "valid_loss": 2, "time_epoch": 0.5}
    found = document.metrics({"metrics": [entry]})
    assert math.isnan(found[0]["train_loss"]) and found[0]["valid_loss"] == 2.0


def test_metrics_need_no_accuracy_and_may_have_names_of_their_own():
    entry = {"epoch": 0, "train_loss": 1.0, "valid_loss": 2.0, "f1": 0.5, "time_epoch": 0.5}
    assert document.metrics({"metrics": [entry]}) == [entry]
    with pytest.raises(ArchiveError, match=r"metrics\[0\].f1='good' is not allowed"):
        document.metrics({"metrics": [{**entry, "f1": "good"}]})


def test_tiles_are_counted_before_they_are_made():
    small = {"class": "MappingParameter", "max_input_size": 1, "max_output_size": 1}
    layer = {**_linear(784, 784)[0], "config": {"class": "TileConfig", "mapping": small}}
    with pytest.raises(ArchiveError, match="tiles"):
        abstract.check_counts({"class": "AnalogSequential", "layers": [layer]})


def test_reading_a_document_needs_no_server():
    program = (
        "import sys, aihwjax.cloud.archive, aihwjax.cloud.check\n"
        "bad = [m for m in sys.modules if m.startswith(('aihwjax.server', 'fastapi', 'sqlalchemy'))]\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.dumps(DOCUMENT)


@pytest.mark.slow
def test_quantised_layers_travel():
    config = aj.QuantizedTorchInferenceRPUConfig(
        pre_post=aj.PrePostProcessingParameterQuant(
            periph_quant=aj.PeripheryQuantizationParameter(n_bits=6, learn_quant_params=True)
        ),
        act_quant_config=aj.ActivationQuantConfig(n_bits=8, range_estimator="allminmax"),
    )
    model = nn.AnalogSequential(nn.Flatten(), nn.AnalogLinear(784, 10, config=config, rngs=nnx.Rngs(0)))
    aj.calibrate_quantization_ranges(model, jax.numpy.ones((1, 2, 784)), key=0)
    sent = document.to_document(aj.BasicTraining(dataset=aj.MNIST10K, model=model, epochs=1))
    found = document.from_document(document.loads(document.dumps(sent))).experiment.model
    assert found.layers[1].tiles[0].config.get_value() == config
    assert set(arrays_of(found)) == set(arrays_of(model))
    assert any("output_quantizer" in name for name in arrays_of(model))
