"""The presets of the reference as tables: every field that differs from the default of its class.

Transcribed from the specification (presets, sections 0 to 7), not from the code that is tested.
Dotted paths reach into parts; ``class`` names a part's class.
"""

from __future__ import annotations

from typing import TypeAlias

Row: TypeAlias = dict[str, object]

# ------------------------------------------------------------------ section 0: defaults of the classes
_PULSED: Row = {
    "dw_min": 0.001, "dw_min_dtod": 0.3, "dw_min_std": 0.3, "dw_min_dtod_log_normal": False, "up_down": 0,
    "up_down_dtod": 0.01, "w_max": 0.6, "w_min": -0.6, "w_max_dtod": 0.3, "w_min_dtod": 0.3,
    "enforce_consistency": True, "perfect_bias": False, "corrupt_devices_prob": 0, "corrupt_devices_range": 0.1,
    "lifetime": 0, "lifetime_dtod": 0, "diffusion": 0, "diffusion_dtod": 0, "reset": 0, "reset_dtod": 0,
    "reset_std": 0.01, "count_pulses": False, "construction_seed": 0,
}  # fmt: skip
_WRITE_NOISE: Row = {"write_noise_std": 0, "apply_write_noise_on_set": True}
DEFAULTS: dict[str, Row] = {
    "ConstantStepDevice": _PULSED,
    "LinearStepDevice": {
        **_PULSED, **_WRITE_NOISE, "gamma_up": 0, "gamma_down": 0, "gamma_up_dtod": 0.05, "gamma_down_dtod": 0.05,
        "allow_increasing": False, "mean_bound_reference": True, "mult_noise": True, "reverse_up": False,
        "reverse_down": False, "reverse_offset": 0.01,
    },
    "SoftBoundsReferenceDevice": {
        **_PULSED, **_WRITE_NOISE, "mult_noise": False, "slope_up_dtod": 0, "slope_down_dtod": 0,
        "reference_mean": 0, "reference_std": 0, "subtract_symmetry_point": False,
    },
    "ExpStepDevice": {
        **_PULSED, **_WRITE_NOISE, "A_up": 0.00081, "A_down": 0.36833, "gamma_up": 12.44625, "gamma_down": 12.78785,
        "a": 0.244, "b": 0.2425, "dw_min_std_add": 0, "dw_min_std_slope": 0,
    },
    "IOParameters": {
        "is_perfect": False, "mv_type": "ONE_PASS", "inp_bound": 1, "inp_noise": 0, "inp_res": 1 / 126,
        "inp_sto_round": False, "inp_asymmetry": 0, "out_bound": 12, "out_noise": 0.06, "out_noise_std": 0,
        "out_res": 1 / 510, "out_sto_round": False, "out_scale": 1, "out_asymmetry": 0,
        "bound_management": "ITERATIVE", "noise_management": "ABS_MAX", "nm_thres": 0, "w_noise": 0,
        "w_noise_type": "NONE", "ir_drop": 0, "ir_drop_g_ratio": 1 / (0.35 * 5e-6), "out_nonlinearity": 0,
        "out_nonlinearity_std": 0, "slope_calibration": 0, "v_offset_std": 0, "v_offset_w_min": -1, "r_series": 0,
        "w_read_asymmetry_dtod": 0, "max_bm_factor": 1000, "max_bm_res": 0.25, "bm_test_negative_bound": True,
    },
    "UpdateParameters": {
        "desired_bl": 31, "fixed_bl": True, "pulse_type": "STOCHASTIC_COMPRESSED", "res": 0, "x_res_implicit": 0,
        "d_res_implicit": 0, "d_sparsity": False, "sto_round": False, "update_bl_management": True,
        "update_management": True, "um_grad_scale": 1,
    },
    "MappingParameter": {
        "digital_bias": True, "weight_scaling_omega": 0, "weight_scaling_columnwise": False,
        "weight_scaling_lr_compensation": False, "learn_out_scaling": False, "out_scaling_columnwise": False,
        "max_input_size": 512, "max_output_size": 512,
    },
    "InputRangeParameter": {
        "enable": False, "learn_input_range": True, "init_value": 3, "init_from_data": 100, "init_std_alpha": 3,
        "decay": 0.001, "input_min_percentage": 0.95, "manage_output_clipping": False, "output_min_percentage": 0.95,
        "gradient_scale": 1, "gradient_relative": True,
    },
    "WeightClipParameter": {"fixed_value": -1, "sigma": 2.5, "type": "NONE"},
    "WeightRemapParameter": {"remapped_wmax": 1, "max_scale_range": 0, "max_scale_ref": 0, "type": "NONE"},
    "WeightModifierParameter": {"std_dev": 0, "type": "NONE"},
    "VectorUnitCell": {"update_policy": "ALL", "first_update_idx": 0, "gamma_vec": []},
    "OneSidedUnitCell": {
        "refresh_every": 0, "units_in_mbatch": True, "refresh_upper_thres": 0.75, "refresh_lower_thres": 0.25,
        "copy_inverted": False,
    },
    "TransferCompound": {
        "gamma": 0, "gamma_vec": [], "transfer_every": 1, "units_in_mbatch": True, "transfer_every_vec": [],
        "no_self_transfer": True, "n_reads_per_transfer": 1, "transfer_columns": True, "with_reset_prob": 0,
        "random_selection": False, "fast_lr": 1, "scale_fast_lr": True, "transfer_lr": 1, "transfer_lr_vec": [],
        "scale_transfer_lr": True, "transfer_update.desired_bl": 31, "transfer_update.update_management": True,
    },
    "ChoppedTransferCompound": {
        "units_in_mbatch": False, "scale_fast_lr": False, "transfer_update.desired_bl": 1,
        "transfer_update.update_management": False, "transfer_update.update_bl_management": False,
        "in_chop_prob": 0.1, "in_chop_random": True, "out_chop_prob": 0, "buffer_granularity": 1,
        "auto_granularity": 0, "step": 1, "momentum": 0, "forget_buffer": True, "no_buffer": False,
        "auto_scale": False, "auto_momentum": 0.99, "correct_gradient_magnitudes": False, "fast_lr": 1,
    },
    "DynamicTransferCompound": {
        "units_in_mbatch": False, "scale_fast_lr": False, "transfer_update.desired_bl": 1,
        "transfer_update.update_management": False, "transfer_update.update_bl_management": False,
        "in_chop_prob": 0.1, "in_chop_random": False, "tail_weightening": 5, "buffer_cap": 0,
        "experimental_correct_accumulation": False, "auto_granularity": 0, "fast_lr": 1, "auto_scale": False,
    },
    "MixedPrecisionCompound": {
        "transfer_every": 1, "n_rows_per_transfer": -1, "random_row": False, "granularity": 0, "transfer_lr": 1,
        "n_x_bins": 0, "n_d_bins": 0, "stoc_round_x": True, "stoc_round_d": True,
    },
}  # fmt: skip

