"""Another configuration for tiles that are already there: what acts at once, and what needs new devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aihwjax.config.fixed import Fixed
from aihwjax.errors import ConfigError
from aihwjax.quantization import MSEEstimatorParams
from aihwjax.tile.config import TileConfig, quantized_outputs
from aihwjax.tile.matching import fixed
from aihwjax.tile.product.frozen import REDRAW, fixed_numbers
from aihwjax.tile.product.input_range import check_input_range
from aihwjax.tile.product.periphery import quantized_periphery

_REBUILD = "build a new layer with it"


def changed(config: TileConfig, change: TileConfig | Mapping[str, Any] | None) -> TileConfig:
    """Return the configuration after a change.

    Args:
        config: The present configuration.
        change: The new configuration, or new values by dotted path; ``None``: no change.

    Raises:
        ConfigError: If a path or a value is not allowed, or ``change`` is something else.
    """
    if change is None:
        return config
    if isinstance(change, TileConfig):
        return change
    if isinstance(change, Mapping):
        return config.replace(change)
    raise ConfigError(
        f"config={type(change).__name__} is not allowed: "
        "give a TileConfig, or a dict such as {'device.dw_min': 0.001}"
    )


def refuse_new_layout(old: TileConfig, new: TileConfig) -> None:
    """Refuse another layout of a layer: its bias, tiles, scales, ranges and quantisers are made with it.

    Raises:
        ConfigError: If it would be another one; names the field.
    """
    check_input_range(new.pre_post.input_range, new.forward)
    Fixed.of(old.mapping, "mapping").refuse_change(Fixed.of(new.mapping, "mapping"), _REBUILD)
    name = "pre_post.input_range"
    Fixed.of(old.pre_post.input_range, name).refuse_change(Fixed.of(new.pre_post.input_range, name), _REBUILD)
    before, after = _quantisers(old), _quantisers(new)
    for path, choice in after.items():
        if choice != before[path]:
            raise ConfigError(
                f"{path}={choice} is not allowed on this layer, which was built with {before[path]}: {_REBUILD}"
            )


def _quantisers(config: TileConfig) -> dict[str, str]:
    """Return what of the quantisers is made with the layer, as text by dotted path."""
    outputs, periphery = quantized_outputs(config), quantized_periphery(config.pre_post)
    searched = None if outputs is None else outputs.parameters
    grid = ("", "")
    if isinstance(searched, MSEEstimatorParams):
        grid = searched.range_opt_method.name, str(searched.num_candidates)
    return {
        "act_quant_config.n_bits": "0" if outputs is None else "a number of bits",
        "act_quant_config.symmetric": "" if outputs is None else str(outputs.symmetric),
        "act_quant_config.range_estimator": "" if outputs is None else outputs.range_estimator.name,
        "act_quant_config.range_estimator_params.range_opt_method": grid[0],
        "act_quant_config.range_estimator_params.num_candidates": grid[1],
        "pre_post.periph_quant.n_bits": "0" if periphery is None else "a number of bits",
        "pre_post.periph_quant.symmetric": "" if periphery is None else str(periphery.symmetric),
        "pre_post.periph_quant.learn_quant_params": "" if periphery is None else str(periphery.learn_quant_params),
    }


def refuse_new_draws(old: TileConfig, new: TileConfig) -> None:
    """Refuse a change of what is fixed when the devices and the converters of a tile are drawn.

    Raises:
        ConfigError: If a choice or a known number would be another one; names the field.
    """
    fixed(old).refuse_change(fixed(new), REDRAW)
    for before, after in ((old.forward, new.forward), (old.backward, new.backward)):
        fixed_numbers(before).refuse_change(fixed_numbers(after), REDRAW)
