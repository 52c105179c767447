"""The input range of a tile: what it does to inputs, its gradient, its start from data (spec: tile_ops, section 7).

One number r of each tile. Inputs are clipped to -r … r and divided by r before the converter, and the product is
multiplied by r.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from aihwjax.errors import ConfigError
from aihwjax.tile.product.io import BoundManagementType, IOParameters, NoiseManagementType
from aihwjax.tile.product.periphery import InputRangeParameter


def clipped_to(
    x: Float[Array, "*batch in"], input_range: Float[Array, ""], *, straight_through: bool = False
) -> Float[Array, "*batch in"]:
    """Return inputs clipped to the range and divided by it.

    Args:
        x: Inputs ``(..., in)``.
        input_range: The range r, one number.
        straight_through: Whether the derivative of clipped inputs passes.
    """
    inside = jnp.clip(x, -input_range, input_range)
    if straight_through:
        inside = x + jax.lax.stop_gradient(inside - x)
    return inside / input_range


class RangeSums(NamedTuple):
    """What the gradient of an input range needs of a batch; of several batches the sum."""

    pull: Float[Array, "*stack"]
    """Gradients of clipped inputs that want to grow: below 0, the range shall be larger."""
    clipped: Int[Array, "*stack"] | None
    """Number of clipped outputs, if outputs can be clipped."""
    inside: Int[Array, "*stack"]
    """Number of inputs that are not clipped."""


def range_sums(
    input_range: Float[Array, ""],
    x: Float[Array, "*batch in"],
    delta: Float[Array, "*batch in"],
    clipped: Bool[Array, "*batch out"] | None,
) -> RangeSums:
    """Return what :func:`range_gradient` needs of a batch.

    Args:
        input_range: The range r, one number.
        x: Inputs ``(..., in)``.
        delta: Gradient with respect to the inputs ``(..., in)``.
        clipped: Which outputs were clipped ``(..., out)``, or ``None``.
    """
    pull, inside = _pull_and_inside(input_range, x, delta)
    return RangeSums(pull, None if clipped is None else clipped.sum(dtype=jnp.int32), inside)


@jax.custom_jvp
@jax.jit  # one program where a step is taken eagerly
def _pull_and_inside(
    input_range: Float[Array, ""], x: Float[Array, "*batch in"], delta: Float[Array, "*batch in"]
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """Return both sums in one pass: a CPU would write what is added up to memory, for each of the sums."""
    terms = _pulls(input_range, x, delta), (jnp.abs(x) < input_range).astype(jnp.int32)
    zeros = jnp.zeros((), terms[0].dtype), jnp.zeros((), jnp.int32)
    pull, inside = jax.lax.reduce(terms, zeros, lambda a, b: (a[0] + b[0], a[1] + b[1]), (x.ndim - 1,))
    return pull.sum(), inside.sum(dtype=jnp.int32)


@_pull_and_inside.defjvp
def _(
    primals: tuple[jax.Array, jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """A reduction of two sums has no derivative of its own; the count has none at all."""
    pull, inside = _pull_and_inside(*primals)
    slope = jax.jvp(lambda *given: _pulls(*given).sum(), primals, tangents)[1]
    none: Any = np.zeros((), jax.dtypes.float0)
    return (pull, inside), (slope, none)


def _pulls(
    input_range: Float[Array, ""], x: Float[Array, "*batch in"], delta: Float[Array, "*batch in"]
) -> Float[Array, "*batch in"]:
    up = jnp.where(x >= input_range, jnp.minimum(delta, 0.0), 0.0)
    return up - jnp.where(x <= -input_range, jnp.maximum(delta, 0.0), 0.0)


def range_gradient(
    parameter: InputRangeParameter,
    input_range: Float[Array, "*stack"],
    sums: RangeSums,
    inputs: int,
    outputs: int,
    quirks: bool,
) -> Float[Array, "*stack"]:
    """Return the gradient of the input range (spec: tile_ops, section 7).

    Clipped inputs that want to grow enlarge the range, clipped outputs and the decay shrink it.

    Args:
        parameter: How the range learns.
        input_range: The range r, one number; of each tile of a stack.
        sums: What is known of the batch.
        inputs: Number of inputs of the tile in the batch, vectors times lines.
        outputs: Number of its outputs.
        quirks: Count clipped outputs as the reference does.
    """
    slope = sums.pull
    if parameter.gradient_relative:
        slope = slope * input_range * parameter.gradient_scale
    if parameter.manage_output_clipping and sums.clipped is not None:
        # spec: tile_ops, bug 4: the reference divides by the number of inputs
        total = inputs if quirks else outputs
        free = 1 - sums.clipped / total
        slope = slope - jnp.where(free < parameter.output_min_percentage, (1 - free) * input_range, 0.0)
    idle = sums.inside / inputs > parameter.input_min_percentage
    return slope + jnp.where(idle, parameter.decay * input_range, 0.0)


def adapted(
    parameter: InputRangeParameter, old: Float[Array, ""], count: Int[Array, ""], x: Float[Array, "*batch in"]
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """Return the input range moved towards a multiple of the spread of x, and the number of moves so far.

    Args:
        parameter: How the range starts.
        old: The input range.
        count: Number of moves before.
        x: Inputs ``(..., in)``.
    """
    early = count < parameter.init_from_data
    # NaN for a single number, which moves nothing; of later batches, where it does not count, anything of x's kind
    spread = jax.lax.cond(early, lambda x: jnp.std(x, ddof=1), lambda x: x.reshape(-1)[:1].sum(), x)
    moves = early & (spread > 0)
    new = jnp.where(moves, (count * old + parameter.init_std_alpha * spread) / (count + 1), old)
    return jnp.where(early, jnp.abs(new), new), count + moves


def check_input_range(parameter: InputRangeParameter, forward: IOParameters) -> None:
    """Refuse an input range that reacts to output clipping where the product already manages it.

    Raises:
        ConfigError: If noise or bound management is on, or the product perfect.
    """
    if not (parameter.enable and parameter.manage_output_clipping):
        return
    for field, wrong in (
        ("noise_management", forward.noise_management is not NoiseManagementType.NONE),
        ("bound_management", forward.bound_management is not BoundManagementType.NONE),
        ("is_perfect", forward.is_perfect),
    ):
        if wrong:
            value = getattr(forward, field)
            allowed = "False" if field == "is_perfect" else "NONE"
            raise ConfigError(
                f"forward.{field}={getattr(value, 'name', value)} is not allowed with "
                f"pre_post.input_range.manage_output_clipping=True: give {allowed}"
            )
