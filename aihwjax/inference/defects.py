"""Devices of a chip that do not work: stuck at the largest or smallest conductance, or open.

A device that does not work has its conductance whatever it is programmed to: no programming noise, no drift, no read
noise. Which devices these are belongs to a chip, and is drawn when it is programmed, or given as a map.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from aihwjax import showing
from aihwjax.config import Config, configclass, known, number
from aihwjax.config.core import zero
from aihwjax.errors import ConfigError, ShapeError
from aihwjax.inference.conductance.base import ConductanceConverter, Slices
from aihwjax.random import Stream
from aihwjax.typing import Number

WORKS, STUCK_HIGH, STUCK_LOW, OPEN = range(4)
"""Entries of a map."""


@configclass
class DefectParameter(Config):
    """How many devices of a chip are stuck or open, or which ones.

    Each device of a crosspoint, such as the two of a pair, is drawn by itself. Probabilities are those of one device;
    one that is not 0 can be swept and takes no part in any other draw: of the same key, the devices that work are as
    they would be without defects, and a larger probability only adds defects.

    Example:
        >>> import aihwjax as aj
        >>> config = aj.InferenceRPUConfig(defects=aj.DefectParameter(stuck_high_prob=0.01, open_prob=0.02))
        >>> config.replace({"defects.open_prob": 0.05}).defects.open_prob
        0.05
    """

    stuck_high_prob: Number = number(0.0, minimum=0, maximum=1, off=zero)
    """Probability that a device is stuck at ``g_max`` of the converter."""
    stuck_low_prob: Number = number(0.0, minimum=0, maximum=1, off=zero)
    """Probability that a device is stuck at ``g_min`` of the converter."""
    open_prob: Number = number(0.0, minimum=0, maximum=1, off=zero)
    """Probability that a device does not conduct at all."""
    defect_map: Number | None = number(None, minimum=WORKS, maximum=OPEN, integer=True, optional=True)
    """State of each device, an array ``(devices of a crosspoint, out, in)`` in place of draws: 0 works, 1 is stuck at
    ``g_max``, 2 is stuck at ``g_min``, 3 is open; the same for all tiles of the configuration. ``None``: drawn."""

    def validate(self) -> None:
        """Refuse probabilities that exceed 1 together, and those beside a map."""
        names = ("stuck_high_prob", "stuck_low_prob", "open_prob")
        if self.defect_map is not None:
            if not isinstance(self.defect_map, jax.core.Tracer):
                # floats, so that jax.grad takes a configuration with a map
                object.__setattr__(self, "defect_map", np.asarray(self.defect_map, np.float32))
            if np.ndim(self.defect_map) < 3 and not isinstance(self.defect_map, jax.core.Tracer):
                raise ConfigError(
                    f"DefectParameter.defect_map of shape {np.shape(self.defect_map)} is not allowed: give an array "
                    "(devices of a crosspoint, out, in)"
                )
            for name in names:
                if self.present(name):
                    given = showing.word(getattr(self, name))
                    raise ConfigError(f"DefectParameter.{name}={given} is not allowed with a defect_map: give 0")
            return
        values = [known(getattr(self, name)) for name in names]
        if all(value.size for value in values):
            try:
                total = np.max(values[0] + values[1] + values[2])
            except ValueError:
                return  # of sweeps along axes of different lengths each is checked alone
            if total > 1 + 1e-6:
                raise ConfigError(
                    f"DefectParameter with probabilities of {total:g} together is not allowed: give at most 1"
                )

    def acts(self) -> bool:
        """Whether there may be devices that don't work."""
        names = ("stuck_high_prob", "stuck_low_prob", "open_prob")
        return self.defect_map is not None or any(self.present(name) for name in names)


def stuck(
    defects: DefectParameter, converter: ConductanceConverter, target: Slices, stream: Stream
) -> tuple[Bool[Array, "slices out in"], Float[Array, "slices out in"]]:
    """Return which devices do not work, and the conductances that these have.

    Args:
        defects: What is wrong with a chip.
        converter: The converter, whose range stuck devices are at the ends of.
        target: Target conductances; only their shape counts.
        stream: Source of the draws.

    Raises:
        ShapeError: If a map has another shape than the devices.
    """
    if defects.defect_map is not None:
        kinds = jnp.asarray(defects.defect_map)
        if kinds.shape != target.shape:
            raise ShapeError(
                f"defects.defect_map has shape {kinds.shape}: give {target.shape}, a state for each of the "
                f"{target.shape[0]} devices of each crosspoint of a tile"
            )
        high, low, opened = kinds == STUCK_HIGH, kinds == STUCK_LOW, kinds == OPEN
    else:
        place = stream.uniform(target.shape)
        # from the two ends, so that a larger probability only adds devices; exact for probabilities down to 6e-8
        rest = 1.0 - place
        high = place < defects.stuck_high_prob
        low = ~high & (rest <= defects.stuck_low_prob)
        opened = ~high & ~low & (rest <= defects.stuck_low_prob + jnp.asarray(defects.open_prob))
    top, bottom = jnp.asarray(converter.g_max, jnp.float32), jnp.asarray(converter.g_min, jnp.float32)
    value = jnp.where(high, top, jnp.where(low, bottom, 0.0))
    return high | low | opened, jnp.broadcast_to(value, target.shape)
