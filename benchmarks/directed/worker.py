"""Runs inside the reference's Python: takes fresh tiles through steps and answers what they show.

It imports only torch, numpy and aihwkit, so it runs where this library is not installed. One JSON
line answers each JSON line that it reads.

Requests:
    ``{"op": "flatten", "config"}``
        answers ``{"config"}``, the whole flat configuration that the reference makes of a partial one.
    ``{"op": "measure", "config", "shape", "steps", "inputs", "repeats", "results"}``
        takes ``repeats`` fresh tiles through the steps with the arrays of the file ``inputs`` and writes what each
        record shows, ``(repeats, ...)``, to the file ``results``. Answers ``{"seconds"}``.
    ``{"op": "stop"}``
        ends the process.

An error is answered as ``{"error"}``. The reference is seeded from the clock, so no two answers are equal.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from aihwkit.simulator import configs, parameters, presets
from aihwkit.simulator.parameters import enums

NO_PART = {"mapping", "runtime", "noise_model", "drift_compensation", "tile_class", "tile_array_class"}
"""Parts of a tile's configuration that play no part in what one tile does."""


# ------------------------------------------------------------------- configurations
def built(flat: Mapping[str, Any]) -> Any:
    """Return the configuration object that a flat dictionary describes; what it does not name has its default."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, name = path.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return _object(tree)


def _object(value: Any) -> Any:
    if isinstance(value, str) and "." in value:
        kind, _, name = value.partition(".")
        return getattr(enums, kind)[name]
    if not isinstance(value, dict):
        return value
    if "__len__" in value:
        return [_object(value[str(i)]) for i in range(value["__len__"])]
    fields = {name: _object(entry) for name, entry in value.items() if name != "__class__"}
    cls = _named(value["__class__"])
    known = {field.name: field for field in dataclasses.fields(cls)}
    for name, entry in fields.items():
        if name in known and known[name].type is float and isinstance(entry, int):
            fields[name] = float(entry)
    made = cls(**{name: entry for name, entry in fields.items() if name not in known or known[name].init})
    for name, entry in fields.items():
        if name in known and not known[name].init:
            setattr(made, name, entry)
    return made


def _named(name: str) -> Any:
    for module in (configs, presets, parameters):
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"the reference has no configuration class {name}")


def flat_of(config: Any) -> dict[str, Any]:
    """Return the flat dictionary of a configuration object, defaults included."""
    flat: dict[str, Any] = {}

    def add(path: str, value: Any) -> None:
        if dataclasses.is_dataclass(value):
            flat[f"{path}.__class__" if path else "__class__"] = type(value).__name__
            for field in dataclasses.fields(value):
                if path or field.name not in NO_PART:
                    add(f"{path}.{field.name}" if path else field.name, getattr(value, field.name))
        elif isinstance(value, (list, tuple)):
            flat[f"{path}.__len__"] = len(value)
            for i, entry in enumerate(value):
                add(f"{path}.{i}", entry)
        elif isinstance(value, enum.Enum):
            flat[path] = f"{type(value).__name__}.{value.name}"
        else:
            flat[path] = value

    add("", config)
    return flat


# ----------------------------------------------------------------------------- steps
Records = dict[str, list[np.ndarray]]


class Run:
    """One fresh tile of the reference."""

    def __init__(self, config: Any, shape: Sequence[int], inputs: Mapping[str, torch.Tensor], records: Records) -> None:
        """Make the tile; what it shows is appended to ``records``."""
        self.tile = config.tile_class(shape[0], shape[1], config, bias=False)
        self.inputs = inputs
        self.records = records

    def record(self, name: str, values: torch.Tensor) -> None:
        self.records.setdefault(name, []).append(values.detach().numpy().copy())

    def set_weights(self, weights: str) -> None:
        self.tile.set_weights(self.inputs[weights], None, apply_weight_scaling=False)

    def update(self, x: str, d: str, learning_rate: float, times: int, closes: bool) -> None:
        self.tile.set_learning_rate(learning_rate)
        for _ in range(times):
            self.tile.update(self.inputs[x], self.inputs[d])
            if closes:
                self.tile.post_update_step()

    def weights(self, record: str) -> None:
        self.record(record, self.tile.get_weights(apply_weight_scaling=False)[0])

    def hidden(self, record: str, keep: Sequence[str] | None = None) -> None:
        for name, values in self.tile.get_hidden_parameters().items():
            if not keep or any(part in name for part in keep):
                self.record(f"{record}/{name}", values)

    def forward(self, x: str, record: str, pair: str | None = None) -> None:
        self._read(lambda: self.tile.joint_forward(self.inputs[x]), record, pair)

    def backward(self, d: str, record: str, pair: str | None = None) -> None:
        self._read(lambda: self.tile.backward(self.inputs[d]), record, pair)

    def _read(self, product: Callable[[], torch.Tensor], record: str, pair: str | None) -> None:
        first = product().clone()
        self.record(record, first)
        if pair:
            self.record(f"{record}/difference", first - product())

    def end_of_batch(self) -> None:
        self.tile.post_update_step()

    def decay(self, alpha: float) -> None:
        self.tile.decay_weights(alpha)

    def diffuse(self) -> None:
        self.tile.diffuse_weights()

    def drift(self, delta_t: float) -> None:
        self.tile.drift_weights(delta_t)

    def reset(self, first_column: int, columns: int, probability: float) -> None:
        self.tile.reset_columns(first_column, columns, probability)

    def sums(self, record: str) -> None:
        values = self.records[record][-1].astype(np.float64)
        for name, total in (("rows", values.sum(-1)), ("columns", values.sum(-2)), ("all", values.sum((-2, -1))[None])):
            self.records.setdefault(f"{record}/{name}", []).append(total)


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Take fresh tiles through the steps and write what they show."""
    start = time.perf_counter()
    with np.load(request["inputs"]) as arrays:
        inputs = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    config = built(request["config"])
    records: Records = {}
    with torch.no_grad():
        for _ in range(request["repeats"]):
            run = Run(config, request["shape"], inputs, records)
            for name, *arguments in request["steps"]:
                getattr(run, name)(*arguments)
    np.savez(request["results"], allow_pickle=False, **{name: np.stack(values) for name, values in records.items()})
    return {"seconds": time.perf_counter() - start}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what one request asks."""
    if request["op"] == "flatten":
        return {"config": flat_of(built(request["config"]))}
    return measure(request)


def main() -> None:
    """Serve requests from standard input until ``stop`` or its end."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the reference prints must not mix with the answers
    torch.set_num_threads(1)
    replies.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "stop":
            return
        try:
            reply = answer(request)
        except Exception as error:  # the caller turns it into an exception of its own
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
