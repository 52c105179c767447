"""Tiles in which every numeric field of a configuration class acts; a new class needs its row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

import aihwjax as aj
from aihwjax.compounds.cells import UnitCell
from aihwjax.config import Config
from aihwjax.devices.base import PulsedDevice
from aihwjax.devices.ideal import ExactDevice
from aihwjax.inference.conductance.base import ConductanceConverter
from aihwjax.inference.noise.base import NoiseModel

Fields = dict[str, Any]
Build = Callable[..., aj.TileConfig]

DRIFT: Fields = {
    "nu": 0.1,
    "nu_std": 0.1,
    "nu_dtod": 0.1,
    "g_offset": 0.1,
    "w_offset": 0.01,
    "nu_k": 0.1,
    "w_noise_std": 0.01,
}
SHARED: Fields = {
    "diffusion": 0.01,
    "diffusion_dtod": 0.1,
    "lifetime": 100.0,
    "lifetime_dtod": 0.1,
    "corrupt_devices_prob": 0.1,
    "reset_dtod": 0.01,
    "drift": aj.DriftParameter(**DRIFT),
}
"""Features that all pulsed devices have."""
OWN: dict[str, list[Fields]] = {
    "LinearStepDevice": [{"write_noise_std": 1.0, "reverse_up": True, "reverse_down": True}],
    "SoftBoundsReferenceDevice": [
        {"reference_std": 0.1, "subtract_symmetry_point": True, "slope_up_dtod": 0.1, "slope_down_dtod": 0.1}
    ],
    "ExpStepDevice": [{"dw_min_std_add": 0.1, "dw_min_std_slope": 0.1}],
    "PowStepReferenceDevice": [{"reference_std": 0.1, "subtract_symmetry_point": True}],
    "PiecewiseStepDevice": [{"piecewise_up": (1.0, 1.0, 0.5), "piecewise_down": (0.5, 1.0, 1.0)}],
    "MeasuredStepDevice": [
        {
            **dict.fromkeys(("up", "down", "up_std", "down_std", "up_dtod", "down_dtod"), (1.0, 0.5, 0.2)),
            "nodes": (0.0, 0.5, 1.0),
            "dw_min_std": 0.3,
        }
    ],
    "CustomStepDevice": [{"up": jnp.cos, "down": jnp.cos}],
}
"""Features of one device."""
PAIR: Fields = {"unit_cell_devices": (aj.ConstantStepDevice(), aj.SoftBoundsDevice())}
VECTORS: Fields = {"gamma_vec": (0.5, 0.5), "transfer_every_vec": (1.0, 1.0), "transfer_lr_vec": (0.1, 0.1)}
CHOPPED: Fields = {
    "auto_scale": True,
    "auto_granularity": 10.0,
    "correct_gradient_magnitudes": True,
    "in_chop_prob": 0.5,
    "out_chop_prob": 0.5,
    "gamma": 0.5,
}
CELLS: dict[str, list[Fields]] = {
    "VectorUnitCell": [{"gamma_vec": (0.5, 0.5)}],
    "ReferenceUnitCell": [{}],
    "OneSidedUnitCell": [
        {
            "unit_cell_devices": (aj.ConstantStepDevice(),),
            "refresh_every": 1,
            "refresh_upper_thres": 0.05,
            "refresh_lower_thres": 0.01,
        }
    ],
    "TransferCompound": [{"gamma": 0.5, "with_reset_prob": 0.5}, VECTORS],
    "BufferedTransferCompound": [{"gamma": 0.5}, {"forget_buffer": False}],
    "ChoppedTransferCompound": [CHOPPED, {"forget_buffer": False, "transfer_every": -1.0}],
    "DynamicTransferCompound": [
        {**CHOPPED, "buffer_cap": 1.0, "forget_buffer": False, "experimental_correct_accumulation": True}
    ],
}
IMPERFECT: Fields = {
    "inp_noise": 0.01,
    "inp_asymmetry": 0.1,
    "out_asymmetry": 0.1,
    "out_noise_std": 0.1,
    "w_noise": 0.01,
    "w_noise_type": "ADDITIVE_CONSTANT",
    "ir_drop": 1.0,
    "out_nonlinearity": 0.1,
    "out_nonlinearity_std": 0.1,
    "slope_calibration": 0.5,
    "v_offset_std": 0.1,
    "r_series": 0.1,
    "nm_thres": 0.5,
    "w_read_asymmetry_dtod": 0.1,
    "mv_type": "POS_NEG_SEPARATE",
}
PRODUCTS: list[Fields] = [
    IMPERFECT,
    {"noise_management": "NONE", "inp_bound": 2.0},
    {"noise_management": "ABS_MAX_NP_SUM", "out_bound": 0.3},
    {"noise_management": "CONSTANT", "nm_thres": 0.5, "bound_management": "ITERATIVE_WORST_CASE", "out_bound": 0.3},
]
TIMED: list[tuple[Fields, str]] = [(IMPERFECT, "POS_NEG_SEPARATE"), ({}, "SPLIT_MODE"), ({}, "BIT_WISE")]
UPDATES: list[Fields] = [
    {"pulse_type": "STOCHASTIC", "res": 0.01, "sto_round": True},
    {"pulse_type": "DETERMINISTIC_IMPLICIT", "x_res_implicit": 0.01, "d_res_implicit": 0.01},
]
_PCM: Fields = {
    "pcm_zero_thres": 1.0,
    "pcm_t_inference": 10.0,
    "pcm_prob_at_reset": 0.1,
    "pcm_prob_at_gmax": 0.1,
    "pcm_prob_at_random": 0.1,
}

_TABLES = ((1.0, 3.0, 5.0), (5.0, 3.0, 1.0))
FACTORS: dict[str, Fields] = {
    "CustomStepDevice": {"up": jnp.cos, "down": jnp.cos},
    "NPairConductanceConverter": {"f_lst": (1.0, 3.0)},
    "DualPairConductanceConverter": {"f_lst": (1.0, 3.0)},
    "MeasuredNoiseModel": {"conductance": (0.0, 25.0), "spread": (0.3, 1.0)},
    "CustomPairConductanceConverter": {"f_lst": (1.0,), "g_lst": _TABLES, "invertibility_test": False},
}
"""Without which a device, a converter or a noise model cannot be built."""


def hosts(cls: type[Config]) -> list[tuple[Build, Fields]] | None:
    """Return tile builders that take an instance of the class, and the fields that switch its features on.

    ``None`` for a class without a row.
    """
    name = cls.__name__
    if name in CELLS:
        return [(lambda part: aj.UnitCellRPUConfig(device=part), {**PAIR, **fields}) for fields in CELLS[name]]
    if issubclass(cls, UnitCell) or name in ("PulsedDevice", "WriteNoiseDevice", "ExactDevice"):
        return []  # a base: its fields are those of the classes below it
    if issubclass(cls, PulsedDevice):
        variants = [{**SHARED, **fields} for fields in OWN.get(name, [{}])]
        return [(lambda part: aj.SingleRPUConfig(device=part), fields) for fields in variants]
    if issubclass(cls, ExactDevice):
        return [
            (
                lambda part: aj.SingleRPUConfig(device=part),
                {"diffusion": 0.1, "lifetime": 10.0, "drift": aj.DriftParameter(nu=0.1)},
            )
        ]
    if name == "MixedPrecisionCompound":
        return [(lambda part: aj.DigitalRankUpdateRPUConfig(device=part), {"granularity": 0.01})]
    if name == "DriftParameter":
        inside: list[Build] = [
            lambda part: aj.SingleRPUConfig(device=aj.ConstantStepDevice(drift=part)),
            lambda part: aj.SingleRPUConfig(device=aj.IdealDevice(drift=part)),
        ]
        return [(build, DRIFT) for build in inside]
    if name == "IOParametersIRDropT":
        kinds = [{**each, "apply_xdep_pcm_read_noise": True, "mv_type": kind} for each, kind in TIMED]
        return [(lambda part: aj.TorchInferenceRPUConfigIRDropT(forward=part), fields) for fields in kinds]
    if name == "IOParameters":
        return [(lambda part: aj.SingleRPUConfig(forward=part, backward=part), fields) for fields in PRODUCTS]
    if name == "UpdateParameters":
        return [(lambda part: aj.SingleRPUConfig(update=part), fields) for fields in UPDATES]
    if name == "WeightModifierParameter":
        shared = {"std_dev": 0.1, "res": 0.1, "pdrop": 0.1}
        kinds = [{**shared, "type": kind} for kind in ("DISCRETIZE_ADD_NORMAL", "DOREFA", "POLY", "PROG_NOISE")]
        kinds += [{**shared, "type": "ADD_NORMAL", "rel_to_actual_wmax": False}, {"type": "PCM_NOISE", **_PCM}]
        return [(lambda part: aj.InferenceRPUConfig(modifier=part), fields) for fields in kinds]
    if name == "WeightClipParameter":
        kinds = [{"type": "FIXED_VALUE", "fixed_value": 0.5}, {"type": "LAYER_GAUSSIAN"}]
        return [(lambda part: aj.InferenceRPUConfig(clip=part), fields) for fields in kinds]
    if name == "WeightRemapParameter":
        fields = {"type": "CHANNELWISE_SYMMETRIC", "max_scale_range": 1.0, "max_scale_ref": 0.1}
        return [(lambda part: aj.InferenceRPUConfig(remap=part), fields)]
    if cls.__module__.startswith("aihwjax.inference"):
        return _chips(cls)
    layers = ("MappingParameter", "InputRangeParameter", "PeripheryQuantizationParameter")
    if name in layers or cls.__module__.startswith("aihwjax.quantization"):
        return []  # numbers of a layer, not of a tile
    return None


def _chips(cls: type[Config]) -> list[tuple[Build, Fields]] | None:
    """Return what :func:`hosts` does for a part of a noise model."""
    name = cls.__name__
    if issubclass(cls, ConductanceConverter):
        return [(lambda part: _chip(aj.StateIndependentNoiseModel(g_converter=part)), FACTORS.get(name, {}))]
    if issubclass(cls, NoiseModel):
        return [(_chip, FACTORS.get(name, {}))]
    if name == "DefectParameter":
        fields = {"stuck_high_prob": 0.1, "stuck_low_prob": 0.2, "open_prob": 0.1}
        return [(lambda part: aj.InferenceRPUConfig(defects=part), fields)]
    models: dict[str, Callable[[Any], NoiseModel]] = {
        "ClippedLog": lambda part: aj.PCMLikeNoiseModel(nu_mean=part, nu_std=part),
        "PowerLawRead": lambda part: aj.PCMLikeNoiseModel(read=part),
        "BranchedCurve": lambda part: aj.HermesNoiseModel(nu_mean=part, nu_std=part, read=part),
        "DriftTable": lambda part: aj.CustomDriftPCMLikeNoiseModel(custom_drift_model=part),
        "ReRamCMODecay": lambda part: aj.ReRamCMONoiseModel(decay_dict=part),
        "ReRamCMORead": lambda part: aj.ReRamCMONoiseModel(read_dict=part),
        "NoisePolynomial": lambda part: aj.ReRamCMONoiseModel(coeff_dict=(part,), acceptance_range=0.2),
    }
    base: Fields = {"key": 0.2, "coeff": (0.1, 0.01)} if name == "NoisePolynomial" else {}
    return [(lambda part: _chip(models[name](part)), base)] if name in models else None


def _chip(model: NoiseModel) -> aj.TileConfig:
    return aj.InferenceRPUConfig(noise_model=model)
