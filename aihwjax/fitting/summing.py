"""From the numbers of each measured device to the fields of a configuration, with their errors.

A mean over devices is known to its spread over the root of their number, besides what the curves leave open; a spread
that is found is too wide by what the curves leave open of each device, which is taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from aihwjax.devices.base import PulsedDevice
from aihwjax.fitting.unknowns import _SCALE, Layout, Unknowns, draws, shape_values, state_of

# Directions that the curves say less about than this part of the best known one count as known to that part only
_FLATTEST = 1e-7


def covariance(information: np.ndarray) -> np.ndarray:
    """Return the covariance, ``(n, n)``, of numbers of which readings have an information.

    Args:
        information: Symmetric up to rounding, ``(n, n)``.
    """
    symmetric = (information + information.T) / 2
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(symmetric)), 1e-12))
    values, vectors = np.linalg.eigh(symmetric * scale[:, None] * scale[None, :])
    values = np.maximum(values, _FLATTEST * values.max())
    inverse = (vectors / values) @ vectors.T
    return inverse * scale[:, None] * scale[None, :]


def of_devices(
    device: PulsedDevice, layout: Layout, unknowns: Unknowns, data: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """Return the numbers of each device whose means and spreads are fields, ``(devices,)`` each.

    ``size`` is what ``dw_min`` and its spread make of a step, ``skew`` what the asymmetry does.
    """
    _, state = state_of(device, layout, unknowns, data)
    assert state.dwmin_up is not None and state.dwmin_down is not None
    assert state.max_bound is not None and state.min_bound is not None
    up, down = state.dwmin_up[0], state.dwmin_down[0]
    skew = (up - down) / 2
    size = (up + down) / 2 + jnp.abs(jnp.mean(skew))
    size = jnp.log(size) if device.dw_min_dtod_log_normal else size
    own = {name: _SCALE * value[0] for name, value in draws(layout, unknowns).items()}
    return {"size": size, "skew": skew, "top": state.max_bound[0], "bottom": state.min_bound[0], **own}


@partial(jax.jit, static_argnames="layout")
def _values_and_slopes(
    device: PulsedDevice, unknowns: Unknowns, data: Mapping[str, jax.Array], layout: Layout
) -> tuple[Any, Any]:
    """Return the numbers of each device and those that all share, and their derivatives by all that was searched."""
    vector, whole = ravel_pytree(unknowns)

    def values(vector: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        own = whole(vector)
        common = {**shape_values(device, layout, own), "dw_min_std": jnp.exp(own["noise"])}
        return of_devices(device, layout, own, data), common

    return values(vector), jax.jacfwd(values)(vector)


def summed(
    device: PulsedDevice, layout: Layout, unknowns: Unknowns, data: Mapping[str, jax.Array], told: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of the fitted configuration, and the standard errors of those that were fitted.

    Args:
        device: The model.
        layout: Which of its numbers were searched.
        unknowns: What was found.
        data: The measurement.
        told: Information of the readings on the numbers.
    """
    spread_of_numbers = covariance(np.asarray(told, np.float64))
    (values, common), (slopes, common_slopes) = _values_and_slopes(device, unknowns, data, layout)
    devices = layout.devices
    mean, mean_error, spread, spread_error = {}, {}, {}, {}
    for name, found in values.items():
        own, slope = np.asarray(found, np.float64), np.asarray(slopes[name], np.float64)
        known = slope @ spread_of_numbers @ slope.T
        together = known.sum() / devices**2
        mean[name] = own.mean()
        if devices == 1:
            mean_error[name], spread[name], spread_error[name] = np.sqrt(together), 0.0, 0.0
            continue
        total = own.var(ddof=1)
        open_ = (np.trace(known) - known.sum() / devices) / (devices - 1)
        real = max(total - open_, 0.0)
        mean_error[name] = np.sqrt(together + real / devices)
        spread[name] = np.sqrt(real)
        # of the variance total / sqrt((n - 1) / 2); of its root half of that, relative, as far as it can be told from 0
        spread_error[name] = total / np.sqrt(2 * (devices - 1)) / max(spread[name], np.sqrt(total) / 2)

    fields: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    skew, log = mean["skew"], device.dw_min_dtod_log_normal
    step = float(np.exp(mean["size"]) if log else mean["size"])
    step_error = mean_error["size"] * (step if log else 1.0)
    fields |= {"dw_min": step, "up_down": 2 * skew / step, "w_max": mean["top"], "w_min": mean["bottom"]}
    errors |= {"dw_min": step_error, "up_down": 2 * mean_error["skew"] / step}
    errors |= {"w_max": mean_error["top"], "w_min": mean_error["bottom"]}
    if devices > 1:
        relative = {"dw_min_dtod": ("size", 1.0 if log else step), "up_down_dtod": ("skew", step)}
        relative |= {"w_max_dtod": ("top", abs(mean["top"])), "w_min_dtod": ("bottom", abs(mean["bottom"]))}
        relative |= {f"{name}_dtod": (name, 1.0) for name in layout.draws}
        for field, (name, unit) in relative.items():
            unit = max(unit, 1e-9)
            fields[field], errors[field] = spread[name] / unit, spread_error[name] / unit
    for name, number in common.items():
        slope = np.asarray(common_slopes[name], np.float64)
        variance = np.einsum("...i,ij,...j->...", slope, spread_of_numbers, slope)
        fields[name] = np.asarray(number, np.float64)
        if name in layout.draws:
            relative_spread = _spread_of(device, name, spread[name], fields[name])
            variance = variance + relative_spread**2 / devices
        errors[name] = np.sqrt(np.maximum(variance, 0.0))
    return fields, errors


def _spread_of(device: PulsedDevice, name: str, spread: float, value: Any) -> Any:
    """Return the spread of a drawn field in its own unit: some spreads are relative to the field."""
    return spread * np.abs(value) if name in device.relative_draws else spread
