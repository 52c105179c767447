"""Uniform grids against their equations, and against numbers of the reference (spec: layers, section 12)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax.quantization import Grid, quantize, uniform_grid
from tests.quantization.waves import wave


def by_equation(x: np.ndarray, bits: int, symmetric: bool, low: float, high: float) -> np.ndarray:
    low, high = min(low, 0.0), max(high, 1e-8)
    if symmetric:
        signed = low < 0
        bottom, top = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        step = max(abs(low), high) / top
        return step * np.clip(np.round(x / step), bottom, top)
    step = (high - low) / (2**bits - 1)
    zero = np.clip(np.round(-low / step), 0, 2**bits - 1)
    return step * (np.clip(np.round(x / step) + zero, 0, 2**bits - 1) - zero)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize(("low", "high"), [(-0.7, 0.9), (0.1, 0.9), (-0.6, -0.1)])
def test_equations(bits: int, symmetric: bool, low: float, high: float) -> None:
    x = np.linspace(-1.2131, 1.3307, 101)  # none of them half a step
    found = quantize(jnp.asarray(x, jnp.float32), uniform_grid(bits, symmetric, jnp.array(low), jnp.array(high)), bits)
    np.testing.assert_allclose(found, by_equation(x, bits, symmetric, low, high), atol=1e-6)
    assert len(np.unique(np.round(found, 5))) <= 2**bits


# aihwkit 1.2.0: AsymmetricUniformQuantizer and SymmetricUniformQuantizer, set_quant_range of 0.7 times the extremes of
# wave(0), gradients of the sum of q wave(1): (symmetric, bits, channels, shift) -> step, first row of q, and of its
# gradient, gradient of the step, and of the offset
REFERENCE = {
    (True, 4, False, 0.0): (
        0.108333, [0.649996, 0.758329, -0.108333, -0.866661], [0.334988, 0.0, -0.779204, 0.0], -43.008205, None,
    ),
    (False, 4, False, 0.0): (
        0.098515, [0.689603, 0.788118, -0.19703, -0.689603], [0.334988, 0.0, -0.779204, 0.0], -38.117554, -0.17322,
    ),
    (False, 2, True, 2.0): (
        [0.67972, 0.657638, 0.686864, 0.708589, 0.584052, 0.719443], [2.03916, 2.03916, 2.03916, 0.67972],
        [0.0, 0.0, -0.779204, 0.409911], [-1.876789, -2.624784, -3.300763, -1.205992, -0.762674, -1.076757],
        [0.330819, 0.538473, 0.772656, 0.228848, 0.181814, 0.391093],
    ),
    (True, 2, True, 2.0): (
        [0.67972, 0.657638, 0.686864, 0.708589, 0.584052, 0.719443], [2.03916, 2.03916, 2.03916, 0.67972],
        [0.0, 0.0, -0.779204, 0.409911], [-1.876789, -2.624784, -3.300763, -1.205992, -0.762674, -1.076757], None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFERENCE)
def test_numbers_of_the_reference(case: tuple[bool, int, bool, float]) -> None:
    symmetric, bits, channels, shift = case
    x, weights = wave(0, shift=shift), wave(1)
    low, high = (x.min(axis=1), x.max(axis=1)) if channels else (x.min(), x.max())
    grid = uniform_grid(bits, symmetric, 0.7 * low, 0.7 * high)
    step, row, slope, of_step, of_offset = REFERENCE[case]

    @jax.jit
    def total(x: jax.Array, step: jax.Array, offset: jax.Array | None) -> jax.Array:
        return (quantize(x, dataclasses.replace(grid, step=step, offset=offset), bits) * weights).sum()

    np.testing.assert_allclose(grid.step, step, atol=1e-6)
    np.testing.assert_allclose(quantize(x, grid, bits)[0], row, atol=2e-6)
    by_x, by_step = jax.grad(total, (0, 1))(x, grid.step, grid.offset)
    np.testing.assert_allclose(by_x[0], slope, atol=1e-5)
    np.testing.assert_allclose(by_step, of_step, rtol=1e-5)
    if of_offset is not None:
        np.testing.assert_allclose(jax.grad(total, 2)(x, grid.step, grid.offset), of_offset, atol=1e-5)


def test_ends_of_a_grid_pass_derivatives() -> None:
    """The largest number sits at the end of its grid, and is not clipped."""
    x = jnp.array([-0.5, 1.0, 2.0])
    grid = uniform_grid(4, True, jnp.array(-1.0), jnp.array(1.0))
    assert jax.grad(lambda x: quantize(x, grid, 4).sum())(x).tolist() == [1.0, 1.0, 0.0]


def test_the_middle_of_a_symmetric_range_is_the_upper_step() -> None:
    for r in (0.1, 0.3, 0.7, 1.1):
        grid = uniform_grid(4, False, jnp.float32(-r), jnp.float32(r))
        assert quantize(jnp.array([9.0]), grid, 4) == pytest.approx(7 * float(grid.step))


def test_tiny_steps_have_a_floor() -> None:
    grid = Grid(jnp.array(-1.0), None, jnp.array(True))
    assert quantize(jnp.array([1.0, 0.0]), grid, 8).tolist() == pytest.approx([127e-8, 0.0])


def test_bits_may_be_swept() -> None:
    """Without recompiling, also through 0, where nothing is rounded; single precision holds each power of 2."""
    x = wave(2).reshape(-1)
    bits = jnp.array([0, 2, 3, 8, 16])

    @jax.jit
    def rounded(bits: jax.Array, x: jax.Array) -> jax.Array:
        return quantize(x, uniform_grid(bits, True, x.min(), x.max()), bits)

    found = jax.vmap(rounded, (0, None))(bits, x)
    assert (found[0] == x).all()
    for row, each in zip(found[1:], bits[1:].tolist(), strict=True):
        np.testing.assert_allclose(row, quantize(x, uniform_grid(each, True, x.min(), x.max()), each), atol=1e-6)
    slopes = jax.vmap(jax.grad(lambda bits, x: rounded(bits, x).sum(), 1), (0, None))(bits.astype(float), x)
    assert np.isfinite(slopes).all() and (slopes[0] == 1).all()
