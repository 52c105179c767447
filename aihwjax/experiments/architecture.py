"""A model's structure as a plain document: layer names and arguments, from a fixed list of layers.

Reading a document never imports or runs anything but the constructors on the list.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from flax import nnx

from aihwjax import config as configs
from aihwjax.errors import AihwjaxError, ConfigError, ModuleError, nearest
from aihwjax.nn.recurrent import RecurrentCell

Document: TypeAlias = dict[str, Any]
"""JSON values; ``"class"`` names the layer or configuration."""

_DIGITAL = (nnx.Linear, nnx.Conv, nnx.ConvTranspose, nnx.BatchNorm, nnx.Dropout)
_HIDDEN = ("self", "rngs", "key")
# Flax builds layers without inputs, outputs or kernel, and fails, if at all, when they are called
_SIZES = ("in_features", "out_features", "num_features", "kernel_size")


def registry() -> dict[str, type[nnx.Module]]:
    """Return the layers that a document may name: those of ``aihwjax.nn`` and a few of Flax."""
    from aihwjax import nn

    public = (getattr(nn, name) for name in nn.__all__)
    own = {value.__name__: value for value in public if inspect.isclass(value) and issubclass(value, nnx.Module)}
    return {**{layer.__name__: layer for layer in _DIGITAL}, **own}


def to_document(model: nnx.Module, path: str = "model") -> Document:
    """Return the structure of a model.

    Args:
        model: A layer of the registry, or a sequence of such layers.
        path: Where the layer is, for errors.

    Raises:
        ModuleError: If a layer is not in the registry or has arguments that are no plain values.
    """
    name = type(model).__name__
    known = registry()
    if known.get(name) is not type(model):
        raise ModuleError(f"{path} is a {name}, which cannot be saved: give layers of aihwjax.nn{nearest(name, known)}")
    result: Document = {"class": name}
    for parameter in _parameters(type(model)):
        if parameter.kind is parameter.VAR_POSITIONAL:
            layers = list(getattr(model, parameter.name))
            result[parameter.name] = [to_document(layer, f"{path}[{i}]") for i, layer in enumerate(layers)]
            continue
        value = _argument(model, parameter, path)
        if value is not parameter.empty and not _same(value, parameter.default):
            result[parameter.name] = _plain(value, f"{path}.{parameter.name}")
    return result


def from_document(document: Mapping[str, Any], rngs: nnx.Rngs, path: str = "model") -> nnx.Module:
    """Build the model that a document describes.

    Args:
        document: From :func:`to_document` or a configuration file.
        rngs: Source of the initial weights.
        path: Where the layer is, for errors.

    Raises:
        ConfigError: If a layer or argument is unknown (with the nearest name) or missing.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("class"), str):
        raise ConfigError(f"{path} has no entry 'class' that names its layer")
    name, known = document["class"], registry()
    if name not in known:
        raise ConfigError(f"{path}.class={name!r} is not a known layer{nearest(name, known)}")
    layer = known[name]
    parameters = {parameter.name: parameter for parameter in _parameters(layer)}
    positional: list[nnx.Module] = []
    arguments: dict[str, Any] = {}
    for argument, value in document.items():
        if argument == "class":
            continue
        if argument not in parameters:
            raise ConfigError(f"{path} ({name}) has no argument {argument!r}{nearest(argument, parameters)}")
        where = f"{path}.{argument}"
        if parameters[argument].kind is inspect.Parameter.VAR_POSITIONAL:
            if not isinstance(value, list):
                raise ConfigError(f"{where}={value!r} is not allowed: give a list of layers")
            positional = [_member(entry, rngs, f"{path}[{i}]") for i, entry in enumerate(value)]
        else:
            if layer in _DIGITAL and argument in _SIZES:
                _check_sizes(value, where)
            arguments[argument] = _built(value, where, parameters[argument])
    missing = [p.name for p in parameters.values() if _required(p) and p.name not in arguments]
    if missing:
        raise ConfigError(f"{path} ({name}) needs a value for {missing[0]!r}")
    if takes(layer, "rngs"):
        arguments["rngs"] = rngs
    try:
        return layer(*positional, **arguments)
    except AihwjaxError as error:
        raise ConfigError(f"{path} ({name}): {error}") from error
    except Exception as error:  # layers of other libraries are given anything at all
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"{path} ({name}) cannot be built: {reason}") from error


