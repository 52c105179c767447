"""The configuration of a tile, and the reference's names for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, Float

from aihwjax import arguments, showing
from aihwjax.config import Config, configclass, part, text
from aihwjax.config.core import known_fields
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.devices.device import Device
from aihwjax.devices.floating_point import FloatingPointDevice
from aihwjax.devices.ideal import ExactDevice, IdealDevice
from aihwjax.errors import ConfigError
from aihwjax.inference.compensation import DriftCompensation, GlobalDriftCompensation
from aihwjax.inference.defects import DefectParameter
from aihwjax.inference.noise.base import NoiseModel
from aihwjax.inference.noise.pcm import PCMLikeNoiseModel
from aihwjax.pulses import PulseType, UpdateMode, UpdateParameters
from aihwjax.quantization.config import ActivationQuantConfig
from aihwjax.random import NoiseEngine
from aihwjax.tile.product.io import IOParameters
from aihwjax.tile.product.io_timed import IOParametersIRDropT
from aihwjax.tile.product.periphery import (
    MappingParameter,
    PrePostProcessingParameter,
    PrePostProcessingParameterQuant,
)
from aihwjax.tile.product.wires import check_converter
from aihwjax.tile.upkeep.clipping import WeightClipParameter, WeightClipType
from aihwjax.tile.upkeep.modifier import WeightModifierParameter, WeightModifierType
from aihwjax.tile.upkeep.remapping import WeightRemapParameter, WeightRemapType
from aihwjax.typing import Weights

OwnProduct: TypeAlias = Callable[..., Float[Array, "n out"]]
"""``(config, weights, x, key) -> y``: a pure function of weights ``(out, in)`` and inputs ``(n, in)``."""
OwnUpdate: TypeAlias = Callable[..., Weights]
"""``(config, weights, x, d, learning_rate, key) -> weights``: a pure function of weights ``(out, in)``, inputs
``(n, in)`` and gradients ``(n, out)`` at the output."""


@configclass
class TileConfig(Config):
    """Everything that defines an analog tile.

    The same class serves every kind of tile; :func:`SingleRPUConfig` and its siblings are short
    functions under the reference's names that fill it in.
    """

    device: Device = part(ConstantStepDevice)
    """The device at each crosspoint."""
    forward: IOParameters = part(IOParameters)
    """Converters and noise of the forward product."""
    backward: IOParameters = part(IOParameters)
    """Converters and noise of the backward product."""
    update: UpdateParameters = part(UpdateParameters)
    """Pulse trains of the update."""
    mapping: MappingParameter = part(MappingParameter)
    """Scales, bias and tile sizes."""
    pre_post: PrePostProcessingParameter = part(PrePostProcessingParameter)
    """Digital input range."""
    clip: WeightClipParameter = part(WeightClipParameter)
    """Clip of the weights after each mini-batch."""
    remap: WeightRemapParameter = part(WeightRemapParameter)
    """Remap of the weights after each mini-batch; inference tiles only."""
    modifier: WeightModifierParameter = part(WeightModifierParameter)
    """Noise on the weights that training reads; inference tiles only."""
    update_mode: UpdateMode = UpdateMode.AGGREGATED
    """Whether pulses are applied together where the physics allows, with derivatives or without, or one by one."""
    noise_engine: NoiseEngine = NoiseEngine.COUNTER
    """Random numbers of the hot path: fast counter hash, or exact threefry."""
    torch_tile: bool = False
    """Follow the reference's torch tile where its tiles differ; set by :func:`TorchInferenceRPUConfig`."""
    reference_quirks: bool = False
    """Reproduce the reference's well-defined bugs (docs: reference bugs)."""
    noise_model: NoiseModel | None = None
    """What programming, time and reads do to the weights of a chip; ``None``: it cannot be programmed."""
    drift_compensation: DriftCompensation | None = None
    """What makes up for the drift of a chip in digital; ``None``: nothing."""
    defects: DefectParameter = part(DefectParameter)
    """Devices of a chip that are stuck or open; by default all work."""
    act_quant_config: ActivationQuantConfig | None = None
    """How the outputs of a layer are quantised in digital; ``None``: they are not."""
    own_product: OwnProduct | None = None
    """A function in place of the forward product, whose derivative is the backward one; see :func:`CustomRPUConfig`."""
    own_update: OwnUpdate | None = None
    """A function in place of the update; only with a device without pulses. See :func:`CustomRPUConfig`."""

    @property
    def exact(self) -> bool:
        """Whether updates are exact: devices without pulses and bounds, as on inference tiles."""
        without_pulses = self.update.pulse_type is PulseType.NONE and self.device.pulsed
        return isinstance(self.device, ExactDevice) or without_pulses

    @property
    def differentiated(self) -> bool:
        """Whether gradients in layers are those of the forward product itself, converters and noise included.

        As on the reference's torch tile; other tiles pass inputs and gradients straight to backward product and update.
        """
        return self.torch_tile and self.inference and self.own_product is None

    @property
    def inference(self) -> bool:
        """Whether this is an inference tile: its weights belong to the step of the digital parameters."""
        unpulsed = self.update.pulse_type is PulseType.NONE and isinstance(self.device, IdealDevice)
        return unpulsed and self.own_update is None

    def validate(self) -> None:
        """Tell the device whether the quirks are on; refuse undefined steps, and what needs an inference tile."""
        if self.own_update is not None and not isinstance(self.device, ExactDevice):
            raise ConfigError(
                f"own_update is not allowed with the device {type(self.device).__name__}, which has an update of its "
                "own: give device=IdealDevice(), or take CustomRPUConfig"
            )
        if not self.exact:
            self._refuse_hardware_aware()
        if self.update_mode is UpdateMode.DIFFERENTIABLE and not self.device.has_derivatives():
            raise ConfigError(
                f"update_mode=DIFFERENTIABLE is not allowed with the device {type(self.device).__name__}, which rounds "
                "between its devices: give AGGREGATED, or take a single device or a cell of them"
            )
        self._check_wires()
        if self.device.reference_quirks is not self.reference_quirks:
            device = self.device.replace(reference_quirks=self.reference_quirks)
            object.__setattr__(self, "device", device)
        if self.noise_model is not None and self.noise_model.reference_quirks is not self.reference_quirks:
            noise_model = self.noise_model.replace(reference_quirks=self.reference_quirks)
            object.__setattr__(self, "noise_model", noise_model)
        if not self.reference_quirks:
            self.device.check_steps()

    def __repr__(self) -> str:
        if type(self) is not TileConfig:
            return super().__repr__()
        name, like = _written(self)
        names = _OWN if name == "CustomRPUConfig" else {}
        return text.call(name, {names.get(field, field): value for field, value in text.unlike(self, like).items()})

    def _check_wires(self) -> None:
        """Refuse a product that needs the conductances of a chip where there are none."""
        if isinstance(self.backward, IOParametersIRDropT):
            raise ConfigError("backward=IOParametersIRDropT is not allowed: give IOParameters; it is a forward product")
        if not isinstance(self.forward, IOParametersIRDropT):
            return
        if self.noise_model is None:
            raise ConfigError(
                "noise_model=None is not allowed with forward=IOParametersIRDropT, whose conductances are those of its "
                "g_converter: give a noise model such as PCMLikeNoiseModel()"
            )
        check_converter(self.noise_model.g_converter)

    def _refuse_hardware_aware(self) -> None:
        """Refuse on training devices what the reference has on inference tiles only (spec: tile_ops, section 8)."""
        device = type(self.device).__name__
        for name, value, allowed in (
            ("clip", self.clip.type, (WeightClipType.NONE, WeightClipType.FIXED_VALUE)),
            ("remap", self.remap.type, (WeightRemapType.NONE,)),
            ("modifier", self.modifier.type, (WeightModifierType.NONE,)),
        ):
            if value not in allowed:
                names = " or ".join(each.name for each in allowed)
                raise ConfigError(
                    f"{name}.type={value.name} is not allowed with the device {device}: give {names}, "
                    "or take InferenceRPUConfig"
                )


