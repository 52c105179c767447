"""What the layers of the wire protocol are here, one rule for each.

The wire protocol follows PyTorch: images are ``(n, channels, height, width)``, as they are in aihwjax's data sets, and
names and arguments of layers are PyTorch's. Convolutions and pools have their channels last here: each rule says where
a layer needs them, and :mod:`~aihwjax.server.faces.wire.network` moves the axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from aihwjax.errors import AihwjaxError, nearest

Document: TypeAlias = dict[str, Any]
"""JSON values."""
Presets: TypeAlias = Mapping[str, Document]
"""Configuration documents by the name of their preset."""


class RefusedError(AihwjaxError):
    """A payload is well-formed, or should be, but asks for something that this server does not have."""


class Context(NamedTuple):
    """What a layer is built with, besides its arguments."""

    presets: Presets
    """Configuration documents of the presets."""
    channels_last: bool
    """Where the channels of its input are, if that is an image."""


class Rule(NamedTuple):
    """How one layer of the wire is built here."""

    arguments: Mapping[str, type]
    """Its arguments and their types; the message must have all of them and no others."""
    build: Callable[[Document, Context], Document]
    """From the arguments to the entry of the document."""
    optional: tuple[str, ...] = ()
    """Arguments that may be missing."""
    channels_last: bool | None = False
    """Whether it needs the channels of an image at the end, or where PyTorch has them; ``None``: it takes both."""


class Pair(tuple[int, int]):
    """Two whole numbers, for the height and the width; a single one is for both."""


def _analog_linear(values: Document, context: Context) -> Document:
    return {
        "class": "AnalogLinear",
        **_features(values),
        "bias": values["bias"],
        "config": _configuration(values, context),
    }


def _analog_conv(values: Document, context: Context) -> Document:
    return {"class": "AnalogConv2d", **_window(values), "config": _configuration(values, context)}


def _configuration(values: Document, context: Context) -> Document:
    """Return the configuration of a preset with the layer's scaling."""
    name, presets = values["rpu_config"], context.presets
    if name not in presets:
        raise RefusedError(f"has the unknown preset {short(name)}{nearest(name, presets)}")
    config = dict(presets[name])
    if "weight_scaling_omega" in values:
        omega = shortest(values["weight_scaling_omega"])
        if not math.isfinite(omega) or omega < 0:
            raise RefusedError(f"has weight_scaling_omega {omega:g}: give a finite number of at least 0")
        config["mapping"] = {**config["mapping"], "weight_scaling_omega": omega}
    return config


def _linear(values: Document, context: Context) -> Document:
    return {"class": "Linear", **_features(values), "use_bias": values["bias"]}


def _conv(values: Document, context: Context) -> Document:
    return {"class": "Conv", **_window(values)}


def _conv_transpose(values: Document, context: Context) -> Document:
    """PyTorch counts the zeros that are left out of the full result, Flax those that are there."""
    window = _window(values)
    more = _pair("output_padding", values, 0)
    sizes = zip(window["kernel_size"], window["kernel_dilation"], window["strides"], more, strict=True)
    pads = []
    for (kernel, dilation, stride, extra), (padding, _) in zip(sizes, window["padding"], strict=True):
        if extra >= max(stride, dilation):
            raise RefusedError(f"has output_padding {extra}: give less than stride or dilation")
        full = dilation * (kernel - 1)
        pads.append([full - padding, full - padding + extra])
    return {"class": "ConvTranspose", **window, "padding": pads}


def _window(values: Document) -> Document:
    """Return sizes and movement of a convolution, as Flax names them."""
    features = {"in_channels": "in_features", "out_channels": "out_features"}
    return {
        **{name: at_least(given, values[given], 1) for given, name in features.items()},
        "kernel_size": _pair("kernel_size", values, 1),
        "strides": _pair("stride", values, 1),
        "padding": [[lines, lines] for lines in _pair("padding", values, 0)],
        "kernel_dilation": _pair("dilation", values, 1),
        "use_bias": values["bias"],
    }


def _max_pool(values: Document, context: Context) -> Document:
    if _pair("dilation", values, 1) != [1, 1]:
        raise RefusedError(f"has dilation {short(values['dilation'])}: give 1")
    if values["ceil_mode"]:
        raise RefusedError("has ceil_mode true: give false")
    window, padding = _pair("kernel_size", values, 1), _pair("padding", values, 0)
    if any(2 * lines > size for lines, size in zip(padding, window, strict=True)):
        raise RefusedError(f"has padding {short(values['padding'])}: give at most half of kernel_size")
    pads = [[lines, lines] for lines in padding]
    return {"class": "MaxPool", "window_shape": window, "strides": _pair("stride", values, 1), "padding": pads}


