"""Parameters of the analog matrix-vector product (spec: forward, section 1)."""

from __future__ import annotations

import enum
from typing import ClassVar

import numpy as np

from aihwjax.config import Config, configclass, known, not_positive, number, zero
from aihwjax.errors import ConfigError
from aihwjax.typing import Number


class NoiseManagementType(enum.Enum):
    """How the input is scaled into the converter's range, per vector."""

    NONE = "None"
    ABS_MAX = "AbsMax"
    ABS_MAX_NP_SUM = "AbsMaxNPSum"
    MAX = "Max"
    CONSTANT = "Constant"
    AVERAGE_ABS_MAX = "AverageAbsMax"


class BoundManagementType(enum.Enum):
    """What happens when an output exceeds the converter's range, per vector, forward only."""

    NONE = "None"
    ITERATIVE = "Iterative"
    ITERATIVE_WORST_CASE = "IterativeWorstCase"


class WeightNoiseType(enum.Enum):
    """Kind of the read noise that is referred to the output."""

    NONE = "None"
    ADDITIVE_CONSTANT = "AdditiveConstant"
    PCM_READ = "PCMRead"


class AnalogMVType(enum.Enum):
    """How the product is carried out."""

    IDEAL = "Ideal"
    ONE_PASS = "OnePass"
    POS_NEG_SEPARATE = "PosNegSeparate"
    POS_NEG_SEPARATE_DIGITAL_SUM = "PosNegSeparateDigitalSum"
    SPLIT_MODE = "SplitMode"
    BIT_WISE = "BitWise"


BIT_TYPES = (AnalogMVType.SPLIT_MODE, AnalogMVType.BIT_WISE)
"""Types whose passes carry some bits of the input each."""


@configclass
class IOParameters(Config):
    """Converters, noise and non-idealities of one direction of the analog product.

    Weights and conductances are in normalised units. A resolution is a fraction of the full
    range, or a number of steps if it exceeds 1; at zero or below there is no quantisation. A
    bound of zero or below means no bound and no quantisation.
    """

    splits_bits: ClassVar[bool] = False
    """Whether passes of some bits each are possible."""

    is_perfect: bool = False
    """Exact product; of all other fields only ``out_scale`` acts."""
    mv_type: AnalogMVType = AnalogMVType.ONE_PASS
    """One pass, or one for each sign of the input; passes of some bits each need :class:`IOParametersIRDropT`."""
    inp_bound: Number = number(1.0, off=not_positive, infinite=True)
    """Range of the DAC, plus and minus; infinity: no bound, as at 0 and below."""
    inp_noise: Number = number(0.0, minimum=0, maximum=1e6, off=zero)
    """Standard deviation of the input noise, in units of the DAC range."""
    inp_res: Number = number(1 / 126, off=not_positive, infinite=True)
    """Resolution of the DAC; infinity: endlessly many steps, as without quantisation."""
    inp_sto_round: bool = False
    """Stochastic rounding in the DAC."""
    inp_asymmetry: Number = number(0.0, minimum=-1e6, maximum=1e6, off=zero)
    """Relative loss of negative inputs."""
    out_bound: Number = number(12.0, off=not_positive, infinite=True)
    """Range of the ADC, plus and minus; infinity: no bound, as at 0 and below."""
    out_noise: Number = number(0.06, minimum=0, off=zero)
    """Standard deviation of the output noise, in output units after input scaling."""
    out_noise_std: Number = number(0.0, minimum=0, off=zero)
    """Relative spread of the output noise over outputs, frozen at construction."""
    out_res: Number = number(1 / 510, off=not_positive, infinite=True)
    """Resolution of the ADC; infinity: endlessly many steps, as without quantisation."""
    out_sto_round: bool = False
    """Stochastic rounding in the ADC."""
    out_scale: Number = number(1.0)
    """Digital factor on the result."""
    out_asymmetry: Number = number(0.0, off=not_positive)
    """Relative loss of negative outputs."""
    bound_management: BoundManagementType = BoundManagementType.ITERATIVE
    """Repeat with a smaller input when an output was clipped."""
    noise_management: NoiseManagementType = NoiseManagementType.ABS_MAX
    """Scale the input into the DAC range."""
    w_noise: Number = number(0.0, minimum=0, off=zero)
    """Scale of the weight read noise, in weight units."""
    w_noise_type: WeightNoiseType = WeightNoiseType.NONE
    """Kind of the weight read noise."""
    ir_drop: Number = number(0.0, off=not_positive)
    """Scale of the static IR drop; 1 is physical."""
    ir_drop_g_ratio: Number = number(1 / 0.35 / 5e-6, minimum=1e-6, infinite=True)
    """Wire conductance between crosspoints over the largest conductance; infinity: wires without resistance."""
    out_nonlinearity: Number = number(0.0, off=not_positive)
    """Strength of the S-shaped compression at full output range."""
    out_nonlinearity_std: Number = number(0.0, off=not_positive)
    """Relative spread of the compression over outputs, frozen."""
    slope_calibration: Number = number(0.0, off=not_positive)
    """Fraction of the output range at which the slope is calibrated to 1."""
    v_offset_std: Number = number(0.0, off=not_positive)
    """Spread of the voltage offset over outputs, frozen."""
    v_offset_w_min: Number = number(-1.0, off=zero)
    """Weight of the implicit reference device."""
    r_series: Number = number(0.0, off=not_positive)
    """Series resistance, per unit output."""
    w_read_asymmetry_dtod: Number = number(0.0, maximum=1e6, off=not_positive)
    """Spread of the read-polarity factor over crosspoints, frozen; acts in two-pass modes."""
    max_bm_factor: Number = number(1000, integer=True)
    """Largest factor by which bound management divides the input; below 1 it never does."""
    max_bm_res: Number = number(0.25, infinite=True)
    """Bound management stops when the input has this fraction of a DAC step left; infinity: no such limit."""
    bm_test_negative_bound: bool = True
    """Whether clipping at the negative bound counts."""
    nm_thres: Number = number(0.0, off=not_positive, infinite=True)
    """Upper limit of the input scale (``ABS_MAX``, ``MAX``) or its value (``CONSTANT``); infinity: no limit."""

    def validate(self) -> None:
        """Refuse what noise management cannot do, a scaled DAC range and an infinite scale, and passes of bits."""
        if self.mv_type in BIT_TYPES and not self.splits_bits:
            raise ConfigError(
                f"{type(self).__name__}.mv_type={self.mv_type.name} is not allowed: give IOParametersIRDropT, whose "
                "read-out adds up passes of some bits each, or another type"
            )
        managed = self.noise_management is not NoiseManagementType.NONE
        plain = isinstance(self.inp_bound, int | float)
        if managed and not self.is_perfect and plain and self.inp_bound != 1:
            raise ConfigError(
                f"IOParameters.inp_bound={self.inp_bound!r} is not allowed with noise_management="
                f"{self.noise_management.name}: give 1.0, or noise_management=NONE"
            )
        constant = self.noise_management is NoiseManagementType.CONSTANT and not self.is_perfect
        if constant and np.isinf(known(self.nm_thres)).any():
            raise ConfigError(
                f"IOParameters.nm_thres={self.nm_thres!r} is not allowed with noise_management=CONSTANT, "
                "which divides by it: give a finite number"
            )
