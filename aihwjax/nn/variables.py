"""The kinds of state that analog modules hold, as Flax NNX variable types.

Filters such as ``nnx.split(model, nnx.Param, TileVariable, ...)`` tell them apart.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from aihwjax.errors import ConfigError
from aihwjax.nn.changes import refuse_new_draws, refuse_new_layout
from aihwjax.nn.programmed_tile import TileChip
from aihwjax.nn.storable import make_storable
from aihwjax.quantization import RangeState
from aihwjax.tile.calibration import RangeSearch, RangeStatistics
from aihwjax.tile.config import TileConfig
from aihwjax.tile.state import TileState
from aihwjax.typing import EachWeights

ModelState: TypeAlias = nnx.State[Any, Any]
"""Variables of a model by path."""


class TileConfigVariable(nnx.Variable[TileConfig]):
    """The configuration of a tile: its numbers are leaves of the model's state, so they never recompile."""

    def __init__(self, value: TileConfig, **kwargs: Any) -> None:
        """Keep a configuration, of a class that may be the user's own.

        Args:
            value: The configuration.
            **kwargs: As for any variable.
        """
        make_storable(type(value))
        super().__init__(value, **kwargs)

    def set_value(self, value: TileConfig, **kwargs: Any) -> None:
        """Set a configuration whose changes act at once.

        Args:
            value: The new configuration.
            **kwargs: As for any variable.

        Raises:
            ConfigError: If it is none, or changes what is fixed when the tile is drawn (see ``redraw`` of the layer).
        """
        if not isinstance(value, TileConfig):
            raise ConfigError(f"config={type(value).__name__} is not allowed: give a TileConfig")
        refuse_new_layout(self.get_value(), value)
        refuse_new_draws(self.get_value(), value)
        super().set_value(value, **kwargs)

    def exchange(self, value: TileConfig) -> None:
        """Set the configuration that the tile was just drawn with.

        Args:
            value: The new configuration.
        """
        super().set_value(value)


make_storable(TileState)
make_storable(TileChip)
make_storable(RangeState)


class TileVariable(nnx.Variable[TileState]):
    """The state of a tile; changed by the pulsed update and never by an optimizer of digital parameters."""


class TileWeights(nnx.Param[EachWeights]):
    """The weights ``(out, in)`` of an inference tile, or stack of tiles, as a transformation of optax sees them.

    Only in the parameters that :func:`aihwjax.analog_optimizer` gives to it, as ``weights`` at the path of the tile; a
    model has them in the state of its tiles.
    """


class ChipVariable(nnx.Variable[TileChip]):
    """What a programmed tile keeps: its exact and its programmed weights, and the factor of the compensation."""


class InputRange(nnx.Param[Float[Array, ""]]):
    """A learned input range, one number; a digital parameter."""


class FixedInputRange(nnx.Variable[Float[Array, ""]]):
    """An input range that is not learned."""


class InputRangeCount(nnx.Variable[Int[Array, ""]]):
    """Number of batches that have initialised an input range."""


class RangeWatch(nnx.Variable[tuple[RangeSearch, RangeStatistics]]):
    """What a tile has seen of its inputs, while :func:`aihwjax.calibrate` runs."""


class OutputRange(nnx.Variable[RangeState]):
    """The range of quantised outputs, of a tile or a layer."""


class QuantizerStep(nnx.Param[Float[Array, "*tiles"]]):
    """A learned step of the grid of scales or of a bias; a digital parameter."""


class QuantizerOffset(nnx.Param[Float[Array, "*tiles"]]):
    """The learned place of 0 on an asymmetric grid of scales or of a bias, in steps; a digital parameter."""


class FixedQuantizerStep(nnx.Variable[Float[Array, "*tiles"]]):
    """The step of the grid of scales or of a bias in the last batch of training; only with ``reference_quirks``."""


class FixedQuantizerOffset(nnx.Variable[Float[Array, "*tiles"]]):
    """The place of 0 on an asymmetric grid in the last batch of training; only with ``reference_quirks``."""


class QuantizerSign(nnx.Variable[Bool[Array, "*tiles"]]):
    """Whether a symmetric grid of scales or of a bias goes below 0."""


class QuantizerBatches(nnx.Variable[Int[Array, "*tiles"]]):
    """Batches of training in which a grid followed the scales or the bias."""
