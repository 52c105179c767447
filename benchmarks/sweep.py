"""How fast does a sweep over device physics train in one compiled call, beside one network after the other?

Every network has a step size and a step noise of its own; the rest is the seed problem at batch 64.
"""

from __future__ import annotations

import dataclasses
import enum
import operator
import time
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from aihwjax import config as configs
from aihwjax import optim
from aihwjax.experiments import loop
from aihwjax.nn.losses import nll_loss
from aihwjax.random import Noise, NoiseEngine, derive, stream
from aihwjax.typing import Key
from benchmarks import digital, ours
from benchmarks.measure import Runner, Sample, interleave, timed
from benchmarks.problem import Digits, Problem, digits
from benchmarks.rates import Options
from benchmarks.record import Record

_T = TypeVar("_T")
_DIGITAL = digital.DigitalSetting(output_first=False, vector_width=None)
_STEPS = 30
"""Mini-batches of a round."""


def records(options: Options) -> list[Record]:
    """Measure sweeps of a few sizes with two devices; accelerators get larger ones."""
    sizes = (2,) if options.quick else (16,) if jax.default_backend() == "cpu" else (16, 64, 256)
    data = digits()
    return [
        record
        for device in ("ConstantStep", "SoftBounds")
        for size in sizes
        for record in compare(Problem(device=device, batch=64), size, data, options)
    ]


def compare(problem: Problem, size: int, data: Digits, options: Options) -> list[Record]:
    """Measure one sweep in both ways.

    Args:
        problem: What each network runs.
        size: Number of networks.
        data: The examples.
        options: Rounds and sizes.
    """
    part = data.cut(problem.batch * (2 if options.quick else _STEPS))
    sweeps = {way: Sweep(problem, part, size, way) for way in Way}
    runners: dict[str, Runner] = {way.value: runner for way, runner in sweeps.items()}
    yardstick = digital.DigitalRunner(problem, part, _DIGITAL, size)
    figures = interleave({"digital": yardstick, **runners}, 1, options.rounds)
    name = f"sweep/{problem.device}/batch{problem.batch}/{size} networks"
    in_one_call = max(Way.VMAP, Way.MAP, key=lambda way: figures[way.value].rate)
    return [
        Record(
            name=name + suffix,
            unit="examples/s",
            higher_is_better=True,
            ours=figures[way.value].rate,
            digital=figures["digital"].rate,
            rounds=options.rounds,
            our_setting=way.value,
            digital_setting=f"{Way.VMAP.value}, {_DIGITAL.name}",
            details={
                "compile_s": {other.value: runner.compile_s for other, runner in sweeps.items()},
                "ours": {other.value: dataclasses.asdict(figures[other.value]) for other in Way},
            },
        )
        for suffix, way in (("", in_one_call), (", one by one", Way.CALLS))
    ]


class Way(enum.Enum):
    """How the networks of a sweep are run."""

    VMAP = "vmap"
    """All at once, in one call."""
    MAP = "lax.map"
    """One after the other, in one call."""
    CALLS = "a call each"
    """One after the other, a call of one program each."""


class Sweep:
    """Networks that differ in the physics of their devices."""

    def __init__(self, problem: Problem, data: Digits, size: int, way: Way) -> None:
        """Build the networks and compile an epoch.

        Args:
            problem: What each network runs.
            data: Its training examples.
            size: Number of networks.
            way: How they are run.
        """
        self._size, self._batch, self._together = size, problem.batch, way is not Way.CALLS
        self._images, self._labels = jnp.asarray(data.images), jnp.asarray(data.labels)
        self._rng, self._epochs = np.random.default_rng(1), 0
        optimizer = optim.analog_sgd(problem.learning_rate)
        parts: list[optim.Training] = []

        def network(step_size: jax.Array, noise: jax.Array) -> tuple[loop.TrainState, nnx.State]:
            numbers = {"device.dw_min": step_size, "device.dw_min_std": noise}
            config = configs.replace(ours.tile_config(problem.device), numbers)
            model = ours.network(problem, config)
            parts.append(optim.take_apart(model))
            return (parts[-1].moving, optimizer.init(model)), parts[-1].fixed

        physics = jnp.geomspace(5e-4, 4e-3, size), jnp.linspace(0.1, 0.5, size)
        states, fixed = jax.jit(jax.vmap(network))(*physics)
        step = optim.training_step(_loss, optimizer, parts[0])

        def epoch(
            state: loop.TrainState, fixed: nnx.State, key: Key, images: jax.Array, labels: jax.Array, order: jax.Array
        ) -> tuple[loop.TrainState, jax.Array]:
            noise = stream(key, NoiseEngine.COUNTER)

            def body(state: loop.TrainState, rows: jax.Array) -> tuple[loop.TrainState, jax.Array]:
                own = derive(noise, state[1].step)
                *changed, loss = step(*state, fixed, own, images[rows], labels[rows])
                return (changed[0], changed[1]), loss

            return lax.scan(body, state, order)

        def in_turn(state: loop.TrainState, fixed: nnx.State, keys: Key, *data: jax.Array) -> Any:
            return lax.map(lambda one: epoch(*one, *data), (state, fixed, keys))

        ways = {Way.VMAP: jax.vmap(epoch, (0, 0, 0, None, None, None)), Way.MAP: in_turn, Way.CALLS: epoch}
        # as in fit
        jitted = jax.jit(ways[way], donate_argnums=0, compiler_options={"xla_cpu_prefer_vector_width": 512})
        self._states = [states] if self._together else _apart(states, size)
        self._fixed = [fixed] if self._together else _apart(fixed, size)
        start = time.perf_counter()
        arguments = (self._images, self._labels, self._order())
        self._epoch = jitted.lower(self._states[0], self._fixed[0], self._keys()[0], *arguments).compile()
        self.compile_s = time.perf_counter() - start
        """Seconds to trace and compile an epoch."""

    def _order(self) -> jax.Array:
        return digital.permutation(self._rng, len(self._labels), self._batch)

    def _keys(self) -> list[Key]:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), self._epochs), self._size)
        return [keys] if self._together else list(keys)

    def measure(self, epochs: int) -> Sample:
        """Go on for some epochs of all networks."""

        def work() -> float:
            losses: list[jax.Array] = []
            for _ in range(epochs):
                self._epochs += 1
                order, losses = self._order(), []
                for number, key in enumerate(self._keys()):
                    state, fixed = self._states[number], self._fixed[number]
                    arguments = (self._images, self._labels, order)
                    self._states[number], loss = self._epoch(state, fixed, key, *arguments)
                    losses.append(loss)
            return float(np.mean([loss.mean() for loss in losses]))

        return timed(work, epochs * len(self._labels) * self._size)


def _loss(model: nnx.Module, x: jax.Array, labels: jax.Array, key: Noise) -> jax.Array:
    return nll_loss(loop.call(model, x, key), labels).mean()


def _apart(states: _T, size: int) -> list[_T]:
    """Return the states of single networks."""
    return [jax.tree.map(operator.itemgetter(number), states) for number in range(size)]
