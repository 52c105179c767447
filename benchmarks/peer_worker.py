"""Runs inside the reference's Python: answers one JSON line for each JSON line it reads.

It imports only torch, numpy, aihwkit and, if there, aihwkit-lightning, so it runs where this library is not installed.

Requests:
    ``{"op": "prepare", "name", "data", "task", "device", "batch", "layers", "learning_rate", "network", "single_tile",
    "modifier_std", "learned_ranges", "library", "seed"}``
        builds a network on the arrays of ``data``, an ``.npz`` with ``images`` and ``labels``; for the task
        ``update`` one tile, with ``gradients`` at its outputs for labels. With ``modifier_std`` its tiles are
        inference tiles with additive weight noise in training, whatever the device, and with ``learned_ranges`` they
        have 8-bit converters and learned input ranges. ``library`` is one of :data:`LIBRARIES`; only inference tiles
        with learned ranges know more than the first. For the task ``chips`` the arrays have ``times`` too, and an epoch
        of ``measure`` is one chip: programming, and all outputs at each time. Answers ``{"prepare_s"}``.
    ``{"op": "measure", "name", "epochs"}``
        goes on with the network called ``name`` over its data, freshly permuted in each epoch; answers
        ``{"examples", "seconds", "cpu_s", "loss", "peak_rss_mib"}``.
    ``{"op": "accuracy", "name", "data"}``
        answers ``{"accuracy"}`` of the network on ``images`` and ``labels`` of the arrays of ``data``.
    ``{"op": "stop"}``
        ends the process.

An error is answered as ``{"error"}``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogLSTMCell, AnalogRNN, AnalogSequential
from aihwkit.optim import AnalogSGD
from aihwkit.simulator import configs, presets

LIBRARIES = ("aihwkit", "aihwkit torch tile", "aihwkit-lightning", "aihwkit-lightning fast ranges")
"""Ways to train inference tiles with learned ranges."""


def lightning(request: dict) -> torch.nn.Module:
    """Return the network of ``prepare`` in aihwkit-lightning, with a method ``trained_by(rate)`` for its optimizer."""
    from aihwkit_lightning import nn
    from aihwkit_lightning.optim import AnalogOptimizer
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
    from aihwkit_lightning.simulator.parameters.enums import WeightNoiseInjectionType

    rpu_config = TorchInferenceRPUConfig()
    rpu_config.forward.inp_res = rpu_config.forward.out_res = 254
    rpu_config.forward.out_bound, rpu_config.forward.out_noise = 12.0, 0.06
    rpu_config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL
    rpu_config.modifier.std_dev = request["modifier_std"]
    rpu_config.pre_post.input_range.enable = True
    rpu_config.pre_post.input_range.fast_mode = request["library"].endswith("fast ranges")
    kinds = nn.AnalogSequential, nn.AnalogLinear, nn.AnalogConv2d
    model = layers_of(request, rpu_config, *kinds)
    model.trained_by = lambda rate: AnalogOptimizer(torch.optim.SGD, model.analog_layers, model.parameters(), lr=rate)
    return model


def learned_ranges(request: dict) -> configs.InferenceRPUConfig | configs.TorchInferenceRPUConfig:
    """Return inference tiles with 8-bit converters and learned input ranges."""
    kind = configs.TorchInferenceRPUConfig if request["library"] == LIBRARIES[1] else configs.InferenceRPUConfig
    rpu_config = kind(
        modifier=configs.WeightModifierParameter(
            type=configs.WeightModifierType.ADD_NORMAL, std_dev=request["modifier_std"]
        )
    )
    rpu_config.forward.inp_res = rpu_config.forward.out_res = 1 / 254
    rpu_config.forward.noise_management = configs.NoiseManagementType.NONE
    rpu_config.forward.bound_management = configs.BoundManagementType.NONE
    rpu_config.pre_post.input_range.enable = True
    return rpu_config


def tile_config(request: dict) -> configs.RPUConfigBase:
    """Return the default configuration of a tile with the device or preset that ``prepare`` asks for."""
    if request.get("learned_ranges"):
        return learned_ranges(request)
    if request["device"].endswith("Preset"):
        return getattr(presets, request["device"])()
    if request.get("modifier_std") is None:
        return configs.SingleRPUConfig(device=getattr(configs, request["device"] + "Device")())
    modifier = configs.WeightModifierParameter(
        type=configs.WeightModifierType.ADD_NORMAL, std_dev=request["modifier_std"]
    )
    return configs.InferenceRPUConfig(modifier=modifier)


def network(request: dict, rpu_config: configs.RPUConfigBase) -> AnalogSequential:
    """Return the network that ``prepare`` asks for, on rows of pixels."""
    if request["network"] == "lstm":
        return AnalogSequential(
            Recurrent(rpu_config), AnalogLinear(64, 10, rpu_config=rpu_config), torch.nn.LogSoftmax(dim=1)
        )
    return layers_of(request, rpu_config, AnalogSequential, AnalogLinear, AnalogConv2d)


def layers_of(
    request: dict, rpu_config: object, sequential: Callable, linear: Callable, conv: Callable
) -> torch.nn.Module:
    """Return LeNet-5 or a classifier of the layers of either library."""
    if request["network"] == "lenet":
        return sequential(
            torch.nn.Unflatten(1, (1, 28, 28)),
            conv(1, 16, 5, rpu_config=rpu_config),
            torch.nn.Tanh(),
            torch.nn.MaxPool2d(2),
            conv(16, 32, 5, rpu_config=rpu_config),
            torch.nn.Tanh(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            linear(512, 128, rpu_config=rpu_config),
            torch.nn.Tanh(),
            linear(128, 10, rpu_config=rpu_config),
            torch.nn.LogSoftmax(dim=1),
        )
    modules: list[torch.nn.Module] = []
    for fan_in, fan_out in pairwise(request["layers"]):
        modules += [linear(fan_in, fan_out, rpu_config=rpu_config), torch.nn.Sigmoid()]
    modules[-1] = torch.nn.LogSoftmax(dim=1)
    return sequential(*modules)


class Recurrent(torch.nn.Module):
    """The last output of an LSTM of 64 units over 50 steps of 15 pixels."""

    def __init__(self, rpu_config: configs.RPUConfigBase) -> None:
        """Build it."""
        super().__init__()
        self.rnn = AnalogRNN(AnalogLSTMCell, 15, 64, rpu_config=rpu_config, num_layers=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return it, ``(n, 64)``."""
        sequences = x[:, :750].reshape(-1, 50, 15).transpose(0, 1)
        return self.rnn(sequences)[0][-1]


