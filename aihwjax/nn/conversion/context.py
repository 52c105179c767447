"""What about a layer's class, values and surroundings keeps it from tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
from flax import nnx

from aihwjax.nn.conversion.counterpart import own_problem
from aihwjax.nn.conversion.layers import COUNTERPARTS, added, base_of
from aihwjax.nn.paths import path_text

_NORMALISING = (nnx.WeightNorm, nnx.SpectralNorm)


def held(part: nnx.Module) -> Iterator[nnx.Variable[Any] | nnx.Module]:
    """Yield the variables and modules that a module holds itself, also in lists, dicts and tuples.

    Args:
        part: Any NNX module.
    """
    for name, value in vars(part).items():
        if not name.startswith("_pytree"):
            for leaf in jax.tree.leaves(value, is_leaf=lambda each: isinstance(each, nnx.Variable | nnx.Module)):
                if isinstance(leaf, nnx.Variable | nnx.Module):
                    yield leaf


class Context:
    """A model, seen from its layers.

    Args:
        model: Any NNX module.
    """

    def __init__(self, model: nnx.Module) -> None:
        self.owners: dict[int, list[tuple[str, nnx.Module]]] = {}
        """Path and module of all who hold a variable, by its identity."""
        self.normalised: dict[int, str] = {}
        """What changes the kernel at each call, by the identity of a layer."""
        for path, part in nnx.iter_modules(model):
            for value in held(part):
                self.owners.setdefault(id(value), []).append((path_text(path), part))
            if isinstance(part, _NORMALISING):
                inner = (each for _, each in nnx.iter_modules(part.layer_instance))
                self.normalised |= {id(each): f"nnx.{type(part).__name__}" for each in inner}

    def problem(self, layer: nnx.Module) -> tuple[str, str]:
        """Return why a layer of Flax cannot be converted, or an empty text and the name of what it becomes.

        Args:
            layer: Of a class of ``COUNTERPARTS``, or derived from one.
        """
        base, name = base_of(type(layer)), type(layer).__name__
        assert base is not None
        more = added(layer, base)
        if more:
            return f"{name} adds {', '.join(more)} to nnx.{base.__name__}: give converters={{{name}: function}}", ""
        counterpart = COUNTERPARTS[base]
        if id(layer) in self.normalised:
            return f"{self.normalised[id(layer)]} changes its kernel at each call", ""
        return own_problem(counterpart, layer) or self._shared(layer), counterpart.analog.__name__

    def _shared(self, layer: Any) -> str:
        """Say with which other module a layer shares a variable, if it does."""
        for name in ("kernel", "bias"):
            for path, part in self.owners.get(id(getattr(layer, name)), []):
                if part is not layer:
                    return f"it shares its {name} with {path}"
        return ""
