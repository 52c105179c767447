"""Presets of the web composer, reached by this module only (spec: presets, section 7)."""

from __future__ import annotations

from typing import Any

from aihwjax.presets.registry import preset
from aihwjax.tile.config import InferenceRPUConfig, TileConfig
from aihwjax.tile.product.io import IOParameters
from aihwjax.tile.product.periphery import MappingParameter
from aihwjax.tile.upkeep.clipping import WeightClipParameter, WeightClipType
from aihwjax.tile.upkeep.modifier import WeightModifierParameter, WeightModifierType


@preset("web composer")
def WebComposerIOParameters(**fields: Any) -> IOParameters:
    """Converters of the web composer: those of the training presets.

    When to use: through :func:`WebComposerInferenceRPUConfig`.

    Source: Rasch et al., AICAS 2021 (arXiv:2104.02184), the paper of the reference.
    """
    return IOParameters(out_bound=20.0, out_noise=0.1).replace(fields)


@preset("web composer")
def WebComposerWeightModifierParameter(**fields: Any) -> WeightModifierParameter:
    """Normal noise of 0.1 on the weights while training.

    When to use: through :func:`WebComposerInferenceRPUConfig`.

    Source: Rasch et al., AICAS 2021 (arXiv:2104.02184), the paper of the reference.
    """
    return WeightModifierParameter(type=WeightModifierType.ADD_NORMAL, std_dev=0.1).replace(fields)


@preset("web composer")
def WebComposerWeightClipParameter(**fields: Any) -> WeightClipParameter:
    """Weights clipped to plus and minus 1.

    When to use: through :func:`WebComposerInferenceRPUConfig`.

    Source: Rasch et al., AICAS 2021 (arXiv:2104.02184), the paper of the reference.
    """
    return WeightClipParameter(type=WeightClipType.FIXED_VALUE, fixed_value=1.0).replace(fields)


@preset("web composer")
def WebComposerMappingParameter(**fields: Any) -> MappingParameter:
    """Weights scaled to 1 for each output, one learned output scale for a tile.

    When to use: through :func:`WebComposerInferenceRPUConfig`.

    Source: Rasch et al., AICAS 2021 (arXiv:2104.02184), the paper of the reference.
    """
    return MappingParameter(weight_scaling_omega=1.0, weight_scaling_columnwise=True, learn_out_scaling=True).replace(
        fields
    )


@preset("web composer")
def OldWebComposerMappingParameter(**fields: Any) -> MappingParameter:
    """Weights scaled to 1 for each output, analog bias, one tile of any size.

    When to use: to repeat runs of the web composer's first version.

    Source: Rasch et al., AICAS 2021 (arXiv:2104.02184), the paper of the reference.
    """
    return WebComposerMappingParameter(
        digital_bias=False, learn_out_scaling=False, max_input_size=0, max_output_size=0
    ).replace(fields)


@preset("web composer")
def WebComposerInferenceRPUConfig(**fields: Any) -> TileConfig:
    """Hardware-aware training as the web composer sets it up.

    When to use: to train what the web composer trains, with noise of 0.1 on the weights.

    Source: Rasch et al., AICAS 2021 (arXiv:2104.02184), the paper of the reference.
    """
    return InferenceRPUConfig(
        forward=WebComposerIOParameters(),
        clip=WebComposerWeightClipParameter(),
        modifier=WebComposerWeightModifierParameter(),
        mapping=WebComposerMappingParameter(),
    ).replace(fields)


@preset("web composer")
def OldWebComposerInferenceRPUConfig(**fields: Any) -> TileConfig:
    """Hardware-aware training as the web composer's first version set it up.

    When to use: to repeat its runs; the bias is analog and a layer is one tile.

    Source: Rasch et al., AICAS 2021 (arXiv:2104.02184), the paper of the reference.
    """
    return WebComposerInferenceRPUConfig(mapping=OldWebComposerMappingParameter()).replace(fields)
