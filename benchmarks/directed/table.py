"""The table of directed cases.

A group of rows aims at one place where implementations easily differ: weights beyond the bounds,
stuck devices, resets, choppers, quirks. Rows of a group have equal steps, so that they share programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.directed.case import (
    EXACT,
    HIDDEN,
    Directed,
    Flat,
    cell,
    certain,
    even,
    full,
    group,
    ramp,
    rank_update,
    read,
    signs,
    single,
    update,
    vectors,
)

SHAPE = (3, 4)
"""Size of most tiles."""
FEW = 40
"""Repeats of a case without randomness."""
MANY = 1000
"""Repeats of a case with randomness."""
SOME = 800
"""Repeats of a case that takes long; below 1000 as many tiles of ours are compared."""

_UP, _DOWN = -1.0, 1.0


def _once(name: str, config: Flat, w0: np.ndarray, x: np.ndarray, d: np.ndarray, rate: float, repeats: int) -> Directed:
    """One mini-batch on given weights."""
    steps = [["set_weights", "w0"], ["update", "x", "d", rate, 1, False], ["weights", "w"]]
    return Directed(name, config, (w0.shape[0], w0.shape[1]), {"w0": w0, "x": x, "d": d}, steps, repeats)


def _learning(
    name: str, config: Flat, shape: tuple[int, int], batch: int, rate: float, times: int, top: float = 0.3
) -> Directed:
    """Some mini-batches of random vectors; weights and hidden weights after the first and after the last."""
    inputs = {
        "w0": ramp(shape, top),
        "x": vectors(batch, shape[1], 1),
        "d": vectors(batch, shape[0], 2),
    }
    steps = [
        ["set_weights", "w0"],
        ["update", "x", "d", rate, 1, True],
        ["weights", "early"],
        ["hidden", "early_hidden", HIDDEN],
        ["update", "x", "d", rate, times, True],
        ["weights", "late"],
        ["hidden", "late_hidden", HIDDEN],
    ]
    return Directed(name, config, shape, inputs, steps, SOME)


# ---------------------------------------------------------------- beyond the bounds
_SPREAD = {"reference_std": 0.2, "w_max_dtod": 0.3, "w_min_dtod": 0.3, "dw_min_dtod": 0.3}
_REFERENCES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "soft-additive": ("SoftBoundsReferenceDevice", {"mult_noise": False, "reference_mean": 0.3}),
    "soft-additive-below": ("SoftBoundsReferenceDevice", {"mult_noise": False, "reference_mean": -0.3}),
    "soft-additive-coarse": ("SoftBoundsReferenceDevice", {"mult_noise": False, "reference_mean": 0.3, "dw_min": 0.02}),
    "soft-additive-spread": ("SoftBoundsReferenceDevice", {"mult_noise": False, "reference_mean": 0.1, **_SPREAD}),
    "soft-multiplicative": ("SoftBoundsReferenceDevice", {"mult_noise": True, "reference_mean": 0.3}),
    "soft-multiplicative-below": ("SoftBoundsReferenceDevice", {"mult_noise": True, "reference_mean": -0.3}),
    "soft-symmetry": (
        "SoftBoundsReferenceDevice",
        {"mult_noise": False, "reference_mean": 0.3, "subtract_symmetry_point": True, "up_down": 0.4},
    ),
    "pow": ("PowStepReferenceDevice", {"pow_gamma": 1.05, "reference_mean": 0.3}),
    "pow-below": ("PowStepReferenceDevice", {"pow_gamma": 1.4, "reference_mean": -0.3}),
    "pow-whole": ("PowStepReferenceDevice", {"pow_gamma": 2.0, "reference_mean": 0.3}),
    "pow-spread": ("PowStepReferenceDevice", {"pow_gamma": 1.05, "reference_mean": 0.1, **_SPREAD}),
}
# With a little noise and spread: the aggregated mode errs by fractions of a step where pulses meet a bound
_NOISE = 0.3
_LITTLE = {"dw_min_std": _NOISE, "reference_std": 0.004}


def _beyond_the_bounds() -> Iterator[Directed]:
    """Weights that a reference device cannot hold: the first pulse brings them to the bound, the others act there."""
    x, w0 = signs([1, 1, 1, 1]), ramp(SHAPE)
    for name, (device, fields) in _REFERENCES.items():
        device = even(device, **{**_LITTLE, **fields})
        once = single(device, update=certain(10))
        yield _once(f"outside/{name}-once", once, w0, x, signs([1, -1, 1]), 1.0, MANY)
        yield _once(f"outside/{name}-turn", once, w0, np.concatenate([x, x]), signs([1, -1, 1], [-1, 1, 1]), 1.0, MANY)
        batch = single(device, update=update(desired_bl=20))
        yield _once(f"outside/{name}-batch", batch, w0, vectors(5, 4, 1), vectors(5, 3, 2), 0.02, MANY)
    for name, fields in (("additive", {"mult_noise": False}), ("multiplicative", {"mult_noise": True})):
        far = single(even("SoftBoundsReferenceDevice", reference_mean=0.3, **fields), update=update(desired_bl=40))
        yield _once(f"outside/soft-{name}-one_burst", far, full(SHAPE, 0.6), x, signs([1, 1, 1]), 0.031, FEW)


def _fast_devices_beyond_the_bounds() -> Iterator[Directed]:
    """The same where the weight of a device inside a cell starts beyond its bounds."""
    hidden = even("SoftBoundsReferenceDevice", dw_min=0.002, dw_min_std=_NOISE, reference_mean=0.9)
    seen = even("SoftBoundsReferenceDevice", dw_min=0.002, dw_min_std=_NOISE, reference_mean=0.4)
    stuck = even("ConstantStepDevice", dw_min=0.002, corrupt_devices_prob=0.5, corrupt_devices_range=0.3)
    slow = even("ConstantStepDevice", dw_min=0.002)
    exact = {"transfer_forward": EXACT, "units_in_mbatch": False}
    pulses = update(desired_bl=20)
    for name, fast, fields in (
        ("Transfer", hidden, {}),
        ("Transfer-stuck", stuck, {}),
        ("BufferedTransfer", hidden, {}),
        ("ChoppedTransfer", hidden, {"in_chop_prob": 0.2, "fast_lr": 0.03}),
        ("DynamicTransfer", hidden, {"in_chop_prob": 0.3, "fast_lr": 0.03}),
    ):
        cls = f"{name.partition('-')[0]}Compound"
        config = cell(cls, [fast, slow], {**exact, **fields}, update=pulses)
        yield _learning(f"outside/{name}", config, SHAPE, 5, 0.03, 4)
    gamma = {"gamma_vec": [1.0, 0.5]}
    for name, config in (
        ("Vector", cell("VectorUnitCell", [seen, seen], gamma, update=pulses)),
        ("OneSided", cell("OneSidedUnitCell", [seen], {}, update=pulses)),
        ("MixedPrecision", rank_update(seen, {}, update=pulses)),
    ):
        yield _learning(f"outside/{name}", config, SHAPE, 5, 0.03, 4, top=0.6)


# -------------------------------------------------------------------- stuck devices
def _stuck_devices() -> Iterator[Directed]:
    """Devices that cannot move: what a pulse still does to them."""
    x, d, w0 = signs([1, 1, -1, 0]), signs([1, -1, 1]), ramp(SHAPE)
    still = {"corrupt_devices_prob": 1.0, "corrupt_devices_range": 0.0}
    frozen = {"w_max": 0.0, "w_min": 0.0}
    for name, fields in (
        ("stuck", still),
        ("some", {"corrupt_devices_prob": 0.5}),
        ("frozen", frozen),
        ("spread", {"reference_std": 0.2, "corrupt_devices_prob": 0.7}),
    ):
        for device in ("PowStepReference", "SoftBoundsReference"):
            own = even(f"{device}Device", **{"dw_min_std": _NOISE, "reference_mean": 0.2, **fields})
            for pulses in (1, 10):
                config = single(own, update=certain(pulses))
                yield _once(f"stuck/{device}-{name}-{pulses}", config, w0, x, d, 1.0, MANY)
    noise = {"write_noise_std": 1.0, "dw_min": 0.05, "apply_write_noise_on_set": False}
    for device in ("ExpStep", "PowStep", "SoftBounds", "PiecewiseStep"):
        for name, fields in (("stuck", still), ("frozen", frozen), ("some", {"corrupt_devices_prob": 0.5})):
            config = single(even(f"{device}Device", **noise, **fields), update=certain(3))
            yield _once(f"stuck/{device}-{name}-write_noise", config, w0, x, d, 1.0, MANY)


# --------------------------------------------------------------------------- resets
def _resets() -> Iterator[Directed]:
    """Resets of columns with a probability: each device of a cell has its own luck."""
    step = even("ConstantStepDevice", dw_min=0.01, reset=0.4, reset_std=0.0)
    linear = even("LinearStepDevice", dw_min=0.01, reset=0.1, reset_std=0.05)
    exact = {"transfer_forward": EXACT}
    for name, config in (
        ("Single", single(step)),
        ("Vector", cell("VectorUnitCell", [step, step], {})),
        ("Vector-three", cell("VectorUnitCell", [step, linear, step], {"gamma_vec": [1.0, 0.5, -0.7]})),
        ("OneSided", cell("OneSidedUnitCell", [step], {})),
        ("Reference", cell("ReferenceUnitCell", [step, linear], {})),
        ("Transfer", cell("TransferCompound", [step, linear], {"gamma": 0.5, **exact})),
        ("Chopped", cell("ChoppedTransferCompound", [step, linear], exact)),
        ("MixedPrecision", rank_update(group("VectorUnitCell", unit_cell_devices=[step, step]), {})),
    ):
        steps = [
            ["set_weights", "w0"],
            ["reset", 1, 2, 0.5],
            ["weights", "w"],
            ["hidden", "hidden", HIDDEN],
            ["reset", 3, 2, 0.2],
            ["weights", "again"],
            ["hidden", "hidden_again", HIDDEN],
        ]
        yield Directed(f"reset/{name}", config, SHAPE, {"w0": ramp(SHAPE, 0.3)}, steps, MANY)
    for name, count, fields in (
        ("three-certain", 3, {"with_reset_prob": 1.0}),
        ("three-half", 3, {"with_reset_prob": 0.5, "transfer_every_vec": [1.0, 2.0, 0.0]}),
        ("three-reads", 3, {"with_reset_prob": 0.5, "n_reads_per_transfer": 2, "gamma": 0.3}),
    ):
        fields = {"transfer_forward": EXACT, "units_in_mbatch": False, "transfer_lr": 0.5, **fields}
        config = cell("TransferCompound", [linear] * count, fields)
        yield _learning(f"reset/Transfer-{name}", config, SHAPE, 5, 0.1, 4)
    for kind in ("Chopped", "Dynamic"):
        fast_lr = {"fast_lr": 0.05, "in_chop_prob": 0.2}
        for name, fields in (("reset", {"with_reset_prob": 0.5}), ("random", {"random_selection": True})):
            fields = {"transfer_forward": EXACT, "units_in_mbatch": False, **fast_lr, **fields}
            yield _learning(
                f"reset/{kind}-{name}", cell(f"{kind}TransferCompound", [linear, linear], fields), SHAPE, 5, 0.1, 6
            )


# ----------------------------------------------------------------------------- cells
def _cells() -> Iterator[Directed]:
    """What unit cells read, choose and write."""
    step = even("ConstantStepDevice", dw_min=0.02)
    noisy = even("SoftBoundsDevice", dw_min=0.02, write_noise_std=1.0)
    for name in ("AVERAGE_ABS_MAX", "ABS_MAX"):
        fields = {
            "refresh_every": 2,
            "refresh_upper_thres": 0.3,
            "refresh_lower_thres": 0.05,
            "refresh_forward": read(noise_management=f"NoiseManagementType.{name}", out_noise=0.02),
        }
        yield _learning(f"cells/OneSided-{name.lower()}", cell("OneSidedUnitCell", [step], fields), SHAPE, 5, 0.1, 5)
    policy = "VectorUnitCellUpdatePolicy."
    for name, fields in (
        ("fixed", {"first_update_idx": 1}),
        ("all", {"update_policy": policy + "ALL"}),
        ("sequential", {"update_policy": policy + "SINGLE_SEQUENTIAL"}),
        ("gamma", {"gamma_vec": [0.7, -0.4]}),
    ):
        yield _learning(f"cells/Reference-{name}", cell("ReferenceUnitCell", [step, step], fields), SHAPE, 5, 0.1, 3)
    yield _learning("cells/Reference-write_noise", cell("ReferenceUnitCell", [noisy, noisy], {}), SHAPE, 5, 0.1, 3)
    quiet = even("SoftBoundsDevice", dw_min=0.02, write_noise_std=1.0, apply_write_noise_on_set=False)
    written = [
        ["set_weights", "w0"],
        ["weights", "w"],
        ["hidden", "hidden", HIDDEN],
        ["end_of_batch"],
        ["weights", "end"],
    ]
    decaying = {**quiet, "lifetime": 100.0}
    diffusing = {**quiet, "diffusion": 0.01}
    for name, config in (
        ("Reference", cell("ReferenceUnitCell", [noisy, noisy], {})),
        ("Reference-second", cell("ReferenceUnitCell", [noisy, noisy], {"first_update_idx": 1})),
        ("OneSided-second-decays", cell("OneSidedUnitCell", [quiet, decaying], {})),
        ("OneSided-second-diffuses", cell("OneSidedUnitCell", [quiet, diffusing], {})),
        ("Transfer-third-decays", cell("TransferCompound", [quiet, quiet, decaying], {"gamma": 0.5})),
        ("Transfer-third-diffuses", cell("TransferCompound", [quiet, quiet, diffusing], {"gamma": 0.5})),
        ("Vector-third-decays", cell("VectorUnitCell", [quiet, quiet, decaying], {})),
        ("Chopped-third-decays", cell("BufferedTransferCompound", [quiet, quiet, decaying], {"gamma": 0.5})),
    ):
        yield Directed(f"written/{name}", config, SHAPE, {"w0": ramp(SHAPE, 0.3)}, written, MANY)


def _floating_updates() -> Iterator[Directed]:
    """Floating point updates of cells, which are clipped after each vector."""
    step = even("ConstantStepDevice", dw_min=0.01, w_max=0.2, w_min=-0.2)
    x, d = signs([1, 1, 1, 1], [1, 1, 1, 1]), signs([-1, 1, -0.5], [1, -1, 0.2])
    floating = update(pulse_type="PulseType.NONE_WITH_DEVICE")
    for name, config in (
        ("hidden", cell("TransferCompound", [step, step], {}, update=floating)),
        ("gamma", cell("TransferCompound", [step, step], {"gamma": 0.5}, update=floating)),
        ("Vector", cell("VectorUnitCell", [step, step], {}, update=floating)),
    ):
        yield _once(f"floating/{name}", config, ramp(SHAPE, 0.3), x, d, 0.15, FEW)


def _mixed_precision() -> Iterator[Directed]:
    """Bins of one side only, and transfers that never come."""
    step = even("ConstantStepDevice")
    for name, fields in (
        ("x_bins", {"n_x_bins": 5, "stoc_round_x": False}),
        ("d_bins", {"n_d_bins": 5, "stoc_round_d": False}),
        ("both", {"n_x_bins": 5, "n_d_bins": 5}),
        ("never", {"transfer_every": 0}),
        ("no_rows", {"n_rows_per_transfer": 0}),
    ):
        for shape in ((1, 1), (4, 3)):
            size = f"{shape[0]}x{shape[1]}"
            yield _learning(f"mixed/{name}-{size}", rank_update(step, fields), shape, 3, 0.01, 3)


# --------------------------------------------------------------------------- choppers
def _choppers() -> Iterator[Directed]:
    """Fast devices just before and after a sweep ends, where output choppers flip."""
    soft = group("SoftBoundsDevice", dw_min=0.01)
    step = even("ConstantStepDevice", dw_min=0.01)
    both = {"out_chop_prob": 0.3, "in_chop_prob": 0.3}
    for name, kind, devices, shape, batch, fields in (
        ("out", "Chopped", [soft, soft], (5, 6), 7, {"out_chop_prob": 0.5}),
        ("out-certain", "Chopped", [soft, soft], (5, 6), 7, {"out_chop_prob": 1.0}),
        ("both", "Chopped", [soft, soft], (5, 6), 7, {"out_chop_prob": 0.5, "in_chop_prob": 0.3}),
        ("out-cut", "Chopped", [soft, soft], (5, 6), 4, {"out_chop_prob": 0.5}),
        ("out-rows", "Chopped", [soft, soft], (5, 6), 7, {"out_chop_prob": 0.5, "transfer_columns": False}),
        ("out-every", "Chopped", [soft, soft], (4, 3), 7, {"out_chop_prob": 0.5, "transfer_every": 2.0}),
        ("out-large", "Chopped", [soft, soft], (8, 10), 10, {"out_chop_prob": 0.5}),
        ("regular", "Chopped", [step, step], (3, 7), 5, {**both, "in_chop_random": False}),
        ("gamma", "Chopped", [soft, soft], (5, 5), 7, {"out_chop_prob": 0.5, "gamma": 0.5}),
        ("dynamic", "Dynamic", [soft, soft], (5, 6), 7, {"in_chop_prob": 0.3, "out_chop_prob": 0.5}),
        ("dynamic-random", "Dynamic", [soft, soft], (5, 6), 7, {"in_chop_prob": 0.3, "in_chop_random": True}),
        ("dynamic-rows", "Dynamic", [soft, soft], (6, 3), 7, {"in_chop_prob": 0.5, "transfer_columns": False}),
    ):
        if "in_chop_prob" not in fields:
            fields = {"in_chop_prob": 0.0, **fields}
        config = cell(f"{kind}TransferCompound", devices, fields)
        yield _before_the_end(f"choppers/{name}", config, shape, batch)
    # vectors after the last read of a sweep, in mini-batches that read some slices only or very many
    chopping = {"in_chop_prob": 0.0, "out_chop_prob": 0.5}
    for name, shape, batch, times, fields in (
        ("out-idle", (4, 3), 5, 2, {"transfer_every": 3.0}),
        ("out-idle-rows", (3, 4), 5, 2, {"transfer_every": 3.0, "transfer_columns": False}),
        ("out-blocks", (2, 18), 37, 1, {"transfer_every": 0.05, "units_in_mbatch": True}),
    ):
        config = cell("ChoppedTransferCompound", [soft, soft], {**chopping, **fields})
        yield _whole_batches(f"choppers/{name}", config, shape, batch, times)


def _whole_batches(name: str, config: Flat, shape: tuple[int, int], batch: int, times: int) -> Directed:
    """Hidden weights after some mini-batches, and after as many again."""
    inputs = {"w0": ramp(shape, 0.3), "x": vectors(batch, shape[1], 1), "d": vectors(batch, shape[0], 2)}
    more = [["update", "x", "d", 0.368, times, False]]
    steps = [["set_weights", "w0"], *more, ["hidden", "early", HIDDEN], *more, ["hidden", "late", HIDDEN]]
    return Directed(name, config, shape, inputs, steps, SOME)


def _before_the_end(name: str, config: Flat, shape: tuple[int, int], batch: int) -> Directed:
    """Mini-batches of which the last is cut one vector before its end, and again some vectors later."""
    x, d = vectors(batch, shape[1], 1), vectors(batch, shape[0], 2)
    inputs = {"w0": ramp(shape, 0.3), "x": x, "d": d, "x_cut": x[:-1], "d_cut": d[:-1]}
    steps = [
        ["set_weights", "w0"],
        ["update", "x", "d", 0.368, 3, False],
        ["update", "x_cut", "d_cut", 0.368, 1, False],
        ["hidden", "early", HIDDEN],
        ["update", "x", "d", 0.368, 3, False],
        ["hidden", "late", HIDDEN],
        ["weights", "w"],
    ]
    return Directed(name, config, shape, inputs, steps, SOME)


# ----------------------------------------------------------------------- one pulse
def _one_pulse() -> Iterator[Directed]:
    """One certain pulse at each crosspoint."""
    x, d, w0 = signs([1, 1, 1, 1]), signs([-1, -1, -1]), ramp(SHAPE, 0.3)
    one = certain(1)
    for name in ("ConstantStep", "SoftBounds", "ExpStep", "PowStepReference"):
        yield _once(f"one_pulse/{name}", single(even(f"{name}Device"), update=one), w0, x, d, 1.0, FEW)
    step = even("ConstantStepDevice")
    for name, config in (
        ("Vector", cell("VectorUnitCell", [step, step], {}, update=one)),
        ("OneSided", cell("OneSidedUnitCell", [step], {}, update=one)),
        ("Transfer", cell("TransferCompound", [step, step], {"gamma": 0.5, "transfer_forward": EXACT}, update=one)),
        ("Chopped", cell("ChoppedTransferCompound", [step, step], {"transfer_forward": EXACT}, update=one)),
    ):
        yield _once(f"one_pulse/{name}", config, w0, x, d, 1.0, FEW)
    default = single(even("ConstantStepDevice"))
    yield _once("one_pulse/default", default, w0, x, d, 0.00099, MANY)


def cases() -> list[Directed]:
    """Return all rows."""
    groups = (
        _beyond_the_bounds,
        _fast_devices_beyond_the_bounds,
        _stuck_devices,
        _resets,
        _cells,
        _floating_updates,
        _mixed_precision,
        _choppers,
        _one_pulse,
    )
    return [case for rows in groups for case in rows()]
