"""The hot path lowers for every platform, and compiles once while only numbers change."""

from __future__ import annotations

import jax
import jax.export
import jax.numpy as jnp
import pytest

import aihwjax as aj
from aihwjax import config as configs
from aihwjax import tile
from tests.marks import some

SHAPE = (12, 10)


def step(
    config: aj.TileConfig, state: tile.TileState, x: jax.Array, d: jax.Array, rate: jax.Array, key: jax.Array
) -> tuple[tile.TileState, jax.Array, jax.Array]:
    """All that a training step asks of a tile."""
    y = tile.forward(config, state, x, jax.random.fold_in(key, 0))
    g = tile.backward(config, state, d, jax.random.fold_in(key, 1))
    state = tile.update(config, state, x, d, rate, jax.random.fold_in(key, 2))
    return tile.end_of_batch(config, state, jax.random.fold_in(key, 3)), y, g


@pytest.mark.parametrize("platform", ["cuda", "tpu", "cpu"])
@pytest.mark.parametrize("mode", some(aj.UpdateMode, [aj.UpdateMode.AGGREGATED], ()))
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
