"""An array that is read with pulses: its wires against circuits solved otherwise, its bits, its gradients."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn, tile
from aihwjax.tile.product.io import BIT_TYPES
from tests.marks import slow

QUIET: dict[str, Any] = {"out_noise": 0.0, "out_res": -1, "out_bound": 0}
KINDS = ("ONE_PASS", *(each.name for each in BIT_TYPES))
KEY = jax.random.key(0)


def built(rows: int = 0, converter: Any = None, quirks: bool = False, **fields: Any) -> aj.TileConfig:
    """A configuration without output noise and ADC, and with few lines."""
    return aj.TorchInferenceRPUConfigIRDropT(
        forward=aj.IOParametersIRDropT(**{**QUIET, **fields}),
        mapping=aj.MappingParameter(max_input_size=rows),
        noise_model=aj.PCMLikeNoiseModel(g_converter=converter or aj.SinglePairConductanceConverter()),
        reference_quirks=quirks,
    )


@functools.partial(jax.jit, static_argnames="training")
def _read(config: aj.TileConfig, weights: jax.Array, x: jax.Array, training: bool) -> jax.Array:
    state = tile.set_weights(config, tile.init(config, KEY, weights.shape), weights, KEY)
    return tile.forward(config, state, x, KEY, training=training)


def read(config: aj.TileConfig, weights: Any, x: Any, training: bool = False) -> np.ndarray:
    """Return the outputs of a tile with these weights."""
    return np.asarray(_read(config, jnp.asarray(weights, jnp.float32), jnp.asarray(x, jnp.float32), training))


def random(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


# ------------------------------------------------------------------------- circuit
def solved(config: aj.TileConfig, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the outputs from potentials of all nodes of each column, slot by slot, in double precision.

    Every crosspoint is a node of its own; the converter holds the end of the wire, half a distance behind the last.
    """
    io: Any = config.forward
    assert config.noise_model is not None
    out_size, count = weights.shape
    rows = max(config.mapping.max_input_size, count)
    before = (rows - count) // 2
    padded = np.zeros((out_size, rows))
    padded[:, before : before + count] = weights
    slices, params = config.noise_model.g_converter.convert(jnp.asarray(padded, jnp.float32))
    factors = getattr(config.noise_model.g_converter, "f_lst", (1.0,))
    wire = 1 / (1e-6 * float(io.ir_drop) * float(io.ir_drop_rs))
    y = np.zeros((len(codes), out_size))
    for column in range(out_size):
        turn = -1 if column % 2 else 1
        for pair, factor in enumerate(factors):
            up, down = (np.asarray(slices[2 * pair + k][column], float)[::turn] for k in (0, 1))
            laplace = np.diag(up + down) + np.diag(np.r_[0, np.full(rows - 1, wire)])
            laplace += np.diag(np.r_[np.full(rows - 1, wire), 2 * wire])
            laplace -= np.diag(np.full(rows - 1, wire), 1) + np.diag(np.full(rows - 1, wire), -1)
            for vector, code in enumerate(codes):
                wide = np.zeros(rows)
                wide[before : before + count] = code
                wide = wide[::turn]
                charge = 0.0
                for slot in range(64):
                    on = np.sign(wide) * (np.abs(wide) > slot)
                    current = (0.4 + 0.2 * on) * up + (0.4 - 0.2 * on) * down
                    current[-1] += 2 * wire * float(io.ir_drop_v_read)
                    last = np.linalg.solve(laplace, current)[-1]
                    charge += (last - float(io.ir_drop_v_read)) * 2 * wire
                y[vector, column] += factor * charge / (float(params["scale"]) * 0.2 * 63)
    return y


