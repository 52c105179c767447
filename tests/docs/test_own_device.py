"""The notebook about a device of one's own runs, and its device works in a layer, under vmap and in figures."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "04_your_own_device.ipynb"
CELLS = ["".join(c["source"]) for c in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]


@pytest.fixture(scope="module")
def device() -> Iterator[type[aj.devices.PulsedDevice]]:
    """Return the notebook's device class, from the cell that defines it."""
    module = types.ModuleType("own_device")  # a real one: the class looks up the names of its fields there
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        exec(compile(CELLS[0], "notebook", "exec"), module.__dict__)
        yield module.KneeDevice


def test_works_in_a_layer(device: type[aj.devices.PulsedDevice]) -> None:
    config = aj.SingleRPUConfig(device=device(dw_min=0.001))
    layer = aj.nn.AnalogLinear(6, 4, config=config, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32)
    labels = np.argmax(x[:, :4], axis=1)
    model = aj.nn.AnalogSequential(layer)
    data = aj.data.from_arrays(x, labels, x, labels, name="largest")
    experiment = aj.BasicTraining(
        dataset=data, model=model, batch_size=8, epochs=3, learning_rate=0.1, loss_function="CrossEntropyLoss"
    )
    metrics = aj.run_local(experiment, key=0)
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]


@pytest.mark.slow
def test_works_under_vmap(device: type[aj.devices.PulsedDevice]) -> None:
    def top(knee: jax.Array) -> jax.Array:
        config = aj.SingleRPUConfig(device=device(dw_min=0.01, width=0.02, knee=knee))
        state = aj.tile.init(config, jax.random.key(0), (4, 4))
        x, d = jnp.ones((60, 4)), -jnp.ones((60, 4))
        return jnp.mean(aj.tile.update(config, state, x, d, 0.01, jax.random.key(1)).weights)

    knees = jnp.asarray([0.1, 0.2, 0.3])
    tops = jax.vmap(top)(knees)
    np.testing.assert_allclose(tops[1], top(knees[1]), atol=1e-5)
    assert (np.diff(tops) > 0.05).all()


def test_works_in_figures(device: type[aj.devices.PulsedDevice]) -> None:
    own = device(dw_min=0.02)
    assert len(aj.plot.plot_device_compact(own, pulses=10).axes) == 2
    up, down = aj.plot.theoretical_steps(own, [0.0, 0.4])  # type: ignore[misc]
    assert up == pytest.approx([0.02, 0.01], rel=1e-3)
    assert down == pytest.approx([-0.02, -0.02], rel=1e-3)


@pytest.mark.slow
def test_the_whole_notebook_runs() -> None:
    module = types.ModuleType("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        for number, cell in enumerate(CELLS):
            exec(compile(cell, f"cell {number}", "exec"), module.__dict__)