_OWN = {"own_product": "product", "own_update": "update"}
"""What :func:`CustomRPUConfig` calls the fields that it is for."""


def _written(config: TileConfig) -> tuple[str, TileConfig]:
    """Return which function below makes such a configuration in the fewest words, and what it makes without them."""
    if config.own_product is not None or config.own_update is not None:
        return "CustomRPUConfig", TileConfig(**_exact_parts())
    if showing.same(config.device, IdealDevice()):
        pinned = inference_parts()
        if all(showing.same(getattr(config, name), value) for name, value in pinned.items()):
            if not config.torch_tile:
                return "InferenceRPUConfig", InferenceRPUConfig()
            if isinstance(config.forward, IOParametersIRDropT):
                return "TorchInferenceRPUConfigIRDropT", TorchInferenceRPUConfigIRDropT()
            return "TorchInferenceRPUConfig", TorchInferenceRPUConfig()
    if isinstance(config.device, FloatingPointDevice):
        return "FloatingPointRPUConfig", FloatingPointRPUConfig()
    return config.device.tile_name, TileConfig()


def SingleRPUConfig(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """One pulsed device at each crosspoint.

    Args:
        **fields: Fields of :class:`TileConfig`; ``device`` defaults to a constant-step device.
    """
    return _filled("SingleRPUConfig", fields)


def UnitCellRPUConfig(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """Several devices at each crosspoint.

    Args:
        **fields: Fields of :class:`TileConfig`; ``device`` is a unit cell or a transfer compound.

    Raises:
        ConfigError: If there is no device.
    """
    return _compound("UnitCellRPUConfig", "a unit cell such as VectorUnitCell or TransferCompound", fields)


def DigitalRankUpdateRPUConfig(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """Gradients summed in digital, written to the device in whole steps.

    Args:
        **fields: Fields of :class:`TileConfig`; ``device`` is a mixed-precision compound.

    Raises:
        ConfigError: If there is no device.
    """
    return _compound("DigitalRankUpdateRPUConfig", "a MixedPrecisionCompound", fields)


def _compound(name: str, allowed: str, fields: dict[str, Any]) -> TileConfig:
    if fields.get("device") is None:
        raise ConfigError(f"{name} needs the argument 'device': give {allowed}")
    return _filled(name, fields)


def _filled(name: str, fields: dict[str, Any]) -> TileConfig:
    """Return a configuration with these fields; an error about an unknown one has the name of the function called."""
    known = list(known_fields(TileConfig))
    for field in fields:
        if field not in known:
            raise ConfigError(f"{name} has no argument {field!r}{arguments.hint(field, known)}")
    return TileConfig(**fields)


def FloatingPointRPUConfig(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """Exact weights, exact products, exact updates: the digital baseline.

    Args:
        **fields: Fields of :class:`TileConfig`; ``device`` defaults to a floating-point device and
            both directions to a perfect product.
    """
    # no output bound, so that no output counts as clipped under reference_quirks either
    perfect = IOParameters(is_perfect=True, out_bound=0)
    defaults = {"device": FloatingPointDevice(), "forward": perfect, "backward": perfect}
    return _filled("FloatingPointRPUConfig", {**defaults, **fields})


def InferenceRPUConfig(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """An inference chip: analog forward products, trained with exact gradients (hardware-aware training).

    The backward product is perfect, weights are exact numbers, and an update is plain gradient descent.
    ``clip``, ``remap`` and ``modifier`` make training aware of the chip (spec: inference, section 1).

    Example:
        >>> import aihwjax as aj
        >>> config = aj.InferenceRPUConfig(modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1))
        >>> config.backward.is_perfect
        True

    Args:
        **fields: Fields of :class:`TileConfig` except ``device``, ``backward`` and ``update``.

    Raises:
        ConfigError: If one of these three is given.
    """
    return _inference("InferenceRPUConfig", fields, torch_tile=False)


def TorchInferenceRPUConfig(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """Like :func:`InferenceRPUConfig`, with the rules of the reference's torch tile where the two differ.

    The noise of ``MULT_NORMAL`` is not relative to the largest weight, and newly written weights get a
    modified copy at once. Features that the torch tile lacks (``pdrop``, ``AVERAGE_CHANNEL_MAX``, ...)
    work here.

    Args:
        **fields: Fields of :class:`TileConfig` except ``device``, ``backward`` and ``update``.

    Raises:
        ConfigError: If one of these three is given.
    """
    return _inference("TorchInferenceRPUConfig", fields, torch_tile=True)


def QuantizedTorchInferenceRPUConfig(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """Like :func:`TorchInferenceRPUConfig`, whose digital scales, bias and outputs can be quantised, in layers.

    ::

        y = product · Q(r m a) · α + Q(b),  y = Q_act(y)

    with the input range r, the mapping scale m, the learned scale a and the factor α of the compensation of drift. A
    layer of several tiles quantises the outputs of each, sums them, adds the bias and quantises again. All bits are 0
    by default: nothing is quantised.

    Example:
        >>> import aihwjax as aj
        >>> config = aj.QuantizedTorchInferenceRPUConfig(
        ...     pre_post=aj.PrePostProcessingParameterQuant(
        ...         periph_quant=aj.PeripheryQuantizationParameter(n_bits=8)),
        ...     act_quant_config=aj.ActivationQuantConfig(n_bits=8))
        >>> config.act_quant_config.range_estimator.name
        'running_minmax'

    Args:
        **fields: Fields of :class:`TileConfig` except ``device``, ``backward`` and ``update``; ``pre_post`` defaults to
            :class:`PrePostProcessingParameterQuant`.

    Raises:
        ConfigError: If one of these three is given.
    """
    fields.setdefault("pre_post", PrePostProcessingParameterQuant())
    return _inference("QuantizedTorchInferenceRPUConfig", fields, torch_tile=True)


def TorchInferenceRPUConfigIRDropT(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """Like :func:`TorchInferenceRPUConfig`, with an array that is read with pulses and whose wires are a circuit.

    Example:
        >>> import aihwjax as aj
        >>> config = aj.TorchInferenceRPUConfigIRDropT(forward=aj.IOParametersIRDropT(mv_type="SPLIT_MODE"))
        >>> config.forward.ir_drop_rs
        0.15

    Args:
        **fields: Fields of :class:`TileConfig` except ``device``, ``backward`` and ``update``; ``forward`` defaults to
            :class:`IOParametersIRDropT`, and conductances are those of ``noise_model.g_converter``.

    Raises:
        ConfigError: If one of these three is given, ``forward`` is another class, or the converter has no pairs of
            devices.
    """
    forward = fields.setdefault("forward", IOParametersIRDropT())
    if not isinstance(forward, IOParametersIRDropT):
        raise ConfigError(
            f"forward={type(forward).__name__} is not allowed in TorchInferenceRPUConfigIRDropT: give "
            "IOParametersIRDropT, or take TorchInferenceRPUConfig"
        )
    return _inference("TorchInferenceRPUConfigIRDropT", fields, torch_tile=True)


def CustomRPUConfig(  # noqa: N802 (the reference's name)
    *, product: OwnProduct | None = None, update: OwnUpdate | None = None, **fields: Any
) -> TileConfig:
    """A tile whose product or update, or both, are functions of your own.

    Both are pure functions in JAX, called for each tile with its own weights ``(out, in)``, of which the last column is
    that of an analog bias, if there is one. What is not given is exact.

    ``product(config, weights, x, key)`` returns ``(n, out)`` for inputs ``(n, in)`` that the periphery of the layer has
    prepared (input range, constant 1 of an analog bias). The backward product is its derivative with respect to ``x``,
    with the same key; a ``jax.custom_vjp`` can say another. With a weight modifier, products of training read the
    modified weights.

    ``update(config, weights, x, d, learning_rate, key)`` returns new weights, given the inputs ``(n, in)`` of a
    mini-batch and the gradients ``(n, out)`` at the output of the tile; plain gradient descent is
    ``weights - learning_rate * d.T @ x``. The device has no bounds: clip in the function if there are some.

    A function is a choice, not a number: another one is another program. Its numbers can be fields of a class derived
    from :class:`TileConfig`, whose ``own_product`` and ``own_update`` are what is given here.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> def saturating(config, weights, x, key):
        ...     return jnp.tanh(x @ weights.T)
        >>> layer = aj.nn.AnalogLinear(4, 3, config=aj.CustomRPUConfig(product=saturating), rngs=nnx.Rngs(0))
        >>> bool(jnp.abs(layer(9 * jnp.ones((5, 4)), key=0) - layer.bias).max() <= 1)
        True

    Args:
        product: The product; ``None``: an exact one, or what ``forward`` says.
        update: The update; ``None``: plain gradient descent.
        **fields: Fields of :class:`TileConfig`; ``device`` defaults to an ideal device and both directions to a
            perfect product.

    Raises:
        ConfigError: If there is neither, or the device has pulses.
    """
    if product is None and update is None:
        raise ConfigError("CustomRPUConfig needs the argument 'product' or 'update': give a function")
    return _filled("CustomRPUConfig", {**_exact_parts(), "own_product": product, "own_update": update, **fields})


def _exact_parts() -> dict[str, Any]:
    perfect = IOParameters(is_perfect=True)
    return {"device": IdealDevice(), "forward": perfect, "backward": perfect}


def quantized_outputs(config: TileConfig) -> ActivationQuantConfig | None:
    """Return how outputs are quantised; ``None`` if they are not.

    Args:
        config: The configuration of a tile.
    """
    parameter = config.act_quant_config
    return parameter if parameter is not None and parameter.present("n_bits") else None


def inference_parts() -> dict[str, Any]:
    """Return the fields that make a tile an inference tile."""
    return {
        "device": IdealDevice(),
        "backward": IOParameters(is_perfect=True),
        "update": UpdateParameters(pulse_type=PulseType.NONE),
    }


def chip_parts() -> dict[str, Any]:
    """Return the fields of what becomes of an inference tile when it is programmed, as the reference has them."""
    return {"noise_model": PCMLikeNoiseModel(), "drift_compensation": GlobalDriftCompensation()}


def _inference(name: str, fields: dict[str, Any], torch_tile: bool) -> TileConfig:
    pinned = inference_parts()
    for field in pinned:
        if field in fields:
            raise ConfigError(
                f"{name} has no argument {field!r}: an inference tile has an ideal device, a perfect backward product "
                "and exact updates; give it to SingleRPUConfig, or change it with config.replace"
            )
    return _filled(name, {"torch_tile": torch_tile, **pinned, **chip_parts(), **fields})
