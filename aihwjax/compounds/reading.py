"""Reading slices of a tile through its periphery (spec: compounds, section 1.3)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from aihwjax.compounds.blocks import Slices, slice_count
from aihwjax.random import Noise, Stream
from aihwjax.tile.product import mvm
from aihwjax.tile.product.converters import single
from aihwjax.tile.product.frozen import reads_asymmetrically
from aihwjax.tile.product.io import BoundManagementType, IOParameters, NoiseManagementType
from aihwjax.tile.state import FrozenIO


def unmanaged(io: IOParameters) -> IOParameters:
    """Return the parameters with noise and bound management off, as every transfer is read."""
    return io.replace(noise_management=NoiseManagementType.NONE, bound_management=BoundManagementType.NONE)


def freeze(io: IOParameters, key: Noise, shape: tuple[int, int], columns: bool, quirks: bool) -> FrozenIO:
    """Draw what the periphery of the reads keeps for the life of a tile."""
    inputs, outputs = slice_count(shape, columns)
    return mvm.freeze(io, key, outputs, inputs, quirks)


def read(
    io: IOParameters,
    frozen: FrozenIO,
    weights: jax.Array,
    block: jax.Array,
    slices: Slices,
    stream: Stream,
    quirks: bool,
) -> jax.Array:
    """Read the slices of a block, each by a product with a one-hot vector.

    Args:
        io: Parameters of the product; rows are read as by a backward product.
        frozen: Its frozen values.
        weights: Weights of the whole tile ``(out, in)``.
        block: Weights of the block.
        slices: Where the block is.
        stream: Noise of the reads.
        quirks: Reproduce the reference's bugs.

    Returns:
        What is read, a line for each slice.
    """
    lines = slices.turned(block)
    # reads have a running value of their own, and the largest input of each of them is 1
    running = single(1.0)
    managed = slices.columns and io.bound_management is not BoundManagementType.NONE
    if io.is_perfect:
        values = lines * jnp.asarray(io.out_scale, jnp.float32)
    elif io.present("ir_drop") or io.present("inp_noise") or reads_asymmetrically(io):
        count, _ = slice_count(slices.shape, slices.columns)
        one_hot = (slices.number[:, None] == jnp.arange(count)[None, :]).astype(jnp.float32)
        matrix = weights if slices.columns else weights.T
        values, _ = mvm.analog_product(
            io,
            frozen,
            matrix,
            one_hot,
            stream,
            bound_managed=managed,
            running=running,
            quirks=quirks,
            transposed=not slices.columns,
        )
    else:
        # the other inputs are exactly zero and add nothing: a product with a single input each
        def one(line: jax.Array, number: jax.Array) -> jax.Array:
            one_input = jnp.ones((1, 1), jnp.float32)
            own = stream.child(number)
            result, _ = mvm.analog_product(
                io, frozen, line[:, None], one_input, own, bound_managed=managed, running=running, quirks=quirks
            )
            return result[0]

        values = jax.vmap(one)(lines, slices.number)
    return values
