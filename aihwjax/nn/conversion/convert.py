"""The replacement of layers in a copy of a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
from flax import nnx

from aihwjax import random
from aihwjax.errors import ModuleError
from aihwjax.nn.conversion.layers import COUNTERPARTS, Counterpart, counterpart_of, rngs
from aihwjax.nn.conversion.plan import Configs, Filters, plan_conversion
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.mapping import changed_entries
from aihwjax.nn.paths import path_text
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key

Converter: TypeAlias = Callable[[Any, TileConfig, Key], nnx.Module]
"""Makes a module of a layer, the configuration of its tiles and a key for their devices."""


def convert_to_analog(
    model: nnx.Module,
    config: Configs | None = None,
    *,
    key: Key | int = 0,
    include: Filters | None = None,
    exclude: Filters = (),
    converters: Mapping[type, Converter] | None = None,
) -> nnx.Module:
    """Return a copy of a model whose layers multiply on analog tiles.

    ``nnx.Linear``, ``LinearGeneral``, ``Conv`` and ``ConvTranspose`` become their analog counterparts wherever they
    are: in attention and recurrent cells, in lists and dicts, in stacks for ``nnx.scan``. A layer that is used in
    several places is converted once, and stays one. Weights are written exactly, with the weight scaling of the
    configuration, and clipped to what a device can hold. Everything else stays as it is. :func:`plan_conversion` says
    what becomes of each layer. A layer with a matrix that cannot be converted is named in a warning, as is one whose
    weights are clipped.

    The model calls its layers without a key: call it as ``aj.nn.call(model, x, key=key)``.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> digital = nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(8, 2, rngs=nnx.Rngs(1)))
        >>> analog = convert_to_analog(digital, aj.InferenceRPUConfig())
        >>> aj.nn.call(analog, jax.numpy.ones((5, 4)), key=jax.random.key(1)).shape
        (5, 2)

    Args:
        model: Any NNX module; it is not changed.
        config: Configuration of the tiles of all layers; or one by path with wildcards (``{"head": a, "*": b}``, the
            first that fits), or a function of path and module. ``None`` for a layer: it stays digital. By default
            ``SingleRPUConfig()``.
        key: Source of the devices and the write noise.
        include: Only these layers: a path with wildcards, a class, a function of path and module, or several of them.
        exclude: Not these layers.
        converters: For classes of your own: functions ``(layer, config, key)`` that return the module in its place.

    Raises:
        ConfigError: If an argument is not allowed, or a filter or a path of ``config`` fits no layer.
        ModuleError: If ``model`` is no NNX module, or a converter returns none.
    """
    if not isinstance(model, nnx.Module):
        raise ModuleError(f"model={' '.join(repr(model).split())[:60]} is not allowed: give an nnx.Module")
    key, own = random.as_key(key), dict(converters or {})
    copy = nnx.clone(model)
    plan = plan_conversion(copy, config, include=include, exclude=exclude, converters=own)
    lost = [f"{row.path} ({row.reason})" for row in plan.rows if row.left_out]
    if lost:
        warnings.warn(f"these layers stay digital: {'; '.join(lost)}", UserWarning, stacklevel=2)

    clipped: dict[str, str] = {}

    def made(path: str, layer: nnx.Module) -> nnx.Module | None:
        if id(layer) not in plan.configs:
            return None
        chosen, drawn = plan.configs[id(layer)], random.fold(key, path)
        if type(layer) not in own:
            built, changed = _analog(layer, COUNTERPARTS[type(layer)], chosen, drawn)
            if not isinstance(changed, jax.core.Tracer) and changed.any():
                clipped[path] = f"{path} ({int(changed.sum())})"
            return built
        result = own[type(layer)](layer, chosen, drawn)
        if not isinstance(result, nnx.Module):
            raise ModuleError(
                f"the converter of {path} ({type(layer).__name__}) returned {result!r}: give an nnx.Module"
            )
        return result

    result = _replaced(copy, made)
    if clipped:
        which = "; ".join(clipped.values())
        warnings.warn(
            f"devices do not hold all weights as they were, but clipped or with write noise: {which}"
            "; mapping.weight_scaling_omega scales a layer into the range of its devices",
            UserWarning,
            stacklevel=2,
        )
    return result


def convert_to_digital(model: nnx.Module) -> nnx.Module:
    """Return a copy of a model whose analog layers are those of Flax, with the weights that they have now.

    Weights are read exactly, with their scales; converters, noise and devices are left behind.

    Args:
        model: Any NNX module; it is not changed.

    Raises:
        ModuleError: If ``model`` is no NNX module, or has an analog layer that Flax has no counterpart of.
    """
    if not isinstance(model, nnx.Module):
        raise ModuleError(f"model={' '.join(repr(model).split())[:60]} is not allowed: give an nnx.Module")

    def made(path: str, layer: nnx.Module) -> nnx.Module | None:
        if not isinstance(layer, AnalogLayer):
            return None
        counterpart = counterpart_of(layer)
        if counterpart is None:
            raise ModuleError(f"{path} is a {type(layer).__name__}, which has no counterpart in Flax")
        return _digital(layer, counterpart)

    return _replaced(nnx.clone(model), made)


def _analog(layer: Any, counterpart: Counterpart, config: TileConfig, key: Key) -> tuple[nnx.Module, jax.Array]:
    """Return the analog layer of a layer, or of a stack of them, and how many weights it does not hold."""
    kernel = layer.kernel.get_value()
    bias = None if layer.bias is None else layer.bias.get_value()

    def build(key: Key, kernel: jax.Array, bias: jax.Array | None) -> tuple[AnalogLayer, jax.Array]:
        made = counterpart.build(layer, config, random.fold(key, "layer"))
        flat = None if bias is None else bias.reshape(-1)
        matrix = counterpart.matrix(layer, kernel)
        made.set_weights(matrix, flat, key=random.fold(key, "write"), check_finite=False)
        return made, changed_entries(matrix, made.get_weights()[0])

    stack = kernel.shape[: kernel.ndim - counterpart.rank(layer)]
    for _ in stack:
        build = nnx.vmap(build)
    return build(jax.random.split(key, stack) if stack else key, kernel, bias)


def _digital(layer: Any, counterpart: Counterpart) -> nnx.Module:
    def build(layer: Any) -> Any:
        matrix, bias = layer.get_weights()
        made: Any = counterpart.digital(layer, rngs(jax.random.key(0)))
        made.kernel.set_value(counterpart.kernel(layer, matrix))
        if bias is not None:
            made.bias.set_value(bias.reshape(made.bias.get_value().shape))
        return made

    for _ in layer.stacked():
        build = nnx.vmap(build)
    return build(layer)


def _replaced(model: nnx.Module, made: Callable[[str, nnx.Module], nnx.Module | None]) -> nnx.Module:
    """Replace modules in place, wherever they are referred to, and return the model."""
    new: dict[int, nnx.Module] = {}
    kept: list[nnx.Module] = []  # so that no identity is taken by another module
    for path, part in list(nnx.iter_modules(model)):
        replacement = made(path_text(path), part)
        if replacement is not None:
            new[id(part)] = replacement
            kept.append(part)
    if id(model) in new:
        return new[id(model)]
    for _, part in list(nnx.iter_modules(model)):
        if id(part) not in new:
            _exchange(part, new)
    return model


def _exchange(part: nnx.Module, new: Mapping[int, nnx.Module]) -> None:
    if isinstance(part, nnx.List):
        for index, value in enumerate(part):
            if id(value) in new:
                part[index] = new[id(value)]
        return
    for name, value in list(vars(part).items()):
        if id(value) in new:
            setattr(part, name, new[id(value)])
        elif isinstance(value, list):
            value[:] = [new.get(id(entry), entry) for entry in value]
        elif isinstance(value, dict) and not name.startswith("_pytree"):
            value.update({key: new[id(entry)] for key, entry in value.items() if id(entry) in new})
