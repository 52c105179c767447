"""Spaces without a grid: what is drawn lies where it should, and a longer search goes on with the shorter one."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from aihwjax.errors import ConfigError
from aihwjax.experiments import Choice, Integers, LogUniform, Uniform, sampled

SPACE: dict[str, Any] = {
    "a": Uniform(-1.0, 3.0),
    "b": LogUniform(1e-4, 1e-1),
    "c": Integers(2, 5),
    "d": Choice(["x", "y"]),
    "e": [10, 20, 30],
}


@pytest.mark.parametrize("method", ["random", "sobol", "halton"])
def test_values_are_spread_as_they_should(method: Any) -> None:
    points = sampled(SPACE, 512, key=3, method=method)
    column = {path: np.asarray([point[path] for point in points]) for path in SPACE}
    assert ((column["a"] >= -1) & (column["a"] <= 3)).all()
    assert ((column["b"] >= 1e-4) & (column["b"] <= 1e-1)).all()
    # mean and share within 4 standard errors of 512 independent draws; sequences are closer
    assert abs(column["a"].mean() - 1) < 4 * (4 / np.sqrt(12)) / np.sqrt(512)
    assert abs((column["b"] < 10**-2.5).mean() - 0.5) < 4 * 0.5 / np.sqrt(512)
    for path, values in {"c": [2, 3, 4, 5], "d": ["x", "y"], "e": [10, 20, 30]}.items():
        shares = [(column[path] == value).mean() for value in values]
        assert sum(shares) == pytest.approx(1) and all(abs(s - 1 / len(values)) < 0.09 for s in shares)


def test_sequences_leave_no_holes() -> None:
    """Of 64 Sobol points one lies in each 64th of every axis; at random, 40.6 +- 2.8 of them are hit."""
    for method, least in (("sobol", 64), ("halton", 52)):
        points = sampled({"a": Uniform(0, 1), "b": Uniform(0, 1)}, 64, method=method)  # type: ignore[arg-type]
        for path in "ab":
            assert len({int(64 * point[path]) for point in points}) >= least


@pytest.mark.parametrize("method", ["random", "sobol", "halton"])
def test_a_longer_search_goes_on_with_a_shorter_one(method: Any) -> None:
    assert sampled(SPACE, 33, 1, method)[:5] == sampled(SPACE, 5, jax.random.key(1), method)
    assert sampled(SPACE, 5, 1, method) != sampled(SPACE, 5, 2, method)


def test_another_path_leaves_random_ones_as_they_are() -> None:
    fewer = sampled({path: SPACE[path] for path in "bd"}, 9, 1, "random")
    assert [{path: point[path] for path in "bd"} for point in sampled(SPACE, 9, 1, "random")] == fewer


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Uniform(1, 0), r"Uniform\(low=1, high=0\) is not allowed: give finite ones, the smaller first"),
        (lambda: LogUniform(0, 1), "finite ones above 0"),
        (lambda: LogUniform(1, float("inf")), "finite ones above 0"),
        (lambda: Uniform("0", 1), "give two numbers"),
        (lambda: Integers(0, 1.5), "give whole numbers"),
        (lambda: Choice([]), "at least one value"),
        (lambda: Choice("abc"), "at least one value"),
        (lambda: sampled({}, 4), "space is not allowed"),
        (lambda: sampled({"a": 3.0}, 4), r"space\['a'\]=3\.0 is not allowed: give any of Uniform"),
        (lambda: sampled(SPACE, 0), "count=0 is not allowed"),
        (lambda: sampled(SPACE, 4, method="sobl"), "method='sobl' is not allowed; did you mean 'sobol'"),
    ],
)
def test_mistakes_are_one_line(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
