"""A chip: the weights of one tile, programmed as conductances and read some time later.

::

    chip = program(config, w, key)          # right after programming
    chip = drift(config, chip, t, key)      # t seconds later; from the programmed state, never cumulative
    y = forward(config, chip, x, key)       # a product of evaluation, times the compensation α

All three run under ``jax.jit``, ``jax.vmap`` and ``jax.grad``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aihwjax import arguments, random, showing, tile
from aihwjax.devices.device import DeviceState
from aihwjax.errors import ConfigError, ShapeError
from aihwjax.inference import programming
from aihwjax.inference.conductance.base import ConductanceConverter, Params
from aihwjax.inference.noise.base import NoiseModel
from aihwjax.precision import in_single
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, one_number, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import averages
from aihwjax.tile.product import mvm
from aihwjax.tile.state import FrozenIO, TileState
from aihwjax.typing import Number, Weights


@arguments.answering
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Chip(showing.Record):
    """What is known of a programmed tile. All arrays are float32; weights are ``(out, in)``."""

    weights: Weights
    """The weights as they are read now."""
    alpha: Float[Array, "*factors"]
    """Factor of the compensation on the outputs: a scalar, or after a drift ``(out,)`` with one for each output; the
    scalar 1 before the first drift."""
    programmed: Weights
    """The weights right after programming, from which every drift starts."""
    parameters: Any
    """What each device keeps for its drift, as the noise model wants it."""
    baseline: Float[Array, "*columns"] | None
    """Read-out right after programming; ``None`` without compensation."""
    frozen: FrozenIO
    """Draws of the forward product that stay for the life of the chip."""
    running_abs_max: Float[Array, " 2"] | None
    """Running values of the noise management, below 0 while unset; ``AVERAGE_ABS_MAX`` only."""
    devices: programming.Devices | None = None
    """The devices one by one, where the weights do not say enough: with defects, or bit slices."""


@arguments.answered
def convert(converter: ConductanceConverter, w: Weights) -> tuple[list[Weights], Params]:
    """Return the target conductances of weights, and what the way back needs.

    Args:
        converter: The converter, such as ``config.noise_model.g_converter``.
        w: Weights ``(out, in)``.

    Returns:
        A matrix ``(out, in)`` of conductances in microsiemens for each device of a crosspoint, and parameters by name.

    Raises:
        ConfigError: If ``converter`` is none.
        ShapeError: If ``w`` is no matrix.
    """
    _require(converter, ConductanceConverter, "converter", "a ConductanceConverter")
    slices, params = _convert(converter, _matrix("w", w))
    return list(slices), params


@arguments.answered
def convert_back(converter: ConductanceConverter, slices: Sequence[Weights], params: Params) -> Weights:
    """Return the weights ``(out, in)`` that conductances stand for.

    Args:
        converter: The converter.
        slices: Conductances in microsiemens, as :func:`convert` returned them, or changed by noise.
        params: As :func:`convert` returned them.

    Raises:
        ConfigError: If ``converter`` is none.
        ShapeError: If there are more or fewer matrices than devices of a crosspoint.
    """
    _require(converter, ConductanceConverter, "converter", "a ConductanceConverter")
    if len(slices) != converter.slices():
        raise ShapeError(f"slices has {len(slices)} matrices: give {converter.slices()}, one for each device")
    matrices = [_matrix(f"slices[{place}]", conductances) for place, conductances in enumerate(slices)]
    return _convert_back(converter, jnp.stack(matrices), params)


@arguments.answered
@in_single
def program(config: TileConfig, w: Weights, key: Noise) -> Chip:
    """Program weights onto a chip: each device gets a conductance with programming noise, and its drift exponent.

    Example:
        >>> import jax.numpy as jnp
        >>> import aihwjax as aj
        >>> config = aj.InferenceRPUConfig()
        >>> chip = aj.inference.program(config, jnp.eye(3), 0)
        >>> later = aj.inference.drift(config, chip, 86400.0, 1)
        >>> bool(later.alpha > 1.2)
        True

    Args:
        config: The configuration, with a noise model; the forward product belongs to the read-out of the compensation.
        w: The weights ``(out, in)``, exact.
        key: Source of all draws.

    Raises:
        ConfigError: If the configuration has no noise model, or the key is none.
        ShapeError: If ``w`` is no matrix.
        NonFiniteError: If ``w`` has NaN or infinity (not checked inside a traced function).
    """
    model_of(config)
    return _program(config, _matrix("w", w), random.as_noise(key))


@arguments.answered
@in_single
def drift(config: TileConfig, chip: Chip, t: Number, key: Noise) -> Chip:
    """Return a chip as it is some time after programming; earlier drifts play no part.

    Read noise is drawn anew and stays in the weights until the next drift. With a compensation the chip is read out,
    and the factor on its outputs is set.

    Args:
        config: The configuration that the chip was programmed with.
        chip: From :func:`program` or an earlier drift.
        t: Seconds after programming, one number of at least 0; it may be traced.
        key: Source of read noise and of the noise of the read-out.

    Raises:
        ConfigError: If the chip is none, the time is below 0, or the noise model says nothing of it.
    """
    model = model_of(config)
    if not isinstance(chip, Chip):
        raise ConfigError(f"chip={type(chip).__name__} is not allowed: give what aihwjax.inference.program returns")
    _check_devices(config, chip, model.g_converter)
    return _drift(config, chip, checked_time(model, t), random.as_noise(key))


@arguments.answered
@in_single
def forward(config: TileConfig, chip: Chip, x: Float[Array, "*batch in"], key: Noise) -> Float[Array, "*batch out"]:
    """Multiply inputs by a chip as a product of evaluation does, and by the factor of the compensation.

    Args:
        config: The configuration that the chip was programmed with.
        chip: From :func:`program` or :func:`drift`.
        x: Inputs ``(..., in)`` as they reach the converters; an input range belongs to a layer.
        key: Source of the noise.

    Returns:
        Outputs ``(..., out)``.

    Raises:
        ConfigError: If the chip is none.
        ShapeError: If the last axis of ``x`` is not the number of inputs.
    """
    if not isinstance(chip, Chip):
        raise ConfigError(f"chip={type(chip).__name__} is not allowed: give what aihwjax.inference.program returns")
    state = TileState(
        weights=chip.weights,
        device=DeviceState(),
        forward=chip.frozen,
        backward=FrozenIO(),
        running_abs_max=chip.running_abs_max,
    )
    y = tile.forward(config, state, x, key)
    return y * jnp.reshape(chip.alpha, (1,) * (y.ndim - chip.alpha.ndim) + chip.alpha.shape)


def model_of(config: TileConfig) -> NoiseModel:
    """Return the noise model of a configuration.

    Args:
        config: The configuration.

    Raises:
        ConfigError: If it is none, or has no noise model.
    """
    _require(config, TileConfig, "config", "a TileConfig, such as InferenceRPUConfig()")
    if config.noise_model is None:
        raise ConfigError(
            "noise_model=None is not allowed for a chip: give a noise model such as PCMLikeNoiseModel(), or take "
            "InferenceRPUConfig"
        )
    return config.noise_model


def checked_time(model: NoiseModel, t: object) -> Number:
    """Return a time as one number, if it is allowed; a traced one is judged by its shape.

    Args:
        model: The noise model.
        t: Seconds after programming.

    Raises:
        ConfigError: If it is not one number of at least 0, or the model says nothing of it.
    """
    time = one_number("t", t)
    if not isinstance(time, jax.core.Tracer):
        value = float(np.asarray(time))
        if not 0 <= value < np.inf:
            raise ConfigError(f"t={value:g} is not allowed: give seconds after programming, at least 0")
        model.check_time(value)
    return time


def _check_devices(config: TileConfig, chip: Chip, converter: ConductanceConverter) -> None:
    own = None if chip.devices is None else chip.devices.conductances
    counts = {leaf.shape[0] for leaf in jax.tree.leaves((chip.parameters, own))}
    again = "give the configuration that it was programmed with"
    if counts - {converter.slices()}:
        kind = type(converter).__name__
        raise ConfigError(f"a chip with {max(counts)} devices a weight is not allowed with {kind}: {again}")
    broken = chip.devices is not None and chip.devices.stuck is not None
    acts = config.defects.acts()
    if broken is not acts or (chip.devices is not None) is not (acts or converter.remembers_devices):
        raise ConfigError(f"a chip with other defects or another converter than config has is not allowed: {again}")


_convert = in_single(jax.jit(lambda converter, weights: converter.convert(weights)))
_convert_back = in_single(jax.jit(lambda converter, slices, params: converter.convert_back(slices, params)))


@jax.jit
def _program(config: TileConfig, exact: Weights, key: Noise) -> Chip:
    out_size, in_size = exact.shape
    source = random.stream(key, random.NoiseEngine.COUNTER)
    running = jnp.full((2,), -1.0, jnp.float32) if averages(config.forward) else None
    quirks = config.reference_quirks
    frozen = mvm.freeze(config.forward, source.child("forward"), out_size, in_size, quirks, config.torch_tile)
    made = programming.programmed(config, model_of(config), exact, source.child("weights"))
    start = None if running is None else running[0]
    baseline = programming.baseline(config, frozen, exact, made.weights, start, source.child("baseline"))
    one = jnp.ones((), jnp.float32)
    return Chip(made.weights, one, made.weights, made.parameters, baseline, frozen, running, made.devices)


@jax.jit
def _drift(config: TileConfig, chip: Chip, t: Number, key: Noise) -> Chip:
    source = random.stream(key, random.NoiseEngine.COUNTER)
    kept = programming.Programmed(chip.programmed, chip.parameters, chip.devices)
    weights = programming.drifted(config, model_of(config), kept, t, source.child("weights"))
    alpha = chip.alpha
    if chip.baseline is not None and config.drift_compensation is not None:
        running = None if chip.running_abs_max is None else chip.running_abs_max[0]
        now = programming.readout(config, chip.frozen, weights, running, source.child("readout"))
        alpha = chip.baseline / now
    return dataclasses.replace(chip, weights=weights, alpha=alpha)


def _matrix(name: str, weights: object) -> Weights:
    array = as_numbers(name, weights)
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(f"{name} has shape {array.shape}: give a matrix (out, in)")
    require_finite(name, array)
    return jnp.asarray(array, jnp.float32)


def _require(value: object, kind: type, name: str, wanted: str) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name}={type(value).__name__} is not allowed: give {wanted}")
