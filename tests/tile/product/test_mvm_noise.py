"""Noise of the analog product: size, independence and frozen draws; and the reference's quirks.

Tolerances are five standard errors: of a mean s/√n, of a standard deviation s/√(2n).
"""

from __future__ import annotations

import functools
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax.random import NoiseEngine, stream
from aihwjax.tile.product.converters import Converter, step_size
from aihwjax.tile.product.io import IOParameters
from aihwjax.tile.product.mvm import analog_product, freeze
from aihwjax.tile.state import FrozenIO

EXACT = {"out_noise": 0.0, "inp_res": -1, "out_res": -1, "out_bound": 0.0}
REPEATS = 20_000


@functools.partial(jax.jit, static_argnames=("repeats", "quirks"))
def reads(io: IOParameters, weights: jax.Array, x: jax.Array, repeats: int = REPEATS, quirks: bool = False):
    """Read the same vector many times on one tile, as one batch: ``(repeats, out)`` and the mask."""
    frozen = freeze(io, jax.random.key(8), *weights.shape, quirks)
    batch = jnp.broadcast_to(x, (repeats, x.shape[-1]))
    source = stream(jax.random.key(1), NoiseEngine.COUNTER)
    return analog_product(io, frozen, weights, batch, source, bound_managed=True, quirks=quirks, want_mask=True)


def assert_spread(samples: jax.Array, expected: float) -> None:
    """Check a standard deviation within five standard errors."""
    spread, count = float(jnp.std(samples)), samples.size
    assert abs(spread - expected) <= 5 * expected / np.sqrt(2 * count), spread


SPREADS = [
    # spec: forward, section 14
    ({"w_noise": 0.1, "w_noise_type": "ADDITIVE_CONSTANT"}, 0.1 * np.sqrt(1.25)),
    ({"w_noise": 0.1, "w_noise_type": "PCM_READ"}, 0.1 * np.sqrt(1 + 0.5 * 0.25)),
    ({"out_noise": 0.1}, 0.1),
    ({"inp_noise": 0.1}, 0.1 * np.sqrt(1 + 0.25)),
    ({"out_noise": 0.1, "out_scale": 3.0}, 0.3),
]


@pytest.mark.parametrize(("fields", "expected"), SPREADS)
def test_spread_of_one_output(fields, expected):
    y, _ = reads(IOParameters(**{**EXACT, **fields}), jnp.array([[1.0, 0.5]]), jnp.array([1.0, -0.5]))
    assert_spread(y, expected)
    assert abs(y.mean() - 0.75 * fields.get("out_scale", 1)) <= 5 * expected / np.sqrt(y.size)


def test_output_noise_scales_with_the_input():
    io = IOParameters(**{**EXACT, "out_noise": 0.1})
    y, _ = reads(io, jnp.array([[1.0]]), jnp.array([4.0]))
    assert_spread(y, 0.4)


def test_outputs_and_vectors_have_their_own_noise():
    io = IOParameters(**{**EXACT, "out_noise": 1.0})
    y, _ = reads(io, jnp.ones((2, 1)), jnp.ones(1))
    assert abs(np.corrcoef(y[:, 0], y[:, 1])[0, 1]) <= 5 / np.sqrt(REPEATS)
    assert abs(np.corrcoef(y[:-1, 0], y[1:, 0])[0, 1]) <= 5 / np.sqrt(REPEATS)


def test_bound_management_biases_a_result_at_the_bound():
    # spec: forward, section 5: exact 24, bound 12, measured mean 23.918 and spread 0.305; 23.636 with the DAC.
    free = IOParameters(**{**EXACT, "out_noise": 0.1, "out_bound": 12.0, "noise_management": "NONE", "inp_bound": 0.0})
    weights, x = jnp.full((1, 2), 12.0), jnp.ones(2)
    y, _ = reads(free, weights, x)
    assert abs(y.mean() - 23.918) <= 0.01
    assert abs(y.std() - 0.305) <= 0.01
    converted, _ = reads(free.replace(inp_bound=1.0, inp_res=1 / 126), weights, x)
    assert abs(converted.mean() - 23.636) <= 0.01


def test_rounds_draw_fresh_noise():
    # The first round fails for ξ > −1/2; the second, with half the input, gives 1.05 + 0.2 ξ' above 1 for ξ' > −1/4.
    io = IOParameters(**{**EXACT, "out_noise": 0.1, "out_bound": 1.0})
    y, _ = reads(io, jnp.array([[1.05]]), jnp.ones(1))
    expected = NormalDist().cdf(0.5) * NormalDist().cdf(0.25)
    assert abs((y > 1).mean() - expected) <= 5 * 0.5 / np.sqrt(REPEATS)


# ------------------------------------------------------------------------------- converters
def test_stochastic_rounding_is_unbiased():
    io = IOParameters(**{**EXACT, "inp_res": 4, "inp_sto_round": True, "noise_management": "NONE"})
    y, _ = reads(io, jnp.ones((1, 1)), jnp.array([0.3]))
    assert set(np.unique(y).tolist()) == {0.0, 0.5}
    assert abs(y.mean() - 0.3) <= 5 * 0.25 / np.sqrt(REPEATS)


STEPS = [(1, 1 / 126), (1, 126), (12, 1 / 510), (6.3987, 1 / 30), (1, 1), (1, 2), (1, 0), (1, -1), (0, 0.1), (-1, 0.1)]


