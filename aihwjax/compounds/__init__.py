"""Devices made of devices: unit cells and the training algorithms that live in them (spec: compounds)."""

from aihwjax.compounds.buffered import BufferedTransferCompound
from aihwjax.compounds.cells import CellState, UnitCell
from aihwjax.compounds.chopped import ChoppedTransferCompound
from aihwjax.compounds.dynamic import DynamicTransferCompound
from aihwjax.compounds.mixed_precision import MixedPrecisionCompound
from aihwjax.compounds.one_sided import DifferenceUnitCell, OneSidedUnitCell
from aihwjax.compounds.reference_cell import ReferenceUnitCell
from aihwjax.compounds.transfer import TransferCompound
from aihwjax.compounds.vector import VectorUnitCell, VectorUnitCellUpdatePolicy

__all__ = [
    "BufferedTransferCompound",
    "CellState",
    "ChoppedTransferCompound",
    "DifferenceUnitCell",
    "DynamicTransferCompound",
    "MixedPrecisionCompound",
    "OneSidedUnitCell",
    "ReferenceUnitCell",
    "TransferCompound",
    "UnitCell",
    "VectorUnitCell",
    "VectorUnitCellUpdatePolicy",
]
