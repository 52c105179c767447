"""Noise models with conductances that decay as a power of time, with a time ``t_0`` as origin.

    programming  g_P = (g_T + prog_noise_scale σ(g_T) ξ)⁺
    drift        ν = drift_scale |μ + s ξ|                                fixed for each device
    at time t    τ = t + t_0
                 g_D = g_P (τ / t_0)^(−ν)
                 g = (g_D + read_noise_scale r sqrt(ln((τ + t_read) / 2 t_read)) ξ)⁺

A model says what the spread ``σ``, the exponents ``μ`` and ``s`` and the read noise ``r`` are.
"""

from __future__ import annotations

import abc
from typing import Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax.config import configclass, number
from aihwjax.inference.noise.base import NoiseModel, polynomial
from aihwjax.inference.noise.curves import lasting
from aihwjax.random import Stream
from aihwjax.typing import Number


class Curve(Protocol):
    """A function of the relative conductance."""

    def at(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return its values at relative conductances."""


@configclass
class PowerLawNoiseModel(NoiseModel):
    """Base of models whose conductances decay as a power of time (spec: inference, section 4)."""

    t_read: Number = number(250e-9, above=0)
    """Duration of a read, in seconds."""
    t_0: Number = number(20.0, above=0)
    """Time between programming and time 0, in seconds; the origin of the drift."""
    # a scale of 0 stays in the program, so that its derivative is there: noise is drawn once, not with each product
    prog_noise_scale: Number = number(1.0)
    """Factor on the programming noise."""
    read_noise_scale: Number = number(1.0)
    """Factor on the read noise."""
    drift_scale: Number = number(1.0, minimum=0)
    """Factor on the drift exponents."""

    def programmed(self, target: Float[Array, "*shape"], stream: Stream) -> Float[Array, "*shape"]:
        noise = self.prog_noise_scale * self.programming_spread(target) * stream.exact_normal(target.shape)
        return jnp.maximum(target + noise, 0.0)

    def drift_parameters(self, target: Float[Array, "*shape"], stream: Stream) -> Float[Array, "*shape"]:
        mean, spread = self.exponents(target)
        return jnp.asarray(self.drift_scale) * jnp.abs(mean + spread * stream.exact_normal(target.shape))

    def drifted(
        self, programmed: Float[Array, "*shape"], parameters: Float[Array, "*shape"], t: Number, stream: Stream
    ) -> Float[Array, "*shape"]:
        time = jnp.asarray(t, jnp.float32) + self.t_0
        # times before the origin don't count: at t = 0 there is no drift yet
        age = jnp.log(jnp.maximum(time / self.t_0, 1.0))
        decayed = programmed * jnp.exp(-parameters * age)
        duration = lasting(time, self.t_read)
        noise = self.read_noise_scale * self.read_spread(programmed, decayed) * duration
        return jnp.maximum(decayed + noise * stream.exact_normal(programmed.shape), 0.0)

    @abc.abstractmethod
    def programming_spread(self, target: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return σ in microsiemens.

        Args:
            target: Target conductances.
        """

    @abc.abstractmethod
    def exponents(self, target: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """Return mean μ and spread s of the drift exponent.

        Args:
            target: Target conductances.
        """

    @abc.abstractmethod
    def read_spread(
        self, programmed: Float[Array, "*shape"], decayed: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        """Return r in microsiemens, before the factor of the duration.

        Args:
            programmed: Conductances right after programming.
            decayed: Conductances at the time of the read.
        """


class FittedNoiseModel(PowerLawNoiseModel):
    """Base of models whose spreads and exponents are curves of the relative conductance, fitted to measurements."""

    prog_coeff: tuple[Number, ...]
    """Programming noise as a polynomial of the relative conductance."""
    prog_coeff_g_max_reference: Number | None
    """Largest conductance that it refers to; ``None``: that of the converter."""
    nu_mean: Curve
    """Mean of the drift exponent."""
    nu_std: Curve
    """Spread of the drift exponent between devices."""
    read: Curve
    """Read noise relative to the conductance."""

    def programming_spread(self, target: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        top = self.g_converter.g_max
        spread = polynomial(self.prog_coeff, target / top)
        return spread if self.prog_coeff_g_max_reference is None else spread * (top / self.prog_coeff_g_max_reference)

    def exponents(self, target: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        z = jnp.abs(target) / self.g_converter.g_max
        return self.nu_mean.at(z), self.nu_std.at(z)

    def read_spread(
        self, programmed: Float[Array, "*shape"], decayed: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        return jnp.abs(decayed) * self.read.at(jnp.abs(programmed) / self.g_converter.g_max)
