"""Plain gradient descent on tiles, any transformation on digital parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Int

from aihwjax import arguments
from aihwjax.layer_rates import AnyRate, LayerRates, check_rates, rates_at
from aihwjax.nn.gradients import Gradients
from aihwjax.nn.parameters import digital_parameters, step_weights
from aihwjax.nn.variables import ModelState
from aihwjax.optim.step import (
    Learner,
    Optimizer,
    OptimizerState,
    by_path,
    check_fits,
    check_state,
    check_transformation,
    is_zero,
    sound,
    take_step,
    transformed,
)
from aihwjax.random import Noise
from aihwjax.rates import LearningRate
from aihwjax.typing import Number


@arguments.answering
@dataclass(frozen=True)
class AnalogSGD(Optimizer):
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
        digital = optax.EmptyState() if self.digital is None else self.digital.init(digital_parameters(model))
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
            ModuleError: If the gradients or the state belong to another model.
            ConfigError: If the learning rate of this step is not allowed (not checked inside a traced function), or
                rates by path don't fit the model.
            NonFiniteError: If a tile's x or d has NaN or infinity (not checked inside a traced function).
        """
        check_fits(self.learning_rate, model)
        if self.digital is not None:
            check_state(self.digital, state, digital_parameters(model))
        rate, _ = rates_at(self.learning_rate, state.step)

        def together(learners: dict[str, Learner]) -> optax.OptState:
            for path, (tile, pair, own, slope) in learners.items():
                if pair is None or is_zero(rate(path)):
                    continue
                if slope is None:
                    tile.update(*pair, rate(path), own)
                else:
                    step_weights(tile, -jnp.asarray(rate(path), jnp.float32) * slope, own)
            return self._step_digital(model, gradients.digital, state.digital, rate)

        digital = take_step(model, gradients, key, rate, together)
        return OptimizerState(state.step + 1, digital)

    def sound(self, gradients: Gradients, step: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether a step can be taken; see :meth:`Optimizer.sound`.

        Frozen tiles are left out, so that nothing needs their d.

        Args:
            gradients: Of the step.
            step: Number of steps done.
        """
        rate, rates = rates_at(self.learning_rate, step)
        return sound([d for path, (_, d) in gradients.analog.items() if not is_zero(rate(path))], rates)

    def _step_digital(
        self, model: nnx.Module, gradients: ModelState, state: optax.OptState, rate: Callable[[str], Number]
    ) -> optax.OptState:
        if not jax.tree.leaves(gradients):
            return state
        params = digital_parameters(model)
        if self.digital is None:
            changes = by_path(_descent(rate), gradients)
        else:
            frozen = rate if isinstance(self.learning_rate, LayerRates) else None
            changes, state = transformed(self.digital, gradients, state, params, frozen)
        nnx.update(model, optax.apply_updates(params, changes))
        return state


def _descent(rate: Callable[[str], Number]) -> Callable[[str, jax.Array], jax.Array]:
    def step(path: str, gradient: jax.Array) -> jax.Array:
        each = rate(path)
        return jnp.zeros_like(gradient) if is_zero(each) else -jnp.asarray(each) * gradient

    return step


@arguments.answered
def analog_sgd(
    learning_rate: LearningRate | LayerRates | Mapping[str, LearningRate],
    digital: optax.GradientTransformation | None = None,
) -> AnalogSGD:
    """Train tiles by pulses and digital parameters by gradient descent.

    Momentum, weight decay and the like of ``digital`` never touch a tile: pulses always do plain
    gradient descent, and so do inference tiles here (:func:`analog_optimizer` gives them any step). To change
    the learning rate without compiling again, build the optimizer inside the compiled function from a learning
    rate that is its argument, or give a schedule.

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
    if digital is not None:
        check_transformation("digital", digital)
    return AnalogSGD(learning_rate, digital)
