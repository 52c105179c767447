"""The messages of the wire protocol, in Protocol Buffers 2.

The tables below state the format: a message's fields as ``number label type name``, with labels ``r``
(required), ``o`` (optional) and ``*`` (repeated). A ``/`` after the label puts the field in the message's one
choice. Training and inferencing have packages of their own, with a copy of the shared messages in each. The
messages live in a pool of this module, so that they can't meet those of another package in the same process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from aihwjax.errors import AihwjaxError

Fields: TypeAlias = tuple[str, ...]
"""A message's fields, one text each."""

SCHEMA = OPSET = 1
"""The versions of the format that exist."""

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "float": _FIELD.TYPE_FLOAT,
    "bool": _FIELD.TYPE_BOOL,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}
_LABELS = {"r": _FIELD.LABEL_REQUIRED, "o": _FIELD.LABEL_OPTIONAL, "*": _FIELD.LABEL_REPEATED}

_ENUMS = {
    "AttributeType": {
        "UNDEFINED": 0,
        "FLOAT": 1,
        "INT": 2,
        "STRING": 3,
        "TENSOR": 4,
        "FLOATS": 6,
        "INTS": 7,
        "STRINGS": 8,
        "TENSORS": 9,
        "BOOL": 101,
        "BOOLS": 102,
    }
}

_NAMED: Fields = ("1 r string id", "2 * AttributeProto arguments")
_SHARED: Mapping[str, Fields] = {
    "Version": ("1 r int64 schema", "2 r int64 opset"),
    "AttributeProto": (
        "1 o string name",
        "20 o AttributeType type",
        "2 o float f",
        "3 o int64 i",
        "4 o bytes s",
        "5 o TensorProto t",
        "101 o bool b",
        "7 * float floats",
        "8 * int64 ints",
        "9 * bytes strings",
        "10 * TensorProto tensors",
        "102 * bool bools",
    ),
    "TensorProto": (
        "1 * int64 dims",
        "2 o int32 data_type",
        "4 * float float_data",
        "5 * int32 int32_data",
        "6 * bytes string_data",
        "7 * int64 int64_data",
    ),
    "Dimension": ("1 o/ int64 dim_value", "2 o/ string dim_param", "3 o string denotation"),
    "TensorShapeProto": ("1 * Dimension dim",),
    "PrimitiveProto": _NAMED,
    "TransformProto": _NAMED,
    "ActivationFunctionProto": _NAMED,
    "OptimizerProto": _NAMED,
    "SchedulerProto": _NAMED,
    "LossFunctionProto": _NAMED,
    "LayerProto": (*_NAMED, "3 * AttributeProto state_dict"),
    "LayerOrActivationFunction": (
        "1 o/ ActivationFunctionProto activation_function",
        "2 o/ LayerProto layer",
    ),
}
_TRAINING: Mapping[str, Fields] = {
    "Network": ("1 * LayerOrActivationFunction layers",),
    "Dataset": ("1 r string dataset_id", "2 * TransformProto transforms", "3 o int32 batch_size"),
    "Training": (
        "1 r OptimizerProto optimizer",
        "2 o SchedulerProto scheduler",
        "3 o LossFunctionProto loss_function",
        "4 o int32 epochs",
    ),
    "TrainingInput": ("1 r Version version", "2 r Dataset dataset", "3 r Network network", "4 r Training training"),
    "EpochInformation": ("1 r int32 epoch", "2 * AttributeProto metrics"),
    "TrainingOutput": (
        "1 r Version version",
        "2 r Network network",
        "3 * EpochInformation epochs",
        "4 * AttributeProto metrics",
    ),
}
_PCM: Fields = (
    "1 r string device_id",
    "2 r float programming_noise_scale",
    "3 r float read_noise_scale",
    "4 r float drift_scale",
    "5 r bool drift_compensation",
    "6 r float poly_first_order_coef",
    "7 r float poly_second_order_coef",
    "8 r float poly_constant_coef",
)
_INFERENCING: Mapping[str, Fields] = {
    "Dataset": ("1 r string dataset_id", "2 o int64 batch_size"),
    "Network": ("1 r string weight_template_id", "2 * LayerOrActivationFunction layers"),
    "AnalogProto": ("1 r float output_noise_strength", "2 o int64 adc", "3 o int64 dac"),
    "PCMProto": _PCM,
    "GenericProto": (*_PCM, "9 r float drift_mean", "10 r float drift_std"),
    "NoiseModelProto": ("1 o/ PCMProto pcm", "2 o/ GenericProto generic"),
    "Inferencing": (
        "1 r int64 inference_repeats",
        "2 r int64 inference_time",
        "3 r AnalogProto analog_info",
        "4 r NoiseModelProto noise_model_info",
    ),
    "InferenceInput": (
        "1 r Version version",
        "2 r Dataset dataset",
        "3 r Network network",
        "4 r Inferencing inferencing",
    ),
    "InferenceResultsProto": (
        "1 r float t_inference",
        "2 r float avg_accuracy",
        "3 r float std_accuracy",
        "4 r float avg_error",
        "5 r float avg_loss",
    ),
    "InferenceRunsProto": (
        "1 r int64 inference_repeat",
        "2 r bool is_partial",
        "3 r float time_elapsed",
        "4 * InferenceResultsProto inference_results",
    ),
    "InferencingOutput": ("1 r Version version", "2 r InferenceRunsProto inference_runs"),
}