CIRCUITS: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "one pair": ((3, 6), {}),
    "odd lines left over, two pairs": (
        (2, 4),
        {"rows": 7, "converter": aj.DualPairConductanceConverter(f_lst=(1.0, 3.0), g_min=2.0)},
    ),
    "one crosspoint": ((1, 1), {}),
}


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_circuit_solved_slot_by_slot_gives_the_same(name: str) -> None:
    shape, fields = CIRCUITS[name]
    config = built(ir_drop_rs=300.0, ir_drop_segments=100, adc_quantization=False, **fields)
    weights, codes = random(shape, 1), np.random.default_rng(2).integers(-63, 64, (2, shape[1]))
    codes[:, 0] = 63  # so that the scale of each vector is 1
    np.testing.assert_allclose(read(config, weights, codes / 63), solved(config, weights, codes), atol=2e-5)
    plain = read(built(ir_drop=0), weights, codes / 63)
    assert shape == (1, 1) or np.abs(read(config, weights, codes / 63) - plain).max() > 0.02


def test_segments_are_a_coarser_column() -> None:
    weights, x = random((4, 48), 1), random((3, 48), 2)
    exact = read(built(ir_drop_rs=20.0, ir_drop_segments=48, adc_quantization=False), weights, x)
    errors = []
    for segments in (5, 12, 24):  # the first does not divide the lines
        coarse = read(built(ir_drop_rs=20.0, ir_drop_segments=segments, adc_quantization=False), weights, x)
        errors.append(np.abs(coarse - exact).max())
    assert errors[0] > 2 * errors[1] > 2 * errors[2] > 0


def test_charge_is_counted_in_quanta() -> None:
    config = built(ir_drop_rs=0.0, ir_drop_v_read=0.4, adc_frequency=1.0)
    quantum = 100 / (25 * 0.2 * 63)  # 100 µA slots, of a device of 25 µS that passes 63 slots
    y = read(config, [[1.0]], np.asarray([[1.0]]))[0, 0] / quantum
    assert y == pytest.approx(np.trunc(1 / quantum), abs=1e-4) and np.trunc(1 / quantum) >= 3
    np.testing.assert_allclose(read(config, [[1.0], [-1.0]], [[0.7]]) @ [1, 1], 0, atol=1e-6)


# --------------------------------------------------------------------------- bits
@pytest.mark.parametrize("kind", [KINDS[0], *map(slow, KINDS[1:])])
@pytest.mark.parametrize("shape", [(3, 5), slow((1, 1)), slow((2, 1))])
def test_without_drop_it_is_the_plain_product(kind: str, shape: tuple[int, int]) -> None:
    """Without wires, at the potential of lines at rest and without quanta, all passes together are the product."""
    ideal = {"ir_drop_rs": 0.0, "ir_drop_v_read": 0.4, "adc_quantization": False}
    plain = aj.InferenceRPUConfig(forward=aj.IOParameters(**QUIET))
    weights, x = random(shape, 1), random((4, shape[1]), 2)
    x[2] = 0
    expected = read(plain, weights, x)
    np.testing.assert_allclose(read(built(mv_type=kind, **ideal), weights, x), expected, atol=1e-6)
    np.testing.assert_allclose(read(built(mv_type=kind), weights, x, training=True), expected, atol=1e-6)
    # 50 levels: no power of two, and no whole number of lower bits
    coarse = aj.InferenceRPUConfig(forward=aj.IOParameters(inp_res=0.01, **QUIET))
    with_50 = read(built(mv_type=kind, inp_res=0.01, split_mode_bit_shift=2, **ideal), weights, x)
    np.testing.assert_allclose(with_50, read(coarse, weights, x), atol=1e-6)


def test_every_pass_has_its_own_noise_and_converter() -> None:
    """Outputs of passes count with the weight of their bits, so noise does too."""
    x = jnp.ones((4000, 1))
    spread = {}
    for kind in KINDS:
        config = built(mv_type=kind, out_noise=0.1)
        spread[kind] = read(config, [[0.5]], x, training=True).std()
    weights = {"ONE_PASS": [1], "SPLIT_MODE": [1, 8], "BIT_WISE": [1, 2, 4, 8, 16, 32]}
    for kind, each in weights.items():
        expected = 0.1 * np.sqrt(np.sum(np.square(each)))
        assert spread[kind] == pytest.approx(expected, rel=5 / np.sqrt(2 * 4000)), kind


