"""The tile: a crossbar of devices with its converters, as pure functions on a :class:`TileState`.

The files of this folder are the functions that a user calls, with the configuration
(:mod:`~aihwjax.tile.config`) and the state that they take. The physics is in the folders,
:mod:`~aihwjax.tile.product`, :mod:`~aihwjax.tile.pulsed_update` and :mod:`~aihwjax.tile.upkeep`; each
defines its part of the configuration and knows no more of it.
"""

from aihwjax.tile.calibration import InputRangeCalibrationType, calibrate
from aihwjax.tile.hidden import hidden_parameters, pulse_counts, set_hidden_parameters
from aihwjax.tile.lifecycle import get_weights, init, redraw, set_hidden_update_index, set_weights
from aihwjax.tile.maintenance import clip, decay, diffuse, drift, end_of_batch, remap, reset
from aihwjax.tile.modified_copy import modify
from aihwjax.tile.passes import backward, forward, forward_with_mask, observe
from aihwjax.tile.ranging import input_range_step, set_input_range
from aihwjax.tile.state import FrozenIO, TileState
from aihwjax.tile.updating import update
from aihwjax.tile.verified_writing import WriteResult, program_weights

__all__ = [
    "FrozenIO",
    "InputRangeCalibrationType",
    "TileState",
    "WriteResult",
    "backward",
    "calibrate",
    "clip",
    "decay",
    "diffuse",
    "drift",
    "end_of_batch",
    "forward",
    "forward_with_mask",
    "get_weights",
    "hidden_parameters",
    "init",
    "input_range_step",
    "modify",
    "observe",
    "program_weights",
    "pulse_counts",
    "redraw",
    "remap",
    "reset",
    "set_hidden_parameters",
    "set_hidden_update_index",
    "set_input_range",
    "set_weights",
    "update",
]
