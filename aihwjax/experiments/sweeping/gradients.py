"""Gradients of a training run: how the loss at its end depends on numbers of the devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from aihwjax import arguments
from aihwjax.errors import ConfigError
from aihwjax.experiments.batches import Split
from aihwjax.experiments.data import Dataset, Splits
from aihwjax.experiments.fitting import run_key_of
from aihwjax.experiments.sweeping.engine import Engine
from aihwjax.experiments.sweeping.fields import RATE, is_field
from aihwjax.experiments.sweeping.networks import Networks
from aihwjax.experiments.sweeping.plan import grouped
from aihwjax.experiments.sweeping.points import is_number, numeric, points_of
from aihwjax.experiments.sweeping.running import seeds_of
from aihwjax.experiments.training import BasicTraining
from aihwjax.layer_rates import parted
from aihwjax.pulses import UpdateMode
from aihwjax.typing import Key

_MODE = "update_mode"


@arguments.answering
@dataclass(frozen=True)
class LossGradient:
    """The loss at the end of a training run and its derivatives, of several networks."""

    losses: Float[np.ndarray, " seeds"]
    """Loss of each network."""
    slopes: dict[str, Float[np.ndarray, " seeds"]]
    """Its derivative by path, of each network."""

    @property
    def loss(self) -> float:
        """The mean loss."""
        return float(self.losses.mean())

    @property
    def gradient(self) -> dict[str, float]:
        """The mean derivatives, by path."""
        return {path: float(slopes.mean()) for path, slopes in self.slopes.items()}

    @property
    def error(self) -> dict[str, float]:
        """Standard errors of the mean derivatives, by path; NaN for one network."""
        count = len(self.losses)
        if count < 2:
            return dict.fromkeys(self.slopes, float("nan"))
        return {path: float(slopes.std(ddof=1) / np.sqrt(count)) for path, slopes in self.slopes.items()}

    def __str__(self) -> str:
        gradient, error = self.gradient, self.error
        lines = [f"{path}  {gradient[path]:.4g} ± {error[path]:.2g}" for path in self.slopes]
        return "\n".join([f"loss  {self.loss:.4g} ({len(self.losses)} networks)", *lines])


@arguments.answered
def training_gradient(
    experiment: BasicTraining,
    paths: Sequence[str],
    seeds: int | Sequence[int] = 8,
    *,
    data: Splits | Dataset | tuple[np.ndarray, ...] | None = None,
    way: str | None = None,
) -> Callable[..., LossGradient]:
    """Return a function that trains networks and differentiates their loss at the end with respect to device numbers.

    The networks are those of :func:`aihwjax.sweep`: of a configuration, a key and a seed. Their weights
    are the same, pulse for pulse; derivatives go through forward and backward products, the steps of the devices and
    the spread of their parameters, and straight through the pulses (docs: gradients of training runs). The cost is that
    of one training run for the loss and about two for each path. The loss is that on the validation set, or on the
    training set where there is none. Meant for short runs: derivatives of long ones are noisy.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> rng = np.random.default_rng(0)
        >>> data = rng.normal(size=(32, 4)).astype("float32"), rng.integers(0, 3, 32)
        >>> config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(dw_min=0.01))
        >>> layer = aj.nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0))
        >>> model = aj.nn.AnalogSequential(layer, aj.nn.LogSoftmax())
        >>> experiment = aj.BasicTraining(data, model, batch_size=8, epochs=2)
        >>> gradient = aj.training_gradient(experiment, ["device.up_down"], seeds=4)
        >>> found = gradient({"device.up_down": 0.2}, key=0)
        >>> found.losses.shape, sorted(found.gradient)
        ((4,), ['device.up_down'])

    Args:
        experiment: What is trained; it stays as it is.
        paths: Numbers of the configurations of layers, as in a sweep; or ``"learning_rate"``, if that is a number.
        seeds: Networks, or their numbers.
        data: As for :func:`aihwjax.fit`.
        way: ``"map"``: the networks one after the other; ``"vmap"``: side by side; ``None``: the first on a CPU, the
            second on an accelerator.

    Returns:
        A function ``(values, key=0) -> LossGradient``: values by path, of all paths. Other values, another key: the
        same program.

    Raises:
        ConfigError: If a path does not exist (with the nearest name) or is no number of the compiled program, or an
            argument is not allowed; the function it returns, if a value is not allowed or a path is missing.
        DataError: If the data do not fit the model, or come as a stream.
    """
    if isinstance(paths, str) or not isinstance(paths, Sequence) or not paths:
        raise ConfigError(f"paths={paths!r} is not allowed: give a list such as ['device.up_down']")
    engine = Engine(experiment, data, 0, None, way)
    numbers = seeds_of(seeds)
    compiled: dict[str, Callable[..., tuple[jax.Array, dict[str, jax.Array]]]] = {}

    def compute(values: Mapping[str, float], key: Key | int = 0) -> LossGradient:
        if not isinstance(values, Mapping) or set(values) != set(paths):
            given = list(values) if isinstance(values, Mapping) else values
            raise ConfigError(f"values={given!r} is not allowed: give a dictionary with {', '.join(paths)}")
        point = _checked(experiment, values)
        if not compiled:
            compiled["program"] = _program(engine, point)
        keyed = run_key_of(key)
        keys = jax.vmap(lambda seed: jax.random.fold_in(keyed, seed))(jnp.asarray(numbers, jnp.uint32))
        own = {path: jnp.float32(values[path]) for path in paths}
        losses, slopes = jax.device_get(compiled["program"](own, keys))
        return LossGradient(losses, {path: slopes[path] for path in paths})

    return compute


def _checked(experiment: BasicTraining, values: Mapping[str, float]) -> dict[str, object]:
    """Return the configuration of the networks, whose updates have derivatives."""
    points_of(experiment, [dict(values)])
    for path, value in values.items():
        if path == RATE and not is_number(experiment.learning_rate):
            raise ConfigError(f"{RATE!r} is not allowed, because that of the experiment is no number: leave it out")
        if not numeric(experiment, path, value) or (is_field(experiment, path) and path != RATE):
            raise ConfigError(f"{path!r} is not allowed: give a number of a layer's configuration, or {RATE!r}")
    point = {**values, _MODE: UpdateMode.DIFFERENTIABLE}
    return points_of(experiment, [point])[0]


def _program(
    engine: Engine, point: Mapping[str, object]
) -> Callable[[dict[str, jax.Array], Key], tuple[jax.Array, dict[str, jax.Array]]]:
    """Return the compiled function of values and keys, of loss and derivatives of each network."""
    part = engine.part(grouped(engine.experiment, [point], [0])[0])
    networks, (train, valid) = part.networks, engine.on_device(part.experiment)
    (_, rate), epochs = parted(engine.experiment.learning_rate), engine.experiment.epochs

    @jax.jit
    def program(
        start: object, values: dict[str, jax.Array], keys: Key, train: Split, data: Split
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        def one(key: Key) -> tuple[jax.Array, dict[str, jax.Array]]:
            return _differentiated(networks, start, values, rate, key, epochs, train, data)

        return lax.map(one, keys) if engine.way == "map" else jax.vmap(one)(keys)

    template = networks.template()
    return lambda values, keys: program(template, values, keys, train, train if valid is None else valid)


def _differentiated(
    networks: Networks,
    start: object,
    values: dict[str, jax.Array],
    rate: object,
    key: Key,
    epochs: int,
    train: Split,
    data: Split,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Return the loss of one network and its derivatives, in forward mode: nothing of the run has to be kept."""

    def loss(values: dict[str, jax.Array]) -> jax.Array:
        of_layers = {path: value for path, value in values.items() if path != RATE}
        return networks.final_loss(start, of_layers, values.get(RATE, rate), key, epochs, train, data)

    places = list(values)
    basis = {path: jnp.eye(len(places), dtype=jnp.float32)[i] for i, path in enumerate(places)}
    found, slopes = jax.vmap(lambda along: jax.jvp(loss, (values,), (along,)), out_axes=(None, 0))(basis)
    return found, {path: slopes[i] for i, path in enumerate(places)}
