"""A block of lines can be pulsed with the parameters of the block or with those of the whole tile."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.devices.device import DeviceState
from aihwjax.pulses import UpdateMode
from aihwjax.random import NoiseEngine, stream
from aihwjax.tile.pulsed_update import pulsing
from aihwjax.tile.pulsed_update.span import Span

OUT, IN, SIZE, START, BATCH = 6, 9, 4, 1, 3


def _span(columns: bool, tile: tuple[int, int] | None) -> Span:
    first, last = jnp.array([0, 1, 2, 3]), jnp.full(SIZE, BATCH)  # the last line gets no pulse
    return Span(columns, jnp.asarray(START), first, last, tile)


@pytest.mark.parametrize("columns", [True, False])
def test_cut_takes_only_what_has_the_size_of_the_tile(columns: bool) -> None:
    tile = jnp.arange(OUT * IN).reshape(OUT, IN)
    tree = {"whole": tile, "block": jnp.zeros((OUT, SIZE)), "number": jnp.zeros(())}
    cut = _span(columns, (OUT, IN)).cut(tree)
    lines = slice(START, START + SIZE)
    np.testing.assert_array_equal(cut["whole"], tile[:, lines] if columns else tile[lines])
    assert cut["block"].shape == (OUT, SIZE) and cut["number"].shape == ()
    assert _span(columns, None).cut(tree)["whole"].shape == (OUT, IN)
    whole_tile = Span(columns, None, jnp.zeros(IN), jnp.ones(IN), (OUT, IN))
    assert whole_tile.cut(tree)["whole"].shape == (OUT, IN)


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("pulse_type", ["STOCHASTIC_COMPRESSED", "MEAN_COUNT", "NONE_WITH_DEVICE"])
@pytest.mark.parametrize("dw_min", [0.1, 0.004])
def test_parameters_of_the_tile_and_of_the_block(key: jax.Array, columns: bool, pulse_type: str, dw_min: float) -> None:
    device = aj.SoftBoundsDevice(dw_min=dw_min)
    source = stream(key, NoiseEngine.COUNTER)
    whole = device.init(source.child("init"), (OUT, IN))
    start = 0.1 * source.child("w").normal((OUT, IN))
    x, d = source.child("x").normal((BATCH, IN)), source.child("d").normal((BATCH, OUT))
    pulses = pulsing.make(
        aj.UpdateParameters(pulse_type=pulse_type),
        UpdateMode.AGGREGATED,
        dw_min,
        x,
        d,
        0.5,
        source.child("trains"),
        False,
    )
    of_tile = _span(columns, (OUT, IN))
    state, weights = of_tile.cut((whole, start))

    def applied(state: DeviceState, span: Span) -> jax.Array:
        return jax.jit(lambda: pulsing.apply(device, state, weights, pulses, source.child("pulses"), span=span)[1])()

    block, tile = applied(state, _span(columns, None)), applied(whole, of_tile)
    np.testing.assert_allclose(block, tile, atol=2e-6)
    moved = np.any(np.asarray(tile != weights), axis=0 if columns else 1)
    assert moved[0] and not moved[-1]
