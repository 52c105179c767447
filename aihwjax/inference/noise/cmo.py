"""Resistive memory of conductive metal oxide and hafnium oxide, one device a weight.

    programming  g_P = g_T + prog_noise_scale (c_0 + c_1 g_T) ξ
    t = 0        g = g_P
    at time t    g_D = g_P + drift_scale (a ln t + (b ln t + c) ξ)
                 g = clip(g_D + read_noise_scale K log10(g_D) sqrt(ln((t + t_read) / 2 t_read)) ξ, g_min, g_max)

Time counts from programming.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aihwjax.config import Config, configclass, known, number, numbers, part
from aihwjax.errors import ConfigError
from aihwjax.inference.conductance.base import ConductanceConverter, shown
from aihwjax.inference.conductance.single_device import SingleDeviceConductanceConverter
from aihwjax.inference.noise.base import NoiseModel, polynomial
from aihwjax.inference.noise.curves import NoisePolynomial, lasting
from aihwjax.random import Stream
from aihwjax.typing import Number

COEFFICIENTS = (
    NoisePolynomial(key=0.2, coeff=(0.00081107, 0.00106879)),
    NoisePolynomial(key=2.0, coeff=(0.0112185391, 0.01129027418)),
)
"""Spread in microsiemens after programming with an acceptance range of 0.2 and of 2 percent."""


@configclass
class ReRamCMODecay(Config):
    """How conductances change with the logarithm of time."""

    mean: tuple[Number, ...] = numbers((-0.08900206,))
    """Mean change ``a`` in microsiemens for each unit of ``ln t``; one number."""
    std: tuple[Number, ...] = numbers((0.04201137, 0.41183342))
    """Spread of the change: ``b`` for each unit of ``ln t``, and ``c``, in microsiemens."""

    @classmethod
    def of_mapping(cls, given: Mapping[Any, Any]) -> Self:
        """Return the numbers of a dictionary, as the reference takes it.

        Args:
            given: The dictionary.
        """
        return cls(**given)

    def validate(self) -> None:
        """Refuse other numbers of coefficients."""
        for name, count in (("mean", 1), ("std", 2)):
            given = len(getattr(self, name))
            if given != count:
                raise ConfigError(f"ReRamCMODecay.{name} with {given} numbers is not allowed: give {count}")


@configclass
class ReRamCMORead(Config):
    """The noise of a read."""

    K: Number = number(0.0277316483)
    """Strength in microsiemens."""
    t_read: Number = number(1e-6, above=0)
    """Duration of a read, in seconds."""

    @classmethod
    def of_mapping(cls, given: Mapping[Any, Any]) -> Self:
        """Return the numbers of a dictionary, as the reference takes it.

        Args:
            given: The dictionary.
        """
        return cls(**given)


@configclass
class ReRamCMONoiseModel(NoiseModel):
    """Programming noise, drift and read noise of resistive memory of conductive metal oxide.

    When to use: for arrays of this kind, programmed until each device is within an acceptance range.
    Spec: inference, section 9. Source: Falcone et al., arXiv:2410.10720.
    """

    g_converter: ConductanceConverter = part(SingleDeviceConductanceConverter)
    """How weights become conductances: a :class:`SingleDeviceConductanceConverter`."""
    g_min: Number | None = number(None, minimum=0, optional=True)
    """Smallest conductance in microsiemens: short for that of ``g_converter``, which takes it over."""
    coeff_dict: tuple[NoisePolynomial, ...] = COEFFICIENTS
    """Spread after programming in microsiemens as a polynomial of the conductance in microsiemens, for each acceptance
    range in percent; a dictionary from ranges to coefficients is taken, too."""
    acceptance_range: Number = number(0.2)
    """Acceptance range of the programming in percent: one of the keys of ``coeff_dict``."""
    prog_noise_scale: Number = number(1.0)
    """Factor on the programming noise."""
    read_noise_scale: Number = number(1.0)
    """Factor on the read noise."""
    drift_scale: Number = number(1.0)
    """Factor on mean and spread of the drift."""
    decay_dict: ReRamCMODecay = part(ReRamCMODecay)
    """The drift; a dictionary of its numbers is taken, too."""
    read_dict: ReRamCMORead = part(ReRamCMORead)
    """The read noise; a dictionary of its numbers is taken, too."""

    def validate(self) -> None:
        """Hand the range to the converter; refuse another converter, and an acceptance range without coefficients."""
        if not isinstance(self.g_converter, SingleDeviceConductanceConverter):
            raise ConfigError(
                f"ReRamCMONoiseModel.g_converter={type(self.g_converter).__name__} is not allowed: give a "
                "SingleDeviceConductanceConverter"
            )
        bounds = {name: value for name in ("g_max", "g_min") if (value := getattr(self, name)) is not None}
        if bounds:
            object.__setattr__(self, "g_converter", self.g_converter.replace(bounds))
            for name in bounds:
                object.__setattr__(self, name, None)
        if not self.coeff_dict:
            raise ConfigError("ReRamCMONoiseModel.coeff_dict=() is not allowed: give coefficients for each range")
        keys, wanted = [known(entry.key) for entry in self.coeff_dict], known(self.acceptance_range)
        unknown = [w for w in np.ravel(wanted) if not any(np.any(np.float32(k) == np.float32(w)) for k in keys)]
        # spec: inference, bug 7: a range without coefficients, such as the default 0.02, takes the smallest one
        if unknown and all(key.size for key in keys) and not self.reference_quirks:
            names = ", ".join(shown(entry.key) for entry in self.coeff_dict)
            raise ConfigError(
                f"ReRamCMONoiseModel.acceptance_range={unknown[0]:g} is not allowed: give one of {names}, in percent"
            )

    def programmed(self, target: Float[Array, "*shape"], stream: Stream) -> Float[Array, "*shape"]:
        keys = jnp.asarray([entry.key for entry in self.coeff_dict], jnp.float32)
        wanted = jnp.asarray(self.acceptance_range, jnp.float32)
        chosen = jnp.where(jnp.any(keys == wanted), wanted, jnp.min(keys))
        spread = jnp.zeros_like(target)
        for entry in self.coeff_dict:
            spread = jnp.where(jnp.float32(entry.key) == chosen, polynomial(entry.coeff, target), spread)
        return target + self.prog_noise_scale * spread * stream.exact_normal(target.shape)

    def drifted(
        self, programmed: Float[Array, "*shape"], parameters: Any, t: Number, stream: Stream
    ) -> Float[Array, "*shape"]:
        low, high = self.g_converter.g_min, self.g_converter.g_max
        decay, read = self.decay_dict, self.read_dict
        time = jnp.asarray(t, jnp.float32)
        started = time > 0
        age = jnp.log(jnp.where(started, time, 1.0))
        spread = decay.std[0] * age + decay.std[1]
        drift = decay.mean[0] * age + spread * stream.child("drift").exact_normal(programmed.shape)
        decayed = programmed + self.drift_scale * drift
        if not self.reference_quirks:  # spec: inference, bug 12: the logarithm of what no device has is no number
            decayed = jnp.maximum(jnp.clip(decayed, low, high), 1e-6)
        spread = read.K * jnp.log10(decayed) * lasting(time, read.t_read)
        noise = spread * stream.child("read").exact_normal(programmed.shape)
        return jnp.where(started, jnp.clip(decayed + self.read_noise_scale * noise, low, high), programmed)
