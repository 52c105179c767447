"""Training: one optimizer for digital parameters and tiles (spec: tile_ops section 13, update section 8)."""

from aihwjax.optim.any_transformation import AnalogOptimizer, analog_optimizer, with_rate
from aihwjax.optim.descent import AnalogSGD, analog_sgd
from aihwjax.optim.loop import Training, take_apart, training_step
from aihwjax.optim.named import NamedOptimizer, named_optimizer
from aihwjax.optim.step import Optimizer, OptimizerState, check_fits, check_transformation

__all__ = [
    "AnalogOptimizer",
    "AnalogSGD",
    "NamedOptimizer",
    "Optimizer",
    "OptimizerState",
    "Training",
    "analog_optimizer",
    "analog_sgd",
    "check_fits",
    "check_transformation",
    "named_optimizer",
    "take_apart",
    "training_step",
    "with_rate",
]
