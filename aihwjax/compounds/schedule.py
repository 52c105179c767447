"""When the devices of a transfer compound are transferred, counted in vectors."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

_INT = jnp.int32
NEVER = 2**30
"""Longest time between two events, in vectors: a number that counters do not reach, and that can be added to one."""


class Schedule(NamedTuple):
    """The times of the transfers within one mini-batch; active vectors are numbered from 0."""

    periods: tuple[jax.Array, ...]
    """Vectors between the transfers of each device; 0: never."""
    before: jax.Array
    """Vectors that the compound has counted before this mini-batch."""
    number: jax.Array
    """Active vectors in this mini-batch."""
    places: jax.Array
    """Index in the mini-batch of each active vector, then the size of the mini-batch, ``(n + 1,)``."""

    @classmethod
    def of(cls, periods: tuple[jax.Array, ...], before: jax.Array, active: jax.Array) -> Schedule:
        """Return the schedule of a mini-batch whose vectors are ``active``, ``(n,)`` bool."""
        count = active.shape[0]
        places = jnp.nonzero(active, size=count + 1, fill_value=count)[0].astype(_INT)
        return cls(periods, before, jnp.sum(active.astype(_INT)), places)

    def place(self, vector: jax.Array) -> jax.Array:
        """Return the index in the mini-batch from which on active vectors are numbered ``vector`` or more."""
        return self.places[jnp.minimum(vector, self.places.shape[0] - 1)]

    def every(self, level: int) -> jax.Array:
        """Return the vectors between transfers of device ``level``, at least 1."""
        return jnp.maximum(self.periods[level], 1)

    def first(self, level: int) -> jax.Array:
        """Return the vector after which device ``level`` is transferred first."""
        every = self.every(level)
        return every - 1 - (self.before % every.astype(jnp.uint32)).astype(_INT)

    def transfers(self, level: int, vectors: jax.Array) -> jax.Array:
        """Return how many transfers of device ``level`` fall within the first ``vectors``."""
        first = self.first(level)
        inside = (vectors - 1 - first) // self.every(level) + 1
        return jnp.where((self.periods[level] > 0) & (vectors > first), inside, 0)

    def following(self, level: int, vector: jax.Array) -> jax.Array:
        """Return the first vector from ``vector`` on after which device ``level`` is transferred."""
        every, first = self.every(level), self.first(level)
        turns = jnp.maximum((vector - first + every - 1) // every, 0)
        return jnp.where(self.periods[level] > 0, first + turns * every, self.number + 1)
