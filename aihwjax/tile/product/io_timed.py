"""Parameters of a product whose inputs are pulses in time and whose wires drop voltage (spec: forward, section 11)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from aihwjax.config import configclass, known, not_positive, number, zero
from aihwjax.errors import ConfigError
from aihwjax.tile.product.io import AnalogMVType, IOParameters
from aihwjax.typing import Number

_ROUNDING = 1e-4
"""Single precision leaves this much of a whole number of levels open."""


@configclass
class IOParametersIRDropT(IOParameters):
    """An array read with pulses whose length is the input, with its wires as a circuit.

    The input code is the number of time slots for which a line is driven; the converter of each column adds up its
    current over the slots. Between the crosspoints of a column lies wire: even columns are read at the end of the last
    line, odd ones at the end of the first. Wires act on products of evaluation; in training the product is the plain
    one. ``ir_drop_g_ratio`` is not used: resistance and conductances are given in units.

    Source: Le Gallo et al., Nat. Electron. 6, 680 (2023), for the array; spec: forward, section 11.
    """

    splits_bits: ClassVar[bool] = True

    ir_drop: Number = number(1.0, off=not_positive)
    """Scale of the wire resistance; 1 is physical. At 0 the product is the plain one."""
    ir_drop_rs: Number = number(0.15, minimum=0)
    """Resistance of the wire from one crosspoint to the next, in ohms."""
    ir_drop_segments: int = 8
    """Segments of a column at least, each of some crosspoints in one place; no more than there are lines."""
    ir_drop_time_step_resolution_scale: Number = number(1.0, above=0, maximum=1e3)
    """Scale of the number of time steps; with ``reference_quirks`` only, since the integral over time is exact."""
    ir_drop_v_read: Number = number(0.4005, minimum=-1e6, maximum=1e6)
    """Potential at which a converter holds its column, in volts; lines at rest have 0.4 V."""
    split_mode_bit_shift: int = 3
    """Bits of the pass of lower significance under ``SPLIT_MODE``."""
    apply_xdep_pcm_read_noise: bool = False
    """Read noise of phase-change memory that depends on the length of the pulses, also in training."""
    xdep_pcm_read_noise_scale: Number = number(1.0, minimum=0, off=zero)
    """Scale of that read noise."""
    adc_quantization: bool = True
    """Whether a converter counts charge in whole quanta, towards zero."""
    adc_frequency: Number = number(6.24, minimum=1e-9)
    """Frequency at 100 µA of the oscillator that counts charge, in GHz: a quantum is 100 µA / frequency in a slot."""
    ir_drop_integration_sum: bool = False
    """Sum over time steps instead of trapezoids; with ``reference_quirks`` only, since the integral is exact."""
    input_bits: int | None = None
    """Number of passes of ``BIT_WISE``; set from ``inp_res``. Give it where ``inp_res`` is traced."""

    def validate(self) -> None:
        """Refuse a product without input codes, and bits and segments that are none."""
        super().validate()
        name = type(self).__name__
        for field in ("ir_drop_segments", "split_mode_bit_shift"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{name}.{field}={getattr(self, field)} is not allowed: give at least 1")
        if self.is_perfect or self.mv_type is AnalogMVType.IDEAL:
            return
        for field in ("inp_bound", "inp_res"):
            values = known(getattr(self, field))
            if not np.isfinite(values).all() or (values <= 0).any():
                raise ConfigError(
                    f"{name}.{field}={getattr(self, field)!r} is not allowed: give a number above 0, since codes of "
                    "the input are numbers of time slots"
                )
        self._set_bits(name)

    def _set_bits(self, name: str) -> None:
        bits = sorted({int(each).bit_length() for each in np.ravel(levels(known(self.inp_res)) + _ROUNDING)})
        if self.mv_type is AnalogMVType.SPLIT_MODE and bits and bits[0] <= self.split_mode_bit_shift:
            raise ConfigError(
                f"{name}.split_mode_bit_shift={self.split_mode_bit_shift} is not allowed with inp_res={self.inp_res!r}:"
                f" give less than its {bits[0]} bits"
            )
        if self.mv_type is not AnalogMVType.BIT_WISE:
            object.__setattr__(self, "input_bits", None)
        elif len(bits) > 1 or bits == [0]:
            raise ConfigError(
                f"{name}.inp_res={self.inp_res!r} is not allowed with mv_type=BIT_WISE: give one resolution of at "
                "least one bit, at most 0.5"
            )
        elif bits:
            object.__setattr__(self, "input_bits", bits[0])
        elif self.input_bits is None or self.input_bits < 1:
            raise ConfigError(
                f"{name}.input_bits={self.input_bits} is not allowed with mv_type=BIT_WISE and a traced inp_res: give "
                "the number of passes"
            )


def levels(res: np.ndarray) -> np.ndarray:
    """Return the number of levels above 0 that a known resolution stands for.

    Args:
        res: A fraction of the full range, or a number of steps above 1.
    """
    return np.where(res > 1, res, 1 / np.where(res > 0, res, 1)) / 2
