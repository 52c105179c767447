"""Inferencing on the wire: the reference's payload as a document, and chips as its output."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("google.protobuf", reason="needs the extra composer")

from aihwjax.chip_results import chip_entry
from aihwjax.cloud import document as documents
from aihwjax.errors import AihwjaxError
from aihwjax.server.faces.wire import inferencing, messages, presets
from tests.server.faces.wire.payloads import inferencing as payload

KNOWN = presets.build_inference()


def converted(message: Any) -> dict[str, Any]:
    """Return the document of a message."""
    return inferencing.inference_document(message.SerializeToString(), 7, KNOWN)


def test_a_payload_is_an_experiment_that_the_check_takes() -> None:
    made = converted(payload())
    documents.check(made)
    section = made["experiment"]
    assert (section["inference_repeats"], section["batch_size"], section["key"]) == (3, 10, 7)
    assert section["times"][:2] == [0.0, 1.0]
    assert (len(section["times"]), section["times"][-1]) == (10, 86400.0)
    tile = made["model"]["layers"][1]["config"]
    assert tile["forward"]["out_noise"] == 0.04
    assert (tile["forward"]["out_res"], tile["forward"]["inp_res"]) == (1 / 510, 1 / 126)
    assert tile["forward"]["out_bound"] == 20.0, "the rest is that of the preset"
    noise = tile["noise_model"]
    assert (noise["class"], noise["prog_coeff"], noise["g_converter"]["g_max"]) == (
        "PCMLikeNoiseModel",
        [0.25, 1.5, -1.0],
        25.0,
    )
    assert (noise["prog_noise_scale"], noise["read_noise_scale"], noise["drift_scale"]) == (1.0, 0.5, 2.0)
    assert tile["drift_compensation"]["class"] == "GlobalDriftCompensation"


def test_a_generic_device_without_compensation() -> None:
    made = converted(payload("generic", compensation=False, preset="InferenceRPUConfig", kind="AnalogLinear"))
    documents.check(made)
    tile = made["model"]["layers"][1]["config"]
    assert tile["drift_compensation"] is None
    noise = tile["noise_model"]
    assert (noise["class"], noise["drift_nu_mean"], noise["drift_nu_std"]) == (
        "StateIndependentNoiseModel",
        0.125,
        0.0625,
    )


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (payload(weight_template_id="lenet5"), "the weight template lenet5 is not here: leave it empty"),
        (payload(repeats=0), "the number of repeats 0 is not allowed: give at least 1"),
        (payload(time=0), "the inference time 0 is not allowed: give at least 1"),
        (payload(adc=1), "adc 1 is not allowed: give 2 to 32 bits"),
        (payload(read_noise_scale=-1.0), "the scale of the read noise -1 is not allowed"),
        (payload(poly_constant_coef=math.nan), "a coefficient of the programming noise is nan"),
        (payload(device_id="reram"), "the device reram of the noise model is not allowed: give pcm"),
        (payload(preset="IdealizedPreset"), "has the unknown preset IdealizedPreset"),
        (payload(preset="PCMLikeNoiseModel"), "has the unknown preset PCMLikeNoiseModel"),
    ],
)
def test_what_is_refused_is_one_line(message: Any, words: str) -> None:
    with pytest.raises(AihwjaxError, match=words) as caught:
        converted(message)
    assert "\n" not in str(caught.value)


def test_damaged_bytes_are_refused() -> None:
    with pytest.raises(AihwjaxError, match="is no InferenceInput"):
        inferencing.inference_document(b"whatever it is", 7, KNOWN)


def test_the_output_has_what_the_client_reads() -> None:
    entries = [chip_entry([{"chip": n, "time": 1.0, "loss": 0.5 + n, "accuracy": 90.0 - 4 * n}], 1.5) for n in range(2)]
    output: Any = messages.parse(messages.InferencingOutput, inferencing.inferencing_output(entries, 2))
    runs = output.inference_runs
    assert (runs.inference_repeat, runs.is_partial, runs.time_elapsed) == (2, False, 3.0)
    (found,) = runs.inference_results
    assert (found.t_inference, found.avg_accuracy, found.std_accuracy, found.avg_error, found.avg_loss) == (
        1.0,
        88.0,
        2.0,
        12.0,
        1.0,
    )
