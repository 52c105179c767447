"""What a run is, as flat named values, so that two runs can be told apart and the difference shown."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
import optax
from flax import nnx

from aihwjax import config as configs
from aihwjax.experiments.arrays import digest, to_arrays
from aihwjax.experiments.losses import loss_name
from aihwjax.experiments.training import BasicTraining
from aihwjax.layer_rates import LayerRates
from aihwjax.nn.variables import ModelState
from aihwjax.optim import AnalogOptimizer, NamedOptimizer
from aihwjax.typing import Key

Fingerprint: TypeAlias = dict[str, Any]
"""Dotted name to a JSON value."""


def describe(experiment: BasicTraining, data: str, key: Key) -> Fingerprint:
    """Return everything that decides the result of a run, but for the number of epochs.

    Args:
        experiment: The experiment.
        data: Hash of the data.
        key: Key of the run.
    """
    result: Fingerprint = {
        "dataset": str(experiment.dataset),
        "data": data,
        "batch_size": int(experiment.batch_size),
        "loss_function": loss_name(experiment.loss_function),
        "learning_rate": _rate(experiment.learning_rate),
        "optimizer": None if experiment.optimizer is None else _optimizer(experiment),
        "key": [str(jax.random.key_impl(key)), *jax.random.key_data(key).tolist()],
    }
    if experiment.metrics:
        result["metrics"] = sorted(experiment.metrics)
    if experiment.class_weights is not None:
        result["class_weights"] = np.asarray(experiment.class_weights).tolist()
    # a run from before there were these fields is the same one
    counts = {"validate_every": experiment.validate_every, "accumulate": experiment.accumulate}
    result.update({name: int(count) for name, count in counts.items() if count != 1})
    result.update(_model(experiment.model))
    result["initial values"] = digest(to_arrays(nnx.state(experiment.model)))
    return result


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return one text for each entry that differs, the most telling first.

    Args:
        found: Fingerprint of a checkpoint.
        wanted: Fingerprint of the run.
    """
    names = [*wanted, *(name for name in found if name not in wanted)]
    lines = [
        f"{name}: {_shown(found, name)} there, {_shown(wanted, name)} here"
        for name in names
        if (name in found, found.get(name)) != (name in wanted, wanted.get(name))
    ]
    hashes = [line for line in lines if line.startswith(("initial values:", "data:"))]
    return [line for line in lines if line not in hashes] or hashes


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "nothing"


def _rate(rate: Any) -> float | list[float] | dict[str, Any]:
    if isinstance(rate, LayerRates):
        return {path: _rate(rate.schedules.get(path, number)) for path, number in rate.values(0).items()}
    if callable(rate):
        return [float(rate(step)) for step in (0, 1, 10, 100, 1000, 10000, 100000)]
    return float(np.float32(rate))


def _optimizer(experiment: BasicTraining) -> str:
    """Return the shape of the optimizer's state, all that can be known of its functions, and whether tiles take it."""
    optimizer, model = experiment.optimizer, experiment.model
    assert optimizer is not None
    if isinstance(optimizer, NamedOptimizer):
        return f"on tiles, {optimizer.entry()}"
    if isinstance(optimizer, AnalogOptimizer):
        return f"on tiles, {_shape(optimizer.transformation, optimizer.parameters(model))}"
    return _shape(optimizer, nnx.state(model, nnx.Param))


def _shape(transformation: optax.GradientTransformation, params: ModelState) -> str:
    return digest({name: np.zeros(1) for name in _names(jax.eval_shape(transformation.init, params))})


def _names(tree: Any) -> list[str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves]


def _model(model: nnx.Module) -> Iterator[tuple[str, Any]]:
    for path, node in nnx.iter_graph(model):
        if not isinstance(node, nnx.Module):
            continue
        where = ".".join(("model", *map(str, path)))
        yield where, type(node).__name__
        for name, value in sorted(vars(node).items()):
            if isinstance(value, nnx.Variable):
                value = value.get_value()
            if isinstance(value, configs.Config):
                yield from flat(f"{where}.{name}", configs.to_dict(value))
            elif _plain(value):
                yield f"{where}.{name}", _json(value)


def flat(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries and lists by dotted path.

    Args:
        where: Path of ``value``.
        value: Nested plain values.
    """
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from flat(f"{where}.{name}", entry)
    elif isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        for i, entry in enumerate(value):
            yield from flat(f"{where}[{i}]", entry)
    else:
        yield where, value


def _plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_plain(entry) for entry in value)
    return value is None or isinstance(value, bool | int | float | str | enum.Enum)


def _json(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_json(entry) for entry in value]
    return value.name if isinstance(value, enum.Enum) else value
