"""Digital buffers have a line for each slice, and hidden parameters the orientation of the tile."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.devices.device import Device
from tests.compounds.ideal import KEY, PERFECT, pair, started, update

OUT, IN = 2, 3
# a step of the chopped compound clears what makes it: a coarse buffer makes none
_COMPOUNDS: dict[str, tuple[type[Device], dict[str, float], str, str]] = {
    "buffered": (aj.BufferedTransferCompound, {}, "buffer 0", "buffered_FP_weight_0"),
    "chopped": (aj.ChoppedTransferCompound, {"buffer_granularity": 1e4}, "buffer", "buffered_FP_weight_0"),
    "dynamic": (aj.DynamicTransferCompound, {}, "mean", "running_mean_weight"),
}


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("name", list(_COMPOUNDS))
def test_a_read_fills_its_line(name: str, columns: bool) -> None:
    kind, fields, memory, hidden = _COMPOUNDS[name]
    compound = kind(
        unit_cell_devices=pair(),
        units_in_mbatch=False,
        transfer_every=1,
        transfer_columns=columns,
        transfer_forward=PERFECT,
        fast_lr=0.05,
        **fields,
    )
    config, state = started(compound, (OUT, IN))
    state = update(config, state, jnp.ones((1, IN)), jnp.array([[1.0, -2.0]]), 0.1, KEY)
    lines = np.asarray(state.device.memory[memory])
    assert lines.shape == ((IN, OUT) if columns else (OUT, IN))
    seen = np.asarray(aj.tile.hidden_parameters(config, state)[hidden])
    np.testing.assert_array_equal(seen, lines.T if columns else lines)
    read = np.zeros((OUT, IN), bool)
    read[:, 0] |= columns
    read[0] |= not columns
    np.testing.assert_array_equal(seen != 0, read)
