"""Fields of the reference's configuration classes and their defaults, as its dataclasses list them (aihwkit 1.2.0).

Groups and lists of devices are left out, and what plays no part in the physics of a tile.
"""

from __future__ import annotations

from typing import Any

PULSED: dict[str, Any] = {
    "corrupt_devices_prob": 0.0, "corrupt_devices_range": 0.1, "diffusion": 0.0, "diffusion_dtod": 0.0,
    "dw_min": 0.001, "dw_min_dtod": 0.3, "dw_min_dtod_log_normal": False, "dw_min_std": 0.3,
    "enforce_consistency": True, "lifetime": 0.0, "lifetime_dtod": 0.0, "perfect_bias": False, "reset": 0.0,
    "reset_dtod": 0.0, "reset_std": 0.01, "up_down": 0.0, "up_down_dtod": 0.01, "w_max": 0.6, "w_max_dtod": 0.3,
    "w_min": -0.6, "w_min_dtod": 0.3, "count_pulses": False,
}
"""What all pulsed devices share."""

TRANSFER: dict[str, Any] = {
    "gamma": 0.0, "gamma_vec": [], "transfer_every": 1.0, "no_self_transfer": True, "transfer_every_vec": [],
    "units_in_mbatch": True, "n_reads_per_transfer": 1, "transfer_columns": True, "with_reset_prob": 0.0,
    "random_selection": False, "fast_lr": 1.0, "transfer_lr": 1.0, "transfer_lr_vec": [], "scale_transfer_lr": True,
    "scale_fast_lr": True,
}
"""What all transfer compounds share."""

