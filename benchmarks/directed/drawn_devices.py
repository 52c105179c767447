"""Random single devices."""

from __future__ import annotations

from typing import Any

from benchmarks.directed.case import group
from benchmarks.directed.dice import Dice

DEVICES = (
    "ConstantStep",
    "LinearStep",
    "SoftBounds",
    "SoftBoundsPmax",
    "SoftBoundsReference",
    "ExpStep",
    "PowStep",
    "PowStepReference",
    "PiecewiseStep",
)
_WITHOUT_WRITE_NOISE = ("ConstantStep", "PowStepReference")


def device(dice: Dice, kind: str | None = None, write_noise: bool = True) -> dict[str, Any]:
    """Draw a single device."""
    kind = kind or dice.one_of(*DEVICES)
    spread = dice.one_of(0.0, 0.1, 0.3)
    fields: dict[str, Any] = {
        "dw_min": dice.scale(5e-4, 5e-2),
        "dw_min_dtod": dice.one_of(0.0, spread),
        "dw_min_std": dice.one_of(0.0, 0.0, 0.3, 1.0),
        "up_down": dice.one_of(0.0, 0.0, dice.between(-0.5, 0.5)),
        "up_down_dtod": dice.one_of(0.0, 0.05),
        "w_max": dice.between(0.2, 0.9),
        "w_min": -dice.between(0.2, 0.9),
        "w_max_dtod": spread,
        "w_min_dtod": spread,
        "reset_std": dice.one_of(0.0, 0.01, 0.1),
    }
    if kind == "SoftBoundsPmax":
        fields |= dict.fromkeys(("w_min", "w_max", "dw_min", "up_down"))
        fields |= {
            "p_max": dice.one_of(100, 500, 1000),
            "range_max": dice.between(0.3, 1),
            "range_min": -dice.between(0.3, 1),
        }
        fields |= {"alpha": dice.scale(5e-4, 5e-3)}
    fields |= dice.some(
        0.12,
        {
            "dw_min_dtod_log_normal": lambda: True,
            "enforce_consistency": lambda: False,
            "perfect_bias": lambda: True,
            "corrupt_devices_prob": lambda: dice.one_of(0.3, 1.0),
            "corrupt_devices_range": lambda: dice.one_of(0.0, 0.3),
            "diffusion": lambda: dice.scale(1e-3, 5e-2),
            "diffusion_dtod": lambda: 0.3,
            "lifetime": lambda: dice.between(0.5, 30),
            "lifetime_dtod": lambda: 0.3,
            "reset": lambda: dice.between(-0.3, 0.3),
            "reset_dtod": lambda: 0.05,
            "drift": lambda: drift(dice),
        },
    )
    fields |= _model(dice, kind)
    if write_noise and kind not in _WITHOUT_WRITE_NOISE and dice.chance(0.25):
        fields |= {"write_noise_std": dice.one_of(0.5, 2.0), "apply_write_noise_on_set": dice.chance(0.5)}
    return group(f"{kind}Device", **fields)


def drift(dice: Dice) -> dict[str, Any]:
    """Draw a drift."""
    return group(
        "DriftParameter",
        nu=dice.one_of(0.05, 0.2),
        **dice.some(
            0.3,
            {
                "nu_dtod": lambda: 0.3,
                "nu_std": lambda: 0.2,
                "t_0": lambda: dice.one_of(0.5, 2.0),
                "g_offset": lambda: 0.1,
                "w_offset": lambda: 0.05,
                "wg_ratio": lambda: 2.0,
                "w_noise_std": lambda: 0.02,
            },
        ),
    )


def _model(dice: Dice, kind: str) -> dict[str, Any]:
    """Draw the fields of one device model."""
    switch = lambda: dice.chance(0.5)  # noqa: E731
    gamma = lambda: dice.between(0, 1.2)  # noqa: E731
    match kind:
        case "LinearStep":
            fields = {
                "gamma_up": gamma,
                "gamma_down": gamma,
                "allow_increasing": switch,
                "mean_bound_reference": switch,
            }
            reverse = dice.some(0.15, {"reverse_up": lambda: True, "reverse_down": lambda: True})
            spread = dice.one_of(0.0, 0.05)
            noise = {} if reverse else {"mult_noise": switch()}
            return {"gamma_up_dtod": spread, "gamma_down_dtod": spread, **noise, **reverse, **dice.some(0.6, fields)}
        case "SoftBounds" | "SoftBoundsPmax":
            reverse = dice.some(0.15, {"reverse_up": lambda: True, "reverse_down": lambda: True})
            return reverse or {"mult_noise": switch()}
        case "SoftBoundsReference":
            fields = {
                "reference_mean": lambda: dice.between(-0.4, 0.4),
                "reference_std": lambda: dice.one_of(0.05, 0.3),
                "slope_up_dtod": lambda: 0.2,
                "slope_down_dtod": lambda: 0.2,
                "subtract_symmetry_point": switch,
            }
            return {"mult_noise": switch(), **dice.some(0.5, fields)}
        case "ExpStep":
            fields = {
                "A_up": lambda: dice.between(0.0001, 0.01, 5),
                "A_down": lambda: dice.between(0.1, 0.6),
                "gamma_up": lambda: dice.between(5, 15),
                "gamma_down": lambda: dice.between(5, 15),
                "dw_min_std_add": lambda: dice.one_of(0.01, 0.1),
                "dw_min_std_slope": lambda: dice.one_of(0.01, 0.1),
            }
            return dice.some(0.3, fields)
        case "PowStep" | "PowStepReference":
            fields = {
                "pow_gamma": lambda: dice.one_of(0.5, 1.05, 2.0, dice.between(0.5, 2.5)),
                "pow_up_down": lambda: dice.between(-0.3, 0.3),
                "pow_up_down_dtod": lambda: 0.05,
            }
            if kind == "PowStepReference":
                fields |= {
                    "reference_mean": lambda: dice.between(-0.3, 0.3),
                    "reference_std": lambda: dice.one_of(0.05, 0.3),
                    "subtract_symmetry_point": switch,
                    "n_estimation_steps": lambda: dice.one_of(10, 100),
                }
            return {"pow_gamma_dtod": dice.one_of(0.0, 0.1), **dice.some(0.5, fields)}
        case "PiecewiseStep":
            count = dice.one_of(1, 2, 3, 5)
            lists = ([dice.between(0.2, 1.5) for _ in range(count)] for _ in range(2))
            return dict(zip(("piecewise_up", "piecewise_down"), lists, strict=True))
        case _:
            return {}
