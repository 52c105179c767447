"""A training step as a pure function, for loops under ``lax.scan``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from aihwjax import arguments, random
from aihwjax.nn.calling import of_this_library
from aihwjax.nn.gradients import Gradients, value_and_grad
from aihwjax.nn.paths import noise_engine
from aihwjax.nn.variables import ModelState, TileConfigVariable
from aihwjax.optim.step import Optimizer, OptimizerState
from aihwjax.random import Noise


class Training(NamedTuple):
    """A model taken apart for a training loop; see :func:`take_apart`."""

    graph: nnx.GraphDef[Any]
    """Its structure, static."""
    moving: ModelState
    """What training changes: parameters, tiles, statistics."""
    fixed: ModelState
    """Tile configurations, whose numbers training reads only."""


@arguments.answered
def take_apart(model: nnx.Module) -> Training:
    """Split a model into structure, moving and fixed state, the form of a loop under ``lax.scan``.

    Put it together with ``nnx.merge(*parts)``.

    Args:
        model: Any NNX module.
    """
    graph, *states = nnx.split(model, TileConfigVariable, ...)
    fixed, moving = states
    return Training(graph, moving, fixed)


@arguments.answered
def training_step(
    loss_fn: Callable[..., Float[Array, ""]],
    optimizer: Optimizer,
    parts: Training,
    gradient: Callable[..., Callable[..., tuple[Any, Gradients]]] = value_and_grad,
) -> Callable[..., tuple[ModelState, OptimizerState, Float[Array, ""]]]:
    """Return one training step as a pure function, to be scanned or compiled.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from aihwjax import nn, random
        >>> from aihwjax.optim import analog_sgd
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
        optimizer: From :func:`analog_sgd` or :func:`analog_optimizer`.
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
        loss = jnp.where(optimizer.sound(gradients, state.step), loss, jnp.nan)
        state = optimizer.update(model, gradients, state, random.derive(noise, "update"))
        return take_apart(model).moving, state, loss

    return step
