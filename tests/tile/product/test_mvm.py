"""The analog product: recorded values of the hardware model, and properties that every variant has."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax.errors import ConfigError, ShapeError
from aihwjax.random import NoiseEngine, stream
from aihwjax.tile.product.io import IOParameters
from aihwjax.tile.product.mvm import advance_running, analog_product, freeze
from aihwjax.tile.state import FrozenIO
from tests.marks import some

W = jnp.array([[0.5, -0.3, 0.2], [1.0, 1.0, 1.0]])
X = jnp.array([[0.7, -1.3, 0.05]])

QUIET = {"out_noise": 0.0}
NO_CONVERTERS = {"inp_res": -1, "out_res": -1, "inp_bound": 1.0, "out_bound": 0.0}


@functools.partial(jax.jit, static_argnames=("bound_managed", "engine"))
def product(
    io: IOParameters,
    weights: jax.Array,
    x: jax.Array,
    seed: int = 0,
    running: float = -1.0,
    *,
    bound_managed: bool = True,
    engine: NoiseEngine = NoiseEngine.COUNTER,
) -> jax.Array:
    """One product of a freshly built tile."""
    frozen = freeze(io, jax.random.key(99), *weights.shape, False)
    source = stream(jax.random.key(seed), engine)
    return analog_product(io, frozen, weights, x, source, bound_managed=bound_managed, running=running)[0]


# spec: forward, section 14
CHECKS = [
    ({}, (0.7341177, -0.5505883)),
    ({"nm_thres": 1}, (0.6588236, -0.2352941)),
    ({"noise_management": "CONSTANT", "nm_thres": 0.5}, (0.4, 0.0470588)),
    ({"noise_management": "MAX"}, (0.56, 0.0329412)),
    ({"noise_management": "ABS_MAX_NP_SUM", "out_bound": 0.5}, (0.7432942, -0.5444706)),
    ({"out_bound": 0.5}, (0.7443137, -0.5352941)),
    ({"bound_management": "ITERATIVE_WORST_CASE", "out_bound": 0.5}, (0.7432942, -0.5444706)),
    ({"out_bound": 0.05}, (0.7259608, -0.6607059)),
    ({"out_bound": 0.05, "inp_res": -1}, (0.7504314, -0.5505883)),
    (
        {
            "mv_type": "POS_NEG_SEPARATE",
            "inp_asymmetry": 0.1,
            "out_asymmetry": 0.2,
            "out_bound": 1,
            "bound_management": "NONE",
        },
        (0.7086275, -0.3415686),
    ),
    (
        {
            "mv_type": "POS_NEG_SEPARATE_DIGITAL_SUM",
            "inp_asymmetry": 0.1,
            "out_asymmetry": 0.2,
            "out_bound": 1,
            "bound_management": "NONE",
        },
        (0.7086275, -0.1937255),
    ),
    ({"r_series": 0.2, "v_offset_w_min": -1}, (0.6729412, -0.4282353)),
    ({"r_series": 0.2, "v_offset_w_min": 0}, (0.6729412, -0.4894118)),
    ({"r_series": 0.2, "v_offset_w_min": 0, "slope_calibration": 0.5}, (3.2423532, -2.5082355)),
    ({"out_nonlinearity": 2, "slope_calibration": 0.5}, (2.7529411, -2.0800002)),
    ({"out_scale": 3}, (2.2023532, -1.6517648)),
    ({"is_perfect": True, "out_scale": 3}, (2.25, -1.65)),
    ({"mv_type": "IDEAL", "out_scale": 3}, (2.25, -1.65)),
]


@pytest.mark.parametrize(("fields", "expected"), CHECKS)
def test_recorded_values(fields, expected):
    np.testing.assert_allclose(product(IOParameters(**QUIET, **fields), W, X)[0], expected, atol=2e-6)


def test_ir_drop_grows_with_the_index_of_the_input():
    io = IOParameters(**QUIET, **NO_CONVERTERS, ir_drop=1, ir_drop_g_ratio=10)
    np.testing.assert_allclose(product(io, jnp.eye(2), jnp.ones((1, 2)))[0], (1, 0.9307), atol=1e-4)


def test_a_half_code_is_rounded_like_a_true_quotient():
    # spec: forward, section 5: 0.5 sits at code 31.5 of the default DAC and falls to 31 in single precision.
    io = IOParameters(**QUIET, noise_management="NONE", out_bound=0.0)
    halves = ((np.arange(63) + 0.5) / 63).astype(np.float32)
    step = np.float32(2) * np.float32(1 / 126)
    expected = np.rint(halves / step) * step
    inputs = jnp.asarray(halves)[:, None]
    y = product(io, jnp.eye(1), inputs)[:, 0]
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert round(float(y[31]) * 63) == 31


# ---------------------------------------------------------------- properties of every variant
ONCE = {"bound_management": "NONE"}
COARSE = {"inp_sto_round": True, "out_sto_round": True, "inp_res": 10, "out_res": 20}
VARIANTS = {
    "default": {},
    "max": {"noise_management": "MAX", "nm_thres": 0.8, **ONCE},
    "constant": {"noise_management": "CONSTANT", "nm_thres": 1.5, **ONCE},
    "np_sum": {"noise_management": "ABS_MAX_NP_SUM", "out_bound": 0.5, **ONCE},
    "average": {"noise_management": "AVERAGE_ABS_MAX", **ONCE},
    "no_management": {"noise_management": "NONE", "inp_bound": 0.7, **ONCE},
    "worst_case": {"out_bound": 0.5, "bound_management": "ITERATIVE_WORST_CASE"},
    "one_sided": {"out_bound": 0.5, "bm_test_negative_bound": False},
    "converters": {**COARSE, "inp_noise": 0.1, "inp_asymmetry": 0.1, "out_asymmetry": 0.1, **ONCE},
    "array": {
        "ir_drop": 1.0,
        "v_offset_std": 0.1,
        "r_series": 0.1,
        "w_noise": 0.05,
        "w_noise_type": "PCM_READ",
        **ONCE,
    },
    "frozen": {
        "out_noise_std": 0.3,
        "out_nonlinearity": 0.3,
        "out_nonlinearity_std": 0.3,
        "slope_calibration": 0.5,
        **ONCE,
    },
    "digital_sum": {"mv_type": "POS_NEG_SEPARATE_DIGITAL_SUM", "w_read_asymmetry_dtod": 0.2, "out_bound": 0.5},
    "perfect": {"is_perfect": True, "out_scale": 2.0},
}
WEIGHTS = np.random.default_rng(1).uniform(-0.6, 0.6, (4, 6)).astype(np.float32)
BATCH = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)
BATCH[2] = 0


def close(first: jax.Array, second: jax.Array) -> bool:
    """Whether results agree but for the few that round to another code where sums were ordered differently."""
    return bool((np.abs(np.asarray(first - second)) > 1e-5).mean() <= 0.1)


EACH = list(VARIANTS.values())


@pytest.mark.parametrize("fields", some(EACH, EACH[::3], EACH[1::3]), ids=VARIANTS)
def test_properties(fields):
    io = IOParameters(**fields)

    def read(io: IOParameters, x: jax.Array, seed: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        frozen = freeze(io, jax.random.key(99), *WEIGHTS.shape, False)
        source = stream(jax.random.key(seed), NoiseEngine.COUNTER)
        return analog_product(
            io, frozen, jnp.asarray(WEIGHTS), x, source, bound_managed=True, running=1.2, want_mask=True
        )

    y, mask = jax.jit(read)(io, BATCH, 3)
    assert np.all(np.isfinite(y))

    # Numbers as constants of the program; rows do not depend on the rows after them.
    part, part_mask = jax.jit(lambda x: read(io, x, 3))(BATCH[:3])
    assert close(y[:3], part)
    if mask is not None:
        np.testing.assert_array_equal(mask[:3], part_mask)

    # vmap over configurations and seeds is the same as one by one; another seed or number is another result.
    seeds = jnp.array([3, 3, 4])
    swept = jax.tree.map(lambda number: jnp.broadcast_to(number, seeds.shape), io)
    swept = swept.replace(out_noise=jnp.array([io.out_noise, 0.2, io.out_noise]))
    together, _ = jax.jit(jax.vmap(read, in_axes=(0, None, 0)))(swept, BATCH, seeds)
    assert close(y, together[0])
    assert io.is_perfect or not np.allclose(y, together[1])
    assert io.is_perfect or not np.allclose(y, together[2])


NOISY = {"inp_noise": 0.1, "inp_sto_round": True, "inp_res": 20, "w_noise": 0.05, "w_noise_type": "PCM_READ"}


def test_both_engines_have_the_same_mean_and_spread():
    io, repeats = IOParameters(**NOISY, bound_management="NONE"), 1000
    samples = [
        jax.vmap(lambda seed, engine=engine: product(io, WEIGHTS, BATCH, seed, engine=engine))(jnp.arange(repeats))
        for engine in NoiseEngine
    ]
    means, spreads = ([getattr(y, name)(0) for y in samples] for name in ("mean", "std"))
    assert np.all(np.abs(means[0] - means[1]) <= 5 * np.hypot(*spreads) / repeats**0.5)
    # Relative standard error of a normal's spread: 1/sqrt(2 n), for a difference 1/sqrt(n).
    assert np.all(np.abs(spreads[0] - spreads[1]) <= 5 * spreads[0] / repeats**0.5)


def test_backward_ignores_bound_management():
    io = IOParameters(out_bound=0.5)
    backward = product(io, WEIGHTS, BATCH, bound_managed=False)
    np.testing.assert_allclose(backward, product(io.replace(bound_management="NONE"), WEIGHTS, BATCH), rtol=1e-6)
    assert not np.allclose(backward, product(io, WEIGHTS, BATCH), atol=0.1)


# ------------------------------------------------------------------------- features that are off
OFF = {
    "physics": (
        ["inp_noise", "inp_asymmetry", "out_noise_std", "out_asymmetry", "w_noise", "ir_drop", "nm_thres"]
        + ["out_nonlinearity", "out_nonlinearity_std", "slope_calibration", "v_offset_std", "w_read_asymmetry_dtod"],
        {"mv_type": "POS_NEG_SEPARATE", "w_noise_type": "PCM_READ", "r_series": 0.1, **ONCE},
    ),
    "resistance": (["r_series", "v_offset_w_min", "out_noise"], {"v_offset_std": 0.1}),
    "resolution": (["inp_res", "out_res"], {}),
    "range": (["inp_bound", "out_bound"], {"noise_management": "NONE"}),
}


@pytest.mark.parametrize(("names", "others"), OFF.values(), ids=OFF)
def test_swept_zeros_equal_absent_features(names, others):
    absent, swept = (IOParameters(**others, **dict.fromkeys(names, zero)) for zero in (0.0, jnp.float32(0)))
    assert not any(absent.present(name) for name in names)
    assert all(swept.present(name) for name in names)
    np.testing.assert_allclose(product(swept, WEIGHTS, BATCH), product(absent, WEIGHTS, BATCH), atol=1e-6)


def test_an_infinite_bound_is_no_bound():
    for bound in (np.inf, jnp.float32(np.inf), 0.0):
        y = product(IOParameters(**QUIET, inp_res=-1, out_bound=bound), 30 * W, X)
        np.testing.assert_allclose(y[0], (22.5, -16.5), rtol=1e-5)


# ------------------------------------------------------------------------------- noise management
SILENT = [("ABS_MAX", [0.0, 0.0]), ("ABS_MAX_NP_SUM", [0.0, 0.0]), ("MAX", [-1.0, -0.5])]


@pytest.mark.parametrize(("management", "x"), SILENT)
def test_a_vector_without_a_scale_gives_exact_zeros(management, x):
    io = IOParameters(noise_management=management, out_noise=1.0, bound_management="NONE")
    assert np.all(product(io, jnp.eye(2), jnp.array([x])) == 0)
    noisy_input = io.replace(inp_noise=0.1)
    assert np.all(product(noisy_input, jnp.eye(2), jnp.array([x])) != 0)
    assert np.all(product(noisy_input, jnp.eye(2), jnp.array([x]), bound_managed=False) == 0)


@pytest.mark.parametrize("management", ["NONE", "CONSTANT"])
def test_zeros_are_read_with_noise_where_the_scale_is_fixed(management):
    io = IOParameters(noise_management=management, out_noise=1.0)
    assert np.all(product(io, jnp.eye(2), jnp.zeros((1, 2))) != 0)


def test_the_running_value_moves_with_every_vector():
    # spec: forward, section 14
    io = IOParameters(**QUIET, **NO_CONVERTERS, noise_management="AVERAGE_ABS_MAX")
    x = jnp.array([[0.5], [1.0], [0.25]])
    unset = jnp.float32(-1)
    y = product(io, jnp.eye(1), x, 0, unset)
    np.testing.assert_allclose(y[:, 0], (0.5, 0.5005, 0.25), rtol=1e-6)
    np.testing.assert_allclose(advance_running(unset, x), 0.5002495, rtol=1e-6)


def test_the_running_value_is_the_same_in_one_batch_or_many():
    x = jnp.abs(jax.random.normal(jax.random.key(0), (200, 3)))
    one = advance_running(jnp.float32(-1), x)
    many = jnp.float32(-1)
    for part in (x[:1], x[1:1], x[1:70], x[70:]):
        many = advance_running(many, part)
    np.testing.assert_allclose(one, many, rtol=1e-5)
    expected = float(jnp.max(x[0]))
    for row in np.asarray(x):
        expected = 0.999 * expected + 0.001 * row.max()
    np.testing.assert_allclose(one, expected, rtol=1e-5)


# --------------------------------------------------------------------------------------- errors
def test_a_frozen_feature_cannot_be_switched_on_later():
    frozen, source = FrozenIO(), stream(jax.random.key(0), NoiseEngine.COUNTER)
    for name in ("v_offset_std", "out_nonlinearity", "out_noise_std"):
        with pytest.raises(ConfigError, match=name):
            analog_product(IOParameters(**{name: 0.1}), frozen, W, X, source, bound_managed=True)


def test_the_running_value_is_required():
    io, source = IOParameters(noise_management="AVERAGE_ABS_MAX"), stream(jax.random.key(0), NoiseEngine.COUNTER)
    with pytest.raises(ShapeError, match="running"):
        analog_product(io, FrozenIO(), W, X, source, bound_managed=True)


def test_an_empty_batch_gives_an_empty_result():
    source = stream(jax.random.key(0), NoiseEngine.COUNTER)
    y, mask = analog_product(IOParameters(), FrozenIO(), W, X[:0], source, bound_managed=True, want_mask=True)
    assert y.shape == (0, 2)
    assert mask is not None
    assert mask.shape == (0, 2)
