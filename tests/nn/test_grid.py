"""The matrix of a layer on stacks of equal tiles: cut, multiplied and put together again."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax.nn.grid import TileGrid


@pytest.mark.parametrize(
    ("grid", "shapes"),
    [
        (TileGrid(3, 4, 1, 0, 0), [(3, 4)]),
        (TileGrid(4, 4, 1, 2, 2), [(4, 2, 2)]),
        (TileGrid(7, 5, 1, 3, 2), [(2, 3, 2), (4, 2, 2), (3, 1), (2, 2, 1)]),
        (TileGrid(3, 5, 4, 0, 0), [(4, 3, 5)]),
        (TileGrid(5, 7, 3, 2, 3), [(6, 2, 3), (3, 1, 3), (12, 2, 2), (6, 1, 2)]),
        (TileGrid(1, 1, 1, 0, 0), [(1, 1)]),
    ],
)
def test_products_of_the_parts_are_the_product(grid: TileGrid, shapes: list[tuple[int, ...]]) -> None:
    draw = np.random.default_rng(0).normal
    matrix = draw(size=(grid.groups * grid.rows, grid.columns)).astype(np.float32)
    x = draw(size=(6, grid.groups * grid.columns)).astype(np.float32)
    parts = grid.cut(jnp.asarray(matrix))
    assert [part.shape for part in parts] == shapes
    np.testing.assert_array_equal(grid.assembled(parts), matrix)
    y = [grid.input(index, jnp.asarray(x)) @ jnp.swapaxes(part, -1, -2) for index, part in enumerate(parts)]
    by_group = np.einsum(
        "ngi,goi->ngo", x.reshape(6, grid.groups, -1), matrix.reshape(grid.groups, grid.rows, grid.columns)
    )
    np.testing.assert_allclose(grid.outputs(y), by_group.reshape(6, -1), rtol=1e-4, atol=1e-5)


def test_the_column_of_an_analog_bias_goes_with_each_group() -> None:
    matrix = jnp.arange(12.0).reshape(4, 3)
    (part,) = TileGrid(2, 2, 2, 0, 0).cut(matrix)
    np.testing.assert_array_equal(part, matrix.reshape(2, 2, 3))
