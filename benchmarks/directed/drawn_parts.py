"""Random pulses and peripheries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.directed.case import group, update
from benchmarks.directed.dice import Dice

LENGTHS = (1, 2, 3, 5, 10, 20, 29, 40)
"""Train lengths; the reference's generator is poor at 31 (spec: update, bug 7)."""


def pulses(dice: Dice, lengths: Sequence[int] = LENGTHS, floating: bool = True) -> dict[str, Any]:
    """Draw update parameters."""
    types = ["STOCHASTIC_COMPRESSED"] * 8 + ["STOCHASTIC", "MEAN_COUNT", "DETERMINISTIC_IMPLICIT"] * 2
    if floating:
        types += ["NONE", "NONE_WITH_DEVICE"]
    fields: dict[str, Any] = {"pulse_type": f"PulseType.{dice.one_of(*types)}", "desired_bl": dice.one_of(*lengths)}
    bl_management = dice.chance(0.6)
    fields |= {"update_bl_management": bl_management, "update_management": bl_management or dice.chance(0.6)}
    fields |= dice.some(
        0.15,
        {
            "fixed_bl": lambda: False,
            "um_grad_scale": lambda: 0.5,
            "res": lambda: dice.one_of(0.05, 0.2),
            "x_res_implicit": lambda: 0.1,
            "d_res_implicit": lambda: 0.1,
            "sto_round": lambda: True,
        },
    )
    return update(**fields)


def periphery(dice: Dice, bounded: bool = True) -> dict[str, Any]:
    """Draw the periphery of a product."""
    noise = "NoiseManagementType."
    kinds = ("NONE", "ABS_MAX", "ABS_MAX_NP_SUM", "MAX", "CONSTANT", "AVERAGE_ABS_MAX", "ABS_MAX")
    fields: dict[str, Any] = {
        "noise_management": noise + dice.one_of(*kinds),
        "bound_management": "BoundManagementType." + dice.one_of("NONE", "ITERATIVE", "ITERATIVE_WORST_CASE"),
        "out_noise": dice.one_of(0.0, 0.02, 0.06),
        "inp_res": dice.one_of(-1.0, 1 / 126, 1 / 30, 30.0),
        "out_res": dice.one_of(-1.0, 1 / 510, 1 / 62, 62.0),
        "out_bound": dice.one_of(0.0, 1.0, 3.0, 12.0),
    }
    fields |= dice.some(
        0.12,
        {
            "inp_noise": lambda: dice.one_of(0.02, 0.1),
            "inp_sto_round": lambda: True,
            "out_sto_round": lambda: True,
            "inp_asymmetry": lambda: dice.between(-0.2, 0.2),
            "out_asymmetry": lambda: dice.between(-0.2, 0.2),
            "out_noise_std": lambda: 0.3,
            "out_scale": lambda: dice.between(0.5, 2),
            "w_noise": lambda: dice.one_of(0.01, 0.1),
            "w_noise_type": lambda: "WeightNoiseType." + dice.one_of("ADDITIVE_CONSTANT", "PCM_READ"),
            "ir_drop": lambda: dice.one_of(0.5, 1.0),
            "ir_drop_g_ratio": lambda: dice.one_of(50.0, 500.0),
            "out_nonlinearity": lambda: dice.between(0, 1),
            "out_nonlinearity_std": lambda: 0.3,
            "slope_calibration": lambda: dice.between(0, 0.7),
            "v_offset_std": lambda: dice.one_of(0.02, 0.1),
            "v_offset_w_min": lambda: dice.one_of(0.0, -0.5),
            "r_series": lambda: dice.one_of(0.02, 0.2),
            "w_read_asymmetry_dtod": lambda: 0.1,
            "mv_type": lambda: "AnalogMVType." + dice.one_of("POS_NEG_SEPARATE", "POS_NEG_SEPARATE_DIGITAL_SUM"),
            "max_bm_factor": lambda: dice.one_of(1, 4),
            "max_bm_res": lambda: dice.one_of(0.1, 0.5),
            "bm_test_negative_bound": lambda: False,
            "nm_thres": lambda: dice.between(0.2, 1),
        },
    )
    if fields["noise_management"].endswith(".NONE"):
        fields |= dice.some(0.4, {"inp_bound": lambda: dice.one_of(0.0, 0.5, 2.0)})
    return group("IOParameters", **fields)


def slice_read(dice: Dice) -> dict[str, Any]:
    """Draw the periphery of a transfer."""
    if dice.chance(0.5):
        return group("IOParameters", is_perfect=True)
    if dice.chance(0.5):
        return group("IOParameters", out_noise=dice.one_of(0.0, 0.02))
    return {**periphery(dice), "inp_bound": 1.0}
