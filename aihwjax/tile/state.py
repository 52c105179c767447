"""The state of a tile: one pytree that holds everything a step can change."""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float, Int

from aihwjax import arguments, showing
from aihwjax.config.fixed import Drawn
from aihwjax.devices.device import DeviceState
from aihwjax.typing import Weights


@arguments.answering
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FrozenIO(showing.Record):
    """Draws of one direction of the product that stay for the life of a tile (spec: forward, section 13).

    ``rows`` are the outputs of that direction. A field is ``None`` where its feature is off.
    """

    v_offset: Float[Array, " rows"] | None = None
    """Voltage offset of each row."""
    out_nonlinearity: Float[Array, " rows"] | None = None
    """Strength of the compression of each row."""
    out_nonlinearity_factor: Float[Array, ""] | None = None
    """Slope factor of the calibrated compression, one number."""
    w_asymmetry: Float[Array, "rows columns"] | None = None
    """Read-polarity factor of each crosspoint, shaped like the weights of that direction."""
    out_noise_values: Float[Array, " rows"] | None = None
    """Standard deviation of the output noise of each row."""
    drawn: Drawn | None = None
    """Numbers of the configuration that all this was drawn with."""


_SHOWN = ("weights", "mapping_scales", "modified", "running_abs_max", "input_range")


@arguments.answering
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TileState(showing.Shown):
    """Everything a tile remembers. All arrays are float32; weights are ``(out, in)``."""

    weights: Weights
    """Apparent weights, which products see."""
    device: DeviceState
    """Per-crosspoint parameters and hidden state of the device."""
    forward: FrozenIO
    """Frozen draws of the forward product."""
    backward: FrozenIO
    """Frozen draws of the backward product."""
    running_abs_max: Float[Array, " 2"] | None = None
    """Running noise-management values (forward, backward), below 0 while unset; ``AVERAGE_ABS_MAX`` only."""
    mapping_scales: Float[Array, " 1"] | Float[Array, " out"] | None = None
    """Digital scale on the outputs, ``(1,)`` or ``(out,)``; ``None`` means 1."""
    modified: Weights | None = None
    """Weights that products of training read; ``None`` without a weight modifier: then they read ``weights``."""
    drawn: Drawn | None = None
    """Numbers and choices of the configuration that the devices were drawn with."""
    input_range: Float[Array, ""] | None = None
    """Input range that products and updates apply; ``None``: inputs reach the converters as they are given. Set by
    :func:`set_input_range`, :func:`input_range_step` and :func:`calibrate`; the tiles of a layer have theirs beside."""
    input_range_count: Int[Array, ""] | None = None
    """Number of batches that have initialised the input range from data; ``None`` without an input range."""

    @property
    def shape(self) -> tuple[int, int]:
        """The tile's size ``(out, in)``."""
        return self.weights.shape  # type: ignore[return-value]

    def __treescope_repr__(self, path: str | None, subtree_renderer: showing.Renderer) -> showing.Rendering:
        values = {name: getattr(self, name) for name in _SHOWN}
        return showing.tree(
            type(self),
            {name: value for name, value in values.items() if value is not None},
            {"device": self.device, "forward": self.forward, "backward": self.backward, "drawn": self.drawn},
            path,
            subtree_renderer,
            comment=showing.size(self.weights),
            folded_as="more: device, forward, backward, drawn",
            pictures=showing.pictures(self.weights),
        )
