"""Experiments: training and inference runs from data, model and key to metrics."""

from aihwjax.chip_results import (
    ChipResult,
    InferenceReport,
    InferenceResult,
    InferenceRuns,
    TimeResult,
)
from aihwjax.experiments.best import load_best
from aihwjax.experiments.fitting import fit, load_data, run_local
from aihwjax.experiments.inferencing import BasicInferencing
from aihwjax.experiments.inferring import infer, load_examples, run_local_inference
from aihwjax.experiments.metrics import EpochMetrics, MetricsFile, Printer, Report
from aihwjax.experiments.runners import InferenceLocalRunner, LocalRunner
from aihwjax.experiments.storing import Saved, load, load_all, save
from aihwjax.experiments.sweeping import (
    Choice,
    Integers,
    LogUniform,
    LossGradient,
    SweepTable,
    Uniform,
    configured,
    grid,
    optuna_search,
    ray_search,
    ray_trainable,
    sampled,
    successive_halving,
    sweep,
    training_gradient,
)
from aihwjax.experiments.training import BasicTraining
from aihwjax.experiments.watching import StepMetrics, StepReport

__all__ = [
    "BasicInferencing",
    "BasicTraining",
    "ChipResult",
    "Choice",
    "EpochMetrics",
    "InferenceLocalRunner",
    "InferenceReport",
    "InferenceResult",
    "InferenceRuns",
    "Integers",
    "LocalRunner",
    "LogUniform",
    "LossGradient",
    "MetricsFile",
    "Printer",
    "Report",
    "Saved",
    "StepMetrics",
    "StepReport",
    "SweepTable",
    "TimeResult",
    "Uniform",
    "configured",
    "fit",
    "grid",
    "infer",
    "load",
    "load_all",
    "load_best",
    "load_data",
    "load_examples",
    "optuna_search",
    "ray_search",
    "ray_trainable",
    "run_local",
    "run_local_inference",
    "sampled",
    "save",
    "successive_halving",
    "sweep",
    "training_gradient",
]