@pytest.mark.parametrize(("bound", "res"), STEPS)
def test_steps_are_single_precision(bound, res):
    fraction = np.float32(1) / np.float32(res) if res > 1 else np.float32(max(res, 0))
    expected = np.float32(2) * np.float32(max(bound, 0)) * fraction
    assert step_size(bound, res) == expected
    assert jax.jit(step_size)(bound, res) == expected


def test_the_top_code_can_lie_above_the_bound():
    for bound, res in ((12, 1 / 510), (6.3987, 1 / 30)):
        adc = Converter(jnp.float32(bound), step_size(bound, res), None)
        top = adc.quantise(jnp.float32([bound]), stream(jax.random.key(0), NoiseEngine.COUNTER))
        assert adc.exceeds(top)[0]
        assert adc.clip(top)[0] == np.float32(bound)


# ------------------------------------------------------------------------------- frozen draws
def test_frozen_draws_stay_and_differ_between_outputs():
    io = IOParameters(**{**EXACT, "v_offset_std": 0.1, "v_offset_w_min": 0.0})
    y, _ = reads(io, jnp.ones((400, 1)), jnp.ones(1), repeats=2)
    np.testing.assert_array_equal(y[0], y[1])
    assert_spread(y[0], 0.1)


def test_output_noise_spreads_over_outputs():
    io = IOParameters(out_noise=0.1, out_noise_std=0.3)
    values = freeze(io, jax.random.key(0), 20_000, 1, False).out_noise_values
    assert values is not None
    assert abs(values.mean() - 0.1) <= 5 * 0.03 / np.sqrt(20_000)
    assert_spread(values, 0.03)


def test_slope_is_one_where_it_is_calibrated():
    fields = {"out_nonlinearity": 2.0, "slope_calibration": 0.5, "out_bound": 12.0, "bound_management": "NONE"}
    io = IOParameters(**{**EXACT, **fields, "noise_management": "NONE", "inp_bound": 0.0})
    y = [float(reads(io, jnp.ones((1, 1)), jnp.array([x]), 1)[0][0, 0]) for x in (5.97, 5.99)]
    # v/(1 + N v) with N = 1/6 has a slope that falls by 0.0017 from the middle of the interval to 6.
    assert abs((y[1] - y[0]) / 0.02 - 1) <= 5e-3


def test_nothing_is_frozen_that_is_off():
    for io in (
        IOParameters(),
        IOParameters(is_perfect=True, v_offset_std=0.1),
        IOParameters(w_read_asymmetry_dtod=0.1),
    ):
        assert freeze(io, jax.random.key(0), 2, 3, False) == FrozenIO()


# ------------------------------------------------------------------------------- reference quirks
def test_quirk_half_of_the_voltage_offsets_are_zero():
    io = IOParameters(v_offset_std=0.1)
    count = 20_000
    right, quirky = (freeze(io, jax.random.key(0), count, 1, quirks).v_offset for quirks in (False, True))
    assert right is not None
    assert quirky is not None
    assert np.all(np.asarray(right) != 0)
    assert_spread(right, 0.1)
    zeros = np.asarray(quirky) == 0
    assert abs(zeros.mean() - 0.5) <= 5 * 0.5 / np.sqrt(count)
    assert quirky.min() < -0.3
    assert_spread(np.asarray(quirky)[~zeros], 0.1)


@pytest.mark.parametrize(("weights", "quirky"), [((20, -20), (12, -12)), ((-20, 20), (-20, 20))])
def test_quirk_a_negative_clip_resets_an_earlier_one(weights, quirky):
    # spec: forward, section 16, bug 2
    io = IOParameters(**{**EXACT, "out_bound": 12.0, "bm_test_negative_bound": False})
    w = jnp.array(weights, jnp.float32)[:, None]
    np.testing.assert_allclose(reads(io, w, jnp.ones(1), 1)[0][0], weights)
    np.testing.assert_allclose(reads(io, w, jnp.ones(1), 1, quirks=True)[0][0], quirky)


def test_negative_clips_do_not_count_alone():
    io = IOParameters(**{**EXACT, "out_bound": 12.0, "bm_test_negative_bound": False})
    for quirks in (False, True):
        y, _ = reads(io, jnp.array([[-20.0], [1.0]]), jnp.ones(1), 1, quirks=quirks)
        np.testing.assert_allclose(y[0], (-12, 1))


MASKS = [
    # weight, input, mask, the reference's mask: spec: tile_ops, section 18, bug 3
    ({}, 4.0, 5.0, False, True),
    ({"bound_management": "NONE"}, 20.0, 1.0, True, True),
    ({"bound_management": "NONE"}, 20.0, 0.1, True, False),
    ({}, 1.0, 1.0, False, False),
    ({"out_bound": 0.0}, 100.0, 1.0, None, None),
    ({"is_perfect": True}, 20.0, 1.0, None, True),
]


@pytest.mark.parametrize(("fields", "weight", "x", "expected", "quirky"), MASKS)
def test_quirk_the_mask_compares_rescaled_outputs(fields, weight, x, expected, quirky):
    io = IOParameters(out_noise=0.0, **fields)
    for quirks, wanted in ((False, expected), (True, quirky)):
        mask = reads(io, jnp.array([[weight]]), jnp.array([x]), 1, quirks=quirks)[1]
        assert wanted is None if mask is None else bool(mask[0, 0]) is wanted
