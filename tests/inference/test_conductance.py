"""Converters: the conductances that they give, the way back, and what they refuse."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.inference.conductance.base import ConductanceConverter

WEIGHTS = jnp.array([[1.0, -0.5, 0.2, 0.0]])
LINE = np.stack([np.linspace(0, 25, 7), np.linspace(25, 0, 7)])
CONVERTERS: dict[str, ConductanceConverter] = {
    "single": aj.SinglePairConductanceConverter(g_min=5.0),
    "dual": aj.DualPairConductanceConverter(f_lst=(1.0, 3.0), g_min=1.0),
    "three": aj.NPairConductanceConverter(f_lst=(0.5, 1.0, 4.0), g_max=30.0),
    "custom": aj.CustomPairConductanceConverter(f_lst=(1.0,), g_lst=LINE),
    "device": aj.SingleDeviceConductanceConverter(),
    "fusion": aj.FusionConductanceConverter(),
    "bits": aj.BitSlicedConductanceConverter(levels=8, digits=7, g_min=2.0),
}
"""One converter of each kind."""


@pytest.mark.parametrize("name", CONVERTERS)
def test_the_way_back_gives_the_weights(name: str) -> None:
    converter = CONVERTERS[name]
    w = jax.random.normal(jax.random.key(1), (4, 5))
    slices, params = aj.inference.convert(converter, w)
    assert len(slices) == converter.slices()
    for conductances in slices:
        assert conductances.shape == w.shape
        assert conductances.min() >= converter.g_min - 1e-4
        assert conductances.max() <= converter.g_max + 1e-4
    np.testing.assert_allclose(aj.inference.convert_back(converter, slices, params), w, atol=1e-5)


@pytest.mark.parametrize("name", CONVERTERS)
def test_documents_bring_a_converter_back(name: str) -> None:
    converter = CONVERTERS[name]
    assert aj.config.from_toml(aj.config.to_toml(converter)) == converter


def test_check_values() -> None:
    # spec: inference, section 15
    for converter, expected in (
        (aj.SinglePairConductanceConverter(g_min=5.0), [[25, 5, 9, 5], [5, 15, 5, 5]]),
        (
            aj.NPairConductanceConverter(f_lst=(1.0, 3.0), g_min=5.0),
            [[25, 5, 21, 5], [5, 25, 5, 5], [25, 5, 5, 5], [5, 11.667, 5, 5]],
        ),
        (aj.SingleDeviceConductanceConverter(), [[88.2, 9, 45.96, 35.4]]),
    ):
        slices, _ = aj.inference.convert(converter, WEIGHTS)
        np.testing.assert_allclose(np.concatenate(slices), expected, atol=1e-3)


def test_a_tile_of_equal_weights_has_a_way_back() -> None:
    for name, converter in CONVERTERS.items():
        for value in (0.0, 0.3):
            w = jnp.full((2, 3), value)
            back = aj.inference.convert_back(converter, *aj.inference.convert(converter, w))
            np.testing.assert_allclose(back, w, atol=1e-6, err_msg=name)


def test_fusion_drops_the_offset_of_its_line() -> None:
    converter = CONVERTERS["fusion"]
    w = jnp.array([[0.5, -0.25, 0.1, -0.4]])
    slices, params = aj.inference.convert(converter, w)
    measured = np.sign(w) * (slices[0] + 3.0)
    slope, _ = np.polyfit(measured[0], w[0], 1)
    np.testing.assert_allclose(
        aj.inference.convert_back(converter, [slices[0] + 3.0], params), slope * measured, rtol=1e-5
    )


def test_conductances_can_be_swept_and_differentiated() -> None:
    def first(g_max: jax.Array) -> jax.Array:
        converter = CONVERTERS["single"].replace(g_max=g_max)
        return aj.inference.convert(converter, WEIGHTS)[0][0][0, 0]

    np.testing.assert_allclose(jax.vmap(first)(jnp.array([10.0, 20.0])), [10.0, 20.0])
    assert jax.grad(first)(20.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: aj.SinglePairConductanceConverter(g_min=25.0), "g_min=25 is not allowed with g_max=25: give less"),
        (
            lambda: aj.SinglePairConductanceConverter(g_max=np.array([3.0, 5.0]), g_min=4.0),
            "g_min=4 is not allowed with g_max=5",
        ),
        (lambda: aj.SinglePairConductanceConverter(g_max=-1.0), "g_max=-1.0 is not allowed: give at least 0"),
        (lambda: aj.NPairConductanceConverter(), "NPairConductanceConverter needs the argument 'f_lst'"),
        (lambda: aj.NPairConductanceConverter(f_lst=()), "f_lst=.* is not allowed: give the factor of each pair"),
        (lambda: aj.NPairConductanceConverter(f_lst=(1.0, 0.0)), r"f_lst\[1\]=0.0 is not allowed: give greater than 0"),
        (lambda: aj.DualPairConductanceConverter(f_lst=(1.0,)), "f_lst with 1 factors is not allowed: give two"),
        (lambda: aj.FusionConductanceConverter(g_max=50.0), "g_max=50.0 is not allowed: give at most 40"),
        (lambda: custom(LINE[:1]), "1 tables of 7 points is not allowed: give 2 tables"),
        (lambda: custom(LINE[:, :1]), "2 tables of 1 points is not allowed: .* at least 2 points"),
        (lambda: custom([[1.0, 2.0], [1.0]]), "lists of different lengths: give lists of the same length"),
        (lambda: custom(LINE * 2), "a conductance of .* is not allowed: give values from g_min=0 to g_max=25"),
        (lambda: custom(LINE**3 / 625), "weight -0.5 comes back as .* give tables whose combination is linear"),
    ],
)
def test_bad_input_is_one_line(make: Any, message: str) -> None:
    with pytest.raises(aj.ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def custom(tables: Any) -> ConductanceConverter:
    """Return a converter of one pair with tables."""
    return aj.CustomPairConductanceConverter(f_lst=(1.0,), g_lst=tables)


def test_curved_tables_are_allowed_if_asked_for() -> None:
    tables = np.array([[3.0, 3.0, 3.0, 8.0, 24.0], [24.0, 8.0, 3.0, 3.0, 3.0]])
    converter = aj.CustomPairConductanceConverter(f_lst=(1.0,), g_lst=tables, g_max=24.0, invertibility_test=False)
    slices, _ = aj.inference.convert(converter, WEIGHTS)
    np.testing.assert_allclose(slices[0][0], [24, 3, 5, 3], atol=1e-4)


def test_other_numbers_of_slices_are_refused() -> None:
    slices, params = aj.inference.convert(CONVERTERS["dual"], WEIGHTS)
    with pytest.raises(aj.ShapeError, match="slices has 2 matrices: give 4"):
        aj.inference.convert_back(CONVERTERS["dual"], slices[:2], params)
