"""Sweeps: many configurations of one experiment, trained in a few compiled calls."""

from aihwjax.experiments.sweeping.points import configured, grid
from aihwjax.experiments.sweeping.running import sweep
from aihwjax.experiments.sweeping.table import SweepTable

__all__ = ["SweepTable", "configured", "grid", "sweep"]
