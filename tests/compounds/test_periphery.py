"""Reads of compounds work under every choice of the periphery."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.tile.state import TileState
from tests.compounds.ideal import KEY, WRITE, pair, started, update

NOISE, BOUND, PRODUCT = aj.NoiseManagementType, aj.BoundManagementType, aj.AnalogMVType
CHOICES = [
    *({"noise_management": noise, "bound_management": bound} for noise, bound in itertools.product(NOISE, BOUND)),
    *({"mv_type": kind, "w_read_asymmetry_dtod": 0.1} for kind in PRODUCT),
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


@pytest.mark.slow
@pytest.mark.parametrize("choice", range(len(CHOICES)))
def test_a_refresh_reads_with_every_choice(choice: int) -> None:
    io = aj.IOParameters(out_noise=0.001, **CHOICES[choice])
    state = refreshed(io)
    assert int(state.device.memory["refreshed"]) == SHAPE[0] * SHAPE[1]
    np.testing.assert_allclose(state.weights, 0.5, atol=0.06)  # one step of the ADC is 0.047


@pytest.mark.slow
@pytest.mark.parametrize("choice", range(len(CHOICES)))
def test_a_transfer_reads_with_every_choice(choice: int) -> None:
    io = aj.IOParameters(out_noise=0.001, **CHOICES[choice])
    compound = aj.TransferCompound(
        unit_cell_devices=pair(), transfer_forward=io, transfer_update=WRITE, units_in_mbatch=False,
        scale_transfer_lr=False,
    )
    config, state = started(compound, SHAPE)
    for call in range(SHAPE[1]):
        key = jax.random.fold_in(KEY, call)
        state = update(config, state, jnp.ones((1, SHAPE[1])), jnp.ones((1, SHAPE[0])), 0.1, key)
    expected = jnp.broadcast_to(-0.1 * jnp.arange(1.0, SHAPE[1] + 1), SHAPE)
    np.testing.assert_allclose(state.weights, expected, atol=0.06)


def test_reads_have_an_average_of_their_own() -> None:
    """Their vectors are one-hot, so that the average of the largest inputs is 1, however many came before."""
    average, constant = (refreshed(aj.IOParameters(noise_management=kind)) for kind in ("AVERAGE_ABS_MAX", "CONSTANT"))
    np.testing.assert_array_equal(average.weights, constant.weights)
