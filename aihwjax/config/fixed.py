"""Numbers and choices that are fixed when something is drawn, and what to say when they have changed since.

A tile's devices are drawn once, with the numbers of their configuration. :class:`Drawn` keeps these numbers
beside what was drawn, so that a configuration which was changed afterwards is noticed:

* another choice, or a number that is known to differ, is refused before anything is traced;
* of numbers that are known only when a compiled program runs, the program finds out (:meth:`Drawn.holds`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from aihwjax import showing
from aihwjax.config.core import Config, known_fields
from aihwjax.errors import ConfigError
from aihwjax.typing import Number

OFF = "off"
"""Stands for a feature that is left out of the program."""


@dataclass(frozen=True)
class Fixed:
    """What of a configuration is fixed when something is drawn with it."""

    numbers: Mapping[str, Number]
    """Its numbers by dotted path."""
    choices: Mapping[str, object]
    """Its choices by dotted path: enums, bools, classes, and ``"off"`` for features without a number."""

    @classmethod
    def of(cls, config: Config, path: str) -> Fixed:
        """Return all fields of a configuration and its parts but those of ``at_once``.

        Args:
            config: The configuration.
            path: Where it is, such as ``"device"``.
        """
        numbers: dict[str, Number] = {}
        choices: dict[str, object] = {}
        _collect(config, path, numbers, choices)
        return cls(numbers, choices)

    def refuse_change(self, new: Fixed, advice: str) -> None:
        """Refuse choices that differ, and numbers that are known to; what only one of the two has is ignored.

        Args:
            new: What shall take the place of this.
            advice: What to do instead, for the error.

        Raises:
            ConfigError: If something differs; names the first that does, with both values.
        """
        for path, choice in new.choices.items():
            old = self.choices.get(path, "a number" if path in self.numbers else choice)
            if old != choice:
                raise ConfigError(_refusal(path, _text(choice), _text(old), advice))
        for path, number in new.numbers.items():
            if self.choices.get(path) == OFF:
                raise ConfigError(_refusal(path, _text(number), OFF, advice))
            before = self.numbers.get(path, number)
            known = before is not number and _is_known(before) and _is_known(number)
            if known and not _same(before, number):
                raise ConfigError(_refusal(path, _text(number), _text(before), advice))


def _collect(value: Any, path: str, numbers: dict[str, Number], choices: dict[str, object]) -> None:
    if isinstance(value, Config):
        kind: Any = type(value)
        choices[path] = kind.__name__
        for name, is_number, optional in _fields(kind):
            own, where = getattr(value, name), f"{path}.{name}"
            if is_number and optional and not value.present(name):
                choices[where] = OFF
            elif is_number and not isinstance(own, tuple):
                numbers[where] = own
            else:
                _collect(own, where, numbers, choices)
    elif isinstance(value, tuple):
        choices[path] = len(value)
        for index, entry in enumerate(value):
            if isinstance(entry, Config):
                _collect(entry, f"{path}.{index}", numbers, choices)
            else:
                numbers[f"{path}.{index}"] = entry
    else:
        choices[path] = value


@functools.cache
def _fields(kind: type) -> tuple[tuple[str, bool, bool], ...]:
    """Return the fixed fields of a class: name, whether it is a number, and whether that may be absent."""
    at_once = {name for base in kind.__mro__ for name in vars(base).get("at_once", ())}
    found = []
    for name, field in known_fields(kind).items():
        info = field.metadata.get("number")
        if name not in at_once:
            found.append((name, info is not None, info is not None and (info.optional or info.off is not None)))
    return tuple(found)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Drawn(showing.Record):
    """The numbers and choices that something was drawn with."""

    numbers: Float[Array, " numbers"] | None
    """All numbers, one after the other; ``None`` if there are none."""
    sizes: tuple[tuple[str, tuple[int, ...]], ...] = dataclasses.field(metadata={"static": True})
    """Path and shape of each."""
    choices: tuple[tuple[str, object], ...] = dataclasses.field(metadata={"static": True})
    """Path and value of each choice."""

    @classmethod
    def by(cls, fixed: Fixed) -> Drawn:
        """Return the record of what is being drawn."""
        sizes = tuple((path, jnp.shape(value)) for path, value in fixed.numbers.items())
        numbers = _joined(fixed.numbers, dict(sizes)) if sizes else None
        return cls(numbers, sizes, tuple(fixed.choices.items()))

    def holds(self, fixed: Fixed, advice: str) -> Bool[Array, ""] | None:
        """Return whether the numbers are still those that were drawn with; ``None`` if that is known now.

        Args:
            fixed: Numbers and choices of the present configuration.
            advice: What to do if they differ, for the error.

        Raises:
            ConfigError: If they are known to differ; names the first that does, with both values.
        """
        if fixed.choices and tuple(fixed.choices.items()) != self.choices:
            choices = dict(self.choices)
            for path, value in fixed.choices.items():
                old = choices.get(path, "a number")
                if old != value:
                    raise ConfigError(_refusal(path, _text(value), _text(old), advice))
        shapes = dict(self.sizes)
        for path, value in fixed.numbers.items():
            if path not in shapes:
                raise ConfigError(_refusal(path, _text(value), str(dict(self.choices).get(path, OFF)), advice))
        if self.numbers is None or not fixed.numbers:
            return None
        if _is_known(self.numbers) and all(_is_known(value) for value in fixed.numbers.values()):
            self._refuse_known(fixed, advice)
            return None
        drawn = self.numbers
        if len(fixed.numbers) < len(shapes):
            drawn = jnp.concatenate([part.reshape(-1) for path, part in self._parts(drawn) if path in fixed.numbers])
        return jnp.all(drawn == _joined(fixed.numbers, shapes))

    def _parts(self, numbers: Any) -> list[tuple[str, Any]]:
        """Return path and values of each number; a model that was vmapped has an axis more in front."""
        found, start = [], 0
        for path, shape in self.sizes:
            size = math.prod(shape)
            found.append((path, numbers[..., start : start + size].reshape((*numbers.shape[:-1], *shape))))
            start += size
        return found

    def _refuse_known(self, fixed: Fixed, advice: str) -> None:
        numbers = np.asarray(self.numbers)
        plain = len(fixed.numbers) == len(self.sizes) and all(isinstance(v, float) for v in fixed.numbers.values())
        if plain and np.array_equal(numbers, np.array([*fixed.numbers.values()], np.float32)):
            return  # the usual case, quickly
        for path, old in self._parts(numbers):
            if path in fixed.numbers and not _same(old, fixed.numbers[path]):
                raise ConfigError(_refusal(path, _text(fixed.numbers[path]), _text(old), advice))


def _same(first: Number, second: Number) -> bool:
    """Whether two numbers are equal in single precision; one may be an array of equal ones."""
    old, new = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return bool(np.all(old == new)) if old.ndim == 0 or new.ndim == 0 else np.array_equal(old, new)


def _is_known(value: Number) -> bool:
    if isinstance(value, jax.core.Tracer):
        return False
    return not isinstance(value, jax.Array) or value.is_fully_addressable


def _joined(numbers: Mapping[str, Number], shapes: Mapping[str, tuple[int, ...]]) -> jax.Array:
    """Return numbers one after the other, in their order."""
    single = [jnp.broadcast_to(jnp.asarray(value, jnp.float32), shapes[path]) for path, value in numbers.items()]
    return jnp.concatenate([lax.reshape(value, (value.size,)) for value in single])


def _refusal(path: str, new: str, old: str, advice: str) -> str:
    drawn = "without it" if old == OFF else f"with {old}"
    return f"{path}={new} is not allowed on this tile, which was drawn {drawn}: {advice}"


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray | jax.Array | float):
        if isinstance(value, jax.core.Tracer):
            return "a traced number"
        array = np.asarray(value, np.float64)
        return f"{float(array):.6g}" if array.ndim == 0 else " ".join(str(array).split())
    return str(getattr(value, "name", value))
