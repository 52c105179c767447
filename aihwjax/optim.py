"""Training: one optimizer for digital parameters and tiles (spec: tile_ops section 13, update section 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from aihwjax import random
from aihwjax.config import LARGEST
from aihwjax.errors import ConfigError, ModuleError, nearest
from aihwjax.layer_rates import AnyRate, LayerRates, check_rates, rates_at
from aihwjax.nn.calling import of_this_library
from aihwjax.nn.gradients import Gradients, value_and_grad
from aihwjax.nn.paths import analog_tiles, noise_engine, path_text
from aihwjax.nn.variables import ModelState, TileConfigVariable
from aihwjax.random import Noise
from aihwjax.rates import LearningRate
from aihwjax.typing import Number


class OptimizerState(NamedTuple):
    """What the optimizer remembers; the tiles keep their own state in the model."""

    step: Int[Array, ""]
    """Number of steps done."""
    digital: optax.OptState
    """State of the optimizer of the digital parameters."""


@dataclass(frozen=True)
class AnalogSGD:
    """Plain gradient descent by pulses on tiles, any optimizer on digital parameters; see :func:`analog_sgd`."""

    learning_rate: AnyRate
    """Learning rate of the tiles, or rates by path."""
    digital: optax.GradientTransformation | None
    """Optimizer of the digital parameters; ``None``: gradient descent with the same learning rate."""

    def init(self, model: nnx.Module) -> OptimizerState:
        """Return the state before the first step.

        Args:
            model: The model to train.

        Raises:
            ConfigError: If rates by path don't fit the model.
        """
        check_fits(self.learning_rate, model)
        params = nnx.state(model, nnx.Param)
        digital = optax.EmptyState() if self.digital is None else self.digital.init(params)
        return OptimizerState(jnp.zeros((), jnp.int32), digital)

    def update(self, model: nnx.Module, gradients: Gradients, state: OptimizerState, key: Noise) -> OptimizerState:
        """Take one step; changes ``model`` and returns the optimizer's new state.

        In this order: the digital parameters and the exact step of inference tiles, the update of each
        other tile that was called, and what follows every mini-batch (diffusion, decay, clip, remap,
        modifier) on all tiles. A learning rate of 0 freezes the updates but not the last part; of rates by path
        it freezes digital parameters too, whatever their optimizer.

        Args:
            model: The model; all of its changes are made in place, as usual in NNX.
            gradients: From :func:`aihwjax.nn.value_and_grad`.
            state: State after the last step.
            key: Source of pulses and noise.

        Raises:
            ModuleError: If the gradients belong to another model.
            ConfigError: If the learning rate of this step is not allowed (not checked inside a traced function), or
                rates by path don't fit the model.
            NonFiniteError: If a tile's x or d has NaN or infinity (not checked inside a traced function).
        """
        check_fits(self.learning_rate, model)
        rate, _ = rates_at(self.learning_rate, state.step)
        tiles = analog_tiles(model)
        for path in gradients.analog:
            if path not in tiles:
                raise ModuleError(f"the gradients are for a tile {path!r} that the model lacks{nearest(path, tiles)}")
        noise = random.stream(key, noise_engine(model))
        called = {path: tile for path, tile in tiles.items() if path in gradients.analog and not _is_zero(rate(path))}

        def update(inference: bool) -> None:
            for path, tile in called.items():
                if tile.config.get_value().inference is inference:
                    own = random.derive(random.derive(noise, path), "update")
                    x, d = gradients.analog[path]
                    tile.update(x, d, rate(path), own)

        # an inference tile uses the input range of its products, others the one that has been stepped (trap 9)
        update(inference=True)
        digital = self._step_digital(model, gradients.digital, state.digital, rate)
        update(inference=False)
        for path, tile in tiles.items():
            tile.end_of_batch(random.derive(random.derive(noise, path), "end_of_batch"))
        return OptimizerState(state.step + 1, digital)

    def _step_digital(
        self, model: nnx.Module, gradients: ModelState, state: optax.OptState, rate: Callable[[str], Number]
    ) -> optax.OptState:
        if not jax.tree.leaves(gradients):
            return state
        params = nnx.state(model, nnx.Param)
        if self.digital is None:
            updates = _by_path(_descent(rate), gradients)
        elif isinstance(self.learning_rate, LayerRates):
            # both sides: a norm over all gradients leaves out what is frozen, and so does a decay
            updates, state = self.digital.update(_by_path(_unless_frozen(rate), gradients), state, params)
            updates = _by_path(_unless_frozen(rate), updates)
        else:
            updates, state = self.digital.update(gradients, state, params)
        nnx.update(model, optax.apply_updates(params, updates))
        return state


def _is_zero(rate: Number) -> bool:
    return isinstance(rate, int | float) and rate == 0


def _by_path(change: Callable[[str, jax.Array], jax.Array], values: ModelState) -> ModelState:
    """Return digital values changed by a function of path and value."""
    changed = nnx.to_flat_state(values)
    return nnx.from_flat_state(
        [(path, each.replace(change(path_text(path), each.get_value()))) for path, each in changed]
    )


def _descent(rate: Callable[[str], Number]) -> Callable[[str, jax.Array], jax.Array]:
    def step(path: str, gradient: jax.Array) -> jax.Array:
        each = rate(path)
        return jnp.zeros_like(gradient) if _is_zero(each) else -jnp.asarray(each) * gradient

    return step


def _unless_frozen(rate: Callable[[str], Number]) -> Callable[[str, jax.Array], jax.Array]:
    def kept(path: str, value: jax.Array) -> jax.Array:
        return jnp.where(jnp.asarray(rate(path)) == 0, jnp.zeros_like(value), value)

    return kept


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


def analog_sgd(
    learning_rate: LearningRate | LayerRates | Mapping[str, LearningRate],
    digital: optax.GradientTransformation | None = None,
) -> AnalogSGD:
    """Train tiles by pulses and digital parameters by gradient descent.

    Momentum, weight decay and the like of ``digital`` never touch a tile: pulses always do plain
    gradient descent. To change the learning rate without compiling again, build the optimizer inside
    the compiled function from a learning rate that is its argument, or give a schedule.

    Example:
        >>> import jax, optax
        >>> from flax import nnx
        >>> from aihwjax import nn
        >>> model = nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
        >>> optimizer = analog_sgd(0.1, digital=optax.adam(1e-3))
        >>> state = optimizer.init(model)
        >>> loss = nn.value_and_grad(lambda model, x, key: (model(x, key=key) ** 2).mean())
        >>> for step in range(3):
        ...     key = jax.random.fold_in(jax.random.key(0), step)
        ...     value, gradients = loss(model, jax.numpy.ones((5, 4)), key)
        ...     state = optimizer.update(model, gradients, state, key)
        >>> int(state.step)
        3

    A rate for each layer, the first one frozen:

        >>> model = nn.AnalogSequential(*(nn.AnalogLinear(4, 4, rngs=nnx.Rngs(i)) for i in range(3)))
        >>> optimizer = analog_sgd({"layers/0": 0.0, "layers/1": 0.01, "default": 0.1})
        >>> state = optimizer.init(model)

    Args:
        learning_rate: At least 0: a number, an array of one, a traced value, or an optax schedule. Or such by path
            of a layer, tile or parameter, of which the longest that fits counts, and ``"default"`` for the rest.
            What has the rate 0 there is frozen, its digital parameters too.
        digital: Optimizer of the digital parameters; ``None``: gradient descent with ``learning_rate``. It has a
            rate of its own; of rates by path only zeros concern it.

    Raises:
        ConfigError: If a learning rate (of a schedule: at step 0) is negative, not finite, or not one number,
            or if ``digital`` is no optax transformation.
    """
    learning_rate = check_rates(learning_rate)
    if digital is not None and not (hasattr(digital, "init") and hasattr(digital, "update")):
        raise ConfigError(f"digital={digital!r} is not allowed: give an optax transformation")
    return AnalogSGD(learning_rate, digital)


class Training(NamedTuple):
    """A model taken apart for a training loop; see :func:`take_apart`."""

    graph: nnx.GraphDef[Any]
    """Its structure, static."""
    moving: ModelState
    """What training changes: parameters, tiles, statistics."""
    fixed: ModelState
    """Tile configurations, whose numbers training reads only."""


def take_apart(model: nnx.Module) -> Training:
    """Split a model into structure, moving and fixed state, the form of a loop under ``lax.scan``.

    Put it together with ``nnx.merge(*parts)``.

    Args:
        model: Any NNX module.
    """
    graph, *states = nnx.split(model, TileConfigVariable, ...)
    fixed, moving = states
    return Training(graph, moving, fixed)


def training_step(
    loss_fn: Callable[..., Float[Array, ""]],
    optimizer: AnalogSGD,
    parts: Training,
    gradient: Callable[..., Callable[..., tuple[Any, Gradients]]] = value_and_grad,
) -> Callable[..., tuple[ModelState, OptimizerState, Float[Array, ""]]]:
    """Return one training step as a pure function, to be scanned or compiled.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from aihwjax import nn, random
        >>> model = nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
        >>> optimizer = analog_sgd(0.1)
        >>> parts = take_apart(model)
        >>> step = training_step(lambda model, x, key: (model(x, key=key) ** 2).mean(), optimizer, parts)
        >>> def body(carry, inputs):
        ...     index, x = inputs
        ...     moving, state, loss = step(*carry, parts.fixed, jax.random.fold_in(jax.random.key(0), index), x)
        ...     return (moving, state), loss
        >>> batches = jax.numpy.arange(3), jax.numpy.ones((3, 5, 4))
        >>> (moving, state), losses = jax.lax.scan(body, (parts.moving, optimizer.init(model)), batches)
        >>> nnx.update(model, moving)
        >>> losses.shape
        (3,)

    Args:
        loss_fn: ``loss_fn(model, *batch, key)``, with a JAX key; returns one number.
        optimizer: From :func:`analog_sgd`.
        parts: From :func:`take_apart`; only its structure is used.
        gradient: How the gradient is taken: :func:`aihwjax.nn.value_and_grad`, or :func:`aihwjax.nn.accumulate` for
            batches that come as micro-batches.

    Returns:
        ``(moving, optimizer state, fixed, key, *batch) -> (moving, optimizer state, loss)``. The loss of a step whose
        learning rate is not allowed, or with a gradient of a tile that is not finite, is NaN: nothing can be raised
        inside a compiled function, and pulses would just stop.
    """
    graph = parts.graph

    def step(
        moving: ModelState, state: OptimizerState, fixed: ModelState, key: Noise, *batch: Any
    ) -> tuple[ModelState, OptimizerState, Float[Array, ""]]:
        model = nnx.merge(graph, moving, fixed, copy=True)
        noise = random.stream(key, noise_engine(model))
        own = random.derive(noise, "loss")
        own = own if of_this_library(getattr(loss_fn, "func", loss_fn)) else random.plain(own)
        loss, gradients = gradient(loss_fn)(model, *batch, own)
        loss = jnp.where(_sound(gradients, optimizer.learning_rate, state.step), loss, jnp.nan)
        state = optimizer.update(model, gradients, state, random.derive(noise, "update"))
        return take_apart(model).moving, state, loss

    return step


def _sound(gradients: Gradients, learning_rate: AnyRate, step: Int[Array, ""]) -> Bool[Array, ""]:
    """Whether a step can be taken: its rates are allowed, and what goes into pulses finite.

    One sum for each tile. A gradient of a digital parameter is seen in the parameter, an infinite x in the loss.
    Frozen tiles are left out, so that nothing needs their d.
    """
    rate, rates = rates_at(learning_rate, step)
    total = jnp.zeros(())
    for path, (_, d) in gradients.analog.items():
        if not _is_zero(rate(path)):
            total = total + d.sum()
    sound = jnp.isfinite(total)
    for each in map(jnp.asarray, rates):
        sound = sound & (each >= 0) & (each <= LARGEST)
    return sound