# ----------------------------------------------------------------------------- sections 1, 2, 3, 7
_PRESET_IO: Row = {"class": "IOParameters", "out_bound": 20.0, "out_noise": 0.1}
_STEPS = 2**8 - 2
_ARRAY: Row = {
    "class": "SoftBoundsReferenceDevice", "corrupt_devices_range": 0.01, "dw_min_dtod_log_normal": True,
    "w_max": 1, "w_min": -1, "reference_std": 0.05, "subtract_symmetry_point": True,
}  # fmt: skip

PARTS: dict[str, Row] = {
    "PresetIOParameters": _PRESET_IO,
    "StandardIOParameters": {
        "class": "IOParameters", "inp_res": 1 / _STEPS, "out_res": 1 / _STEPS, "out_bound": 10.0, "out_noise": 0.04,
    },
    "PresetUpdateParameters": {"class": "UpdateParameters"},
}  # fmt: skip
DEVICES: dict[str, Row] = {
    "ReRamESPresetDevice": {
        "class": "ExpStepDevice", "dw_min": 0.00135, "dw_min_dtod": 0.2, "dw_min_std": 5, "up_down": 0.259359,
        "up_down_dtod": 0.05, "w_max": 1, "w_min": -1, "A_up": -1.18445, "A_down": -0.081404, "gamma_up": 5,
        "gamma_down": 5, "a": -0.5, "b": -0.5, "write_noise_std": 75,
    },
    "ReRamSBPresetDevice": {
        "class": "SoftBoundsReferenceDevice", "dw_min": 0.002, "dw_min_std": 3.75, "w_max": 1.25, "w_max_dtod": 0.24,
        "w_min": -0.75, "w_min_dtod": 0.39999999999999997, "write_noise_std": 56,
    },
    "CapacitorPresetDevice": {
        "class": "LinearStepDevice", "dw_min": 0.005, "dw_min_dtod": 0.1, "lifetime": 1000000, "lifetime_dtod": 0.3,
        "up_down_dtod": 0.06, "w_max": 1, "w_max_dtod": 0.07, "w_min": -1, "w_min_dtod": 0.07, "gamma_up": 0.05,
        "gamma_down": 0.05, "gamma_up_dtod": 0.01, "gamma_down_dtod": 0.01, "mult_noise": False,
    },
    "EcRamPresetDevice": {
        "class": "LinearStepDevice", "dw_min": 0.002, "dw_min_dtod": 0.1, "w_max": 1.1724, "w_max_dtod": 0.05,
        "w_min": -0.8276, "w_min_dtod": 0.05, "gamma_up": 0.1153, "gamma_down": 0.5085,
    },
    "EcRamMOPresetDevice": {
        "class": "LinearStepDevice", "dw_min": 0.00028214, "dw_min_dtod": 0.1, "dw_min_std": 2, "w_max": 1.1714,
        "w_max_dtod": 0.05, "w_min": -0.8286, "w_min_dtod": 0.05, "gamma_up": 0.4152, "gamma_down": 0.7342,
    },
    "IdealizedPresetDevice": {
        "class": "ConstantStepDevice", "dw_min": 0.0002, "up_down_dtod": 0, "w_max": 1, "w_min": -1,
    },
    "GokmenVlasovPresetDevice": {"class": "ConstantStepDevice", "dw_min": 0.0016, "w_max": 1, "w_min": -1},
    "PCMPresetDevice": {
        "class": "ExpStepDevice", "dw_min": 0.01, "dw_min_dtod": 0.2, "dw_min_std": 0.6, "reset": 0.01,
        "reset_dtod": 0.02, "up_down_dtod": 0.05, "w_max": 2, "w_max_dtod": 0.1, "w_min": 0, "w_min_dtod": 0,
        "A_up": -27.235, "A_down": -2.235, "gamma_up": 2.5, "gamma_down": 2.5, "a": -1, "b": 0,
        "dw_min_std_add": 0.042, "dw_min_std_slope": 0.108,
    },
    "ReRamArrayOMPresetDevice": {
        **_ARRAY, "dw_min": 0.0949, "dw_min_dtod": 0.7829, "dw_min_std": 0.4158, "w_max_dtod": 0.3499,
        "w_min_dtod": 0.5695, "write_noise_std": 1.4113,
    },
    "ReRamArrayHfO2PresetDevice": {
        **_ARRAY, "dw_min": 0.4622, "dw_min_dtod": 0.7125, "dw_min_std": 0.2174, "w_max_dtod": 0.4295,
        "w_min_dtod": 0.599, "write_noise_std": 0.5841,
    },
}  # fmt: skip
CELLS: dict[str, Row] = {
    "PCMPresetUnitCell": {
        "class": "OneSidedUnitCell", "unit_cell_devices": [DEVICES["PCMPresetDevice"], DEVICES["PCMPresetDevice"]],
        "refresh_every": 1, "refresh_forward.out_bound": 20.0, "refresh_forward.out_noise": 0.1,
    },
}  # fmt: skip
_OLD_MAPPING: Row = {
    "weight_scaling_omega": 1.0, "weight_scaling_columnwise": True, "digital_bias": False, "max_input_size": 0,
    "max_output_size": 0,
}  # fmt: skip
_MAPPING: Row = {"weight_scaling_omega": 1.0, "weight_scaling_columnwise": True, "learn_out_scaling": True}
_MODIFIER: Row = {"type": "ADD_NORMAL", "std_dev": 0.1}
_CLIP: Row = {"type": "FIXED_VALUE", "fixed_value": 1.0}


