"""Presets of converters and pulse trains (spec: presets, section 1)."""

from __future__ import annotations

from typing import Any

from aihwjax.presets.registry import preset
from aihwjax.pulses import UpdateParameters
from aihwjax.tile.product.io import IOParameters


@preset("parameters")
def PresetIOParameters(**fields: Any) -> IOParameters:
    """Converters of all training presets: 7-bit DAC, 9-bit ADC with a wide range.

    When to use: as ``forward`` and ``backward`` of a tile whose weights are of the order of 1. The
    ADC has steps of 0.078 and the output a noise of 0.1, in units of weight times input.

    Source: Rasch et al., AICAS 2021 (arXiv:2104.02184), the paper of the reference, which cites no
    other for these numbers.
    """
    return IOParameters(out_bound=20.0, out_noise=0.1).replace(fields)


@preset("parameters")
def StandardIOParameters(**fields: Any) -> IOParameters:
    """Converters of the hardware-aware standard: 8-bit DAC and ADC, low noise.

    When to use: to study inference with the periphery of published comparisons of many networks.
    No other preset uses it.

    Source: Rasch et al., Nature Communications 2023 (arXiv:2302.08469).
    """
    steps = 2**8 - 2
    return IOParameters(inp_res=1 / steps, out_res=1 / steps, out_bound=10.0, out_noise=0.04).replace(fields)


@preset("parameters")
def PresetUpdateParameters(**fields: Any) -> UpdateParameters:
    """Stochastic pulse trains of at most 31 pulses, with both kinds of update management.

    When to use: for the parallel pulsed update; these are the defaults of the class.

    Source: Gokmen and Vlasov, Frontiers in Neuroscience 2016 (doi:10.3389/fnins.2016.00333).
    """
    return UpdateParameters().replace(fields)
