"""What the messages of inferencing mean here: an inference as an experiment document, chips as its output."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from aihwjax.chip_results import KIND, result, rows_of, time_grid
from aihwjax.server.faces.wire import messages, network
from aihwjax.server.faces.wire.convert import DATASETS, FORMAT, check_version, either
from aihwjax.server.faces.wire.layers import Document, Presets, RefusedError, at_least, short, shortest
from aihwjax.server.faces.wire.messages import InferenceInput, InferencingOutput, MessageError

PCM, GENERIC = "PCMLikeNoiseModel", "StateIndependentNoiseModel"
"""The noise models that the messages describe."""
COMPENSATION = "GlobalDriftCompensation"
_DEFAULT_BATCH_SIZE = 10
_TIMES = 10
_BITS = (2, 32)


def inference_document(payload: bytes, key: int, known: Presets) -> Document:
    """Return the experiment document that an inference's payload describes.

    Args:
        payload: Bytes of an ``InferenceInput``.
        key: Seed of the run and of its initial weights: a payload has none.
        known: Configuration documents of presets and noise models, from
            :func:`~aihwjax.server.faces.wire.presets.inference_documents`.

    Raises:
        RefusedError: If the payload is damaged or incomplete, or has a weight template, layer, preset, data set or
            value that is not supported.
    """
    try:
        message: Any = messages.parse(InferenceInput, payload)
    except MessageError as error:
        raise RefusedError(str(error)) from None
    check_version(message.version)
    asked = message.inferencing
    template = message.network.weight_template_id
    if template:
        raise RefusedError(
            f"the weight template {short(template)} is not here: leave it empty, or send the experiment with aihwjax"
        )
    if message.dataset.dataset_id not in DATASETS:
        name = short(message.dataset.dataset_id)
        raise RefusedError(f"the dataset {name} is not supported: give {either(DATASETS)}")
    size = message.dataset.batch_size if message.dataset.HasField("batch_size") else _DEFAULT_BATCH_SIZE
    last = at_least("the inference time", asked.inference_time, 1)
    changes = {"forward": _converters(asked.analog_info), **_noise(asked.noise_model_info, known)}
    presets = {name: _changed(config, changes) for name, config in known.items() if "forward" in config}
    return {
        "format": FORMAT,
        "kind": KIND,
        "experiment": {
            "dataset": message.dataset.dataset_id,
            "batch_size": at_least("the batch size", size, 1),
            "loss_function": "CrossEntropyLoss",
            "inference_repeats": at_least("the number of repeats", asked.inference_repeats, 1),
            "times": time_grid(last, _TIMES),
            "key": key,
            "max_elements": 0,
        },
        "model": {"class": "AnalogSequential", "layers": network.layers_of(message.network.layers, presets)},
        "parameters": None,
    }


def inferencing_output(entries: Iterable[Mapping[str, Any]], repeats: int) -> bytes:
    """Return the bytes of an ``InferencingOutput``.

    Args:
        entries: What the job told of each chip; a value of ``None`` is not a finite number.
        repeats: Chips that the experiment has.
    """
    told = list(entries)
    seconds = sum(float(entry.get("time_epoch") or 0) for entry in told)
    runs = result(rows_of(told), repeats, seconds)["inference_runs"]
    output: Any = InferencingOutput()
    output.version.schema, output.version.opset = messages.SCHEMA, messages.OPSET
    message = output.inference_runs
    message.inference_repeat, message.is_partial = runs["inference_repeat"], runs["is_partial"]
    message.time_elapsed = runs["time_elapsed"]
    for entry in runs["inference_results"]:
        message.inference_results.add(
            t_inference=entry["t_inference"],
            avg_accuracy=entry.get("avg_accuracy", math.nan),
            std_accuracy=entry.get("std_accuracy", math.nan),
            avg_error=entry.get("avg_error", math.nan),
            avg_loss=entry["avg_loss"],
        )
    return output.SerializeToString()


def in_its_numbers(text: str, payload: bytes) -> str:
    """Return an error about the model of a payload, with the positions that the layers have in the payload.

    Args:
        text: The error.
        payload: Bytes of an ``InferenceInput``.
    """
    message: Any = messages.parse(InferenceInput, payload)
    return network.in_its_numbers(text, message.network.layers)


def _changed(config: Document, changes: Document) -> Document:
    """Return a configuration with parts replaced, tables entry by entry."""
    found = {**config, **{name: value for name, value in changes.items() if name != "forward"}}
    return {**found, "forward": {**config["forward"], **changes["forward"]}}


def _converters(info: Any) -> Document:
    """Return what the message says of the product."""
    noise = _number("the output noise", info.output_noise_strength)
    found: Document = {"out_noise": noise}
    for name, field in (("adc", "out_res"), ("dac", "inp_res")):
        if info.HasField(name):
            bits = getattr(info, name)
            if not _BITS[0] <= bits <= _BITS[1]:
                raise RefusedError(f"{name} {bits} is not allowed: give {_BITS[0]} to {_BITS[1]} bits")
            found[field] = 1 / (2**bits - 2)
    return found


def _noise(info: Any, known: Presets) -> Document:
    """Return noise model and compensation."""
    kind = info.WhichOneof("item")
    if kind is None:
        raise RefusedError("the noise model is missing: give pcm or generic")
    given = getattr(info, kind)
    if given.device_id != kind:
        raise RefusedError(f"the device {short(given.device_id)} of the noise model is not allowed: give {kind}")
    coefficients = (given.poly_constant_coef, given.poly_first_order_coef, given.poly_second_order_coef)
    model = {
        **known[PCM if kind == "pcm" else GENERIC],
        "prog_coeff": [_finite("a coefficient of the programming noise", value) for value in coefficients],
        "prog_noise_scale": _number("the scale of the programming noise", given.programming_noise_scale),
        "read_noise_scale": _number("the scale of the read noise", given.read_noise_scale),
        "drift_scale": _number("the scale of the drift", given.drift_scale),
    }
    if kind == "generic":
        model["drift_nu_mean"] = _finite("the mean of the drift", given.drift_mean)
        model["drift_nu_std"] = _number("the spread of the drift", given.drift_std)
    compensation = dict(known[COMPENSATION]) if given.drift_compensation else None
    return {"noise_model": model, "drift_compensation": compensation}


def _number(what: str, value: float) -> float:
    if not math.isfinite(value) or value < 0:
        raise RefusedError(f"{what} {value:g} is not allowed: give a finite number of at least 0")
    return shortest(value)


def _finite(what: str, value: float) -> float:
    if not math.isfinite(value):
        raise RefusedError(f"{what} is {value:g}: give a finite number")
    return shortest(value)
