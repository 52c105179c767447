"""Sweeps: many configurations of one experiment, trained in a few compiled calls."""

from aihwjax.experiments.sweeping.gradients import LossGradient, training_gradient
from aihwjax.experiments.sweeping.halving import successive_halving
from aihwjax.experiments.sweeping.points import configured, grid
from aihwjax.experiments.sweeping.running import sweep
from aihwjax.experiments.sweeping.spaces import Choice, Integers, LogUniform, Uniform, sampled
from aihwjax.experiments.sweeping.table import SweepTable
from aihwjax.experiments.sweeping.with_optuna import optuna_search
from aihwjax.experiments.sweeping.with_ray import ray_search, ray_trainable

__all__ = [
    "Choice",
    "Integers",
    "LogUniform",
    "LossGradient",
    "SweepTable",
    "Uniform",
    "configured",
    "grid",
    "optuna_search",
    "ray_search",
    "ray_trainable",
    "sampled",
    "successive_halving",
    "sweep",
    "training_gradient",
]