def test_input_noise_keeps_its_sum() -> None:
    """A fraction of a step belongs to the lowest bits: nothing of the noise is lost."""
    x = random((2, 3), 1)
    weights = np.eye(3)
    noisy = {kind: read(built(mv_type=kind, inp_noise=0.05), weights, x, training=True) for kind in KINDS}
    for kind in KINDS[1:]:
        np.testing.assert_allclose(noisy[kind], noisy["ONE_PASS"], atol=1e-5)


# --------------------------------------------------------------------- read noise
@pytest.mark.parametrize("training", [True, slow(False)])
def test_read_noise_grows_as_its_polynomials_say(training: bool) -> None:
    """One device pair of 15 µS read with 21 slots: std = (0.0133 g + 0.0564 µS) / κ."""
    config = built(
        apply_xdep_pcm_read_noise=True, xdep_pcm_read_noise_scale=2.0, adc_quantization=False, noise_management="NONE"
    )
    count = 4000
    x = jnp.tile(jnp.asarray([[21 / 63, 0.0]]), (count, 1))
    y = read(config, [[0.6, 1.0]], x, training=training)[:, 0]
    length = np.log10(10.5)
    slope = np.polyval([0.00021926, -0.00187352, 0.00655714, -0.0146159, 0.02578764], length)
    offset = 1e6 * np.polyval([1.11906167e-9, -9.08576764e-9, 3.07015063e-8, -6.77079241e-8, 1.17763144e-7], length)
    expected = 2 * (slope * 15 + offset) / 25 * 21 / 63
    assert y.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * count))
    assert not read(config, [[0.6, 1.0]], np.zeros((1, 2)), training=True).any(), "no pulse, no noise"


# --------------------------------------------------------------------- gradients
@pytest.mark.parametrize("kind", [slow(KINDS[0]), KINDS[1], slow(KINDS[2])])
def test_gradients(kind: str) -> None:
    """In training those of the plain product; in evaluation the product through the wires, which is linear."""
    config, plain = built(mv_type=kind, ir_drop_rs=50.0), aj.InferenceRPUConfig(forward=aj.IOParameters(**QUIET))
    shapes = (3, 5), (2, 5), (2, 3)
    weights, x, d = (jnp.asarray(random(shape, seed), jnp.float32) for seed, shape in enumerate(shapes))

    def slopes(config: aj.TileConfig, training: bool) -> Any:
        state = tile.set_weights(config, tile.init(config, KEY, weights.shape), weights, KEY)

        def of(config: aj.TileConfig, weights: jax.Array, x: jax.Array) -> jax.Array:
            own = dataclasses.replace(state, weights=weights)
            return (tile.forward(config, own, x, KEY, training=training) * d).sum()

        return jax.jit(jax.grad(of, (0, 1, 2)))(config, weights, x)

    trained, expected = slopes(config, True), slopes(plain, True)
    np.testing.assert_allclose(trained[2], expected[2], atol=1e-5)
    np.testing.assert_allclose(trained[1], expected[1], atol=1e-5)
    evaluated = slopes(config, False)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(evaluated))
    loss = np.abs(np.asarray(evaluated[2] - expected[2])).max()
    assert 1e-4 < loss < 0.2
    if kind == "ONE_PASS":
        step = 20.0
        more = [
            (read(config.replace({"forward.ir_drop_rs": 50.0 + s, "forward.adc_quantization": False}), weights, x) * d)
            for s in (step, -step)
        ]
        slope = float((more[0] - more[1]).sum()) / (2 * step)
        assert float(evaluated[0].forward.ir_drop_rs) == pytest.approx(slope, rel=0.01)


