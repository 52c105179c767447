"""A layer around one logical matrix: tiles, splitting, bias, weights (spec: layers, sections 1, 2 and 5)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from aihwjax import moved, random
from aihwjax.derivatives import on_derivative
from aihwjax.devices.counts import PulseCounts
from aihwjax.errors import ConfigError, ModuleError, NonFiniteError, ShapeError
from aihwjax.nn import slots
from aihwjax.nn.mapping import along, parts
from aihwjax.nn.text import Readable
from aihwjax.nn.tile import AnalogTile, device_name
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, require_finite
from aihwjax.tile.config import SingleRPUConfig, TileConfig
from aihwjax.tile.hidden import set_hidden_parameters
from aihwjax.tile.hidden_checks import checked, device_text
from aihwjax.typing import Hidden, Key, Number, Weights


class AnalogLayer(Readable):
    """Base of layers that multiply by one matrix ``(out, in)`` on one or several tiles.

    A matrix beyond the largest size of a tile is split both ways. Inputs are split, the outputs of
    the parts are concatenated and summed over the input parts in digital. Each tile has devices,
    scales and an input range of its own.

    Args:
        in_features: Number of columns of the matrix.
        out_features: Number of rows.
        bias: Whether there is a bias: digital, or an extra column if ``mapping.digital_bias`` is off
            and the layer is one tile.
        config: The configuration of its tiles; ``None``: ``SingleRPUConfig()``.
        key: Source of all draws.

    Raises:
        ConfigError: If a size or the configuration is not allowed.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, *, config: TileConfig | None, key: Key) -> None:
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
                raise ConfigError(f"{name}={size!r} is not allowed: give a whole number of at least 1")
        key = random.as_key(key)
        config = SingleRPUConfig() if config is None else config
        if not isinstance(config, TileConfig):
            raise ConfigError(f"config={config!r} is not allowed: give a TileConfig, such as SingleRPUConfig()")
        self.in_features = int(in_features)
        self.out_features = int(out_features)
        self.in_parts = parts(self.in_features, config.mapping.max_input_size)
        """Inputs of each column of tiles."""
        self.out_parts = parts(self.out_features, config.mapping.max_output_size)
        """Outputs of each row of tiles."""
        single = len(self.in_parts) == len(self.out_parts) == 1
        # spec: layers, section 2: an array turns an analog bias into a digital one
        self.analog_bias = bool(bias) and not config.mapping.digital_bias and single
        """Whether the bias is the last column of the tile."""
        digital = bias and not self.analog_bias
        self.bias = nnx.Param(jnp.zeros((self.out_features,), jnp.float32)) if digital else None
        """Digital bias ``(out,)``, if there is one."""
        tiles = [
            AnalogTile(
                columns,
                rows,
                analog_bias=self.analog_bias,
                config=config,
                key=jax.random.fold_in(random.fold(key, "tile"), i * len(self.out_parts) + j),
            )
            for i, columns in enumerate(self.in_parts)
            for j, rows in enumerate(self.out_parts)
        ]
        self.tiles = nnx.List(tiles)
        """The tiles: all output parts of the first input part, then of the second, and so on."""

    if not TYPE_CHECKING:  # a type checker would take any name for one that is there

        def __getattr__(self, name: str) -> NoReturn:
            text = f"{type(self).__name__!r} object has no attribute {name!r}{moved.hint(name, moved.ATTRIBUTES)}"
            raise AttributeError(text, name=name, obj=self)

    def multiply(self, x: Float[Array, "*batch in"], key: Noise) -> Float[Array, "*batch out"]:
        """Multiply inputs ``(..., in)`` by the matrix and add the bias; outputs ``(..., out)``."""
        if slots.current() is None:
            x = self._watched(x)
        if len(self.tiles) == 1:
            y = self.tiles[0](x, key=key)
        else:
            y = self._by_parts(x, key)
        return y if self.bias is None else y + along(self.bias.get_value(), y)

    def _watched(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch in"]:
        """Return x; a gradient with respect to parameters of this layer that leaves its tiles out is told so."""
        parameters = [self.bias] + [part for tile in self.tiles for part in (tile.out_scaling, tile.input_range)]
        digital = [part.get_value() for part in parameters if isinstance(part, nnx.Param)]
        weights = [tile.state.get_value().weights for tile in self.tiles]
        return on_derivative(x, digital, lambda: warnings.warn(self._left_out(), stacklevel=2), unless=weights)

    def _left_out(self) -> str:
        what = "leaves its tiles out, which learn by pulses made of x and d"
        also = "aihwjax.analog_sgd(0.0, digital=...) trains the digital parameters alone"
        if self.tiles[0].config.get_value().inference:
            what = "leaves the weights of its tiles out, which are no nnx.Param"
            also = "differentiate nnx.Any(nnx.Param, aihwjax.nn.TileVariable) and step with optax itself"
        return (
            f"{self}: this gradient with respect to its parameters {what}: "
            f"take aihwjax.nn.value_and_grad and aihwjax.analog_sgd; {also}"
        )

    def _by_parts(self, x: Float[Array, "*batch in"], key: Noise) -> Float[Array, "*batch out"]:
        across = len(self.out_parts)
        total: jax.Array | None = None
        start = 0
        for i, width in enumerate(self.in_parts):
            piece = x[..., start : start + width]
            start += width
            outputs = [self.tiles[i * across + j](piece, key=random.derive(key, i * across + j)) for j in range(across)]
            y = outputs[0] if across == 1 else jnp.concatenate(outputs, axis=-1)
            total = y if total is None else total + y
        assert total is not None
        return total

    def checked(self, x: Float[Array, "*batch in"], key: Noise | None) -> tuple[Float[Array, "*batch in"], Noise]:
        """Return inputs as float32 and the key, or say what is wrong with them.

        Raises:
            ModuleError: If there is no key.
            ConfigError: If the key is none.
            DataError: If ``x`` is no array of real numbers.
            ShapeError: If the last axis of ``x`` is not the number of inputs.
            NonFiniteError: If ``x`` has NaN or infinity (not checked inside a traced function).
        """
        if key is None:
            raise ModuleError(f"{self._name()} needs a key: call it as layer(x, key=jax.random.key(0))")
        key = random.as_noise(key)
        x = as_numbers(f"{self._name()}: x", x)
        shape = jnp.shape(x)
        if not shape or shape[-1] != self.in_features:
            raise ShapeError(f"{self._name()}: x has shape {shape}, give (..., {self.in_features})")
        require_finite(f"{self._name()}: x", x)
        return jnp.asarray(x, jnp.float32), key

    # ----------------------------------------------------------------- weights
    def analog_tiles(self) -> list[AnalogTile]:
        """Return the tiles of the layer."""
        return list(self.tiles)

    def set_weights(
        self,
        weights: Float[Array | np.ndarray, "out in"],
        bias: Float[Array | np.ndarray, " out"] | None = None,
        *,
        key: Noise,
        apply_weight_scaling: bool = True,
        weight_scaling_omega: Number | None = None,
        check_finite: bool = True,
    ) -> None:
        """Write logical weights and bias; analog values are clipped to what each device can hold.

        With ``mapping.weight_scaling_omega`` above 0 each tile is scaled so that its largest magnitude
        is omega. Without, the weights are written as given and existing scales stay.

        Args:
            weights: Matrix ``(out, in)``.
            bias: Vector ``(out,)``; ``None`` leaves a digital bias and sets an analog one to zero.
            key: Source of write noise.
            apply_weight_scaling: Whether to scale, if configured.
            weight_scaling_omega: Replaces the configured omega for this call.
            check_finite: Refuse NaN and infinity. Values inside a traced function are not checked.

        Raises:
            DataError: If weights or bias are no arrays of real numbers.
            ShapeError: If a shape does not fit the layer.
            NonFiniteError: If a value is NaN or infinite.
            ModuleError: If a bias is given to a layer without one.
        """
        matrix = self._shaped("weights", weights, (self.out_features, self.in_features), check_finite)
        if bias is not None:
            if self.bias is None and not self.analog_bias:
                raise ModuleError(f"{self._name()} has no bias: give bias=None")
            vector = self._shaped("bias", bias, (self.out_features,), check_finite)
            if self.bias is not None:
                self.bias.set_value(vector)
        if self.analog_bias:
            column = jnp.zeros((self.out_features,), jnp.float32) if bias is None else vector
            matrix = jnp.concatenate([matrix, column[:, None]], axis=1)
        for index, (tile, rows, columns) in enumerate(self._blocks()):
            tile.set_weights(
                matrix[rows, columns] if len(self.tiles) > 1 else matrix,
                random.derive(key, index),
                apply_weight_scaling=apply_weight_scaling,
                omega=weight_scaling_omega,
            )

    def get_weights(self, *, apply_weight_scaling: bool = True) -> tuple[Weights, Float[Array, " out"] | None]:
        """Return exact copies of the weights ``(out, in)`` and the bias ``(out,)``, if there is one.

        Args:
            apply_weight_scaling: Logical weights; ``False``: as they are on the tiles.
        """
        read = [tile.get_weights(apply_weight_scaling=apply_weight_scaling) for tile in self.tiles]
        if self.analog_bias:
            return read[0][:, :-1], read[0][:, -1]
        return self._joined(read), None if self.bias is None else self.bias.get_value()

    def remap_weights(self, weight_scaling_omega: Number | None = 1.0, *, key: Noise) -> None:
        """Write the logical weights again with another omega, so that they use the devices' range.

        Args:
            weight_scaling_omega: The new largest magnitude; ``None``: the configured one.
            key: Source of write noise.
        """
        weights, bias = self.get_weights()
        self.set_weights(weights, bias, key=key, weight_scaling_omega=weight_scaling_omega, check_finite=False)

    def redraw(self, config: TileConfig | Mapping[str, Any] | None = None, *, key: Noise) -> None:
        """Draw the devices of all tiles anew and keep the logical weights; see :meth:`AnalogTile.redraw`.

        Args:
            config: The configuration of the tiles from now on, or new values by dotted path; ``None``: the present one.
            key: Source of all draws.

        Raises:
            ConfigError: If the change is not allowed, or needs another layout of the layer.
        """
        for index, tile in enumerate(self.tiles):
            tile.redraw(config, key=random.derive(key, index))

    # ------------------------------------------------------------- crosspoints
    def hidden_parameters(self) -> dict[str, Hidden]:
        """Return the parameters of each crosspoint by the reference's names, those of all tiles side by side.

        Each is ``(out, in)``, with one more column for an analog bias.
        """
        read = [tile.hidden_parameters() for tile in self.tiles]
        return {name: self._joined([parameters[name] for parameters in read]) for name in read[0]}

    def set_hidden_parameters(self, parameters: Mapping[str, Hidden]) -> None:
        """Set parameters of each crosspoint on all tiles; see :func:`aihwjax.tile.set_hidden_parameters`.

        Weights that do not fit new bounds are clipped to them, so set the parameters first.

        Args:
            parameters: Arrays by name as :meth:`hidden_parameters` gives them; what is not given stays.

        Raises:
            ConfigError: If a name is unknown (with the nearest one) or a parameter cannot be set on these devices.
            DataError: If a value is no array of real numbers.
            ShapeError: If an array does not have the layer's shape.
            NonFiniteError: If a number is NaN or infinite (not checked inside a traced function).
        """
        present = self.hidden_parameters()
        values = checked(parameters, present, device_text(self.tiles[0].config.get_value()))
        single = len(self.tiles) == 1
        states = []
        for tile, rows, columns in self._blocks():
            own = values if single else {name: value[rows, columns] for name, value in values.items()}
            states.append(set_hidden_parameters(tile.config.get_value(), tile.state.get_value(), own))
        for tile, state in zip(self.tiles, states, strict=True):  # when all of them are known to be right
            tile.state.set_value(state)

    def pulse_counts(self) -> PulseCounts:
        """Return the pulses that each crosspoint got since its tile was drawn, those of all tiles side by side.

        Each ``(out, in)``, with one more column for an analog bias; see :func:`aihwjax.tile.pulse_counts`.

        Raises:
            ConfigError: If no device of the layer counts its pulses.
        """
        counts = [tile.pulse_counts() for tile in self.tiles]
        return PulseCounts(self._joined([each.up for each in counts]), self._joined([each.down for each in counts]))

    def _joined(self, arrays: list[jax.Array]) -> jax.Array:
        """Return one array of the layer's size, given those of the tiles."""
        across = len(self.out_parts)
        columns = [jnp.concatenate(arrays[i : i + across], axis=0) for i in range(0, len(arrays), across)]
        return jnp.concatenate(columns, axis=1)

    def _blocks(self) -> list[tuple[AnalogTile, slice, slice]]:
        across = len(self.out_parts)
        rows, columns = _slices(self.out_parts), _slices(self.in_parts)
        return [(tile, rows[index % across], columns[index // across]) for index, tile in enumerate(self.tiles)]

    def _shaped(
        self, name: str, value: jax.Array | np.ndarray, shape: tuple[int, ...], check_finite: bool
    ) -> jax.Array:
        value = as_numbers(f"{self._name()}: {name}", value)
        if jnp.shape(value) != shape:
            raise ShapeError(f"{self._name()}: {name} has shape {jnp.shape(value)}, give {shape}")
        if check_finite and not isinstance(value, jax.core.Tracer) and not np.isfinite(np.asarray(value)).all():
            raise NonFiniteError(f"{self._name()}: {name} has NaN or infinity; check_finite=False writes it anyway")
        return jnp.asarray(value, jnp.float32)

    def _name(self) -> str:
        return f"{type(self).__name__}({self.in_features}, {self.out_features})"

    def _tiles_text(self) -> str:
        tile = self.tiles[0]
        device = device_name(tile.config.get_value())
        if len(self.tiles) == 1:
            return device
        grid = f"{len(self.in_parts)}x{len(self.out_parts)}"
        return f"{device}, {grid} tiles of up to {self.in_parts[0]}x{self.out_parts[0]}"


def params_key(rngs: nnx.Rngs | nnx.RngStream) -> Key:
    """Return the next key of a source of initial weights.

    Args:
        rngs: ``nnx.Rngs`` with a stream ``params`` or a default one, or a stream.

    Raises:
        ConfigError: If it is anything else.
    """
    if isinstance(rngs, nnx.RngStream):
        return rngs()
    if not isinstance(rngs, nnx.Rngs):
        text = " ".join(repr(rngs).split())[:60]
        raise ConfigError(f"rngs={text} is not allowed: give nnx.Rngs(0), the same for all layers of a model")
    try:
        return rngs.params()
    except AttributeError:
        raise ConfigError("rngs has no stream 'params' and no default one: give nnx.Rngs(0)") from None


def _slices(sizes: tuple[int, ...]) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
