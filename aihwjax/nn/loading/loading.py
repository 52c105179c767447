"""Writing the arrays of a file to a model, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aihwjax import arguments, random
from aihwjax.errors import DataError, ModuleError, ShapeError, warn
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.loading.names import Names, Target, targets
from aihwjax.nn.loading.places import Spot, joined, spots, write
from aihwjax.nn.loading.reading import read
from aihwjax.nn.paths import analog_layers
from aihwjax.random import Noise


@arguments.answering
@dataclass(frozen=True)
class Loaded:
    """What :func:`load_weights` did; printable."""

    read: dict[str, str]
    """Each place that was given numbers, and the names of their arrays."""
    unused: list[str]
    """Names of the arrays that were not used."""
    missing: list[str]
    """Places of weights and parameters that were given none, and are as they were."""
    clipped: dict[str, int]
    """Paths of the layers whose devices do not hold all weights as they were given, and how many they don't; empty in a
    traced function, where that is not known."""

    def __str__(self) -> str:
        width = max(map(len, self.read), default=0)
        lines = [f"{place:{width}}  {name}" for place, name in self.read.items()]
        lines += [f"{place} was not given" for place in self.missing]
        lines += [f"{name} was not used" for name in self.unused]
        return "\n".join([*lines, f"{len(self.read)} places were given numbers"])


@arguments.answered
def load_weights(
    model: nnx.Module, source: str | Path | Mapping[str, Any], names: Names = None, *, key: Noise = 0
) -> Loaded:
    """Write weights that were trained elsewhere to a model, in place; all of them, or none if one does not fit.

    The places of a model are its digital variables by path (``"norm/scale"``) and, of each analog layer, ``weights``
    (or ``weight``), the matrix ``(out, columns)`` on its tiles, and ``bias``. Weights on tiles are written as by
    ``set_weights``: scaled as configured, and clipped to what the devices can hold, with a warning. The kernel of a
    convolution may also be ``(out, in, height, width)``, as torch has it.

    ``names`` says where the arrays go. In a pattern ``{}`` stands for a part of a name without dots, ``*`` for any
    text; what they stand for is put into the place, dots as slashes. A place may be a pair with a function that turns
    the array into what the place takes, a list of several, or ``None``. The first pattern that fits counts, and arrays
    that none fits are not used. A number in brackets is one of several stacked layers.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> from aihwjax import nn
        >>> rngs = nnx.Rngs(0)
        >>> model = nn.AnalogSequential(nn.AnalogLinear(4, 3, rngs=rngs), nn.ReLU(), nnx.Linear(3, 2, rngs=rngs))
        >>> arrays = {"fc.weight": np.ones((3, 4)) / 9, "fc.bias": np.zeros(3), "step": 7}
        >>> arrays["head.weight"] = np.ones((2, 3))
        >>> names = {"fc.weight": "layers/0/weights", "fc.bias": "layers/0/bias"}
        >>> print(load_weights(model, arrays, names | {"head.weight": ("layers/2/kernel", np.transpose)}))
        layers/0/weights  fc.weight
        layers/0/bias     fc.bias
        layers/2/kernel   head.weight
        layers/2/bias was not given
        step was not used
        3 places were given numbers

    Args:
        model: Any NNX module.
        source: A file ``.safetensors`` or ``.npz``, a folder of such files, or arrays by name.
        names: Patterns of names to places, or a function from a name to a place; ``None``: names are the places, with
            dots or slashes.
        key: Source of write noise.

    Returns:
        What was read, what was not used, and what is missing.

    Raises:
        DataError: If a file is missing or damaged, or an array has no real numbers.
        ConfigError: If ``names`` is not allowed, a pattern fits no array, or a place does not exist or is named twice.
        ShapeError: If an array does not have the shape of its place.
        NonFiniteError: If an array has NaN or infinity.
        MissingExtraError: If safetensors is not installed.
        ModuleError: If ``model`` is no NNX module.

    Warns:
        UserWarning: If devices do not hold all weights as they were given.
    """
    if not isinstance(model, nnx.Module):
        raise ModuleError(f"model={' '.join(repr(model).split())[:60]} is not allowed: give an nnx.Module")
    key, arrays, places = random.as_noise(key), read(source), spots(model)
    found, unused = targets(names, list(arrays), list(places))
    values: dict[str, np.ndarray] = {}
    read_names: dict[str, list[str]] = {}
    for target in found:
        read_names.setdefault(target.place, []).append(target.name)
    for place in places:
        own = [target for target in found if target.place == place]
        if own:
            values[place] = _value(place, places[place], own, arrays)
    # nothing was written so far; from here on nothing fails
    for place, value in values.items():
        variable = places[place].variable
        if variable is not None:
            variable.set_value(jnp.asarray(value))
    clipped = _write_layers(analog_layers(model), values, key)
    if clipped:
        which = "; ".join(f"{path} ({count})" for path, count in clipped.items())
        warn(
            f"devices do not hold all weights as they were given, but clipped or with write noise: {which}"
            "; mapping.weight_scaling_omega scales a layer into the range of its devices"
        )
    missing = [place for place, spot in places.items() if spot.wanted and place not in values]
    return Loaded({place: ", ".join(read_names[place]) for place in values}, unused, missing, clipped)


def _value(place: str, spot: Spot, found: list[Target], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what a place is given: an array, or those of all stacked layers."""
    if found[0].number is None:
        return spot.fitted(f"{found[0].name!r} for {place}", _changed(found[0], arrays), of_one=False)
    if not spot.stack:
        raise ShapeError(f"{found[0].name!r} goes to {place}[{found[0].number}], but there are no stacked layers")
    by_index = {target.number: target for target in found}
    if sorted(map(str, by_index)) != sorted(map(str, range(spot.stack[0]))) or len(spot.stack) > 1:
        given = ", ".join(f"[{index}]" for index in by_index)
        raise ShapeError(f"{place} has {spot.stack[0]} stacked layers and is given {given}: give all of them")
    each = [by_index[index] for index in range(spot.stack[0])]
    name = "{0.name!r} for {0.place}[{0.number}]"
    return np.stack([spot.fitted(name.format(target), _changed(target, arrays), of_one=True) for target in each])


def _changed(target: Target, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    array = arrays[target.name]
    if target.change is None:
        return array
    try:
        return np.asarray(target.change(array))
    except Exception as error:  # a function of somebody else can raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"the change of {target.name!r}, which has shape {array.shape}, fails: {reason}") from error


def _write_layers(layers: Mapping[str, AnalogLayer], values: Mapping[str, np.ndarray], key: Noise) -> dict[str, int]:
    clipped = {}
    for path, layer in layers.items():
        weights, bias = values.get(joined(path, "weights")), values.get(joined(path, "bias"))
        if weights is not None or bias is not None:
            changed = write(layer, weights, bias, random.derive(key, path))
            if not isinstance(changed, jax.core.Tracer) and changed:
                clipped[path] = int(changed)
    return clipped
