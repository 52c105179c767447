"""Loops run as often as they say, whatever the compiler knows."""

from __future__ import annotations

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import aihwjax
from aihwjax.loops import apart, in_strides, once, repeat_while

SOURCES = sorted(Path(aihwjax.__file__).parent.rglob("*.py"))


def test_only_one_file_makes_loops_whose_rounds_can_be_miscounted() -> None:
    found = [
        path.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name | ast.alias)
        if "while_loop" in (getattr(node, "attr", ""), getattr(node, "id", ""), getattr(node, "name", ""))
    ]
    assert set(found) == {"loops.py"}


@pytest.mark.parametrize("stride", [1, 2, 32])
def test_strides(stride: int) -> None:
    def rounds(limit: int) -> jax.Array:
        return in_strides(limit, stride, lambda at, seen: seen.at[at].add(1), jnp.zeros(70, jnp.int32))

    for limit in (0, 1, stride - 1, stride, stride + 1, 33, 64, 65):
        expected = [int(at < limit and at % stride == 0) for at in range(70)]
        assert jax.jit(lambda limit=limit: rounds(limit))().tolist() == expected
        assert jax.jit(rounds)(limit).tolist() == expected


def test_a_stride_within_a_stride_on_a_known_number_of_rounds() -> None:
    # what JAX 0.10 makes nothing of if it is written with while_loop
    def rounds(total: int) -> jax.Array:
        def outer(begin: jax.Array, seen: jax.Array) -> jax.Array:
            return in_strides(jnp.minimum(total - begin, 32), 2, lambda _, s: s + 1, seen)

        return in_strides(total, 32, outer, jnp.zeros((), jnp.int32))

    for total in (1, 2, 3, 31, 32, 33, 65):
        assert jax.jit(lambda total=total: rounds(total))() == -(-total // 2)


def test_repeating_while_something_holds() -> None:
    doubled = jax.jit(lambda: repeat_while(lambda c: c < 1, lambda c: c + 2, jnp.zeros((), jnp.int32)))()
    assert doubled == 2


def test_once() -> None:
    for due in (False, True):
        assert jax.jit(lambda due=due: once(jnp.asarray(due), lambda on, v: v + on, jnp.zeros(())))() == due


def test_what_is_made_apart_is_the_same_with_derivatives_in_both_modes() -> None:
    def plain(numbers: jax.Array, factor: jax.Array) -> dict[str, jax.Array]:
        return {"sine": jnp.sin(factor * numbers), "whole": jnp.round(numbers).astype(int)}

    def summed(numbers: jax.Array, factor: jax.Array) -> jax.Array:
        return (apart(plain, numbers, factor)["sine"].T ** 2).sum()

    numbers, factor = jnp.linspace(0, 3, 12).reshape(3, 4), jnp.float32(0.7)
    made = jax.jit(lambda *given: apart(plain, *given))(numbers, factor)
    assert (made["whole"] == jnp.round(numbers)).all()
    assert jnp.allclose(made["sine"], jnp.sin(factor * numbers))
    slope = jnp.sum(numbers * jnp.sin(2 * factor * numbers))
    assert jax.grad(summed, 1)(numbers, factor) == pytest.approx(float(slope), rel=1e-5)
    assert jax.jacfwd(summed, 1)(numbers, factor) == pytest.approx(float(slope), rel=1e-5)
    each = jax.vmap(summed, (None, 0))(numbers, jnp.stack([factor, 2 * factor]))
    assert each.tolist() == pytest.approx([float(summed(numbers, scale * factor)) for scale in (1, 2)], rel=1e-5)
