"""The same physics on every platform: a matrix of devices, batch sizes and orders of first calls.

Each device and compound is updated as programs are used, compiled on the platform at hand, and compared with the
sequential update on a CPU, by tests with a stated rate of false alarms (:mod:`aihwjax.physics.comparing`).
"""

from aihwjax.physics.comparing import Comparison, compare, differs
from aihwjax.physics.kinds import all_kinds
from aihwjax.physics.matrix import BATCHES, Cell, matrix_table, run, summary, write_json

__all__ = [
    "BATCHES",
    "Cell",
    "Comparison",
    "all_kinds",
    "compare",
    "differs",
    "matrix_table",
    "run",
    "summary",
    "write_json",
]
