"""This library on the same problem: the program that ``aihwjax.fit`` runs, timed."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from aihwjax import nn, presets
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.devices.soft_bounds import SoftBoundsDevice
from aihwjax.experiments import BasicTraining, EpochMetrics, fit, loop
from aihwjax.random import NoiseEngine, derive, stream
from aihwjax.tile.config import InferenceRPUConfig, SingleRPUConfig, TileConfig
from aihwjax.tile.product.io import BoundManagementType, IOParameters, NoiseManagementType
from aihwjax.tile.product.periphery import InputRangeParameter, MappingParameter, PrePostProcessingParameter
from aihwjax.tile.upkeep.modifier import WeightModifierParameter, WeightModifierType
from aihwjax.typing import Key
from benchmarks import compilations
from benchmarks.digital import permutation
from benchmarks.measure import Sample, timed
from benchmarks.problem import (
    HARDWARE_AWARE,
    INFERENCE,
    MODIFIER_STD,
    PIXELS,
    STEPS,
    UNITS,
    Digits,
    Network,
    Problem,
    Task,
)

_DEVICES = {"ConstantStep": ConstantStepDevice, "SoftBounds": SoftBoundsDevice}
_EIGHT_BITS = IOParameters(
    inp_res=1 / 254,
    out_res=1 / 254,
    noise_management=NoiseManagementType.NONE,
    bound_management=BoundManagementType.NONE,
)


@dataclasses.dataclass(frozen=True)
class OurSetting:
    """A way to run this library; the same choice that the reference has."""

    single_tile: bool
    """One tile a layer, instead of the default of at most 512 rows and columns."""

    @property
    def name(self) -> str:
        """How records name the setting."""
        return "one tile a layer" if self.single_tile else "default mapping"


def settings(problem: Problem) -> list[OurSetting]:
    """Return all settings that make a difference to the problem."""
    split = problem.network is Network.CLASSIFIER and any(width > 512 for width in problem.layers)
    return [OurSetting(True), OurSetting(False)] if split else [OurSetting(True)]


def tile_config(device: str, single_tile: bool = True) -> TileConfig:
    """Return the preset, or the default configuration of a tile with the device or kind, called ``device``."""
    mapping = MappingParameter(max_input_size=0, max_output_size=0) if single_tile else MappingParameter()
    if device in INFERENCE:
        modifier = WeightModifierParameter(type=WeightModifierType.ADD_NORMAL, std_dev=MODIFIER_STD)
        if device == HARDWARE_AWARE:
            return InferenceRPUConfig(mapping=mapping, modifier=modifier)
        pre_post = PrePostProcessingParameter(input_range=InputRangeParameter(enable=True))
        return InferenceRPUConfig(mapping=mapping, modifier=modifier, pre_post=pre_post, forward=_EIGHT_BITS)
    if device.endswith("Preset"):
        return presets.by_name(device)(mapping=mapping)
    return SingleRPUConfig(device=_DEVICES[device](), mapping=mapping)


def network(problem: Problem, config: TileConfig) -> nnx.Module:
    """Return the network: a classifier has sigmoids between layers, all a log-softmax at the end."""
    if problem.network is Network.LENET:
        return lenet(config)
    if problem.network is Network.LSTM:
        return lstm(config)
    return classifier(problem.layers, config)


def lenet(config: TileConfig) -> nnx.Module:
    """Return LeNet-5 on rows of 784 pixels."""
    rngs = nnx.Rngs(0)
    return nn.AnalogSequential(
        nn.Function(_as_images),
        nn.AnalogConv2d(1, 16, 5, padding="VALID", config=config, rngs=rngs),
        nn.Tanh(),
        nn.MaxPool((2, 2)),
        nn.AnalogConv2d(16, 32, 5, padding="VALID", config=config, rngs=rngs),
        nn.Tanh(),
        nn.MaxPool((2, 2)),
        nn.Flatten(),
        nn.AnalogLinear(512, 128, config=config, rngs=rngs),
        nn.Tanh(),
        nn.AnalogLinear(128, 10, config=config, rngs=rngs),
        nn.LogSoftmax(),
    )


def _as_images(x: jax.Array) -> jax.Array:
    return x.reshape(-1, 28, 28, 1)


def lstm(config: TileConfig) -> nnx.Module:
    """Return the LSTM on rows of 784 pixels."""
    rngs = nnx.Rngs(0)
    return nn.AnalogSequential(
        nn.Function(_as_sequences),
        nn.AnalogRNN(nn.AnalogLSTMCell, PIXELS, UNITS, config=config, rngs=rngs),
        nn.Function(_last),
        nn.AnalogLinear(UNITS, 10, config=config, rngs=rngs),
        nn.LogSoftmax(),
    )


def _as_sequences(x: jax.Array) -> jax.Array:
    return x[:, : STEPS * PIXELS].reshape(-1, STEPS, PIXELS)


def _last(x: jax.Array) -> jax.Array:
    return x[:, -1]


def classifier(layers: tuple[int, ...], config: TileConfig) -> nnx.Module:
    """Return fully connected layers with sigmoids between them."""
    rngs = nnx.Rngs(0)
    modules: list[nnx.Module] = []
    for fan_in, fan_out in pairwise(layers):
        modules += [nn.AnalogLinear(fan_in, fan_out, config=config, rngs=rngs), nn.Sigmoid()]
    modules[-1] = nn.LogSoftmax()
    return nn.AnalogSequential(*modules)


class _Stop(Exception):  # noqa: N818 (a signal, not an error)
    """Ends a run of ``fit`` from its report."""


class TrainRunner:
    """A run of ``fit`` that pauses after each epoch until it is asked to go on.

    ``fit`` runs in a thread of its own and waits in its report, so what is timed is what a user
    gets. The validation that belongs to an epoch is kept to a single example.
    """

    def __init__(self, problem: Problem, data: Digits, setting: OurSetting) -> None:
        """Start the run and wait for its first epoch.

        Args:
            problem: What to run.
            data: Its training examples.
            setting: How the layers lie on tiles.
        """
        data.whole_batches(problem.batch)
        self.setting = setting
        self._examples = len(data.labels)
        self._go: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[float | Exception] = queue.SimpleQueue()
        arrays = (data.images, data.labels, data.images[:1], data.labels[:1])
        experiment = BasicTraining(
            dataset=arrays,
            model=network(problem, tile_config(problem.device, setting.single_tile)),
            batch_size=problem.batch,
            learning_rate=problem.learning_rate,
            epochs=1_000_000,
        )
        before, start = compilations.so_far(), time.perf_counter()
        self._thread = threading.Thread(target=self._fit, args=(experiment,), daemon=True)
        self._thread.start()
        self._wait()
        self.first_epoch_s = time.perf_counter() - start
        """Seconds from the call of ``fit`` to the end of its first epoch."""
        self.compile_s = (compilations.so_far() - before).seconds
        """Seconds of them in the compiler."""

    def _fit(self, experiment: BasicTraining) -> None:
        try:
            fit(experiment, key=0, reports=[self._pause])
        except _Stop:
            return
        except Exception as error:  # handed to the thread that waits
            self._done.put(error)

    def _pause(self, metrics: list[EpochMetrics]) -> None:
        self._done.put(metrics[-1]["train_loss"])
        if not self._go.get():
            raise _Stop

    def _wait(self) -> float:
        result = self._done.get()
        if isinstance(result, Exception):
            raise result
        return result

    def measure(self, epochs: int) -> Sample:
        """Go on for some epochs."""

        def work() -> float:
            loss = 0.0
            for _ in range(epochs):
                self._go.put(True)
                loss = self._wait()
            return loss

        return timed(work, epochs * self._examples)

    def close(self) -> None:
        """End the run."""
        self._go.put(False)
        self._thread.join()


class ForwardRunner:
    """Outputs of one network for all batches of the data, an epoch a call."""

    def __init__(self, problem: Problem, data: Digits, setting: OurSetting) -> None:
        """Build and compile.

        Args:
            problem: What to run.
            data: Its examples.
            setting: How the layers lie on tiles.
        """
        data.whole_batches(problem.batch)
        self.setting = setting
        model = network(problem, tile_config(problem.device, setting.single_tile))
        model.eval()
        graph, self._state = nnx.split(model)
        self._images = jnp.asarray(data.images)
        self._batch = problem.batch
        self._rng = np.random.default_rng(1)

        def run(state: nnx.State[Any, Any], images: jax.Array, order: jax.Array, key: Key) -> jax.Array:
            noise = stream(key, NoiseEngine.COUNTER)

            def batch(number: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
                outputs = loop.call(nnx.merge(graph, state), images[rows], derive(noise, number))
                return number + 1, outputs.mean()

            return lax.scan(batch, jnp.uint32(0), order)[1]

        start = time.perf_counter()
        self._compiled = jax.jit(run).lower(self._state, self._images, self._order(), jax.random.key(0)).compile()
        self.compile_s = time.perf_counter() - start
        """Seconds to trace and compile an epoch."""

    def _order(self) -> jax.Array:
        return permutation(self._rng, len(self._images), self._batch)

    def measure(self, epochs: int) -> Sample:
        """Go on for some epochs."""

        def work() -> float:
            means = jnp.zeros(1)
            for epoch in range(epochs):
                means = self._compiled(self._state, self._images, self._order(), jax.random.key(epoch))
            return float(means[-1])

        return timed(work, epochs * len(self._images))

    def close(self) -> None:
        """Nothing to end."""


OurRunner = TrainRunner | ForwardRunner
"""A prepared network of this library."""


def runners(problem: Problem, data: Digits) -> dict[str, OurRunner]:
    """Return the problem's network under every setting, by the name of the setting."""
    kind = TrainRunner if problem.task is Task.TRAIN else ForwardRunner
    return {setting.name: kind(problem, data, setting) for setting in settings(problem)}