def _member(document: Any, rngs: nnx.Rngs, path: str) -> nnx.Module:
    """Build a layer that is called with the output of the one before it."""
    layer = from_document(document, rngs, path)
    name = type(layer).__name__
    if isinstance(layer, RecurrentCell):
        raise ConfigError(
            f"{path}.class={name!r} is a cell, one step of a sequence: give 'AnalogRNN' with cell={name!r}"
        )
    return layer


def takes(layer: type, name: str) -> bool:
    """Whether a layer is built with an argument ``name``."""
    return name in inspect.signature(layer.__init__).parameters  # type: ignore[misc]


def _parameters(layer: type) -> list[inspect.Parameter]:
    if layer.__init__ is object.__init__:  # type: ignore[misc]  # a layer without arguments
        return []
    signature = inspect.signature(layer.__init__)  # type: ignore[misc]
    return [p for p in signature.parameters.values() if p.name not in _HIDDEN and p.kind is not p.VAR_KEYWORD]


def _required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL


def _argument(model: nnx.Module, parameter: inspect.Parameter, path: str) -> Any:
    """Return the value with which a layer was built; its attribute of the same name."""
    if parameter.name in ("bias", "use_bias"):
        value = getattr(model, parameter.name, None)
        analog = getattr(model, "analog_bias", False) is True
        return value if isinstance(value, bool) else analog or (value is not None and _set(value))
    if parameter.name == "config" and hasattr(model, "analog_tiles"):
        return model.analog_tiles()[0].config.get_value()  # all tiles of a layer have the same
    if not hasattr(model, parameter.name):
        if parameter.default is parameter.empty:
            raise ModuleError(f"{path} ({type(model).__name__}) does not remember its argument {parameter.name!r}")
        return parameter.empty
    value = getattr(model, parameter.name)
    return value.get_value() if isinstance(value, nnx.Variable) else value


def _set(value: Any) -> bool:
    return not isinstance(value, nnx.Variable) or value.get_value() is not None


def _same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    return type(value) is type(default) and isinstance(value, bool | int | float | str) and value == default


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, configs.Config):
        return configs.to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(entry, path) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ModuleError(f"{path}={type(value).__name__} cannot be saved: give a plain value or a configuration")


def _are_sizes(value: Any) -> bool:
    """Whether a value is a list of integers, or of such lists."""
    whole = isinstance(value, list) and len(value) > 0
    return whole and all(_are_sizes(n) or (isinstance(n, int) and not isinstance(n, bool)) for n in value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _check_sizes(value: Any, path: str) -> None:
    sizes = value if isinstance(value, list) else [value]
    if not sizes or not all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in sizes):
        raise ConfigError(f"{path}={value!r} is not allowed: give integers of at least 1")


def _built(value: Any, path: str, parameter: inspect.Parameter) -> Any:
    if isinstance(value, Mapping):
        return configs.from_dict(value, path=path)
    wanted = type(parameter.default)
    if wanted in (int, str) and _are_sizes(value):
        return _tuples(value)  # one for each axis, where the default is one for all
    if parameter.name == "padding" and isinstance(value, int) and not isinstance(value, bool):
        return value  # as many lines on all sides; the default is a word
    wrong = wanted in (bool, str) and not isinstance(value, wanted)
    wrong |= wanted in (int, float) and (isinstance(value, bool) or not isinstance(value, int | float))
    if wrong:
        raise ConfigError(f"{path}={value!r} is not allowed: give {wanted.__name__}")
    return _tuples(value)
