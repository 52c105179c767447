"""Experiments: training runs from data, model and key to metrics."""

from aihwjax.experiments.best import load_best
from aihwjax.experiments.fitting import fit, load_data, run_local
from aihwjax.experiments.metrics import EpochMetrics, MetricsFile, Printer, Report
from aihwjax.experiments.runners import LocalRunner
from aihwjax.experiments.storing import Saved, load, load_all, save
from aihwjax.experiments.training import BasicTraining
from aihwjax.experiments.watching import StepMetrics, StepReport

__all__ = [
    "BasicTraining",
    "EpochMetrics",
    "LocalRunner",
    "MetricsFile",
    "Printer",
    "Report",
    "Saved",
    "StepMetrics",
    "StepReport",
    "fit",
    "load",
    "load_all",
    "load_best",
    "load_data",
    "run_local",
    "save",
]
