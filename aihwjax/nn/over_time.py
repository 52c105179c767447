"""How good a model is over time, on many chips: all chips and times in one compiled call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Num

from aihwjax import arguments
from aihwjax.errors import ConfigError, DataError, ShapeError
from aihwjax.inference.chip import checked_time
from aihwjax.nn.calling import call
from aihwjax.nn.many_chips import ManyChips
from aihwjax.nn.programming import tiles_of
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, ascending_times

Metric: TypeAlias = Callable[[Any, Any], Float[Array, ""]]
"""``(outputs, targets) -> number`` of all examples."""


def accuracy(outputs: Float[Array, "n classes"], targets: Num[Array, " n"]) -> Float[Array, ""]:
    """Return the fraction of examples whose largest output is that of their class.

    Args:
        outputs: ``(n, classes)``.
        targets: The class of each example.
    """
    return jnp.mean(jnp.argmax(outputs, axis=-1) == targets)


@arguments.answering
@dataclass(frozen=True)
class OverTime:
    """What :func:`evaluate_over_time` found: a value for each chip and time."""

    name: str
    """Name of the metric."""
    times: Float[np.ndarray, " times"]
    """Seconds after programming."""
    values: Float[np.ndarray, "chips times"]
    """The metric of every chip at every time."""

    @property
    def mean(self) -> Float[np.ndarray, " times"]:
        """Mean over chips at each time."""
        return self.values.mean(axis=0)

    @property
    def std(self) -> Float[np.ndarray, " times"]:
        """Standard deviation over chips at each time."""
        return self.values.std(axis=0)

    def rows(self) -> list[dict[str, float]]:
        """Return a row for each chip and time, with the entries ``chip``, ``time`` and the name of the metric."""
        chips = enumerate(self.values.tolist())
        every = self.times.tolist()
        return [{"chip": n, "time": t, self.name: v} for n, row in chips for t, v in zip(every, row, strict=True)]

    def __str__(self) -> str:
        """Return a table with a line for each time."""
        lines = [f"{'time (s)':>12}  {self.name:>10}  {'spread':>8}  {'lowest':>8}  {'highest':>8}"]
        parts = zip(self.times, self.mean, self.std, self.values.min(0), self.values.max(0), strict=True)
        lines += [f"{t:12.4g}  {m:10.4f}  {s:8.4f}  {low:8.4f}  {high:8.4f}" for t, m, s, low, high in parts]
        return "\n".join(lines)


@overload
def evaluate_over_time(
    model: nnx.Module,
    data: tuple[Any, Any],
    times: Sequence[float],
    repeats: int,
    key: Noise,
    *,
    metric: Metric = accuracy,
    memory: int | None = None,
    mesh: Mesh | None = None,
) -> OverTime: ...
@overload
def evaluate_over_time(
    model: nnx.Module,
    data: tuple[Any, Any],
    times: Sequence[float],
    repeats: int,
    key: Noise,
    *,
    metric: Mapping[str, Metric],
    memory: int | None = None,
    mesh: Mesh | None = None,
) -> dict[str, OverTime]: ...
@arguments.answered
def evaluate_over_time(
    model: nnx.Module,
    data: tuple[Any, Any],
    times: Sequence[float],
    repeats: int,
    key: Noise,
    *,
    metric: Metric | Mapping[str, Metric] = accuracy,
    memory: int | None = None,
    mesh: Mesh | None = None,
) -> OverTime | dict[str, OverTime]:
    """Program a model onto many chips and evaluate each at several times.

    Each chip is programmed once, and drifts from there to every time with noise of its own; see :func:`aihwjax.program`
    and :func:`aihwjax.drift`. As many chips go at once as the memory allows, the others follow in the same program.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> layer = aj.nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
        >>> data = jnp.ones((10, 4)), jnp.zeros(10, int)
        >>> result = aj.evaluate_over_time(layer, data, [1.0, 86400.0], repeats=2, key=0)
        >>> result.values.shape
        (2, 2)

    Args:
        model: Any NNX module with analog layers; it stays as it is.
        data: Inputs and targets, arrays with the examples as first axis.
        times: Seconds after programming, ascending, from 0 on.
        repeats: Number of chips.
        key: Source of all noise.
        metric: What is evaluated: a function of all outputs and targets, of module level, so that it is compiled once.
            Several by name are found of the same chips and the same products.
        memory: Bytes that chips evaluated at once may take, by an estimate that counts every array of the
            program, on each device; ``None``: a quarter of what the device has, on a CPU 256 MiB. Values do not depend
            on it.
        mesh: Devices among which the chips are divided, along all axes of the mesh; ``None``: one device has all.
            A chip has the same noise on any device.

    Returns:
        The table of the metric; of several one for each, by name.

    Raises:
        ModuleError: If the model has no analog layer.
        ConfigError: If a tile has no noise model, the times are not ascending or one is not allowed, ``repeats`` is no
            number of at least 1, the memory is less than one chip takes, the mesh is none of this process, or a metric
            is no function or gives more than one number.
        DataError: If the data are no pair of arrays.
        ShapeError: If there are more or fewer targets than inputs.
    """
    seconds = checked_times(model, times)
    if isinstance(repeats, bool) or not isinstance(repeats, int | np.integer) or repeats < 1:
        raise ConfigError(f"repeats={repeats!r} is not allowed: give a whole number of at least 1")
    metrics = _checked_metrics(metric)
    judge = _Judged(tuple(metrics.items()))
    values = ManyChips(model, _checked_data(data), seconds, key, judge, memory, mesh).values(0, int(repeats))
    known = np.asarray(seconds, np.float64)
    tables = {name: OverTime(name, known, values[..., place]) for place, name in enumerate(metrics)}
    return tables if isinstance(metric, Mapping) else next(iter(tables.values()))


def _checked_metrics(metric: Metric | Mapping[str, Metric]) -> dict[str, Metric]:
    metrics = dict(metric) if isinstance(metric, Mapping) else {getattr(metric, "__name__", "metric"): metric}
    if not metrics:
        raise ConfigError("metric={} is not allowed: give a function of outputs and targets, or several by name")
    for name, each in metrics.items():
        if not callable(each):
            raise ConfigError(f"metric {name!r}: {each!r} is not allowed: give a function of outputs and targets")
    return metrics


@dataclass(frozen=True)
class _Judged:
    """Metrics of all outputs, by name."""

    metrics: tuple[tuple[str, Metric], ...]

    def __call__(self, model: nnx.Module, x: Num[Array, "n ..."], y: Num[Array, "n ..."], key: Noise, /) -> Array:
        outputs, values = call(model, x, key=key), []
        for name, metric in self.metrics:
            value = jnp.asarray(metric(outputs, y), jnp.float32)
            if value.shape != ():
                raise ConfigError(f"metric {name!r} of shape {value.shape} is not allowed: give one number of all")
            values.append(value)
        return jnp.stack(values)


def checked_times(model: nnx.Module, times: Sequence[float]) -> Float[Array, " times"]:
    """Return times on the device, if they are ascending and every noise model of a model knows them.

    Args:
        model: Any NNX module with analog layers.
        times: Seconds after programming.

    Raises:
        ModuleError: If the model has no analog layer.
        ConfigError: If they are not ascending, or one is not allowed.
    """
    seconds = ascending_times("times", times)
    for tile in tiles_of(model).values():
        noise_model = tile.config.get_value().noise_model
        for t in seconds.tolist():
            if noise_model is not None:
                checked_time(noise_model, t)
    return jnp.asarray(seconds, jnp.float32)


def _checked_data(data: object) -> tuple[Num[Array, "n ..."], Num[Array, "n ..."]]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise DataError(f"data={type(data).__name__} is not allowed: give a pair of inputs and targets")
    x, y = (jnp.asarray(as_numbers(name, part)) for name, part in zip(("inputs", "targets"), data, strict=True))
    if x.ndim < 1 or y.ndim < 1 or len(x) != len(y) or len(x) == 0:
        raise ShapeError(f"data with inputs {x.shape} and targets {y.shape} is not allowed: give one target an input")
    return x, y