FIELDS: dict[str, dict[str, Any]] = {
    "ConstantStepDevice": PULSED,
    "LinearStepDevice": {
        **PULSED,
        "gamma_up": 0.0, "gamma_down": 0.0, "gamma_up_dtod": 0.05, "gamma_down_dtod": 0.05,
        "allow_increasing": False, "mean_bound_reference": True, "mult_noise": True, "write_noise_std": 0.0,
        "apply_write_noise_on_set": True, "reverse_up": False, "reverse_down": False, "reverse_offset": 0.01,
    },
    "SoftBoundsDevice": {
        **PULSED,
        "mult_noise": True, "write_noise_std": 0.0, "apply_write_noise_on_set": True, "reverse_up": False,
        "reverse_down": False, "reverse_offset": 0.01,
    },
    "SoftBoundsPmaxDevice": {
        **PULSED,
        "dw_min": None, "up_down": None, "w_max": None, "w_min": None, "mult_noise": True, "write_noise_std": 0.0,
        "apply_write_noise_on_set": True, "reverse_up": False, "reverse_down": False, "reverse_offset": 0.01,
        "p_max": 1000, "alpha": 0.0005, "range_min": -1.0, "range_max": 1.0,
    },
    "SoftBoundsReferenceDevice": {
        **PULSED,
        "mult_noise": False, "write_noise_std": 0.0, "apply_write_noise_on_set": True, "slope_up_dtod": 0.0,
        "slope_down_dtod": 0.0, "reference_mean": 0.0, "reference_std": 0.0, "subtract_symmetry_point": False,
    },
    "ExpStepDevice": {
        **PULSED,
        "A_up": 0.00081, "A_down": 0.36833, "gamma_up": 12.44625, "gamma_down": 12.78785, "a": 0.244, "b": 0.2425,
        "dw_min_std_add": 0.0, "dw_min_std_slope": 0.0, "write_noise_std": 0.0, "apply_write_noise_on_set": True,
    },
    "PowStepDevice": {
        **PULSED,
        "pow_gamma": 1.0, "pow_gamma_dtod": 0.1, "pow_up_down": 0.0, "pow_up_down_dtod": 0.0, "write_noise_std": 0.0,
        "apply_write_noise_on_set": True,
    },
    "PowStepReferenceDevice": {
        **PULSED,
        "pow_gamma": 1.0, "pow_gamma_dtod": 0.1, "pow_up_down": 0.0, "pow_up_down_dtod": 0.0,
        "subtract_symmetry_point": False, "n_estimation_steps": -1, "reference_mean": 0.0, "reference_std": 0.0,
    },
    "PiecewiseStepDevice": {
        **PULSED,
        "piecewise_up": [1], "piecewise_down": [1], "write_noise_std": 0.0, "apply_write_noise_on_set": True,
    },
    "IdealDevice": {
        "diffusion": 0.0, "lifetime": 0.0, "reset_std": 0.01,
    },
    "FloatingPointDevice": {
        "diffusion": 0.0, "lifetime": 0.0,
    },
    "VectorUnitCell": {
        "update_policy": "VectorUnitCellUpdatePolicy.ALL", "first_update_idx": 0, "gamma_vec": [],
    },
    "ReferenceUnitCell": {
        "update_policy": "VectorUnitCellUpdatePolicy.SINGLE_FIXED", "first_update_idx": 0, "gamma_vec": [1.0, -1.0],
    },
    "OneSidedUnitCell": {
        "refresh_every": 0, "units_in_mbatch": True, "refresh_upper_thres": 0.75, "refresh_lower_thres": 0.25,
        "copy_inverted": False,
    },
    "TransferCompound": TRANSFER,
    "BufferedTransferCompound": {
        **TRANSFER,
        "thres_scale": 1.0, "step": 1.0, "momentum": 0.1, "forget_buffer": True,
    },
    "ChoppedTransferCompound": {
        **TRANSFER,
        "units_in_mbatch": False, "scale_fast_lr": False, "in_chop_prob": 0.1, "in_chop_random": True,
        "out_chop_prob": 0.0, "buffer_granularity": 1.0, "auto_granularity": 0.0, "step": 1.0, "momentum": 0.0,
        "forget_buffer": True, "no_buffer": False, "auto_scale": False, "auto_momentum": 0.99,
        "correct_gradient_magnitudes": False,
    },
    "DynamicTransferCompound": {
        **TRANSFER,
        "units_in_mbatch": False, "scale_fast_lr": False, "in_chop_prob": 0.1, "in_chop_random": False,
        "out_chop_prob": 0.0, "buffer_granularity": 1.0, "auto_granularity": 0.0, "step": 1.0, "momentum": 0.0,
        "forget_buffer": True, "no_buffer": False, "auto_scale": False, "auto_momentum": 0.99,
        "correct_gradient_magnitudes": False, "experimental_correct_accumulation": False, "buffer_cap": 0.0,
        "tail_weightening": 5.0,
    },
    "MixedPrecisionCompound": {
        "transfer_every": 1, "n_rows_per_transfer": -1, "random_row": False, "granularity": 0.0, "transfer_lr": 1.0,
        "n_x_bins": 0, "n_d_bins": 0, "stoc_round_x": True, "stoc_round_d": True,
    },
    "DriftParameter": {
        "nu": 0.0, "t_0": 1.0, "reset_tol": 1e-07, "nu_dtod": 0.0, "nu_std": 0.0, "wg_ratio": 1.0, "g_offset": 0.0,
        "w_offset": 0.0, "nu_k": 0.0, "log_g0": 0.0, "w_noise_std": 0.0,
    },
    "IOParameters": {
        "is_perfect": False, "mv_type": "AnalogMVType.ONE_PASS", "inp_bound": 1.0, "inp_noise": 0.0,
        "inp_res": 0.007936507936507936, "inp_sto_round": False, "inp_asymmetry": 0.0, "out_bound": 12.0,
        "out_noise": 0.06, "out_noise_std": 0.0, "out_res": 0.00196078431372549, "out_sto_round": False,
        "out_scale": 1.0, "out_asymmetry": 0.0, "bound_management": "BoundManagementType.ITERATIVE",
        "noise_management": "NoiseManagementType.ABS_MAX", "w_noise": 0.0, "w_noise_type": "WeightNoiseType.NONE",
        "ir_drop": 0.0, "ir_drop_g_ratio": 571428.5714285714, "out_nonlinearity": 0.0, "out_nonlinearity_std": 0.0,
        "slope_calibration": 0.0, "v_offset_std": 0.0, "v_offset_w_min": -1.0, "r_series": 0.0,
        "w_read_asymmetry_dtod": 0.0, "max_bm_factor": 1000, "max_bm_res": 0.25, "bm_test_negative_bound": True,
        "nm_thres": 0.0,
    },
    "UpdateParameters": {
        "desired_bl": 31, "fixed_bl": True, "pulse_type": "PulseType.STOCHASTIC_COMPRESSED", "res": 0,
        "x_res_implicit": 0, "d_res_implicit": 0, "d_sparsity": False, "sto_round": False,
        "update_bl_management": True, "update_management": True, "um_grad_scale": 1.0,
    },
    "MappingParameter": {
        "digital_bias": True, "weight_scaling_omega": 0.0, "weight_scaling_columnwise": False,
        "weight_scaling_lr_compensation": False, "learn_out_scaling": False, "out_scaling_columnwise": False,
        "max_input_size": 512, "max_output_size": 512,
    },
    "InputRangeParameter": {
        "enable": False, "learn_input_range": True, "init_value": 3.0, "init_from_data": 100, "init_std_alpha": 3.0,
        "decay": 0.001, "input_min_percentage": 0.95, "manage_output_clipping": False, "output_min_percentage": 0.95,
        "gradient_scale": 1.0, "gradient_relative": True, "calibration_info": None,
    },
    "WeightModifierParameter": {
        "std_dev": 0.0, "per_batch_sample": False, "res": 0.0, "sto_round": False, "dorefa_clip": 0.6, "pdrop": 0.0,
        "enable_during_test": False, "rel_to_actual_wmax": True, "assumed_wmax": 1.0, "copy_last_column": False,
        "coeffs": [0.0105392, 0.0768, -0.046925], "type": "WeightModifierType.NONE", "g_max": 25.0,
        "pcm_zero_thres": 0.0, "pcm_t_inference": 0.0, "pcm_prob_at_reset": 0.0, "pcm_prob_at_gmax": 0.0,
        "pcm_prob_at_random": 0.0, "pcm_t0": 20.0,
    },
    "WeightClipParameter": {
        "fixed_value": -1.0, "sigma": 2.5, "type": "WeightClipType.NONE",
    },
    "WeightRemapParameter": {
        "remapped_wmax": 1.0, "max_scale_range": 0.0, "max_scale_ref": 0.0, "type": "WeightRemapType.NONE",
    },
}
"""Class to field to default."""
