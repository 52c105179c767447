"""The problem that every speed figure is about: a small classifier on real digits."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

import numpy as np

DEVICES = ("ConstantStep", "SoftBounds")
"""Devices that are measured, by the first part of their class name; both with default parameters."""

PRESETS = (
    "TikiTakaEcRamPreset",
    "TTv2ReRamSBPreset",
    "ChoppedTTv2EcRamPreset",
    "AGADEcRamPreset",
    "MixedPrecisionReRamSBPreset",
)
"""Presets of the training algorithms that are measured; one of each algorithm."""

SLOW_PRESETS = {"TTv2ReRamSBPreset": 30, "ChoppedTTv2EcRamPreset": 30, "AGADEcRamPreset": 120}
"""Those that transfer after every vector, milliseconds an example in the reference; mini-batches of a round."""

HARDWARE_AWARE = "Inference"
"""In place of a device: an inference tile with default converters, whose training reads noisy weights."""

LEARNED_RANGES = "InferenceLearnedRanges"
"""The same with 8-bit converters and learned input ranges in place of noise and bound management."""

INFERENCE = (HARDWARE_AWARE, LEARNED_RANGES)
"""Kinds of inference tiles."""

MODIFIER_STD = 0.1
"""Standard deviation of that noise, relative to the largest weight of a tile."""

BATCHES = (64, 8, 1)
"""Examples in a step that are measured."""


class Task(enum.Enum):
    """What is measured."""

    TRAIN = "train"
    """Steps of gradient descent."""
    FORWARD = "forward"
    """Outputs only, no gradient."""
    UPDATE = "update"
    """Updates of one tile with given inputs and gradients."""
    CHIPS = "chips"
    """Programming chips and evaluating each at several times; ``batch`` digits go at once."""


class Network(enum.Enum):
    """What is trained."""

    CLASSIFIER = "classifier"
    """Fully connected layers."""
    LENET = "lenet"
    """LeNet-5 with 16 and 32 channels on images of 28 x 28."""
    LSTM = "lstm"
    """One LSTM of 64 units over 50 steps of 15 pixels each, and a layer on its last output."""


STEPS, PIXELS, UNITS = 50, 15, 64
"""Steps of a sequence, pixels of a step, units of the LSTM."""


SEED_LAYERS = (784, 256, 128, 10)
"""Widths of the network that most figures are about, from input to output."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """One setting of the benchmark: what runs, on which network, at which batch size."""

    task: Task = Task.TRAIN
    """What is measured."""
    device: str = "ConstantStep"
    """Device of every crosspoint, a member of :data:`DEVICES`, :data:`PRESETS` or :data:`INFERENCE`."""
    batch: int = 64
    """Examples in a step."""
    layers: tuple[int, ...] = SEED_LAYERS
    """Widths from input to output; sigmoid between, log-softmax at the end."""
    learning_rate: float = 0.05
    """Step size of gradient descent."""
    network: Network = Network.CLASSIFIER
    """What is trained; the widths are those of a classifier."""

    @property
    def name(self) -> str:
        """Short name, as records carry it."""
        what = self.task if self.network is Network.CLASSIFIER else self.network
        layers = "" if self.layers == SEED_LAYERS else "x".join(map(str, self.layers)) + "/"
        return f"{what.value}/{layers}{self.device}/batch{self.batch}"

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON has them, for another process."""
        return {**dataclasses.asdict(self), "task": self.task.value, "network": self.network.value}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Make the problem that :meth:`plain` wrote."""
        layers = tuple(plain["layers"])
        return cls(**{**plain, "task": Task(plain["task"]), "network": Network(plain["network"]), "layers": layers})


@dataclasses.dataclass(frozen=True)
class Digits:
    """Training examples on the host."""

    images: np.ndarray
    """Normalised pixels, ``(n, features)`` float32."""
    labels: np.ndarray
    """Class of each image, ``(n,)`` int32."""

    def cut(self, examples: int) -> Digits:
        """Return the first ``examples`` of them."""
        return Digits(self.images[:examples], self.labels[:examples])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return them by the names that the reference's process knows."""
        return {"images": self.images, "labels": self.labels}

    def whole_batches(self, batch: int) -> int:
        """Return the number of steps in an epoch.

        Raises:
            ValueError: The last batch would be smaller than the others.
        """
        steps, rest = divmod(len(self.labels), batch)
        if rest or not steps:
            raise ValueError(f"{len(self.labels)} examples are no whole number of batches of {batch}")
        return steps


def digits() -> Digits:
    """Return the training split of the embedded digits: 8,000 images of 784 pixels."""
    from aihwjax.experiments.data import MNIST10K

    splits = MNIST10K.load()
    return Digits(splits.train_x.reshape(len(splits.train_x), -1), splits.train_y.astype(np.int32))


def random_digits(features: int, classes: int, examples: int) -> Digits:
    """Return made-up examples, for sizes of which there are no real data.

    Args:
        features: Numbers an example.
        classes: Number of labels.
        examples: How many.
    """
    rng = np.random.default_rng(0)
    images = rng.standard_normal((examples, features), np.float32)
    return Digits(images, rng.integers(0, classes, examples).astype(np.int32))


def initial_weights(layers: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights ``(out, in)`` and biases ``(out,)``, uniform within one over the root of the fan-in.

    Args:
        layers: Widths from input to output.
    """
    rng = np.random.default_rng(0)
    pairs = []
    for fan_in, fan_out in pairwise(layers):
        limit = fan_in**-0.5
        weights = rng.uniform(-limit, limit, (fan_out, fan_in)).astype(np.float32)
        pairs.append((weights, rng.uniform(-limit, limit, fan_out).astype(np.float32)))
    return pairs
