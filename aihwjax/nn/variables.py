"""The kinds of state that analog modules hold, as Flax NNX variable types.

Filters such as ``nnx.split(model, nnx.Param, TileVariable, ...)`` tell them apart.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from flax import nnx
from jaxtyping import Array, Float, Int

from aihwjax.tile.config import TileConfig
from aihwjax.tile.state import TileState

ModelState: TypeAlias = nnx.State[Any, Any]
"""Variables of a model by path."""


class TileConfigVariable(nnx.Variable[TileConfig]):
    """The configuration of a tile: its numbers are leaves of the model's state, so they never recompile."""


class TileVariable(nnx.Variable[TileState]):
    """The state of a tile; changed by the pulsed update and never by an optimizer of digital parameters."""


class InputRange(nnx.Param[Float[Array, ""]]):
    """A learned input range, one number; a digital parameter."""


class FixedInputRange(nnx.Variable[Float[Array, ""]]):
    """An input range that is not learned."""


class InputRangeCount(nnx.Variable[Int[Array, ""]]):
    """Number of batches that have initialised an input range."""
