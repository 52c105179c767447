"""Spaces without a grid: a distribution for each path, drawn at random or spread evenly by a sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import numpy as np

from aihwjax import arguments, random
from aihwjax.errors import ConfigError, nearest
from aihwjax.typing import Key

Method = Literal["random", "sobol", "halton"]
_METHODS = ("random", "sobol", "halton")


@runtime_checkable
class Distribution(Protocol):
    """How the values of a path are spread."""

    def value(self, share: float) -> Any:
        """Return the value below which a share of all values is.

        Args:
            share: From 0 to below 1.
        """
        ...


@arguments.answering
@dataclass(frozen=True)
class Uniform:
    """Numbers between two limits, each as likely as any other."""

    low: float
    """The smallest."""
    high: float
    """The largest."""

    def __post_init__(self) -> None:
        _check_limits(self, -math.inf)

    def value(self, share: float) -> float:
        """Return the number below which a share of all numbers is."""
        return float(self.low + share * (self.high - self.low))


@arguments.answering
@dataclass(frozen=True)
class LogUniform:
    """Positive numbers between two limits, each order of magnitude as likely as any other."""

    low: float
    """The smallest, above 0."""
    high: float
    """The largest."""

    def __post_init__(self) -> None:
        _check_limits(self, 0.0)

    def value(self, share: float) -> float:
        """Return the number below which a share of all numbers is."""
        found = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return min(max(found, float(self.low)), float(self.high))


@arguments.answering
@dataclass(frozen=True)
class Integers:
    """Whole numbers from one to another, both of them included."""

    low: int
    """The smallest."""
    high: int
    """The largest."""

    def __post_init__(self) -> None:
        for limit in (self.low, self.high):
            if isinstance(limit, bool) or not isinstance(limit, int | np.integer):
                raise ConfigError(f"{self} is not allowed: give whole numbers")
        _check_limits(self, -math.inf)

    def value(self, share: float) -> int:
        """Return the number below which a share of all numbers is."""
        return min(int(self.low) + math.floor(share * (self.high - self.low + 1)), int(self.high))


@arguments.answering
@dataclass(frozen=True)
class Choice:
    """Values of any kind, each as likely as any other."""

    values: Sequence[Any]
    """The values."""

    def __post_init__(self) -> None:
        several = isinstance(self.values, Sequence | np.ndarray) and not isinstance(self.values, str | bytes)
        if not several or len(self.values) == 0:
            raise ConfigError(f"Choice({self.values!r}) is not allowed: give a list of at least one value")

    def value(self, share: float) -> Any:
        """Return one of them."""
        return self.values[min(math.floor(share * len(self.values)), len(self.values) - 1)]


@arguments.answered
def sampled(
    space: Mapping[str, Distribution | Sequence[Any]], count: int, key: Key | int = 0, method: Method = "sobol"
) -> list[dict[str, Any]]:
    """Return configurations drawn from a space, for :func:`aihwjax.sweep`.

    The first configurations of a larger count are those of a smaller one, so that a search can be made longer.

    Example:
        >>> import aihwjax as aj
        >>> from aihwjax.experiments import LogUniform, sampled
        >>> points = sampled({"device.dw_min": LogUniform(1e-4, 1e-2), "batch_size": [8, 16]}, 4, key=0)
        >>> sorted(point["batch_size"] for point in points)
        [8, 8, 16, 16]

    Args:
        space: A distribution, or a list of values as likely as one another, for each path.
        count: How many.
        key: Source of all draws.
        method: ``"random"``; or ``"sobol"`` or ``"halton"``, scrambled sequences that leave no holes (of Sobol, a
            power of two is spread most evenly).

    Raises:
        ConfigError: If the space is empty, a path has no distribution, or an argument is not allowed.
    """
    if not isinstance(space, Mapping) or not space:
        raise ConfigError("space is not allowed: give a dict such as {'device.dw_min': LogUniform(1e-4, 1e-2)}")
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ConfigError(f"count={count!r} is not allowed: give a whole number of at least 1")
    if method not in _METHODS:
        hint = nearest(str(method), _METHODS) or f": give any of {', '.join(_METHODS)}"
        raise ConfigError(f"method={method!r} is not allowed{hint}")
    spread = {path: _distribution(path, values) for path, values in space.items()}
    shares = _shares(tuple(spread), int(count), key, method)
    return [
        {path: each.value(share) for (path, each), share in zip(spread.items(), row, strict=True)}
        for row in shares.tolist()
    ]


def _shares(paths: tuple[str, ...], count: int, key: Key | int, method: Method) -> np.ndarray:
    """Return numbers from 0 to below 1, ``(count, paths)``."""
    if method == "random":  # a stream of its own for each path: one more path changes no other
        streams = [np.random.default_rng(_words(random.fold(random.as_key(key), path))) for path in paths]
        return np.stack([stream.random(count) for stream in streams], axis=1)
    from scipy.stats import qmc

    seed = np.random.default_rng(_words(random.fold(random.as_key(key), method)))
    if method == "halton":
        return qmc.Halton(len(paths), seed=seed).random(count)
    return qmc.Sobol(len(paths), seed=seed).random_base2(max(0, math.ceil(math.log2(count))))[:count]


def _words(key: Key) -> list[int]:
    typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(key) if typed else key).ravel().tolist()


def _distribution(path: str, values: Any) -> Distribution:
    if isinstance(values, Distribution):
        return values
    try:
        return Choice(values)
    except ConfigError:
        text = " ".join(repr(values).split())[:60]
        known = "Uniform, LogUniform, Integers, or a list of values"
        raise ConfigError(f"space[{path!r}]={text} is not allowed: give any of {known}") from None


def _check_limits(limits: Uniform | LogUniform | Integers, above: float) -> None:
    for limit in (limits.low, limits.high):
        if isinstance(limit, bool) or not isinstance(limit, int | float | np.integer | np.floating):
            raise ConfigError(f"{limits} is not allowed: give two numbers")
    if not (above < limits.low <= limits.high < math.inf):
        need = "finite ones above 0" if above == 0 else "finite ones"
        raise ConfigError(f"{limits} is not allowed: give {need}, the smaller first")
