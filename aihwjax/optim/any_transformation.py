"""Any transformation of optax on inference tiles and digital parameters (spec: layers, section 17)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Int

from aihwjax import arguments
from aihwjax.errors import ConfigError
from aihwjax.layer_rates import AnyRate, LayerRates, check_rates, rates_at
from aihwjax.nn.gradients import Gradients
from aihwjax.nn.parameters import (
    digital_parameters,
    gradient_of,
    inference_tiles,
    step_weights,
    weights_of,
    with_weights,
    without_weights,
)
from aihwjax.nn.paths import analog_tiles, path_text
from aihwjax.nn.variables import ModelState
from aihwjax.optim.descent import analog_sgd
from aihwjax.optim.step import (
    Learner,
    Optimizer,
    OptimizerState,
    check_fits,
    check_state,
    check_transformation,
    is_inference,
    is_zero,
    sound,
    take_step,
    transformed,
)
from aihwjax.random import Noise
from aihwjax.rates import LearningRate
from aihwjax.typing import EachWeights, Number


@arguments.answering
@dataclass(frozen=True)
class AnalogOptimizer(Optimizer):
    """Any transformation on inference tiles and digital parameters; see :func:`analog_optimizer`."""

    transformation: optax.GradientTransformation
    """What the weights of inference tiles and the digital parameters take."""
    learning_rate: AnyRate | None = None
    """Learning rate of the other tiles, or rates by path; ``None``: there are no such tiles."""

    def init(self, model: nnx.Module) -> OptimizerState:
        """Return the state before the first step.

        Args:
            model: The model to train.

        Raises:
            ConfigError: If a tile needs a learning rate and there is none, or rates by path don't fit the model.
        """
        self._check(model)
        return OptimizerState(jnp.zeros((), jnp.int32), self.transformation.init(self.parameters(model)))

    def parameters(self, model: nnx.Module) -> ModelState:
        """Return what the transformation sees: each ``nnx.Param``, and the weights of each inference tile.

        The latter are :class:`aihwjax.nn.TileWeights` ``(out, in)``, named ``weights`` at the path of the tile.

        Args:
            model: The model.
        """
        weights = {path: weights_of(tile) for path, tile in inference_tiles(model).items()}
        return with_weights(digital_parameters(model), weights)

    def update(self, model: nnx.Module, gradients: Gradients, state: OptimizerState, key: Noise) -> OptimizerState:
        """Take one step; changes ``model`` and returns the optimizer's new state.

        In this order: digital parameters and inference tiles, the update of each other tile that was called, and what
        follows every mini-batch (diffusion, decay, clip, remap, modifier) on all tiles.

        Args:
            model: The model; all of its changes are made in place, as usual in NNX.
            gradients: From :func:`aihwjax.nn.value_and_grad`. An inference tile that was not called has zeros.
            state: State after the last step.
            key: Source of pulses and noise.

        Raises:
            ModuleError: If the gradients or the state belong to another model.
            ConfigError: If a learning rate of this step is not allowed (not checked inside a traced function), a tile
                needs one and there is none, or rates by path don't fit the model.
            NonFiniteError: If a tile's x or d has NaN or infinity (not checked inside a traced function).
        """
        self._check(model)
        params = self.parameters(model)
        check_state(self.transformation, state, params)
        rate, _ = self._rates(state.step)
        frozen = rate if isinstance(self.learning_rate, LayerRates) else None

        def together(learners: dict[str, Learner]) -> optax.OptState:
            tiles = {path: learners[path_text(path)] for path in inference_tiles(model)}
            left = {path for path in tiles if frozen is not None and is_zero(frozen(path_text(path)))}
            slopes = {path: _gradient(each, path in left) for path, each in tiles.items()}
            changes, after = transformed(
                self.transformation, with_weights(gradients.digital, slopes), state.digital, params, frozen
            )
            (changes, steps), (digital, _) = without_weights(changes), without_weights(params)
            nnx.update(model, optax.apply_updates(digital, changes))
            for path, (tile, _, own, _) in tiles.items():
                if path not in left:
                    step_weights(tile, steps[path], own)
            return after

        after = take_step(model, gradients, key, rate, together)
        return OptimizerState(state.step + 1, after)

    def sound(self, gradients: Gradients, step: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether a step can be taken; see :meth:`Optimizer.sound`.

        Args:
            gradients: Of the step.
            step: Number of steps done.
        """
        rate, rates = self._rates(step)
        by_layer = isinstance(self.learning_rate, LayerRates)
        errors = [d for path, (_, d) in gradients.analog.items() if not (by_layer and is_zero(rate(path)))]
        return sound(errors, rates)

    def _rates(self, step: Int[Array, ""]) -> tuple[Callable[[str], Number], list[Number]]:
        return rates_at(0 if self.learning_rate is None else self.learning_rate, step)

    def _check(self, model: nnx.Module) -> None:
        if self.learning_rate is not None:
            check_fits(self.learning_rate, model)
            return
        for path, tile in analog_tiles(model).items():
            if not is_inference(tile):
                raise ConfigError(
                    f"learning_rate is missing: {path} is no inference tile and takes steps of its own, so give "
                    "analog_optimizer(..., learning_rate=0.05), its rate"
                )