# ------------------------------------------------------------------------- chips
def test_layers_and_chips() -> None:
    """Wires act on evaluation and not on training; the compensation makes up for a common loss."""
    config = aj.TorchInferenceRPUConfigIRDropT(
        forward=aj.IOParametersIRDropT(out_noise=0.0, ir_drop_rs=20.0), mapping=aj.MappingParameter(max_input_size=64)
    )
    layer = nn.AnalogLinear(5, 3, config=config, rngs=nnx.Rngs(0))
    x = jnp.asarray(random((4, 5), 3), jnp.float32)
    plain = layer(x, key=0)
    chip = aj.drift(aj.program(layer, key=1), 3600.0, key=2)
    assert np.isfinite(chip(x, key=0)).all() and not np.allclose(plain, chip(x, key=0), atol=1e-3)

    def loss(layer: Any, key: jax.Array) -> jax.Array:
        return (layer(x, key=key) ** 2).mean()

    trained, gradients = aj.nn.value_and_grad(loss)(layer, KEY)
    assert trained != loss(layer, KEY), "evaluation has wires, training has none"
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_one_program_for_all_numbers() -> None:
    """A sweep under vmap is a loop; so is a scan; a program with constants gives the same."""
    weights, x = random((2, 6), 1), jnp.asarray(random((3, 6), 2), jnp.float32)
    config = built(mv_type="SPLIT_MODE", out_noise=0.05, adc_quantization=False)
    state = tile.set_weights(config, tile.init(config, KEY, (2, 6)), jnp.asarray(weights, jnp.float32), KEY)
    ohms = jnp.asarray([1.0, 30.0, 300.0])

    def output(value: Any) -> jax.Array:
        return tile.forward(config.replace({"forward.ir_drop_rs": value}), state, x, KEY)

    one_by_one = np.stack(
        [tile.forward(config.replace({"forward.ir_drop_rs": 1.0}), state, x, KEY)]
        + [jax.jit(output)(value) for value in ohms[1:]]
    )  # the first outside of any program
    for every in (jax.vmap(output)(ohms), jax.lax.map(output, ohms), jax.jit(lambda: jax.vmap(output)(ohms))()):
        np.testing.assert_allclose(every, one_by_one, atol=1e-5)
    assert np.abs(np.diff(one_by_one, axis=0)).max(axis=(1, 2)).min() > 1e-3


def test_a_resolution_of_another_number_of_bits_is_not_overlooked() -> None:
    config = built(mv_type="BIT_WISE")
    assert config.forward.input_bits == 6 and config.replace({"forward.inp_res": 1 / 30}).forward.input_bits == 4
    state = tile.init(config, KEY, (2, 3))

    @jax.jit
    def output(res: jax.Array) -> jax.Array:
        return tile.forward(config.replace({"forward.inp_res": res}), state, jnp.ones(3), KEY)

    assert np.isfinite(output(1 / 126)).all() and np.isfinite(output(1 / 80)).all()
    assert np.isnan(output(1 / 30)).all() and np.isnan(output(1 / 254)).all()


# --------------------------------------------------------------------- reference
W, X = [[1, 0.5, 0, -0.5], [0.5, 0.5, 0.5, 0.5]], [1, -0.5, 0.25, 0.1]
COUNTED = {"adc_quantization": False}
MEASURED: list[tuple[dict[str, Any], Any]] = [
    ({}, (0.6613757, 0.4070005)),
    (COUNTED, (0.7012442, 0.4314204)),
    ({**COUNTED, "ir_drop_rs": 100.0, "ir_drop_v_read": 0.4}, (0.6896597, 0.4308797)),
    ({**COUNTED, "ir_drop_rs": 100.0, "ir_drop_v_read": 0.4, "ir_drop_segments": 4}, (0.6904088, 0.4291774)),
]


@pytest.mark.parametrize("case", [0, *map(slow, range(1, len(MEASURED)))])
def test_quirks_give_what_the_reference_measured(case: int) -> None:
    """Outputs of aihwkit 1.2.0 on a CPU, one forward of its tile in evaluation, eight physical lines."""
    fields, expected = MEASURED[case]
    np.testing.assert_allclose(read(built(rows=8, quirks=True, **fields), W, X), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"mv_type": "BIT_WISE"}, (2.823096, 3.477484, -1.003078, -4.041538)),
        slow({"ir_drop_time_step_resolution_scale": 2.0}, (5.724909, 7.043797, -1.998739, -8.121116)),
    ],
)
def test_a_column_with_much_resistance_is_that_of_the_reference(fields: dict[str, Any], expected: Any) -> None:
    """Outputs of aihwkit 1.2.0 on a CPU: 16 lines, 40 ohms; settings in which no pulse ends at one of its samples."""
    io = {**COUNTED, "ir_drop_rs": 40.0, "ir_drop_integration_sum": True, **fields}
    weights, x = np.sin(1.3 * np.arange(4)[:, None] + 2.1 * np.arange(10)), np.cos(1.9 * np.arange(10))[None]
    np.testing.assert_allclose(read(built(rows=16, quirks=True, **io), weights, x)[0], expected, atol=2e-5)


