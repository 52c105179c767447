"""Converters between weights and conductances; one file a kind (spec: inference, section 2)."""

from aihwjax.inference.conductance.base import ConductanceConverter
from aihwjax.inference.conductance.bit_sliced import BitSlicedConductanceConverter
from aihwjax.inference.conductance.custom_pair import CustomPairConductanceConverter
from aihwjax.inference.conductance.fusion import FusionConductanceConverter
from aihwjax.inference.conductance.pairs import (
    DualPairConductanceConverter,
    NPairConductanceConverter,
    SinglePairConductanceConverter,
)
from aihwjax.inference.conductance.single_device import SingleDeviceConductanceConverter

__all__ = [
    "BitSlicedConductanceConverter",
    "ConductanceConverter",
    "CustomPairConductanceConverter",
    "DualPairConductanceConverter",
    "FusionConductanceConverter",
    "NPairConductanceConverter",
    "SingleDeviceConductanceConverter",
    "SinglePairConductanceConverter",
]
