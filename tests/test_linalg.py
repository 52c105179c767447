"""A matrix on an analog tile: exact on exact tiles, fresh noise for each vector, in solvers, updated by pulses."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.sparse.linalg import cg, gmres

import aihwjax as aj
from aihwjax.errors import DataError, MissingExtraError, NonFiniteError, ShapeError
from aihwjax.linalg import AnalogMatrix
from tests.nn.models import WIDE_DEVICE, exact, inputs

KEY = jax.random.key(3)
DENSE = inputs(3, 4)
SCALED = aj.MappingParameter(weight_scaling_omega=1.0)
LAYOUTS = {
    "as it is": exact(),
    "scaled": exact(weight_scaling_omega=0.5),
    "scaled by row": exact(weight_scaling_omega=0.5, weight_scaling_columnwise=True),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_exact_tile_is_the_matrix(name: str) -> None:
    a = AnalogMatrix(DENSE, LAYOUTS[name], key=0)
    x, d = inputs(4, seed=5), inputs(3, seed=6)
    assert a.shape == (3, 4) and a.dtype == jnp.float32 and a.to_dense().shape == (3, 4)
    for ours, theirs in (
        (a.to_dense(), DENSE),
        (a @ x, DENSE @ x),
        (a(x), DENSE @ x),
        (d @ a, d @ DENSE),
        (np.asarray(d) @ a, d @ DENSE),
        (a @ inputs(4, 5), DENSE @ inputs(4, 5)),
        (a.matmat(inputs(4, 5), key=KEY), DENSE @ inputs(4, 5)),
        (inputs(2, 3) @ a, inputs(2, 3) @ DENSE),
        (jax.jit(lambda a, x: a @ x)(a, x), DENSE @ x),
        (jax.jit(lambda x: a @ x)(x), DENSE @ x),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_noise_is_of_the_vector_or_of_a_key() -> None:
    a = AnalogMatrix(0.1 * jnp.ones((30, 4)), aj.InferenceRPUConfig(mapping=SCALED), key=0)
    x = jnp.ones(4)
    np.testing.assert_array_equal(a @ x, a @ x)
    noise, nearby = a @ x - a.to_dense() @ x, a @ (1.0001 * x) - a.to_dense() @ x
    assert (np.asarray(noise) != nearby).mean() > 0.5
    assert abs(np.corrcoef(noise, nearby)[0, 1]) < 0.6
    other = AnalogMatrix(0.1 * jnp.ones((30, 4)), aj.InferenceRPUConfig(mapping=SCALED), key=1)
    for different in (other @ x, a.matvec(x, key=KEY), a.matvec(x, key=4)):
        assert (np.asarray(different) != a @ x).mean() > 0.5
    np.testing.assert_array_equal(a.matvec(x, key=4), a.matvec(x, key=jax.random.key(4)))
    assert (np.asarray((a @ jnp.stack([x, 2 * x], 1)) / jnp.array([1.0, 2.0])).std(1) > 0).mean() > 0.5


def test_solvers_take_it() -> None:
    system = jnp.eye(6) + 0.1 * inputs(6, 6)
    symmetric = system @ system.T
    b = inputs(6, seed=8)
    for solver, matrix in ((gmres, system), (cg, symmetric)):
        solution, _ = solver(AnalogMatrix(matrix, exact(), key=0), b, tol=1e-6)
        np.testing.assert_allclose(solution, jnp.linalg.solve(matrix, b), rtol=1e-3, atol=1e-3)
    noisy = AnalogMatrix(system, aj.InferenceRPUConfig(mapping=SCALED), key=0)
    solution, _ = jax.jit(lambda a, b: gmres(a, b, tol=1e-2, maxiter=3))(noisy, b)
    assert jnp.linalg.norm(system @ solution - b) < 0.5 * jnp.linalg.norm(b)


def test_outer_products_are_added_by_pulses() -> None:
    x, d = inputs(4, seed=5), inputs(3, seed=6)
    for alpha in (0.3, -0.3, jnp.asarray(-0.3)):
        for config in LAYOUTS.values():
            a = AnalogMatrix(DENSE, config, key=0)
            expected = DENSE + alpha * jnp.outer(d, x)
            np.testing.assert_allclose(a.update(x, d, alpha, key=KEY).to_dense(), expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(a.to_dense(), a.to_dense())
    device = WIDE_DEVICE.replace({"dw_min": 0.001, "dw_min_std": 0.0, "dw_min_dtod": 0.0, "up_down_dtod": 0.0})
    pulsed = AnalogMatrix(0.1 * DENSE, aj.SingleRPUConfig(device=device), key=0)
    after = jax.vmap(lambda key: pulsed.update(x, d, 0.005, key=key).to_dense())(jax.random.split(KEY, 200))
    np.testing.assert_allclose(after.mean(0) - pulsed.to_dense(), 0.005 * jnp.outer(d, x), atol=1e-3)


def test_it_is_a_pytree() -> None:
    keys = jnp.arange(3)
    several = jax.vmap(lambda key: AnalogMatrix(0.1 * DENSE, aj.SingleRPUConfig(), key=jax.random.key(key)))(keys)
    products = jax.vmap(lambda a: a @ jnp.ones(4))(several)
    assert products.shape == (3, 3) and (np.asarray(products[0]) != products[1]).any()
    assert repr(AnalogMatrix(0.1 * DENSE, key=0)) == "AnalogMatrix(3x4, ConstantStepDevice)"


def test_what_the_devices_cannot_hold_is_said() -> None:
    with pytest.warns(UserWarning, match=r"of 12 entries are not what they were written as.*weight_scaling_omega"):
        AnalogMatrix(10 * DENSE, aj.SingleRPUConfig(), key=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AnalogMatrix(10 * DENSE, aj.InferenceRPUConfig(mapping=SCALED), key=0)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "axes": (lambda: AnalogMatrix(jnp.ones(3), key=0), ShapeError, "matrix has shape (3,), give (rows, columns)"),
    "empty": (lambda: AnalogMatrix(jnp.ones((0, 3)), key=0), DataError, "matrix has shape (0, 3), which is empty"),
    "nan": (lambda: AnalogMatrix(jnp.full((2, 2), jnp.nan), key=0), NonFiniteError, "matrix"),
    "text": (lambda: AnalogMatrix([["a"]], key=0), DataError, "matrix"),  # type: ignore[arg-type]
    "x": (lambda: AnalogMatrix(0.1 * DENSE, key=0) @ jnp.ones(3), ShapeError, "x has shape (3,), give (4,)"),
    "d": (lambda: jnp.ones(4) @ AnalogMatrix(0.1 * DENSE, key=0), ShapeError, "d has shape (4,), give (3,)"),
    "matrix": (lambda: AnalogMatrix(0.1 * DENSE, key=0).matmat(jnp.ones(4)), ShapeError, "give (4, k)"),
    "key": (lambda: AnalogMatrix(0.1 * DENSE, key="a"), aj.ConfigError, "key="),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line(name: str) -> None:
    call, kind, text = WRONG[name]
    with pytest.raises(kind) as caught:
        call()
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_lineax_is_asked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    a = AnalogMatrix(DENSE, exact(), key=0)
    monkeypatch.setitem(sys.modules, "lineax", None)
    with pytest.raises(MissingExtraError, match="aihwjax.lineax."):
        a.as_lineax()


def test_lineax_solves_with_it() -> None:
    lineax = pytest.importorskip("lineax")
    system, b = jnp.eye(6) + 0.1 * inputs(6, 6), inputs(6, seed=8)
    a, inverse = AnalogMatrix(system, exact(), key=0), AnalogMatrix(jnp.linalg.inv(system), exact(), key=1)
    gmres = lineax.GMRES(rtol=1e-5, atol=1e-5)

    @jax.jit
    def both(a: AnalogMatrix, inverse: AnalogMatrix, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        options = {"preconditioner": inverse.as_lineax()}
        plain = lineax.linear_solve(a.as_lineax(), b, solver=gmres).value
        return plain, lineax.linear_solve(lineax.MatrixLinearOperator(system), b, solver=gmres, options=options).value

    for solution in both(a, inverse, b):
        np.testing.assert_allclose(solution, jnp.linalg.solve(system, b), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(a.as_lineax().T.mv(b), system.T @ b, rtol=1e-5, atol=1e-5)
    slope = jax.grad(lambda b: lineax.linear_solve(a.as_lineax(), b, solver=gmres).value.sum())(b)
    np.testing.assert_allclose(slope, jnp.linalg.solve(system.T, jnp.ones(6)), rtol=1e-3, atol=1e-3)
