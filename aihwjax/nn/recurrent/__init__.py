"""Recurrent layers on analog tiles: cells, one step of time each, and the layer that runs them over sequences."""

from aihwjax.nn.recurrent.cells import (
    AnalogGRUCell,
    AnalogLSTMCell,
    AnalogLSTMCellCombinedWeight,
    AnalogVanillaRNNCell,
    RecurrentCell,
)
from aihwjax.nn.recurrent.rnn import AnalogRNN

__all__ = [
    "AnalogGRUCell",
    "AnalogLSTMCell",
    "AnalogLSTMCellCombinedWeight",
    "AnalogRNN",
    "AnalogVanillaRNNCell",
    "RecurrentCell",
]