class MessageError(AihwjaxError):
    """Bytes are not the message that they should be."""


def _build(pool: descriptor_pool.DescriptorPool, package: str, tables: Iterable[Mapping[str, Fields]]) -> Any:
    """Put the messages of a package into the pool and return their classes by name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for text, number in values.items():
            enum.value.add(name=text, number=number)
    for table in tables:
        for name, fields in table.items():
            message = file.message_type.add(name=name)
            for field in fields:
                _add_field(message, package, field)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClassesForFiles([file.name], pool)


def _add_field(message: Any, package: str, text: str) -> None:
    number, label, kind, name = text.split()
    field = message.field.add(name=name, number=int(number), label=_LABELS[label[0]])
    if label.endswith("/"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="item")
        field.oneof_index = 0
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _FIELD.TYPE_ENUM if kind in _ENUMS else _FIELD.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"


_POOL = descriptor_pool.DescriptorPool()
_CLASSES = {
    **_build(_POOL, "aihwx", (_SHARED, _TRAINING)),
    **_build(_POOL, "aihwx.inferencing", (_SHARED, _INFERENCING)),
}

TRAINING = {name: _CLASSES[f"aihwx.{name}"] for name in (*_SHARED, *_TRAINING)}
"""Classes of the training messages by name."""
INFERENCING = {name: _CLASSES[f"aihwx.inferencing.{name}"] for name in (*_SHARED, *_INFERENCING)}
"""Classes of the inferencing messages by name."""

TrainingInput = TRAINING["TrainingInput"]
"""What the client sends to have a network trained."""
TrainingOutput = TRAINING["TrainingOutput"]
"""What the client gets of a training."""
InferenceInput = INFERENCING["InferenceInput"]
"""What the client sends to have a network's inference simulated."""
InferencingOutput = INFERENCING["InferencingOutput"]
"""What the client gets of an inference."""

_M = TypeVar("_M")


def parse(kind: type[_M], data: bytes) -> _M:
    """Read a message.

    Args:
        kind: Its class, such as :data:`TrainingInput`.
        data: Its bytes.

    Raises:
        MessageError: If the bytes are no message of this class, or a required field is missing, whose path the
            error names.
    """
    message: Any = kind()
    name = message.DESCRIPTOR.name
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise MessageError(
            f"the payload of {len(data)} bytes is no {name}: give a message of Protocol Buffers"
        ) from None
    missing = message.FindInitializationErrors()
    if missing:
        raise MessageError(f"{name}.{missing[0]} is missing: the message needs it")
    return message


def argument_values(message: Any) -> dict[str, Any]:
    """Return the values of a layer's arguments by name: numbers, truth values, texts, or tuples of them.

    Args:
        message: A layer, activation, optimizer or loss function.

    Raises:
        MessageError: If an argument has no name, comes twice, has a type without a value, or text that isn't UTF-8.
    """
    values: dict[str, Any] = {}
    for argument in message.arguments:
        if not argument.name or argument.name in values:
            raise MessageError(f"{message.id} has an argument {argument.name!r} twice or without a name")
        values[argument.name] = _value(message.id, argument)
    return values


def attribute(name: str, value: float) -> Message:
    """Return a number as the attribute of a training message.

    Args:
        name: Its name.
        value: Its value, stored as a float of 32 bits.
    """
    return TRAINING["AttributeProto"](name=name, type=_ENUMS["AttributeType"]["FLOAT"], f=value)


_SINGLE = {1: "f", 2: "i", 3: "s", 101: "b"}
_SEVERAL = {6: "floats", 7: "ints", 8: "strings", 102: "bools"}


def _value(owner: str, argument: Any) -> Any:
    if argument.type in _SINGLE and argument.HasField(_SINGLE[argument.type]):
        return _text(owner, argument.name, getattr(argument, _SINGLE[argument.type]))
    if argument.type in _SEVERAL:
        return tuple(_text(owner, argument.name, value) for value in getattr(argument, _SEVERAL[argument.type]))
    raise MessageError(f"{owner}.{argument.name} has no value of its type, number {argument.type}")


def _text(owner: str, name: str, value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise MessageError(f"{owner}.{name} is no text in UTF-8") from None
