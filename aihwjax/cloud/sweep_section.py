"""The section ``sweep`` of the document of a sweep: its configurations and seeds as plain values, and back.

.. code-block:: json

    {"kind": "Sweep",
     "experiment": {"dataset": "mnist10k", "epochs": 5, "key": 0},
     "sweep": {"points": [{"device.dw_min": 0.001}, {"device.dw_min": 0.002}], "seeds": [0, 1]}}

A part of a configuration is a table with its class, an optimizer the table that names it. A successive halving has
``"halving": {"metric": "valid_loss", "factor": 3, "first": 1}`` more, and ``extreme`` where the name of the metric does
not say which value is the best.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aihwjax import config as configs
from aihwjax.cloud.plain import at, short
from aihwjax.cloud.section import settings
from aihwjax.cloud.sendable import learning_rate, loss_entry, weights_entry
from aihwjax.errors import AihwjaxError, ArchiveError, ConfigError
from aihwjax.experiments.best import Extreme
from aihwjax.experiments.entries import check_names
from aihwjax.experiments.sweeping.fields import EPOCHS, RATE, fields
from aihwjax.experiments.sweeping.points import is_number, points_of
from aihwjax.experiments.sweeping.running import seeds_of
from aihwjax.experiments.sweeping.table import wanted_metric
from aihwjax.experiments.training import BasicTraining, check_whole
from aihwjax.layer_rates import check_rates
from aihwjax.optim import NamedOptimizer
from aihwjax.optim.named import from_entry
from aihwjax.sweep_results import KIND

__all__ = ["KIND", "Halving", "Swept", "check", "read", "section_of"]

_SECTION = "sweep"
_ENTRIES = ("points", "seeds", "memory", "halving")
_HALVING = ("metric", "factor", "first", "extreme")
_MOST_NETWORKS = 10_000
_MOST_ROWS = 200_000
_OPTIMIZER = "optimizer"


class Halving(NamedTuple):
    """How a sweep gives up configurations on its way."""

    metric: str
    """By which they are judged."""
    factor: int
    """Of so many one goes on."""
    first: int
    """Epochs of all of them."""
    extreme: Extreme | None = None
    """Which value is the best; ``None``: as the name says."""


class Swept(NamedTuple):
    """What a section says."""

    points: list[dict[str, Any]]
    """The configurations, values by path."""
    seeds: list[int]
    """Numbers of the networks of each."""
    memory: int | None
    """Bytes that the networks of a call may take; ``None``: the default of the machine."""
    halving: Halving | None = None
    """A successive halving; ``None``: all networks are trained to their ends."""

    @property
    def networks(self) -> int:
        """How many networks there are."""
        return len(self.points) * len(self.seeds)

    def epochs(self, otherwise: int) -> list[int]:
        """Return the epochs of each configuration.

        Args:
            otherwise: Those of the experiment.
        """
        return [int(point.get(EPOCHS, otherwise)) for point in self.points]


def section_of(
    experiment: BasicTraining,
    space: Any,
    seeds: int | Sequence[int],
    memory: int | None,
    halving: Halving | None = None,
) -> dict[str, Any]:
    """Return the section of a sweep.

    Args:
        experiment: What is varied.
        space: Values by path, or single configurations.
        seeds: Networks of each configuration, or their numbers.
        memory: Bytes that the networks of a call may take.
        halving: How configurations are given up; ``None``: they are not.

    Raises:
        ConfigError: If a path does not exist (with the nearest name), a value is not allowed or cannot travel, or there
            are too many networks or rows.
    """
    points = points_of(experiment, space)
    found = Swept(points, seeds_of(seeds), memory, halving)
    _check_counts(found, experiment.epochs)
    _check_halving(found, experiment.metrics, experiment.validate_every)
    sent = []
    for number, point in enumerate(points):
        try:
            sent.append({path: _plain(path, value) for path, value in point.items()})
        except AihwjaxError as error:
            raise ConfigError(f"space[{number}]: {error}") from None
    section = {"points": sent, "seeds": found.seeds, **({} if memory is None else {"memory": int(memory)})}
    if halving is not None:
        section["halving"] = {name: value for name, value in halving._asdict().items() if value is not None}
    return section


def read(entries: Any) -> Swept:
    """Return what a section says; paths and values are not looked at.

    Args:
        entries: The section, or anything.

    Raises:
        ArchiveError: If an entry is missing, unknown or of another kind; has its path.
    """
    if not isinstance(entries, Mapping):
        raise ArchiveError(f"{_SECTION} is missing: give a table with points and seeds", _SECTION)
    with at(_SECTION):
        check_names(entries, _ENTRIES, _SECTION)
    points = entries.get("points")
    if not isinstance(points, list) or not points or not all(isinstance(point, Mapping) for point in points):
        raise ArchiveError("sweep.points is not allowed: give a list of tables, values by path", "sweep.points")
    if not isinstance(entries.get("seeds"), list):
        raise ArchiveError("sweep.seeds is not allowed: give a list of whole numbers", "sweep.seeds")
    if len(points) * len(entries["seeds"]) > _MOST_NETWORKS:
        raise ArchiveError(f"sweep has too many networks: give at most {_MOST_NETWORKS}", _SECTION)
    with at("sweep.seeds"):
        seeds = seeds_of(entries["seeds"])
    with at("sweep.memory"):
        _check_memory(entries.get("memory"))
    halving = _halving(entries["halving"]) if "halving" in entries else None
    built = [
        {path: _value(path, value, f"sweep.points[{number}]") for path, value in point.items()}
        for number, point in enumerate(points)
    ]
    return Swept(built, seeds, entries.get("memory"), halving)


def _halving(entries: Any) -> Halving:
    with at("sweep.halving"):
        if not isinstance(entries, Mapping) or "metric" not in entries or "factor" not in entries:
            raise ConfigError("sweep.halving is not allowed: give a table with metric and factor")
        check_names(entries, _HALVING, "sweep.halving")
        return Halving(**{"first": 1, **entries})


def check(
    found: Swept, sent: Sequence[Mapping[str, Any]], given: Mapping[str, Any], make: Callable[[], BasicTraining]
) -> None:
    """Refuse a sweep whose paths do not exist, or whose values are not allowed.

    Args:
        found: From :func:`read`.
        sent: Its configurations as they are in the document.
        given: Section ``experiment`` of the document.
        make: Returns the experiment; called while nothing is computed.

    Raises:
        ArchiveError: If there is one; has the path of its configuration.
    """
    for name in ("keep_best", "best"):
        if name in given:
            raise ArchiveError(f"experiment.{name} is not allowed in a sweep: leave it out", f"experiment.{name}")
    with at(_SECTION):
        _check_fields(sent, given)
        _check_counts(found, int(given.get(EPOCHS, BasicTraining.epochs)))
        _check_halving(found, given.get("metrics", ()), given.get("validate_every", BasicTraining.validate_every))

    def look() -> jax.Array:
        experiment = make()
        for number, point in enumerate(found.points):
            where = f"sweep.points[{number}]"
            try:
                points_of(experiment, [point])
            except Exception as error:  # values are anything at all
                text = str(error).removeprefix("space[0]: ")
                raise ArchiveError(f"{where} is not allowed: {text}", where) from None
        return jnp.zeros(())

    nnx.eval_shape(look)


def _check_fields(sent: Iterable[Mapping[str, Any]], given: Mapping[str, Any]) -> None:
    """Hold fields of the experiment to the bounds of the section ``experiment``."""
    known = {name for name in _fields() if name != _OPTIMIZER}
    for number, point in enumerate(sent):
        own = {path: value for path, value in point.items() if path in known}
        if own.get("class_weights", 0) is None:  # none for this configuration
            del own["class_weights"]
        if own:
            try:
                settings({**given, **own})
            except ArchiveError as error:
                where = f"sweep.points[{number}]"
                raise ArchiveError(f"{where} is not allowed: {error}", where) from None


def _fields() -> tuple[str, ...]:
    return fields(BasicTraining)  # type: ignore[arg-type]  # fields of the class are those of an instance


def _check_counts(found: Swept, epochs: int) -> None:
    _check_memory(found.memory)
    if found.networks > _MOST_NETWORKS:
        raise ConfigError(f"the sweep has {found.networks} networks: give at most {_MOST_NETWORKS} in the cloud")
    each = found.epochs(epochs)
    if min(each) < 1:
        raise ConfigError("epochs=0 is not allowed in a sweep in the cloud: give at least 1")
    rows = sum(each) * len(found.seeds)
    if rows > _MOST_ROWS:
        raise ConfigError(f"the sweep's table has {rows} rows: give at most {_MOST_ROWS} networks times epochs")


def _check_halving(found: Swept, metrics: Iterable[str], every: Any) -> None:
    if found.halving is None:
        return
    metric, factor, first, extreme = found.halving
    check_whole("factor", factor, 2)
    check_whole("first", first, 1)
    wanted_metric(metric, extreme, ("accuracy", "train_loss", "valid_loss", *metrics))
    if every != 1 and metric != "train_loss":
        raise ConfigError(f"validate_every={every!r} is not allowed: {metric!r} is asked for after each stage")
    if any(EPOCHS in point for point in found.points):
        raise ConfigError("epochs is not allowed in a successive halving, which says how long each one is trained")


def _check_memory(memory: Any) -> None:
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int | np.integer) or memory < 1):
        raise ConfigError(f"memory={memory!r} is not allowed: give a number of bytes")


def _plain(path: str, value: Any) -> Any:
    """Return the value of a path as JSON knows it."""
    if path == _OPTIMIZER and value is not None:
        if not isinstance(value, NamedOptimizer):
            raise ConfigError("optimizer is not allowed in the cloud: give aihwjax.named_optimizer, or None")
        return value.entry()
    if path == "loss_function":
        return loss_entry(value)
    if path == "class_weights" and value is not None:
        return weights_entry(value)
    if path == RATE and not is_number(value):
        return learning_rate(check_rates(value))
    return _plain_value(path, value)


def _plain_value(path: str, value: Any) -> Any:
    if isinstance(value, configs.Config):
        return configs.to_dict(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    if isinstance(value, list | tuple):
        return [_plain_value(path, entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    what = "is a function" if callable(value) else f"is a {type(value).__name__}"
    raise ConfigError(f"{path} {what}, which cannot travel to the cloud: give numbers, texts or configurations")


def _value(path: str, value: Any, where: str) -> Any:
    """Return the value of an entry; of a table, the part of a configuration or the optimizer that it describes."""
    try:
        if isinstance(value, Mapping):
            if path == RATE:
                return dict(value)
            return from_entry(value) if path == _OPTIMIZER else configs.from_dict(value, path=path)
        if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            return tuple(configs.from_dict(entry, path=f"{path}[{n}]") for n, entry in enumerate(value))
    except Exception as error:  # tables are anything at all
        raise ArchiveError(f"{where} is not allowed: {short(path)}: {error}", where) from None
    return value
