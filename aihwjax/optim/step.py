"""One step of an optimizer: what all of them share (spec: tile_ops section 13, update section 8)."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Int

from aihwjax import arguments, random
from aihwjax.config import LARGEST
from aihwjax.errors import ConfigError, ModuleError, nearest
from aihwjax.layer_rates import AnyRate, LayerRates
from aihwjax.nn.gradients import Gradients, Pair
from aihwjax.nn.paths import analog_tiles, noise_engine, path_text
from aihwjax.nn.tile import AnalogTile
from aihwjax.nn.variables import ModelState
from aihwjax.random import Noise
from aihwjax.typing import EachWeights, Number


class OptimizerState(NamedTuple):
    """What the optimizer remembers; the tiles keep their own state in the model."""

    step: Int[Array, ""]
    """Number of steps done."""
    digital: optax.OptState
    """State of the transformation: of the digital parameters, and of the weights that take it too."""


@arguments.answering
class Optimizer(abc.ABC):
    """What trains a model: :class:`AnalogSGD` or :class:`AnalogOptimizer`."""

    learning_rate: AnyRate | None
    """Learning rate of the tiles, or rates by path; ``None``: there is none."""

    @abc.abstractmethod
    def init(self, model: nnx.Module) -> OptimizerState:
        """Return the state before the first step.

        Args:
            model: The model to train.
        """

    @abc.abstractmethod
    def update(self, model: nnx.Module, gradients: Gradients, state: OptimizerState, key: Noise) -> OptimizerState:
        """Take one step; changes ``model`` and returns the optimizer's new state.

        Args:
            model: The model; all of its changes are made in place, as usual in NNX.
            gradients: From :func:`aihwjax.nn.value_and_grad`.
            state: State after the last step.
            key: Source of pulses and noise.
        """

    @abc.abstractmethod
    def sound(self, gradients: Gradients, step: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether a step can be taken: its rates are allowed, and what tiles learn from is finite.

        A gradient of a digital parameter is seen in the parameter, an infinite x in the loss.

        Args:
            gradients: Of the step.
            step: Number of steps done.
        """


class Learner(NamedTuple):
    """A tile in a step."""

    tile: AnalogTile
    """The tile."""
    pair: Pair | None
    """What it learns from, x and d; ``None`` if the loss did not call it."""
    key: Noise
    """Source of its update."""
    slope: EachWeights | None = None
    """Gradient of its weights, where it is no matter of x and d alone; see :class:`aihwjax.nn.Gradients`."""


def take_step(
    model: nnx.Module,
    gradients: Gradients,
    key: Noise,
    rate: Callable[[str], Number],
    together: Callable[[dict[str, Learner]], optax.OptState],
) -> optax.OptState:
    """Take one step and return what ``together`` returns.

    In this order: inference tiles and digital parameters, each other tile that was called, and what follows every
    mini-batch on all tiles. An inference tile learns with the input range of its products, others with the one that
    has been stepped (spec: tile_ops, trap 9).

    Args:
        model: The model; changed in place.
        gradients: Of the model.
        key: Source of pulses and noise.
        rate: Learning rate of the tile at a path, for all that are no inference tiles.
        together: Takes the step of digital parameters and of the inference tiles, which it gets by path.

    Raises:
        ModuleError: If the gradients belong to another model.
    """
    tiles = analog_tiles(model)
    for path in gradients.analog:
        if path not in tiles:
            raise ModuleError(f"the gradients are for a tile {path!r} that the model lacks{nearest(path, tiles)}")
    noise = random.stream(key, noise_engine(model))

    def own(path: str, purpose: str) -> Noise:
        return random.derive(random.derive(noise, path), purpose)

    learners = {
        path: Learner(tile, gradients.analog.get(path), own(path, "update"), gradients.weights.get(path))
        for path, tile in tiles.items()
    }
    after = together({path: each for path, each in learners.items() if is_inference(each.tile)})
    for path, (tile, pair, source, _) in learners.items():
        if pair is not None and not is_inference(tile) and not is_zero(rate(path)):
            tile.update(*pair, rate(path), source)
    for path, tile in tiles.items():
        tile.end_of_batch(own(path, "end_of_batch"))
    return after


