"""Splitting and scaling of a logical matrix (spec: tile_ops, sections 2 and 16; layers, section 5)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax.nn import mapping
from aihwjax.tile.product.periphery import MappingParameter

PARTS = [
    (784, 512, (392, 392)),
    (1025, 512, (342, 342, 341)),
    (512, 512, (512,)),
    (513, 512, (257, 256)),
    (7, 3, (3, 2, 2)),
    (5, 1, (1, 1, 1, 1, 1)),
    (2000, 0, (2000,)),
    (2000, -1, (2000,)),
]


@pytest.mark.parametrize(("size", "maximum", "expected"), PARTS)
def test_parts_differ_by_at_most_one_and_larger_come_first(size: int, maximum: int, expected: tuple[int, ...]) -> None:
    assert mapping.parts(size, maximum) == expected


WEIGHTS = jnp.asarray([[0.1, -0.4], [0.2, 0.1], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("columnwise", "scales"), [(False, [0.8]), (True, [0.8, 0.4, 1.0])], ids=["whole tile", "per output"]
)
def test_scaling_reaches_omega_and_is_undone_by_the_scales(columnwise: bool, scales: list[float]) -> None:
    analog, found = mapping.scale_down(WEIGHTS, 0.5, columnwise, None)
    np.testing.assert_allclose(found, scales, rtol=1e-6)
    np.testing.assert_allclose(analog * found[:, None], WEIGHTS, rtol=1e-6)
    assert float(jnp.abs(analog).max()) == pytest.approx(0.5)


def test_a_traced_omega_of_zero_leaves_weights_and_scales() -> None:
    old = jnp.asarray([3.0])
    scaled = jax.jit(lambda omega: mapping.scale_down(WEIGHTS, omega, False, old))
    analog, scales = scaled(0.0)
    np.testing.assert_array_equal(analog, WEIGHTS)
    np.testing.assert_array_equal(scales, old)
    assert scaled(0.5)[1][0] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("configured", "given", "expected"),
    [(0.0, None, False), (0.6, None, True), (0.6, 0.0, False), (0.0, 1.0, True), (jnp.asarray(0.0), None, True)],
)
def test_only_a_plain_number_of_zero_or_less_switches_scaling_off(
    configured: float, given: float | None, expected: bool
) -> None:
    assert mapping.is_scaled(MappingParameter(weight_scaling_omega=configured), given) is expected