def _under(path: str, row: Row) -> Row:
    return {f"{path}.{name}": value for name, value in row.items() if name != "class"}


_WEB_TILE: Row = {
    "class": "InferenceRPUConfig",
    **_under("forward", _PRESET_IO),
    **_under("clip", _CLIP),
    **_under("modifier", _MODIFIER),
}
WEB: dict[str, Row] = {
    "WebComposerIOParameters": _PRESET_IO,
    "WebComposerWeightModifierParameter": {"class": "WeightModifierParameter", **_MODIFIER},
    "WebComposerWeightClipParameter": {"class": "WeightClipParameter", **_CLIP},
    "WebComposerMappingParameter": {"class": "MappingParameter", **_MAPPING},
    "OldWebComposerMappingParameter": {"class": "MappingParameter", **_OLD_MAPPING},
    "WebComposerInferenceRPUConfig": {**_WEB_TILE, **_under("mapping", _MAPPING)},
    "OldWebComposerInferenceRPUConfig": {**_WEB_TILE, **_under("mapping", _OLD_MAPPING)},
}

# ------------------------------------------------------------------------------- sections 4 and 5
_BASE: Row = {
    "class": "TileConfig",
    **_under("forward", _PRESET_IO),
    **_under("backward", _PRESET_IO),
}
_READ: Row = {
    "transfer_forward.out_bound": 20.0, "transfer_forward.out_noise": 0.1,
    "transfer_forward.noise_management": "NONE", "transfer_forward.bound_management": "NONE",
}  # fmt: skip
_SIX = ("ReRamES", "ReRamSB", "Capacitor", "EcRam", "EcRamMO", "Idealized")


