"""Pulses that are packed once for several devices do what unpacked ones do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.devices.device import DeviceState
from aihwjax.pulses import UpdateMode
from aihwjax.random import NoiseEngine, stream
from aihwjax.tile.pulsed_update import bit_lines, pulsing
from tests.marks import exhaustive, slow

OUT, IN = 6, 9
# Coarse updates are exact, however their pulse rows are grouped; others are compared where one group holds all rows
CASES = [(0.1, 1), (0.1, 2), (0.1, 3), (0.1, 20), (0.004, 1), (1e-4, 1)]

SOME = [*CASES[:1], *(slow(*case) for case in CASES[1::5]), *(exhaustive(*c) for i, c in enumerate(CASES[1:]) if i % 5)]


@pytest.mark.parametrize(("dw_min", "batch"), SOME)
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


@pytest.mark.parametrize("engine", [NoiseEngine.COUNTER, NoiseEngine.THREEFRY])
@pytest.mark.parametrize("left", [0, 1, 33, 64])
def test_rows_are_the_same_drawn_in_turn_and_at_once(key: jax.Array, engine: NoiseEngine, left: int) -> None:
    # a CPU draws them in turn, an accelerator at once
    source = stream(key, engine)
    rows, width = 64, IN + OUT
    thresholds = (source.child("p").uniform((5, width)) * 2.0**31).astype(np.uint32)
    negative = source.child("sign").uniform((5, width)) < 0.5
    lines = bit_lines.Lines(thresholds, negative, jnp.zeros(5, np.int32), jnp.int32(rows))
    vectors = jnp.arange(rows) // 13
    draws = jax.vmap(source.child("draws").child)(jnp.arange(rows))
    arguments = lines, jnp.int32(left), vectors, draws
    for unroll in (2, 16):
        in_turn = bit_lines.pack_in_turn(*arguments, unroll=unroll)
        at_once = bit_lines.pack_at_once(*arguments)
        silent = bit_lines.below(left - 32 * np.arange(2))[:, None]
        for one, other in zip(in_turn, at_once, strict=True):
            np.testing.assert_array_equal(one, other)
            assert not (other & ~silent).any()
            assert bool(other.any()) == (left > 0)
