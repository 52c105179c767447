"""What is minimised: the error of weights that were programmed, have drifted and are compensated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from aihwjax import random
from aihwjax.inference import chip
from aihwjax.inference.chip import model_of
from aihwjax.inference.conductance.base import largest_weight
from aihwjax.inference.conductance.custom_pair import CustomPairConductanceConverter
from aihwjax.inference.optimization.tables import Space
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Weights


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Problem:
    """What chips are programmed with, and when they are read."""

    config: TileConfig
    """The configuration, with a noise model."""
    weights: Weights
    """Weights ``(out, in)`` that have the distribution of the given ones."""
    times: Float[Array, " times"]
    """Seconds after programming."""


def resampled(weights: Float[np.ndarray, "*shape"], shape: tuple[int, int], key: Key[Array, ""]) -> Weights:
    """Return weights of another shape and the same distribution, in random order.

    Args:
        weights: Any weights.
        shape: ``(out, in)``.
        key: Source of the order.
    """
    ordered = np.sort(np.ravel(weights).astype(np.float64))
    places = np.linspace(0, ordered.size - 1, shape[0] * shape[1])
    values = np.interp(places, np.arange(ordered.size), ordered)
    return jax.random.permutation(key, jnp.asarray(values, jnp.float32)).reshape(shape)


def with_tables(space: Space, config: TileConfig, place: Float[Array, " size"]) -> TileConfig:
    """Return a configuration whose converter has the tables of a point.

    Args:
        space: What is searched.
        config: The configuration.
        place: The point.
    """
    factors, tables = space.decoded(place)
    converter = CustomPairConductanceConverter(
        f_lst=tuple(factors), g_lst=tables, g_min=space.g_min, g_max=space.g_max, invertibility_test=False
    )
    return config.replace(noise_model=model_of(config).replace(g_converter=converter))


def error(problem: Problem, config: TileConfig, key: Key[Array, ""]) -> Float[Array, ""]:
    """Return the mean square of ``(α w(t) − w) / max |w|`` of one chip, over weights and times.

    Args:
        problem: Weights and times.
        config: The configuration of the chip.
        key: Source of all noise.
    """
    source = random.stream(key, random.NoiseEngine.COUNTER)
    made = chip.program(config, problem.weights, source.child("program"))

    def at(number: jax.Array, t: jax.Array) -> jax.Array:
        late = chip.drift(config, made, t, source.child("time").child(number))
        restored = late.weights * jnp.reshape(late.alpha, (-1, 1))
        return jnp.mean(((restored - problem.weights) / largest_weight(problem.weights)) ** 2)

    return jnp.mean(jax.vmap(at)(jnp.arange(problem.times.shape[0]), problem.times))


@partial(jax.jit, static_argnums=0)
def mean_error(
    space: Space, problem: Problem, place: Float[Array, " size"], keys: Key[Array, " chips"]
) -> Float[Array, ""]:
    """Return the mean of :func:`error` of chips with the tables of a point.

    Args:
        space: What is searched.
        problem: Weights and times.
        place: The point.
        keys: One for each chip.
    """
    config = with_tables(space, problem.config, place)
    return jnp.mean(jax.vmap(partial(error, problem, config))(keys))


@jax.jit
def errors(problem: Problem, config: TileConfig, keys: Key[Array, " chips"]) -> Float[Array, " chips"]:
    """Return :func:`error` of each of some chips.

    Args:
        problem: Weights and times.
        config: The configuration of the chips.
        keys: One for each chip.
    """
    return jax.lax.map(partial(error, problem, config), keys)


def tables_of(space: Space, place: Float[np.ndarray, " size"]) -> CustomPairConductanceConverter:
    """Return the converter of a point, checked as one that a user builds.

    Args:
        space: What was searched.
        place: The point.
    """
    factors, tables = space.decoded(jnp.asarray(place, jnp.float32))
    table = np.clip(np.asarray(tables, np.float64), space.g_min, space.g_max)
    return CustomPairConductanceConverter(
        f_lst=tuple(float(factor) for factor in factors), g_lst=table, g_min=space.g_min, g_max=space.g_max
    )


def judged(
    space: Space, problem: Problem, place: Float[np.ndarray, " size"], keys: Key[Array, " chips"]
) -> Float[np.ndarray, " chips"]:
    """Return :func:`error` of each of some chips with the tables of a point, by one program for all points.

    Args:
        space: What was searched.
        problem: Weights and times.
        place: The point.
        keys: One for each chip.
    """
    config = problem.config.replace({"noise_model.g_converter": tables_of(space, place)})
    return np.asarray(errors(problem, config, keys), np.float64)
