"""Small experiments that can travel."""

from __future__ import annotations

from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.tile.config import TileConfig

ANALOG = aj.SingleRPUConfig(device=aj.ConstantStepDevice(dw_min=0.01))


def model(config: TileConfig = ANALOG, seed: int = 0) -> nn.AnalogSequential:
    """Return a network for 28 x 28 images of ten classes."""
    rngs = nnx.Rngs(seed)
    return nn.AnalogSequential(
        nn.Flatten(),
        nn.AnalogLinear(784, 4, config=config, rngs=rngs),
        nn.Tanh(),
        nnx.Linear(4, 10, rngs=rngs),
        nn.LogSoftmax(dim=1),
    )


def experiment(config: TileConfig = ANALOG, **fields: object) -> aj.BasicTraining:
    """Return a training of :func:`model` on the digits of the package."""
    given = {"dataset": aj.MNIST10K, "model": model(config), "batch_size": 16, "epochs": 2, "learning_rate": 0.1}
    return aj.BasicTraining(**{**given, **fields})
