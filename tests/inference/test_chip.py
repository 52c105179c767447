"""Chips: programming, time, compensation and products as pure functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj

OUT, IN = 6, 8
WEIGHTS = 0.5 * jax.random.normal(jax.random.key(1), (OUT, IN))
X = jax.random.normal(jax.random.key(2), (5, IN))
PERFECT = aj.IOParameters(is_perfect=True)
KEY = jax.random.key(0)
QUIET = {"prog_noise_scale": 0.0, "read_noise_scale": 0.0}
"""No noise but the spread of the drift exponents."""


def config(compensation: Any = None, **fields: Any) -> aj.TileConfig:
    """Return a configuration with a perfect product."""
    return aj.InferenceRPUConfig(forward=PERFECT, drift_compensation=compensation, **fields)


def later(config: aj.TileConfig, t: float = 1e6, key: int = 3) -> aj.inference.Chip:
    """Return a chip some time after programming."""
    return aj.inference.drift(config, aj.inference.program(config, WEIGHTS, KEY), t, key)


def test_the_defaults_are_those_of_the_reference() -> None:
    for make in (aj.InferenceRPUConfig, aj.TorchInferenceRPUConfig):
        assert make().noise_model == aj.PCMLikeNoiseModel()
        assert make().drift_compensation == aj.GlobalDriftCompensation()
    assert aj.SingleRPUConfig().noise_model is None
    assert jax.tree.leaves(aj.SingleRPUConfig().drift_compensation) == []


def test_a_chip_holds_the_weights_with_noise() -> None:
    chip = aj.inference.program(config(), WEIGHTS, KEY)
    assert float(chip.alpha) == 1
    # two devices with a spread of about 1 uS at 25 uS for the largest weight
    error = (chip.weights - WEIGHTS) / jnp.abs(WEIGHTS).max()
    assert 0.01 < float(error.std()) < 0.06
    # in a program of its own the product may be rounded otherwise
    np.testing.assert_allclose(aj.inference.forward(config(), chip, X, 0), X @ chip.weights.T, rtol=1e-5, atol=1e-6)


def test_drifts_are_not_cumulative_and_read_noise_is_redrawn() -> None:
    quiet = config(noise_model=aj.PCMLikeNoiseModel(**QUIET))
    once = later(quiet, 1e4)
    again = aj.inference.drift(quiet, aj.inference.drift(quiet, once, 1e7, 5), 1e4, 6)
    np.testing.assert_array_equal(once.weights, again.weights)
    noisy = later(config(), 1e4)
    assert bool((noisy.weights != aj.inference.drift(config(), noisy, 1e4, 6).weights).any())


def test_read_noise_is_there_at_time_zero() -> None:
    chip = later(config(), 0.0)
    assert bool((chip.weights != chip.programmed).any())


def test_a_check_value_of_the_compensation() -> None:
    # spec: inference, section 15: about 1.67 to 1.69 at 1e6 s for random weights; (5e4)^0.049 is 1.70
    exact = config(aj.GlobalDriftCompensation(), noise_model=aj.PCMLikeNoiseModel(**QUIET))
    w = jax.random.uniform(jax.random.key(3), (60, 80), minval=-1.0)
    chip = aj.inference.drift(exact, aj.inference.program(exact, w, 0), 1e6, 1)
    assert 1.66 < float(chip.alpha) < 1.71


@pytest.mark.parametrize(
    ("compensation", "shape"),
    [
        (aj.GlobalDriftCompensation(), ()),
        (aj.GlobalDriftCompensationWithExactReference(), ()),
        (aj.PerColumnDriftCompensation(), (OUT,)),
    ],
)
def test_compensation_restores_the_read_out(compensation: Any, shape: tuple[int, ...]) -> None:
    own = config(compensation)
    chip = later(own)
    assert chip.alpha.shape == shape
    y = aj.inference.forward(own, chip, jnp.eye(IN), 0)
    baseline = WEIGHTS if compensation.exact_reference() else chip.programmed
    axes = 0 if shape else None
    np.testing.assert_allclose(jnp.abs(y).mean(axes), jnp.abs(baseline.T).mean(axes), rtol=1e-5)
    np.testing.assert_allclose(y, (chip.weights * chip.alpha.reshape(-1, 1)).T, rtol=1e-6)
    assert aj.inference.forward(own, chip, X[0], 0).shape == (OUT,)


def test_without_compensation_outputs_shrink() -> None:
    chip = later(config())
    assert float(chip.alpha) == 1
    y, exact = aj.inference.forward(config(), chip, X, 0), X @ WEIGHTS.T
    assert float(jnp.abs(y).mean()) < 0.7 * float(jnp.abs(exact).mean())


def test_wan_weights_grow_with_the_noise_of_programming() -> None:
    # a target in the scale of the exact weights comes back in that of the noisy ones (spec: inference, section 8)
    own = config(noise_model=aj.ReRamWan2022NoiseModel(noise_scale=0.2))
    chip = later(own, 86400.0)
    factor = jnp.abs(chip.programmed).max() / jnp.abs(WEIGHTS).max()
    mean = jax.vmap(lambda key: aj.inference.drift(own, chip, 86400.0, key).weights)(jax.random.split(KEY, 400)).mean(0)
    strong = jnp.abs(WEIGHTS) > 0.3
    np.testing.assert_allclose(mean[strong], (factor * WEIGHTS)[strong], rtol=0.03)


def test_chips_and_times_are_one_program() -> None:
    own = config(aj.GlobalDriftCompensation())

    def outputs(key: jax.Array, t: jax.Array, scale: jax.Array) -> jax.Array:
        noisy = own.replace({"noise_model.prog_noise_scale": scale})
        chip = aj.inference.program(noisy, WEIGHTS, key)
        chip = aj.inference.drift(noisy, chip, t, jax.random.fold_in(key, 1))
        return aj.inference.forward(noisy, chip, X, key)

    keys, times = jax.random.split(KEY, 3), jnp.array([0.0, 1e3, 1e6, 1e8])
    every = jax.jit(jax.vmap(jax.vmap(outputs, (None, 0, None)), (0, None, None)))(keys, times, 1.0)
    assert every.shape == (3, 4, 5, OUT)
    np.testing.assert_allclose(every[1, 2], outputs(keys[1], times[2], jnp.float32(1.0)), rtol=1e-4, atol=1e-5)
    slope = jax.grad(lambda scale: outputs(keys[0], times[1], scale).sum())(1.0)
    step = (outputs(keys[0], times[1], jnp.float32(1.02)) - outputs(keys[0], times[1], jnp.float32(0.98))).sum() / 0.04
    assert float(slope) == pytest.approx(float(step), rel=0.1, abs=0.05)


def test_engines_and_keys() -> None:
    threefry = config(noise_engine="THREEFRY")
    first, second = later(threefry).weights, later(threefry).weights
    np.testing.assert_array_equal(first, second)
    assert bool((first != later(config()).weights).any())


def test_a_product_that_averages_and_frozen_draws() -> None:
    io = aj.IOParameters(noise_management="AVERAGE_ABS_MAX", v_offset_std=0.1)
    own = aj.InferenceRPUConfig(forward=io)
    chip = later(own)
    assert chip.frozen.v_offset is not None
    assert np.isfinite(aj.inference.forward(own, chip, X, 0)).all()


def test_a_network_that_was_trained_with_pulses_drifts_too() -> None:
    trained = aj.SingleRPUConfig(noise_model=aj.PCMLikeNoiseModel(), drift_compensation=aj.GlobalDriftCompensation())
    assert float(later(trained).alpha) > 1.2


def test_quirks_reach_the_noise_model() -> None:
    quirky = aj.InferenceRPUConfig(noise_model=aj.ReRamWan2022NoiseModel(), reference_quirks=True)
    assert quirky.noise_model.reference_quirks
    assert not quirky.replace(reference_quirks=False).noise_model.reference_quirks


DUAL = aj.PCMLikeNoiseModel(g_converter=aj.DualPairConductanceConverter(f_lst=(1.0, 2.0)))
CHIP_ERRORS = [
    (
        lambda: aj.inference.drift(config(noise_model=DUAL), aj.inference.program(config(), WEIGHTS, 0), 1.0, 0),
        "a chip with 2 devices a weight is not allowed with DualPairConductanceConverter: give the configuration",
    ),
    (lambda: aj.inference.program(aj.SingleRPUConfig(), WEIGHTS, 0), "noise_model=None is not allowed for a chip"),
    (lambda: aj.inference.program(config(), WEIGHTS[0], 0), r"w has shape \(8,\): give a matrix"),
    (lambda: aj.inference.program(config(), WEIGHTS * jnp.nan, 0), "w has 48 NaN or infinite of 48 values"),
    (lambda: aj.inference.program("x", WEIGHTS, 0), "config=str is not allowed: give a TileConfig"),
    (lambda: aj.inference.drift(config(), WEIGHTS, 1.0, 0), "chip=.* is not allowed: give what .*program returns"),
    (lambda: aj.inference.forward(config(), WEIGHTS, X, 0), "chip=.* is not allowed: give what .*program returns"),
    (lambda: later(config(), -1.0), "t=-1 is not allowed: give seconds after programming, at least 0"),
    (lambda: later(config(), float("nan")), "t=nan is not allowed: give one number"),
    (lambda: later(config(), jnp.ones(3)), "t=.* is not allowed: give one number"),
    (
        lambda: later(config(noise_model=aj.ReRamWan2022NoiseModel()), 5.0),
        "t=5 is not allowed with ReRamWan2022NoiseModel: give one of its times, 1, 86400, 172800 s",
    ),
    (lambda: aj.inference.convert(3, WEIGHTS), "converter=int is not allowed: give a ConductanceConverter"),
]


@pytest.mark.parametrize(("call", "message"), CHIP_ERRORS)
def test_bad_input_is_one_line(call: Any, message: str) -> None:
    with pytest.raises(aj.AihwjaxError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
