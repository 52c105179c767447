"""Parameters of the digital periphery: mapping scales, bias, tile sizes, input range (spec: tile_ops)."""

from __future__ import annotations

from typing import ClassVar

from aihwjax.config import Config, configclass, not_positive, number, part
from aihwjax.quantization.config import MOST_BITS, check_bits
from aihwjax.typing import Number


@configclass
class MappingParameter(Config):
    """How the weights of a layer are laid onto tiles."""

    digital_bias: bool = True
    """Bias in digital, after all scales; else an extra analog column with the constant input 1."""
    weight_scaling_omega: Number = number(0.0, off=not_positive)
    """If positive, weights are scaled so that their largest magnitude has this value."""
    weight_scaling_columnwise: bool = False
    """Scale each output row by itself instead of the whole tile."""
    weight_scaling_lr_compensation: bool = False
    """Move the mean mapping scale from the gradient to the tile's learning rate."""
    learn_out_scaling: bool = False
    """Whether a digital output scale is learned."""
    out_scaling_columnwise: bool = False
    """Whether the learned scale has one entry for each output."""
    max_input_size: int = 512
    """Most inputs of a physical tile; 0 or less: no limit."""
    max_output_size: int = 512
    """Most outputs of a physical tile; 0 or less: no limit."""

    at_once: ClassVar[tuple[str, ...]] = (
        "weight_scaling_omega", "weight_scaling_columnwise", "weight_scaling_lr_compensation"
    )  # fmt: skip


@configclass
class InputRangeParameter(Config):
    """A digital range to which inputs are clipped and scaled before the converter."""

    enable: bool = False
    """Whether there is an input range."""
    learn_input_range: bool = True
    """Whether the range is a trained parameter."""
    init_value: Number = number(3.0, above=0)
    """Initial range, in input units."""
    init_from_data: int = 100
    """Number of training batches from which the range is initialised."""
    init_std_alpha: Number = number(3.0, above=0)
    """The range is initialised to this many standard deviations of the input."""
    decay: Number = number(0.001, minimum=0)
    """Decay of the range while most inputs lie inside."""
    input_min_percentage: Number = number(0.95, minimum=0, maximum=1)
    """Fraction of inputs inside the range above which it decays."""
    manage_output_clipping: bool = False
    """Shrink the range when outputs are clipped."""
    output_min_percentage: Number = number(0.95, minimum=0, maximum=1)
    """Fraction of unclipped outputs below which the range shrinks."""
    gradient_scale: Number = number(1.0)
    """Factor on the gradient of the range, if it is relative."""
    gradient_relative: bool = True
    """Whether the gradient of the range is relative to the range."""
    calibration_info: str | None = None
    """Free text about the origin of the range."""

    at_once: ClassVar[tuple[str, ...]] = (
        "init_std_alpha", "decay", "input_min_percentage", "manage_output_clipping", "output_min_percentage",
        "gradient_scale", "gradient_relative", "calibration_info",
    )  # fmt: skip


@configclass
class PrePostProcessingParameter(Config):
    """Digital processing before and after the analog product."""

    input_range: InputRangeParameter = part(InputRangeParameter)
    """The input range."""


@configclass
class PeripheryQuantizationParameter(Config):
    """How the scales and the bias of a layer are quantised."""

    n_bits: Number = number(0, minimum=0, maximum=MOST_BITS, integer=True, off=not_positive)
    """Bits of scales and bias; 0: they are not quantised."""
    symmetric: bool = True
    """Whether 0 lies in the middle of the grid (or at its lower end, if no number is negative)."""
    learn_quant_params: bool = False
    """Whether the steps of the grids are trained parameters; else they are those of the present scales and bias."""
    init_learning_after: Number = number(100, minimum=1, integer=True)
    """Batches of training in which the steps follow the scales and the bias, before they learn."""

    def validate(self) -> None:
        """Refuse a symmetric grid of one bit."""
        check_bits(type(self).__name__, self.n_bits, self.symmetric)


@configclass
class PrePostProcessingParameterQuant(PrePostProcessingParameter):
    """Digital processing before and after the analog product, whose scales and bias are quantised."""

    periph_quant: PeripheryQuantizationParameter = part(PeripheryQuantizationParameter)
    """How they are quantised."""


def quantized_periphery(parameter: PrePostProcessingParameter) -> PeripheryQuantizationParameter | None:
    """Return how scales and bias are quantised; ``None`` if they are not.

    Args:
        parameter: The digital processing of a tile.
    """
    if not isinstance(parameter, PrePostProcessingParameterQuant):
        return None
    return parameter.periph_quant if parameter.periph_quant.present("n_bits") else None
