"""Another configuration for the tiles of a model, as a pure function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from tests.marks import slow

KEY = jax.random.key(5)
X = jax.random.normal(jax.random.key(1), (5, 6))
QUIET = aj.InferenceRPUConfig(
    forward=aj.IOParameters(inp_res=0, out_res=0, out_noise=0, noise_management="NONE", bound_management="NONE"),
    drift_compensation=None,
)


def network(config: aj.TileConfig = QUIET) -> nn.AnalogSequential:
    """Return two layers, the first on several tiles."""
    split = config.replace({"mapping.max_input_size": 4})
    first = nn.AnalogLinear(6, 3, config=split, rngs=nnx.Rngs(0))
    return nn.AnalogSequential(first, nn.AnalogLinear(3, 2, config=config, rngs=nnx.Rngs(1)))


def test_the_copy_has_the_numbers_and_the_model_stays() -> None:
    model = network()
    before = model(X, key=KEY)
    other = nn.with_config(model, {"forward.out_scale": 3.0})
    np.testing.assert_array_equal(model(X, key=KEY), before)
    built = network(QUIET.replace({"forward.out_scale": 3.0}))
    np.testing.assert_allclose(other(X, key=KEY), built(X, key=KEY), rtol=1e-6)
    for old, new in zip(nn.analog_tiles(model).values(), nn.analog_tiles(other).values(), strict=True):
        assert (old.config.get_value().forward.out_scale, new.config.get_value().forward.out_scale) == (1.0, 3.0)
    np.testing.assert_array_equal(other.get_weights()["layers/0"][0], model.get_weights()["layers/0"][0])


def chip(model: nnx.Module, values: Mapping[str, Any], key: jax.Array | None) -> jax.Array:
    """Return the outputs of a chip of other numbers."""
    programmed = aj.program(nn.with_config(model, values, key=key), 2)
    return nn.call(aj.drift(programmed, 1e4, 3), X, key=KEY)


SWEPT = {"noise_model.drift_scale": [0.0, 2.0], "forward.inp_res": [0.2, 0.0], "forward.out_nonlinearity": [0.0, 0.5]}


@pytest.mark.parametrize("compiled", [True, slow(False)])
def test_a_sweep_in_one_call_is_each_configuration_alone(compiled: bool) -> None:
    model = nn.AnalogLinear(6, 3, config=QUIET, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)

    def run(values: Mapping[str, jax.Array], state: Any) -> jax.Array:
        return chip(nnx.merge(graph, state, copy=True), values, KEY)

    swept = {path: jnp.asarray(values) for path, values in SWEPT.items()}
    over = jax.vmap(run, (0, None))
    together = jax.jit(over)(swept, state) if compiled else jax.vmap(lambda values: chip(model, values, KEY))(swept)
    for number in range(2):
        alone = chip(model, {path: values[number] for path, values in swept.items()}, KEY)
        np.testing.assert_allclose(together[number], alone, rtol=2e-4, atol=2e-5)
    assert not np.allclose(together[0], together[1], rtol=0.1)


def test_results_of_programming_are_differentiable() -> None:
    model = nn.AnalogLinear(6, 3, config=QUIET, rngs=nnx.Rngs(0))

    def size(scale: jax.Array | float) -> jax.Array:
        programmed = aj.program(nn.with_config(model, {"noise_model.prog_noise_scale": scale}), 0)
        return (programmed.get_weights()[0] ** 2).sum()

    slope = (size(1.01) - size(0.99)) / 0.02
    assert jax.grad(size)(1.0) == pytest.approx(float(slope), rel=0.02)


def test_what_is_fixed_needs_a_key() -> None:
    model = nn.AnalogLinear(6, 3, rngs=nnx.Rngs(0))
    change = {"device.dw_min": 0.01, "device.dw_min_dtod": 0.0}
    with pytest.raises(aj.ConfigError, match=r"device\.dw_min.*redraw"):
        nn.with_config(model, change)
    finer = nn.with_config(model, change, key=3)
    np.testing.assert_allclose(finer.hidden_parameters()["dwmin_up"], 0.01, rtol=0.2)
    np.testing.assert_allclose(finer.get_weights()[0], model.get_weights()[0], atol=1e-6)
    assert model.analog_tiles()[0].config.get_value().device.dw_min == 0.001


def test_a_chip_stays_one_without_a_key_and_is_none_with_one() -> None:
    programmed = aj.program(nn.AnalogLinear(6, 3, config=QUIET, rngs=nnx.Rngs(0)), 0)
    kept = nn.with_config(programmed, {"noise_model.read_noise_scale": 0.0})
    assert aj.drift(kept, 1.0, 1) is not None
    with pytest.raises(aj.ModuleError, match="was not programmed"):
        aj.drift(nn.with_config(programmed, {}, key=1), 1.0, 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"forward.out_noize": 1.0}, "did you mean 'out_noise'"),
        ({"forward.out_noise": -1.0}, "out_noise=-1.0 is not allowed"),
        (3, "config=int is not allowed: give a TileConfig"),
        ({"mapping.digital_bias": False}, "build a new layer"),
    ],
)
def test_bad_input_is_one_line(config: Any, message: str) -> None:
    for key in (None, 0):
        with pytest.raises(aj.ConfigError, match=message) as caught:
            nn.with_config(network(), config, key=key)
        assert "\n" not in str(caught.value)
    with pytest.raises(aj.ModuleError, match="Linear has no analog layer"):
        nn.with_config(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), {})
    with pytest.raises(aj.ConfigError, match="key='a' is not allowed"):
        nn.with_config(network(), {}, key="a")  # type: ignore[arg-type]
