"""Range estimators against their equations, and against numbers of the reference (spec: layers, section 12)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.quantization import QuantConfig, RangeState, advance_range, quantize, range_grid, start_range, uniform_grid
from tests.marks import slow
from tests.quantization.waves import wave


def quantiser(estimator: str, parameters: Any = None, **fields: Any) -> QuantConfig:
    return QuantConfig(n_bits=4, range_estimator=estimator, range_estimator_params=parameters, **fields)


def after(config: QuantConfig, batches: list[jax.Array], channels: int | None = None) -> RangeState:
    state = start_range(config, channels)
    for batch in batches:
        state = jax.jit(advance_range)(config, state, batch)
    return state


TENTH = aj.CurrentMinMaxEstimatorParams(percentile=10)
# aihwkit 1.2.0, the range after wave(0), wave(1) and wave(2): (estimator, channels) -> low, high
REFERENCE: dict[tuple[str, bool], tuple[list[float], list[float]]] = {
    ("current_minmax", False): ([-1.046906], [1.046671]),
    ("percentile", False): ([-0.944729], [1.046671]),
    ("allminmax", False): ([-1.065894], [1.083327]),
    ("running_minmax", False): ([-1.033062], [1.07676]),
    ("current_minmax", True): (
        [-0.982453, -0.938481, -0.847039, -0.947407, -1.046906, -0.534453],
        [0.945817, 1.0195, 0.409965, 1.046671, 1.024119, 0.950994],
    ),
    ("percentile", True): (
        [-0.712748, -0.847583, -0.835189, -0.8764, -0.74111, -0.453054],
        [0.83974, 0.754619, 0.394691, 0.792753, 0.888827, 0.896084],
    ),
    ("allminmax", True): (
        [-1.006112, -0.945845, -1.029168, -1.00024, -1.065894, -1.05237],
        [0.945817, 1.0195, 0.969954, 1.046671, 1.024119, 1.083327],
    ),
    ("running_minmax", True): (
        [-0.987148, -0.486862, -1.00977, -0.946002, -0.94834, -0.904245],
        [0.871073, 0.85542, 0.892692, 1.024174, 0.59465, 1.067193],
    ),
}


@pytest.mark.parametrize("case", REFERENCE)
def test_numbers_of_the_reference(case: tuple[str, bool]) -> None:
    name, channels = case
    config = quantiser("current_minmax", TENTH) if name == "percentile" else quantiser(name)
    state = after(config, [wave(0), wave(1), wave(2)], 6 if channels else None)
    low, high = REFERENCE[case]
    np.testing.assert_allclose(np.ravel(state.low), low, atol=2e-6)
    np.testing.assert_allclose(np.ravel(state.high), high, atol=2e-6)
    assert state.batches == 3


# the same with a grid of 20 candidates and a margin of 0.5: (estimator, shift) -> the upper end after each batch
CANDIDATES = {
    ("MSE", 0.0): [1.108329, 1.108329, 1.029162],
    ("MSE", 2.0): [3.045828, 3.045828, 3.045828],
    ("cross_entropy", 0.0): [1.424994, 1.424994, 1.029162],
}


@pytest.mark.parametrize("case", CANDIDATES)
def test_candidates_of_the_reference(case: tuple[str, float]) -> None:
    name, shift = case
    kind = aj.MSEEstimatorParams if name == "MSE" else aj.CrossEntropyEstimatorParams
    config, state = quantiser(name, kind(range_opt_method="grid", num_candidates=20)), None
    state = start_range(config)
    for number, high in enumerate(CANDIDATES[case]):
        state = jax.jit(advance_range)(config, state, wave(number, shift=shift))
        np.testing.assert_allclose([state.low, state.high], [0.0 if shift else -high, high], atol=2e-6)


@jax.jit
def error(config: QuantConfig, x: jax.Array, low: Any, high: Any) -> jax.Array:
    grid = uniform_grid(config.n_bits, config.symmetric, low, high)
    return ((x - quantize(x, grid, config.n_bits)) ** 2).sum()


@pytest.mark.parametrize("shift", [0.0, 2.0])
@pytest.mark.parametrize(
    ("method", "symmetric"), [("golden_section", True), slow("golden_section", False), slow("grid", False)]
)
def test_a_search_finds_a_smaller_error_than_the_extremes(method: str, symmetric: bool, shift: float) -> None:
    """Of many normal numbers, with 3 bits, the best range is well inside of the extremes."""
    x = jax.random.normal(jax.random.key(0), (1000,)) + 0.3
    x = jnp.abs(x) if shift else x
    config = quantiser("MSE", aj.MSEEstimatorParams(range_opt_method=method, num_candidates=40), symmetric=symmetric)
    config = config.replace(n_bits=3)
    state = after(config, [x])
    found = error(config, x, state.low, state.high)
    assert found < 0.8 * error(config, x, x.min(), x.max())
    # no range of the kind is much better
    ends = jnp.linspace(0.3, 4.5, 60)
    best = jax.vmap(error, (None, None, 0, 0))(config, x, 0 * ends if shift else -ends, ends).min()
    assert found < 1.02 * best
    assert (state.low == 0) == bool(shift)


def test_channels_are_searched_one_by_one() -> None:
    config = quantiser("MSE")
    x = jnp.stack([wave(0).reshape(-1), 3 * wave(1).reshape(-1)])
    state = after(config, [x], 2)
    assert state.low.shape == (2,) and state.high[1] > 2 * state.high[0]
    with pytest.raises(aj.ConfigError, match="cross_entropy is not allowed with channels"):
        start_range(quantiser("cross_entropy"), 2)


def test_a_fixed_range_stays_and_an_empty_batch_says_nothing() -> None:
    config = quantiser("running_minmax")
    state = after(config, [wave(0)])
    fixed = RangeState(state.low, state.high, state.batches, jnp.array(True))
    assert after(config, []).batches == 0
    moved = advance_range(config, fixed, 5 * wave(1))
    assert (moved.low, moved.high, moved.batches) == (state.low, state.high, 1)
    assert advance_range(config, state, jnp.zeros((0, 4))).batches == 1


def test_ranges_under_vmap_and_scan() -> None:
    config = aj.ActivationQuantConfig(n_bits=4)
    batches = jnp.stack([wave(n) for n in range(3)])

    def all_of(momentum: jax.Array) -> jax.Array:
        own = config.replace(range_estimator_params=aj.RunningMinMaxEstimatorParams(momentum=momentum))
        state, _ = jax.lax.scan(lambda state, x: (advance_range(own, state, x), None), start_range(own), batches)
        return range_grid(own, state).step

    steps = jax.jit(jax.vmap(all_of))(jnp.array([0.0, 0.9]))
    last = range_grid(config, after(config, [wave(2)])).step
    np.testing.assert_allclose(steps, [last, range_grid(config, after(config, list(batches))).step], atol=1e-6)


BAD = {
    "n_bits=-1 is not allowed: give at least 0": lambda: aj.ActivationQuantConfig(n_bits=-1),
    "n_bits=2.5 is not allowed: give a whole number": lambda: aj.ActivationQuantConfig(n_bits=2.5),
    "n_bits=30 is not allowed: give at most 24": lambda: aj.ActivationQuantConfig(n_bits=30),
    "n_bits=1 is not allowed with symmetric=True": lambda: aj.ActivationQuantConfig(n_bits=1),
    "PeripheryQuantizationParameter.n_bits=1 is": lambda: aj.PeripheryQuantizationParameter(n_bits=1),
    "init_learning_after=0 is not allowed": lambda: aj.PeripheryQuantizationParameter(init_learning_after=0),
    "percentile=0.0 is not allowed": lambda: aj.CurrentMinMaxEstimatorParams(percentile=0.0),
    "percentile=101.0 is not allowed": lambda: aj.CurrentMinMaxEstimatorParams(percentile=101.0),
    "momentum=1.5 is not allowed": lambda: aj.RunningMinMaxEstimatorParams(momentum=1.5),
    "num_candidates=0 is not allowed": lambda: aj.MSEEstimatorParams(num_candidates=0),
    "give MSEEstimatorParams": lambda: quantiser("MSE", TENTH),
    "give None, since it has no parameters": lambda: quantiser("allminmax", TENTH),
    "did you mean 'running_minmax'": lambda: quantiser("running_minmx"),
    "n_bits as an array is not allowed": lambda: start_range(
        QuantConfig(
            n_bits=jnp.array([4, 8]), symmetric=False, range_estimator="MSE",
            range_estimator_params=aj.MSEEstimatorParams(range_opt_method="grid"),
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(aj.ConfigError, match=text) as caught:
        BAD[text]()
    assert "\n" not in str(caught.value)
