"""However a function is called, its result is the same.

Every operation of a tile, of all devices, compounds and products, and a layer with its update, is called

* eagerly, operation by operation,
* compiled, with everything an argument,
* compiled, with everything a constant, so that the compiler knows all there is to know,
* compiled, with constants within ``scan`` and ``vmap``.

A compiler that takes a known number for another (JAX 0.10 did so with loops of one round) shows here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax.devices.device import Device
from aihwjax.optim import analog_sgd, take_apart, training_step
from aihwjax.plot.pulse_response import apply_pulses
from aihwjax.tile.product.io import BIT_TYPES
from aihwjax.tile.state import TileState
from tests.compounds.table import COMPOUNDS
from tests.helpers import DEVICES, MODES
from tests.inference.test_noise_models import MODELS as CHIPS
from tests.marks import exhaustive, slow, some
from tests.nn.models import inputs, network, noisy

SHAPE = (2, 3)
KEY = jax.random.key(11)
ONE = {"desired_bl": 1, "update_management": False, "update_bl_management": False}
"""Pulses of which a vector of ones brings one everywhere, with certainty."""


def ways(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function of a key and arrays in all ways and compare the results."""
    expected = jax.tree.leaves(function(KEY, *arguments))
    assert all(np.isfinite(leaf).all() for leaf in expected)

    def nested() -> Any:
        def turn(carry: jax.Array, _: None) -> tuple[jax.Array, Any]:
            return carry + 1, jax.vmap(lambda key: function(key, *arguments))(jnp.stack([KEY, KEY]))

        return jax.lax.scan(turn, jnp.zeros(()), None, length=2)[1]

    results = {
        "arguments": jax.jit(function)(KEY, *arguments),
        "constants": jax.jit(lambda: function(KEY, *arguments))(),
        "constants within scan and vmap": jax.jit(nested)(),
    }
    for way, result in results.items():
        for leaf, right in zip(jax.tree.leaves(result), expected, strict=True):
            right = np.broadcast_to(right, leaf.shape)
            np.testing.assert_allclose(leaf, right, rtol=2e-5, atol=2e-6, err_msg=f"everything as {way}")


