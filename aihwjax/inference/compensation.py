"""Drift compensation: one factor for the outputs of a tile that makes up for the mean loss of conductance.

    α = baseline / ρ(now)

The read-out ``ρ`` is a mean over the outputs ``Y`` of a product with an identity matrix, one vector for each input of
the tile, with all converters and noise; the baseline is that of the tile right after programming.
"""

from __future__ import annotations

import abc

import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax.config import Config, configclass

_SMALLEST = 1e-4


@configclass
class DriftCompensation(Config, abc.ABC):
    """Base of all compensations: how a read-out becomes a number, or one for each output."""

    @abc.abstractmethod
    def readout(self, y: Float[Array, "in out"]) -> Float[Array, "*columns"]:
        """Return ρ of the outputs, a scalar or ``(out,)``.

        Args:
            y: Outputs for an identity matrix, a row for each input.
        """

    def exact_reference(self) -> bool:
        """Whether the baseline is computed from the exact weights, before programming, in digital."""
        return False


@configclass
class GlobalDriftCompensation(DriftCompensation):
    """One factor for all outputs of a tile: ``ρ = max(mean |Y|, 1e-4)``.

    When to use: the usual choice; it needs one number a tile. Spec: inference, section 11.
    Source: Joshi et al., Nature Communications 2020.
    """

    def readout(self, y: Float[Array, "in out"]) -> Float[Array, "*columns"]:
        return jnp.maximum(jnp.mean(jnp.abs(y)), _SMALLEST)


@configclass
class GlobalDriftCompensationWithExactReference(GlobalDriftCompensation):
    """Like :class:`GlobalDriftCompensation`, with the exact weights as baseline.

    When to use: to make up for the mean error of programming, too. Spec: inference, section 11.
    """

    def exact_reference(self) -> bool:
        return True


@configclass
class PerColumnDriftCompensation(DriftCompensation):
    """A factor for each output of a tile: ``ρ = max(mean |Y|, 1e-4)`` over its inputs.

    When to use: where outputs drift differently, and each has a digital scale anyway. Spec: inference, section 11.
    """

    def readout(self, y: Float[Array, "in out"]) -> Float[Array, "*columns"]:
        return jnp.maximum(jnp.mean(jnp.abs(y), axis=0), _SMALLEST)
