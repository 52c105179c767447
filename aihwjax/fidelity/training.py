"""Training cases: a network trained with several seeds, its last epoch compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from aihwjax import nn
from aihwjax.experiments import BasicTraining, fit
from aihwjax.experiments.data import Splits, by_name
from aihwjax.fidelity.agreement import Values, Verdict, combined, ratio
from aihwjax.fidelity.cases import TrainingCase, activation
from aihwjax.tile.config import TileConfig


def train_seeds(case: TrainingCase, config: TileConfig, seeds: int | None, seed: int) -> dict[str, Values]:
    """Train with several seeds.

    Args:
        case: What to train and what the reference got.
        config: The configuration of all tiles.
        seeds: How many; as many as the reference if not given.
        seed: Added to each seed.

    Returns:
        The metrics that the reference recorded, each ``(seed, epoch)``.

    Raises:
        DataError: If the experiment's data set or activation is unknown.
    """
    count = seeds or len(next(iter(case.runs.values())))
    runs = [train(case, config, 1000 * seed + number) for number in range(count)]
    return {name: np.asarray([[epoch[name] for epoch in run] for run in runs]) for name in case.runs}


def compare_seeds(case: TrainingCase, ours: Mapping[str, Values]) -> Verdict:
    """Compare loss and accuracy of the last epoch.

    Args:
        case: What the reference got.
        ours: From :func:`train_seeds`.
    """
    return combined(compare_runs(name, case.runs[name], ours[name]) for name in case.runs)


def train(case: TrainingCase, config: TileConfig, seed: int) -> list[dict[str, float]]:
    """Train the case's network once and return the compared metrics of each epoch."""
    about = case.experiment
    splits = by_name(about["dataset"]).load()
    data = Splits(
        splits.train_x[: about["n_train"]],
        splits.train_y[: about["n_train"]],
        splits.valid_x[: about["n_valid"]],
        splits.valid_y[: about["n_valid"]],
    )
    experiment = BasicTraining(
        dataset=about["dataset"],
        model=network(about, config, seed),
        batch_size=about["batch_size"],
        epochs=about["epochs"],
        learning_rate=about["learning_rate"],
    )
    _, metrics = fit(experiment, data, seed)
    return [{name: float(epoch[name]) for name in case.runs} for epoch in metrics]  # type: ignore[literal-required]


def network(about: Mapping[str, Any], config: TileConfig, seed: int) -> nnx.Module:
    """Build the network of a training case: analog layers with activations, log-softmax at the end."""
    name = about["activation"]
    kind = activation(name)
    rngs = nnx.Rngs(seed)
    layers: list[nnx.Module] = [nn.Flatten()]
    for inputs, outputs in zip(about["network"][:-1], about["network"][1:], strict=True):
        layers += [nn.AnalogLinear(inputs, outputs, config=config, rngs=rngs), kind()]
    return nn.AnalogSequential(*layers[:-1], nn.LogSoftmax())


def compare_runs(name: str, theirs: Values, ours: Values) -> Verdict:
    """Compare the last epoch of one metric, each ``(seed, epoch)``.

    The means may differ by ``4 sqrt(s^2/k + s'^2/k') + 0.02``, losses by 0.02 of the loss more.

    Args:
        name: Name of the metric; one that ends in ``loss`` is a loss.
        theirs: The reference's runs.
        ours: Our runs.
    """
    last, mine = np.asarray(theirs, np.float64)[:, -1], np.asarray(ours, np.float64)[:, -1]
    allowed = 4 * np.sqrt(last.var() / len(last) + mine.var() / len(mine)) + 0.02
    if name.endswith("loss"):
        allowed += 0.02 * abs(last.mean())
    worst = float(ratio(np.asarray(mine.mean() - last.mean()), np.asarray(allowed)))
    message = f"{name}: {mine.mean():.4f} against {last.mean():.4f} (allowed {allowed:.4f})"
    return Verdict(worst <= 1, worst, "" if worst <= 1 else message)