def values(state: TileState) -> list[jax.Array]:
    """Return what of a tile can be compared."""
    return [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def batch(vectors: int) -> tuple[jax.Array, jax.Array]:
    """Return inputs and gradients."""
    return inputs(vectors, SHAPE[1]), 0.3 * inputs(vectors, SHAPE[0], seed=2)


def pulsed(key: jax.Array, config: aj.TileConfig, x: jax.Array, d: jax.Array, rate: jax.Array) -> Any:
    """Return a new tile after an update."""
    state = aj.tile.init(config, key, SHAPE)
    return values(aj.tile.update(config, state, x, d, rate, jax.random.fold_in(key, 1)))


def pulsed_in_both_modes(key: jax.Array, config: aj.TileConfig, *arguments: Any) -> Any:
    """Return two new tiles after an update."""
    return [pulsed(key, config.replace(update_mode=mode), *arguments) for mode in MODES]


def one_pulse(config: aj.TileConfig) -> tuple[jax.Array, jax.Array, float]:
    """Return inputs, gradients and rate by which every crosspoint gets one certain pulse up."""
    granularity = config.device.resolved().weight_granularity()
    return jnp.ones((1, SHAPE[1])), -jnp.ones((1, SHAPE[0])), float(granularity)


KINDS = ("vector", "reference", "one-sided", "transfer", "buffered", "chopped", "dynamic", "mixed precision")
ALL: dict[str, Device] = {**DEVICES, **{name: COMPOUNDS[name] for name in KINDS}}
QUICK = ("soft_bounds_reference",)
SOME = ("constant_step", "transfer", "mixed precision")


@pytest.mark.parametrize("name", some(ALL, QUICK, ("constant_step", "one-sided", "mixed precision")))
def test_one_certain_pulse(name: str) -> None:
    config = aj.TileConfig(device=ALL[name], update=aj.UpdateParameters(**ONE))
    x, d, rate = one_pulse(config)
    before = aj.tile.init(config, KEY, SHAPE)
    after = aj.tile.update(config, before, x, d, rate, KEY)
    assert any((old != new).any() for old, new in zip(values(before), values(after), strict=True))
    ways(pulsed_in_both_modes, config, x, d, rate)


@pytest.mark.parametrize("name", some(SOME, ()))
def test_one_vector_at_the_default_settings(name: str) -> None:
    config = aj.TileConfig(device=ALL[name])
    ways(pulsed, config, *one_pulse(config))


BATCHES = [slow("constant_step", 40), exhaustive("transfer", 5), exhaustive("constant_step", 5), exhaustive(SOME[2], 5)]


@pytest.mark.parametrize(("name", "vectors"), BATCHES)
def test_mini_batches(name: str, vectors: int) -> None:
    ways(pulsed, aj.TileConfig(device=ALL[name]), *batch(vectors), 0.05)


@pytest.mark.parametrize("kind", some(list(aj.PulseType), (), (aj.PulseType.MEAN_COUNT,)))
def test_pulse_types(kind: aj.PulseType) -> None:
    config = aj.TileConfig(device=ALL["soft_bounds"], update=aj.UpdateParameters(pulse_type=kind, desired_bl=5))
    ways(pulsed, config, *batch(2), 0.05)


def kept(key: jax.Array, config: aj.TileConfig, weights: jax.Array, number: jax.Array) -> Any:
    """Return a new tile after each kind of upkeep."""
    tile, state = aj.tile, aj.tile.init(config, key, SHAPE)
    state = tile.set_weights(config, state, weights, key)
    steps: list[Callable[[TileState], TileState]] = [
        lambda s: tile.decay(config, s, number, key),
        lambda s: tile.diffuse(config, s, key),
        lambda s: tile.drift(config, s, 10 * number, key),
        lambda s: tile.end_of_batch(config, s, key),
        lambda s: tile.clip(config, s, key, 0.3 * number),
        lambda s: tile.remap(config, s, key),
        lambda s: tile.modify(config, s, key),
    ]
    if not isinstance(config.device, aj.FloatingPointDevice):
        steps.append(lambda s: tile.reset(config, s, 1, 2, 0.5 * number, key))
    seen = []
    for step in steps:
        state = step(state)
        seen.append(values(state))
    return seen, tile.hidden_parameters(config, state), tile.get_weights(config, state)


@pytest.mark.parametrize("name", some(ALL, (), ("exp_step", "chopped", "vector")))
def test_upkeep(name: str) -> None:
    ways(kept, aj.TileConfig(device=ALL[name]), 0.2 * inputs(*SHAPE), 1.0)


def read(key: jax.Array, config: aj.TileConfig, x: jax.Array, d: jax.Array) -> Any:
    """Return the products of a new tile, and its running values."""
    tile, state = aj.tile, aj.tile.init(config, key, SHAPE)
    state = tile.observe(config, state, x, backward=False)
    forward, mask = tile.forward_with_mask(config, state, x, key)
    clipped = [] if mask is None else [mask.astype(jnp.float32)]
    return forward, clipped, tile.backward(config, state, d, key), values(state)


PRODUCTS: dict[str, dict[str, Any]] = {
    "default": {},
    "perfect": {"is_perfect": True},
    **{f"noise management {each.name}": {"noise_management": each} for each in aj.NoiseManagementType},
    **{
        f"bound management {each.name}": {"bound_management": each, "out_bound": 0.05}
        for each in aj.BoundManagementType
    },
    **{
        f"mv type {each.name}": {"mv_type": each, "w_read_asymmetry_dtod": 0.1}
        for each in aj.AnalogMVType
        if each not in BIT_TYPES
    },
    **{f"weight noise {each.name}": {"w_noise": 0.1, "w_noise_type": each} for each in aj.WeightNoiseType},
    "wires": {"ir_drop": 1.0, "r_series": 0.05, "v_offset_std": 0.1, "v_offset_w_min": -0.5},
    "compression": {"out_nonlinearity": 0.1, "out_nonlinearity_std": 0.1, "slope_calibration": 0.5},
    "noise of each output": {"out_noise": 0.1, "out_noise_std": 0.3, "inp_noise": 0.1, "inp_sto_round": True},
    "asymmetry": {"inp_asymmetry": 0.1, "out_asymmetry": 0.1, "out_sto_round": True},
}


@pytest.mark.parametrize("name", some(PRODUCTS, ("bound management ITERATIVE",), ("default", "wires", "asymmetry")))
def test_products(name: str) -> None:
    io = aj.IOParameters(**PRODUCTS[name])
    ways(read, aj.SingleRPUConfig(forward=io, backward=io), *batch(5))


@pytest.mark.parametrize("kind", some(["ONE_PASS", *(each.name for each in BIT_TYPES)], (), ("SPLIT_MODE",)))
def test_products_of_pulses(kind: str) -> None:
    io = aj.IOParametersIRDropT(mv_type=kind, apply_xdep_pcm_read_noise=True)
    ways(read, aj.TorchInferenceRPUConfigIRDropT(forward=io), *batch(5))


@pytest.mark.parametrize("kind", some(list(aj.WeightModifierType), (), (aj.WeightModifierType.PCM_NOISE,)))
def test_weight_modifiers(kind: aj.WeightModifierType) -> None:
    config = aj.InferenceRPUConfig(modifier=aj.WeightModifierParameter(type=kind, std_dev=0.1, pdrop=0.1))
    ways(kept, config, 0.2 * inputs(*SHAPE), 1.0)


def chips(key: jax.Array, config: aj.TileConfig, weights: jax.Array, t: jax.Array, x: jax.Array) -> Any:
    """Return what of a chip can be compared, after programming and some time later, and its outputs."""
    chip = aj.inference.program(config, weights, key)
    late = aj.inference.drift(config, chip, t, jax.random.fold_in(key, 1))
    return chip.weights, late.weights, late.alpha, aj.inference.forward(config, late, x, key)


@pytest.mark.parametrize("name", some(CHIPS, ("wan 40",), ("pcm", "cmo", "measured")))
def test_chips(name: str) -> None:
    config = aj.InferenceRPUConfig(noise_model=CHIPS[name], drift_compensation=aj.PerColumnDriftCompensation())
    ways(chips, config, inputs(*SHAPE), 86400.0, batch(5)[0])


@pytest.mark.slow
def test_chips_with_defects_and_bit_slices() -> None:
    converter = aj.BitSlicedConductanceConverter(digits=2)
    defects = aj.DefectParameter(stuck_high_prob=0.1, open_prob=0.1)
    config = aj.InferenceRPUConfig(noise_model=aj.PCMLikeNoiseModel(g_converter=converter), defects=defects)
    ways(chips, config, inputs(*SHAPE), 86400.0, batch(5)[0])


def programmed(key: jax.Array, x: jax.Array) -> Any:
    """Return the outputs of a model that is programmed and has drifted, with a layer of several tiles."""
    mapping = aj.MappingParameter(max_input_size=2, max_output_size=2)
    layer = aj.nn.AnalogLinear(4, 4, config=aj.InferenceRPUConfig(mapping=mapping), rngs=nnx.Rngs(0))
    return aj.drift(aj.program(layer, key), 1e4, jax.random.fold_in(key, 1))(x, key=key)


@pytest.mark.slow
def test_models_as_chips() -> None:
    ways(programmed, inputs(5, 4))


def calibrated(key: jax.Array, batches: jax.Array, x: jax.Array) -> Any:
    """Return the range that a tile finds by its inputs and one after a step of training, and its outputs."""
    forward = aj.IOParameters(noise_management="NONE")
    parts = aj.PrePostProcessingParameter(input_range=aj.InputRangeParameter(enable=True))
    config = aj.InferenceRPUConfig(forward=forward, pre_post=parts)
    state = aj.tile.init(config, key, SHAPE)
    found = [aj.tile.calibrate(config, state, batches, kind, key=key).input_range for kind in ("MAX", "CACHE_QUANTILE")]
    state = aj.tile.set_input_range(config, state, found[1])
    state = aj.tile.input_range_step(config, state, x, jnp.ones((*x.shape[:-1], SHAPE[0])), 0.1, key)
    return found, state.input_range, aj.tile.forward(config, state, x, key)


def test_input_ranges() -> None:
    ways(calibrated, inputs(2, 5, SHAPE[1]), batch(5)[0])


def written(key: jax.Array, target: jax.Array) -> Any:
    """Return what of a tile that is written by pulses can be compared, and its weights as they are read."""
    config = aj.SingleRPUConfig(device=aj.ConstantStepDevice(dw_min=0.01))
    state, result = aj.tile.program_weights(
        config, aj.tile.init(config, key, SHAPE), target, key, max_iterations=3, tolerance=0.01
    )
    read = aj.tile.get_weights(config, state, realistic=True, key=key)
    return values(state), result.error, result.deviation, read


@pytest.mark.slow
def test_writing_by_pulses() -> None:
    ways(written, 0.2 * inputs(*SHAPE))


@pytest.mark.slow
def test_a_step_of_training() -> None:
    model, optimizer = network(noisy()), analog_sgd(0.1)
    parts, loss = take_apart(model), aj.nn.losses.CrossEntropyLoss()
    step = training_step(lambda model, x, y, key: loss(model(x, key=key), y), optimizer, parts)

    def trained(key: jax.Array, moving: Any, fixed: Any, x: jax.Array, labels: jax.Array) -> Any:
        moving, _, value = step(moving, optimizer.init(model), fixed, key, x, labels)
        return value, [leaf for leaf in jax.tree.leaves(moving) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    ways(trained, parts.moving, parts.fixed, inputs(5, 4), jnp.array([0, 1, 2, 1, 0]))


def test_pulses_one_by_one_in_a_plot() -> None:
    device = aj.ConstantStepDevice(dw_min=0.01, dw_min_dtod=0, dw_min_std=0, up_down_dtod=0)
    signs = np.array([1])
    response = apply_pulses(device, signs, np.zeros(3))
    np.testing.assert_allclose(response.persistent[-1], 0.01, rtol=1e-5)
