"""The configurations of a sweep: what is given by path, and the experiment that one of them is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from flax import nnx

from aihwjax import arguments, random
from aihwjax.config import Config
from aihwjax.errors import AihwjaxError, ConfigError, nearest
from aihwjax.experiments.sweeping.fields import (
    EPOCHS,
    RATE,
    Experiment,
    changed_fields,
    fields,
    is_field,
    is_number_of_rate,
)
from aihwjax.experiments.sweeping.spaces import Distribution
from aihwjax.experiments.training import BasicTraining
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.paths import analog_layers
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig

Point: TypeAlias = Mapping[str, Any]
"""Path to value; see :func:`sweep <aihwjax.sweep>`."""

Space: TypeAlias = Mapping[str, Sequence[Any]] | Sequence[Point]
"""Values by path, of which all combinations are meant, or single configurations."""

_Experiment = TypeVar("_Experiment", bound=Experiment)


@arguments.answered
def grid(space: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return all combinations of values, those of the last path changing fastest.

    Args:
        space: A list or array of values for each path.

    Raises:
        ConfigError: If a path has no list of values, or an empty one.
    """
    for path, values in space.items():
        if isinstance(values, Distribution):
            hint = "draw configurations with sampled(space, count)"
            raise ConfigError(f"space[{path!r}]={values} has no end of values: {hint}")
        several = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes)
        if not several and not hasattr(values, "__array__"):
            raise ConfigError(f"space[{path!r}]={_short(values)} is not allowed: give a list of values")
        if len(values) == 0:
            raise ConfigError(f"space[{path!r}] is empty: give at least one value")
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def points_of(experiment: Experiment, space: Space) -> list[dict[str, Any]]:
    """Return the configurations of a space, each checked.

    Args:
        experiment: What is varied.
        space: Values by path, or single configurations.

    Raises:
        ConfigError: If there is none, a path does not exist (with the nearest name), or a value is not allowed.
    """
    if isinstance(space, Mapping):
        points = grid(space)
    elif isinstance(space, Sequence) and all(isinstance(point, Mapping) for point in space):
        points = [dict(point) for point in space]
    else:
        raise ConfigError(
            f"space={_short(space)} is not allowed: give a dict such as {{'device.dw_min': [0.001, 0.002]}}, or a list "
            "of configurations such as [{'device.dw_min': 0.001}]"
        )
    if not points:
        raise ConfigError("space is empty: give at least one configuration")
    for number, point in enumerate(points):
        for path in point:
            if not isinstance(path, str) or not path:
                raise ConfigError(f"space has the path {path!r}: give text, such as 'device.dw_min'")
        try:
            of_layers(experiment, {path: plain(value) for path, value in point.items()})
            experiment.replace(**changed_fields(experiment, point))
        except AihwjaxError as error:
            where = f"space[{number}]" if not isinstance(space, Mapping) else "space"
            raise ConfigError(f"{where}: {error}") from None
    return points


@arguments.answered
def configured(experiment: _Experiment, point: Point, key: Noise) -> _Experiment:
    """Return the experiment of one configuration: the single run that a row of a sweep is.

    The devices of all analog layers, and what is fixed of their converters, are drawn anew with the new numbers;
    weights and everything digital stay as they are in the experiment's model, within what the new devices can hold.

    Example:
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> model = aj.nn.AnalogSequential(
        ...     aj.nn.Flatten(), aj.nn.AnalogLinear(784, 10, rngs=nnx.Rngs(0)), aj.nn.LogSoftmax())
        >>> experiment = aj.BasicTraining(aj.MNIST10K, model)
        >>> one = aj.experiments.configured(experiment, {"device.dw_min": 0.002, "learning_rate": 0.1}, key=0)
        >>> one.learning_rate, float(one.model.layers[1].tiles[0].config.get_value().device.dw_min)
        (0.1, 0.0020000000949949026)

    Args:
        experiment: What is varied; it stays as it is.
        point: Values by path.
        key: Source of the devices.

    Raises:
        ConfigError: If a path does not exist (with the nearest name) or a value is not allowed.
    """
    model = nnx.clone(experiment.model)
    values = {path: plain(value) for path, value in point.items()}
    redraw(model, of_layers(experiment, values), random.as_noise(key))
    changed: Any = experiment.replace(model=model, **changed_fields(experiment, point))
    return changed


def redraw(model: nnx.Module, changes: Mapping[str, Mapping[str, Any]], key: Noise) -> None:
    """Draw the devices of all analog layers anew, with other numbers, in place.

    Args:
        model: The model.
        changes: From :func:`of_layers`.
        key: Source of all draws.
    """
    for path, layer in analog_layers(model).items():
        layer.redraw(changes[path], key=random.derive(key, path))


