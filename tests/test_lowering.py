"""Everything lowers for every platform, and compiles once while only numbers change.

What is public is called by ``tests/shapes/program.py``, whose own test sees to it that nothing is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxpr_as_fun

import aihwjax as aj
from aihwjax import config as configs
from aihwjax import nn, tile
from aihwjax.experiments import loop
from aihwjax.experiments.sweeping.networks import Networks
from aihwjax.nn import many_chips
from tests.experiments.small import experiment
from tests.helpers import MODES
from tests.marks import some
from tests.shapes.program import CALLS, KEY

SHAPE = (12, 10)
ELSEWHERE = ("cuda", "tpu")
COMPUTED = ("over time", "searches", "files", "wrong")
"""Calls that need values, not shapes: the programs of the first are lowered below; the second takes gradients of what
``chips`` calls, the third writes weights, and the last is wrong on purpose."""
QUICK = ("numbers", "losses", "activations", "training: analog bias")


def step(
    config: aj.TileConfig, state: tile.TileState, x: jax.Array, d: jax.Array, rate: jax.Array, key: jax.Array
) -> tuple[tile.TileState, jax.Array, jax.Array]:
    """All that a training step asks of a tile."""
    y = tile.forward(config, state, x, jax.random.fold_in(key, 0))
    g = tile.backward(config, state, d, jax.random.fold_in(key, 1))
    state = tile.update(config, state, x, d, rate, jax.random.fold_in(key, 2))
    return tile.end_of_batch(config, state, jax.random.fold_in(key, 3)), y, g


@pytest.mark.parametrize("platform", ["cuda", "tpu", "cpu"])
@pytest.mark.parametrize("mode", some(MODES, [aj.UpdateMode.AGGREGATED], ()))
@pytest.mark.parametrize(
    "device",
    [
        aj.ConstantStepDevice(),
        aj.ExpStepDevice(write_noise_std=1.0, diffusion=0.01),
        aj.DynamicTransferCompound(unit_cell_devices=[aj.SoftBoundsDevice(), aj.LinearStepDevice()]),
        aj.MixedPrecisionCompound(device=aj.OneSidedUnitCell(unit_cell_devices=[aj.ExpStepDevice()], refresh_every=1)),
    ],
    ids=["constant", "exponential", "dynamic", "mixed"],
)
def test_lowers_for(platform: str, mode: aj.UpdateMode, device: aj.devices.Device, key: jax.Array) -> None:
    config = aj.SingleRPUConfig(device=device, update_mode=mode)
    state = tile.init(config, key, SHAPE)
    x, d = jnp.ones((8, SHAPE[1])), jnp.ones((8, SHAPE[0]))
    leaves, tree = jax.tree.flatten((config, state, x, d, jnp.float32(0.1)))

    def flat(key: jax.Array, *leaves: jax.Array) -> list[jax.Array]:
        return jax.tree.leaves(step(*jax.tree.unflatten(tree, leaves), key))

    module = jax.export.export(jax.jit(flat), platforms=[platform])(key, *map(jnp.asarray, leaves))
    assert platform in module.platforms
    products = [line for line in module.mlir_module().splitlines() if "stablehlo.dot_general" in line]
    assert len(products) >= 2  # forward and backward
    # else GPUs and TPUs would round their factors to 10 and 7 bits
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_changing_numbers_does_not_recompile(key: jax.Array) -> None:
    compiled = jax.jit(step)
    config = aj.SingleRPUConfig()
    state = tile.init(config, key, SHAPE)
    x, d = jnp.ones((8, SHAPE[1])), jnp.ones((8, SHAPE[0]))
    changes = [
        {},
        {"device.dw_min": 0.1, "device.dw_min_std": 2.0, "device.w_max": 0.3},
        {"update.desired_bl": 5, "update.um_grad_scale": 0.5},
        {"forward.inp_res": 0.1, "forward.out_noise": 0.5, "forward.out_bound": 1.0, "forward.max_bm_factor": 3},
        {"backward.out_res": 20, "backward.out_scale": 2},
    ]
    for i, change in enumerate(changes):
        changed = configs.replace(config, change)
        jax.block_until_ready(compiled(changed, state, x * i, d, jnp.float32(0.1 * i), jax.random.fold_in(key, i)))
    assert compiled._cache_size() == 1


def check(text: str, digital: int = 0) -> None:
    """Refuse products in less than single precision but for so many: digital ones, in what JAX has by default."""
    products = [line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|convolution)\b", line)]
    rounded = [line for line in products if not re.search(r"HIGHEST\W[^=]*HIGHEST", line)]
    assert len(rounded) <= digital, rounded[:3]


def everything(call: Callable[[jax.Array], Any]) -> str:
    """Return the lowered program of a call, with the results of all of its steps so that none is dropped."""
    closed = jax.jit(call).trace(KEY).jaxpr
    results = [var for step in closed.jaxpr.eqns for var in step.outvars if type(var).__name__ != "DropVar"]
    names = closed.jaxpr.debug_info._replace(result_paths=None)
    whole = closed.replace(jaxpr=closed.jaxpr.replace(outvars=results, debug_info=names))
    traced = jax.jit(jaxpr_as_fun(whole)).trace(*(var.aval for var in whole.jaxpr.invars))
    assert len(traced.jaxpr.jaxpr.outvars) > 20
    return traced.lower(lowering_platforms=ELSEWHERE).as_text()


@pytest.mark.parametrize("name", some([name for name in CALLS if name not in COMPUTED], QUICK, ()))
def test_everything_public_lowers(name: str) -> None:
    # those of a low-rank part, and those of a user's own functions
    digital = {"generals": 4, "training: own": 48}
    check(everything(CALLS[name]), digital.get(name, 0))


class CaughtError(Exception):
    """Traced programs, instead of what would run them."""

    def __init__(self, *programs: Any) -> None:
        self.programs = programs


def lowered(run: Callable[[], Any]) -> None:
    """Lower the programs that a run would compile."""
    with pytest.raises(CaughtError) as caught:
        run()
    for program in caught.value.programs:
        check(program.lower(lowering_platforms=ELSEWHERE).as_text())


@pytest.mark.slow
def test_updates_with_derivatives_lower() -> None:
    config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(), update_mode=aj.UpdateMode.DIFFERENTIABLE)

    def loss(config: aj.TileConfig, x: jax.Array, rate: jax.Array) -> jax.Array:
        state = tile.init(config, KEY, SHAPE)
        return (tile.update(config, state, x, jnp.ones((8, SHAPE[0])), rate, KEY).weights ** 2).sum()

    traced = jax.jit(jax.grad(loss, (0, 1))).trace(config, jnp.ones((8, SHAPE[1])), jnp.float32(0.1))
    check(traced.lower(lowering_platforms=ELSEWHERE).as_text())


@pytest.mark.slow
def test_training_lowers(monkeypatch: pytest.MonkeyPatch) -> None:
    def caught(program: Any, state: Any, fixed: Any, rate: Any, train: Any, valid: Any, key: Any, turn: Any) -> None:
        epoch = loop.train_epoch.trace(program, state, fixed, rate, train, key, turn)
        raise CaughtError(epoch, loop.validate.trace(program, state[0], fixed, valid, key, turn))

    monkeypatch.setattr(loop, "epoch", caught)
    lowered(lambda: aj.fit(experiment(aj.SingleRPUConfig()), progress=False))


@pytest.mark.parametrize("way", some(["map", "vmap"], (), ()))
def test_sweeps_lower(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    def caught(self: Networks, values: dict[str, np.ndarray], keys: jax.Array) -> None:
        numbers = {path: jnp.asarray(value) for path, value in values.items()}
        start = self._start[1], numbers, keys
        drawn = jax.eval_shape(self._draw, *start)
        rest = numbers["learning_rate"], keys, self._train, self._valid, jnp.uint32(0)
        raise CaughtError(self._draw.trace(*start), self._epoch.trace(*drawn, *rest))

    monkeypatch.setattr(Networks, "start", caught)
    space = {"learning_rate": [0.1, 0.2], "device.dw_min": [0.001, 0.01]}
    lowered(lambda: aj.sweep(experiment(aj.SingleRPUConfig()), space, progress=False, way=way))


@pytest.mark.slow
def test_evaluation_over_time_lowers(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = many_chips._evaluated

    def caught(*arguments: Any) -> None:
        raise CaughtError(evaluated.trace(*arguments))

    monkeypatch.setattr(many_chips, "_evaluated", caught)
    layer = nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
    data = jnp.ones((5, 4)), jnp.zeros(5, int)
    lowered(lambda: aj.evaluate_over_time(layer, data, [0.0, 1.0], 2, KEY))


def test_nothing_asks_for_a_cpu() -> None:
    """A script takes the accelerator that JAX finds: the CPU is named by what compares with it or is asked for it."""
    root = Path(aj.__file__).parent
    naming = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"""devices\(["']cpu|jax_platforms|JAX_PLATFORMS|backend=["']cpu""", path.read_text("utf-8"))
    }
    comparing = {"physics/matrix.py", "fidelity/running.py"}  # the latter in its own processes, one a core
    comparing |= {"experiments/devices.py"}  # says what there is
    server = {"core/validation.py", "faces/wire/presets.py", "workers/executors/process.py"}  # where its jobs don't run
    assert naming == comparing | {f"server/{name}" for name in server}