class Run:
    """A network of the reference, or one of its tiles, on data held as tensors."""

    def __init__(self, request: dict) -> None:
        """Build what ``prepare`` asks for."""
        arrays = np.load(request["data"])
        self.images = torch.from_numpy(arrays["images"])
        self.batch = request["batch"]
        self.times = arrays["times"].tolist() if "times" in arrays else []
        self.task = request["task"]
        torch.manual_seed(request.get("seed", 0))
        self.loss = torch.nn.NLLLoss()
        if request["library"].startswith("aihwkit-lightning"):
            self.targets = torch.from_numpy(arrays["labels"].astype(np.int64))
            self.model = lightning(request)
            self.optimizer = self.model.trained_by(request["learning_rate"])
            self.model.train(self.task == "train")
            return
        rpu_config = tile_config(request)
        if request["single_tile"]:
            rpu_config.mapping.max_input_size = 0
            rpu_config.mapping.max_output_size = 0
        layers = request["layers"]
        if self.task == "update":
            self.targets = torch.from_numpy(arrays["gradients"])
            layer = AnalogLinear(*layers, bias=False, rpu_config=rpu_config)
            self.tile = next(iter(layer.analog_tiles()))
            self.tile.set_learning_rate(request["learning_rate"])
            return
        self.targets = torch.from_numpy(arrays["labels"].astype(np.int64))
        self.model = network(request, rpu_config)
        self.optimizer = AnalogSGD(self.model.parameters(), lr=request["learning_rate"])
        self.optimizer.regroup_param_groups(self.model)
        self.model.train(self.task == "train")

    def batches(self, epochs: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of some epochs, freshly permuted in each."""
        for _ in range(epochs):
            order = torch.randperm(len(self.targets))
            yield from zip(self.images[order].split(self.batch), self.targets[order].split(self.batch), strict=True)

    def train(self, epochs: int) -> float:
        """Train and return the last loss."""
        loss = torch.tensor(0.0)
        for images, targets in self.batches(epochs):
            self.optimizer.zero_grad()
            loss = self.loss(self.model(images), targets)
            loss.backward()
            self.optimizer.step()
        return loss.item()

    def forward(self, epochs: int) -> float:
        """Compute outputs and return the mean of their last batch."""
        outputs = torch.zeros(1)
        with torch.no_grad():
            for images, _ in self.batches(epochs):
                outputs = self.model(images)
        return outputs.mean().item()

    def chips(self, epochs: int) -> float:
        """Program some chips, evaluate each at all times and return the last accuracy."""
        right = 0
        with torch.no_grad():
            for _ in range(epochs):
                self.model.program_analog_weights()
                for t in self.times:
                    self.model.drift_analog_weights(t)
                    pairs = zip(self.images.split(self.batch), self.targets.split(self.batch), strict=True)
                    right = sum(int((self.model(x).argmax(1) == y).sum()) for x, y in pairs)
        return right / len(self.targets)

    def update(self, epochs: int) -> float:
        """Update the tile and return its mean weight."""
        for images, gradients in self.batches(epochs):
            self.tile.update(images, gradients)
        return self.tile.get_weights()[0].mean().item()

    def accuracy(self, data: str) -> float:
        """Return the share of examples of a file that the network names right."""
        arrays = np.load(data)
        self.model.eval()
        with torch.no_grad():
            found = self.model(torch.from_numpy(arrays["images"])).argmax(1).numpy()
        self.model.train()
        return float((found == arrays["labels"]).mean())

    def measure(self, epochs: int) -> dict:
        """Go on for some epochs and return what it took."""
        work = {"train": self.train, "forward": self.forward, "update": self.update, "chips": self.chips}[self.task]
        start, cpu = time.perf_counter(), time.process_time()
        loss = work(epochs)
        return {
            "examples": epochs * (len(self.times) or len(self.targets)),
            "seconds": time.perf_counter() - start,
            "cpu_s": time.process_time() - cpu,
            "loss": loss,
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def answer(request: dict, runs: dict[str, Run]) -> dict:
    """Do what one request asks."""
    if request["op"] == "prepare":
        start = time.perf_counter()
        runs[request["name"]] = Run(request)
        return {"prepare_s": time.perf_counter() - start}
    if request["op"] == "accuracy":
        return {"accuracy": runs[request["name"]].accuracy(request["data"])}
    return runs[request["name"]].measure(request["epochs"])


def main() -> None:
    """Serve requests from standard input until ``stop`` or its end."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the reference prints must not mix with the answers
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    runs: dict[str, Run] = {}
    found = importlib.util.find_spec("aihwkit_lightning") is not None
    replies.write(json.dumps({"ready": True, "threads": torch.get_num_threads(), "lightning": found}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "stop":
            return
        try:
            reply = answer(request, runs)
        except Exception as error:  # the caller turns it into an exception of its own
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
