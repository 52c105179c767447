"""Samples of a case's records from many fresh tiles of ours."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from aihwjax import arguments
from aihwjax.fidelity.agreement import Values
from aihwjax.fidelity.cases import TileCase
from aihwjax.fidelity.program import Compiled, Numbers, Outputs, Program, compiled, run_program
from aihwjax.random import named
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key

REPEATS = 4000
"""Most tiles behind a record that is kept for each crosspoint: rare events decide a few cases."""

# The rule takes a spread of exactly zero at its word. In a few hundred tiles of the reference it only means that an
# event with a probability of some thousandths didn't happen, which as many tiles of ours allow for and more would not.
_FEW = 1000

POOLED_TILES = 48
"""Tiles behind a record that is pooled over crosspoints."""

_ELEMENTS = 2**18
"""Most crosspoints that are simulated at once, which keeps a chunk within the cache."""


@partial(jax.jit, static_argnums=(0, 1))
def _simulate(
    program: Program, shape: tuple[int, int], config: TileConfig, numbers: tuple[tuple[Numbers, ...], ...], keys: Key
) -> tuple[tuple[Outputs, ...], ...]:
    return jax.vmap(lambda key: run_program(program, shape, config, numbers, key))(keys)


@arguments.answered
def tiles_of(case: TileCase, repeats: int | None = None) -> int:
    """Return the number of tiles to simulate.

    Args:
        case: The case.
        repeats: The number for records that are not pooled; the default is of the order of the
            reference's, and equal to it where that is small.
    """
    if case.pooled:
        return POOLED_TILES
    if repeats is not None:
        return repeats
    if case.repeats < _FEW:
        return case.repeats
    return max(REPEATS, case.repeats)


@arguments.answered
def sample(case: TileCase, config: TileConfig, tiles: int, seed: int = 0) -> dict[str, Values]:
    """Take fresh tiles through a case's steps and return what they show.

    Args:
        case: The steps and inputs.
        config: The configuration of the tiles.
        tiles: How many; rounded up to whole chunks.
        seed: Seed of all noise, mixed with the case's name.

    Returns:
        Record to values, ``(tiles, ...)``; pooled records ``(tiles * out * in,)``.
    """
    parts = compiled(case)
    chunks = -(-tiles * case.shape[0] * case.shape[1] // _ELEMENTS)
    size = -(-tiles // chunks)
    # the bit generator of XLA compiles in a fraction of the time of threefry
    key = jax.random.fold_in(jax.random.key(seed, impl="rbg"), named(case.name))
    gathered: dict[str, list[Values]] = {}
    for chunk in range(chunks):
        keys = jax.random.split(jax.random.fold_in(key, chunk), size)
        results = jax.device_get(_simulate(parts.program, case.shape, config, parts.numbers, keys))
        for record, values in _named(parts, results).items():
            gathered.setdefault(record, []).append(values)
    records = {record: np.concatenate(values) for record, values in gathered.items()}
    for record in parts.sums:
        records.update(_sums(record, records[record]))
    for record in parts.first_alphas:
        records[record] = records[record][:, :1]
    for first, second, record in parts.differences:
        records[record] = records[second] - records[first]
    if case.pooled:
        return {record: values.reshape(-1) for record, values in records.items()}
    return records


def _named(parts: Compiled, results: tuple[tuple[Outputs, ...], ...]) -> dict[str, Values]:
    """Give each result its record's name; results are ``(tile, repetition, ...)``."""
    named_results = {}
    for records, block in zip(parts.records, results, strict=True):
        for names, outputs in zip(records, block, strict=True):
            for suffix, values in outputs.items():
                for turn, record in enumerate(names):
                    named_results[f"{record}{suffix}"] = np.asarray(values)[:, turn]
    return named_results


def _sums(record: str, values: Values) -> dict[str, Values]:
    exact = values.astype(np.float64)
    return {
        f"{record}/rows": exact.sum(axis=-1),
        f"{record}/columns": exact.sum(axis=-2),
        f"{record}/all": exact.sum(axis=(-2, -1))[:, None],
    }
