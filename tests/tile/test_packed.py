"""Pulses that are packed once for several devices do what unpacked ones do."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.devices.device import DeviceState
from aihwjax.random import NoiseEngine, stream
from aihwjax.tile import pulsing
from aihwjax.tile.pulses import UpdateMode
from tests.marks import slow

OUT, IN = 6, 9
# Coarse updates are exact, however their pulse rows are grouped; others are compared where one group holds all rows
CASES = [(0.1, 1), (0.1, 2), (0.1, 3), (0.1, 20), (0.004, 1), (1e-4, 1)]


@pytest.mark.parametrize(("dw_min", "batch"), [*CASES[:1], *(slow(*case) for case in CASES[1:])])
@pytest.mark.parametrize("words", [1, 8, 16])
def test_packing_changes_nothing(key: jax.Array, dw_min: float, batch: int, words: int) -> None:
    device = aj.SoftBoundsDevice(dw_min=dw_min, write_noise_std=1.0)
    source = stream(key, NoiseEngine.COUNTER)
    state = device.init(source.child("init"), (OUT, IN))
    state, weights = device.set_weights(state, 0.1 * source.child("w").normal((OUT, IN)), source.child("set"))
    x, d = source.child("x").normal((batch, IN)), source.child("d").normal((batch, OUT))
    pulses = pulsing.make(
        aj.UpdateParameters(), UpdateMode.AGGREGATED, dw_min, x, d, 0.1, source.child("trains"), False
    )

    def applied(some: pulsing.Pulses) -> tuple[DeviceState, jax.Array]:
        return jax.jit(lambda: pulsing.apply(device, state, weights, some, source.child("pulses")))()

    plain, packed = applied(pulses), applied(pulses.pack(words))
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(packed), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
    assert not np.array_equal(plain[0].persistent, state.persistent)
