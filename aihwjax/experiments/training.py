"""The description of a training run (spec: experiments, section 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from flax import nnx

from aihwjax import arguments
from aihwjax.errors import ConfigError, ModuleError, nearest
from aihwjax.experiments.data import Dataset, as_dataset
from aihwjax.experiments.losses import LossFunction, check_loss, loss_name
from aihwjax.experiments.own_metrics import Metric, check_metrics
from aihwjax.experiments.weighting import check_class_weights
from aihwjax.layer_rates import LayerRates, check_rates
from aihwjax.optim import AnalogOptimizer, check_fits, check_transformation
from aihwjax.rates import LearningRate, check_traceable

if TYPE_CHECKING:
    import optax


@arguments.answering
@dataclasses.dataclass(frozen=True, eq=False)
class BasicTraining:
    """Train a network on a data set and validate it after each epoch.

    An experiment only describes: it is frozen, and running it leaves its model as it is.

    Example:
        >>> import aihwjax as aj
        >>> from flax import nnx
        >>> model = aj.nn.AnalogSequential(
        ...     aj.nn.Flatten(), aj.nn.AnalogLinear(784, 10, rngs=nnx.Rngs(0)), aj.nn.LogSoftmax())
        >>> aj.BasicTraining(dataset=aj.MNIST10K, model=model).batch_size
        64

    Raises:
        ConfigError: If an argument is unknown or missing (with the nearest name), or has a value that is not allowed.
        DataError: If ``dataset`` is not a data set.
        ModuleError: If ``model`` is not a Flax NNX module.
    """

    dataset: Dataset | str | tuple[np.ndarray, ...]
    """What to learn: a data set, its name, or arrays ``(train_x, train_y, valid_x, valid_y)``, or the first two."""
    model: nnx.Module
    """The network, called as ``model(x, key=key)`` with ``x`` of shape ``(n, ...)``."""
    batch_size: int = 64
    """Examples in a training step."""
    loss_function: LossFunction = "NLLLoss"
    """A name, a loss class, or a callable ``loss(predictions, targets)`` that gives one number for a batch.

    Your own is called on the whole batch ``(n, ...)`` as you wrote it, on a last, partial one with its true
    rows; what it divides by is up to it. :func:`aihwjax.nn.losses.per_example` makes one of a function of each
    example.
    """
    epochs: int = 30
    """Passes over the training set."""
    learning_rate: LearningRate | LayerRates | Mapping[str, LearningRate] = 0.05
    """Step size of tiles and digital parameters: a finite number of at least 0, or a schedule from the step to one.

    Or such by path of a layer, ``{"layers/0": 0.0, "default": 0.1}``; what has the number 0 is frozen, see
    :func:`aihwjax.analog_sgd`.
    """
    optimizer: optax.GradientTransformation | AnalogOptimizer | None = None
    """Optimizer of the digital parameters; ``None``: plain gradient descent with ``learning_rate``.

    ``aihwjax.analog_optimizer(transformation)`` is one of inference tiles too; ``learning_rate`` is then that of other
    tiles alone.
    """
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)
    """Your own metrics by name: ``function(predictions, targets) -> number``, called after each epoch with
    NumPy arrays of the whole validation set. One named ``accuracy`` takes the place of the library's."""
    class_weights: Sequence[float] | np.ndarray | None = None
    """A number of at least 0 for each class, by which the loss of its examples counts.

    The loss of a batch, and of the validation set, is ``sum(weight * loss) / sum(weight)`` over its examples, with the
    weight of a class times the ``sample_weight`` of an example.
    """
    validate_every: int = 1
    """Validate after each epoch, after every second, ...; 0: never. Metrics of other epochs are of training alone."""
    accumulate: int = 1
    """Batches of ``batch_size`` whose gradients make one update, as one batch of all of their examples would."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", as_dataset(self.dataset))
        if isinstance(self.model, type) or not isinstance(self.model, nnx.Module):
            raise ModuleError(f"model={short(self.model)} is not allowed: give a Flax NNX module instance")
        check_whole("batch_size", self.batch_size, 1)
        check_whole("epochs", self.epochs, 0)
        check_loss(self.loss_function)
        rate = check_rates(self.learning_rate)
        object.__setattr__(self, "learning_rate", rate)
        check_fits(rate, self.model)
        for each in rate.schedules.values() if isinstance(rate, LayerRates) else [rate]:
            check_traceable(each)
        _check_optimizer(self.optimizer)
        object.__setattr__(self, "metrics", check_metrics(self.metrics))
        object.__setattr__(self, "class_weights", check_class_weights(self.class_weights, self.loss_function))
        check_whole("validate_every", self.validate_every, 0)
        check_whole("accumulate", self.accumulate, 1)

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

    def _further(self) -> dict[str, Any]:
        """Return the fields that few experiments have, where they have one."""
        weights = None if self.class_weights is None else np.asarray(self.class_weights).tolist()
        values = {"metrics": list(self.metrics), "class_weights": weights}
        counts = {"validate_every": self.validate_every, "accumulate": self.accumulate}
        return {name: value for name, value in values.items() if value} | {n: v for n, v in counts.items() if v != 1}

    def __str__(self) -> str:
        return (
            f"{type(self).__name__}(dataset={self.dataset}, batch_size={self.batch_size}, "
            f"loss_function={loss_name(self.loss_function)}, epochs={self.epochs}, "
            f"learning_rate={self.learning_rate}, model={self.model!r}"
            f"{''.join(f', {name}={value}' for name, value in self._further().items())})"
        )


# a dataclass writes its __init__ itself


def _check_optimizer(optimizer: object) -> None:
    if isinstance(optimizer, AnalogOptimizer):
        if optimizer.learning_rate is not None:
            raise ConfigError(
                f"optimizer has learning_rate={short(optimizer.learning_rate)}, which is not allowed: the "
                "learning_rate of the experiment is that of tiles which take none of the transformation"
            )
    elif optimizer is not None:
        check_transformation("optimizer", optimizer)


def check_whole(name: str, value: object, minimum: int) -> None:
    """Refuse what is no whole number, or too small.

    Args:
        name: What it is called.
        value: Anything.
        minimum: The smallest one that is allowed.

    Raises:
        ConfigError: In either case.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise ConfigError(f"{name}={value!r} is not allowed: give a whole number of at least {minimum}")


def short(value: object) -> str:
    """Return a value as one short line, for an error."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
