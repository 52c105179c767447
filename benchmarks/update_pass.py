"""What does the pulsed update of one 256 x 784 tile cost, and which part of it?

Inputs and gradients are those of the seed network's first layer on its first examples. The parts are
found by timing programs that stop early: after the plan of the pulse trains, after drawing and packing
them, after the passes over the crosspoints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aihwjax import random, tile
from aihwjax.devices.base import PulsedDevice
from aihwjax.random import NoiseEngine, Stream
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import working_device
from aihwjax.tile.pulsed_update import bit_lines, planning, trains
from aihwjax.tile.state import TileState
from benchmarks import digital, ours, rates
from benchmarks.measure import Sample, interleave, timed
from benchmarks.peer import Peer
from benchmarks.problem import BATCHES, DEVICES, Problem, Task, digits
from benchmarks.rates import Options
from benchmarks.record import Record

_RATE = 0.05


class Pairs(NamedTuple):
    """What reaches the tile, for all steps."""

    x: jax.Array
    """Inputs ``(steps, batch, in)``."""
    d: jax.Array
    """Gradients at the outputs ``(steps, batch, out)``."""


def pairs(batch: int, steps: int) -> Pairs:
    """Return inputs and gradients of the first layer of the untrained seed network.

    Args:
        batch: Vectors in a step.
        steps: Number of steps.
    """
    part = digits().cut(batch * steps)
    x, labels = jnp.asarray(part.images), jnp.asarray(part.labels)
    (weights, bias), *rest = digital.parameters(Problem().layers, output_first=True)
    products = x @ weights.T + bias

    def total(z: jax.Array) -> jax.Array:
        outputs = digital.logits(rest, jax.nn.sigmoid(z), output_first=True)
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1).sum() / batch

    d = jax.grad(total)(products)
    return Pairs(x.reshape(steps, batch, -1), d.reshape(steps, batch, -1))


Step = Callable[[TileState, jax.Array, jax.Array, Stream], tuple[TileState, jax.Array]]
"""``(state, x, d, stream) -> (state, a number that depends on the work)``."""


def stages(config: TileConfig) -> dict[str, Step]:
    """Return the programs that are timed, from the shortest to the whole update."""
    device = working_device(config)
    assert isinstance(device, PulsedDevice)

    def planned(state: TileState, x: jax.Array, d: jax.Array, stream: Stream) -> trains.Trains:
        rate = jnp.float32(_RATE)
        return trains.plan(config.update, device.weight_granularity(), x, d, rate, stream, config.reference_quirks)

    def plan(state: TileState, x: jax.Array, d: jax.Array, stream: Stream) -> tuple[TileState, jax.Array]:
        train = planned(state, x, d, stream)
        return state, train.columns.sum() + train.rows.sum()

    def pack(state: TileState, x: jax.Array, d: jax.Array, stream: Stream) -> tuple[TileState, jax.Array]:
        lines = bit_lines.lay_out(planned(state, x, d, stream), x, d)
        count = min(-(-x.shape[0] // bit_lines.BITS), 8)
        words = bit_lines.pack(lines, jnp.int32(0), count, stream)
        return state, (words.fires.sum() + words.negative.sum()).astype(jnp.float32)

    def whole(state: TileState, x: jax.Array, d: jax.Array, stream: Stream) -> tuple[TileState, jax.Array]:
        return tile.update(config, state, x, d, jnp.float32(_RATE), stream), jnp.float32(0)

    def plain(state: TileState, x: jax.Array, d: jax.Array, stream: Stream) -> tuple[TileState, jax.Array]:
        return dataclasses.replace(state, weights=state.weights - _RATE * (d.T @ x)), jnp.float32(0)

    return {"digital": plain, "plan": plan, "plan and pack": pack, "ours": whole}


class StepRunner:
    """A scan of one kind of step over all pairs; the state goes on."""

    def __init__(self, step: Step, state: TileState, data: Pairs) -> None:
        """Compile the scan.

        Args:
            step: What is done with each pair.
            state: The tile at the beginning.
            data: All pairs.
        """

        def run(state: TileState, data: Pairs, key: jax.Array) -> tuple[TileState, jax.Array]:
            noise = random.stream(key, NoiseEngine.COUNTER)

            def one(carry: TileState, item: tuple[jax.Array, Pairs]) -> tuple[TileState, jax.Array]:
                number, pair = item
                return step(carry, pair.x, pair.d, noise.child(number))

            state, seen = lax.scan(one, state, (jnp.arange(len(data.x), dtype=jnp.uint32), data))
            return state, seen.sum() + state.weights[0, 0]

        self._state, self._data = jax.tree.map(jnp.copy, state), data
        key = jax.random.key(0)
        self._run = jax.jit(run, donate_argnums=0).lower(self._state, data, key).compile()

    def measure(self, epochs: int) -> Sample:
        """Go on for some passes over the pairs."""

        def work() -> float:
            result = jnp.float32(0)
            for epoch in range(epochs):
                self._state, result = self._run(self._state, self._data, jax.random.key(epoch))
            return float(result)

        steps, batch, _ = self._data.x.shape
        return timed(work, epochs * steps * batch)


def character(config: TileConfig, state: TileState, data: Pairs) -> dict[str, float]:
    """Return what the pulses of these pairs are like, as means over steps."""
    device = working_device(config)
    assert isinstance(device, PulsedDevice)

    def one(_: None, pair: Pairs) -> tuple[None, tuple[jax.Array, ...]]:
        stream = random.stream(jax.random.key(0), NoiseEngine.COUNTER)
        rate = jnp.float32(_RATE)
        granularity, quirks = device.weight_granularity(), config.reference_quirks
        train = trains.plan(config.update, granularity, pair.x, pair.d, rate, stream, quirks)
        lines = bit_lines.lay_out(train, pair.x, pair.d)
        decision = planning.plan(device, state.device, train, lines.total, state.weights)
        chance = jnp.minimum(train.rows, 1.0)
        silent = jnp.prod((1 - chance) ** train.length[:, None], axis=0)
        passes = lines.total / jnp.maximum(decision.chunk, 1)
        return None, (lines.total, jnp.mean(1 - silent), decision.fine, passes)

    means = [float(np.mean(values)) for values in jax.jit(lambda data: lax.scan(one, None, data)[1])(data)]
    names = ("pulse_rows", "share_of_rows_that_fire", "share_at_first_order", "passes")
    return dict(zip(names, means, strict=True))


def records(options: Options) -> list[Record]:
    """Measure the update at every device and batch size, in microseconds."""
    settings = [(device, batch) for device in DEVICES for batch in BATCHES]
    if options.peer is None:
        return [record(device, batch, None, options) for device, batch in settings]
    with Peer(options.peer) as peer:
        return [record(device, batch, peer, options) for device, batch in settings]


def record(device: str, batch: int, peer: Peer | None, options: Options) -> Record:
    """Measure one setting.

    Args:
        device: Name of the device.
        batch: Vectors in an update.
        peer: The running reference, if it takes part.
        options: Rounds and sizes.
    """
    steps = 4 if options.quick else {64: 125, 8: 500}.get(batch, 1000)
    data = pairs(batch, steps)
    config = ours.tile_config(device)
    state = tile.init(config, jax.random.key(0), (data.d.shape[2], data.x.shape[2]))
    runners = {name: StepRunner(step, state, data) for name, step in stages(config).items()}
    problem = Problem(Task.UPDATE, device, batch, (data.x.shape[2], data.d.shape[2]), _RATE)
    arrays = {"images": _flat(data.x), "gradients": _flat(data.d)}
    reference = (
        {}
        if peer is None
        else {name: runner for name, runner in peer.prepare(problem, arrays).items() if runner.setting.single_tile}
    )
    figures = interleave({**runners, **reference}, 1, options.rounds, [list(reference)])
    micros = {name: 1e6 * batch / figure.rate for name, figure in figures.items()}
    best = rates.best({name: figures[name] for name in reference}) if reference else ""
    parts = {
        "plan": micros["plan"],
        "draw and pack": micros["plan and pack"] - micros["plan"],
        "passes over crosspoints": micros["ours"] - micros["plan and pack"],
    }
    return Record(
        name=problem.name,
        unit="µs/update",
        higher_is_better=False,
        ours=micros["ours"],
        peer=micros[best] if best else None,
        digital=micros["digital"],
        rounds=options.rounds,
        peer_setting=best,
        details={
            "parts_us": parts,
            "pulses": character(config, state, data),
            "spread": {name: figure.spread for name, figure in figures.items()},
        },
    )


def _flat(array: jax.Array) -> np.ndarray:
    return np.asarray(array).reshape(-1, array.shape[-1])
