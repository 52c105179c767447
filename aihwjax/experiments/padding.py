"""Whether empty rows of a batch leave no trace in a model.

An empty row has x = 0 and loss weight 0, so d = 0. For most tiles it changes nothing: a product of
a zero vector is exactly zero when noise management scales by the vector, and a zero vector fires
no pulse. It does change a model that counts vectors, averages over them, or adds noise to a zero
gradient; such a model gets a last step of the true size instead, at the price of a longer compile.
"""

from __future__ import annotations

from flax import nnx

from aihwjax.devices.base import PulsedDevice
from aihwjax.devices.ideal import ExactDevice
from aihwjax.nn.paths import analog_tiles
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.io import IOParameters, NoiseManagementType

_SCALED_BY_VECTOR = (NoiseManagementType.ABS_MAX, NoiseManagementType.MAX)


def inert(model: nnx.Module) -> bool:
    """Whether empty rows change neither the model's state nor what it learns from the others."""
    if any(isinstance(node, nnx.BatchNorm) for _, node in nnx.iter_graph(model)):
        return False
    return all(_inert(tile.config.get_value()) for tile in analog_tiles(model).values())


def _inert(config: TileConfig) -> bool:
    if not isinstance(config.device, PulsedDevice | ExactDevice) or config.pre_post.input_range.enable:
        return False
    if config.own_product is not None or config.own_update is not None:
        return False
    return _quiet(config.backward) and config.forward.noise_management is not NoiseManagementType.AVERAGE_ABS_MAX


def _quiet(io: IOParameters) -> bool:
    return io.is_perfect or io.noise_management in _SCALED_BY_VECTOR
