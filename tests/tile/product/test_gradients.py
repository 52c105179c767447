"""Gradients of the analog product: against finite differences, and what has none."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile
from tests.marks import some

SHAPE = (3, 5)
X = jax.random.normal(jax.random.key(3), (4, 5)).at[2].set(0)
AIM = jax.random.normal(jax.random.key(4), (4, 3))
SMOOTH = {"inp_res": -1, "out_res": -1}

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "managed": {"out_bound": 0.5, "out_noise": 0.02},
    "worst_case": {"out_bound": 0.5, "out_noise": 0.02, "bound_management": "ITERATIVE_WORST_CASE"},
    "clipped": {"out_bound": 0.2, "bound_management": "NONE", "noise_management": "NONE", "inp_bound": 0.7},
    "threshold": {"nm_thres": 0.8, "bound_management": "NONE"},
    "max": {"noise_management": "MAX", "bound_management": "NONE"},
    "constant": {"noise_management": "CONSTANT", "nm_thres": 1.5},
    "np_sum": {"noise_management": "ABS_MAX_NP_SUM", "out_bound": 0.5},
    "average": {"noise_management": "AVERAGE_ABS_MAX"},
    "converters": {"inp_sto_round": True, "out_sto_round": True, "inp_noise": 0.1, "inp_asymmetry": 0.2},
    "wires": {"ir_drop": 1.0, "ir_drop_g_ratio": 50.0, "v_offset_std": 0.1, "r_series": 0.1, "out_asymmetry": 0.2},
    "noisy_weights": {"w_noise": 0.1, "w_noise_type": "ADDITIVE_CONSTANT"},
    "pcm": {"w_noise": 0.1, "w_noise_type": "PCM_READ"},
    "compressed": {"out_nonlinearity": 3.0, "out_nonlinearity_std": 0.2, "slope_calibration": 0.5},
    "spread": {"out_noise_std": 0.3},
    "two_passes": {"mv_type": "POS_NEG_SEPARATE", "w_read_asymmetry_dtod": 0.2},
    "digital_sum": {
        "mv_type": "POS_NEG_SEPARATE_DIGITAL_SUM",
        "w_read_asymmetry_dtod": 0.2,
        "out_bound": 0.5,
        "out_noise": 0.02,
    },
    "perfect": {"is_perfect": True, "out_scale": 2.0},
}


def built(engine: str = "COUNTER", **fields: Any) -> tuple[aj.TileConfig, tile.TileState]:
    """A tile with the same converters both ways, and weights up to 0.6."""
    io = aj.IOParameters(**{"inp_sto_round": True, **fields})
    config = aj.SingleRPUConfig(device=aj.IdealDevice(), forward=io, backward=io, noise_engine=engine)
    state = tile.init(config, jax.random.key(0), SHAPE)
    weights = jax.random.uniform(jax.random.key(1), SHAPE, minval=-0.6, maxval=0.6)
    return config, tile.set_weights(config, state, weights, jax.random.key(2))


def value(config: aj.TileConfig, state: tile.TileState, x: jax.Array, key: jax.Array) -> jax.Array:
    """One number of a product."""
    return (tile.forward(config, state, x, key) * AIM).sum()


NUMBERS = ("out_noise", "inp_noise", "w_noise", "out_scale", "ir_drop", "r_series", "inp_asymmetry", "out_asymmetry")
DIRECTION = jax.random.normal(jax.random.key(5), SHAPE)


def moved(config: aj.TileConfig, state: tile.TileState, along: jax.Array) -> tuple[aj.TileConfig, tile.TileState, Any]:
    """Weights, inputs and numbers, each moved along a direction of its own by a number; ``along`` has the three."""
    weights, inputs, numbers = along
    io = config.forward
    changes = {f"forward.{name}": getattr(io, name) * (1 + numbers) for name in NUMBERS if io.present(name)}
    state = dataclasses.replace(state, weights=state.weights + weights * DIRECTION)
    return aj.config.replace(config, changes), state, X + inputs * jnp.where(X != 0, 0.7 * jnp.sin(9 * X), 0)


@functools.partial(jax.jit, static_argnames="count")
def compared(config: aj.TileConfig, state: tile.TileState, step: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Derivatives and finite differences along the three directions, each ``(count, 3)``: a line for each key."""

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        def f(along: jax.Array) -> jax.Array:
            return value(*moved(config, state, along), key)

        ends = jax.vmap(f)(jnp.concatenate([step * jnp.eye(3), -step * jnp.eye(3)]))
        return jax.jacfwd(f)(jnp.zeros(3)), (ends[:3] - ends[3:]) / (2 * step)

    return jax.vmap(one)(jax.random.split(jax.random.key(7), count))


@pytest.mark.parametrize("name", some(VARIANTS, ["managed"], ["compressed", "digital_sum"]))
def test_derivatives_are_those_of_the_mean(name: str) -> None:
    # 4000 keys; noise and stochastic rounding make staircases straight in the mean
    step = 0.005 if name == "clipped" else 0.02  # the edge of the range is as sharp as the noise is small
    slope, difference = compared(*built(**VARIANTS[name]), step, 4000)
    error = (slope - difference).std(0) / 4000**0.5
    assert (abs(slope.mean(0)) > 0.001).all()  # there is something to see
    np.testing.assert_array_less(abs((slope - difference).mean(0)), 5 * error + 0.04 * abs(difference.mean(0)))


