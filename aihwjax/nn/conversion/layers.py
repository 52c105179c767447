"""What each layer of Flax becomes on tiles, and what an analog layer becomes without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax
from flax import nnx

from aihwjax.nn.conversion.convolutions import CONV, CONV_TRANSPOSE
from aihwjax.nn.conversion.counterpart import Counterpart
from aihwjax.nn.conversion.dense import EINSUM, GENERAL, LINEAR, LORA
from aihwjax.nn.layer import AnalogLayer

COUNTERPARTS: Mapping[type[nnx.Module], Counterpart] = {
    nnx.Linear: LINEAR,
    nnx.LoRALinear: LORA,
    nnx.LinearGeneral: GENERAL,
    nnx.Einsum: EINSUM,
    nnx.Conv: CONV,
    nnx.ConvTranspose: CONV_TRANSPOSE,
}
"""Layers of Flax that have a counterpart on tiles."""

# what each class of Python and of Flax has, whatever is written in it
_OF_EACH_CLASS = {*vars(type("_Empty", (nnx.Module,), {})), "__annotations__", "__annotate__", "__annotate_func__"}
_OF_EACH_CLASS |= {"__firstlineno__", "__static_attributes__"}  # from Python 3.13 on
_OF_EACH_CLASS |= {"__annotations_cache__", "__classcell__", "__orig_bases__", "__type_params__", "__init__"}


def base_of(kind: type) -> type[nnx.Module] | None:
    """Return the class of ``COUNTERPARTS`` that a class is, or derives from; ``None`` for others."""
    return next((base for base in kind.__mro__ if base in COUNTERPARTS), None)


def added(layer: nnx.Module, base: type[nnx.Module]) -> list[str]:
    """Return what the class of a layer adds to that of Flax, other than how it is built.

    Args:
        layer: The layer.
        base: From :func:`base_of`.
    """
    kind = type(layer)
    names = [name for each in kind.__mro__[: kind.__mro__.index(base)] for name in _written(each)]
    known = {"kernel", "bias", *COUNTERPARTS[base].digital_parts}
    held = [name for name, value in vars(layer).items() if name not in known and _is_state(value)]
    return sorted({*names, *held})


def _is_state(value: object) -> bool:
    kinds = (nnx.Variable, nnx.Module)
    return any(isinstance(leaf, kinds) for leaf in jax.tree.leaves(value, is_leaf=lambda each: isinstance(each, kinds)))


def _written(kind: type) -> Iterator[str]:
    yield from (name for name in vars(kind) if name not in _OF_EACH_CLASS)


def counterpart_of(layer: AnalogLayer) -> Counterpart | None:
    """Return how an analog layer goes back; ``None`` for a class that is none of this library."""
    known = {each.analog: each for each in COUNTERPARTS.values()}
    return next((known[kind] for kind in type(layer).__mro__ if kind in known), None)