def _device(name: str, *, subtract: bool = False) -> Row:
    if name == "PCM":
        return CELLS["PCMPresetUnitCell"]
    row = DEVICES[f"{name}PresetDevice"]
    return {**row, "subtract_symmetry_point": True} if subtract and name == "ReRamSB" else row


def _vector(name: str, count: int) -> Row:
    cell = {"class": "VectorUnitCell", "unit_cell_devices": [_device(name)] * count, "update_policy": "SINGLE_RANDOM"}
    return {**_BASE, "device": cell}


def _transfer(kind: str, name: str, desired_bl: int = 31, **fields: object) -> Row:
    devices = [_device(name, subtract=True)] * 2
    row: Row = {**_BASE, "device": {"class": kind, "unit_cell_devices": devices, **_READ, **fields}}
    return row if desired_bl == 31 else {**row, "update.desired_bl": desired_bl}


# name: in_chop_prob, fast_lr, auto_granularity, desired_bl
_TTV2 = {
    "ReRamES": (0.0, 0.5, 1000, 31),
    "ReRamSB": (0.0, 0.5, 1000, 31),
    "Capacitor": (0.0, 0.1, 1000, 31),
    "EcRam": (0.0, 0.1, 500, 100),
    "EcRamMO": (0.0, 0.1, 500, 100),
    "Idealized": (0.0, 0.1, 500, 100),
}
_CHOPPED = {
    "ReRamES": (0.01, 0.5, 1000, 31),
    "ReRamSB": (0.01, 0.5, 1000, 31),
    "Capacitor": (0.01, 0.1, 1000, 31),
    "EcRam": (0.01, 1.0, 500, 100),
    "EcRamMO": (0.001, 0.1, 500, 100),
    "Idealized": (0.001, 0.1, 500, 100),
}
# name: in_chop_prob, tail_weightening, fast_lr, auto_granularity, desired_bl
_AGAD = {
    "ReRamES": (0.02, 5, 0.5, 1000, 31),
    "ReRamSB": (0.02, 5, 0.5, 1000, 31),
    "Capacitor": (0.01, 20, 0.1, 1000, 31),
    "EcRam": (0.005, 50, 0.1, 750, 31),
    "EcRamMO": (0.005, 50, 0.1, 500, 100),
    "Idealized": (0.005, 50, 0.1, 500, 100),
}


def _chopped(name: str, row: tuple[float, float, float, int]) -> Row:
    values = {"auto_scale": True, "in_chop_prob": row[0], "fast_lr": row[1], "auto_granularity": row[2]}
    return _transfer("ChoppedTransferCompound", name, row[3], **values)


