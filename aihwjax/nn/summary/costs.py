"""Energy and time of the single operations of a tile."""

from __future__ import annotations

import dataclasses
import math

from aihwjax import arguments
from aihwjax.errors import ConfigError


@arguments.answering
@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """Energy (joules) and time (seconds) of the operations of tiles, for :func:`aihwjax.analog_summary`.

    The defaults are round numbers, of the order of what is published for converters of 8 bits and arrays of
    resistive memory, and of no chip: give those of your design.

    A product of one vector takes, in this order, ``dac_time + read_time + adc_time`` for each pass through the arrays:
    all lines and all tiles of a layer work at the same time, each line with a converter of its own. Where converters
    are shared, give the time of all conversions of a tile. Digital operations on all outputs of a layer are one step.

    Example:
        >>> from aihwjax import Costs
        >>> slower = Costs(adc_energy=4e-12, adc_time=1e-6)

    Raises:
        ConfigError: If a number is negative or not finite.
    """

    dac_energy: float = 5e-13
    """Energy of one conversion of an input of a tile."""
    adc_energy: float = 2e-12
    """Energy of one conversion of an output of a tile."""
    read_energy: float = 1e-15
    """Energy of one crosspoint in one pass through an array."""
    digital_energy: float = 1e-12
    """Energy of one digital addition or multiplication."""
    dac_time: float = 1e-8
    """Time of the conversion of all inputs of a tile."""
    read_time: float = 1e-7
    """Time of one pass through an array."""
    adc_time: float = 1e-8
    """Time of the conversion of all outputs of a tile."""
    digital_time: float = 1e-9
    """Time of one digital operation on all outputs of a layer."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0:
                raise ConfigError(f"Costs.{field.name}={value!r} is not allowed: give a finite number of at least 0")
