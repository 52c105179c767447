"""Presets of tiles for inference and hardware-aware training (spec: presets, section 6)."""

from __future__ import annotations

from typing import Any

from aihwjax.presets.registry import preset
from aihwjax.presets.utils import PresetIOParameters
from aihwjax.tile.config import InferenceRPUConfig, TileConfig, TorchInferenceRPUConfig
from aihwjax.tile.product.io import BoundManagementType, IOParameters, NoiseManagementType, WeightNoiseType
from aihwjax.tile.product.periphery import InputRangeParameter, MappingParameter, PrePostProcessingParameter
from aihwjax.tile.upkeep.clipping import WeightClipParameter, WeightClipType
from aihwjax.tile.upkeep.remapping import WeightRemapParameter, WeightRemapType


@preset("inference")
def FloatingPointPreset(**fields: Any) -> TileConfig:
    """Exact products and updates on one tile of any size: the digital network as an analog one.

    When to use: as the digital baseline of a network that is built of analog layers, and as a start
    for switching on one non-ideality after the other.

    Source: Rasch et al., AICAS 2021 (arXiv:2104.02184), the paper of the reference, which cites no
    other for this preset.
    """
    return TorchInferenceRPUConfig(
        mapping=MappingParameter(max_input_size=0, max_output_size=0), forward=IOParameters(is_perfect=True)
    ).replace(fields)


@preset("inference")
def StandardHWATrainingPreset(**fields: Any) -> TileConfig:
    """Hardware-aware training for phase change memory, the standard of a published comparison.

    When to use: to train or fine-tune a network that is to be programmed once and then only read.
    Weights are scaled to 1 for each output, clipped and remapped; the forward product has 8-bit
    converters, output noise, read noise of phase change memory and IR drop; inputs pass a learned
    range, and the noise management is a fixed scale of 1. No weight modifier is set.

    Source: Rasch et al., Nature Communications 2023 (arXiv:2302.08469).
    """
    return InferenceRPUConfig(
        mapping=MappingParameter(
            weight_scaling_omega=1.0,
            weight_scaling_columnwise=True,
            learn_out_scaling=True,
            out_scaling_columnwise=True,
            max_input_size=512,
            max_output_size=0,
        ),
        forward=PresetIOParameters(
            inp_res=254.0,
            out_res=254.0,
            out_bound=10.0,
            out_noise=0.04,
            bound_management=BoundManagementType.NONE,
            noise_management=NoiseManagementType.CONSTANT,
            nm_thres=1.0,
            w_noise=0.0175,
            w_noise_type=WeightNoiseType.PCM_READ,
            ir_drop=1.0,
        ),
        pre_post=PrePostProcessingParameter(input_range=InputRangeParameter(enable=True)),
        clip=WeightClipParameter(type=WeightClipType.FIXED_VALUE, fixed_value=1.0),
        remap=WeightRemapParameter(type=WeightRemapType.CHANNELWISE_SYMMETRIC),
    ).replace(fields)