def is_inference(tile: AnalogTile) -> bool:
    """Whether a tile is an inference tile, whose weights belong to the step of the digital parameters."""
    return tile.config.get_value().inference


def is_zero(rate: Number) -> bool:
    """Whether a rate is known to be 0, so that what it freezes is left out of the program."""
    return isinstance(rate, int | float) and rate == 0


def by_path(change: Callable[[str, jax.Array], jax.Array], values: ModelState) -> ModelState:
    """Return parameters changed by a function of path and value.

    Args:
        change: The function.
        values: Parameters, or something in their structure.
    """
    changed = nnx.to_flat_state(values)
    return nnx.from_flat_state(
        [(path, each.replace(change(path_text(path), each.get_value()))) for path, each in changed]
    )


def transformed(
    transformation: optax.GradientTransformation,
    gradients: ModelState,
    state: optax.OptState,
    params: ModelState,
    frozen: Callable[[str], Number] | None,
) -> tuple[ModelState, optax.OptState]:
    """Return the changes that a transformation makes of gradients, and its new state.

    Args:
        transformation: The transformation.
        gradients: Gradients of the parameters.
        state: Its state.
        params: The parameters.
        frozen: Rates by path, of which those that are 0 freeze; ``None``: nothing is frozen.
    """
    if frozen is None:
        changes, state = transformation.update(gradients, state, params)
        return changes, state
    # both sides: a norm over all gradients leaves out what is frozen, and so does a decay
    changes, state = transformation.update(by_path(_unless_frozen(frozen), gradients), state, params)
    return by_path(_unless_frozen(frozen), changes), state


def _unless_frozen(rate: Callable[[str], Number]) -> Callable[[str, jax.Array], jax.Array]:
    def kept(path: str, value: jax.Array) -> jax.Array:
        return jnp.where(jnp.asarray(rate(path)) == 0, jnp.zeros_like(value), value)

    return kept


def check_state(transformation: optax.GradientTransformation, state: OptimizerState, params: ModelState) -> None:
    """Refuse a state that a step cannot go on from, before anything changes.

    Args:
        transformation: The transformation.
        state: Its state.
        params: The parameters of the model.

    Raises:
        ModuleError: If it belongs to another model or another transformation.
    """
    fresh: Any = jax.ShapeDtypeStruct((), jnp.int32), jax.eval_shape(transformation.init, params)
    if _shapes(state) != _shapes(OptimizerState(*fresh)):
        raise ModuleError(
            "the optimizer's state belongs to another model or another transformation: start with "
            "optimizer.init(model), and go on with what update returned"
        )


def _shapes(tree: Any) -> list[tuple[str, tuple[int, ...]]]:
    return [(jax.tree_util.keystr(path), jnp.shape(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def sound(errors: Iterable[jax.Array], rates: Iterable[Number]) -> Bool[Array, ""]:
    """Whether the sums of gradients are finite and rates are allowed.

    Args:
        errors: Gradients d ``(n, out)`` of tiles.
        rates: The learning rates.
    """
    total = jnp.zeros(())
    for d in errors:
        total = total + d.sum()
    result = jnp.isfinite(total)
    for each in map(jnp.asarray, rates):
        result = result & (each >= 0) & (each <= LARGEST)
    return result


@arguments.answered
def check_fits(learning_rate: AnyRate, model: nnx.Module) -> None:
    """Refuse rates by path that don't fit a model.

    Args:
        learning_rate: One rate, which fits any, or rates by path.
        model: The model.

    Raises:
        ConfigError: If a path is for nothing that learns, or something that learns has no rate.
    """
    if isinstance(learning_rate, LayerRates):
        parameters = (path_text(path) for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param)))
        learning_rate.check([*analog_tiles(model), *parameters])


@arguments.answered
def check_transformation(name: str, value: object) -> None:
    """Refuse what is no optax transformation.

    Args:
        name: What the message calls it.
        value: Anything.

    Raises:
        ConfigError: If it is none.
    """
    whole = callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))
    if not whole or isinstance(value, type | Optimizer):
        text = " ".join(repr(value).split())
        raise ConfigError(
            f"{name}={text if len(text) <= 60 else text[:57] + '...'} is not allowed: give an optax transformation, "
            "such as optax.adam(1e-3)"
        )
