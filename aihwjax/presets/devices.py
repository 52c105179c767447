"""Presets of devices: fits of measured materials and two idealised ones (spec: presets, section 2).

Weights are normalised, so that the range of most devices is about -1 to 1. A device preset fills
one crosspoint; the tile presets of :mod:`aihwjax.presets.configs` put it to use.
"""

from __future__ import annotations

from typing import Any

from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.devices.exp_step import ExpStepDevice
from aihwjax.devices.linear_step import LinearStepDevice
from aihwjax.devices.soft_bounds_reference import SoftBoundsReferenceDevice
from aihwjax.presets.registry import preset


@preset("device")
def ReRamESPresetDevice(**fields: Any) -> ExpStepDevice:
    """ReRAM of hafnium oxide, exponential-step fit; about 1000 states and strong write noise.

    When to use: for the closest fit of the measured curve. Its symmetry point is not at zero: there
    the up step is 0.0015 and the down step 0.0020. Without ``reference_quirks`` the granularity is
    the mean of both, with it the down step alone.

    Source: Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return ExpStepDevice(
        dw_min=0.00135,
        dw_min_dtod=0.2,
        dw_min_std=5.0,
        up_down=0.259359,
        up_down_dtod=0.05,
        w_max=1.0,
        w_min=-1.0,
        A_up=-1.18445,
        A_down=-0.081404,
        gamma_up=5.0,
        gamma_down=5.0,
        a=-0.5,
        b=-0.5,
        write_noise_std=75.0,
    ).replace(fields)


@preset("device")
def ReRamSBPresetDevice(**fields: Any) -> SoftBoundsReferenceDevice:
    """ReRAM of hafnium oxide, soft-bounds fit; 1000 states and strong write noise.

    When to use: for algorithms that need the symmetry point at zero. The fit assumes that a
    reference which is not modelled has calibrated it away; ``subtract_symmetry_point=True`` does so
    for each crosspoint, and the presets of the Tiki-Taka family switch it on.

    Source: Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return SoftBoundsReferenceDevice(
        dw_min=0.002,
        dw_min_std=3.75,
        w_max=1.25,
        w_max_dtod=0.3 / 1.25,
        w_min=-0.75,
        w_min_dtod=0.3 / 0.75,
        write_noise_std=56.0,
    ).replace(fields)


@preset("device")
def CapacitorPresetDevice(**fields: Any) -> LinearStepDevice:
    """Capacitor cell of a CMOS process: nearly symmetric, 400 states, leaks.

    When to use: for short training runs with good symmetry. ``lifetime`` counts mini-batches and
    has to be adapted to the time that a mini-batch takes.

    Source: Li et al., VLSI Technology 2018 (IEEE 8510648).
    """
    return LinearStepDevice(
        dw_min=0.005,
        dw_min_dtod=0.1,
        lifetime=1e6,
        lifetime_dtod=0.3,
        up_down_dtod=0.06,
        w_max=1.0,
        w_max_dtod=0.07,
        w_min=-1.0,
        w_min_dtod=0.07,
        gamma_up=0.05,
        gamma_down=0.05,
        gamma_up_dtod=0.01,
        gamma_down_dtod=0.01,
        mult_noise=False,
    ).replace(fields)


@preset("device")
def EcRamPresetDevice(**fields: Any) -> LinearStepDevice:
    """Lithium-based electrochemical memory (ECRAM): linear step, 1000 states.

    When to use: for a fairly linear device with little variation. The range is shifted so that the
    symmetry point lies at zero.

    Source: Tang et al., IEDM 2018 (IEEE 8614551).
    """
    return LinearStepDevice(
        dw_min=0.002,
        dw_min_dtod=0.1,
        w_max=1.1724,
        w_max_dtod=0.05,
        w_min=-0.8276,
        w_min_dtod=0.05,
        gamma_up=0.1153,
        gamma_down=0.5085,
    ).replace(fields)


@preset("device")
def EcRamMOPresetDevice(**fields: Any) -> LinearStepDevice:
    """Metal-oxide electrochemical memory (ECRAM): linear step, about 7000 states, noisy pulses.

    When to use: for very small steps, each with a noise of twice its size. The range is shifted so
    that the symmetry point lies at zero.

    Source: Kim et al., IEDM 2019 (IEEE 8993463).
    """
    return LinearStepDevice(
        dw_min=0.00028214,
        dw_min_dtod=0.1,
        dw_min_std=2.0,
        w_max=1.1714,
        w_max_dtod=0.05,
        w_min=-0.8286,
        w_min_dtod=0.05,
        gamma_up=0.4152,
        gamma_down=0.7342,
    ).replace(fields)