def _batch_norm(values: Document, context: Context) -> Document:
    count = at_least("num_features", values["num_features"], 1)
    axis = -1 if context.channels_last else 1
    return {"class": "BatchNorm", "num_features": count, "axis": axis, "momentum": 0.9}  # PyTorch's momentum is 1 - 0.9


def _features(values: Document) -> Document:
    return {name: at_least(name, values[name], 1) for name in ("in_features", "out_features")}


def _pair(name: str, values: Document, minimum: int) -> list[int]:
    """Return an argument for height and width."""
    value = values[name]
    return [at_least(name, each, minimum) for each in (value if isinstance(value, tuple) else (value, value))]


def _plain(name: str, channels_last: bool | None = None, **arguments: type) -> Rule:
    """A layer with the same name and arguments here."""

    def build(values: Document, context: Context) -> Document:
        for value in values.values():
            if isinstance(value, float) and not math.isfinite(value):
                raise RefusedError(f"has an argument {value:g}: give a finite number")
        numbers = {key: shortest(value) if isinstance(value, float) else value for key, value in values.items()}
        return {"class": name, **numbers}

    return Rule(arguments, build, channels_last=channels_last)


_SIZES = {"in_features": int, "out_features": int, "bias": bool}
_TILE = {"rpu_config": str, "weight_scaling_omega": float}
_KERNEL = {
    "in_channels": int,
    "out_channels": int,
    "kernel_size": Pair,
    "stride": Pair,
    "padding": Pair,
    "dilation": Pair,
    "bias": bool,
}
_POOL = {"kernel_size": Pair, "stride": Pair, "padding": Pair, "dilation": Pair, "ceil_mode": bool}
_SCALE = ("weight_scaling_omega",)
RULES: Mapping[str, Rule] = {
    "AnalogConv2d": Rule({**_KERNEL, **_TILE}, _analog_conv, _SCALE, channels_last=True),
    "AnalogLinear": Rule({**_SIZES, **_TILE}, _analog_linear, _SCALE),
    # of inferencing only; here every layer is cut into tiles as its configuration says
    "AnalogConv2dMapped": Rule({**_KERNEL, **_TILE}, _analog_conv, _SCALE, channels_last=True),
    "AnalogLinearMapped": Rule({**_SIZES, **_TILE}, _analog_linear, _SCALE),
    "Conv2d": Rule(_KERNEL, _conv, channels_last=True),
    "ConvTranspose2d": Rule({**_KERNEL, "output_padding": Pair}, _conv_transpose, channels_last=True),
    "Linear": Rule(_SIZES, _linear),
    "MaxPool2d": Rule(_POOL, _max_pool, channels_last=True),
    "BatchNorm2d": Rule({"num_features": int}, _batch_norm, channels_last=None),
    "Flatten": _plain("Flatten", channels_last=False),
    "LeakyReLU": _plain("LeakyReLU", negative_slope=float),
    "LogSigmoid": _plain("LogSigmoid"),
    "LogSoftmax": _plain("LogSoftmax", channels_last=False, dim=int),
    "ReLU": _plain("ReLU"),
    "Sigmoid": _plain("Sigmoid"),
    "Softmax": _plain("Softmax", channels_last=False, dim=int),
    "Tanh": _plain("Tanh"),
}


# ----------------------------------------------------------------------------- words
KINDS = {
    int: "a whole number",
    bool: "true or false",
    str: "text",
    float: "a number",
    Pair: "two whole numbers, or one for both",
}


def at_least(what: str, value: int, minimum: int) -> int:
    """Return a whole number that is large enough.

    Raises:
        RefusedError: If it is not.
    """
    if value < minimum:
        raise RefusedError(f"{what} {value} is not allowed: give at least {minimum}")
    return value


def shortest(value: float) -> float:
    """Return the shortest decimal number that is the same float of 32 bits: 0.05, not 0.05000000074505806."""
    return float(str(np.float32(value)))


def short(value: object) -> str:
    """Return a value as a short line, for an error."""
    text = " ".join(str(value).split()) or "''"
    return text if len(text) <= 40 else text[:37] + "..."
