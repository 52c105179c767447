"""The quantisers of a layer: of its outputs, and of its scales and bias (spec: layers, section 12).

They are modules, since the ranges of outputs are data, and the steps of scales and bias may learn. Training moves them,
evaluation takes them as they are.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from aihwjax.derivatives import passed_through
from aihwjax.errors import ModuleError
from aihwjax.nn import watching
from aihwjax.nn.text import Readable
from aihwjax.nn.variables import (
    FixedQuantizerOffset,
    FixedQuantizerStep,
    OutputRange,
    QuantizerBatches,
    QuantizerOffset,
    QuantizerSign,
    QuantizerStep,
)
from aihwjax.precision import in_single
from aihwjax.quantization import (
    ActivationQuantConfig,
    Grid,
    RangeState,
    advance_range,
    is_unknown,
    quantize,
    range_grid,
    start_range,
    uniform_grid,
)
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.periphery import PeripheryQuantizationParameter, quantized_periphery

_TRACED = (
    "the ranges of a quantiser move in training, which a function that jax.jit, jax.vmap, lax.scan or the like traces "
    "inside the loss cannot carry: use aihwjax.nn.scan"
)


class OutputQuantizer(Readable):
    """The quantiser of the outputs of a layer, or of each tile of a stack.

    Args:
        config: The configuration of the tiles, with ``act_quant_config``.
        count: Number of tiles in the stack, each with a range of its own; ``None``: one range.
    """

    def __init__(self, config: TileConfig, count: int | None = None) -> None:
        state = start_range(_parameter(config))
        if count is not None:
            state = jax.tree.map(lambda array: jnp.broadcast_to(array, (count, *array.shape)), state)
        self.count = count
        """Number of tiles in the stack; ``None``: one range."""
        self.range = OutputRange(state)
        """What is known of the outputs."""
        self.estimating = False
        """Whether evaluation moves the range, while :func:`aihwjax.calibrate_quantization_ranges` runs."""

    def __call__(
        self, config: TileConfig, y: Float[Array, "*batch out"], *, training: bool, place: str
    ) -> Float[Array, "*batch out"]:
        """Return outputs rounded to the grid of their range.

        Args:
            config: The configuration of the tiles.
            y: Outputs ``(..., out)``; of a stack ``(tiles, n, out)``.
            training: Whether the range moves by them before.
            place: What has these outputs, for the error.

        Raises:
            ModuleError: If the range is not known (of a traced one the outputs are NaN).
        """
        if watching.is_on() and not self.estimating:
            return y  # a calibration of input ranges, which comes first
        parameter, state = _parameter(config), watching.present(self.range)
        if training or self.estimating:
            advance = partial(advance_range, parameter)
            state = (advance if self.count is None else jax.vmap(advance))(state, y)
            watching.keep(self.range, state, _TRACED)
        elif is_unknown(state):
            raise ModuleError(
                f"the range of the quantised outputs of {place} is not known: train it, or give data to "
                "aihwjax.calibrate_quantization_ranges"
            )
        rounded = partial(_in_range, parameter)
        return (rounded if self.count is None else jax.vmap(rounded))(state, y)

    def describe(self) -> str:
        """Return the text."""
        return "OutputQuantizer()" if self.count is None else f"OutputQuantizer({self.count} tiles)"


def _parameter(config: TileConfig) -> ActivationQuantConfig:
    assert config.act_quant_config is not None
    return config.act_quant_config


@in_single
def _in_range(
    parameter: ActivationQuantConfig, state: RangeState, y: Float[Array, "*batch out"]
) -> Float[Array, "*batch out"]:
    """Return outputs in a range; NaN where it is not known."""
    return jnp.where(state.batches > 0, quantize(y, range_grid(parameter, state), parameter.n_bits), jnp.nan)


class PeripheryQuantizer(Readable):
    """The quantiser of the scales of a tile, or of each of a stack, or of a bias.

    Without learning, the grid is always that of the present numbers; with ``reference_quirks`` evaluation has that of
    the last batch of training. With learning, that holds for the first batches of training; then the step of the grid,
    and its place of 0, are parameters.

    Args:
        config: The configuration of the tiles, with ``pre_post.periph_quant``.
        count: Number of tiles in the stack; ``None``: one grid.
    """

    def __init__(self, config: TileConfig, count: int | None = None) -> None:
        parameter = _periphery(config)
        learned, stack = parameter.learn_quant_params, () if count is None else (count,)
        keeps = learned or config.reference_quirks
        self.count = count
        """Number of tiles in the stack; ``None``: one grid."""
        step, offset = (QuantizerStep, QuantizerOffset) if learned else (FixedQuantizerStep, FixedQuantizerOffset)
        self.step = step(jnp.ones(stack, jnp.float32)) if keeps else None
        """Step of the grid, learned or of the last batch of training."""
        self.offset = offset(jnp.zeros(stack, jnp.float32)) if keeps and not parameter.symmetric else None
        """Its place of 0, if it is not symmetric."""
        self.sign = QuantizerSign(jnp.zeros(stack, bool)) if keeps and parameter.symmetric else None
        """Whether it goes below 0, if it is symmetric."""
        self.batches = QuantizerBatches(jnp.zeros(stack, jnp.int32)) if keeps else None
        """Batches of training in which it followed the numbers."""

    def __call__(
        self, config: TileConfig, values: Float[Array, "*tiles n"], *, training: bool
    ) -> Float[Array, "*tiles n"]:
        """Return numbers rounded to the grid.

        Args:
            config: The configuration of the tiles.
            values: Scales or a bias ``(n,)``; of a stack ``(tiles, n)``.
            training: Whether this is a batch of training.
        """
        parameter = _periphery(config)
        grid = _of_values(parameter, values)
        if self.batches is not None:
            batches = watching.present(self.batches)
            learns = (batches >= parameter.init_learning_after) & parameter.learn_quant_params
            # in evaluation what was found stays; before any batch there is nothing but the present numbers
            grid = self._kept(learns if training else batches > 0, grid)
            if training:
                self._keep(grid)
                watching.keep(self.batches, jnp.where(learns, batches, batches + 1), _TRACED)
        rounded = partial(_on_grid, parameter)
        return (rounded if self.count is None else jax.vmap(rounded))(grid, values)

    def _kept(self, kept: Bool[Array, "*tiles"], present: Grid) -> Grid:
        """Return the grid that was kept, where it is, else the one of the present numbers."""

        def either(variable: nnx.Variable[jax.Array] | None, now: jax.Array | None) -> jax.Array | None:
            return None if variable is None or now is None else jnp.where(kept, watching.present(variable), now)

        step = either(self.step, present.step)
        assert step is not None
        return Grid(step, either(self.offset, present.offset), either(self.sign, present.signed))

    def _keep(self, grid: Grid) -> None:
        """Keep a grid; its values change, their derivatives are those of the parameters."""
        for variable, value in ((self.step, grid.step), (self.offset, grid.offset)):
            if variable is not None and value is not None:
                watching.keep(variable, passed_through(watching.present(variable), value), _TRACED)
        if self.sign is not None:
            watching.keep(self.sign, grid.signed, _TRACED)

    def describe(self) -> str:
        """Return the text."""
        return f"PeripheryQuantizer({'learned' if isinstance(self.step, QuantizerStep) else ''})"


def _periphery(config: TileConfig) -> PeripheryQuantizationParameter:
    parameter = quantized_periphery(config.pre_post)
    assert parameter is not None
    return parameter


@in_single
def _of_values(parameter: PeripheryQuantizationParameter, values: Float[Array, "*tiles n"]) -> Grid:
    """Return the grid of the present numbers, which has no derivative; of each tile of a stack."""
    fixed = jax.lax.stop_gradient(values)

    def of(values: Float[Array, " n"]) -> Grid:
        return uniform_grid(parameter.n_bits, parameter.symmetric, values.min(), values.max())

    return (of if fixed.ndim == 1 else jax.vmap(of))(fixed)


@in_single
def _on_grid(parameter: PeripheryQuantizationParameter, grid: Grid, values: Float[Array, " n"]) -> Float[Array, " n"]:
    return quantize(values, grid, parameter.n_bits)


@in_single
def merged_scales(
    quantizer: PeripheryQuantizer,
    config: TileConfig,
    input_range: Float[Array, "*tiles"] | None,
    mapping: Float[Array, "*tiles _"] | None,
    learned: Float[Array, "*tiles _"] | None,
    training: bool,
) -> Float[Array, "*tiles _"] | None:
    """Return what the outputs of a product, which have range and mapping scale, are multiplied by instead of a.

    The product of all scales s = r m a is quantised, and divided by r m, which the outputs have already: Q(s) / (r m).

    Args:
        quantizer: The quantiser of the scales.
        config: The configuration of the tiles.
        input_range: The input range r; of each tile of a stack.
        mapping: The mapping scales m ``(1,)`` or ``(out,)``, or ``None`` for 1.
        learned: The learned scales a ``(1,)`` or ``(out,)``, or ``None`` for 1.
        training: Whether this is a batch of training.

    Returns:
        The factors; ``None`` if there is no scale at all.
    """
    if input_range is None and mapping is None and learned is None:
        return None
    applied = jnp.ones((), jnp.float32) if input_range is None else input_range[..., None]
    applied = jax.lax.stop_gradient(applied if mapping is None else applied * mapping)
    scales = applied if learned is None else applied * learned
    found = quantizer(config, scales, training=training)
    zero = applied == 0
    return jnp.where(zero, 0.0, found / jnp.where(zero, 1.0, applied))
