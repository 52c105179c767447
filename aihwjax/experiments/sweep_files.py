"""Sweeps as TOML files: an experiment's file with a section ``sweep``.

.. code-block:: toml

    [sweep]
    seeds = 2
    samples = 16               # drawn from the space; without it all combinations of lists
    metric = "valid_loss"      # by which the best is named

    [sweep.space]
    learning_rate = { log_uniform = [0.01, 1.0] }
    device.dw_min = [0.001, 0.002]

The other sections are those of :mod:`aihwjax.experiments.files`, or of an inference experiment. A path of the space
is written as it is, or in quotes; its values are a list, or ``uniform``, ``log_uniform`` or ``integers`` with two
limits. A value that is a table with ``class`` or ``preset`` is a part of a configuration, such as a device. With
``halving = 3`` it is a successive halving.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aihwjax import config as configs
from aihwjax.errors import ConfigError
from aihwjax.experiments import files, inference_files
from aihwjax.experiments.entries import check_names, table
from aihwjax.experiments.inferencing import BasicInferencing
from aihwjax.experiments.sweeping.fields import Experiment
from aihwjax.experiments.sweeping.spaces import Distribution, Integers, LogUniform, Uniform, sampled
from aihwjax.experiments.training import check_whole

SECTIONS = (*files.SECTIONS, "sweep")
"""Tables of a document."""
_DISTRIBUTIONS = {"uniform": Uniform, "log_uniform": LogUniform, "integers": Integers}
_ENTRIES = ("space", "points", "seeds", "samples", "method", "metric", "extreme", "halving", "first", "memory")
_OF_SAMPLES, _OF_HALVING = ("method",), ("first",)


class SweepFile(NamedTuple):
    """What a file describes."""

    experiment: Experiment
    """The experiment that is varied."""
    key: int
    """Seed of initial weights, devices, order and noise."""
    limit: int
    """If above 0, only so many examples of each split."""
    space: Any
    """Values by path, or single configurations."""
    seeds: int
    """Networks of each configuration."""
    metric: str | None
    """By which the best is named; ``None``: it is not."""
    extreme: Any
    """Which of its values is the best; ``None``: as the name says."""
    halving: int | None
    """Of so many configurations one goes on; ``None``: all of them do."""
    first: int
    """Epochs before the first halving."""
    memory: int | None
    """Bytes that a call may take; ``None``: the default."""
    resolved: dict[str, Any]
    """The document with every field of the tile filled in; reading it gives the same sweep."""


def build(document: Mapping[str, Any], key: int | None = None, inference: bool = False) -> SweepFile:
    """Build the sweep that a document describes.

    Args:
        document: From :func:`aihwjax.experiments.files.read`, or of an inference experiment.
        key: Replaces the document's key.
        inference: Whether it describes an inference experiment.

    Raises:
        ConfigError: If a section, field, layer or class is unknown (with the nearest name), or a value is not allowed.
        DataError: If there is no such data set.
    """
    check_names(document, SECTIONS, "the sweep")
    if "sweep" not in document:
        raise ConfigError("sweep is missing: give a section [sweep.space] with lists of values by path")
    own = dict(table(document, "sweep"))
    check_names(own, _ENTRIES, "sweep")
    rest = {name: section for name, section in document.items() if name != "sweep"}
    described: Any = inference_files.build(rest, key) if inference else files.build(rest, key)
    limit = described.max_elements if inference else described.max_elements_train
    for names, needs in ((_OF_SAMPLES, "samples"), (_OF_HALVING, "halving")):
        for name in names:
            if name in own and needs not in own:
                raise ConfigError(f"sweep.{name} is not allowed without sweep.{needs}")
    if "halving" in own:
        check_whole("sweep.halving", own["halving"], 2)
    if "halving" in own and isinstance(described.experiment, BasicInferencing):
        raise ConfigError("sweep.halving is not allowed for an inference experiment, which has no epochs")
    return SweepFile(
        described.experiment,
        described.key,
        limit,
        _space(own, described.key),
        own.get("seeds", 1),
        own.get("metric", "valid_loss" if "halving" in own else None),
        own.get("extreme"),
        own.get("halving"),
        own.get("first", 1),
        own.get("memory"),
        {**described.resolved, "sweep": own},
    )


def _space(own: Mapping[str, Any], key: int) -> Any:
    """Return the space of a section, drawn from if it says so."""
    if ("space" in own) is ("points" in own):
        raise ConfigError("sweep has both space and points: give one" if "space" in own else "sweep.space is missing")
    if "points" in own:
        points = own["points"]
        if not isinstance(points, list) or not all(isinstance(point, Mapping) for point in points):
            raise ConfigError("sweep.points is not allowed: give tables, each below [[sweep.points]]")
        if "samples" in own:
            raise ConfigError("sweep.samples is not allowed with points, which are all that is trained")
        return [
            {path: _value(value, f"sweep.points[{number}].{path}") for path, value in _flat(point)}
            for number, point in enumerate(points)
        ]
    space = {path: _values(values, f"sweep.space.{path}") for path, values in _flat(table(own, "space", "sweep.space"))}
    if "samples" in own:
        return sampled(space, own["samples"], key, own.get("method", "sobol"))
    for path, values in space.items():
        if isinstance(values, Distribution):
            raise ConfigError(f"sweep.space.{path} has no end of values: give sweep.samples, how many are drawn")
    return space


def _flat(entries: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield values by dotted path: without quotes, TOML makes tables of a path."""
    for name, value in entries.items():
        path = f"{before}{name}"
        inner = isinstance(value, Mapping) and not ({*_DISTRIBUTIONS, "class", "preset"} & set(value))
        if inner:
            yield from _flat(value, f"{path}.")
        else:
            yield path, value


def _values(values: Any, where: str) -> Any:
    if isinstance(values, Mapping) and set(values) & set(_DISTRIBUTIONS):
        check_names(values, _DISTRIBUTIONS, where)
        (name, limits), *more = values.items()
        if more or not isinstance(limits, list) or len(limits) != 2:
            raise ConfigError(f"{where} is not allowed: give one of {', '.join(_DISTRIBUTIONS)} with [low, high]")
        try:
            return _DISTRIBUTIONS[name](*limits)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return [_value(value, f"{where}[{n}]") for n, value in enumerate(values)] if isinstance(values, list) else values


def _value(value: Any, where: str) -> Any:
    """Return a value; of a table, the part of a configuration that it describes."""
    if not isinstance(value, Mapping):
        return value
    if "preset" in value:
        return configs.from_dict(files.merged({}, value, where), path=where)
    base = configs.default_dict(configs.registered(str(value.get("class"))))
    return configs.from_dict(files.merged(base, value, where), path=where)
