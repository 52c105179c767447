"""Columns of devices and wire, read with pulses: what each device adds to the charge of its column.

A line with an input drives two devices of a column, up with 0.6 V and down with 0.2 V, or the other way round for a
negative input; at rest both have 0.4 V. Either way the line loads the column with the sum of its conductances, so
that the resistances are the same at every time, whatever the inputs: the circuit is linear. Its charge is therefore
a matrix product of the input codes, exact for any number of time steps, with the weights as they are seen through the
wire (spec: forward, section 11.3, where the same circuit is solved step by step).

From the far end of a column to its converter, with ``G`` the conductance seen so far, ``g`` that of a segment and ``R``
the wire behind it (conductances in µS, resistances in MΩ)::

    G ← g + G / (1 + G R)        each wire passes 1 / (1 + G R) of the current that enters it

What a segment adds is multiplied by all wires between it and the converter.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aihwjax.errors import ConfigError
from aihwjax.inference.conductance.base import ConductanceConverter
from aihwjax.inference.conductance.pairs import NPairConductanceConverter, SinglePairConductanceConverter
from aihwjax.tile.product.converters import single
from aihwjax.tile.product.io import IOParameters
from aihwjax.tile.product.io_timed import IOParametersIRDropT

SWING, REST = 0.2, 0.4
"""Volts: what an input adds to a device, and where a line rests."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Columns:
    """What a product needs to know of the devices of a tile, besides its weights."""

    converter: ConductanceConverter
    """How weights become conductances."""
    rows: int = dataclasses.field(metadata={"static": True})
    """Lines of the physical array; those that a tile leaves over lie on both sides of it, at the weight 0."""
    read: bool = dataclasses.field(metadata={"static": True})
    """Whether the wires act: in evaluation, not in training."""
    quirks: bool = dataclasses.field(metadata={"static": True})
    """Whether to integrate over time as the reference does."""


class Lines(NamedTuple):
    """The pairs of devices behind a matrix of weights."""

    factors: jax.Array
    """How each pair counts ``(pairs,)``."""
    scale: jax.Array
    """Conductance of a weight of 1, in µS."""
    pairs: jax.Array
    """Conductance of the up device minus that of the down device ``(pairs, out, in)``, in µS."""
    passed: jax.Array | None
    """The part of its current that reaches the converter ``(pairs, out, in)``; ``None``: all."""
    resting: jax.Array | None
    """Current at rest of each column ``(pairs, out)``, in µA; ``None``: none."""
    quirks: bool
    """Whether to integrate over time as the reference does."""


def lines(io: IOParameters, columns: Columns | None, weights: jax.Array) -> Lines | None:
    """Return the devices of weights as their converters see them; ``None`` where the product is the plain one.

    Args:
        io: Parameters of the product.
        columns: What is known of the devices.
        weights: Weights ``(out, in)``.

    Raises:
        ConfigError: If the product needs to know the devices, and does not.
    """
    if not isinstance(io, IOParametersIRDropT):
        return None
    if columns is None:
        raise ConfigError(
            "IOParametersIRDropT is not allowed here: give it as the forward product of TorchInferenceRPUConfigIRDropT"
        )
    wired = columns.read and io.present("ir_drop")
    if not wired and not (io.apply_xdep_pcm_read_noise and io.present("xdep_pcm_read_noise_scale")):
        return None
    count = weights.shape[1]
    left_over = max(columns.rows, count) - count
    before = left_over // 2
    slices, params = columns.converter.convert(jnp.pad(weights, ((0, 0), (before, left_over - before))))
    up, down = slices[0::2], slices[1::2]
    own = slice(before, before + count)
    factors = [single(each) for each in getattr(columns.converter, "f_lst", (1.0,))]
    found = Lines(jnp.stack(factors), params["scale"], (up - down)[..., own], None, None, columns.quirks)
    if not wired:
        return found
    passed, seen = _through_wires(io, up + down)
    return found._replace(passed=passed[..., own], resting=(REST - single(io.ir_drop_v_read)) * seen)


def check_converter(converter: ConductanceConverter) -> None:
    """Refuse a converter without pairs of devices.

    Args:
        converter: The converter.

    Raises:
        ConfigError: If it has none.
    """
    if not isinstance(converter, SinglePairConductanceConverter | NPairConductanceConverter):
        raise ConfigError(
            f"g_converter={type(converter).__name__} is not allowed with forward=IOParametersIRDropT: give a converter "
            "of pairs of devices, such as SinglePairConductanceConverter()"
        )


def _through_wires(io: IOParametersIRDropT, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return which part of the current of each line reaches the converter, and the conductance that the latter sees.

    Args:
        io: Parameters of the product.
        g: Conductance of each line ``(pairs, out, rows)``.

    Returns:
        ``(pairs, out, rows)`` and ``(pairs, out)``.
    """
    pairs, out_size, rows = g.shape
    upwards = (np.arange(out_size) % 2 == 1)[:, None]
    size = max(rows // io.ir_drop_segments, 1)
    count = -(-rows // size)
    missing = count * size - rows
    away = jnp.where(upwards, g[..., ::-1], g)  # from the far end to the converter
    away = jnp.pad(away, ((0, 0), (0, 0), (missing, 0)))
    lumps = jnp.moveaxis(away.reshape(pairs, out_size, count, size).sum(-1), -1, 0)
    lengths = np.full(count, float(size))
    lengths[0] -= missing
    behind = (lengths + np.append(lengths[1:], 0.0)) / 2
    ohms = jnp.maximum(single(io.ir_drop), 0) * single(io.ir_drop_rs)
    resistances = ohms * (1e-6 * behind).astype(np.float32)

    def towards(seen: jax.Array, segment: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        lump, resistance = segment
        total = seen + lump
        passes = 1 / (1 + total * resistance)
        return total * passes, passes

    seen, passing = lax.scan(towards, jnp.zeros((pairs, out_size), jnp.float32), (lumps, resistances))
    passed = jnp.moveaxis(lax.cumprod(passing, axis=0, reverse=True), 0, -1)
    each = jnp.repeat(passed, size, axis=-1)[..., missing:]
    return jnp.where(upwards, each[..., ::-1], each), seen