def _agad(name: str, row: tuple[float, float, float, float, int]) -> Row:
    values = {"in_chop_prob": row[0], "tail_weightening": row[1], "fast_lr": row[2], "auto_granularity": row[3]}
    return _transfer("DynamicTransferCompound", name, row[4], auto_scale=True, **values)


_SINGLE = (*_SIX, "GokmenVlasov", "PCM")
TRAINING: dict[str, Row] = {
    **{f"{name}Preset": {**_BASE, "device": _device(name)} for name in _SINGLE},
    **{f"{name}2Preset": _vector(name, 2) for name in _SIX},
    **{f"{name}4Preset": _vector(name, 4) for name in _SIX},
    **{f"TikiTaka{name}Preset": _transfer("TransferCompound", name) for name in _SIX},
    **{f"TTv2{name}Preset": _chopped(name, row) for name, row in _TTV2.items()},
    **{f"ChoppedTTv2{name}Preset": _chopped(name, row) for name, row in _CHOPPED.items()},
    **{f"AGAD{name}Preset": _agad(name, row) for name, row in _AGAD.items()},
    **{
        f"MixedPrecision{name}Preset": {
            **_BASE, "device": {"class": "MixedPrecisionCompound", "device": _device(name)}
        }
        for name in _SINGLE
    },
}  # fmt: skip

# -------------------------------------------------------------------------------------- section 6
INFERENCE: dict[str, Row] = {
    "FloatingPointPreset": {
        "class": "TorchInferenceRPUConfig", "mapping.max_input_size": 0, "mapping.max_output_size": 0,
        "forward.is_perfect": True,
    },
    "StandardHWATrainingPreset": {
        "class": "InferenceRPUConfig", "mapping.weight_scaling_omega": 1.0, "mapping.weight_scaling_columnwise": True,
        "mapping.learn_out_scaling": True, "mapping.out_scaling_columnwise": True, "mapping.max_output_size": 0,
        "forward.inp_res": 254.0, "forward.out_res": 254.0, "forward.out_bound": 10.0, "forward.out_noise": 0.04,
        "forward.bound_management": "NONE", "forward.noise_management": "CONSTANT", "forward.nm_thres": 1.0,
        "forward.w_noise": 0.0175, "forward.w_noise_type": "PCM_READ", "forward.ir_drop": 1.0,
        "pre_post.input_range.enable": True, "clip.type": "FIXED_VALUE", "clip.fixed_value": 1.0,
        "remap.type": "CHANNELWISE_SYMMETRIC",
    },
}  # fmt: skip

TABLES = {
    "parameters": PARTS,
    "devices": DEVICES,
    "compounds": CELLS,
    "configs": TRAINING,
    "inference": INFERENCE,
    "web": WEB,
}
"""The tables by module of the reference."""
COUNTS = {"parameters": 3, "devices": 10, "compounds": 1, "configs": 52, "inference": 2, "web": 7}
"""How many presets each module of the reference has (section 10)."""
EVERY: dict[str, Row] = {name: row for table in TABLES.values() for name, row in table.items()}

# ------------------------------------------------------------------- section 2: derived, with the quirks
DERIVED = {
    "ReRamESPresetDevice": (0.00199144, 1004.3, 0.1013),
    "ReRamSBPresetDevice": (0.002, 1000, 0.112),
    "CapacitorPresetDevice": (0.005, 400, 0),
    "EcRamPresetDevice": (0.002, 1000, 0),
    "EcRamMOPresetDevice": (0.00028214, 7088.7, 0),
    "IdealizedPresetDevice": (0.0002, 10000, 0),
    "GokmenVlasovPresetDevice": (0.0016, 1250, 0),
    "PCMPresetDevice": (0.03235, 61.824, 0),
    "ReRamArrayOMPresetDevice": (0.0949, 21.075, 0.1339),
    "ReRamArrayHfO2PresetDevice": (0.4622, 4.3271, 0.27),
    "PCMPresetUnitCell": (0.03235, 61.824, 0),
}
"""Granularity, number of states and write noise in weight units, of the reference."""
