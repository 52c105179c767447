"""Models made analog, and digital again, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
from flax import nnx

from aihwjax import arguments, random
from aihwjax.errors import AihwjaxError, ConfigError, ModuleError, warn
from aihwjax.nn.conversion.counterpart import Counterpart, stack_of
from aihwjax.nn.conversion.exchange import replaced
from aihwjax.nn.conversion.layers import COUNTERPARTS, base_of, counterpart_of
from aihwjax.nn.conversion.plan import Configs, Filters, plan_conversion
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.mapping import changed_entries
from aihwjax.nn.paths import path_text
from aihwjax.nn.recurrent.cells import RecurrentCell
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key

Converter: TypeAlias = Callable[[Any, TileConfig, Key], nnx.Module]
"""Makes a module of a layer, the configuration of its tiles and a key for their devices."""

# one program, which needs no memory for what lies between
_changed = jax.jit(changed_entries)


@arguments.answered
def convert_to_analog(
    model: nnx.Module,
    config: Configs | None = None,
    *,
    key: Key | int = 0,
    include: Filters | None = None,
    exclude: Filters = (),
    converters: Mapping[type, Converter] | None = None,
    inplace: bool = False,
) -> nnx.Module:
    """Return a model whose layers multiply on analog tiles.

    ``nnx.Linear``, ``LinearGeneral``, ``Einsum``, ``Conv``, ``ConvTranspose`` and ``LoRALinear`` become their analog
    counterparts wherever they are: in attention and recurrent cells, in lists, tuples and dicts, in stacks for
    ``nnx.scan``; so do classes of your own that derive from one of them and change only how it is built. A layer that
    is used in several places is converted once, and stays one. Weights are written exactly, with the weight scaling of
    the configuration, and clipped to what a device can hold. Everything else stays as it is. :func:`plan_conversion`
    says what becomes of each layer. A layer with a matrix that cannot be converted is named in a warning, as is one
    whose weights are clipped.

    The new model shares the arrays of what stays digital with the given one. It needs no more memory than its own and
    that of one layer; with ``inplace`` the matrices of the given model are freed layer by layer.

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
        model: Any NNX module.
        config: Configuration of the tiles of all layers; or one by path with wildcards (``{"head": a, "*": b}``, the
            first that fits), or a function of path and module. ``None`` for a layer: it stays digital. By default
            ``SingleRPUConfig()``.
        key: Source of the devices and the write noise.
        include: Only these layers: a path with wildcards, a class, a function of path and module, or several of them.
        exclude: Not these layers.
        converters: For classes of your own: functions ``(layer, config, key)`` that return the module in its place.
        inplace: Exchange the layers of ``model`` itself instead of those of a copy. The model is returned, or, if it is
            itself a layer, what it becomes.

    Raises:
        ConfigError: If an argument is not allowed, or a filter or a path of ``config`` fits no layer.
        NonFiniteError: If a weight is NaN or infinite.
        ModuleError: If ``model`` is no NNX module, or a converter returns none.
    """
    _check_model(model)
    key, own = random.as_key(key), _converters(converters)
    target = model if inplace else nnx.clone(model)
    plan = plan_conversion(target, config, include=include, exclude=exclude, converters=own)
    lost = [f"{row.path} ({row.reason})" for row in plan.rows if row.left_out]
    if lost:
        warn(f"these layers stay digital: {'; '.join(lost)}")

    clipped: dict[str, str] = {}

    def made(path: str, layer: nnx.Module) -> nnx.Module:
        chosen, drawn = plan.configs[id(layer)], random.fold(key, path)
        if type(layer) not in own:
            built, changed = _analog(path, layer, chosen, drawn)
            if not isinstance(changed, jax.core.Tracer) and changed.any():
                clipped[path] = f"{path} ({int(changed.sum())})"
            return built
        result = own[type(layer)](layer, chosen, drawn)
        if not isinstance(result, nnx.Module):
            raise ModuleError(
                f"the converter of {path} ({type(layer).__name__}) returned {result!r}: give an nnx.Module"
            )
        return result

    result = replaced(target, lambda layer: id(layer) in plan.configs, made)
    if clipped:
        which = "; ".join(clipped.values())
        warn(
            f"devices do not hold all weights as they were, but clipped or with write noise: {which}"
            "; mapping.weight_scaling_omega scales a layer into the range of its devices"
        )
    return result


@arguments.answered
def convert_to_digital(model: nnx.Module, *, inplace: bool = False) -> nnx.Module:
    """Return a model whose analog layers are those of Flax, with the weights that they have now.

    Weights are read exactly, with their scales; converters, noise and devices are left behind.

    Args:
        model: Any NNX module.
        inplace: Exchange the layers of ``model`` itself instead of those of a copy.

    Raises:
        ModuleError: If ``model`` is no NNX module, or has an analog layer or a recurrent cell of this library that Flax
            has no counterpart of.
    """
    _check_model(model)
    for path, part in nnx.iter_modules(model):
        alone = isinstance(part, RecurrentCell) or (isinstance(part, AnalogLayer) and counterpart_of(part) is None)
        if alone:
            raise ModuleError(f"{path_text(path)} is a {type(part).__name__}, which has no counterpart in Flax")
    target = model if inplace else nnx.clone(model)
    return replaced(target, lambda part: isinstance(part, AnalogLayer), _digital)


def _converters(given: Mapping[type, Converter] | None) -> dict[type, Converter]:
    known = {} if given is None else given
    fits = isinstance(known, Mapping) and all(isinstance(kind, type) and callable(one) for kind, one in known.items())
    if not fits:
        text = " ".join(repr(given).split())[:60]
        raise ConfigError(f"converters={text} is not allowed: give functions (layer, config, key) by class")
    return dict(known)


def _check_model(model: object) -> None:
    if not isinstance(model, nnx.Module):
        text = " ".join(repr(model).split())[:60]
        raise ModuleError(f"model={text} is not allowed: give an nnx.Module, such as nnx.Dict(...) of several")


def _analog(path: str, layer: Any, config: TileConfig, key: Key) -> tuple[nnx.Module, jax.Array]:
    """Return the analog layer of a layer, or of a stack of them, and how many weights it does not hold."""
    base = base_of(type(layer))
    assert base is not None
    counterpart = COUNTERPARTS[base]
    kernel = layer.kernel.get_value()
    bias = None if layer.bias is None else layer.bias.get_value()
    stack = stack_of(counterpart, layer)

    def build(key: Key, kernel: jax.Array, bias: jax.Array | None) -> tuple[AnalogLayer, jax.Array]:
        matrix = counterpart.matrix(layer, kernel)
        start = matrix, None if bias is None else bias.reshape(-1)
        made = counterpart.build(layer, config, random.fold(key, "layer"), start)
        return made, _changed(matrix, made.get_weights()[0])

    for _ in stack:
        build = nnx.vmap(build)
    try:
        made, changed = build(jax.random.split(key, stack) if stack else key, kernel, bias)
    except AihwjaxError as error:
        raise type(error)(f"{path}: {error}") from None
    _hand_on(counterpart, layer, made)
    return made, changed


def _digital(path: str, layer: Any) -> nnx.Module:
    counterpart = counterpart_of(layer)
    assert counterpart is not None

    def build(layer: Any) -> Any:
        matrix, bias = layer.get_weights()
        made: Any = counterpart.digital(layer)
        made.kernel.set_value(counterpart.kernel(layer, matrix).astype(made.kernel.get_value().dtype))
        if bias is not None:
            old = made.bias.get_value()
            made.bias.set_value(bias.reshape(old.shape).astype(old.dtype))
        return made

    for _ in layer.stacked():
        build = nnx.vmap(build)
    made = build(layer)
    _hand_on(counterpart, layer, made)
    return made


def _hand_on(counterpart: Counterpart, old: nnx.Module, new: nnx.Module) -> None:
    """Give a layer those parts of the old one that stay as they are."""
    for name in counterpart.digital_parts:
        setattr(new, name, getattr(old, name))