def test_quirks_of_time() -> None:
    """Trapezoids count half a step more for each input, and a finer time axis multiplies the output."""
    free: dict[str, Any] = {**COUNTED, "ir_drop_rs": 0.0, "ir_drop_v_read": 0.4}
    right = read(built(**free), W, X)
    finer = read(built(ir_drop_time_step_resolution_scale=2.0, **free), W, X)
    np.testing.assert_allclose(finer, right, atol=1e-6)
    trapezoids = read(built(quirks=True, **free), W, X)
    half = np.sign(X) @ np.transpose(W) * 0.5 / 63
    np.testing.assert_allclose(trapezoids, right + half, atol=1e-6)
    summed = {**free, "ir_drop_integration_sum": True}
    np.testing.assert_allclose(read(built(quirks=True, **summed), W, X), right, atol=1e-6)
    doubled = read(built(quirks=True, ir_drop_time_step_resolution_scale=2.0, **summed), W, X)
    np.testing.assert_allclose(doubled / right, 2, atol=0.06)
    bits = read(built(quirks=True, mv_type="BIT_WISE", **free), W, X)
    np.testing.assert_allclose(bits, 1.5 * right, atol=1e-5)


def test_a_reference_configuration_arrives() -> None:
    flat = {
        "__class__": "TorchInferenceRPUConfigIRDropT", "forward.ir_drop_rs": 0.3, "forward.mv_type": "BIT_WISE",
        "forward.adc_quantization": False,
    }  # fmt: skip
    config = aj.config.from_reference(flat)
    given = aj.IOParametersIRDropT(ir_drop_rs=0.3, mv_type="BIT_WISE", adc_quantization=False)
    assert config == aj.TorchInferenceRPUConfigIRDropT(forward=given, reference_quirks=True)
    assert aj.config.from_toml(aj.config.to_toml(config)) == config


REFUSED: list[tuple[Any, str]] = [
    (lambda: aj.IOParameters(mv_type="SPLIT_MODE"), "IOParameters.mv_type=SPLIT_MODE is not allowed: give IOParam"),
    (lambda: built(inp_res=-1), "inp_res=-1.0 is not allowed: give a number above 0"),
    (lambda: built(inp_bound=0, noise_management="NONE"), "inp_bound=0.0 is not allowed: give a number above 0"),
    (lambda: built(ir_drop_segments=0), "ir_drop_segments=0 is not allowed: give at least 1"),
    (lambda: built(mv_type="SPLIT_MODE", split_mode_bit_shift=6), "split_mode_bit_shift=6 is not allowed with inp_res"),
    (lambda: built(mv_type="BIT_WISE", inp_res=0.9), "inp_res=0.9 is not allowed with mv_type=BIT_WISE"),
    (lambda: built(converter=aj.SingleDeviceConductanceConverter()), "g_converter=SingleDeviceConductanceConverter"),
    (
        lambda: aj.SingleRPUConfig(forward=aj.IOParametersIRDropT()),
        "noise_model=None is not allowed with forward=IOParametersIRDropT",
    ),
    (lambda: aj.SingleRPUConfig(backward=aj.IOParametersIRDropT()), "backward=IOParametersIRDropT is not allowed"),
    (lambda: aj.TorchInferenceRPUConfigIRDropT(forward=aj.IOParameters()), "forward=IOParameters is not allowed in"),
    (lambda: aj.TorchInferenceRPUConfigIRDropT(device=aj.IdealDevice()), "has no argument 'device'"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused(case: int) -> None:
    build, text = REFUSED[case]
    with pytest.raises(aj.ConfigError, match=text) as caught:
        build()
    assert "\n" not in str(caught.value)
