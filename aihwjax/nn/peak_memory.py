"""How much memory a program needs, by an estimate from its steps."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import jax
import numpy as np
from jax.extend.core import Jaxpr, Literal, jaxprs_in_params

_SHARE = 0.25
"""Part of the memory of an accelerator that is used if nothing is said."""
_ON_CPU = 2**28
"""Bytes that are used on a CPU if nothing is said: beyond the caches more at once is not faster."""

# a program that is called again is the same object, and so are the functions that many of its steps call
_known: WeakKeyDictionary[Jaxpr, int] = WeakKeyDictionary()


def needed(program: Jaxpr) -> int:
    """Return the bytes that a program takes with its arguments, as if no steps were fused.

    Args:
        program: The program.
    """
    return sum(_bytes(var) for var in program.invars) + _peak(program)


def default_memory(device: jax.Device | None = None) -> int:
    """Return the bytes that a program may take on a device if nothing is said.

    Args:
        device: The device; ``None``: the first one.
    """
    device = jax.local_devices()[0] if device is None else device
    if device.platform == "cpu":
        return _ON_CPU
    known = (device.memory_stats() or {}).get("bytes_limit")
    return int(_SHARE * known) if known else _ON_CPU


def _bytes(var: Any) -> int:
    shape = getattr(var.aval, "shape", ())
    itemsize = getattr(getattr(var.aval, "dtype", None), "itemsize", 4)
    return int(np.prod(shape, dtype=np.int64)) * itemsize


def _peak(jaxpr: Jaxpr) -> int:
    """Return the bytes of the results of a program that are needed at the same time, at most, as if none were fused."""
    if jaxpr not in _known:
        _known[jaxpr] = _counted(jaxpr)
    return _known[jaxpr]


def _counted(jaxpr: Jaxpr) -> int:
    last = {}
    for place, equation in enumerate(jaxpr.eqns):
        for var in equation.invars:
            if not isinstance(var, Literal):
                last[var] = place
    live, highest = 0, 0
    ends: dict[int, list[Any]] = {}
    for place, equation in enumerate(jaxpr.eqns):
        inner = max((_peak(each) for each in jaxprs_in_params(equation.params)), default=0)
        live += sum(_bytes(var) for var in equation.outvars)
        highest = max(highest, live + inner)
        for var in equation.outvars:
            ends.setdefault(last.get(var, place), []).append(var)
        live -= sum(_bytes(var) for var in ends.pop(place, []))
    return highest
