"""Weights as digits on pairs of devices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj

W = jax.random.normal(jax.random.key(1), (20, 30))


def sliced(**fields: Any) -> aj.BitSlicedConductanceConverter:
    """Return a converter."""
    return aj.BitSlicedConductanceConverter(**fields)


@pytest.mark.parametrize(("levels", "digits"), [(2, 1), (4, 3), (3, 4), (16, 6)])
def test_digits_are_those_of_the_rounded_weight(levels: int, digits: int) -> None:
    converter = sliced(levels=levels, digits=digits, g_max=21.0, g_min=1.0)
    slices, params = aj.inference.convert(converter, W)
    assert len(slices) == 2 * digits
    values = levels**digits - 1
    whole = np.round(values * (np.abs(W) / np.abs(W).max())).astype(int)
    for place in range(digits):
        digit = whole // levels**place % levels
        up, down = (np.asarray(slices[2 * place + n]) for n in (0, 1))
        np.testing.assert_allclose(up, 1 + np.where(W > 0, digit, 0) * 20 / (levels - 1), rtol=1e-5)
        np.testing.assert_allclose(down, 1 + np.where(W < 0, digit, 0) * 20 / (levels - 1), rtol=1e-5)
    back = aj.inference.convert_back(converter, slices, params)
    np.testing.assert_allclose(back, np.sign(W) * whole * (np.abs(W).max() / values), rtol=2e-6, atol=1e-7)


def test_each_slice_drifts_with_its_own_devices() -> None:
    model = aj.PCMLikeNoiseModel(g_converter=sliced(digits=3), prog_noise_scale=0.5, read_noise_scale=0.0)
    own = aj.InferenceRPUConfig(noise_model=model, drift_compensation=None)
    chip = aj.inference.program(own, W, 0)
    assert chip.parameters.shape == chip.devices.conductances.shape == (6, 20, 30)
    late = aj.inference.drift(own, chip, 1e5, 1)
    decayed = np.asarray(chip.devices.conductances) * np.exp(-np.asarray(chip.parameters) * np.log(1e5 / 20 + 1))
    expected = sum(4**k * (decayed[2 * k] - decayed[2 * k + 1]) for k in range(3)) / chip.devices.params["scale"]
    np.testing.assert_allclose(late.weights, expected, rtol=1e-4, atol=1e-5)


def test_slices_of_higher_significance_bring_most_of_the_error() -> None:
    exact = aj.StateIndependentNoiseModel(g_converter=sliced(digits=3, g_max=25.0), prog_coeff=[0.5, 0.0, 0.0])
    own = aj.InferenceRPUConfig(noise_model=exact)
    error = (aj.inference.program(own, W, 0).weights - W) / np.abs(W).max()
    # six devices with a spread of 0.5 uS, of 25/3 uS a level; half of them are cut off at 0
    plain = 0.5 / (25 / 3) * np.sqrt(1 + 16 + 256) / 63
    assert plain < float(error.std()) < np.sqrt(2) * plain
    single = own.replace({"noise_model.g_converter": aj.SinglePairConductanceConverter()})
    assert float(error.std()) > float(((aj.inference.program(single, W, 0).weights - W) / np.abs(W).max()).std()) * 0.5


def test_the_rounding_has_the_derivative_one() -> None:
    def back(w: jax.Array) -> jax.Array:
        return aj.inference.convert_back(sliced(digits=2), *aj.inference.convert(sliced(digits=2), w))

    w = W.at[0, 0].set(5.0)
    slope = np.array(jax.grad(lambda w: (back(w) * W).sum())(w))
    np.testing.assert_allclose(slope.ravel()[1:], np.asarray(W).ravel()[1:], rtol=1e-5)


def test_levels_are_swept() -> None:
    def error(levels: jax.Array) -> jax.Array:
        converter = sliced(levels=levels, digits=2)
        return jnp.abs(aj.inference.convert_back(converter, *aj.inference.convert(converter, W)) - W).max()

    errors = jax.vmap(error)(jnp.array([2.0, 4.0, 16.0]))
    for found, levels in zip(errors, (2, 4, 16), strict=True):
        assert float(found) <= float(jnp.abs(W).max()) / (levels**2 - 1) / 2 * 1.001
    assert float(errors[0]) > 5 * float(errors[2])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"digits": 0}, "BitSlicedConductanceConverter.digits=0 is not allowed: give at least 1"),
        ({"digits": 2.5}, "BitSlicedConductanceConverter.digits=2.5 is not allowed: give int"),
        ({"levels": 1}, "levels=1 is not allowed: give at least 2"),
        ({"levels": 2.5}, "levels=2.5 is not allowed: give a whole number"),
        ({"levels": 16, "digits": 7}, "digits=7 is not allowed with levels=16: give so few that levels.digits is at"),
        ({"levels": 2, "digits": 5000}, "digits=5000 is not allowed with levels=2"),
    ],
)
def test_bad_input_is_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(aj.ConfigError, match=message) as caught:
        sliced(**fields)
    assert "\n" not in str(caught.value)
