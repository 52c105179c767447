"""What a forward product needs to know of the devices behind its weights."""

from __future__ import annotations

from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.io_timed import IOParametersIRDropT
from aihwjax.tile.product.wires import Columns


def columns(config: TileConfig, training: bool) -> Columns | None:
    """Return what is known of the columns of a tile; ``None`` where the product is one of weights.

    Args:
        config: The tile's configuration.
        training: Whether the product belongs to training, where wires do not act.
    """
    if not isinstance(config.forward, IOParametersIRDropT) or config.noise_model is None:
        return None
    rows = max(config.mapping.max_input_size, 0)
    return Columns(config.noise_model.g_converter, rows, not training, config.reference_quirks)
