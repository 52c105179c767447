"""Draws of the product that stay for the life of a tile (spec: forward, section 13)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from aihwjax import random
from aihwjax.config.fixed import Drawn, Fixed
from aihwjax.errors import ConfigError
from aihwjax.random import Noise, NoiseEngine, Stream
from aihwjax.tile.product.converters import has_range, single
from aihwjax.tile.product.io import AnalogMVType, IOParameters
from aihwjax.tile.state import FrozenIO

REDRAW = "draw it anew with aihwjax.tile.redraw(config, state, key), or with redraw of a layer"
"""What to do where a configuration was changed after a tile was drawn."""
_TWO_PASS = (AnalogMVType.POS_NEG_SEPARATE, AnalogMVType.POS_NEG_SEPARATE_DIGITAL_SUM)


def freeze(
    io: IOParameters, key: Noise, out_size: int, in_size: int, quirks: bool, torch_tile: bool = False
) -> FrozenIO:
    """Draw what one direction of a tile's product keeps; features that are off draw nothing.

    Args:
        io: Parameters of this direction.
        key: Source of the draws.
        out_size: Number of outputs of this direction.
        in_size: Number of inputs of this direction.
        quirks: Draw voltage offsets as the reference does: half of them are zero.
        torch_tile: With ``quirks``, spread the output noise as the reference's torch tile does: always by 100 %.
    """
    if is_exact(io):
        return FrozenIO()
    source = random.stream(key, NoiseEngine.THREEFRY)
    strength = _strength(io, source, out_size)
    noise = None
    if spreads_noise(io):
        relative = single(1.0 if quirks and torch_tile else io.out_noise_std)  # spec: forward, section 16, bug 3
        spread = 1 + relative * source.child("out_noise_std").normal((out_size,))
        noise = jnp.abs(single(io.out_noise) * spread)
    asymmetry = None
    if reads_asymmetrically(io):
        draws = source.child("w_read_asymmetry").normal((out_size, in_size))
        asymmetry = 1 + single(io.w_read_asymmetry_dtod) * draws
    numbers = fixed_numbers(io)
    return FrozenIO(
        v_offset=_offset(io, source.child("v_offset"), out_size, quirks) if has_offset(io) else None,
        out_nonlinearity=strength,
        out_nonlinearity_factor=_slope_factor(io, strength),
        w_asymmetry=asymmetry,
        out_noise_values=noise,
        drawn=Drawn.by(numbers) if numbers.numbers else None,
    )


def is_exact(io: IOParameters) -> bool:
    """Whether the product is exact, so that only ``out_scale`` acts."""
    return io.is_perfect or io.mv_type is AnalogMVType.IDEAL


def has_offset(io: IOParameters) -> bool:
    """Whether outputs have a voltage offset or a series resistance."""
    return io.present("v_offset_std") or io.present("r_series")


def reads_asymmetrically(io: IOParameters) -> bool:
    """Whether negative inputs are read in their own pass with other weights."""
    return io.present("w_read_asymmetry_dtod") and io.mv_type in _TWO_PASS


def spreads_noise(io: IOParameters) -> bool:
    """Whether each output has its own spread of the output noise."""
    return io.present("out_noise") and io.present("out_noise_std")


def calibrates_slope(io: IOParameters) -> bool:
    """Whether the slope of the compression is calibrated; a series resistance alone is enough."""
    return io.present("slope_calibration") and (io.present("out_nonlinearity") or io.present("r_series"))


def fixed_numbers(io: IOParameters) -> Fixed:
    """Return the numbers of a direction that are fixed when a tile is drawn: those of its frozen features."""
    names: list[str] = []
    if io.present("v_offset_std"):
        names.append("v_offset_std")
    if spreads_noise(io):
        names += ["out_noise", "out_noise_std"]
    if io.present("out_nonlinearity"):
        names += ["out_nonlinearity", "out_bound", "out_nonlinearity_std"]
    if calibrates_slope(io):
        names += ["slope_calibration", "out_bound", "r_series"]
    if reads_asymmetrically(io):
        names.append("w_read_asymmetry_dtod")
    # in the order of the fields, each once, and those that are off are zero
    return Fixed({f"IOParameters.{name}": getattr(io, name) for name in sorted(set(names))}, {})


def check_frozen(io: IOParameters, frozen: FrozenIO) -> Bool[Array, ""] | None:
    """Check that what a product needs was drawn with the present numbers when the tile was built.

    Returns:
        Whether that holds; ``None`` if it is known now.

    Raises:
        ConfigError: If a frozen feature was switched on afterwards, or one of its numbers is known to be another.
    """
    needed = {
        "v_offset_std": (io.present("v_offset_std"), frozen.v_offset),
        "out_nonlinearity": (io.present("out_nonlinearity"), frozen.out_nonlinearity),
        "slope_calibration": (calibrates_slope(io), frozen.out_nonlinearity_factor),
        "w_read_asymmetry_dtod": (reads_asymmetrically(io), frozen.w_asymmetry),
        "out_noise_std": (spreads_noise(io), frozen.out_noise_values),
    }
    for name, (on, draws) in needed.items():
        if on and draws is None:
            raise ConfigError(
                f"IOParameters.{name}={getattr(io, name)!r} is not allowed on this tile, which was drawn without it: "
                f"{REDRAW}"
            )
    return None if frozen.drawn is None else frozen.drawn.holds(fixed_numbers(io), REDRAW)


def _offset(io: IOParameters, source: Stream, out_size: int, quirks: bool) -> jax.Array:
    if not io.present("v_offset_std"):
        return jnp.zeros((out_size,), jnp.float32)
    offset = jnp.maximum(single(io.v_offset_std), 0) * source.normal((out_size,))
    if quirks:
        # spec: forward, section 16, bug 1: one draw is tested for its sign and another is stored.
        offset = offset * (source.child("kept").uniform((out_size,)) < 0.5)
    return offset


def _strength(io: IOParameters, source: Stream, out_size: int) -> jax.Array | None:
    """Return the compression ``N_i`` of each output."""
    if not io.present("out_nonlinearity"):
        return None
    strength = jnp.full((out_size,), jnp.maximum(single(io.out_nonlinearity), 0) / _range(io))
    if io.present("out_nonlinearity_std"):
        draws = source.child("out_nonlinearity_std").normal((out_size,))
        strength = strength * (1 + jnp.maximum(single(io.out_nonlinearity_std), 0) * draws)
    return jnp.abs(strength)


def _slope_factor(io: IOParameters, strength: jax.Array | None) -> jax.Array | None:
    """Return the factor ``F`` that makes the slope 1 at ``slope_calibration`` times the range."""
    if not calibrates_slope(io):
        return None
    total = single(0.0) if strength is None else jnp.mean(strength)
    if io.present("r_series"):
        total = total + jnp.maximum(single(io.r_series), 0)
    return (1 + total * jnp.maximum(single(io.slope_calibration), 0) * _range(io)) ** 2


def _range(io: IOParameters) -> jax.Array:
    if not has_range(io, "out_bound"):
        return single(1.0)
    bound = single(io.out_bound)
    return jnp.where((bound > 0) & jnp.isfinite(bound), bound, 1)
