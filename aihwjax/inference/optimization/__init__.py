"""Which conductances to program for a weight: tables that are searched for (spec: inference, section 14)."""

from aihwjax.inference.optimization.optimize import optimize_programming
from aihwjax.inference.optimization.result import OptimizedProgramming, Search

__all__ = ["OptimizedProgramming", "Search", "optimize_programming"]
