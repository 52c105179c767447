"""The information of the readings, put together from few derivatives, is that of all of them one by one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import aihwjax as aj
from aihwjax.fitting.curvature import curvature, numbers_of, solved, unknowns_of
from aihwjax.fitting.likelihood import DRAW, PRIOR, forecasts, prepared
from aihwjax.fitting.search import information
from aihwjax.fitting.unknowns import Layout, starts
from tests.fitting.simulated import measured

DEVICES = 5
SPREAD: dict[str, Any] = {"dw_min": 0.03, "dw_min_dtod": 0.2, "w_max_dtod": 0.1, "dw_min_std": 0.3}


def problem(model: aj.devices.PulsedDevice) -> tuple[Any, Layout, Any, Any]:
    """Return device, layout, data and numbers of five devices that are somewhere."""
    data, _ = prepared(measured(model, 12, devices=DEVICES), model)
    layout = Layout.of(model, DEVICES)
    unknowns = starts(model, layout, data, jax.random.key(0))
    vector, whole = ravel_pytree(unknowns)
    away = 0.1 * jax.random.normal(jax.random.key(1), vector.shape)
    return model, layout, data, whole(vector + away)


@pytest.mark.slow  # slopes that refer to the mean bound; exponents of each device and of all
@pytest.mark.parametrize("kind", [aj.LinearStepDevice, aj.PowStepDevice])
def test_information_is_that_of_all_derivatives(kind: type[aj.devices.PulsedDevice]) -> None:
    device, layout, data, unknowns = problem(kind(**SPREAD))
    vector, whole = ravel_pytree(unknowns)

    def told(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
        return forecasts(whole(vector), device, layout, data, 1, False)[:2]

    assert not np.asarray(data["top_rests"]).any() and not np.asarray(data["bottom_rests"]).any()
    variance = np.asarray(jax.jit(told)(vector)[1], np.float64).ravel()
    mean, spread = (
        np.asarray(slope, np.float64).reshape(-1, vector.size) for slope in jax.jit(jax.jacfwd(told))(vector)
    )
    prior = ravel_pytree(
        {**jax.tree.map(jnp.zeros_like, unknowns), "draws": jax.tree.map(jnp.ones_like, unknowns["draws"])}
    )
    exact = (mean.T / variance) @ mean + (spread.T / (2 * variance**2)) @ spread
    exact += np.diag(np.full(vector.size, PRIOR**-2) + np.asarray(prior[0]) * DRAW**-2)
    choices: dict[str, Any] = {"layout": layout, "longest": 1, "noisy": False, "resting": False}
    found = np.asarray(information(unknowns, device, data, **choices), np.float64)
    scale = np.sqrt(np.diag(exact))
    np.testing.assert_allclose(found / np.outer(scale, scale), exact / np.outer(scale, scale), atol=1e-4)

    # a step is the solution of the system
    numbers = numbers_of(unknowns, layout)
    slope = jax.random.normal(jax.random.key(2), vector.shape) * jnp.asarray(scale, jnp.float32)
    slope = ravel_pytree(_centred(whole(slope)))[0]
    told_of = curvature(numbers, unknowns, device, layout, data, 1, False)
    step = solved(told_of, jnp.float32(0.0), numbers_of(whole(slope), layout))
    given = exact @ np.asarray(ravel_pytree(unknowns_of(step, layout, unknowns))[0], np.float64)
    np.testing.assert_allclose(given / scale, np.asarray(slope) / scale, atol=0.02)


def _centred(slope: Any) -> Any:
    """Return a slope as a likelihood has it: the mean of draws is nothing."""
    return {**slope, "draws": {name: value - value.mean() for name, value in slope["draws"].items()}}
