"""How accurate a network is as its chips grow older."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from aihwjax import arguments, nn
from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments import BasicTraining, fit
from aihwjax.experiments.data import MNIST10K
from aihwjax.inference.chip import model_of
from aihwjax.nn.over_time import OverTime, evaluate_over_time
from aihwjax.optim import analog_optimizer
from aihwjax.plot.chip_subject import ChipSubject, chip_config, chip_name
from aihwjax.plot.style import GREY, axes, drawn, legend_above
from aihwjax.plot.subject import Seed, key_of
from aihwjax.plot.times import checked_times, draw_times
from aihwjax.random import fold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tables: TypeAlias = OverTime | Mapping[str, OverTime] | Sequence[OverTime]
"""What :func:`aihwjax.evaluate_over_time` returned: once, several times, or with names."""


@arguments.answered
def compute_accuracy_over_time(
    subject: ChipSubject,
    *,
    times: Sequence[float] | None = None,
    chips: int = 10,
    hidden: int = 64,
    epochs: int = 4,
    key: Seed = 0,
) -> OverTime:
    """Train a small network on handwritten digits, program it onto chips, and evaluate them at several times.

    The network has 784 inputs, a hidden layer and 10 outputs, on inference tiles of the configuration, whose clip,
    remap and modifier take part in training. It learns the digits of :class:`aihwjax.MNIST10K` by Adam. For a network
    of your own take :func:`aihwjax.evaluate_over_time`, which returns the same table.

    Args:
        subject: Noise model, tile configuration with one, or the name of a preset or noise model.
        times: Seconds after programming, ascending; ``None``: from a second to a year, or the times that the noise
            model was measured at.
        chips: How many chips are programmed.
        hidden: Size of the hidden layer.
        epochs: Epochs of training.
        key: Key or seed of everything random.

    Raises:
        ConfigError: If the subject is not known, is no inference tile or has no noise model, or a time or a number is
            not allowed.
    """
    config, key = chip_config(subject), key_of(key)
    if not config.inference:
        raise ConfigError(
            f"device={type(config.device).__name__} is not allowed for this figure: give an inference tile, such as "
            "InferenceRPUConfig, or draw what aihwjax.evaluate_over_time returns for a network of your own"
        )
    seconds = checked_times(model_of(config), times).tolist()
    rngs = nnx.Rngs(fold(key, "model"))
    model = nn.AnalogSequential(
        nn.Flatten(),
        nn.AnalogLinear(784, hidden, config=config, rngs=rngs),
        nn.Tanh(),
        nn.AnalogLinear(hidden, 10, config=config, rngs=rngs),
        nn.LogSoftmax(),
    )
    experiment = BasicTraining(
        MNIST10K, model, batch_size=50, epochs=epochs, optimizer=analog_optimizer(optax.adam(2e-3))
    )
    trained, _ = fit(experiment, key=fold(key, "training"), progress=False)
    splits = MNIST10K.load()
    unseen = jnp.asarray(splits.valid_x), jnp.asarray(splits.valid_y)
    return evaluate_over_time(trained, unseen, seconds, chips, fold(key, "chips"))


@arguments.answered
@drawn
def plot_accuracy_over_time(
    tables: Tables | ChipSubject, ax: Axes | None = None, *, exact: float | None = None
) -> Figure:
    """Draw the mean accuracy of chips over time, with the standard deviation and the range over chips.

    A metric other than the accuracy is drawn under its name.

    Args:
        tables: From :func:`aihwjax.evaluate_over_time`; several in a dictionary with their names, or in a list. Of a
            noise model, tile configuration with one, or name of a preset or noise model, a small network is trained
            with the defaults of :func:`compute_accuracy_over_time`.
        ax: Where to draw; by default in a new figure.
        exact: Value of the metric with exact weights, for a line to compare with.

    Raises:
        ConfigError: If the subject is not known or has no noise model, or is no inference tile.
        DataError: If there is no table, or they are of different metrics.
        MissingExtraError: If matplotlib is not installed.
    """
    figure, ax = axes(ax)
    title, named = _named(tables)
    metrics = {table.name for table in named.values()}
    if len(metrics) > 1:
        raise DataError(
            f"tables of different metrics, {', '.join(sorted(metrics))}, have no common axis: draw each alone"
        )
    (metric,) = metrics
    unit = 100.0 if metric == "accuracy" else 1.0
    for name, table in named.items():
        (line,) = ax.plot(table.times, unit * table.mean, "o-", ms=2.5, label=name)
        colour = line.get_color()
        low, high = unit * (table.mean - table.std), unit * (table.mean + table.std)
        ax.fill_between(table.times, low, high, color=colour, alpha=0.25, lw=0)
        for end in (table.values.min(axis=0), table.values.max(axis=0)):
            ax.plot(table.times, unit * end, ":", color=colour, lw=0.6)
    handles = ax.get_legend_handles_labels()[0] if len(named) > 1 else []
    if exact is not None:
        handles.append(ax.axhline(unit * exact, color=GREY, ls="--", lw=0.8, label="exact weights"))
    handles += ax.plot([], [], ":", color=GREY, lw=0.6, label="lowest and highest")
    ax.set(ylabel="accuracy (%)" if metric == "accuracy" else metric.replace("_", " ").replace("$", r"\$"), title=title)
    draw_times(ax, np.unique(np.concatenate([table.times for table in named.values()])))
    legend_above(ax, handles)
    return figure


def _named(tables: Tables | ChipSubject) -> tuple[str, dict[str, OverTime]]:
    """Return the title of the axes, and tables by name."""
    if isinstance(tables, OverTime):
        return "", {"chips": tables}
    if isinstance(tables, Mapping):
        named = dict(tables)
    elif isinstance(tables, Sequence) and not isinstance(tables, str):
        named = {f"chips {number}": table for number, table in enumerate(tables, 1)}
    else:
        return chip_name(tables), {"chips": compute_accuracy_over_time(tables)}
    if not named:
        raise DataError("there is no table: give what aihwjax.evaluate_over_time returns")
    for name, table in named.items():
        if not isinstance(table, OverTime):
            raise DataError(f"{name}={type(table).__name__} is no table: give what aihwjax.evaluate_over_time returns")
    return "", named
