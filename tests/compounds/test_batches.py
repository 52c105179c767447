"""A mini-batch does what its vectors do one by one.

With exact steps instead of pulses and perfect reads nothing is random, so that the results are
equal up to rounding: this checks the whole schedule, transfers in the middle of a mini-batch,
sweeps that start over, chains, choppers and nested cells.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.devices.device import Device
from tests.compounds.ideal import EXACT, PERFECT, device, pair, started, update
from tests.marks import some

_MOVE = {"units_in_mbatch": False, "transfer_forward": PERFECT, "transfer_lr": 0.5, "scale_transfer_lr": False}
_FAST = {"units_in_mbatch": False, "transfer_forward": PERFECT, "fast_lr": 0.05}


def _write() -> dict[str, aj.UpdateParameters]:
    return {"transfer_update": EXACT}


COMPOUNDS: dict[str, Device] = {
    "transfer": aj.TransferCompound(unit_cell_devices=pair(), **_MOVE, **_write()),
    "transfer, visible": aj.TransferCompound(
        unit_cell_devices=pair(), gamma=0.3, transfer_every=2, **_MOVE, **_write()
    ),
    "transfer, reads": aj.TransferCompound(
        unit_cell_devices=pair(), n_reads_per_transfer=2, transfer_every=3, **_MOVE, **_write()
    ),
    "transfer, rows": aj.TransferCompound(unit_cell_devices=pair(), transfer_columns=False, **_MOVE, **_write()),
    "chain": aj.TransferCompound(unit_cell_devices=[device()] * 3, **_MOVE, **_write()),
    "buffered chain": aj.BufferedTransferCompound(unit_cell_devices=[device()] * 3, **{**_MOVE, "transfer_lr": 5.0}),
    "chopped": aj.ChoppedTransferCompound(
        unit_cell_devices=pair(), in_chop_prob=0.4, in_chop_random=False, gamma=0.2, **_FAST
    ),
    "chopped, rows": aj.ChoppedTransferCompound(
        unit_cell_devices=pair(), in_chop_prob=0.4, in_chop_random=False, transfer_columns=False, **_FAST
    ),
    "chopped across": aj.ChoppedTransferCompound(
        unit_cell_devices=pair(), in_chop_prob=0, out_chop_prob=1, gamma=0.2, **_FAST
    ),
    "chopped both ways, rows": aj.ChoppedTransferCompound(
        unit_cell_devices=pair(),
        in_chop_prob=0.4,
        in_chop_random=False,
        out_chop_prob=1,
        transfer_columns=False,
        transfer_every=2,
        **_FAST,
    ),
    "dynamic, chopped across": aj.DynamicTransferCompound(
        unit_cell_devices=pair(), in_chop_prob=0.5, out_chop_prob=1, **_FAST
    ),
    "chopped across, cells": aj.ChoppedTransferCompound(
        unit_cell_devices=[aj.VectorUnitCell(unit_cell_devices=pair()), device()],
        in_chop_prob=0,
        out_chop_prob=1,
        **{**_FAST, "fast_lr": 0.2},
    ),
    "chain with resets": aj.TransferCompound(
        unit_cell_devices=[device()] * 3, with_reset_prob=1, n_reads_per_transfer=3, **_MOVE, **_write()
    ),
    "dynamic": aj.DynamicTransferCompound(unit_cell_devices=pair(), in_chop_prob=0.5, **_FAST),
    "sequential cell": aj.VectorUnitCell(unit_cell_devices=pair(), update_policy="SINGLE_SEQUENTIAL"),
    "refreshed pair": aj.OneSidedUnitCell(
        unit_cell_devices=pair(bound=1.0),
        refresh_every=3,
        units_in_mbatch=False,
        refresh_forward=PERFECT,
        refresh_update=EXACT,
        refresh_upper_thres=0.02,
        refresh_lower_thres=0.01,
    ),
    "cells in a transfer": aj.TransferCompound(
        unit_cell_devices=[
            aj.VectorUnitCell(unit_cell_devices=pair(), update_policy="SINGLE_SEQUENTIAL"),
            aj.OneSidedUnitCell(unit_cell_devices=pair()),
        ],
        transfer_every=2,
        **_MOVE,
        **_write(),
    ),
    "transfer in a cell": aj.VectorUnitCell(
        unit_cell_devices=[aj.TransferCompound(unit_cell_devices=pair(), **_MOVE, **_write()), device()],
        update_policy="SINGLE_SEQUENTIAL",
    ),
}


QUICK = ("transfer", "chopped", "chopped across")
"""One of each kind; the others are among the slow tests."""


@pytest.mark.parametrize("name", some(COMPOUNDS, QUICK, ("reference", "dynamic", "buffered")))
def test_a_batch_is_its_vectors_one_by_one(name: str) -> None:
    shape, vectors, calls = (3, 4), 7, 3
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(calls, vectors, shape[1])), jnp.float32)
    d = jnp.asarray(rng.normal(size=(calls, vectors, shape[0])) * 0.1, jnp.float32)
    key = jax.random.key(3)
    config, start = started(COMPOUNDS[name], shape, pulses=EXACT)
    together = apart = start
    for call in range(calls):
        together = update(config, together, x[call], d[call], 0.1, key)
        for vector in range(vectors):
            apart = update(config, apart, x[call, vector : vector + 1], d[call, vector : vector + 1], 0.1, key)
    assert jnp.max(jnp.abs(together.weights)) > 1e-3
    leaves, tree = jax.tree.flatten(together)
    for first, second in zip(leaves, tree.flatten_up_to(apart), strict=True):
        np.testing.assert_allclose(first, second, atol=2e-6)


def test_a_zero_learning_rate_stops_counters_too() -> None:
    config, start = started(COMPOUNDS["chopped"], (3, 4), pulses=EXACT)
    ones = jnp.ones((7, 4)), jnp.ones((7, 3))
    after = update(config, start, *ones, 0.0, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, start, after)


def test_zero_gradients_do_not_stop_the_schedule() -> None:
    config, start = started(COMPOUNDS["chopped"], (3, 4), pulses=EXACT)
    after = update(config, start, jnp.ones((7, 4)), jnp.zeros((7, 3)), 0.1, jax.random.key(0))
    assert int(after.device.memory["sweeps"]) == 1
    assert int(after.device.memory["vectors"]) == 7
