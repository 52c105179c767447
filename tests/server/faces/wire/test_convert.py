"""What payloads mean: experiment documents, refusals that name what is wrong, and results."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aihwjax.server.faces.wire import convert, messages, presets
from aihwjax.server.faces.wire.convert import RefusedError
from tests.server.faces.wire.payloads import CONVOLUTIONS, USERS_DOCUMENT, argument, training
from tests.server.peer import needs_peer, run_peer

RECORDED = (Path(__file__).parent / "users_document.binpb").read_bytes()


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return presets.build()


def document(message: Any, known: dict[str, Any]) -> dict[str, Any]:
    return convert.experiment_document(message.SerializePartialToString(), 7, known)


def test_the_users_document(known: dict[str, Any]) -> None:
    result = convert.experiment_document(RECORDED, 7, known)
    assert result["experiment"] == {
        "dataset": "fashion_mnist",
        "batch_size": 64,
        "loss_function": "NLLLoss",
        "epochs": 30,
        "learning_rate": 0.05,
        "key": 7,
        "max_elements_train": 0,
    }
    assert [layer["class"] for layer in result["model"]["layers"]] == [name for name, _ in USERS_DOCUMENT]
    first = result["model"]["layers"][1]
    assert (first["in_features"], first["out_features"], first["bias"]) == (784, 256, True)
    assert first["config"] == known["IdealizedPreset"]
    assert result["model"]["layers"][6] == {"class": "LogSoftmax", "dim": 1}
    assert result["parameters"] is None


def test_the_users_document_is_a_working_experiment(known: dict[str, Any]) -> None:
    import jax

    import aihwjax as aj
    from aihwjax.cloud import document as documents

    described = documents.from_document(convert.experiment_document(RECORDED, 7, known))
    assert isinstance(described.experiment, aj.BasicTraining)
    images = jax.numpy.zeros((2, 1, 28, 28))
    assert described.experiment.model(images, key=jax.random.key(0)).shape == (2, 10)
    assert described.experiment.learning_rate == 0.05


@pytest.mark.parametrize("name", presets.NAMES)
def test_every_preset_is_built_with_its_scaling(name: str, known: dict[str, Any]) -> None:
    layer = document(training(preset=name), known)["model"]["layers"][1]
    assert layer["config"]["mapping"]["weight_scaling_omega"] == 0.0
    assert layer["config"] == known[name]  # the reference sends 0.0, which is each preset's own


def test_the_presets_come_from_a_process_of_their_own(known: dict[str, Any]) -> None:
    assert presets.documents() == known


def test_every_activation_and_digital_layer_is_built(known: dict[str, Any]) -> None:
    from flax import nnx

    from aihwjax.experiments.architecture import from_document

    layers = (
        ("BatchNorm2d", {"num_features": 1}),
        ("Flatten", {}),
        ("LeakyReLU", {"negative_slope": 0.1}),
        ("LogSigmoid", {}),
        ("ReLU", {}),
        ("Sigmoid", {}),
        ("Softmax", {"dim": 1}),
        ("Tanh", {}),
        ("Linear", {"in_features": 784, "out_features": 10, "bias": False}),
        ("LogSoftmax", {"dim": 1}),
    )
    result = document(training(layers, dataset="svhn", loss="CrossEntropyLoss"), known)
    assert result["model"]["layers"][2]["negative_slope"] == 0.1  # not 0.10000000149011612
    model: Any = from_document(result["model"], nnx.Rngs(0))
    assert [type(layer).__name__ for layer in model][:3] == ["BatchNorm", "Flatten", "LeakyReLU"]
    import jax

    assert model(jax.numpy.ones((3, 1, 28, 28))).shape == (3, 10)


def test_all_refused_layers_are_named_at_once(known: dict[str, Any]) -> None:
    layers = (("AnalogConv1d", {}), ("Tanh", {}), ("AvgPool2d", {"kernel_size": 2}), *USERS_DOCUMENT)
    with pytest.raises(RefusedError, match="layer 0 AnalogConv1d and layer 2 AvgPool2d are not supported"):
        document(training(layers), known)


def test_convolutions_have_their_channels_last_and_what_follows_has_them_first(known: dict[str, Any]) -> None:
    layers = document(training(CONVOLUTIONS), known)["model"]["layers"]
    names = [layer["class"] for layer in layers]
    assert names == [
        *("ChannelsLast", "AnalogConv2d", "Tanh", "MaxPool", "BatchNorm"),
        *("ChannelsFirst", "Flatten", "AnalogLinear", "LogSoftmax"),
    ]
    assert layers[1] == {
        "class": "AnalogConv2d",
        "in_features": 1,
        "out_features": 2,
        "kernel_size": [5, 5],
        "strides": [2, 2],
        "padding": [[0, 0], [1, 1]],
        "kernel_dilation": [1, 1],
        "use_bias": True,
        "config": known["IdealizedPreset"],
    }
    assert layers[4]["axis"] == -1


def test_a_network_of_convolutions_gives_what_it_gives_with_its_channels_first(known: dict[str, Any]) -> None:
    import jax
    import jax.numpy as jnp
    from jax import lax

    import aihwjax as aj
    from aihwjax.experiments.architecture import from_document

    layers = (
        ("AnalogConv2d", {"in_channels": 3, "out_channels": 4, "kernel_size": [3, 2], "stride": [2, 1]}),
        ("MaxPool2d", {"kernel_size": [3, 2], "stride": 2, "padding": [1, 0], "dilation": 1, "ceil_mode": False}),
        ("Softmax", {"dim": 1}),
        ("ReLU", {}),
        ("ConvTranspose2d", {"in_channels": 4, "out_channels": 2, "kernel_size": 3, "stride": 2, "padding": 1}),
        ("Flatten", {}),
        ("AnalogLinear", {"in_features": 2 * 8 * 15, "out_features": 10}),
    )
    more = {0: {"padding": [1, 0], "dilation": [2, 1]}, 4: {"output_padding": [1, 0], "dilation": 1}}
    found = document(training([(n, {**a, **more.get(i, {})}) for i, (n, a) in enumerate(layers)]), known)
    for layer in found["model"]["layers"]:
        if "config" in layer:
            layer["config"] = aj.config.to_dict(aj.FloatingPointRPUConfig())
    from flax import nnx

    model: Any = from_document(found["model"], nnx.Rngs(0))
    weights = model.get_weights()
    (conv, conv_bias), (matrix, bias) = (weights[path] for path in sorted(weights))
    assert conv.shape == (4, 3 * 3 * 2)  # the columns in the reference's order: channel, then element of the kernel
    axes, kernel = ("NCHW", "OIHW", "NCHW"), conv.reshape(4, 3, 3, 2)
    digital = next(layer for layer in model if isinstance(layer, nnx.ConvTranspose))

    @jax.jit
    def channels_first(x: jax.Array) -> jax.Array:
        y = lax.conv_general_dilated(x, kernel, (2, 1), ((1, 1), (0, 0)), rhs_dilation=(2, 1), dimension_numbers=axes)
        y = y + conv_bias[None, :, None, None]
        y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 1, 3, 2), (1, 1, 2, 2), ((0, 0), (0, 0), (1, 1), (0, 0)))
        y = jax.nn.relu(jax.nn.softmax(y, axis=1))
        other = jnp.transpose(digital.kernel[...], (3, 2, 0, 1))
        y = lax.conv_general_dilated(y, other, (1, 1), ((1, 2), (1, 1)), lhs_dilation=(2, 2), dimension_numbers=axes)
        assert y.shape == (2, 2, 8, 15)
        return (y + digital.bias[...][None, :, None, None]).reshape(2, -1) @ matrix.T + bias

    x = jax.random.normal(jax.random.key(1), (2, 3, 16, 17))
    y = jax.jit(lambda x: model(x, key=jax.random.key(2)))(x)
    np.testing.assert_allclose(y, channels_first(x), rtol=1e-4, atol=1e-5)


CONV = {"in_channels": 1, "out_channels": 2, "kernel_size": [5, 5], "stride": [1, 1], "padding": [0, 0]}
POOL = {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1, "ceil_mode": False}


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("AnalogConv2d", {**CONV, "kernel_size": [5, 5, 5]}, "has kernel_size .*: give two whole numbers"),
        ("AnalogConv2d", {**CONV, "kernel_size": [0, 5]}, "kernel_size 0 is not allowed: give at least 1"),
        ("AnalogConv2d", {**CONV, "padding": [0, -1]}, "padding -1 is not allowed: give at least 0"),
        ("AnalogConv2d", {**CONV, "stride": 1.0}, "has stride 1.0: give two whole numbers"),
        ("AnalogConv2d", {**CONV, "groups": 2}, "has no argument groups"),
        ("Conv2d", {**CONV, "out_channels": 0}, "out_channels 0 is not allowed"),
        ("Conv2d", {"in_channels": 1}, "needs the argument out_channels"),
        ("ConvTranspose2d", {**CONV, "output_padding": [1, 1]}, "has output_padding 1: give less than stride"),
        ("MaxPool2d", {**POOL, "dilation": 2}, "has dilation 2: give 1"),
        ("MaxPool2d", {**POOL, "ceil_mode": True}, "has ceil_mode true: give false"),
        ("MaxPool2d", {**POOL, "padding": 2}, "has padding 2: give at most half of kernel_size"),
    ],
)
def test_a_bad_value_of_a_convolution_is_one_line(
    name: str, arguments: dict[str, Any], says: str, known: dict[str, Any]
) -> None:
    with pytest.raises(RefusedError, match=f"layer 1 {name} {says}") as caught:
        document(training((("Tanh", {}), (name, arguments))), known)
    assert "\n" not in str(caught.value)


def test_an_error_of_the_model_names_the_layers_of_the_payload() -> None:
    payload = training(CONVOLUTIONS).SerializePartialToString()
    assert convert.in_its_numbers("layers/1: a", payload) == "layers/0: a"
    assert convert.in_its_numbers("model[0]: a, layers/7", payload) == "model[0]: a, layers/5"
    assert convert.in_its_numbers("the model has 3 outputs", payload) == "the model has 3 outputs"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dataset": "cifar"}, "dataset cifar is not supported: give fashion_mnist or svhn"),
        ({"loss": "L1Loss"}, "loss function L1Loss is not supported"),
        ({"batch_size": 0}, "batch size 0 is not allowed: give at least 1"),
        ({"epochs": -1}, "number of epochs -1 is not allowed"),
        ({"lr": math.nan}, "learning rate nan is not allowed"),
        ({"lr": -1.0}, "learning rate -1 is not allowed"),
        ({"preset": "IdealisedPreset"}, "AnalogLinear has the unknown preset .*did you mean 'IdealizedPreset'"),
        ({"preset": "AGADIdealizedPreset"}, "unknown preset AGADIdealizedPreset"),
        ({"layers": ()}, "no layers"),
        ({"layers": (("AnalogLinear", {"in_features": 784}),)}, "layer 0 AnalogLinear needs the argument out_features"),
        ({"layers": (("Linear", {"in_features": 0, "out_features": 1, "bias": True}),)}, "in_features 0 is not"),
        ({"layers": (("Softmax", {"dim": 1.0}),)}, "layer 0 Softmax has dim 1.0: give a whole number"),
        ({"layers": (("Softmax", {"dims": 1}),)}, "no argument dims; did you mean 'dim'"),
        ({"layers": (("LeakyReLU", {"negative_slope": math.inf}),)}, "LeakyReLU has an argument inf"),
    ],
)
def test_what_is_not_supported_is_named(fields: dict[str, Any], says: str, known: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=says):
        document(training(**fields), known)


def _scheduled(message: Any) -> None:
    message.training.scheduler.id = "StepLR"


def _transformed(message: Any) -> None:
    message.dataset.transforms.add(id="Flip")


def _weighted(message: Any) -> None:
    message.network.layers[1].layer.state_dict.add(name="weight")


def _next_version(message: Any) -> None:
    message.version.opset = 2


def _adam(message: Any) -> None:
    message.training.optimizer.id = "AnalogAdam"


def _no_rate(message: Any) -> None:
    del message.training.optimizer.arguments[:]


def _empty_layer(message: Any) -> None:
    message.network.layers.add()


def _infinite_scale(message: Any) -> None:
    message.network.layers[1].layer.arguments[4].CopyFrom(argument("weight_scaling_omega", math.inf))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_scheduled, "scheduler StepLR is not supported"),
        (_transformed, "transform Flip of the dataset is not supported"),
        (_weighted, "layer 1 AnalogLinear has weights"),
        (_next_version, "version 1.2 of the payload is not supported"),
        (_adam, "optimizer AnalogAdam is not supported"),
        (_no_rate, "needs the argument lr"),
        (_empty_layer, "layer 7 is neither"),
        (_infinite_scale, "weight_scaling_omega inf"),
        (lambda message: message.ClearField("training"), "training is missing"),
    ],
)
def test_a_changed_payload_is_refused(change: Any, says: str, known: dict[str, Any]) -> None:
    message = training()
    change(message)
    with pytest.raises(RefusedError, match=says):
        document(message, known)


def test_what_may_be_missing_has_the_references_defaults(known: dict[str, Any]) -> None:
    message = training(batch_size=3, epochs=4, loss="MSELoss")
    message.dataset.ClearField("batch_size")
    message.training.ClearField("epochs")
    message.training.ClearField("loss_function")
    settings = document(message, known)["experiment"]
    assert (settings["batch_size"], settings["epochs"], settings["loss_function"]) == (64, 30, "NLLLoss")


def test_the_output_repeats_the_network_and_carries_the_metrics() -> None:
    metrics = [
        {"epoch": 0, "accuracy": 0.5, "train_loss": 1.5, "valid_loss": 1.25, "time_epoch": 3.0},
        {"epoch": 1, "accuracy": 0.75, "train_loss": None, "valid_loss": 1.0, "time_epoch": 3.0},
    ]
    output: Any = messages.parse(messages.TrainingOutput, convert.training_output(RECORDED, metrics))
    assert output.network == training().network
    assert [epoch.epoch for epoch in output.epochs] == [0, 1]
    assert [metric.name for metric in output.epochs[0].metrics] == ["accuracy", "train_loss", "valid_loss"]
    assert [metric.f for metric in output.epochs[0].metrics] == [0.5, 1.5, 1.25]
    assert math.isnan(output.epochs[1].metrics[1].f)


def test_an_output_without_a_payload_is_complete() -> None:
    output: Any = messages.parse(messages.TrainingOutput, convert.training_output(None, []))
    assert not output.network.layers


def test_layer_names() -> None:
    assert convert.layer_names(RECORDED) == [name for name, _ in USERS_DOCUMENT]


@needs_peer
@pytest.mark.slow
def test_the_references_own_bytes_of_all_layers(tmp_path: Path, known: dict[str, Any]) -> None:
    script = """