@pytest.mark.parametrize("engine", some(["COUNTER", "THREEFRY"], ["COUNTER"]))
def test_the_derivative_of_a_spread_is_the_noise_of_the_reading_that_counted(engine: str) -> None:
    # without rounding a product is a smooth function of its numbers, with as many readings as it took
    fields = {**SMOOTH, "out_bound": 0.3, "inp_noise": 0.01, "out_noise": 0.01, "w_noise": 0.01}
    config, state = built(engine, **fields, w_noise_type="PCM_READ")
    key, step = jax.random.key(21), 5e-4

    @jax.jit
    def f(weights: jax.Array, numbers: jax.Array) -> jax.Array:
        return tile.forward(*moved(config, state, jnp.array([weights, 0.0, numbers])), key)

    for place in (0, 1):
        ends = [f(*(sign * step * jnp.eye(2)[place])) for sign in (1, -1)]
        slope = jax.jacfwd(f, place)(0.0, 0.0)
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), atol=2e-3)
    assert float(abs(slope).max()) > 0.05


def test_rounding_and_readings_pass_and_what_is_clipped_does_not() -> None:
    config, state = built(out_bound=0.2, out_noise=0.0, inp_sto_round=False)
    key = jax.random.key(12)

    def total(x: jax.Array, config: aj.TileConfig = config) -> jax.Array:
        return (tile.forward(config, state, x, key) * AIM).sum()

    np.testing.assert_allclose(jax.grad(total)(X), AIM @ state.weights, atol=1e-5)  # the row of zeros as well
    once = aj.config.replace(config, {"forward.bound_management": "NONE"})
    _, clipped = tile.forward_with_mask(once, state, X, key)
    assert 0 < clipped.sum() < clipped.size - 3
    np.testing.assert_allclose(jax.grad(total)(X, once), jnp.where(clipped, 0, AIM) @ state.weights, atol=1e-5)
    roomy = aj.config.replace(config, {"backward.out_bound": 12.0})  # nothing is read again in this direction
    back = jax.grad(lambda d: (tile.backward(roomy, state, d, key) * X).sum())(AIM)
    np.testing.assert_allclose(back, X @ state.weights.T, atol=1e-5)


@pytest.mark.slow
def test_modes_and_transformations_agree() -> None:
    config, state = built(out_bound=0.4, w_noise=0.1, w_noise_type="ADDITIVE_CONSTANT", engine="COUNTER")
    key = jax.random.key(13)

    def f(numbers: jax.Array, weights: jax.Array, x: jax.Array) -> jax.Array:
        changed = aj.config.replace(config, {"forward.out_noise": numbers[0], "forward.w_noise": numbers[1]})
        return value(changed, dataclasses.replace(state, weights=weights), x, key)

    point = (jnp.array([0.06, 0.1]), state.weights, X)
    reverse = jax.grad(f, (0, 1, 2))(*point)
    for other in (
        jax.jacfwd(f, (0, 1, 2))(*point),
        jax.jit(jax.grad(f, (0, 1, 2)))(*point),
        jax.tree.map(lambda a: a[0], jax.vmap(jax.grad(f, (0, 1, 2)))(*jax.tree.map(lambda a: a[None], point))),
        jax.lax.scan(lambda carry, p: (carry, jax.grad(f, (0, 1, 2))(*p)), 0, jax.tree.map(lambda a: a[None], point))[
            1
        ],
        jax.grad(lambda p: jax.lax.scan(lambda c, x: (c + f(*p[:2], x), None), 0.0, p[2][None])[0])(point),
        jax.grad(lambda p: jax.checkpoint(f)(*p))(point),
    ):
        for one, two in zip(reverse, other, strict=True):
            np.testing.assert_allclose(one, two.reshape(one.shape), rtol=2e-4, atol=1e-4)
    assert jnp.isfinite(jax.hessian(f, 1)(*point)).all()


@pytest.mark.parametrize("name", some(VARIANTS, ["pcm"], ["wires"]))
def test_silence_gives_no_nan(name: str) -> None:
    config, state = built(**VARIANTS[name])
    gradients = jax.jit(jax.grad(value, (0, 1, 2)))(config, state, jnp.zeros_like(X), jax.random.key(14))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients) if np.asarray(leaf).dtype.kind == "f")


def test_an_update_by_pulses_has_none_and_says_so() -> None:
    config, key = aj.SingleRPUConfig(), jax.random.key(15)
    state, exact = tile.init(config, key, SHAPE), built()

    def moved_by(x: jax.Array, config: aj.TileConfig, state: tile.TileState) -> jax.Array:
        return tile.update(config, state, x, AIM, 0.1, key).weights.sum()

    for wrap in (lambda f: f, jax.jit):
        with pytest.raises(aj.ModuleError, match="tile.update has no derivative.*tile.forward"):
            jax.grad(wrap(lambda x: moved_by(x, config, state)))(X)
    np.testing.assert_allclose(jax.grad(moved_by)(X, *exact)[0], jnp.full(5, -0.1 * AIM[0].sum()), rtol=1e-5)

    def after_an_update(x: jax.Array) -> jax.Array:
        new = tile.update(config, state, jax.lax.stop_gradient(x), AIM, 0.1, key)
        return (tile.forward(config, new, x, key) * AIM).sum()

    assert jnp.isfinite(jax.grad(after_an_update)(X)).all()
