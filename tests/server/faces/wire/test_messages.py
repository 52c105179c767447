"""The messages of the wire protocol: bytes as the reference writes them, and damaged ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aihwjax.server.faces.wire import messages
from aihwjax.server.faces.wire.messages import MessageError
from tests.server.faces.wire.payloads import argument, training
from tests.server.peer import needs_peer, run_peer

RECORDED = (Path(__file__).parent / "users_document.binpb").read_bytes()


def inference() -> Any:
    message: Any = messages.InferenceInput()
    message.version.schema = message.version.opset = 1
    message.dataset.dataset_id = "svhn"
    message.network.weight_template_id = "a-template"
    entry = message.network.layers.add()
    entry.layer.id = "AnalogLinearMapped"
    inferencing = message.inferencing
    inferencing.inference_repeats, inferencing.inference_time = 3, 86400
    inferencing.analog_info.output_noise_strength = 0.5
    pcm = inferencing.noise_model_info.pcm
    pcm.device_id, pcm.drift_compensation = "pcm", True
    for field in ("programming_noise_scale", "read_noise_scale", "drift_scale"):
        setattr(pcm, field, 1.0)
    for field in ("poly_first_order_coef", "poly_second_order_coef", "poly_constant_coef"):
        setattr(pcm, field, 0.25)
    return message


def inference_output() -> Any:
    message: Any = messages.InferencingOutput()
    message.version.schema = message.version.opset = 1
    runs = message.inference_runs
    runs.inference_repeat, runs.is_partial, runs.time_elapsed = 2, False, 1.5
    runs.inference_results.add(t_inference=1.0, avg_accuracy=0.5, std_accuracy=0.25, avg_error=0.5, avg_loss=2.0)
    return message


def training_output() -> Any:
    message: Any = messages.TrainingOutput()
    message.version.schema = message.version.opset = 1
    message.network.CopyFrom(training().network)
    message.epochs.add(epoch=0).metrics.append(messages.attribute("accuracy", 0.5))
    return message


@pytest.mark.parametrize("build", [training, training_output, inference, inference_output])
def test_a_message_survives_its_bytes(build: Any) -> None:
    message = build()
    assert messages.parse(type(message), message.SerializeToString()) == message


def test_our_bytes_of_the_users_document_are_those_of_the_reference() -> None:
    assert training().SerializeToString(deterministic=True) == RECORDED
    assert len(RECORDED) == 565


@needs_peer
def test_the_reference_reads_what_we_write_and_writes_what_we_read(tmp_path: Path) -> None:
    for name, build in [("t", training), ("to", training_output), ("i", inference), ("io", inference_output)]:
        (tmp_path / name).write_bytes(build().SerializeToString(deterministic=True))
    script = """
from aihwkit.cloud.converter.definitions import input_file_pb2, output_file_pb2, i_input_file_pb2, i_output_file_pb2
kinds = {"t": input_file_pb2.TrainingInput, "to": output_file_pb2.TrainingOutput,
         "i": i_input_file_pb2.InferenceInput, "io": i_output_file_pb2.InferencingOutput}
for name, kind in kinds.items():
    data = open(name, "rb").read()
    message = kind()
    message.ParseFromString(data)
    assert message.IsInitialized(), name
    print(name, message.SerializeToString(deterministic=True) == data, len(str(message)))
"""
    lines = run_peer(script, tmp_path).splitlines()
    for line, build in zip(lines, [training, training_output, inference, inference_output], strict=True):
        _, same, length = line.split()
        assert same == "True"
        assert int(length) == len(str(build()))  # the same field names as well: both print them


def test_a_missing_field_is_named_by_its_path() -> None:
    message = training()
    message.dataset.ClearField("dataset_id")
    with pytest.raises(MessageError, match="TrainingInput.dataset.dataset_id is missing"):
        messages.parse(messages.TrainingInput, message.SerializePartialToString())


def test_no_bytes_lack_the_version() -> None:
    with pytest.raises(MessageError, match="version is missing"):
        messages.parse(messages.TrainingInput, b"")


@pytest.mark.parametrize("data", [b"\xff\xff\xff", RECORDED[:-3], b"PK\x03\x04" + bytes(100)])
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MessageError, match="TrainingInput"):
        messages.parse(messages.TrainingInput, data)


def test_argument_values_have_their_types() -> None:
    layer: Any = messages.TRAINING["LayerProto"](id="L")
    layer.arguments.extend(
        [argument("i", 3), argument("f", 0.5), argument("s", "text"), argument("b", False), argument("n", [1, 2])]
    )
    assert messages.argument_values(layer) == {"i": 3, "f": 0.5, "s": "text", "b": False, "n": (1, 2)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.ClearField("type"), "L.x has no value of its type"),
        (lambda a: setattr(a, "type", 1), "L.x has no value of its type"),
        (lambda a: setattr(a, "name", ""), "without a name"),
    ],
)
def test_an_argument_without_a_value_is_refused(change: Any, says: str) -> None:
    layer: Any = messages.TRAINING["LayerProto"](id="L")
    layer.arguments.append(argument("x", 3))
    change(layer.arguments[0])
    with pytest.raises(MessageError, match=says):
        messages.argument_values(layer)


def test_an_argument_that_comes_twice_is_refused() -> None:
    layer: Any = messages.TRAINING["LayerProto"](id="L")
    layer.arguments.extend([argument("x", 3), argument("x", 4)])
    with pytest.raises(MessageError, match="'x' twice"):
        messages.argument_values(layer)


def test_text_must_be_utf_8() -> None:
    layer: Any = messages.TRAINING["LayerProto"](id="L")
    layer.arguments.add(name="x", type=3, s=b"\xff\xfe")
    with pytest.raises(MessageError, match="L.x is no text"):
        messages.argument_values(layer)
