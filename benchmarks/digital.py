"""Plain digital training of the same network in JAX: the yardstick for what analog physics costs.

It is given its best setting. All settings share what was found to win on CPU: parameters as a plain
pytree that is donated, an epoch as one compiled scan, data on the device and gathered by index inside
the scan, the order drawn on the host (``jax.random.permutation`` costs several milliseconds an epoch).
Two choices depend on batch size and processor and are tried when a network is prepared: the layout of
the weights, and the vector width of the compiler.

The output-first layout puts the weights on the left, ``(w @ x.T).T``: written as ``x @ w.T`` it is four
times slower at batch 1, because the compiler keeps a transposed copy of the weights.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.measure import Sample, interleave, timed
from benchmarks.problem import Digits, Network, Problem, Task, initial_weights

if TYPE_CHECKING:
    from benchmarks import flax_models

Parameters: TypeAlias = list[tuple[jax.Array, jax.Array]]
"""Weights and bias of each layer."""


@dataclasses.dataclass(frozen=True)
class DigitalSetting:
    """A way to write the digital program."""

    output_first: bool
    """Weights are ``(out, in)`` instead of ``(in, out)``."""
    vector_width: int | None
    """``xla_cpu_prefer_vector_width``, or the compiler's own choice."""

    @property
    def name(self) -> str:
        """How records name the setting."""
        layout = "(out, in) weights" if self.output_first else "(in, out) weights"
        return layout if self.vector_width is None else f"{layout}, vector width {self.vector_width}"


def settings() -> list[DigitalSetting]:
    """Return all settings that are tried on this platform."""
    widths = (None, 512) if jax.default_backend() == "cpu" else (None,)
    return [DigitalSetting(output_first, width) for width in widths for output_first in (True, False)]


def parameters(layers: tuple[int, ...], output_first: bool) -> Parameters:
    """Return initial parameters in the layout asked for."""
    pairs = initial_weights(layers)
    return [(jnp.array(w if output_first else w.T), jnp.array(b)) for w, b in pairs]


def logits(params: Parameters, x: jax.Array, output_first: bool) -> jax.Array:
    """Return the network's outputs before the log-softmax.

    Args:
        params: Weights and biases.
        x: Inputs ``(n, in)``.
        output_first: Layout of the weights.
    """
    for number, (weights, bias) in enumerate(params):
        x = ((weights @ x.T).T if output_first else x @ weights) + bias
        if number < len(params) - 1:
            x = jax.nn.sigmoid(x)
    return x


def mean_loss(params: Parameters, x: jax.Array, labels: jax.Array, output_first: bool) -> jax.Array:
    """Return the mean negative log-likelihood of ``labels`` ``(n,)``."""
    z = logits(params, x, output_first)
    picked = jnp.take_along_axis(z, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - picked)


Epoch: TypeAlias = Callable[[Parameters, jax.Array, jax.Array, jax.Array], tuple[Parameters, jax.Array]]
"""``(params, images, labels, order (steps, batch)) -> (params, loss of each step)``."""


def epoch(problem: Problem, output_first: bool) -> Epoch:
    """Return the function of one epoch, not compiled yet."""

    def train(params: Parameters, x: jax.Array, labels: jax.Array) -> tuple[Parameters, jax.Array]:
        loss, gradients = jax.value_and_grad(mean_loss)(params, x, labels, output_first)
        return jax.tree.map(lambda p, g: p - problem.learning_rate * g, params, gradients), loss

    def forward(params: Parameters, x: jax.Array, labels: jax.Array) -> tuple[Parameters, jax.Array]:
        return params, jnp.mean(jax.nn.log_softmax(logits(params, x, output_first)))

    step = train if problem.task is Task.TRAIN else forward

    def run(params: Parameters, images: jax.Array, labels: jax.Array, order: jax.Array) -> tuple[Parameters, jax.Array]:
        return lax.scan(lambda p, rows: step(p, images[rows], labels[rows]), params, order)

    return run


def permutation(rng: np.random.Generator, examples: int, batch: int) -> jax.Array:
    """Return the order of an epoch, ``(steps, batch)``."""
    return jnp.asarray(rng.permutation(examples).reshape(-1, batch).astype(np.int32))


class DigitalRunner:
    """A digital network under one setting, or several of them in one call."""

    def __init__(self, problem: Problem, data: Digits, setting: DigitalSetting, networks: int | None = None) -> None:
        """Build the network and put the data on the device.

        Args:
            problem: What to run.
            data: Its training examples.
            setting: How the program is written.
            networks: Number of networks under ``vmap``; ``None``: one, without it.
        """
        self.setting = setting
        self._problem = problem
        self._networks = networks or 1
        data.whole_batches(problem.batch)
        self._images, self._labels = jnp.asarray(data.images), jnp.asarray(data.labels)
        self._params = parameters(problem.layers, setting.output_first)
        self._rng = np.random.default_rng(1)
        options = {} if setting.vector_width is None else {"xla_cpu_prefer_vector_width": setting.vector_width}
        run = epoch(problem, setting.output_first)
        if networks is not None:
            self._params = jax.tree.map(lambda array: jnp.stack([array] * networks), self._params)
            run = jax.vmap(run, (0, None, None, None))
        jitted = jax.jit(run, donate_argnums=0, compiler_options=options)
        start = time.perf_counter()
        self._epoch = jitted.lower(self._params, self._images, self._labels, self._order()).compile()
        self.compile_s = time.perf_counter() - start
        """Seconds to trace and compile an epoch."""

    def _order(self) -> jax.Array:
        return permutation(self._rng, len(self._labels), self._problem.batch)

    def measure(self, epochs: int) -> Sample:
        """Go on for some epochs."""

        def work() -> float:
            losses = jnp.zeros(1)
            for _ in range(epochs):
                self._params, losses = self._epoch(self._params, self._images, self._labels, self._order())
            return float(np.asarray(losses)[..., -1].mean())

        return timed(work, epochs * len(self._labels) * self._networks)


def best(problem: Problem, data: Digits, epochs: int = 1, tries: int = 3) -> DigitalRunner | flax_models.FlaxRunner:
    """Return a fresh network under the setting that is fastest here and now.

    Args:
        problem: What to run.
        data: Its training examples.
        epochs: Passes over the data in each try.
        tries: Tries of each setting, interleaved; the median counts.
    """
    from benchmarks import flax_models

    kind: Any = DigitalRunner if problem.network is Network.CLASSIFIER else flax_models.FlaxRunner
    tried = [s for s in settings() if s.output_first or problem.network is Network.CLASSIFIER]
    runners = {setting: kind(problem, data, setting) for setting in tried}
    figures = interleave({setting.name: runner for setting, runner in runners.items()}, epochs, tries)
    return kind(problem, data, max(runners, key=lambda setting: figures[setting.name].rate))