from torch.nn import *
from torchvision.datasets import FashionMNIST, SVHN
from aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogSequential
from aihwkit.experiments import BasicTraining
from aihwkit.simulator import presets
from aihwkit.cloud.converter.v1.training import BasicTrainingConverter

def write(name, dataset, layers, **fields):
    experiment = BasicTraining(dataset=dataset, model=AnalogSequential(*layers), **fields)
    open(name, "wb").write(BasicTrainingConverter().to_proto(experiment).SerializeToString())

def linear(i, o, name="IdealizedPreset", bias=True):
    return AnalogLinear(i, o, bias=bias, rpu_config=getattr(presets, name)())

write("users", FashionMNIST, [Flatten(), linear(784, 256), Sigmoid(), linear(256, 128), Sigmoid(), linear(128, 10),
                              LogSoftmax(dim=1)])
write("all", SVHN, [BatchNorm2d(3), Flatten(), linear(3072, 20, "TikiTakaReRamESPreset"), LeakyReLU(0.2),
                    Linear(20, 10), Tanh(), ReLU(), LogSigmoid(), Softmax(dim=1),
                    linear(10, 10, "MixedPrecisionPCMPreset", False)],
      batch_size=5, epochs=2, learning_rate=0.3, loss_function=CrossEntropyLoss)
