"""Fit a device to measured pulse curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax import arguments, presets, random
from aihwjax import devices as device_classes
from aihwjax.config import registered
from aihwjax.devices.base import PulsedDevice
from aihwjax.devices.device import Device
from aihwjax.errors import ConfigError, nearest
from aihwjax.fitting.curves import PulseCurves
from aihwjax.fitting.likelihood import FIRST_NOISE, prepared
from aihwjax.fitting.result import DeviceFit
from aihwjax.fitting.search import FAR, NEAR, beginnings, information, judged, search
from aihwjax.fitting.summing import summed
from aihwjax.fitting.unknowns import Layout, state_of
from aihwjax.precision import in_single
from aihwjax.random import Noise

_ITERATIONS = 100
# Iterations that lead to the neighbourhood in which the likelihood is smooth
_ROUGH = 20


class Response(Protocol):
    """Curves of devices that all got the same pulses, such as those of ``aj.plot.compute_pulse_response``."""

    @property
    def weights(self) -> np.ndarray:
        """Weights before the first and after each pulse, ``(readings, devices)``."""

    @property
    def signs(self) -> np.ndarray:
        """Direction of each pulse, 1 up or -1 down, ``(readings - 1,)``."""


@arguments.answered
@in_single
def fit_device(
    measurements: PulseCurves | Response | str | Path,
    model: Device | type[Device] | str = "SoftBoundsDevice",
    *,
    weight_range: tuple[float, float] | None = None,
    restarts: int = 4,
    iterations: int = _ITERATIONS,
    key: Noise = 0,
) -> DeviceFit:
    """Fit the parameters of a device, and their spread over devices, to measured pulse curves.

    From each reading the next one is predicted by the device's own law, with the noise of its pulses, for each measured
    device with numbers of its own: step sizes, bounds, and what else the model draws for a crosspoint. Gradients of the
    likelihood lead from the model's values, and from others beside them, to the best numbers. Means and spreads over
    the devices become fields, with errors from the information that the curves hold.

    Fitted are ``dw_min``, ``up_down``, ``w_max``, ``w_min``, their spreads ``*_dtod`` (of several devices),
    ``dw_min_std``, and the fields that shape the steps (``fitted`` of the class). All others stay as in the model,
    among them what pulse curves cannot tell apart: ``a`` and ``b`` of exponential steps, and references. With
    ``write_noise_std`` above 0 in the model, noise of the readings is taken for write noise.

    Args:
        measurements: Curves, a pulse response, or a CSV file (:meth:`PulseCurves.from_csv
            <aihwjax.fitting.curves.PulseCurves.from_csv>`).
        model: A device with the values at which to begin and with all choices, or the name of a class or preset.
        weight_range: For a file: weights to which the smallest and the largest conductance are mapped.
        restarts: Starts of the search, in one call: the first from the model's values.
        iterations: Most iterations of a search.
        key: Of the other starts.

    Raises:
        DataError: If the curves are too short, or cannot be weights.
        ConfigError: If there is no such model, or it has no pulses.
    """
    source = random.plain(random.as_noise(key))
    given = model_of(model)
    curves = _curves(measurements, weight_range)
    device = given.resolved()
    if not isinstance(device, PulsedDevice):
        raise ConfigError(f"model={type(given).__name__} is not allowed: it has no pulses; give a single pulsed device")
    for name, value in (("restarts", restarts), ("iterations", iterations)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ConfigError(f"{name}={value!r} is not allowed: give a whole number of at least 1")
    layout = Layout.of(device, curves.weights.shape[1])
    shared = 1 + sum(int(np.size(getattr(device, name))) for name in layout.shape)
    curves.check(shared, layout.each)
    data, noise = prepared(curves, device)
    known = curves.known
    choices: dict[str, Any] = {
        "layout": layout,
        "longest": int(np.abs(curves.pulses[known]).max()),
        "noisy": noise > 0,
        "resting": bool(np.asarray(data["top_rests"]).any() or np.asarray(data["bottom_rests"]).any()),
    }
    device = device.replace(write_noise_std=0.0) if "write_noise_std" in vars(device) else device
    if not device.present("dw_min_std"):
        device = device.replace(dw_min_std=0.3)
    begin = beginnings(device, data, source, layout=layout, restarts=restarts)
    rough = {**data, "least": jnp.full_like(data["least"], FIRST_NOISE)}
    most, far, near = (min(iterations, _ROUGH), iterations), jnp.float32(FAR), jnp.float32(NEAR)
    first = search(begin, device, rough, jnp.int32(most[0]), far, **choices)
    # with so much noise besides, that of the pulses was not to be seen
    begin = {**first.unknowns, "noise": begin["noise"]}
    found = search(begin, device, data, jnp.int32(most[1]), near, **choices)
    losses = np.asarray(found.loss, np.float64)
    if not np.isfinite(losses).any():
        raise ConfigError(
            f"no start of the fit led anywhere: give a {type(given).__name__} that is nearer to the curves"
        )
    best = jax.tree.map(lambda leaf: leaf[int(np.argmin(losses))], found.unknowns)
    told = np.asarray(information(best, device, data, **choices))
    fields, errors = summed(device, layout, best, data, told)
    return _result(given, device, curves, best, data, choices, fields, errors, losses, noise)


def _result(
    given: Device,
    device: PulsedDevice,
    curves: PulseCurves,
    best: Any,
    data: Any,
    choices: dict[str, Any],
    fields: dict[str, Any],
    errors: dict[str, Any],
    losses: np.ndarray,
    noise: float,
) -> DeviceFit:
    read = np.isfinite(curves.weights)
    begin = np.argmax(read, axis=0)
    first = curves.weights[begin, np.arange(read.shape[1])]
    # pulses before the first reading are not simulated
    pulses = np.where(np.arange(len(curves.pulses))[:, None] >= begin, curves.pulses, 0)
    judgement = judged(best, device, data, jnp.asarray(first, jnp.float32), jnp.asarray(pulses, jnp.int32), **choices)
    response = np.asarray(judgement.response, np.float64)
    off = np.where(read, curves.weights - response, 0.0)
    centred = np.where(read, curves.weights - curves.weights[read].mean(), 0.0)
    free = curves.known & ~np.asarray(data["at_top"]) & ~np.asarray(data["at_bottom"])
    deviations = np.asarray(judgement.deviations, np.float64)[free]
    _, state = state_of(device, choices["layout"], best, data)
    names = ("dwmin_up", "dwmin_down", "max_bound", "min_bound")
    crosspoints = {name: np.asarray(getattr(state, name), np.float64)[0] for name in names}
    fitted = device.replace({name: _plain(getattr(device, name), value) for name, value in fields.items()})
    if "write_noise_std" in vars(given) and given.present("write_noise_std"):
        fitted = fitted.replace(write_noise_std=noise / float(fields["dw_min"]))
    final, errors = given.of_resolved(fitted, errors)
    return DeviceFit(
        device=final,
        errors={name: _plain(0.0, error) for name, error in errors.items()},
        curves=curves,
        response=response,
        residual=float(np.sqrt((off**2).sum() / read.sum())),
        r_squared=float(1 - (off**2).sum() / (centred**2).sum()),
        chi_square=float(np.mean(deviations**2)) if deviations.size else float("nan"),
        read_noise=noise,
        losses=losses,
        crosspoints=crosspoints,
    )


def _plain(like: Any, value: Any) -> Any:
    array = np.asarray(value, np.float64)
    if array.ndim == 0:
        return float(array)
    return tuple(array.tolist()) if isinstance(like, tuple) else array


def model_of(model: object) -> Device:
    """Return the device that a model stands for, with its values if it is one.

    Args:
        model: A device, a class of devices, or the name of a class or of a preset of a device.

    Raises:
        ConfigError: If there is none; names the nearest.
    """
    if isinstance(model, Device):
        return model
    if isinstance(model, type) and issubclass(model, Device):
        return model()
    if not isinstance(model, str):
        raise ConfigError(f"model={model!r} is not allowed: give a device, or the name of a class or a preset of one")
    classes = [
        name
        for name in device_classes.__all__
        if name.endswith("Device") and name not in ("Device", "PulsedDevice", "WriteNoiseDevice", "CustomStepDevice")
    ]
    if model in classes:
        return registered(model)()  # type: ignore[return-value]
    if model in presets.names():
        found = presets.by_name(model)()
        if isinstance(found, Device):
            return found
        raise ConfigError(f"model={model!r} is not allowed: it is a preset of {type(found).__name__}, not of a device")
    named = [name for name in presets.names() if name.endswith("PresetDevice")]
    raise ConfigError(
        f"there is no device {model!r}{nearest(model, [*classes, *named])}: give one of {', '.join(classes)}"
    )


def _curves(measurements: Any, weight_range: tuple[float, float] | None) -> PulseCurves:
    if isinstance(measurements, str | Path):
        return PulseCurves.from_csv(measurements, weight_range=weight_range)
    if weight_range is not None:
        raise ConfigError("weight_range is for a file: give it to PulseCurves.from_arrays, which makes curves")
    if isinstance(measurements, PulseCurves):
        return measurements
    if hasattr(measurements, "weights") and hasattr(measurements, "signs"):
        return PulseCurves.from_arrays(measurements.weights, measurements.signs)
    raise ConfigError(
        f"measurements={type(measurements).__name__} is not allowed: give PulseCurves, a pulse response or a CSV file"
    )
