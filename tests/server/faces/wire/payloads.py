"""Payloads of the wire protocol for the tests, made with the module's own messages."""

from __future__ import annotations

from typing import Any

from aihwjax.server.faces.wire import messages

_FIELDS = {float: ("FLOAT", "f"), int: ("INT", "i"), str: ("STRING", "s"), bool: ("BOOL", "b"), list: ("INTS", "ints")}
_TYPES = {"FLOAT": 1, "INT": 2, "STRING": 3, "BOOL": 101, "INTS": 7}

USERS_DOCUMENT = (
    ("Flatten", {}),
    ("AnalogLinear", {"in_features": 784, "out_features": 256}),
    ("Sigmoid", {}),
    ("AnalogLinear", {"in_features": 256, "out_features": 128}),
    ("Sigmoid", {}),
    ("AnalogLinear", {"in_features": 128, "out_features": 10}),
    ("LogSoftmax", {"dim": 1}),
)
"""The network of the reference's documentation; its analog layers have the arguments of ``analog``."""

CONVOLUTIONS = (
    ("AnalogConv2d", {"in_channels": 1, "out_channels": 2, "kernel_size": [5, 5], "stride": [2, 2], "padding": [0, 1]}),
    ("Tanh", {}),
    ("MaxPool2d", {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1, "ceil_mode": False}),
    ("BatchNorm2d", {"num_features": 2}),
    ("Flatten", {}),
    ("AnalogLinear", {"in_features": 72, "out_features": 10}),
    ("LogSoftmax", {"dim": 1}),
)
"""A small network of convolutions for images of 28 x 28."""

ACTIVATIONS = ("LeakyReLU", "LogSigmoid", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Tanh")


def argument(name: str, value: Any) -> Any:
    """Return an argument as the client writes it."""
    kind, field = _FIELDS[type(value)]
    stored = value.encode() if isinstance(value, str) else value
    return messages.TRAINING["AttributeProto"](name=name, type=_TYPES[kind], **{field: stored})


def training(
    layers: Any = USERS_DOCUMENT,
    *,
    dataset: str = "fashion_mnist",
    batch_size: int = 64,
    epochs: int = 30,
    lr: float = 0.05,
    loss: str = "NLLLoss",
    preset: str = "IdealizedPreset",
) -> Any:
    """Return a ``TrainingInput``; analog layers get their preset, bias and scaling."""
    message: Any = messages.TrainingInput()
    message.version.schema = message.version.opset = 1
    message.dataset.dataset_id, message.dataset.batch_size = dataset, batch_size
    message.network.SetInParent()
    for name, arguments in layers:
        entry = message.network.layers.add()
        target = entry.activation_function if name in ACTIVATIONS else entry.layer
        target.id = name
        if "Conv" in name:
            arguments = {"dilation": [1, 1], **arguments, "bias": arguments.get("bias", True)}
        if name.startswith("Analog"):
            arguments = {**arguments, "bias": True, "rpu_config": preset, "weight_scaling_omega": 0.0}
        target.arguments.extend(argument(key, value) for key, value in arguments.items())
    message.training.optimizer.id = "AnalogSGD"
    message.training.optimizer.arguments.append(argument("lr", lr))
    message.training.loss_function.id = loss
    message.training.epochs = epochs
    return message


def inferencing(
    device: str = "pcm", preset: str = "WebComposerInferenceRPUConfig", kind: str = "AnalogLinearMapped", **changes: Any
) -> Any:
    """Return an ``InferenceInput`` as the client writes it; changes are fields by name."""
    message: Any = messages.InferenceInput()
    message.version.schema = message.version.opset = 1
    message.dataset.dataset_id, message.dataset.batch_size = "fashion_mnist", 10
    message.network.weight_template_id = changes.pop("weight_template_id", "")
    values = {"in_features": 784, "out_features": 10, "bias": True, "rpu_config": preset}
    for name, arguments in (("Flatten", {}), (kind, values)):
        layer = message.network.layers.add().layer
        layer.id = name
        for key, value in arguments.items():
            layer.arguments.add().MergeFromString(argument(key, value).SerializeToString())
    last = message.network.layers.add().activation_function
    last.id = "LogSoftmax"
    last.arguments.add().MergeFromString(argument("dim", 1).SerializeToString())
    asked = message.inferencing
    asked.inference_repeats, asked.inference_time = changes.pop("repeats", 3), changes.pop("time", 86400)
    asked.analog_info.output_noise_strength = 0.04
    asked.analog_info.adc, asked.analog_info.dac = changes.pop("adc", 9), 7
    given = getattr(asked.noise_model_info, device)
    given.device_id, given.drift_compensation = device, changes.pop("compensation", True)
    fields = {"programming_noise_scale": 1.0, "read_noise_scale": 0.5, "drift_scale": 2.0}
    fields |= {"poly_constant_coef": 0.25, "poly_first_order_coef": 1.5, "poly_second_order_coef": -1.0}
    if device == "generic":
        fields |= {"drift_mean": 0.125, "drift_std": 0.0625}
    for name, value in {**fields, **changes}.items():
        setattr(given, name, value)
    return message
