"""The description of an inference experiment (spec: experiments, section 3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from flax import nnx

from aihwjax import arguments
from aihwjax.chip_results import time_grid
from aihwjax.errors import ConfigError, ModuleError, nearest
from aihwjax.experiments.data import Dataset, as_dataset
from aihwjax.experiments.losses import LossFunction, check_loss, loss_name
from aihwjax.experiments.training import check_whole, short
from aihwjax.tile.checks import ascending_times

_FEWEST_TIMES = 2
_LONGEST = 1e30
"""Seconds; far beyond, logarithms of times are no longer numbers in single precision."""


@arguments.answering
@dataclasses.dataclass(frozen=True, eq=False)
class BasicInferencing:
    """Program a network onto several chips and evaluate each of them at several times.

    An experiment only describes: it is frozen, and running it leaves its model as it is.

    Example:
        >>> import aihwjax as aj
        >>> from flax import nnx
        >>> layer = aj.nn.AnalogLinear(784, 10, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
        >>> model = aj.nn.AnalogSequential(aj.nn.Flatten(), layer, aj.nn.LogSoftmax())
        >>> experiment = aj.BasicInferencing(dataset=aj.MNIST10K, model=model, inference_time=3600)
        >>> [round(t, 1) for t in experiment.time_grid(5)]
        [0.0, 1.0, 15.3, 234.9, 3600.0]

    Raises:
        ConfigError: If an argument is unknown or missing (with the nearest name), or has a value that is not allowed.
        DataError: If ``dataset`` is not a data set.
        ModuleError: If ``model`` is not a Flax NNX module.
    """

    dataset: Dataset | str | tuple[np.ndarray, ...]
    """What to evaluate on, its validation split: a data set, its name, or arrays ``(train_x, train_y, valid_x,
    valid_y)``. Of a single pair ``(x, y)``, which has no such split, the pair itself."""
    model: nnx.Module
    """The network, called as ``model(x, key=key)``; each of its tiles has a noise model."""
    batch_size: int = 10
    """Examples of which a loss of your own sees a batch; products may take more at once."""
    loss_function: LossFunction = "CrossEntropyLoss"
    """A name, a loss class, or a callable, as in :class:`~aihwjax.experiments.BasicTraining`."""
    weight_template_id: str | Path = ""
    """Where trained weights come from: a file ``.safetensors`` or ``.npz``, a folder of such files, a folder that
    :func:`aihwjax.save` wrote, or the ``http(s)`` address of such a file. Behind an address, ``#sha256=`` and its sum
    say what must come. Empty: the weights of the model."""
    inference_repeats: int = 2
    """Chips, each programmed anew."""
    inference_time: float = 86400
    """The last time, seconds after programming, from 1 on."""
    remap_weights: bool = True
    """Whether weights of a template are scaled on each tile to a largest magnitude of 1, the range of the devices."""
    times: Sequence[float] | np.ndarray | None = None
    """Seconds after programming, ascending, in place of the grid up to ``inference_time``; for noise models that know
    some times only."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", as_dataset(self.dataset))
        if isinstance(self.model, type) or not isinstance(self.model, nnx.Module):
            raise ModuleError(f"model={short(self.model)} is not allowed: give a Flax NNX module instance")
        check_whole("batch_size", self.batch_size, 1)
        check_loss(self.loss_function)
        if not isinstance(self.weight_template_id, str | Path):
            raise ConfigError(
                f"weight_template_id={short(self.weight_template_id)} is not allowed: give a path, an address, or ''"
            )
        check_whole("inference_repeats", self.inference_repeats, 1)
        check_time("inference_time", self.inference_time)
        if not isinstance(self.remap_weights, bool | np.bool_):
            raise ConfigError(f"remap_weights={short(self.remap_weights)} is not allowed: give True or False")
        if self.times is not None:
            object.__setattr__(self, "times", check_times(self.times))

    def time_grid(self, count: int = 10) -> list[float]:
        """Return the times of the evaluation: 0, and then from 1 second to the last time in equal ratios.

        Args:
            count: How many, from 2 on; not for an experiment with ``times`` of its own. There are no more than two
                up to a last time of 1 second.

        Raises:
            ConfigError: If the number is not allowed.
        """
        if self.times is not None:
            return [float(t) for t in self.times]
        check_whole("n_inference_times", count, _FEWEST_TIMES)
        return time_grid(float(self.inference_time), int(count))

    def replace(self, **fields: Any) -> Self:
        """Return a copy with fields replaced.

        Args:
            **fields: New values by field name.

        Raises:
            ConfigError: If a field does not exist (with the nearest name) or a value is not allowed.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for name in fields:
            if name not in known:
                raise ConfigError(f"{type(self).__name__} has no field {name!r}{nearest(name, known)}")
        return dataclasses.replace(self, **fields)

    def __str__(self) -> str:
        template = f", weight_template_id={str(self.weight_template_id)!r}" if str(self.weight_template_id) else ""
        times = f"inference_time={self.inference_time}" if self.times is None else f"times={list(self.times)}"
        return (
            f"{type(self).__name__}(dataset={self.dataset}, batch_size={self.batch_size}, "
            f"loss_function={loss_name(self.loss_function)}, inference_repeats={self.inference_repeats}, "
            f"{times}{template}, model={self.model!r})"
        )


def check_time(name: str, value: object) -> None:
    """Refuse what is no last time.

    Args:
        name: What it is called.
        value: Anything.

    Raises:
        ConfigError: If it is not a number of seconds from 1 on: below, the grid would not ascend.
    """
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not real or not 1 <= float(value) <= _LONGEST:  # type: ignore[arg-type]
        raise ConfigError(f"{name}={short(value)} is not allowed: give seconds, 1 to {_LONGEST:g}")


def check_times(value: object) -> tuple[float, ...]:
    """Return times of an evaluation.

    Args:
        value: Anything.

    Raises:
        ConfigError: If they are not ascending numbers of seconds, from 0 on.
        DataError: If they are no numbers.
    """
    times = ascending_times("times", value)
    for t in times.tolist():
        if not 0 <= t <= _LONGEST:
            raise ConfigError(f"times with {t:g} is not allowed: give seconds, 0 to {_LONGEST:g}")
    return tuple(times.tolist())
