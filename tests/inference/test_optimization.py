"""Tables of conductances that are searched for: what they stand for, and that they are better."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.inference.optimization.objective import resampled
from aihwjax.inference.optimization.tables import Space

WEIGHTS = np.random.default_rng(1).normal(size=(10, 30))
MIDDLE = aj.MeasuredNoiseModel(conductance=[0.0, 12.5, 25.0], spread=[2.0, 0.2, 2.0])
"""Devices that are noisy at both ends of their range, where a plain pair has them."""
CONFIG = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True), noise_model=MIDDLE, drift_compensation=None)
SMALL: dict[str, Any] = {"bins": 3, "test_shape": (8, 16), "draws": 1}


def space(**changes: Any) -> Space:
    """Return what is searched."""
    given = {"g_min": 2.0, "g_max": 25.0, "factors": (1.0, None), "bins": 4, "symmetric": True}
    return Space(**{**given, "factor_range": (0.5, 4.0), **changes})


@pytest.mark.parametrize(
    "changes", [{}, {"symmetric": False}, {"factors": (2.0,)}, {"factors": (1.0, 2.0, 4.0), "bins": 2}]
)
def test_every_point_stands_for_weights(changes: dict[str, Any]) -> None:
    own = space(**changes)
    places = np.random.default_rng(0).uniform(size=(50, own.size))
    decoded = jax.jit(jax.vmap(own.decoded))(jnp.asarray(places, jnp.float32))
    factors, tables = np.stack(decoded[0], 1), np.asarray(decoded[1])
    assert tables.shape == (50, 2 * len(own.factors), own.points)
    assert tables.min() >= 2.0 - 1e-5 and tables.max() <= 25.0 + 1e-5
    total = np.einsum("nk,nkp->np", factors, tables[:, ::2] - tables[:, 1::2])
    line = total[:, -1:] * np.linspace(-1, 1, own.points)
    np.testing.assert_allclose(total, line, atol=2e-4)
    assert (total[:, -1] > 0).all()


def test_the_plain_point_is_that_of_pairs() -> None:
    own = space(factors=(1.0, 3.0), bins=5)
    factors, tables = own.decoded(own.plain())
    pairs = aj.NPairConductanceConverter(f_lst=(1.0, 3.0), g_min=2.0)
    slices, _ = aj.inference.convert(pairs, np.linspace(-1, 1, 9)[None])
    np.testing.assert_allclose(tables, np.concatenate(slices), atol=1e-3)
    assert [float(factor) for factor in factors] == [1.0, 3.0]


def test_resampled_weights_have_the_same_distribution() -> None:
    found = np.asarray(resampled(WEIGHTS, (20, 40), jax.random.key(0)))
    assert found.shape == (20, 40)
    assert (found.min(), found.max()) == pytest.approx((WEIGHTS.min(), WEIGHTS.max()))
    np.testing.assert_allclose(np.quantile(found, [0.2, 0.5, 0.9]), np.quantile(WEIGHTS, [0.2, 0.5, 0.9]), atol=0.03)


def test_both_searches_find_better_conductances() -> None:
    found = aj.optimize_programming(CONFIG, WEIGHTS, [0.0], 0, steps=40, generations=12, **SMALL)
    assert [search.method for search in found.searches] == ["gradient", "evolution"]
    assert found.improved
    for search in found.searches:
        assert search.loss < 0.6 * found.baseline
        assert search.standard_error < 0.1 * search.loss
        assert search.chips > 40
    assert found.best.loss == min(search.loss for search in found.searches)
    assert found.conductances.shape == (2, 5) and found.weights.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert 5 < found.conductances[0, 2] < 20, "a weight of 0 is where the noise is small"
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines] == ["loss", "baseline", "gradient", "evolution"]
    # what was found is a converter as any other, and its gain is that of other weights, too
    better = CONFIG.replace({"noise_model.g_converter": found.converter})
    assert aj.config.from_toml(aj.config.to_toml(better)) == better

    def error(config: aj.TileConfig) -> float:
        return float(((aj.inference.program(config, WEIGHTS[:8, :16], 5).weights - WEIGHTS[:8, :16]) ** 2).mean())

    assert error(better) < 0.7 * error(CONFIG)


@pytest.mark.slow
def test_searched_factors_times_and_compensation() -> None:
    own = aj.InferenceRPUConfig(forward=aj.IOParameters(out_noise=0.02))
    found = aj.optimize_programming(
        own, WEIGHTS, [1.0, 86400.0], 0, f_lst=(1.0, None), symmetric=False, steps=20, generations=3, **SMALL
    )
    for search in found.searches:
        assert 0.1 <= search.converter.f_lst[1] <= 5.0
        assert np.isfinite(search.loss)
    assert found.best.loss < found.baseline, "two pairs are better than one"


def run(**changes: Any) -> None:
    """Search with other arguments."""
    aj.optimize_programming(**{"config": CONFIG, "weights": WEIGHTS, "times": [1.0], "key": 0, **changes})


DEVICE = CONFIG.replace(noise_model=aj.ReRamCMONoiseModel())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": aj.SingleRPUConfig()}, "noise_model=None is not allowed for a chip"),
        (
            {"config": DEVICE},
            "g_converter=SingleDeviceConductanceConverter is not allowed: give a converter with pairs",
        ),
        ({"weights": []}, r"weights has shape \(0,\): give at least one weight"),
        ({"weights": [1.0, np.nan]}, "weights has 1 NaN or infinite of 2 values"),
        ({"times": []}, r"times of shape \(0,\) is not allowed: give a list of seconds"),
        ({"times": [-1.0]}, "t=-1 is not allowed: give seconds after programming, at least 0"),
        ({"key": "x"}, "key='x' is not allowed"),
        ({"f_lst": ()}, r"f_lst=\(\) is not allowed: give the factor of each pair"),
        ({"f_lst": (0.0,)}, "f_lst with 0.0 is not allowed: give numbers above 0"),
        ({"factor_range": (2.0, 1.0)}, r"factor_range=\(2.0, 1.0\) is not allowed: give a smallest and a larger"),
        ({"factor_range": 3}, "factor_range=3 is not allowed: give two numbers"),
        ({"methods": ("gradients",)}, "methods with 'gradients' is not allowed: .* did you mean 'gradient'"),
        ({"methods": ()}, r"methods=\(\) is not allowed: give some of gradient, evolution, each once"),
        ({"bins": 1}, "bins=1 is not allowed: give at least 2"),
        ({"draws": 0}, "draws=0 is not allowed: give a whole number of at least 1"),
        ({"test_shape": (3, 0)}, "test_shape=0 is not allowed: give a whole number of at least 1"),
        ({"steps": 1.5}, "steps=1.5 is not allowed: give a whole number"),
    ],
)
def test_bad_input_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(aj.AihwjaxError, match=message) as caught:
        run(**changes)
    assert "\n" not in str(caught.value)
