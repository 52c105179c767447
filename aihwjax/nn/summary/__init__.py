"""What one call of a model does on tiles: sizes, products, energy and time."""

from aihwjax.nn.summary.costs import Costs
from aihwjax.nn.summary.summary import analog_summary
from aihwjax.nn.summary.table import Summary

__all__ = ["Costs", "Summary", "analog_summary"]
