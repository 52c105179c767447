"""Tables of conductances that bring weights back best, over a range of times."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from aihwjax import arguments, random
from aihwjax.errors import ConfigError, ShapeError, nearest
from aihwjax.inference.chip import checked_time, model_of
from aihwjax.inference.conductance.pairs import NPairConductanceConverter, SinglePairConductanceConverter
from aihwjax.inference.optimization import evolution, gradient
from aihwjax.inference.optimization.objective import Problem, errors, judged, resampled, tables_of
from aihwjax.inference.optimization.result import OptimizedProgramming, Search
from aihwjax.inference.optimization.tables import Space
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, require_finite
from aihwjax.tile.config import TileConfig

_METHODS = ("gradient", "evolution")
_VALIDATION = 50
"""Chips on which what was found is compared."""


@arguments.answered
def optimize_programming(
    config: TileConfig,
    weights: Float[Array, "*shape"],
    times: Sequence[float],
    key: Noise,
    *,
    f_lst: Sequence[float | None] = (1.0,),
    methods: Sequence[str] = _METHODS,
    bins: int = 6,
    symmetric: bool = True,
    factor_range: tuple[float, float] = (0.1, 5.0),
    test_shape: tuple[int, int] = (20, 50),
    draws: int = 2,
    steps: int = 150,
    generations: int = 50,
) -> OptimizedProgramming:
    """Search for the conductances to program for each weight, so that the weights come back best at some times.

    For each weight of a grid the devices of one or several pairs can have many conductances that stand for it. Noise
    and drift depend on the conductance, so some of them are better than others: those that are found become a
    :class:`~aihwjax.CustomPairConductanceConverter`. Weights are programmed, drift, are compensated, and the mean
    square of their error is minimised, by gradients through the noise and by differential evolution, on the same
    objective. Both are compared on the same new chips with the converter of the configuration.

    Spec: inference, section 14. Source: Mackin et al., Nature Communications 2022.

    Example::

        found = aj.optimize_programming(config, weights, [1.0, 3600.0, 86400.0], key=0)
        print(found)  # losses, gains and times of both searches
        better = config.replace({"noise_model.g_converter": found.converter})

    Args:
        config: The configuration, with a noise model whose converter has pairs of devices; its compensation counts.
        weights: Weights of any shape, whose distribution counts.
        times: Seconds after programming at which the weights are to be right.
        key: Source of all noise and of the searches.
        f_lst: Factor of each pair, from the lowest significance to the highest; ``None``: it is searched, too.
        methods: ``"gradient"``, ``"evolution"``, or both.
        bins: Points of the tables from the most negative weight to 0.
        symmetric: Whether a positive weight is the negative one with the devices of each pair exchanged.
        factor_range: Smallest and largest factor, of those that are searched.
        test_shape: Size ``(out, in)`` of the tile that is simulated.
        draws: Chips of each step, or of each point of a generation.
        steps: Steps of the search by gradients.
        generations: Generations of the differential evolution.

    Raises:
        ConfigError: If the configuration has no noise model or no pairs, or another argument is not allowed.
        ShapeError: If there are no weights.
        NonFiniteError: If weights have NaN or infinity.
    """
    given = _checked_weights(weights)
    space = _checked_space(config, f_lst, bins, symmetric, factor_range)
    shape = tuple(_count("test_shape", size) for size in _pair("test_shape", test_shape))
    draws, steps, generations = (
        _count(name, value) for name, value in (("draws", draws), ("steps", steps), ("generations", generations))
    )
    chosen = _checked_methods(methods)
    seconds = _checked_times(config, times)
    source = random.plain(key)
    order, validation, judging, *own = jax.random.split(source, 3 + len(_METHODS))
    problem = Problem(config, resampled(given, (shape[0], shape[1]), order), seconds)
    keys, judges = jax.random.split(validation, _VALIDATION), jax.random.split(judging, _VALIDATION)
    ways: dict[str, Callable[[Key[Array, ""]], tuple[np.ndarray, int]]] = {
        "gradient": lambda key: gradient.search(space, problem, key, judges, draws=draws, steps=steps),
        "evolution": lambda key: evolution.search(space, problem, key, draws=draws, generations=generations),
    }
    searches = []
    for method in chosen:
        start = time.perf_counter()
        place, chips = ways[method](own[_METHODS.index(method)])
        took = time.perf_counter() - start
        loss, spread = _mean(judged(space, problem, place, keys))
        searches.append(Search(method, tables_of(space, place), loss, spread, took, chips))
    return OptimizedProgramming(*_mean(np.asarray(errors(problem, config, keys), np.float64)), tuple(searches))


def _mean(found: np.ndarray) -> tuple[float, float]:
    """Return the mean of numbers and its standard error."""
    return float(found.mean()), float(found.std(ddof=1) / np.sqrt(found.size))


def _checked_weights(weights: object) -> np.ndarray:
    array = np.asarray(as_numbers("weights", weights)).astype(np.float64)
    if array.size == 0:
        raise ShapeError(f"weights has shape {array.shape}: give at least one weight")
    require_finite("weights", array)
    return array


def _checked_space(
    config: TileConfig, f_lst: Sequence[float | None], bins: int, symmetric: bool, factor_range: tuple[float, float]
) -> Space:
    converter = model_of(config).g_converter
    if not isinstance(converter, SinglePairConductanceConverter | NPairConductanceConverter):
        raise ConfigError(
            f"noise_model.g_converter={type(converter).__name__} is not allowed: give a converter with pairs of "
            "devices, such as SinglePairConductanceConverter()"
        )
    if isinstance(f_lst, str) or not isinstance(f_lst, Sequence) or not f_lst:
        raise ConfigError(f"f_lst={f_lst!r} is not allowed: give the factor of each pair, or None to search for it")
    factors = tuple(None if factor is None else _positive("f_lst", factor) for factor in f_lst)
    low, high = (_positive("factor_range", value) for value in _pair("factor_range", factor_range))
    if low >= high:
        raise ConfigError(f"factor_range={factor_range!r} is not allowed: give a smallest and a larger factor")
    if _count("bins", bins) < 2:
        raise ConfigError(f"bins={bins} is not allowed: give at least 2")
    return Space(_one(converter.g_min), _one(converter.g_max), factors, bins, bool(symmetric), (low, high))


def _one(value: Any) -> float:
    array = np.asarray(value)
    if array.size != 1:
        raise ConfigError("a swept range of the converter is not allowed: give one g_min and one g_max")
    return float(array.reshape(()))


def _checked_methods(methods: Sequence[str]) -> tuple[str, ...]:
    names = (methods,) if isinstance(methods, str) else tuple(methods)
    for name in names:
        if name not in _METHODS:
            hint = nearest(str(name), _METHODS)
            raise ConfigError(f"methods with {name!r} is not allowed: give some of {', '.join(_METHODS)}{hint}")
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"methods={methods!r} is not allowed: give some of {', '.join(_METHODS)}, each once")
    return names


def _checked_times(config: TileConfig, times: Sequence[float]) -> Float[Array, " times"]:
    seconds = np.asarray(as_numbers("times", times), np.float64)
    if seconds.ndim != 1 or seconds.size == 0:
        raise ConfigError(f"times of shape {seconds.shape} is not allowed: give a list of seconds")
    for t in seconds.tolist():
        checked_time(model_of(config), t)
    return jnp.asarray(seconds, jnp.float32)


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError(f"{name}={value!r} is not allowed: give a whole number of at least 1")
    return int(value)


def _positive(name: str, value: object) -> float:
    wrong = isinstance(value, bool) or not isinstance(value, int | float | np.number)
    if wrong or not 0 < value < np.inf:  # type: ignore[operator]
        raise ConfigError(f"{name} with {value!r} is not allowed: give numbers above 0")
    return float(value)  # type: ignore[arg-type]


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ConfigError(f"{name}={value!r} is not allowed: give two numbers")
    return value[0], value[1]