def of_layers(experiment: Experiment, values: Point) -> dict[str, dict[str, Any]]:
    """Return what changes in each analog layer's configuration, by path of the layer and within the configuration.

    Args:
        experiment: What is varied.
        values: By path; those of the experiment itself are left out.

    Raises:
        ConfigError: If a path does not exist or a value is not allowed.
    """
    layers = analog_layers(experiment.model)
    own = fields(experiment)
    changes: dict[str, dict[str, Any]] = {path: {} for path in layers}
    for path, value in values.items():
        if is_field(experiment, path):
            continue
        where, inner = _parted(path)
        reached = _reached(where, layers)
        if not reached:
            raise ConfigError(_unknown(path, where, layers, own))
        for name in reached:
            _check_kind(config_of(layers[name]), path, inner, value)
            changes[name][inner] = value
    for name, layer in layers.items():
        try:
            config_of(layer).replace(changes[name])
        except ConfigError as error:
            raise ConfigError(f"{_cause(str(error), changes[name], own)}{error}") from None
    return changes


def _check_kind(config: TileConfig, path: str, inner: str, value: Any) -> None:
    """Refuse several numbers in place of one, which a configuration takes for itself, and complex ones."""
    if isinstance(value, complex) or (hasattr(value, "dtype") and np.issubdtype(value.dtype, np.complexfloating)):
        raise ConfigError(f"{path}={value!r} is not allowed: give a real number")
    if isinstance(value, str) or not (isinstance(value, Sequence) or np.ndim(value)):
        return
    here: Any = config
    for name in inner.split("."):
        here = here[int(name)] if isinstance(here, Sequence) and name.isdecimal() else getattr(here, name, None)
    if is_number(here):
        raise ConfigError(f"{path}={_short(value)} is not allowed: give one number for each configuration")


def config_of(layer: AnalogLayer) -> TileConfig:
    """Return the configuration of a layer's tiles."""
    return layer.tiles[0].config.get_value()


def numeric(experiment: Experiment, path: str, value: Any) -> bool:
    """Whether a value is a number of the compiled program, so that another one compiles nothing.

    Args:
        experiment: What is varied.
        path: Where the value belongs.
        value: The value.
    """
    if not is_number(value):
        return False
    if is_field(experiment, path):
        if path.startswith(RATE) and isinstance(experiment, BasicTraining):
            return is_number_of_rate(experiment, path, value)
        return path == EPOCHS
    marked = plain(value)
    where, inner = _parted(path)
    layers = analog_layers(experiment.model)
    return all(_is_leaf(config_of(layers[name]), inner, marked) for name in _reached(where, layers))


def _is_leaf(config: Config, path: str, value: Any) -> bool:
    import jax

    try:
        changed = config.replace({path: value})
    except ConfigError:
        return False
    return any(leaf is value for leaf in jax.tree.leaves(changed))


def is_number(value: Any) -> bool:
    """Whether a value is one real number; ``True`` and ``False`` are none."""
    if isinstance(value, bool | np.bool_ | str) or value is None:
        return False
    if isinstance(value, complex | Sequence) or np.shape(value) != ():
        return False
    return bool(np.issubdtype(np.asarray(value).dtype, np.number))


def plain(value: Any) -> Any:
    """Return a number as an array of single precision, so that a feature is in the program for 0, too."""
    return np.asarray(value, np.float32) if is_number(value) else value


def _parted(path: str) -> tuple[str | None, str]:
    where, separator, inner = path.partition(":")
    return (where, inner) if separator else (None, path)


def _reached(where: str | None, layers: Iterable[str]) -> list[str]:
    """Return the layers that a path is for: all, or one and what is below it."""
    return [name for name in layers if where is None or name == where or name.startswith(f"{where}/")]


def _unknown(path: str, where: str | None, layers: Mapping[str, Any], own: Sequence[str]) -> str:
    if not layers:
        known = ", ".join(own)
        return f"{path!r} is no field of the experiment, and its model has no analog layer: give any of {known}"
    return f"{path!r} is for no analog layer{nearest(str(where), layers)}"


def _cause(error: str, changes: Mapping[str, Any], own: Sequence[str]) -> str:
    """Return the path to put before an error that names a class and a field only."""
    heads = [path for path in changes if f"{path.rpartition('.')[2]!r}" in error or path.rpartition(".")[2] in error]
    hint = nearest(heads[0], own) if heads and "." not in heads[0] else ""
    return f"{heads[0]}{hint}: " if len(heads) == 1 else ""


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
