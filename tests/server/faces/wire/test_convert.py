"""What payloads mean: experiment documents, refusals that name what is wrong, and results."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from aihwjax.server.faces.wire import convert, messages, presets
from aihwjax.server.faces.wire.convert import RefusedError
from tests.server.faces.wire.payloads import USERS_DOCUMENT, argument, training
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
    sizes = {"in_channels": 1, "out_channels": 16, "kernel_size": [5, 5], "stride": [1, 1], "padding": [0, 0]}
    layers = (("AnalogConv2d", sizes), ("Tanh", {}), ("MaxPool2d", {"kernel_size": 2}), *USERS_DOCUMENT)
    with pytest.raises(RefusedError, match="layer 0 AnalogConv2d and layer 2 MaxPool2d are not supported"):
        document(training(layers), known)


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
write("refused", FashionMNIST, [AnalogConv2d(1, 4, 5, rpu_config=presets.IdealizedPreset()), MaxPool2d(2), Flatten(),
                                ConvTranspose2d(1, 2, 3), Conv2d(1, 2, 3), LogSoftmax(dim=1)])
"""
    run_peer(script, tmp_path)
    assert (tmp_path / "users").read_bytes() == RECORDED
    result = convert.experiment_document((tmp_path / "all").read_bytes(), 0, known)
    assert result["experiment"]["learning_rate"] == 0.3
    assert result["experiment"]["loss_function"] == "CrossEntropyLoss"
    assert result["model"]["layers"][2]["config"] == known["TikiTakaReRamESPreset"]
    assert result["model"]["layers"][9]["bias"] is True  # the reference always says so
    with pytest.raises(RefusedError) as caught:
        convert.experiment_document((tmp_path / "refused").read_bytes(), 0, known)
    for name in ("0 AnalogConv2d", "1 MaxPool2d", "3 ConvTranspose2d", "4 Conv2d"):
        assert name in str(caught.value)
