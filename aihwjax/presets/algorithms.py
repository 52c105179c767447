"""The configuration of a training algorithm for a device (spec: layers, section 13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from aihwjax.compounds import (
    ChoppedTransferCompound,
    DynamicTransferCompound,
    MixedPrecisionCompound,
    TransferCompound,
    VectorUnitCell,
    VectorUnitCellUpdatePolicy,
)
from aihwjax.devices import Device, PulsedDevice
from aihwjax.errors import ConfigError, nearest
from aihwjax.pulses import UpdateParameters
from aihwjax.tile.config import DigitalRankUpdateRPUConfig, SingleRPUConfig, TileConfig, UnitCellRPUConfig
from aihwjax.tile.product.io import BoundManagementType, IOParameters, NoiseManagementType

_Build: TypeAlias = Callable[[PulsedDevice, IOParameters, UpdateParameters, int, int], tuple[Device, UpdateParameters]]

_UNMANAGED = {"noise_management": NoiseManagementType.NONE, "bound_management": BoundManagementType.NONE}
_MOST_PULSES = 5  # of an update, where a digital buffer stands behind the fast device


def _sgd(
    device: PulsedDevice, io: IOParameters, pulses: UpdateParameters, count: int, seed: int
) -> tuple[Device, UpdateParameters]:
    if count == 1:
        return device.replace(construction_seed=seed), pulses
    policy = VectorUnitCellUpdatePolicy.SINGLE_RANDOM
    cell = VectorUnitCell(unit_cell_devices=(device,) * count, update_policy=policy, construction_seed=seed)
    return cell, pulses


def _tiki_taka(
    device: PulsedDevice, io: IOParameters, pulses: UpdateParameters, count: int, seed: int
) -> tuple[Device, UpdateParameters]:
    compound = TransferCompound(
        unit_cell_devices=(device, device),
        transfer_forward=io.replace(_UNMANAGED),
        transfer_update=pulses,
        units_in_mbatch=True,
        construction_seed=seed,
    )
    return compound, pulses


def _buffered(kind: type[ChoppedTransferCompound] | type[DynamicTransferCompound], **fields: Any) -> _Build:
    def build(
        device: PulsedDevice, io: IOParameters, pulses: UpdateParameters, count: int, seed: int
    ) -> tuple[Device, UpdateParameters]:
        managed = kind is DynamicTransferCompound
        compound = kind(
            unit_cell_devices=(device, device),
            transfer_forward=io if managed else io.replace(_UNMANAGED),
            transfer_update=pulses.replace(desired_bl=1, update_bl_management=managed, update_management=managed),
            units_in_mbatch=False,
            construction_seed=seed,
            **fields,
        )
        return compound, pulses.replace(desired_bl=_MOST_PULSES)

    return build


def _mixed_precision(
    device: PulsedDevice, io: IOParameters, pulses: UpdateParameters, count: int, seed: int
) -> tuple[Device, UpdateParameters]:
    return MixedPrecisionCompound(device=device.replace(construction_seed=seed)), pulses


_TTV2 = _buffered(ChoppedTransferCompound, in_chop_prob=0.0, auto_scale=False)
_CHOPPED = _buffered(ChoppedTransferCompound, fast_lr=0.1, auto_scale=True)
_AGAD = _buffered(DynamicTransferCompound, fast_lr=0.1, auto_scale=True)

ALGORITHMS: Mapping[str, _Build] = {
    "sgd": _sgd,
    "tiki-taka": _tiki_taka,
    "tt": _tiki_taka,
    "ttv1": _tiki_taka,
    "ttv2": _TTV2,
    "chopped-ttv2": _CHOPPED,
    "c-ttv2": _CHOPPED,
    "ttv3": _CHOPPED,
    "agad": _AGAD,
    "ttv4": _AGAD,
    "mixed-precision": _mixed_precision,
    "mp": _mixed_precision,
}
"""Training algorithms by name, several for one."""


def build_config(
    algorithm: str,
    device: PulsedDevice | type[PulsedDevice] | Callable[[], PulsedDevice],
    io_parameters: IOParameters | Callable[[], IOParameters] = IOParameters,
    up_parameters: UpdateParameters | Callable[[], UpdateParameters] = UpdateParameters,
    n_devices: int = 1,
    construction_seed: int = 0,
    **fields: Any,
) -> TileConfig:
    """Return the configuration of a tile that trains with an algorithm on a device.

    Example:
        >>> import aihwjax as aj
        >>> config = aj.build_config("agad", aj.SoftBoundsReferenceDevice(dw_min=0.01))
        >>> type(config.device).__name__, config.update.desired_bl
        ('DynamicTransferCompound', 5)

    Args:
        algorithm: ``"sgd"``; ``"tiki-taka"`` (``"tt"``, ``"ttv1"``); ``"ttv2"``; ``"chopped-ttv2"`` (``"c-ttv2"``,
            ``"ttv3"``); ``"agad"`` (``"ttv4"``); ``"mixed-precision"`` (``"mp"``). Upper or lower case.
        device: The device, its class, or a function that makes it.
        io_parameters: Converters of both products, and of the transfers; the transfers of Tiki-Taka versions 1 to 3
            read without noise and bound management.
        up_parameters: Pulses of the update. Versions 2 to 4 set ``desired_bl`` to 5, and to 1 for their transfers.
        n_devices: Devices at a crosspoint for ``"sgd"``, of which each update takes one at random.
        construction_seed: Seed of the devices, of the compound where there is one; 0: they come from the tile's key.
        **fields: Further fields of :class:`TileConfig`.

    Raises:
        ConfigError: If the algorithm is unknown (with the nearest name) or an argument is not allowed.
    """
    name = algorithm.lower() if isinstance(algorithm, str) else algorithm
    if not isinstance(name, str) or name not in ALGORITHMS:
        near = nearest(name, ALGORITHMS) if isinstance(name, str) else ""
        raise ConfigError(f"algorithm={algorithm!r} is not known: give one of {', '.join(ALGORITHMS)}{near}")
    if isinstance(n_devices, bool) or not isinstance(n_devices, int) or n_devices < 1:
        raise ConfigError(f"n_devices={n_devices!r} is not allowed: give a whole number of at least 1")
    cell = _made("device", device, PulsedDevice)
    io, pulses = (
        _made("io_parameters", io_parameters, IOParameters),
        _made("up_parameters", up_parameters, UpdateParameters),
    )
    chosen, update = ALGORITHMS[name](cell, io, pulses, n_devices, construction_seed)
    kind = SingleRPUConfig if isinstance(chosen, PulsedDevice) else UnitCellRPUConfig
    if isinstance(chosen, MixedPrecisionCompound):
        kind = DigitalRankUpdateRPUConfig
    return kind(**{"device": chosen, "forward": io, "backward": io, "update": update, **fields})


def _made(name: str, given: Any, kind: type) -> Any:
    """Return an instance of a class, given it, the class or a function that makes it."""
    value = given() if not isinstance(given, kind) and callable(given) else given
    if not isinstance(value, kind):
        raise ConfigError(f"{name}={value!r} is not allowed: give {kind.__name__}")
    return value
