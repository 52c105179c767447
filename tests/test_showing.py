"""Trees of configurations, tiles and models in a notebook: what is seen at once, what is folded, what never fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import treescope
from flax import nnx
from IPython.core.formatters import DisplayFormatter

import aihwjax as aj
from aihwjax import nn, showing
from tests.compounds.table import COMPOUNDS
from tests.nn.models import network, noisy, ranged

KEY = jax.random.key(0)
CONFIG = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(dw_min=0.002))
STATE = aj.tile.init(CONFIG, KEY, (3, 4))
CELL = aj.TileConfig(device=COMPOUNDS["chopped"])
SHAPES = jax.eval_shape(lambda key: aj.tile.init(CONFIG, key, (3, 4)), KEY)
STACKED = jax.vmap(lambda key: aj.tile.init(CELL, key, (3, 4)))(jax.random.split(KEY, 2))
VALUES = {"numbers": 0.002, "arrays": jnp.array([0.001, 0.002]), "shapes": jax.ShapeDtypeStruct((), jnp.float32)}


def text(value: Any) -> str:
    """Return what is seen without a click, as text."""
    return treescope.render_to_text(value)


def swept(step: Any) -> aj.TileConfig:
    """Return a configuration with a number that may be anything."""
    leaves, structure = jax.tree.flatten(CONFIG)
    return jax.tree.unflatten(structure, [step if leaf == 0.002 else leaf for leaf in leaves])


def donated() -> Any:
    """Return a tile whose arrays were given to a compiled function."""
    state = aj.tile.init(CONFIG, KEY, (3, 4))
    for leaf in jax.tree.leaves(state):
        leaf.delete()
    return state


ODD: dict[str, Callable[[], Any]] = {
    **{f"configuration of {name}": lambda value=value: swept(value) for name, value in VALUES.items()},
    "configuration of anything": lambda: swept(object()),
    "shapes": lambda: SHAPES,
    "leaves that are no arrays": lambda: jax.tree.map(lambda leaf: object(), STATE),
    "nothing": lambda: jax.tree.map(lambda leaf: None, STATE),
    "several tiles": lambda: STACKED,
    "devices of several tiles": lambda: STACKED.device,
    "NumPy": lambda: jax.tree.map(np.asarray, STATE),
    "donated": donated,
    "not a number": lambda: aj.tile.TileState(jnp.full((3, 4), jnp.nan), STATE.device, STATE.forward, STATE.backward),
    "periphery": lambda: aj.tile.FrozenIO(v_offset=jnp.ones(3)),
    "drift": lambda: aj.devices.DeviceState(drift=aj.devices.base.DriftState.start(jnp.ones((3, 4)), (3, 4))),
    "layer": lambda: nn.AnalogLinear(600, 3, config=CELL, rngs=nnx.Rngs(0)),
    "layer with a range": lambda: network(ranged()),
    "network": lambda: network(noisy(learn_out_scaling=True)),
    "abstract network": lambda: nnx.eval_shape(lambda: network(noisy())),
}


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
@pytest.mark.parametrize("name", ODD)
def test_everything_can_be_shown(name: str) -> None:
    value = ODD[name]()
    page = showing.html(value)
    assert 1000 < len(page) < 400_000


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
def test_traced_values_can_be_shown() -> None:
    seen: list[str] = []

    def look(step: jax.Array, key: jax.Array) -> jax.Array:
        config = aj.config.replace(CONFIG, {"device.dw_min": step})
        state = aj.tile.init(config, key, (3, 4))
        layer = nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0))
        seen.extend(map(showing.html, (config, state, layer, STATE)))  # the last one has values
        return state.weights

    jax.jit(look)(0.001, KEY)
    jax.vmap(look, (0, None))(jnp.array([0.1, 0.2]), KEY)
    assert len(seen) == 8


def test_a_configuration_shows_what_differs_from_its_defaults() -> None:
    seen = text(CONFIG)
    assert "SoftBoundsDevice(" in seen
    assert "dw_min=0.002" in seen
    assert "w_max=" not in seen
    assert "as by default" in seen
    assert "dw_min=" not in text(aj.SingleRPUConfig(device=aj.SoftBoundsDevice()))


def test_what_is_folded_is_in_the_page() -> None:
    page = treescope.render_to_html(CONFIG, compressed=False)
    for field in ("w_max", "dw_min_dtod", "out_noise", "max_input_size"):
        assert field in page


def test_a_default_is_one_in_all_parts() -> None:
    fields = aj.config.core.known_fields(aj.TileConfig)
    assert showing.is_default(aj.IOParameters(), fields["forward"])
    assert not showing.is_default(aj.IOParameters(out_noise=0.5), fields["forward"])
    assert not showing.is_default(aj.IOParameters(out_noise=jnp.asarray(0.06)), fields["forward"])
    assert showing.is_default(False, fields["reference_quirks"])
    assert not showing.is_default(True, fields["reference_quirks"])


def test_a_tile_shows_its_size_and_weights_and_folds_its_parameters() -> None:
    seen = text(STATE)
    assert "3 outputs, 4 inputs" in seen
    assert "float32(3, 4)" in seen
    assert "max_bound" not in seen
    assert "max_bound" in treescope.render_to_html(STATE, compressed=False)
    assert "2 x 3 outputs" in text(STACKED)
    assert "SoftBoundsDevice" in text(nn.AnalogTile(4, 3, analog_bias=False, config=CONFIG, key=KEY))


def test_a_model_can_be_unfolded_down_to_its_tiles() -> None:
    model = network(noisy())
    assert "AnalogLinear" in text(model)
    page = treescope.render_to_html(model, compressed=False)
    assert "ConstantStepDevice" in page
    assert "max_bound" in page


def test_pictures_are_small_and_of_the_first_tile() -> None:
    weights = jnp.arange(1000.0 * 3000).reshape(1, 1000, 3000)
    sample = showing._sample(weights)
    assert sample is not None and max(sample.shape) <= 40
    assert sample[0, 0] == 0
    assert sample[1, 0] == weights[0, 25, 0]
    assert len(showing.html(aj.tile.TileState(weights[0], STATE.device, STATE.forward, STATE.backward))) < 100_000
    assert showing.pictures(SHAPES.weights) == []
    assert showing.pictures(jnp.zeros((0, 3))) == []
    assert len(showing.pictures(jnp.zeros((2, 3)))) == 1


@pytest.mark.parametrize("name", ["configuration of numbers", "several tiles", "drift", "network"])
def test_a_notebook_shows_the_tree_and_a_terminal_the_text(name: str) -> None:
    value = ODD[name]()
    shown, _ = DisplayFormatter().format(value)
    assert "treescope" in shown["text/html"]
    assert "".join(shown["text/plain"].split()) == "".join(repr(value).split())
    # a frame with the same tree again, which treescope adds to what has a page of its own
    assert "Rich HTML" not in treescope.render_to_html(value, compressed=False)


def test_a_terminal_makes_no_page() -> None:
    program = (
        "import sys\n"
        "from IPython.terminal.interactiveshell import TerminalInteractiveShell\n"
        "import aihwjax as aj\n"
        "shell = TerminalInteractiveShell.instance()\n"
        "value = aj.SoftBoundsDevice()\n"
        "shown, _ = shell.display_formatter.format(value)\n"
        "assert list(shown) == ['text/plain'], list(shown)\n"
        "assert 'treescope' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_layers_are_one_line_in_the_text_of_a_module_of_flax() -> None:
    class Own(nnx.Module):
        def __init__(self) -> None:
            self.first = nn.AnalogLinear(6, 4, rngs=nnx.Rngs(0))
            self.rest = nn.AnalogSequential(nn.Tanh(), nn.AnalogLinear(4, 1, rngs=nnx.Rngs(0)))

    shown = repr(Own())
    assert "first=AnalogLinear(6, 4, bias=True, ConstantStepDevice)" in shown and "TileState" not in shown
    assert "    (1): AnalogLinear(4, 1" in shown and len(shown.splitlines()) < 10
