"""Random cases: configurations, shapes and steps of which nothing but the seed is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.directed.case import HIDDEN, Directed, Flat, cell, group, rank_update, single
from benchmarks.directed.dice import Dice
from benchmarks.directed.drawn_cells import mixed, transfer, unit_cell
from benchmarks.directed.drawn_devices import device
from benchmarks.directed.drawn_parts import periphery, pulses

KINDS = ("single", "cell", "transfer", "mixed", "product")
"""Kinds of cases."""


def draw(seed: int, kind: str | None = None) -> Directed:
    """Draw a case.

    Args:
        seed: Seed of everything.
        kind: One of :data:`KINDS`; drawn if not given.
    """
    dice = Dice(seed)
    drawn = dice.one_of("single", "single", "cell", "transfer", "transfer", "mixed", "product")
    kind = kind or drawn
    shape = (dice.one_of(1, 2, 3, 5), dice.one_of(1, 2, 4, 7))
    if kind == "product":
        return _product(dice, seed)
    if dice.chance(0.15):
        shape = dice.one_of((20, 3), (2, 33), (12, 18))
    parts = {"update": pulses(dice)}
    config, finest = _config(dice, kind, shape, parts)
    inputs, steps = _steps(dice, kind, shape, finest)
    return Directed(f"{kind}/{seed}", config, shape, inputs, steps, 800)


def _config(dice: Dice, kind: str, shape: tuple[int, int], parts: Mapping[str, Any]) -> tuple[Flat, float]:
    """Draw a configuration; with it comes a step size by which rates are chosen."""
    if kind == "single":
        chosen = device(dice)
        return single(chosen, **parts), chosen["dw_min"] or 0.005
    if kind == "mixed":
        chosen = mixed(dice, shape)
        config = rank_update(
            chosen["device"], {k: v for k, v in chosen.items() if k not in ("device", "__class__")}, **parts
        )
    else:
        chosen = unit_cell(dice) if kind == "cell" else transfer(dice, shape)
        rest = {k: v for k, v in chosen.items() if k not in ("unit_cell_devices", "__class__")}
        config = cell(chosen["__class__"], chosen["unit_cell_devices"], rest, **parts)
    sizes = [value for name, value in config.items() if name.endswith("dw_min") and value]
    return config, float(np.mean(sizes)) if sizes else 0.005


def _steps(
    dice: Dice, kind: str, shape: tuple[int, int], finest: float
) -> tuple[dict[str, np.ndarray], list[list[Any]]]:
    """Draw inputs and steps: mini-batches, maintenance and what is recorded."""
    batch = dice.one_of(40, 100) if dice.chance(0.12) else dice.one_of(1, 2, 5, 13)
    top = dice.one_of(0.1, 0.6, 1.0)
    w0 = dice.generator.uniform(-top, top, shape).round(3)
    if dice.chance(0.2):
        w0 = np.full(shape, dice.one_of(0.0, 0.6, -0.6))
    inputs = {"w0": w0, "x": dice.vectors(batch, shape[1]), "d": dice.vectors(batch, shape[0])}
    if dice.chance(0.1):
        inputs[dice.one_of("x", "d")][int(dice.generator.integers(batch))] = 0.0
    rate = dice.scale(0.5 * finest, 40 * finest)
    few, many = (1, 3) if kind == "single" else (2, 6)
    hidden = [] if dice.chance(0.2) and kind == "single" else HIDDEN
    steps: list[list[Any]] = [["set_weights", "w0"]]
    if dice.chance(0.3):
        steps.append(["weights", "written"])
    closes = dice.chance(0.5)
    steps += [["update", "x", "d", rate, few, closes], ["weights", "early"], ["hidden", "early_hidden", hidden]]
    if batch > 1 and dice.chance(0.4):
        cut = int(dice.generator.integers(1, batch))
        inputs |= {"x_cut": inputs["x"][:cut], "d_cut": inputs["d"][:cut]}
        steps += [["update", "x_cut", "d_cut", rate, 1, closes]]
    else:
        steps += [["update", "x", "d", rate, dice.one_of(1, many), closes]]
    for _ in range(dice.one_of(0, 1, 2)):
        steps.append(
            dice.one_of(
                ["end_of_batch"],
                ["decay", dice.one_of(0.3, 1.0)],
                ["diffuse"],
                ["drift", dice.one_of(1.0, 5.0)],
                ["reset", int(dice.generator.integers(shape[1])), dice.one_of(1, 2, -1), dice.one_of(0.3, 1.0)],
                ["update", "x", "d", dice.one_of(rate, 0.0), 1, False],
                ["set_weights", "w0"],
            )
        )
    steps += [["weights", "late"], ["hidden", "late_hidden", hidden]]
    if dice.chance(0.15):
        steps.append(["forward", "x", "y"])
    return inputs, steps


def _product(dice: Dice, seed: int) -> Directed:
    """Draw a case of forward and backward products."""
    shape = (dice.one_of(1, 3, 6), dice.one_of(2, 5, 12))
    count = dice.one_of(1, 3)
    config = single(group("IdealDevice"), forward=periphery(dice), backward=periphery(dice))
    scale = dice.one_of(0.3, 1.0, 3.0)
    inputs = {
        "w0": dice.generator.uniform(-1, 1, shape).round(3),
        "x": dice.vectors(count, shape[1]) * scale,
        "d": dice.vectors(count, shape[0]) * scale,
    }
    steps = [["set_weights", "w0"], ["forward", "x", "y", "pair"], ["backward", "d", "g", "pair"]]
    return Directed(f"product/{seed}", config, shape, inputs, steps, 3000)


_NUMBERS = ("dw_min", "_std", "_dtod", "_prob", "_lr", "gamma", "reset", "noise", "w_max", "w_min", "lifetime", "nu")
"""Ends of the names of numbers that are varied."""


def varied(case: Directed, number: int) -> Directed:
    """Return a case with other numbers in the same structure, which needs no other program.

    Args:
        case: A drawn case.
        number: Which of its variants; 0 is the case itself.
    """
    if number == 0:
        return case
    dice = Dice([int(case.name.rpartition("/")[2]), number])
    config = {name: _near(dice, name, value) for name, value in case.config.items()}
    inputs = {name: _like(dice, name, values) for name, values in case.inputs.items()}
    steps = [_faster(dice, list(step)) for step in case.steps]
    return Directed(f"{case.name}.{number}", config, case.shape, inputs, steps, case.repeats)


def _near(dice: Dice, name: str, value: Any) -> Any:
    """Return another number near a number that is varied, and others as they are."""
    plain = isinstance(value, float) and value not in (0.0, 1.0)
    if not (plain and name.startswith("device") and name.endswith(_NUMBERS)):
        return value
    other = float(f"{value * dice.between(0.4, 1.8):.3g}")
    return min(other, 1.0) if abs(value) <= 1 else other


def _like(dice: Dice, name: str, values: np.ndarray) -> np.ndarray:
    """Return other weights or vectors of the same size and reach."""
    drawn = dice.generator.uniform(-1, 1, values.shape).round(3) * max(float(np.abs(values).max()), 0.1)
    return drawn if name.startswith("w") else np.where(values == 0, 0.0, drawn)


def _faster(dice: Dice, step: list[Any]) -> list[Any]:
    """Return an update with another rate, and other steps as they are."""
    if step[0] == "update":
        step[3] = float(f"{step[3] * dice.scale(0.3, 3):.3g}")
    return step
