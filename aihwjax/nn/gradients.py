"""The gradient of a model with analog layers: digital gradients, and x and d for each tile."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from aihwjax import arguments
from aihwjax.errors import ModuleError
from aihwjax.nn import slots
from aihwjax.nn.patches import Patches, all_rows, together
from aihwjax.nn.paths import analog_tiles
from aihwjax.nn.slots import Recorder, Slot, Slots
from aihwjax.nn.stacks import rows
from aihwjax.nn.variables import ModelState, TileConfigVariable, TileVariable
from aihwjax.typing import EachWeights

Pair: TypeAlias = tuple[Float[Array, "*n in"] | Patches, Float[Array, "*n out"]]
"""Inputs ``(n, in)`` of a tile and gradients ``(n, out)`` at its output, all calls in order; of a stack with the tiles
as first axis. Inputs of a convolution are images, whose ``rows()`` they are."""

# what a forward pass can change: all but tiles and configurations
_LOOSE = nnx.All(nnx.Not(nnx.OfType(TileVariable)), nnx.Not(nnx.OfType(TileConfigVariable)))


class Gradients(NamedTuple):
    """What a loss says about a model."""

    digital: ModelState
    """Gradient of each ``nnx.Param``, in the structure of ``nnx.state(model, nnx.Param)``."""
    analog: dict[str, Pair]
    """Path of each tile, or stack of tiles, that was called to its x and d."""
    weights: dict[str, EachWeights] = {}  # noqa: RUF012 (a tuple, whose dictionary nobody changes)
    """Path of each inference tile of :func:`aihwjax.TorchInferenceRPUConfig` that was called to the gradient of its
    weights ``(out, in)``, which is no sum of products of x and d: inputs are those behind the converter."""


@arguments.answered
def value_and_grad(loss_fn: Callable[..., Any], has_aux: bool = False) -> Callable[..., tuple[Any, Gradients]]:
    """Return a function that computes a loss and its gradients.

    Works inside ``jax.jit``, ``nnx.jit``, ``lax.scan`` over steps and ``jax.vmap`` over models. State
    that the forward pass changes (batch statistics, random counters, an input range that is
    initialised from data, running averages of the noise management) is changed in ``model``.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from aihwjax.nn import AnalogLinear
        >>> layer = AnalogLinear(4, 3, rngs=nnx.Rngs(0))
        >>> def loss(layer, x, key):
        ...     return (layer(x, key=key) ** 2).mean()
        >>> _, gradients = value_and_grad(loss)(layer, jax.numpy.ones((5, 4)), jax.random.key(1))
        >>> {path: (x.shape, d.shape) for path, (x, d) in gradients.analog.items()}
        {'tiles/0': ((5, 4), (5, 3))}

    Args:
        loss_fn: ``loss_fn(model, *args, **kwargs)``; returns the loss, one number, and with ``has_aux``
            a pair of the loss and anything else. It must use the model that it is given.
        has_aux: Whether ``loss_fn`` returns such a pair.

    Returns:
        A function ``(model, *args, **kwargs) -> (loss, gradients)``, or ``((loss, aux), gradients)``.
        It raises :class:`ModuleError` if the loss is not one number, or if a tile is called under
        ``vmap`` or in a loop that is not :func:`aihwjax.nn.scan`.
    """

    @functools.wraps(loss_fn)
    def compute(model: nnx.Module, *args: Any, **kwargs: Any) -> tuple[Any, Gradients]:
        graph, *states = nnx.split(model, nnx.Param, ...)
        params, rest = states

        def run(recorder: Recorder, params: ModelState) -> tuple[jax.Array, tuple[Any, ModelState]]:
            copy = nnx.merge(graph, params, rest, copy=True)
            for path, tile in analog_tiles(copy).items():
                tile._tag = (recorder.token, path)
            before = _values(copy)
            with slots.active(recorder):
                result = loss_fn(copy, *args, **kwargs)
            if isinstance(result, tuple) is not has_aux:
                returned = "a tuple" if isinstance(result, tuple) else "one value"
                raise ModuleError(f"the loss returned {returned}, which is not allowed with has_aux={has_aux}")
            loss, aux = result if has_aux else (result, None)
            if jnp.shape(loss) != ():
                raise ModuleError(f"the loss has shape {jnp.shape(loss)}: give one number, for instance its mean")
            return loss, (aux, _changed(copy, before))

        def differentiated(params: ModelState, given: Slots) -> tuple[jax.Array, tuple[Any, ModelState]]:
            answers = slots.copied(given)
            result = run(Recorder(answers), params)
            slots.check_all_taken(answers)
            return result

        given = slots.zeros(slots.probe(run, params))
        (loss, (aux, changed)), (digital, calls) = jax.value_and_grad(differentiated, (0, 1), has_aux=True)(
            params, given
        )
        nnx.update(model, changed)
        _observe(model, calls)
        tiles = analog_tiles(model)
        analog = {path: _joined(each, tiles[path].count) for path, each in calls.items()}
        weights = {path: _slope(each, tiles[path].count) for path, each in calls.items() if each[0].slope is not None}
        gradients = Gradients(digital, analog, weights)
        return ((loss, aux) if has_aux else loss), gradients

    return compute


def _values(model: nnx.Module) -> dict[Any, Any]:
    return {path: variable.get_raw_value() for path, variable in nnx.to_flat_state(nnx.state(model, _LOOSE))}


def _changed(model: nnx.Module, before: dict[Any, Any]) -> ModelState:
    """Return the variables that have another value than before."""
    flat = nnx.to_flat_state(nnx.state(model, _LOOSE))
    return nnx.from_flat_state([(p, v) for p, v in flat if v.get_raw_value() is not before.get(p)])


def _joined(calls: list[Slot], count: int | None) -> Pair:
    """Return x and d of all calls as one batch."""
    d = [rows(call.d, count) for call in calls]
    return together([call.x for call in calls], count), d[0] if len(d) == 1 else jnp.concatenate(d, axis=-2)


def _slope(calls: list[Slot], count: int | None) -> EachWeights:
    """Return the sum of the gradients of the weights over all calls, those of loops with the steps as first axes."""
    size = 2 if count is None else 3
    slopes = [call.slope for call in calls if call.slope is not None]
    return jnp.concatenate([each.reshape(-1, *each.shape[each.ndim - size :]) for each in slopes]).sum(axis=0)


def _observe(model: nnx.Module, calls: Slots) -> None:
    """Advance the running averages of the noise management, where there are any."""
    tiles = analog_tiles(model)
    for path, each in calls.items():
        tile = tiles[path]
        for call in each:
            read = None if call.read is None else rows(call.read, tile.count)
            if tile.averages_forward or read is not None:
                tile.observe(all_rows(together([call.x], tile.count)), read)
