"""What may have 16 bits, and what is lost where it may not: the figures of the page on accelerators."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx

from aihwjax import nn
from tests.nn.models import exact

RNG = np.random.default_rng(0)


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Return values with so many bits behind the first one."""
    step = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(values), 1e-30))) - bits)
    return np.round(values / step) * step


def test_a_layer_between_layers_of_16_bits_is_in_single_precision_inside() -> None:
    narrow, wide = (nn.AnalogLinear(4, 3, config=exact(), rngs=nnx.Rngs(0), dtype=t) for t in ("bfloat16", None))
    x = jax.random.normal(jax.random.key(0), (5, 4), jnp.bfloat16)
    y = narrow(x, key=0)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, wide(x.astype(jnp.float32), key=0).astype(jnp.bfloat16))
    kinds = {jnp.asarray(leaf).dtype.name for leaf in jax.tree.leaves(nnx.state(narrow))}
    assert "float32" in kinds and not kinds & {"bfloat16", "float16", "float64"}


def test_weights_in_bfloat16_would_lose_steps() -> None:
    before = RNG.uniform(-0.6, 0.6, 100_000).astype(ml_dtypes.bfloat16)
    steps = (before.astype(np.float32) + np.float32(0.001)).astype(ml_dtypes.bfloat16).astype(np.float32)
    moved = (steps - before.astype(np.float32)) / 0.001
    np.testing.assert_allclose([(moved == 0).mean(), moved.mean()], [0.17, 1.22], atol=0.01)


def test_products_in_less_than_single_precision_would_be_wrong_each_time() -> None:
    weights = np.clip(RNG.normal(0, 0.2, (64, 784)), -0.6, 0.6)
    x = RNG.uniform(0, 1, (256, 784))
    z = np.round(63 * x / x.max(1, keepdims=True)) / 63  # what the DAC makes of it
    errors = {bits: rounded(z, bits) @ rounded(weights, bits).T - z @ weights.T for bits in (7, 10)}
    np.testing.assert_allclose(errors[7].std(), 0.0075, rtol=0.1)
    np.testing.assert_allclose(errors[10].std(), 0.0009, rtol=0.1)
    assert errors[7].mean(0).std() > 0.5 * errors[7].std()  # mostly the same for all inputs
