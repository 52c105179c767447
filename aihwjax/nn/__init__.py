"""Modules in Flax NNX: layers on analog tiles, gradients that carry x and d, losses."""

from aihwjax.nn import losses
from aihwjax.nn.accumulating import accumulate
from aihwjax.nn.activations import (
    GELU,
    Flatten,
    Function,
    Identity,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from aihwjax.nn.containers import AnalogSequential
from aihwjax.nn.gradients import Gradients, value_and_grad
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.linear import AnalogLinear
from aihwjax.nn.paths import analog_layers, analog_tiles, redraw
from aihwjax.nn.scan import scan
from aihwjax.nn.tile import AnalogTile
from aihwjax.nn.variables import FixedInputRange, InputRange, InputRangeCount, TileConfigVariable, TileVariable

__all__ = [
    "GELU",
    "AnalogLayer",
    "AnalogLinear",
    "AnalogSequential",
    "AnalogTile",
    "FixedInputRange",
    "Flatten",
    "Function",
    "Gradients",
    "Identity",
    "InputRange",
    "InputRangeCount",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "TileConfigVariable",
    "TileVariable",
    "accumulate",
    "analog_layers",
    "analog_tiles",
    "losses",
    "redraw",
    "scan",
    "value_and_grad",
]
