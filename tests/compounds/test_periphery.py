"""Reads of compounds work under every choice of the periphery."""

from __future__ import annotations

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.compounds import reading
from aihwjax.compounds.blocks import Slices
from aihwjax.random import NoiseEngine, stream
from aihwjax.tile.product.io import BIT_TYPES
from aihwjax.tile.state import TileState
from tests.compounds.ideal import KEY, WRITE, pair, started, update

NOISE, BOUND, PRODUCT = aj.NoiseManagementType, aj.BoundManagementType, aj.AnalogMVType
CHOICES = [
    *({"noise_management": noise, "bound_management": bound} for noise, bound in itertools.product(NOISE, BOUND)),
    *({"mv_type": kind, "w_read_asymmetry_dtod": 0.1} for kind in PRODUCT if kind not in BIT_TYPES),
    *({"w_noise": 0.01, "w_noise_type": kind} for kind in aj.WeightNoiseType),
    {"noise_management": "AVERAGE_ABS_MAX", "ir_drop": 1.0},
    {"noise_management": "AVERAGE_ABS_MAX", "inp_noise": 0.01},
    {"is_perfect": True, "noise_management": "AVERAGE_ABS_MAX"},
]
SHAPE = (2, 3)


def refreshed(io: aj.IOParameters) -> TileState:
    """Return a pair after a refresh of weights that are all high."""
    cell = aj.OneSidedUnitCell(
        unit_cell_devices=pair(bound=1.0), refresh_every=1, refresh_forward=io, refresh_update=WRITE
    )
    config, state = started(cell, SHAPE)
    high = (jnp.full(SHAPE, 0.4), jnp.full(SHAPE, 0.9))
    state = dataclasses.replace(state, device=dataclasses.replace(state.device, weights=high))
    return update(config, state, jnp.zeros((1, SHAPE[1])), jnp.zeros((1, SHAPE[0])), 0.1, KEY)


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("choice", range(len(CHOICES)))
def test_slices_are_read_under_every_choice(choice: int, columns: bool) -> None:
    io = aj.IOParameters(out_noise=0.001, **CHOICES[choice])
    weights = jnp.linspace(-0.5, 0.5, 6).reshape(SHAPE)
    slices = Slices(columns, SHAPE, jnp.zeros((), jnp.int32), SHAPE[1] if columns else SHAPE[0])
    frozen = reading.freeze(io, KEY, SHAPE, columns, False)
    source = stream(KEY, NoiseEngine.COUNTER)
    lines = reading.read(io, frozen, weights, weights, slices, source, False)
    # half a step of the ADC is 0.024, and a factor of the read polarity has spread 0.1
    np.testing.assert_allclose(lines, weights.T if columns else weights, atol=0.06)


def test_reads_have_an_average_of_their_own() -> None:
    """Their vectors are one-hot, so that the average of the largest inputs is 1, however many came before."""
    average, constant = (refreshed(aj.IOParameters(noise_management=kind)) for kind in ("AVERAGE_ABS_MAX", "CONSTANT"))
    assert int(average.device.memory["refreshed"]) == SHAPE[0] * SHAPE[1]
    np.testing.assert_array_equal(average.weights, constant.weights)
