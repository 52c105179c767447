"""LeNet-5 and the LSTM as plain Flax modules, trained by a compiled epoch: the digital yardstick of ``models``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from benchmarks.digital import DigitalSetting, permutation
from benchmarks.measure import Sample, timed
from benchmarks.problem import PIXELS, STEPS, UNITS, Digits, Network, Problem


class LeNet(nnx.Module):
    """LeNet-5 on rows of 784 pixels."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Build it."""
        self.first = nnx.Conv(1, 16, (5, 5), padding="VALID", rngs=rngs)
        self.second = nnx.Conv(16, 32, (5, 5), padding="VALID", rngs=rngs)
        self.third, self.fourth = nnx.Linear(512, 128, rngs=rngs), nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits."""
        x = nnx.max_pool(jnp.tanh(self.first(x.reshape(-1, 28, 28, 1))), (2, 2), (2, 2))
        x = nnx.max_pool(jnp.tanh(self.second(x)), (2, 2), (2, 2))
        return self.fourth(jnp.tanh(self.third(x.reshape(x.shape[0], -1))))


class Recurrent(nnx.Module):
    """An LSTM over sequences of pixels and a layer on its last output."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Build it."""
        self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(PIXELS, UNITS, rngs=rngs))
        self.head = nnx.Linear(UNITS, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits."""
        y: Any = self.rnn(x[:, : STEPS * PIXELS].reshape(-1, STEPS, PIXELS))
        return self.head(y[:, -1])


_MODELS: dict[Network, Callable[[nnx.Rngs], nnx.Module]] = {Network.LENET: LeNet, Network.LSTM: Recurrent}


class FlaxRunner:
    """A network of Flax in training: donated parameters, an epoch as one compiled scan, data on the device."""

    def __init__(self, problem: Problem, data: Digits, setting: DigitalSetting) -> None:
        """Build and compile.

        Args:
            problem: What to run.
            data: Its training examples.
            setting: The vector width of the compiler; the layout is Flax's.
        """
        self.setting = setting
        self._batch, self._rng = problem.batch, np.random.default_rng(1)
        self._images, self._labels = jnp.asarray(data.images), jnp.asarray(data.labels)
        graph, params, rest = nnx.split(_MODELS[problem.network](nnx.Rngs(0)), nnx.Param, ...)

        def loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
            logits = nnx.merge(graph, params, rest, copy=True)(x)  # type: ignore[operator]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        def run(params: Any, images: jax.Array, labels: jax.Array, order: jax.Array) -> tuple[Any, jax.Array]:
            def step(params: Any, rows: jax.Array) -> tuple[Any, jax.Array]:
                value, gradients = jax.value_and_grad(loss)(params, images[rows], labels[rows])
                return jax.tree.map(lambda p, g: p - problem.learning_rate * g, params, gradients), value

            return lax.scan(step, params, order)

        self._params = params
        options = {} if setting.vector_width is None else {"xla_cpu_prefer_vector_width": setting.vector_width}
        jitted = jax.jit(run, donate_argnums=0, compiler_options=options)
        start = time.perf_counter()
        self._epoch = jitted.lower(params, self._images, self._labels, self._order()).compile()
        self.compile_s = time.perf_counter() - start
        """Seconds to trace and compile an epoch."""

    def _order(self) -> jax.Array:
        return permutation(self._rng, len(self._labels), self._batch)

    def measure(self, epochs: int) -> Sample:
        """Go on for some epochs."""

        def work() -> float:
            losses = jnp.zeros(1)
            for _ in range(epochs):
                self._params, losses = self._epoch(self._params, self._images, self._labels, self._order())
            return float(losses[-1])

        return timed(work, epochs * len(self._labels))
