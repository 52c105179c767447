"""Whether a model, its data and its loss fit each other, without computing anything."""

from __future__ import annotations

import jax
from flax import nnx

from aihwjax.errors import DataError
from aihwjax.experiments import loop
from aihwjax.experiments.losses import LossFunction, per_example


def prediction(model: nnx.Module, x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Return shape and type of a model's output for two examples.

    Args:
        model: The model; its numbers may be abstract too.
        x: Shape and type of two inputs, ``(2, ...)``.

    Raises:
        DataError: If the output is not one vector an example.
        ShapeError: If the input does not fit a layer; names the layer's path.
    """
    graph, state = nnx.split(model)
    apply = lambda state, x, key: loop.call(nnx.merge(graph, state), x, key)  # noqa: E731
    output = jax.eval_shape(apply, state, x, jax.random.key(0))
    if output.ndim < 2 or output.shape[0] != 2:
        raise DataError(f"the model's output for 2 examples has shape {output.shape}: give a model with (n, k)")
    return output


def check_loss_fits(loss: LossFunction, output: jax.ShapeDtypeStruct, y: jax.ShapeDtypeStruct) -> None:
    """Refuse a loss that cannot compare these outputs with these targets.

    Args:
        loss: The loss.
        output: Shape and type of outputs.
        y: Shape and type of targets.

    Raises:
        DataError: If it cannot.
    """
    try:
        jax.eval_shape(per_example(loss), output, y)
    except (TypeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        text = f"the loss does not fit outputs {output.shape} and targets {y.shape}: {reason}"
        raise DataError(text) from error