def _gradient(learner: Learner, frozen: bool) -> EachWeights:
    """Return the gradient of a tile's weights; zeros if nothing is known of it, or needed."""
    if learner.pair is None or frozen:
        return jnp.zeros_like(learner.tile.state.get_value().weights)
    return gradient_of(learner.tile, *learner.pair) if learner.slope is None else learner.slope


@arguments.answered
def analog_optimizer(
    transformation: optax.GradientTransformation,
    learning_rate: LearningRate | LayerRates | Mapping[str, LearningRate] | None = None,
) -> AnalogOptimizer:
    """Train inference tiles and digital parameters with any transformation of optax, other tiles by pulses.

    Momentum, Adam, weight decay, clipping by norm, schedules: what the transformation makes of the gradients is added
    to the weights of inference tiles, to biases, learned output scales and input ranges alike. A norm is one over all
    of them. The transformation sees logical weights, so that an inference tile without noise learns as a digital layer
    does, whatever its mapping scales. The gradient of weights is that at the noisy weights which training reads. Of
    tiles that are no inference tiles it sees nothing: they take the plain step of :func:`analog_sgd`, with a rate of
    their own.

    Example:
        >>> import jax, optax
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> config = aj.InferenceRPUConfig(modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1))
        >>> model = aj.nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0))
        >>> optimizer = analog_optimizer(optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)))
        >>> state = optimizer.init(model)
        >>> loss = aj.nn.value_and_grad(lambda model, x, key: (model(x, key=key) ** 2).mean())
        >>> for step in range(3):
        ...     key = jax.random.fold_in(jax.random.key(0), step)
        ...     value, gradients = loss(model, jax.numpy.ones((5, 4)), key)
        ...     state = optimizer.update(model, gradients, state, key)
        >>> int(state.step)
        3

    A transformation for each kind of parameter, by what ``optimizer.parameters(model)`` shows:

        >>> def kinds(params):
        ...     return nnx.map_state(lambda path, each: "tile" if path[-1] == "weights" else "other", params)
        >>> optimizer = analog_optimizer(
        ...     optax.multi_transform({"tile": optax.adamw(1e-3, weight_decay=0.01), "other": optax.sgd(0.1)}, kinds))
        >>> state = optimizer.init(model)

    Args:
        transformation: What weights of inference tiles and digital parameters take; it has a rate of its own.
        learning_rate: Of the other tiles; needed if there are any. As for :func:`analog_sgd`, also by path: what has
            the rate 0 there is frozen, inference tiles and digital parameters too, for which other rates don't count.

    Raises:
        ConfigError: If ``transformation`` is no optax transformation, or a learning rate (of a schedule: at step 0) is
            negative, not finite, or not one number.
    """
    check_transformation("transformation", transformation)
    return AnalogOptimizer(transformation, None if learning_rate is None else check_rates(learning_rate))


@arguments.answered
def with_rate(optimizer: AnalogOptimizer | optax.GradientTransformation | None, learning_rate: AnyRate) -> Optimizer:
    """Return the optimizer of an experiment, which says the learning rate of tiles apart from the rest.

    Args:
        optimizer: From :func:`analog_optimizer`, without a learning rate; or that of the digital parameters alone.
        learning_rate: Of the tiles.
    """
    if isinstance(optimizer, AnalogOptimizer):
        return analog_optimizer(optimizer.transformation, learning_rate)
    return analog_sgd(learning_rate, digital=optimizer)
