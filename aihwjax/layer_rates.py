"""Learning rates by layer: a rate for each path of a model, of which the longest that fits counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeAlias

import jax
import numpy as np
import optax
from jaxtyping import Array, Int

from aihwjax import showing
from aihwjax.errors import ConfigError, nearest
from aihwjax.rates import LearningRate, ScheduleCheck, check_rate, rate_at
from aihwjax.schedules import Schedule
from aihwjax.typing import Number

DEFAULT = "default"
"""Entry of what no path names."""


@jax.tree_util.register_pytree_node_class
class LayerRates:
    """Learning rates by path.

    A pytree whose leaves are the numbers: other numbers need no new program. Schedules and zeros are part of its
    structure, as a frozen layer is left out of the program.

    Example:
        >>> rates = LayerRates({"layers/0": 0.0, "default": 0.1})
        >>> rates.entry("layers/0/tiles/0"), rates.entry("layers/2/bias")
        ('layers/0', 'default')
    """

    def __init__(self, entries: Mapping[str, LearningRate]) -> None:
        """Check the rates.

        Args:
            entries: Path of a layer, of one of its tiles or parameters, or of anything around them, such as
                ``layers/0``, to a number, traced value or schedule; ``"default"`` is for the rest.

        Raises:
            ConfigError: If there are none, a path is no text, or a rate is not allowed.
        """
        if not entries:
            raise ConfigError('learning_rate={} is not allowed: give rates by path, such as {"default": 0.05}')
        self._frozen: list[str] = []
        self._schedules: dict[str, optax.Schedule] = {}
        self._numbers: dict[str, Any] = {}
        for path, rate in sorted(entries.items(), key=lambda entry: str(entry[0])):
            if not isinstance(path, str):
                raise ConfigError(f"learning_rate has the path {path!r}: give text, such as 'layers/0'")
            try:
                checked = check_rate(rate)
            except ConfigError as error:
                raise ConfigError(f"learning_rate of {path!r}: {error}") from None
            if callable(checked):
                self._schedules[path] = checked
            elif isinstance(checked, jax.core.Tracer) or np.asarray(checked).any():
                self._numbers[path] = checked
            else:
                self._frozen.append(path)

    @property
    def schedules(self) -> dict[str, optax.Schedule]:
        """The schedules by path."""
        return dict(self._schedules)

    def values(self, step: int | Int[Array, ""]) -> dict[str, Number]:
        """Return the rates of a step by the paths that were given.

        Args:
            step: Number of steps done; may be traced.

        Raises:
            ConfigError: If a rate is not allowed, as far as it is known.
        """
        changing = {path: rate_at(rate, step) for path, rate in self._schedules.items()}
        return dict(sorted({**dict.fromkeys(self._frozen, 0), **self._numbers, **changing}.items()))

    def check(self, paths: Iterable[str]) -> None:
        """Refuse rates that don't fit a model.

        Args:
            paths: Paths of its tiles and parameters.

        Raises:
            ConfigError: If an entry is for nothing in the model, or something in it has none; names what there is.
        """
        paths = list(paths)
        layers = list(dict.fromkeys(_layer(path) for path in paths))
        for path in self._paths:
            if path != DEFAULT and not any(_below(path, each) for each in paths):
                known = f"give one of {', '.join(layers)}, or {DEFAULT!r}{nearest(path, layers)}"
                raise ConfigError(f"learning_rate has the path {path!r}, where nothing learns: {known}")
        for path in paths:
            if self._found(path) is None:
                raise _uncovered(path)

    @property
    def _paths(self) -> list[str]:
        return [*self._frozen, *self._numbers, *self._schedules]

    def _found(self, path: str) -> str | None:
        fitting = [entry for entry in self._paths if entry != DEFAULT and _below(entry, path)]
        if fitting:
            return max(fitting, key=len)
        return DEFAULT if DEFAULT in self._paths else None

    def entry(self, path: str) -> str:
        """Return the path that was given, or ``"default"``, whose rate a tile or parameter has.

        Args:
            path: Of the tile or parameter.

        Raises:
            ConfigError: If there is none.
        """
        found = self._found(path)
        if found is None:
            raise _uncovered(path)
        return found

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[tuple[Any, ...], ...]]:
        """Return the numbers, and what is part of the structure."""
        return tuple(self._numbers.values()), (
            tuple(self._numbers),
            tuple(self._frozen),
            tuple(self._schedules.items()),
        )

    @classmethod
    def tree_unflatten(cls, fixed: tuple[tuple[Any, ...], ...], numbers: Iterable[Any]) -> Self:
        """Return rates of their parts; nothing is checked, as leaves may be anything in between."""
        rates = object.__new__(cls)
        paths, frozen, schedules = fixed
        rates._numbers, rates._frozen, rates._schedules = (
            dict(zip(paths, numbers, strict=True)),
            [*frozen],
            dict(schedules),
        )
        return rates

    def __repr__(self) -> str:
        entries = {**dict.fromkeys(self._frozen, 0.0), **self._numbers, **self._schedules}
        return f"{{{', '.join(f'{path!r}: {showing.word(rate)}' for path, rate in entries.items())}}}"


AnyRate: TypeAlias = LearningRate | LayerRates
"""One rate for the whole model, or rates by path."""


def check_rates(learning_rate: LearningRate | LayerRates | Mapping[str, LearningRate]) -> AnyRate:
    """Return one rate or rates by path if they are allowed as far as that is known.

    Args:
        learning_rate: A number, a traced value, a schedule, or a mapping from paths to such.

    Raises:
        ConfigError: If it is anything else, or a rate is negative, not finite or too large.
    """
    if isinstance(learning_rate, LayerRates):
        return learning_rate
    if isinstance(learning_rate, Mapping):
        return LayerRates(learning_rate)
    return check_rate(learning_rate)


def rates_at(learning_rate: AnyRate, step: int | Int[Array, ""]) -> tuple[Callable[[str], Number], list[Number]]:
    """Return the rate of each path at a step, and all rates that there are.

    Args:
        learning_rate: One rate, or rates by path.
        step: Number of steps done; may be traced.

    Raises:
        ConfigError: If a rate is not allowed, as far as it is known.
    """
    if isinstance(learning_rate, LayerRates):
        values = learning_rate.values(step)
        return lambda path: values[learning_rate.entry(path)], list(values.values())
    rate = rate_at(learning_rate, step)
    return lambda path: rate, [rate]


def parted(learning_rate: AnyRate) -> tuple[optax.Schedule | None, Any]:
    """Return what a compiled loop is made for, a schedule or ``None``, and the numbers it is called with.

    Args:
        learning_rate: One rate, or rates by path.
    """
    if isinstance(learning_rate, LayerRates | Schedule):
        return None, jax.tree.map(np.float32, learning_rate)
    if callable(learning_rate):
        return learning_rate, np.float32(0)
    return None, np.float32(learning_rate)


def schedule_check(learning_rate: AnyRate, first: int, end: int, at_once: int) -> Callable[[int], None]:
    """Return a function that looks at the rates of all steps before one, as :class:`aihwjax.rates.ScheduleCheck`.

    Args:
        learning_rate: One rate, or rates by path.
        first: First step of the run.
        end: Step after its last.
        at_once: At least so many steps are looked at together.
    """
    several = learning_rate.schedules.values() if isinstance(learning_rate, LayerRates) else [learning_rate]
    checks = [ScheduleCheck(each, first, end, at_once) for each in several]

    def before(step: int) -> None:
        for check in checks:
            check.before(step)

    return before


def _uncovered(path: str) -> ConfigError:
    return ConfigError(f"learning_rate has no entry for {_layer(path)!r}: name it, or give one for 'default', the rest")


def _below(entry: str, path: str) -> bool:
    return path == entry or path.startswith(f"{entry}/")


def _layer(path: str) -> str:
    """Return the path of the layer that a tile or parameter belongs to; its own if that is the whole model."""
    layer = path.split("/tiles/")[0] if "/tiles/" in path else path.rpartition("/")[0]
    return layer or path
