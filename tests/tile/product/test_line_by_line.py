"""Lines that are driven one at a time, as for the read-out of a compensation: the product with a diagonal matrix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import random
from aihwjax.tile.product import mvm

WEIGHTS = jax.random.normal(jax.random.key(1), (3, 5))
PARAMETERS = (
    # the bound is low, so that vectors are read again
    aj.IOParameters(out_bound=0.8, w_noise=0.02, w_noise_type="PCM_READ"),
    aj.IOParameters(
        noise_management="ABS_MAX_NP_SUM",
        inp_asymmetry=0.1,
        v_offset_std=0.1,
        v_offset_w_min=-0.2,
        r_series=0.05,
        mv_type="POS_NEG_SEPARATE_DIGITAL_SUM",
        out_nonlinearity=0.01,
        w_noise=0.02,
        w_noise_type="ADDITIVE_CONSTANT",
    ),
    aj.IOParameters(is_perfect=True),
)


def outputs(io: aj.IOParameters, weights: jax.Array, alone: bool) -> jax.Array:
    """Return the outputs ``(in, out)`` for each line at 0.7, by itself or as a diagonal matrix."""
    source = random.stream(jax.random.key(0), random.NoiseEngine.COUNTER)
    frozen = mvm.freeze(io, source.child("frozen"), 3, 5, quirks=False)
    x = jnp.full((5, 1), 0.7) if alone else 0.7 * jnp.eye(5)
    return mvm.analog_product(io, frozen, weights, x, source, bound_managed=True, line_by_line=alone)[0]


def test_it_is_the_product_with_a_diagonal_matrix() -> None:
    def both(weights: jax.Array, alone: bool) -> tuple[list[jax.Array], jax.Array]:
        slope = jax.grad(lambda w: (outputs(PARAMETERS[0], w, alone) ** 2).sum())(weights)
        return [outputs(io, weights, alone) for io in PARAMETERS], slope

    run = jax.jit(both, static_argnums=1)
    assert all(mvm.reads_line_by_line(io) for io in PARAMETERS)
    (alone, slope), (diagonal, expected) = run(WEIGHTS, True), run(WEIGHTS, False)
    for one, other in zip(alone, diagonal, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("field", ["inp_noise", "ir_drop"])
def test_where_lines_do_not_stand_alone_they_are_read_together(field: str) -> None:
    assert not mvm.reads_line_by_line(aj.IOParameters(**{field: 0.1}))
    assert not mvm.reads_line_by_line(aj.IOParametersIRDropT())
    assert not mvm.reads_line_by_line(aj.IOParameters(inp_sto_round=True))
