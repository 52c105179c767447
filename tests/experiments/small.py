"""A small problem that trains in milliseconds: three clusters of points, a network of two layers."""

from __future__ import annotations

import numpy as np
from flax import nnx

from aihwjax import nn
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.experiments import BasicTraining
from aihwjax.tile.config import FloatingPointRPUConfig, SingleRPUConfig, TileConfig

FEATURES, CLASSES = 6, 3
ANALOG = SingleRPUConfig(device=ConstantStepDevice(dw_min=0.01))
EXACT = FloatingPointRPUConfig()


def data(train: int = 40, valid: int = 21, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return four arrays; each class is a cluster around its own corner."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(CLASSES, FEATURES))
    parts = []
    for count in (train, valid):
        y = generator.integers(0, CLASSES, count)
        parts += [(centres[y] + 0.3 * generator.normal(size=(count, FEATURES))).astype(np.float32), y]
    return tuple(parts)


def model(config: TileConfig = EXACT, seed: int = 0, bias: bool = True) -> nn.AnalogSequential:
    """Return a network of two layers."""
    rngs = nnx.Rngs(seed)
    return nn.AnalogSequential(
        nn.AnalogLinear(FEATURES, 5, bias, config=config, rngs=rngs),
        nn.Tanh(),
        nn.AnalogLinear(5, CLASSES, bias, config=config, rngs=rngs),
        nn.LogSoftmax(),
    )


def experiment(config: TileConfig = EXACT, **fields: object) -> BasicTraining:
    """Return an experiment on the small problem."""
    defaults = {"dataset": data(), "model": model(config), "batch_size": 8, "epochs": 3, "learning_rate": 0.2}
    return BasicTraining(**{**defaults, **fields})
