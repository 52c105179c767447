"""The input range of a tile as pure functions: products, updates, training of the range, calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import hypergeom

import aihwjax as aj
from aihwjax.errors import AihwjaxError
from tests.nn.models import inputs, ranged

KEY = jax.random.key(3)
WEIGHTS = jnp.array([[0.5, -0.25], [0.1, 0.3], [-0.4, 0.2]])


def made(config: aj.TileConfig) -> aj.tile.TileState:
    return aj.tile.set_weights(config, aj.tile.init(config, KEY, (3, 2)), WEIGHTS, KEY)


def test_products_clip_inputs_to_the_range_and_pass_their_gradient() -> None:
    config = ranged()
    state = aj.tile.set_input_range(config, made(config), -1.5)
    x = jnp.array([[1.0, -4.0], [2.0, 0.5]])
    assert float(state.input_range) == 1.5
    np.testing.assert_allclose(aj.tile.forward(config, state, x, KEY), jnp.clip(x, -1.5, 1.5) @ WEIGHTS.T, rtol=1e-6)
    through = jax.grad(lambda x: aj.tile.forward(config, state, x, KEY).sum())(x)
    np.testing.assert_allclose(through, jnp.broadcast_to(WEIGHTS.sum(0), x.shape), rtol=1e-6)


@pytest.mark.parametrize(("quirks", "factor"), [(False, 1.0), (True, 0.5)])
def test_an_update_follows_the_gradient_of_the_product(quirks: bool, factor: float) -> None:
    config = ranged(quirks)
    state = aj.tile.set_input_range(config, made(config), 2.0)
    x, d = inputs(5, 2), inputs(5, 3, seed=2)
    after = aj.tile.update(config, state, x, d, 0.1, KEY)
    step = -0.1 * d.T @ jnp.clip(x, -2, 2)
    np.testing.assert_allclose(after.weights - state.weights, factor * step, atol=1e-6)


def test_a_tile_that_is_drawn_anew_keeps_its_range() -> None:
    config = ranged()
    state = aj.tile.set_input_range(config, made(config), 0.7)
    assert float(aj.tile.redraw(config, state, KEY).input_range) == pytest.approx(0.7)


def test_a_step_of_the_range_starts_from_data_and_follows_its_gradient() -> None:
    config = ranged(init_from_data=2, init_std_alpha=1.0, decay=0.0, gradient_relative=False)
    state, x = made(config), 3 * inputs(8, 2)
    d = -jnp.ones((8, 3)) * jnp.sign(x[:, :1])
    limit = float(np.std(np.asarray(x), ddof=1))
    delta = np.asarray(d @ WEIGHTS)
    pull = np.minimum(delta, 0)[np.asarray(x) >= limit].sum() - np.maximum(delta, 0)[np.asarray(x) <= -limit].sum()
    after = aj.tile.input_range_step(config, state, x, d, 0.01, KEY)
    assert pull < 0
    assert float(after.input_range) == pytest.approx(limit - 0.01 * pull, rel=1e-5)
    assert int(after.input_range_count) == 1


def test_steps_of_the_range_are_one_compiled_loop_over_keys() -> None:
    config = aj.InferenceRPUConfig(pre_post=ranged(init_from_data=1).pre_post)
    x, d = inputs(4, 5, 2), inputs(4, 5, 3, seed=2)

    def trained(key: jax.Array) -> jax.Array:
        def step(state: Any, batch: Any) -> Any:
            state = aj.tile.input_range_step(config, state, *batch, 0.1, key)
            return state, state.input_range

        start = aj.tile.set_input_range(config, made(config), 1.0)
        return jax.lax.scan(step, start, (x, d))[1]

    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(trained))(keys)
    np.testing.assert_allclose(together[1], trained(keys[1]), rtol=1e-5)
    assert together.shape == (3, 4) and np.isfinite(together).all()


def expected(method: str, x: np.ndarray, quantile: float, alpha: float) -> float:
    """Return the range that the spec says (inference, section 12), in double precision."""
    live = [batch[np.any(batch != 0, axis=1)] for batch in x.astype(np.float64)]
    match method:
        case "MAX":
            return float(np.abs(x).max())
        case "CACHE_QUANTILE":
            return float(np.quantile(np.concatenate(live), quantile))
        case "MOVING_QUANTILE":
            return float(np.mean([np.quantile(batch, quantile) for batch in live]))
    return float(np.mean([alpha * batch.std(ddof=1) for batch in live]))


@pytest.mark.parametrize("quantile", [0.99995, 0.9, 0.3])
@pytest.mark.parametrize("method", ["MAX", "CACHE_QUANTILE", "MOVING_QUANTILE", "MOVING_STD"])
def test_every_calibration_is_its_formula(method: str, quantile: float) -> None:
    config = ranged()
    x = jnp.abs(inputs(4, 30, 2)).at[1, :7].set(0.0)  # vectors of zeros do not count
    state = aj.tile.calibrate(config, made(config), x, method, key=KEY, quantile=quantile, std_alpha=1.7)
    assert float(state.input_range) == pytest.approx(expected(method, np.asarray(x), quantile, 1.7), rel=2e-6)


def test_quantiles_of_long_lists_are_those_of_double_precision() -> None:
    config, x = ranged(), jnp.abs(inputs(1, 400000, 2))
    state = aj.tile.calibrate(config, made(config), x, "MOVING_QUANTILE", key=KEY)
    assert float(state.input_range) == pytest.approx(expected("MOVING_QUANTILE", np.asarray(x), 0.99995, 1), rel=1e-5)


def test_the_cache_is_a_random_subset() -> None:
    config, x = ranged(), jnp.arange(1.0, 101.0).reshape(5, 20, 1) * jnp.ones(2)

    def middle(key: jax.Array) -> jax.Array:
        return aj.tile.calibrate(config, made(config), x, key=key, quantile=0.5, max_samples=11).input_range

    found = np.asarray(jax.vmap(middle)(jax.random.split(KEY, 400)))
    # 11 of the 11 that were kept and the last 20; their median is above 80 if more than half are of the last
    share = hypergeom(31, 20, 11).sf(5)
    assert np.mean(found > 80) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 400))


def test_calibration_is_the_same_compiled_and_without_batches_of_its_own() -> None:
    config, x = ranged(), inputs(30, 2)
    one = aj.tile.calibrate(config, made(config), x, "MAX", key=KEY)
    compiled = jax.jit(lambda x: aj.tile.calibrate(config, made(config), x, "MAX", key=KEY).input_range)(x)
    assert float(one.input_range) == float(compiled) == float(jnp.abs(x).max())
    nothing = jax.jit(lambda x: aj.tile.calibrate(config, made(config), x, "MAX", key=KEY).input_range)(0 * x)
    assert np.isnan(nothing)


WRONG: list[tuple[Callable[[aj.TileConfig, Any], Any], str]] = [
    (lambda c, s: aj.tile.set_input_range(c, s, 0.0), "value=0 is not allowed as an input range"),
    (lambda c, s: aj.tile.set_input_range(c, s, jnp.inf), "value=inf is not allowed as an input range"),
    (lambda c, s: aj.tile.set_input_range(c, s, "wide"), "value='wide' is not allowed: give one number"),
    (
        lambda c, s: aj.tile.input_range_step(exact_config(), s, jnp.ones((1, 2)), jnp.ones((1, 3)), 0.1, 0),
        "pre_post.input_range.enable=False is not allowed",
    ),
    (lambda c, s: aj.tile.input_range_step(c, s, jnp.ones((1, 3)), jnp.ones((1, 3)), 0.1, 0), "x has shape"),
    (lambda c, s: aj.tile.input_range_step(c, s, jnp.ones((1, 2)), jnp.ones((2, 3)), 0.1, 0), "d has shape"),
    (lambda c, s: aj.tile.calibrate(c, s, jnp.ones((3, 2)), "MAXIMUM", key=0), "method='MAXIMUM' .*did you mean 'MAX'"),
    (lambda c, s: aj.tile.calibrate(c, s, jnp.ones((3, 4)), key=0), "batches have shape"),
    (lambda c, s: aj.tile.calibrate(c, s, jnp.zeros((3, 2)), key=0), "batches give the input range 0"),
    (lambda c, s: aj.tile.calibrate(c, s, jnp.full((3, 2), jnp.nan), key=0), "batches has 6 NaN"),
    (lambda c, s: aj.tile.calibrate(c, s, jnp.ones((3, 2)), key=0, quantile=1.5), "quantile=1.5 is not allowed"),
    (lambda c, s: aj.tile.calibrate(c, s, jnp.ones((3, 2)), key=0, max_samples=0), "max_samples=0 is not allowed"),
    (lambda c, s: aj.tile.calibrate(c, s, jnp.ones((3, 2)), key=0, std_alpha=-1.0), "std_alpha=-1.0 is not allowed"),
]


def exact_config() -> aj.TileConfig:
    return aj.FloatingPointRPUConfig()


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_mistakes_are_one_line(call: Callable[[aj.TileConfig, Any], Any], message: str) -> None:
    config = ranged()
    with pytest.raises(AihwjaxError, match=message) as caught:
        call(config, made(config))
    assert "\n" not in str(caught.value)
