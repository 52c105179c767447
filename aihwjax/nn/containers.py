"""Layers in a row (spec: layers, section 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import jax
from flax import nnx
from jaxtyping import Array, Float, Shaped

from aihwjax import random
from aihwjax.errors import AihwjaxError, DataError, ModuleError, NonFiniteError, ShapeError, nearest
from aihwjax.nn.activations import Function
from aihwjax.nn.calling import apply
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.paths import analog_layers, noise_engine
from aihwjax.nn.text import Readable, module_text
from aihwjax.random import Noise, NoiseEngine, Stream
from aihwjax.typing import Number

Weights: TypeAlias = dict[str, tuple[Float[Array, "out in"], Float[Array, " out"] | None]]
"""Path of a layer to its weights ``(out, in)`` and bias ``(out,)``."""


class AnalogSequential(Readable):
    """Apply layers one after the other.

    Members are any NNX modules, analog or not, or functions of one array. A member whose call has an
    argument ``key`` gets a key of its own, derived from the key of the call and its position; one without it, but
    with analog layers inside, is called by :func:`aihwjax.nn.call`.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from aihwjax.nn import AnalogLinear, Sigmoid
        >>> rngs = nnx.Rngs(0)
        >>> model = AnalogSequential(AnalogLinear(4, 3, rngs=rngs), Sigmoid(), nnx.Linear(3, 2, rngs=rngs))
        >>> model(jax.numpy.ones((5, 4)), key=jax.random.key(1)).shape
        (5, 2)

    Args:
        *layers: The members, in order.

    Raises:
        ModuleError: If a member is neither a module nor a function.
    """

    def __init__(self, *layers: nnx.Module | Callable[[jax.Array], jax.Array]) -> None:
        members = []
        for index, layer in enumerate(layers):
            if isinstance(layer, type) or not callable(layer):
                raise ModuleError(f"layer {index} is {layer!r}: give a module, such as Sigmoid(), or a function")
            members.append(layer if isinstance(layer, nnx.Module) else Function(layer))
        self.layers = nnx.List(members)
        """The members."""

    def __call__(self, x: Shaped[Array, " ..."], *, key: Noise | None = None) -> Shaped[Array, " ..."]:
        """Apply the layers.

        Args:
            x: Input of the first layer.
            key: Source of all noise; may be left out if no layer needs one.

        Raises:
            ModuleError: If a layer needs a key and there is none.
            ConfigError: If the key is none.
            DataError: If ``x`` is no array of real numbers.
            ShapeError: If an input does not fit an analog layer.
            NonFiniteError: If an analog layer gets NaN or infinity (not checked inside a traced function).

        All messages have the layer's path; what layers of other libraries raise has a note with it.
        """
        key = None if key is None else random.as_noise(key)
        if key is not None and not isinstance(key, Stream) and noise_engine(self) is NoiseEngine.COUNTER:
            key = random.stream(key, NoiseEngine.COUNTER)  # one threefry call instead of one for each layer
        for index, layer in enumerate(self.layers):
            try:
                x = apply(layer, x, None if key is None else random.derive(key, index))
            except AihwjaxError as error:
                raise type(error)(_located(index, str(error))) from None
            except Exception as error:  # layers of other libraries say it in their own way
                _note(error, index, f"{module_text(layer)} got shape {getattr(x, 'shape', None)}")
                raise
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int | slice) -> nnx.Module | AnalogSequential:
        """Return one layer, or a model of some of them that shares their state."""
        if isinstance(index, slice):
            return AnalogSequential(*list(self.layers)[index])
        return self.layers[index]

    def __iter__(self) -> Iterator[nnx.Module]:
        return iter(self.layers)

    def get_weights(self, *, apply_weight_scaling: bool = True) -> Weights:
        """Return weights and bias of each analog layer by its path.

        Args:
            apply_weight_scaling: Logical weights; ``False``: as they are on the tiles.
        """
        return {
            path: layer.get_weights(apply_weight_scaling=apply_weight_scaling)
            for path, layer in analog_layers(self).items()
        }

    def set_weights(
        self,
        weights: Weights,
        *,
        key: Noise,
        apply_weight_scaling: bool = True,
        weight_scaling_omega: Number | None = None,
        check_finite: bool = True,
    ) -> None:
        """Write weights and bias of analog layers; see :meth:`AnalogLinear.set_weights`.

        Args:
            weights: As :meth:`get_weights` returns them; layers that are left out stay as they are.
            key: Source of write noise.
            apply_weight_scaling: Whether to scale, if configured.
            weight_scaling_omega: Replaces the configured omega for this call.
            check_finite: Refuse NaN and infinity.

        Raises:
            ModuleError: If a path does not exist (with the nearest one).
            ShapeError: If a shape does not fit its layer.
            NonFiniteError: If a value is NaN or infinite.
        """
        key = random.as_noise(key)
        layers = analog_layers(self)
        for path in weights:
            if path not in layers:
                raise ModuleError(f"the model has no analog layer {path!r}{nearest(path, layers)}")
        for path, (matrix, bias) in weights.items():
            layer: AnalogLayer = layers[path]
            try:
                layer.set_weights(
                    matrix,
                    bias,
                    key=random.derive(key, path),
                    apply_weight_scaling=apply_weight_scaling,
                    weight_scaling_omega=weight_scaling_omega,
                    check_finite=check_finite,
                )
            except (ShapeError, ModuleError, NonFiniteError, DataError) as error:
                raise type(error)(f"{path}: {error}") from None

    def describe(self) -> str:
        """Return the text."""
        if not self.layers:
            return "AnalogSequential()"
        lines = [f"  ({index}): {_indented(module_text(layer))}" for index, layer in enumerate(self.layers)]
        return "\n".join(["AnalogSequential(", *lines, ")"])


def _located(index: int, message: str) -> str:
    """Put the position of a layer in front of a message that may have a path already."""
    return f"layers/{index}{'/' if message.startswith('layers/') else ': '}{message}"


def _note(error: Exception, index: int, said: str) -> None:
    """Add the position of a layer to an error that a layer inside of it may have noted already."""
    notes = getattr(error, "__notes__", [])
    place = next((i for i, note in enumerate(notes) if note.startswith("layers/")), None)
    if place is None:
        error.add_note(f"layers/{index}: {said}")
    else:
        notes[place] = f"layers/{index}/{notes[place]}"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
