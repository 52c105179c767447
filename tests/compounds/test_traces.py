"""Compounds followed by hand: the traces of the specification (spec: compounds, section 14).

The reference's bugs are on, because the traces were measured on it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.compounds import CellState
from aihwjax.devices.device import Device
from tests.compounds.ideal import KEY, PERFECT, WRITE, device, hidden, pair, started, update

Trace = dict[str, list[list[float]]]
_TRANSFER = {"units_in_mbatch": False, "transfer_forward": PERFECT}
_SLOW_TWICE = (device(1e-3), device(2e-3))
A, C = "hidden_weights_0", "hidden_weights_1"


def follow(compound: Device, x: Any, d: Any, learning_rate: float, trace: Trace, bl: int = 1000) -> None:
    """Update with the same vectors again and again and compare hidden arrays after each call."""
    inputs = jnp.atleast_2d(jnp.asarray(x, jnp.float32))
    gradients = jnp.atleast_2d(jnp.asarray(d, jnp.float32))
    pulses = aj.UpdateParameters(
        pulse_type="DETERMINISTIC_IMPLICIT", desired_bl=bl, update_bl_management=False, update_management=False
    )
    config, state = started(compound, (gradients.shape[1], inputs.shape[1]), quirks=True, pulses=pulses)
    for call in range(max(len(values) for values in trace.values())):
        state = update(config, state, inputs, gradients, learning_rate, jax.random.fold_in(KEY, call))
        for name, values in trace.items():
            got = np.asarray(state.weights) if name == "weights" else hidden(config, state, name)
            np.testing.assert_allclose(got.ravel(), values[call], atol=2e-5, err_msg=f"{name} after call {call + 1}")


TRACES: dict[str, tuple[Device, Any, Any, float, Trace, int]] = {
    "granularity": (
        aj.TransferCompound(unit_cell_devices=(device(1e-3), device(1e-2)), transfer_every=0),
        [1.0], [1.0], 0.1, {A: [[-0.018]]}, 1000,
    ),
    "fast rate": (
        aj.TransferCompound(unit_cell_devices=pair(), transfer_every=0, fast_lr=0.5),
        [1.0], [1.0], 0.1, {A: [[-0.05]]}, 1000,
    ),
    "fast rate, absolute": (
        aj.TransferCompound(unit_cell_devices=pair(), transfer_every=0, fast_lr=0.5, scale_fast_lr=False),
        [1.0], [1.0], 0.1, {A: [[-0.5]]}, 1000,
    ),
    "fast rate, none": (
        aj.TransferCompound(unit_cell_devices=pair(), transfer_every=0, fast_lr=0),
        [1.0], [1.0], 0.1, {A: [[-0.1]]}, 1000,
    ),
    "automatic scale": (
        aj.ChoppedTransferCompound(unit_cell_devices=pair(), transfer_every=0, auto_scale=True, fast_lr=0.5),
        [0.3], [0.2], 0.1, {A: [[-0.02]]}, 40,
    ),
    "reads over the edge": (
        aj.TransferCompound(
            unit_cell_devices=pair(), n_reads_per_transfer=3, scale_transfer_lr=False, transfer_update=WRITE,
            **_TRANSFER,
        ),
        [1.0] * 4, [1.0], 0.1,
        {C: [[-0.1, -0.1, -0.1, 0.0], [-0.3, -0.3, -0.1, -0.2], [-0.6, -0.3, -0.4, -0.5]]}, 1000,
    ),
    "half a mini-batch": (
        aj.TransferCompound(
            unit_cell_devices=pair(), transfer_every=0.5, scale_transfer_lr=False, transfer_forward=PERFECT,
            transfer_update=WRITE,
        ),
        [[1.0] * 4] * 4, [[1.0]] * 4, 0.1,
        {C: [[-0.2, -0.4, 0, 0], [-0.2, -0.4, -0.6, -0.8], [-1.2, -1.4, -0.6, -0.8]]}, 1000,
    ),
    "buffer": (
        aj.BufferedTransferCompound(unit_cell_devices=_SLOW_TWICE, **_TRANSFER),
        [1.0], [0.1], 0.1,
        {
            A: [[-0.007], [-0.014], [-0.021], [-0.028]],
            C: [[0.0], [-0.002], [-0.004], [-0.006]],
            "buffered_FP_weight_0": [[-7e-4], [-2.1e-4], [-2.31e-4], [-3.031e-4]],
        }, 1000,
    ),
    "chopped, buffer forgets": (
        aj.ChoppedTransferCompound(
            unit_cell_devices=_SLOW_TWICE, in_chop_prob=0, fast_lr=0.5, momentum=0.1, transfer_forward=PERFECT
        ),
        [1.0], [0.01], 0.1,
        {
            A: [[-0.003 * k] for k in range(1, 6)],
            C: [[0.0], [0.0], [-0.002], [-0.004], [-0.006]],
            "buffered_FP_weight_0": [[-0.3], [-0.9], [-0.18], [-0.138], [-0.1638]],
        }, 1000,
    ),
    "chopped, buffer keeps": (
        aj.ChoppedTransferCompound(
            unit_cell_devices=_SLOW_TWICE, in_chop_prob=0, fast_lr=0.5, momentum=0.1, forget_buffer=False,
            transfer_forward=PERFECT,
        ),
        [1.0], [0.01], 0.1, {"buffered_FP_weight_0": [[-0.3], [-0.9], [-0.9], [-1.2], [-1.8]]}, 1000,
    ),
    "dynamic": (
        aj.DynamicTransferCompound(
            unit_cell_devices=pair(), in_chop_prob=0.5, tail_weightening=1, transfer_lr=0.5, scale_transfer_lr=False,
            transfer_forward=PERFECT,
        ),
        [1.0], [0.001], 0.1,
        {
            A: [[-0.001], [-0.002], [-0.001], [0.0], [-0.001], [-0.002]],
            C: [[0.0]] * 5 + [[-0.001]],
            "buffered_FP_weight": [[-0.5], [0.0], [-0.125], [-0.75], [-0.96875], [0.0]],
            "running_mean_weight": [[-5e-4], [-0.00125], [-0.001125], [-0.0005625], [-0.00078125], [-0.00139062]],
            "past_mean_weight": [[0.0], [0.0], [-0.00125], [-0.00125], [-0.0005625], [-0.0005625]],
        }, 1000,
    ),
    "all devices": (
        aj.VectorUnitCell(unit_cell_devices=[device()] * 3),
        [[1.0]] * 4, [[1.0]] * 4, 0.01, {"weights": [[-0.04]], A: [[-0.04]], C: [[-0.04]]}, 1000,
    ),
    "one device": (
        aj.VectorUnitCell(unit_cell_devices=[device()] * 3, update_policy="SINGLE_FIXED"),
        [[1.0]] * 4, [[1.0]] * 4, 0.01, {"weights": [[-0.04 / 3]], A: [[-0.04]], C: [[0.0]]}, 1000,
    ),
    "devices in turn": (
        aj.VectorUnitCell(unit_cell_devices=[device()] * 3, update_policy="SINGLE_SEQUENTIAL"),
        [[1.0]] * 4, [[1.0]] * 4, 0.01, {A: [[-0.01]], C: [[-0.02]], "hidden_weights_2": [[-0.01]]}, 1000,
    ),
    "mixed precision": (
        aj.MixedPrecisionCompound(device=device()),
        [[1.0]] * 4, [[1.0]] * 4, 0.01,
        {"hidden_weights_chi": [[0.04], [0.031], [0.031]], "weights": [[0.0], [-0.049], [-0.089]]}, 1000,
    ),
    "mixed precision, rows": (
        aj.MixedPrecisionCompound(device=device(), n_rows_per_transfer=2),
        [1.0], [1.0] * 3, 0.0101,
        {"weights": [[0, 0, 0], [-0.02, -0.02, 0], [-0.03, -0.02, -0.03], [-0.03, -0.04, -0.04]]}, 1000,
    ),
    "mixed precision, quantised": (
        aj.MixedPrecisionCompound(device=device(), n_x_bins=5, n_d_bins=5, stoc_round_x=False, stoc_round_d=False),
        [1.0, -0.5, 0.3, 0.9], [0.5, -1.0, 0.2], 1.0,
        {"hidden_weights_chi": [[0.5, -0.25, 0.25, 0.5, -1, 0.5, -0.5, -1, 0, 0, 0, 0]]}, 1000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRACES)
def test_trace(name: str) -> None:
    follow(*TRACES[name])


def test_choppers_flip_in_every_fourth_sweep() -> None:
    compound = aj.ChoppedTransferCompound(
        unit_cell_devices=pair(), in_chop_prob=0.25, in_chop_random=False, transfer_forward=PERFECT
    )
    config, state = started(compound, (1, 3), quirks=True)
    flips = []
    for read in range(24):
        before = state.device.memory["in"]
        state = update(config, state, jnp.ones((1, 3)), jnp.full((1, 1), 1e-3), 0.1, KEY)
        if jnp.any(before != state.device.memory["in"]):
            flips.append(read + 1)
    assert flips == [10, 11, 12, 22, 23, 24]


def test_a_pair_is_only_raised() -> None:
    config, state = started(aj.OneSidedUnitCell(unit_cell_devices=pair()), (1, 4), quirks=True)
    state = aj.tile.set_weights(config, state, jnp.array([[0.3, -0.3, 0.0, 0.1]]), KEY)
    state = update(config, state, jnp.array([[1.0, 1.0, -1.0, -1.0]]), jnp.ones((1, 1)), 0.01, KEY)
    np.testing.assert_allclose(hidden(config, state, A), [[0.01, 0.31, 0.0, 0.0]], atol=1e-5)
    np.testing.assert_allclose(hidden(config, state, C), [[0.3, 0.0, 0.01, 0.11]], atol=1e-5)


def test_a_refresh_keeps_the_difference_of_pairs_that_are_both_high() -> None:
    cell = aj.OneSidedUnitCell(
        unit_cell_devices=pair(bound=1.0),
        refresh_every=1,
        refresh_forward=PERFECT,
        refresh_update=aj.UpdateParameters(desired_bl=1000),
    )
    config, state = started(cell, (1, 4), quirks=True)
    assert isinstance(state.device, CellState)
    high = (jnp.array([[0.3, 0.2, 0.9, 0.6]]), jnp.array([[0.9, 0.9, 0.3, 0.6]]))
    state = dataclasses.replace(state, device=dataclasses.replace(state.device, weights=high))
    state = update(config, state, jnp.zeros((1, 4)), jnp.zeros((1, 1)), 0.01, KEY)
    np.testing.assert_allclose(hidden(config, state, A), [[0.0, 0.2, 0.6, 0.6]], atol=1e-3)
    np.testing.assert_allclose(hidden(config, state, C), [[0.6, 0.9, 0.0, 0.6]], atol=1e-3)
    assert int(state.device.memory["refreshed"]) == 2
