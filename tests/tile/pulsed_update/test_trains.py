"""Pulse trains against check values of the reference (spec: update, sections 3 and 9)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import random, tile
from aihwjax.tile.pulsed_update.trains import plan
from tests.helpers import MODES

X, D = jnp.asarray([[1.0, 0.55, -0.2]]), jnp.asarray([[0.31, -0.1]])
QUIET = aj.ConstantStepDevice(
    dw_min_dtod=0, dw_min_std=0, up_down_dtod=0, w_max=5, w_min=-5, w_max_dtod=0, w_min_dtod=0
)

COUNTS = [
    ({"pulse_type": "MEAN_COUNT"}, 0.012, [[4, 2, -1], [-1, 0, 0]]),
    ({"pulse_type": "MEAN_COUNT"}, 0.1, [[31, 17, -6], [-10, -5, 2]]),
    ({"pulse_type": "MEAN_COUNT", "res": 0.25}, 0.1, [[31, 16, -8], [-8, -4, 2]]),
    ({"pulse_type": "MEAN_COUNT", "update_management": False, "update_bl_management": False}, 0.1,
     [[17, 17, -6], [-6, -6, 2]]),
    ({"pulse_type": "DETERMINISTIC_IMPLICIT"}, 0.012, [[4, 2, -1], [-1, -1, 0]]),
    ({"pulse_type": "DETERMINISTIC_IMPLICIT", "x_res_implicit": 0.25, "d_res_implicit": 0.1}, 0.1,
     [[31, 16, -8], [-9, -5, 2]]),
    ({"pulse_type": "DETERMINISTIC_IMPLICIT", "update_management": False, "update_bl_management": False}, 0.1,
     [[17, 17, -6], [-6, -6, 2]]),
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", range(len(COUNTS)))
def test_pulse_numbers_of_computed_trains(case: int, mode: aj.UpdateMode, key: jax.Array) -> None:
    fields, rate, expected = COUNTS[case]
    config = aj.SingleRPUConfig(device=QUIET, update=aj.UpdateParameters(**fields), update_mode=mode)
    state = tile.set_weights(config, tile.init(config, key, (2, 3)), jnp.zeros((2, 3)), key)
    counts = -tile.update(config, state, X, D, rate, key).weights / 0.001
    assert np.allclose(counts, expected, atol=1e-3)


def planned(rate: float = 0.012, quirks: bool = False, **fields: object) -> tuple[int, np.ndarray, np.ndarray]:
    stream = random.stream(jax.random.key(0), aj.NoiseEngine.COUNTER)
    trains = plan(aj.UpdateParameters(**fields), 0.001, X, D, rate, stream, quirks)
    return int(trains.length[0]), np.asarray(trains.columns[0]), np.asarray(trains.rows[0])


def test_managed_length_and_probabilities() -> None:
    length, columns, rows = planned()
    assert length == 4
    assert np.allclose(columns, [0.9644, 0.5304, 0.1929], atol=1e-4)
    assert np.allclose(rows, [0.9644, 0.3111], atol=1e-4)


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize("length_managed", [True, False])
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("rate", [0.005, 0.05])
def test_mean_update_is_right_while_nothing_saturates(
    managed: bool, length_managed: bool, fixed: bool, rate: float
) -> None:
    length, columns, rows = planned(
        rate, update_management=managed, update_bl_management=length_managed, fixed_bl=fixed
    )
    expected = rate / 0.001
    if not fixed and not length_managed and rate / 0.001 > 31:
        expected = np.ceil(expected)
    product = length * rows[:, None] * columns[None, :]
    assert np.allclose(product, expected * np.abs(np.outer(D[0], X[0])), rtol=1e-4)


def test_rows_saturate_and_columns_do_not() -> None:
    length, columns, rows = planned(0.5)
    assert length == 31
    assert columns.max() == pytest.approx(1, abs=1e-5)
    assert rows.max() == pytest.approx(0.5 * 0.31 / 0.001 / 31, rel=1e-4)


def test_silent_vectors_and_zero_rate_send_nothing() -> None:
    stream = random.stream(jax.random.key(0), aj.NoiseEngine.COUNTER)
    x = jnp.concatenate([X, jnp.zeros_like(X), X])
    d = jnp.concatenate([jnp.zeros_like(D), D, D])
    assert plan(aj.UpdateParameters(), 0.001, x, d, 0.012, stream, False).length.tolist() == [0, 0, 4]
    assert plan(aj.UpdateParameters(), 0.001, x, d, 0.0, stream, False).length.tolist() == [0, 0, 0]
    traced = jax.jit(lambda rate: plan(aj.UpdateParameters(), 0.001, x, d, rate, stream, False).length)
    assert traced(0.0).tolist() == [0, 0, 0]


def test_resolution_as_a_number_of_bins() -> None:
    """Spec: update, bug 1: above 1 the reference forgets to invert the resolution, so nothing fires."""
    bins = planned(0.012, res=10)[1]
    assert np.allclose(bins, planned(0.012, res=0.1)[1], atol=1e-6)
    assert np.allclose(bins * 10, np.round(bins * 10), atol=1e-5)
    assert np.allclose(planned(0.012, quirks=True, res=10)[1], 0)


def test_stochastic_rounding_is_right_on_average() -> None:
    stream = random.stream(jax.random.key(1), aj.NoiseEngine.COUNTER)
    n = 20_000
    x, d = jnp.broadcast_to(X, (n, 3)), jnp.broadcast_to(D, (n, 2))
    parameters = aj.UpdateParameters(res=0.1, sto_round=True)
    rounded = plan(parameters, 0.001, x, d, 0.012, stream, False).columns
    exact = plan(aj.UpdateParameters(), 0.001, x, d, 0.012, stream, False).columns[0]
    assert np.allclose(rounded.mean(0), exact, atol=5 * 0.05 / np.sqrt(n))