write("images", SVHN, [AnalogConv2d(3, 4, 5, stride=2, padding=(1, 2), dilation=(1, 2), bias=False,
                                    rpu_config=presets.IdealizedPreset()),
                       MaxPool2d(3, padding=1), BatchNorm2d(4), ConvTranspose2d(4, 2, 3, stride=2, output_padding=1),
                       Conv2d(2, 2, (3, 1), padding=1), Flatten(), LogSoftmax(dim=1)])
"""
    run_peer(script, tmp_path)
    assert (tmp_path / "users").read_bytes() == RECORDED
    result = convert.experiment_document((tmp_path / "all").read_bytes(), 0, known)
    assert result["experiment"]["learning_rate"] == 0.3
    assert result["experiment"]["loss_function"] == "CrossEntropyLoss"
    assert result["model"]["layers"][2]["config"] == known["TikiTakaReRamESPreset"]
    assert result["model"]["layers"][9]["bias"] is True  # the reference always says so
    layers = convert.experiment_document((tmp_path / "images").read_bytes(), 0, known)["model"]["layers"]
    named = {layer["class"]: layer for layer in layers}
    assert list(named) == [
        *("ChannelsLast", "AnalogConv2d", "MaxPool", "BatchNorm", "ConvTranspose", "Conv"),
        *("ChannelsFirst", "Flatten", "LogSoftmax"),
    ]
    first = named["AnalogConv2d"]
    assert (first["in_features"], first["out_features"], first["config"]) == (3, 4, known["IdealizedPreset"])
    assert (first["strides"], first["padding"]) == ([2, 2], [[1, 1], [2, 2]])
    assert (first["kernel_size"], first["kernel_dilation"]) == ([5, 5], [1, 2])
    assert named["MaxPool"]["window_shape"] == named["MaxPool"]["strides"] == [3, 3]
    assert named["ConvTranspose"]["padding"] == [[2, 3], [2, 3]]
    assert named["Conv"]["kernel_size"] == [3, 1] and named["Conv"]["padding"] == [[1, 1], [1, 1]]
