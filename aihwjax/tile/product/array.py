"""The crossbar between the converters: product, IR drop, offsets, weight noise (spec: forward, section 7).

Symbols: ``z`` prepared input, ``w`` weights ``(out, in)``, ``n`` number of inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax.derivatives import root
from aihwjax.products import product, product_of_lines
from aihwjax.random import Draws
from aihwjax.tile.product.converters import single
from aihwjax.tile.product.frozen import has_offset
from aihwjax.tile.product.io import IOParameters, WeightNoiseType
from aihwjax.tile.product.io_timed import IOParametersIRDropT
from aihwjax.tile.state import FrozenIO


def array_output(
    io: IOParameters,
    frozen: FrozenIO,
    weights: jax.Array,
    z: jax.Array,
    source: Draws,
    transposed: bool = False,
    product_of_devices: Callable[[], jax.Array] | None = None,
    line_by_line: bool = False,
) -> jax.Array:
    """Return the currents of one pass of the array, ``(n, out)``, in output units.

    Args:
        io: Parameters of this direction.
        frozen: Frozen draws of this direction.
        weights: Weights ``(out, in)``.
        z: Prepared inputs ``(n, in)``.
        source: Noise of this pass.
        transposed: Whether ``weights`` is the transpose of an array in memory.
        product_of_devices: Gives the product, the drop on the wires included; ``None``: that of weights.
        line_by_line: Whether ``z`` is ``(in, 1)``, and input i drives line i alone.
    """
    if line_by_line:
        y = product_of_lines(z, weights)
    else:
        y = product(z, weights, transposed=transposed) if product_of_devices is None else product_of_devices()
    if io.present("ir_drop") and not isinstance(io, IOParametersIRDropT):
        y = y - ir_drop(io, weights, z, transposed)
    if has_offset(io):
        y = with_offset(io, frozen.v_offset, y, z)
    if io.present("w_noise") and io.w_noise_type is not WeightNoiseType.NONE:
        spread = single(io.w_noise) * _noise_norm(io, weights, z, transposed, line_by_line)
        y = y + spread * source.child("w_noise").normal(y.shape)
    return y


def ir_drop(io: IOParameters, weights: jax.Array, z: jax.Array, transposed: bool) -> jax.Array:
    """Return what the wire resistance takes from each output (section 7.1).

    ::

        a_i = n Σ_j |w_ij| |z_j| / g,    c_i = a_i (0.05 a_i² − 0.2 a_i + 0.5)
        ir_drop · c_i · Σ_j w_ij z_j (1 − (1 − j/n)²)

    The input at j = 0 is nearest to the converter.
    """
    count = weights.shape[1]
    near = (1 - np.arange(count) / count) ** 2
    current = product(jnp.abs(z), jnp.abs(weights), transposed=transposed)
    a = current * (count / single(io.ir_drop_g_ratio))
    c = a * (a * (0.05 * a - 0.2) + 0.5)
    dropped = product(z * (1 - near).astype(np.float32)[None, :], weights, transposed=transposed)
    return jnp.maximum(single(io.ir_drop), 0) * c * dropped


def with_offset(io: IOParameters, offset: jax.Array | None, y: jax.Array, z: jax.Array) -> jax.Array:
    """Return the outputs with voltage offset ``V`` and series resistance ``ρ`` (section 7.2).

    ::

        (1 − V)(y + g)/(1 + ρ|y + g|) − (1 + V) g/(1 + ρ|g|),    g = −v_offset_w_min Σ_j z_j

    ``g`` is the current of the reference column; without it, ``(1 − V) y/(1 + ρ|y|)``.
    """
    resistive = io.present("r_series")
    resistance = jnp.maximum(single(io.r_series), 0)

    def compressed(current: jax.Array) -> jax.Array:
        return current / (1 + resistance * jnp.abs(current)) if resistive else current

    v = single(0.0) if offset is None else offset[None, :]
    if not io.present("v_offset_w_min"):
        return (1 - v) * compressed(y)
    g = -single(io.v_offset_w_min) * jnp.sum(z, axis=1, keepdims=True)
    if not resistive:
        return (1 - v) * y - 2 * v * g
    return (1 - v) * compressed(y + g) - (1 + v) * compressed(g)


def _noise_norm(io: IOParameters, weights: jax.Array, z: jax.Array, transposed: bool, line_by_line: bool) -> jax.Array:
    """Return the output-referred spread for unit weight noise (section 7.3)."""
    if io.w_noise_type is WeightNoiseType.ADDITIVE_CONSTANT:
        return root(jnp.sum(z * z, axis=1, keepdims=True))
    if line_by_line:
        return root(product_of_lines(z * z, jnp.abs(weights)))
    return root(product(z * z, jnp.abs(weights), transposed=transposed))


def reads_line_by_line(io: IOParameters) -> bool:
    """Whether lines that are driven one at a time can be read without the product: the others stay exactly at 0.

    Args:
        io: Parameters of this direction.
    """
    other = isinstance(io, IOParametersIRDropT) or io.present("ir_drop")
    return not (other or io.inp_sto_round or io.present("inp_noise"))