@preset("device")
def IdealizedPresetDevice(**fields: Any) -> ConstantStepDevice:
    """Idealised device: constant step, no asymmetry, 10000 states.

    When to use: as the upper end of what a pulsed device can do, with spread of steps and bounds
    but no asymmetry between up and down.

    Source: Gokmen and Vlasov, Frontiers in Neuroscience 2016 (doi:10.3389/fnins.2016.00333); in
    this form in Rasch, Gokmen and Haensch, IEEE Design & Test 2019 (arXiv:1906.02698).
    """
    return ConstantStepDevice(dw_min=0.0002, up_down_dtod=0.0, w_max=1.0, w_min=-1.0).replace(fields)


@preset("device")
def GokmenVlasovPresetDevice(**fields: Any) -> ConstantStepDevice:
    """The device of the specifications for resistive processing units: constant step, 1250 states.

    When to use: to compare with papers that start from these specifications. Rescaled to the range
    -1 to 1; the reference's text speaks of 1200 states, its numbers give 1250.

    Source: Gokmen and Vlasov, Frontiers in Neuroscience 2016 (doi:10.3389/fnins.2016.00333).
    """
    return ConstantStepDevice(dw_min=0.0016, w_max=1.0, w_min=-1.0).replace(fields)


@preset("device")
def PCMPresetDevice(**fields: Any) -> ExpStepDevice:
    """Phase change memory (Ge2Sb2Te5): exponential step, range 0 to 2, noise that grows with the weight.

    When to use: in pairs only, as in :func:`~aihwjax.presets.compounds.PCMPresetUnitCell`, because
    it only grows gradually. The mean up step is 0.28 at weight 0 and 0.03 at weight 1. With
    ``reference_quirks`` the granularity is the down step at 0, a ninth of the up step there.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406).
    """
    return ExpStepDevice(
        dw_min=0.01,
        dw_min_dtod=0.2,
        dw_min_std=0.6,
        reset=0.01,
        reset_dtod=0.02,
        up_down_dtod=0.05,
        w_max=2.0,
        w_max_dtod=0.1,
        w_min=0.0,
        w_min_dtod=0.0,
        A_up=-27.235,
        A_down=-2.235,
        gamma_up=2.5,
        gamma_down=2.5,
        a=-1.0,
        b=0.0,
        dw_min_std_add=0.042,
        dw_min_std_slope=0.108,
    ).replace(fields)


@preset("device")
def ReRamArrayOMPresetDevice(**fields: Any) -> SoftBoundsReferenceDevice:
    """ReRAM array of an optimised material: soft bounds, 21 states, broad spread of steps.

    When to use: to train on what a whole measured array looks like, with few states. Stuck devices
    (13 % were found) are off: switch them on with ``corrupt_devices_prob=0.1348``.

    Source: Gong, Rasch et al., IEDM 2022 (IEEE 10019569).
    """
    return SoftBoundsReferenceDevice(
        corrupt_devices_range=0.01,
        dw_min=0.0949,
        dw_min_dtod=0.7829,
        dw_min_dtod_log_normal=True,
        dw_min_std=0.4158,
        w_max=1.0,
        w_max_dtod=0.3499,
        w_min=-1.0,
        w_min_dtod=0.5695,
        write_noise_std=1.4113,
        reference_std=0.05,
        subtract_symmetry_point=True,
    ).replace(fields)


@preset("device")
def ReRamArrayHfO2PresetDevice(**fields: Any) -> SoftBoundsReferenceDevice:
    """ReRAM array of plain hafnium oxide: soft bounds, 4 states, broad spread of steps.

    When to use: as the baseline of :func:`ReRamArrayOMPresetDevice`. Stuck devices (10 % were
    found) are off: switch them on with ``corrupt_devices_prob=0.0977``.

    Source: Gong, Rasch et al., IEDM 2022 (IEEE 10019569).
    """
    return SoftBoundsReferenceDevice(
        corrupt_devices_range=0.01,
        dw_min=0.4622,
        dw_min_dtod=0.7125,
        dw_min_dtod_log_normal=True,
        dw_min_std=0.2174,
        w_max=1.0,
        w_max_dtod=0.4295,
        w_min=-1.0,
        w_min_dtod=0.599,
        write_noise_std=0.5841,
        reference_std=0.05,
        subtract_symmetry_point=True,
    ).replace(fields)
