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
from aihwjax.nn.calibration import calibrate
from aihwjax.nn.calling import call
from aihwjax.nn.containers import AnalogSequential
from aihwjax.nn.conv import AnalogConv, AnalogConv1d, AnalogConv2d, AnalogConv3d
from aihwjax.nn.conv_transpose import AnalogConvTranspose
from aihwjax.nn.conversion import Conversion, convert_to_analog, convert_to_digital, plan_conversion
from aihwjax.nn.einsum import AnalogEinsum
from aihwjax.nn.exporting import export
from aihwjax.nn.gradients import Gradients, value_and_grad
from aihwjax.nn.images import AvgPool, ChannelsFirst, ChannelsLast, MaxPool, Reshape
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.linear import AnalogLinear
from aihwjax.nn.linear_general import AnalogLinearGeneral
from aihwjax.nn.loading import Loaded, load_weights
from aihwjax.nn.lora import AnalogLoRALinear
from aihwjax.nn.over_time import OverTime, evaluate_over_time
from aihwjax.nn.patches import Patches
from aihwjax.nn.paths import analog_layers, analog_tiles, redraw
from aihwjax.nn.programming import drift, program
from aihwjax.nn.quantization_ranges import calibrate_quantization_ranges
from aihwjax.nn.quantized import OutputQuantizer, PeripheryQuantizer
from aihwjax.nn.reconfiguring import with_config
from aihwjax.nn.recurrent import (
    AnalogGRUCell,
    AnalogLSTMCell,
    AnalogLSTMCellCombinedWeight,
    AnalogRNN,
    AnalogVanillaRNNCell,
)
from aihwjax.nn.scan import scan
from aihwjax.nn.summary import Costs, Summary, analog_summary
from aihwjax.nn.tile import AnalogTile
from aihwjax.nn.variables import (
    ChipVariable,
    FixedInputRange,
    FixedQuantizerOffset,
    FixedQuantizerStep,
    InputRange,
    InputRangeCount,
    OutputRange,
    QuantizerBatches,
    QuantizerOffset,
    QuantizerSign,
    QuantizerStep,
    TileConfigVariable,
    TileVariable,
    TileWeights,
)

__all__ = [
    "GELU",
    "AnalogConv",
    "AnalogConv1d",
    "AnalogConv2d",
    "AnalogConv3d",
    "AnalogConvTranspose",
    "AnalogEinsum",
    "AnalogGRUCell",
    "AnalogLSTMCell",
    "AnalogLSTMCellCombinedWeight",
    "AnalogLayer",
    "AnalogLinear",
    "AnalogLinearGeneral",
    "AnalogLoRALinear",
    "AnalogRNN",
    "AnalogSequential",
    "AnalogTile",
    "AnalogVanillaRNNCell",
    "AvgPool",
    "ChannelsFirst",
    "ChannelsLast",
    "ChipVariable",
    "Conversion",
    "Costs",
    "FixedInputRange",
    "FixedQuantizerOffset",
    "FixedQuantizerStep",
    "Flatten",
    "Function",
    "Gradients",
    "Identity",
    "InputRange",
    "InputRangeCount",
    "LeakyReLU",
    "Loaded",
    "LogSigmoid",
    "LogSoftmax",
    "MaxPool",
    "OutputQuantizer",
    "OutputRange",
    "OverTime",
    "Patches",
    "PeripheryQuantizer",
    "QuantizerBatches",
    "QuantizerOffset",
    "QuantizerSign",
    "QuantizerStep",
    "ReLU",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Summary",
    "Tanh",
    "TileConfigVariable",
    "TileVariable",
    "TileWeights",
    "accumulate",
    "analog_layers",
    "analog_summary",
    "analog_tiles",
    "calibrate",
    "calibrate_quantization_ranges",
    "call",
    "convert_to_analog",
    "convert_to_digital",
    "drift",
    "evaluate_over_time",
    "export",
    "load_weights",
    "losses",
    "plan_conversion",
    "program",
    "redraw",
    "scan",
    "value_and_grad",
    "with_config",
]
