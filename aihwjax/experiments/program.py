"""What an epoch is compiled for, and what its steps change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import optax
from flax import nnx
from jax.sharding import Mesh

from aihwjax.experiments.losses import OwnLoss, PerExample
from aihwjax.experiments.tasks import Task
from aihwjax.optim import AnalogOptimizer, OptimizerState

TrainState: TypeAlias = tuple[nnx.State, OptimizerState]
"""State of the model, without tile configurations, and of the optimizer: all that a step changes."""


@dataclass(frozen=True)
class Program:
    """What an epoch is compiled for; two equal programs share one executable."""

    graph: nnx.GraphDef[Any]
    """The model without its numbers."""
    loss: PerExample | OwnLoss
    """Loss of each example, or a user's loss of a whole batch."""
    optimizer: optax.GradientTransformation | AnalogOptimizer | None
    """Optimizer of the digital parameters, or of inference tiles too."""
    schedule: optax.Schedule | None
    """Learning rate as a function of the step; ``None`` if it is a number."""
    batch_size: int
    """Examples whose gradient is taken at once."""
    pad: bool
    """Fill a last, partial batch with empty rows instead of tracing a shorter step."""
    task: Task | None = Task.LABELS
    """When a prediction is right; ``None``: there is no such thing."""
    keep: bool = False
    """Whether an epoch returns the outputs for the validation set."""
    accumulate: int = 1
    """Batches in an update."""
    mesh: Mesh | None = None
    """Devices among which examples and stacks of tiles are divided; ``None``: there is one."""

    @property
    def step_size(self) -> int:
        """Examples in a step."""
        return self.batch_size * self.accumulate
