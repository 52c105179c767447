"""Optimizers that have a name and numbers, so that a file or a document can say them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

from aihwjax import arguments
from aihwjax.config import LARGEST
from aihwjax.errors import ConfigError, nearest
from aihwjax.optim.any_transformation import AnalogOptimizer

_KNOWN: dict[str, tuple[Callable[..., optax.GradientTransformation], tuple[str, ...]]] = {
    "adagrad": (optax.adagrad, ("initial_accumulator_value", "eps")),
    "adam": (optax.adam, ("b1", "b2", "eps")),
    "adamw": (optax.adamw, ("b1", "b2", "eps", "weight_decay")),
    "lion": (optax.lion, ("b1", "b2", "weight_decay")),
    "nadam": (optax.nadam, ("b1", "b2", "eps")),
    "rmsprop": (optax.rmsprop, ("decay", "eps", "momentum")),
    "sgd": (optax.sgd, ("momentum",)),
}
_RATE, _CLIP = "learning_rate", "clip_norm"
_BELOW_ONE = ("b1", "b2", "decay", "momentum")


@arguments.answering
@dataclass(frozen=True)
class NamedOptimizer(AnalogOptimizer):
    """An optimizer of inference tiles and digital parameters that is known by name; see :func:`named_optimizer`."""

    name: str = ""
    """Its name in optax."""
    numbers: tuple[tuple[str, float], ...] = ()
    """What it was given, in alphabetical order."""

    def entry(self) -> dict[str, Any]:
        """Return the table of a file that says it."""
        return {"name": self.name, **dict(self.numbers)}


def named_optimizer(name: str, **numbers: float) -> NamedOptimizer:
    """Return an optimizer of inference tiles and digital parameters by its name in optax.

    It trains as ``aihwjax.analog_optimizer`` of the transformation does, and travels: in an experiment to a composer,
    and as the table ``[experiment.optimizer]`` of a file.

    Example:
        >>> import aihwjax as aj
        >>> aj.named_optimizer("adamw", learning_rate=1e-3, weight_decay=0.01, clip_norm=1.0).entry()
        {'name': 'adamw', 'clip_norm': 1.0, 'learning_rate': 0.001, 'weight_decay': 0.01}

    Args:
        name: ``adagrad``, ``adam``, ``adamw``, ``lion``, ``nadam``, ``rmsprop`` or ``sgd``.
        **numbers: ``learning_rate``, which is needed; others of that function of optax; and ``clip_norm``, above 0: the
            largest norm of all gradients together, which are scaled down to it before anything else.

    Raises:
        ConfigError: If the name or a number is unknown (with the nearest one), missing or not allowed.
    """
    if not isinstance(name, str) or name not in _KNOWN:
        hint = nearest(name, _KNOWN) if isinstance(name, str) else ""
        raise ConfigError(f"optimizer name={name!r} is not known{hint or ': give one of ' + ', '.join(_KNOWN)}")
    allowed = (_RATE, *_KNOWN[name][1], _CLIP)
    given = {}
    for place, value in numbers.items():
        if place not in allowed:
            raise ConfigError(f"optimizer {name} has no number {place!r}{nearest(place, allowed)}")
        given[place] = _checked(name, place, value)
    if _RATE not in given:
        raise ConfigError(f"optimizer {name} has no learning_rate: give one")
    values = tuple(sorted(given.items()))
    return NamedOptimizer(_transformation(name, values), None, name, values)


def from_entry(entry: Mapping[str, Any]) -> NamedOptimizer:
    """Return the optimizer of a table of a file; see :meth:`NamedOptimizer.entry`.

    Args:
        entry: The table.

    Raises:
        ConfigError: As :func:`named_optimizer`, or if there is no name.
    """
    numbers = {str(place): value for place, value in entry.items() if place != "name"}
    if "name" not in entry:
        raise ConfigError(f"optimizer.name is missing: give one of {', '.join(_KNOWN)}")
    return named_optimizer(entry["name"], **numbers)


def _checked(name: str, place: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ConfigError(f"optimizer {name}: {place}={value!r} is not allowed: give a number")
    number = float(value)
    top = 1.0 if place in _BELOW_ONE else LARGEST
    small = number >= 0 and (number < top if place in _BELOW_ONE else number <= top)
    if not math.isfinite(number) or not small or (place == _CLIP and number == 0):
        wanted = "at least 0 and below 1" if place in _BELOW_ONE else "above 0" if place == _CLIP else "at least 0"
        raise ConfigError(f"optimizer {name}: {place}={number:g} is not allowed: give a number {wanted}")
    return number


@functools.lru_cache(maxsize=256)  # the same numbers are the same transformation, for which a step is compiled once
def _transformation(name: str, numbers: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    values = dict(numbers)
    clip = values.pop(_CLIP, None)
    made = _KNOWN[name][0](**values)
    return made if clip is None else optax.chain(optax.clip_by_global_norm(clip), made)
