"""One step of the conductance drift (spec: devices, section 4.6)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from aihwjax import showing
from aihwjax.config import LARGEST
from aihwjax.devices.drift import DriftParameter
from aihwjax.random import Stream
from aihwjax.typing import Crosspoints, Number, Shape, Weights


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DriftState(showing.Record):
    """What drift remembers of each crosspoint, and the tile's clock."""

    exponents: Crosspoints
    """Drift exponents, ``(out, in)``."""
    start_weights: Weights
    """Weights at the last rewriting, ``(out, in)``."""
    last: Weights
    """Weights after the last drift call, ``(out, in)``."""
    stamp: Crosspoints
    """Clock at the last rewriting, ``(out, in)``."""
    clock: Float[Array, ""]
    """Time since the first drift call, in units of ``t_0``."""
    begun: Bool[Array, ""]
    """Whether there was a drift call."""

    @staticmethod
    def start(exponents: Float[Array, "#out #in"] | Float[Array, ""], shape: Shape) -> DriftState:
        """Return the state of a fresh tile."""
        zeros = jnp.zeros(shape, jnp.float32)
        return DriftState(
            exponents=jnp.broadcast_to(exponents, shape),
            start_weights=zeros,
            last=zeros,
            stamp=zeros,
            clock=jnp.zeros((), jnp.float32),
            begun=jnp.zeros((), bool),
        )


def drift_step(
    config: DriftParameter,
    state: DriftState,
    weights: Weights,
    delta_t: Number,
    stream: Stream,
    quirks: bool,
) -> tuple[Weights, DriftState]:
    """Let ``delta_t`` pass and return the drifted weights (not yet clipped) and the new state.

    A weight that differs from its last drifted value counts as rewritten: it starts to drift anew
    and does not change in this call. Read noise does not accumulate.
    """
    shape = weights.shape
    start = jnp.where(state.begun, state.start_weights, weights)
    last = jnp.where(state.begun, state.last, weights)
    clock = state.clock + delta_t / config.t_0
    rewritten = jnp.abs(last - weights) > config.reset_tol

    exponents = state.exponents
    if config.present("nu_std"):
        exponents = exponents * (1 + config.nu_std * stream.child("drift_nu").normal(shape))
    offset = config.g_offset * config.wg_ratio
    # spec: devices, bug 9: inverting the affine map of weight to conductance gives the minus sign
    offset = offset + config.w_offset if quirks else offset - config.w_offset
    offset = jnp.where(jnp.abs(offset) < config.reset_tol, 0.0, offset)
    if config.present("nu_k"):
        conductance = (weights - config.w_offset) / config.wg_ratio + config.g_offset
        if not quirks:  # spec: devices, bug 10: the logarithm needs a positive conductance
            conductance = jnp.maximum(jnp.abs(conductance), 1e-12)
        exponents = exponents - config.nu_k * (jnp.log(conductance) - config.log_g0)
    factor = jnp.maximum(clock - state.stamp, 1.0) ** (-exponents)
    if not quirks:  # in the reference it may be infinite, and the clip ends that at a bound
        factor = jnp.minimum(factor, LARGEST)
    drifted = start * factor + offset * (factor - 1)

    result = jnp.where(rewritten, weights, drifted)
    start = jnp.where(rewritten, weights, start)
    stamp = jnp.where(rewritten, clock, state.stamp)
    if config.present("w_noise_std"):
        result = result + config.w_noise_std * stream.child("drift_read").normal(shape)
    new = DriftState(
        exponents=state.exponents,
        start_weights=start,
        last=result,
        stamp=stamp,
        clock=clock,
        begun=jnp.ones((), bool),
    )
    return result, new
