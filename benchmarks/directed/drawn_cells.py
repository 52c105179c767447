"""Random unit cells and compounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.directed.case import group
from benchmarks.directed.dice import Dice
from benchmarks.directed.drawn_devices import device
from benchmarks.directed.drawn_parts import pulses, slice_read

_POLICY = "VectorUnitCellUpdatePolicy."


def unit_cell(dice: Dice, name: str | None = None) -> dict[str, Any]:
    """Draw a vector, reference or one-sided cell."""
    name = name or dice.one_of("Vector", "Reference", "OneSided")
    if name == "OneSided":
        fields = dice.some(
            0.6,
            {
                "refresh_every": lambda: dice.one_of(1, 2, 3, 7),
                "units_in_mbatch": lambda: dice.chance(0.5),
                "refresh_upper_thres": lambda: dice.between(0.1, 0.6),
                "refresh_lower_thres": lambda: dice.between(0.0, 0.2),
                "refresh_forward": lambda: slice_read(dice),
                "refresh_update": lambda: pulses(dice),
                "copy_inverted": lambda: True,
            },
        )
        first = device(dice, write_noise="refresh_every" not in fields)
        devices = [first]
        if dice.chance(0.3):
            kind = first["__class__"].removesuffix("Device")
            devices.append(device(dice, kind, write_noise="refresh_every" not in fields))
        return group("OneSidedUnitCell", unit_cell_devices=devices, **fields)
    if name == "Reference":
        policy = dice.some(0.3, {"update_policy": lambda: _POLICY + dice.one_of("ALL", "SINGLE_SEQUENTIAL")})
        policy |= dice.some(
            0.3, {"first_update_idx": lambda: 1, "gamma_vec": lambda: [0.7, dice.between(-1, 1) or 0.1]}
        )
        return group("ReferenceUnitCell", unit_cell_devices=[device(dice), device(dice)], **policy)
    count = dice.one_of(1, 2, 3)
    policy = dice.one_of("ALL", "SINGLE_FIXED", "SINGLE_SEQUENTIAL", "SINGLE_RANDOM")
    fields = {"update_policy": _POLICY + policy}
    fields |= dice.some(0.4, {"first_update_idx": lambda: int(dice.generator.integers(count))})
    fields |= dice.some(0.5, {"gamma_vec": lambda: [dice.between(-1, 1) or 0.1 for _ in range(count)]})
    return group("VectorUnitCell", unit_cell_devices=[part(dice) for _ in range(count)], **fields)


def part(dice: Dice) -> dict[str, Any]:
    """Draw what a cell is made of: a device, or now and then a small cell."""
    if not dice.chance(0.12):
        return device(dice)
    # spec: compounds, bug 12: a cell that refreshes inside another overwrites weights
    inner = [device(dice), device(dice)]
    if dice.chance(0.3):
        return group("OneSidedUnitCell", unit_cell_devices=inner[:1])
    return group("VectorUnitCell", unit_cell_devices=inner, **dice.some(0.5, {"gamma_vec": lambda: [0.8, 0.3]}))


def transfer(dice: Dice, shape: tuple[int, int]) -> dict[str, Any]:
    """Draw a transfer compound."""
    name = dice.one_of("", "Buffered", "Chopped", "Dynamic")
    chopped = name in ("Chopped", "Dynamic")
    count = 2 if chopped else dice.one_of(2, 2, 3)
    fields: dict[str, Any] = {
        "transfer_every": dice.one_of(1.0, 1.0, 2.0, 0.5, 3.0),
        "units_in_mbatch": dice.chance(0.3),
        "transfer_forward": slice_read(dice),
        "transfer_lr": dice.one_of(1.0, dice.scale(0.1, 5)),
    }
    wide = shape[1] > shape[0]
    draws: dict[str, Callable[[], Any]] = {
        "transfer_columns": lambda: not (dice.chance(0.8) and not (wide and name == "Buffered")),
        "fast_lr": lambda: dice.one_of(0.0, dice.scale(0.01, 0.5)),
        "scale_fast_lr": lambda: dice.chance(0.5),
        "scale_transfer_lr": lambda: dice.chance(0.7),
    }
    if not (chopped and wide):  # spec: compounds, bug 4: elsewhere memory is overrun
        draws["gamma"] = lambda: dice.between(0.1, 1)
    if chopped:
        fields |= {"fast_lr": dice.scale(0.01, 0.3), "in_chop_prob": dice.one_of(0.0, 0.1, 0.5)}
        if name == "Dynamic":
            fields["in_chop_prob"] = dice.one_of(0.2, 0.34, 0.5, 1.0)
        draws |= {
            "in_chop_random": lambda: dice.chance(0.5),
            "out_chop_prob": lambda: dice.one_of(0.1, 0.5, 1.0),
            "buffer_granularity": lambda: dice.one_of(0.5, 2.0, 0.0),
            "auto_granularity": lambda: dice.one_of(10.0, 100.0),
            "step": lambda: dice.one_of(0.5, 2.0),
            "momentum": lambda: dice.one_of(0.1, 0.5),
            "forget_buffer": lambda: False,
            "no_buffer": lambda: True,
            "auto_scale": lambda: True,
            "auto_momentum": lambda: dice.one_of(0.5, 0.9),
            "correct_gradient_magnitudes": lambda: True,
        }
        if name == "Dynamic":
            draws |= {
                "experimental_correct_accumulation": lambda: True,
                "buffer_cap": lambda: dice.one_of(0.5, 1.0),
                "tail_weightening": lambda: dice.one_of(1.0, 3.0),
            }
    else:
        draws |= {
            "n_reads_per_transfer": lambda: dice.one_of(2, 3),
            "random_selection": lambda: dice.chance(0.6),
            "with_reset_prob": lambda: dice.one_of(0.3, 1.0),
            "gamma_vec": lambda: [dice.between(0.1, 1) for _ in range(count)],
            "transfer_every_vec": lambda: [dice.one_of(1.0, 2.0, 3.0) for _ in range(count - 1)] + [0.0],
            "transfer_lr_vec": lambda: [dice.scale(0.1, 2) for _ in range(count)],
        }
        if name == "Buffered":
            draws |= {
                "thres_scale": lambda: dice.one_of(0.5, 2.0),
                "step": lambda: dice.one_of(0.5, 2.0),
                "momentum": lambda: dice.one_of(0.0, 0.5),
                "forget_buffer": lambda: False,
            }
    draws["transfer_update"] = lambda: pulses(dice)
    fields |= dice.some(0.25, draws)
    if not fields.get("transfer_columns", True):
        fields.pop("with_reset_prob", None)
    devices = [part(dice), part(dice)]
    devices += devices[1:] * (count - 2)
    return group(f"{name}TransferCompound", unit_cell_devices=devices, **fields)


def mixed(dice: Dice, shape: tuple[int, int]) -> dict[str, Any]:
    """Draw mixed precision."""
    inner = unit_cell(dice) if dice.chance(0.4) else device(dice)
    fields = dice.some(
        0.35,
        {
            "transfer_every": lambda: dice.one_of(2, 3),
            "n_rows_per_transfer": lambda: dice.one_of(1, 2, shape[0]),
            "random_row": lambda: True,
            "granularity": lambda: dice.scale(1e-3, 5e-2),
            "transfer_lr": lambda: dice.scale(0.1, 3),
            "stoc_round_x": lambda: False,
            "stoc_round_d": lambda: False,
        },
    )
    bins = {"n_x_bins": lambda: dice.one_of(3, 4, 9), "n_d_bins": lambda: dice.one_of(3, 4, 9)}
    drawn = dice.some(0.3, bins)
    if len(drawn) == 2 or shape[1] <= shape[0]:  # spec: compounds, bug 8: elsewhere memory is overrun
        fields |= drawn
    return group("MixedPrecisionCompound", device=inner, **fields)
