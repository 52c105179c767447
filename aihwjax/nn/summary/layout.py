"""How one layer lies on tiles, and what a product of it takes there."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import jax
from flax import nnx

from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.summary.costs import Costs
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.io import AnalogMVType, IOParameters
from aihwjax.tile.product.io_timed import IOParametersIRDropT

Size = tuple[int, int]
"""Outputs and inputs of a tile."""


class Layout(NamedTuple):
    """The tiles of a layer (of one, where layers are stacked), and the operations of one vector."""

    tiles: Counter[Size]
    """Size of each tile, with the column of an analog bias, and how many there are."""
    array: Size
    """Size of the arrays that the tiles are part of."""
    dac: int
    """Conversions of inputs."""
    adc: int
    """Conversions of outputs."""
    reads: int
    """Crosspoints that are read, those of each pass."""
    passes: int
    """Passes through the arrays."""
    digital: int
    """Digital operations: a scale for each converted output, sums over tiles, a digital bias."""
    steps: int
    """Digital operations one after the other."""

    @property
    def crosspoints(self) -> int:
        """Crosspoints that hold weights."""
        return sum(rows * columns * count for (rows, columns), count in self.tiles.items())

    @property
    def available(self) -> int:
        """Crosspoints of the arrays."""
        return self.array[0] * self.array[1] * self.tiles.total()

    def energy(self, costs: Costs) -> float:
        """Return the energy of one product, in joules."""
        converted = self.dac * costs.dac_energy + self.adc * costs.adc_energy
        return converted + self.reads * costs.read_energy + self.digital * costs.digital_energy

    def time(self, costs: Costs) -> float:
        """Return the time of one product, in seconds."""
        one = costs.dac_time + costs.read_time + costs.adc_time
        return self.passes * one + self.steps * costs.digital_time


def layout(layer: AnalogLayer) -> Layout:
    """Return how a layer lies on tiles.

    Args:
        layer: The layer, or a stack of them.
    """
    config = configuration(layer)
    more = int(layer.analog_bias)
    each = Counter((rows, width + more) for width in layer.in_parts for rows in layer.out_parts)
    tiles = Counter({size: count * layer.groups for size, count in each.items()})
    mapping = config.mapping
    # a side without a limit is as long as it has to be, and so is one with the column of a bias
    array = (max(layer.out_parts[0], mapping.max_output_size), max(layer.in_parts[0] + more, mapping.max_input_size))
    passes, summed = _passes(config.forward)
    inputs = passes * sum(columns * count for (_, columns), count in tiles.items())
    outputs = summed * sum(rows * count for (rows, _), count in tiles.items())
    reads = passes * sum(rows * columns * count for (rows, columns), count in tiles.items())
    parts, biased = len(layer.in_parts) * summed, layer.bias is not None
    digital = outputs + (parts - 1) * layer.rows + (layer.rows if biased else 0)
    return Layout(tiles, array, inputs, outputs, reads, passes, digital, parts + int(biased))


def _passes(io: IOParameters) -> tuple[int, int]:
    """Return how often an array is read for a product, and how many conversions of an output are added up."""
    match io.mv_type:
        case AnalogMVType.POS_NEG_SEPARATE:
            return 2, 1
        case AnalogMVType.POS_NEG_SEPARATE_DIGITAL_SUM | AnalogMVType.SPLIT_MODE:
            return 2, 2
        case AnalogMVType.BIT_WISE:
            assert isinstance(io, IOParametersIRDropT) and io.input_bits is not None
            return io.input_bits, io.input_bits
    return 1, 1


def configuration(layer: AnalogLayer) -> TileConfig:
    """Return the configuration of the tiles of a layer, which all have the same."""
    return layer.tiles[0].config.get_value()


def digital_parameters(model: nnx.Module) -> int:
    """Return how many numbers of a model an optimizer changes, of a layer its bias and its scales.

    Args:
        model: Any NNX module.
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
