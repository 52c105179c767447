"""Products in single precision: the same numbers in every order of the factors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax.products import outer, product

SIZES = [(1, 1, 1), (5, 3, 1), (1, 7, 4), (6, 4, 9)]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("vectors", "out_size", "in_size"), SIZES)
def test_product_is_the_sum_over_inputs(vectors: int, out_size: int, in_size: int, transposed: bool) -> None:
    rng = np.random.default_rng(0)
    z, weights = rng.normal(size=(3, vectors, in_size)), rng.normal(size=(3, out_size, in_size))
    several = jax.jit(jax.vmap(lambda a, b: product(a, b, transposed=transposed)))
    result = several(jnp.asarray(z, jnp.float32), jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(result, np.einsum("bni,boi->bno", z, weights), rtol=1e-5, atol=1e-5)


def test_gradients_of_a_product_do_not_depend_on_the_order_of_its_factors() -> None:
    rng = np.random.default_rng(1)
    z, weights = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((6, 9), (4, 9)))

    def loss(z: jax.Array, weights: jax.Array, transposed: bool) -> jax.Array:
        return jnp.sum(jnp.sin(product(z, weights, transposed=transposed)))

    first, second = (jax.grad(loss, (0, 1))(z, weights, transposed) for transposed in (False, True))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other platforms take the factors as they are")
def test_the_compiler_for_cpus_leaves_weights_first() -> None:
    compiled = jax.jit(product).lower(jnp.ones((8, 70)), jnp.ones((40, 70))).compile()
    assert "f32[40,8]" in (compiled.as_text() or "")


def test_outer_is_the_sum_over_vectors() -> None:
    rng = np.random.default_rng(2)
    d, x = rng.normal(size=(6, 4)), rng.normal(size=(6, 9))
    result = outer(jnp.asarray(d, jnp.float32), jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(result, np.einsum("no,ni->oi", d, x), rtol=1e-5, atol=1e-5)
