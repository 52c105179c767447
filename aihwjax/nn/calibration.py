"""Calibrating the input ranges of a model's tiles by data (spec: inference, section 12)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from aihwjax import random
from aihwjax.arguments import answered
from aihwjax.errors import ConfigError, DataError, warn
from aihwjax.nn.passing import Batch, passed_all
from aihwjax.nn.programming import tiles_of
from aihwjax.nn.tile import AnalogTile
from aihwjax.nn.variables import FixedInputRange, InputRange, RangeWatch
from aihwjax.random import Noise
from aihwjax.tile.calibration import (
    InputRangeCalibrationType,
    RangeSearch,
    RangeStatistics,
    checked_alpha,
    found,
    search,
    started,
)
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.io import NoiseManagementType
from aihwjax.typing import Number, Shape


@answered
def calibrate(
    model: nnx.Module,
    batches: Iterable[Batch],
    method: InputRangeCalibrationType | str = InputRangeCalibrationType.CACHE_QUANTILE,
    *,
    key: Noise,
    quantile: Number = 0.99995,
    max_samples: int = 1000,
    std_alpha: Number | None = None,
    force_all_layers: bool = True,
) -> Float[Array, " tiles"]:
    """Set the input ranges of all tiles of a model by the inputs that they see, in place, and return the ranges.

    The data pass once through the model in evaluation mode, with all tiles at once. From then on each tile has an input
    range, and its forward product no noise management, which would scale inputs again. A range that there was stays a
    learned parameter, if it was one; a new one is fixed. ``MAX`` and ``CACHE_QUANTILE`` use exact products and the
    present ranges meanwhile, 3 for new ones by default; the moving kinds the converters and the range so far.

    A tile of which all inputs are zero, or that is not called, keeps its range, with a warning.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> layer = aj.nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
        >>> batches = [jax.random.normal(jax.random.key(number), (16, 4)).clip(-2, 2) for number in range(8)]
        >>> aj.calibrate(layer, batches, "MAX", key=0).tolist()
        [2.0]

    Args:
        model: Any NNX module with analog layers. It is changed in place; ``nnx.clone(model)`` makes a copy before.
        batches: Inputs of the model, one after the other: arrays, or pairs ``(args, kwargs)`` of all its arguments. One
            array with the batches as first axis is one compiled loop.
        method: The statistic, or its name. With ``NONE`` nothing is done, and the ranges that there are are returned.
        key: Source of all noise.
        quantile: Of the quantile kinds, from 0 to 1.
        max_samples: Vectors of a tile that ``CACHE_QUANTILE`` keeps, or batches that ``MOVING_STD`` takes.
        std_alpha: Standard deviations of ``MOVING_STD``; ``None``: ``init_std_alpha`` of each input range.
        force_all_layers: Whether tiles without an input range get one. Otherwise they stay as they are, and noise
            management on the others is an error.

    Returns:
        The range of each tile with one, in the model's order.

    Raises:
        ModuleError: If the model has no analog layer, or a tile is called where its inputs are not seen.
        ConfigError: If an argument is not allowed, or no tile has an input range and ``force_all_layers`` is off.
        DataError: If there is no batch, or no tile sees a number other than 0.
    """
    tiles = tiles_of(model)
    key = random.as_noise(key)
    std_alpha = None if std_alpha is None else checked_alpha(std_alpha)
    kinds = [search(method, quantile, max_samples, _alpha(tile, std_alpha)) for tile in tiles.values()]
    how = dict(zip(tiles, kinds, strict=True))
    kind = kinds[0].method
    if kind is InputRangeCalibrationType.NONE:
        return _ranges([tile.input_range for tile in tiles.values() if tile.input_range is not None])
    chosen = {path: tile for path, tile in tiles.items() if force_all_layers or tile.input_range is not None}
    _check_chosen(chosen)
    if not force_all_layers:
        _refuse_noise_management(chosen)
    copy = nnx.clone(model)
    copy.eval()
    for path, tile in tiles_of(copy).items():
        if path in chosen:
            _watch(tile, how[path])
    graph, watched, rest = nnx.split(copy, RangeWatch, ...)  # type: ignore[misc]
    watched = passed_all(RangeWatch, graph, rest, watched, batches, key)
    nnx.update(copy, watched)
    values = {path: _found(tiles_of(copy)[path], how[path]) for path in chosen}
    _check_found(values, kind)
    for path, tile in chosen.items():
        _set(tile, values[path], kind)
    return _ranges([tile.input_range for tile in chosen.values()])


def _alpha(tile: AnalogTile, std_alpha: Number | None) -> Number:
    return tile.config.get_value().pre_post.input_range.init_std_alpha if std_alpha is None else std_alpha


def _ranges(variables: list[Any]) -> Float[Array, " tiles"]:
    values = [jnp.ravel(variable.get_value()) for variable in variables]
    return jnp.concatenate(values) if values else jnp.zeros(0, jnp.float32)


def _check_chosen(chosen: Mapping[str, AnalogTile]) -> None:
    if not chosen:
        raise ConfigError(
            "force_all_layers=False is not allowed for a model without an input range: enable "
            "pre_post.input_range in the configuration, or give force_all_layers=True"
        )


def _refuse_noise_management(chosen: Mapping[str, AnalogTile]) -> None:
    for path, tile in chosen.items():
        management = tile.config.get_value().forward.noise_management
        if management is not NoiseManagementType.NONE:
            raise ConfigError(
                f"{path}: forward.noise_management={management.name} is not allowed with force_all_layers=False, since "
                "it would scale inputs again: set it to NONE, or give force_all_layers=True"
            )


# ------------------------------------------------------------------------------ the pass
def _watch(tile: AnalogTile, how: RangeSearch) -> None:
    """Let a tile note its inputs, and make its products those of a calibration."""
    config = tile.config.get_value()
    parameter, forward = config.pre_post.input_range, config.forward
    changes: dict[str, Any] = {"noise_management": NoiseManagementType.NONE}
    if not how.method.moving:
        changes["is_perfect"] = True
    # the averages of a tile play no part without noise management
    tile.config.exchange(config.replace(forward=forward.replace(changes)))
    stack = tile.state.get_value().weights.shape[:-2]
    if tile.input_range is None:
        tile.input_range = nnx.data(FixedInputRange(_filled(parameter.init_value, stack)))
    start = tile.input_range.get_value()
    count = jnp.zeros(stack, jnp.int32)
    if config.reference_quirks and tile.input_range_count is not None:
        count = tile.input_range_count.get_value()  # spec: inference, bug 5
    lead = stack if tile.count is None else stack[:-1]
    tile.watch = nnx.data(RangeWatch(_started(tile.in_features, lead, how, start, count)))


@partial(jax.jit, static_argnums=(0, 1))
def _started(
    in_size: int, lead: Shape, how: RangeSearch, start: Float[Array, "*stack"], count: Int[Array, "*stack"]
) -> tuple[RangeSearch, RangeStatistics]:
    """Return the search and the statistics of a tile module before any input; of stacked layers with their axes."""
    each = partial(started, how, in_size)
    for _ in start.shape:
        each = jax.vmap(each)
    return jax.tree.map(lambda number: jnp.broadcast_to(number, lead), how), each(start, count)


def _filled(value: Number, shape: tuple[int, ...]) -> Float[Array, "*stack"]:
    return jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)


# ---------------------------------------------------------------------------- the result
def _found(tile: AnalogTile, how: RangeSearch) -> Float[Array, "*stack"]:
    """Return the ranges of a tile module; 0 or below where there is none."""
    assert tile.watch is not None
    return _range_of(how, tile.watch.get_value()[1])


@jax.jit
def _range_of(how: RangeSearch, statistics: RangeStatistics) -> Float[Array, "*stack"]:
    each = partial(found, how)
    for _ in statistics.value.shape:
        each = jax.vmap(each)
    return each(statistics)


def _check_found(values: Mapping[str, Float[Array, "*stack"]], kind: InputRangeCalibrationType) -> None:
    """Say which tiles have no new range; inside a traced function nobody can.

    Raises:
        DataError: If no tile has one.
    """
    if any(isinstance(value, jax.core.Tracer) for value in values.values()):
        return
    good = {path: np.asarray(value) > 0 for path, value in values.items()}
    without = [path for path, ok in good.items() if not ok.all()]
    if not any(ok.any() for ok in good.values()):
        raise DataError(
            f"batches give no tile an input range by {kind.name}: give finite inputs other than 0 of a model that "
            "calls its layers, another quantile, or method='MAX'"
        )
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        warn(f"the input range of {', '.join(without[:3])}{more} stays: its inputs give none by {kind.name}")


def _set(tile: AnalogTile, value: Float[Array, "*stack"], kind: InputRangeCalibrationType) -> None:
    """Give a tile module its ranges, and a configuration that says so."""
    config = tile.config.get_value()
    if tile.input_range is None:
        tile.input_range = nnx.data(FixedInputRange(_filled(config.pre_post.input_range.init_value, value.shape)))
    value = jnp.where(value > 0, value, tile.input_range.get_value())
    tile.input_range.set_value(value)
    if tile.input_range_count is not None:
        tile.input_range_count = nnx.static(None)
    # of a stack the largest, so that a tile that is built with it does not clip more
    largest = value if tile.count is None else value.max(axis=-1)
    tile.config.exchange(_calibrated(config, largest, kind, isinstance(tile.input_range, InputRange)))


def _calibrated(
    config: TileConfig, largest: Float[Array, "*stack"], kind: InputRangeCalibrationType, learned: bool
) -> TileConfig:
    changes: dict[str, Any] = {
        "pre_post.input_range.enable": True,
        "pre_post.input_range.learn_input_range": learned,
        "pre_post.input_range.init_from_data": 0,
        "forward.noise_management": NoiseManagementType.NONE,
    }
    if not (config.reference_quirks and kind.moving):  # spec: inference, bug 5
        known = largest.ndim == 0 and not isinstance(largest, jax.core.Tracer)
        changes["pre_post.input_range.init_value"] = float(largest) if known else largest
        changes["pre_post.input_range.calibration_info"] = kind.name
    return config.replace(changes)
