"""Pulses that each crosspoint got, for endurance and energy."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax import arguments, showing
from aihwjax.typing import Counts, Marks, Shape


@arguments.answering
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PulseCounts(showing.Record):
    """Number of pulses of each crosspoint since its device was drawn, int32.

    Each pulse that arrives counts, also one that moves nothing: at a bound, or at a stuck crosspoint.
    Beyond 2^31 - 1 the numbers start again from below.
    """

    up: Counts
    """Up pulses ``(out, in)``."""
    down: Counts
    """Down pulses ``(out, in)``."""

    @classmethod
    def none(cls, shape: Shape) -> PulseCounts:
        """Return counters at zero for crosspoints of ``shape``."""
        return cls(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.int32))

    def __add__(self, other: PulseCounts) -> PulseCounts:
        """Return the sums with other counters of the same shape."""
        return PulseCounts(self.up + other.up, self.down + other.down)

    def and_where(self, up: Marks, down: Marks) -> PulseCounts:
        """Return the counters after one more pulse where ``up`` or ``down`` is true, ``(out, in)`` bool."""
        return PulseCounts(self.up + up.astype(jnp.int32), self.down + down.astype(jnp.int32))


def counters(tree: object) -> list[PulseCounts]:
    """Return all counters in a pytree, such as the state of a device, a tile or a model."""
    nodes = jax.tree.leaves(tree, is_leaf=_is_counter)
    return [node for node in nodes if _is_counter(node)]


def total(tree: object) -> int | None:
    """Return the number of all pulses in a pytree, exactly, on the host; ``None`` where nothing is counted."""
    found = counters(tree)
    arrays = [np.asarray(array) for each in found for array in (each.up, each.down)]
    return sum(int(array.sum(dtype=np.int64)) for array in arrays) if found else None


def _is_counter(node: object) -> bool:
    return isinstance(node, PulseCounts)
