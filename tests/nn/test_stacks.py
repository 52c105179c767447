"""A stack of tiles does to each what a tile alone does."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn, random
from aihwjax.nn import stacks
from tests.marks import some

KEY = jax.random.key(3)
COUNT, OUT, IN, N = 3, 2, 4, 5

CONFIGS: dict[str, aj.SingleRPUConfig | aj.InferenceRPUConfig | aj.UnitCellRPUConfig] = {
    "pulsed": aj.SingleRPUConfig(device=aj.SoftBoundsDevice(lifetime=100.0, diffusion=0.01)).replace(
        {"mapping.weight_scaling_omega": 0.6, "mapping.learn_out_scaling": True}
    ),
    "compound": aj.UnitCellRPUConfig(device=aj.TransferCompound(unit_cell_devices=[aj.SoftBoundsDevice()] * 2)),
    "inference": aj.InferenceRPUConfig().replace(
        {"pre_post.input_range.enable": True, "modifier.type": "ADD_NORMAL", "modifier.std_dev": 0.1}
    ),
}


def one(config: Any, stack: nn.AnalogTile, index: int) -> nn.AnalogTile:
    """Return a tile of a stack as a tile alone."""
    alone = nn.AnalogTile(IN, OUT, analog_bias=False, config=config, key=KEY)
    graph, _ = nnx.split(alone)
    _, whole = nnx.split(stack)
    shared, own = nnx.filter_state(whole, nn.TileConfigVariable, ...)
    return nnx.merge(graph, nnx.merge_state(shared, jax.tree.map(lambda array: array[index], own)))


def steps(tile: nn.AnalogTile, x: jax.Array, d: jax.Array, key: random.Noise) -> dict[str, Any]:
    """Return what a tile does in all of its operations."""

    def loss(tile: nn.AnalogTile, x: jax.Array) -> jax.Array:
        return (tile(x, key=key) * d).sum()

    y = tile(x, key=key)
    back = jax.grad(loss, 1)(tile, x)
    _, gradients = nn.value_and_grad(loss)(tile, x)
    tile.update(x, d, 0.1, key)
    tile.end_of_batch(key)
    moved = tile.get_weights()
    hidden = tile.hidden_parameters()
    tile.set_weights(0.1 * moved, key)
    return {
        "y": y,
        "back": back,
        "digital": gradients.digital,
        "moved": moved,
        "hidden": hidden,
        "set": tile.get_weights(),
    }


@pytest.mark.parametrize("name", some(CONFIGS, ("pulsed",)))
@pytest.mark.parametrize("together", [False, True])
def test_each_tile_of_a_stack_does_what_it_does_alone(
    name: str, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "_TOGETHER", 2**13 if together else 0)
    stacks._each.clear_cache()
    config = CONFIGS[name]
    stack = nn.AnalogTile(IN, OUT, analog_bias=False, config=config, key=KEY, count=COUNT)
    x, d = (jax.random.normal(jax.random.fold_in(KEY, size), (COUNT, N, size)) for size in (IN, OUT))
    alone = [one(config, stack, index) for index in range(COUNT)]
    found = steps(stack, x, d, KEY)
    for index, tile in enumerate(alone):
        wanted = steps(tile, x[index], d[index], random.derive(KEY, index))
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6),
            *(nnx.to_pure_dict(v) if isinstance(v, nnx.State) else v for v in (found, wanted)),
        )


def test_a_wide_layer_on_many_tiles_learns_in_a_network() -> None:
    """Stacks through everything that training does: gradients, update, upkeep, saving."""
    config = aj.SingleRPUConfig(device=aj.ConstantStepDevice(count_pulses=True)).replace(
        {"mapping.max_input_size": 4, "mapping.max_output_size": 3}
    )
    layer = nn.AnalogLinear(8, 6, config=config, rngs=nnx.Rngs(0))
    (stack,) = layer.analog_tiles()
    assert stack.count == 4
    optimizer = aj.analog_sgd(0.05)
    state = optimizer.init(layer)
    x = jax.random.normal(KEY, (16, 8))
    target = x @ jax.random.normal(jax.random.key(1), (8, 6)) * 0.1
    gradient = nn.value_and_grad(lambda model, key: ((model(x, key=key) - target) ** 2).mean())

    @nnx.jit
    def step(layer: nn.AnalogLinear, state: Any, key: jax.Array) -> Any:
        loss, gradients = gradient(layer, key)
        return loss, optimizer.update(layer, gradients, state, key)

    losses = []
    for number in range(30):
        loss, state = step(layer, state, jax.random.fold_in(KEY, number))
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]
    assert layer.pulse_counts().up.shape == (6, 8) and int(layer.pulse_counts().up.min()) > 0
    bounds = layer.hidden_parameters()["max_bound"].at[5, 7].set(0.001)
    layer.set_hidden_parameters({"max_bound": bounds})
    assert float(layer.get_weights()[0][5, 7]) == pytest.approx(0.001)
    with pytest.raises(aj.AihwjaxError, match="max_bound"):
        layer.set_hidden_parameters({"max_bound": -bounds})
