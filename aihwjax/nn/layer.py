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
from aihwjax.nn import marks, slots
from aihwjax.nn.call_keys import CallKey, next_key
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

    With several groups, each has its own part of the inputs and of the outputs: the matrices of the groups
    lie below each other in one of ``(out, columns)``, each on tiles of its own.

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs, the rows of the matrix.
        bias: Whether there is a bias: digital, or an extra column if ``mapping.digital_bias`` is off
            and the layer is one tile.
        config: The configuration of its tiles; ``None``: ``SingleRPUConfig()``.
        key: Source of all draws.
        columns: Columns of the matrix, if a product takes more or fewer numbers than ``in_features``.
        groups: Number of groups; a divisor of ``out_features``.

    Raises:
        ConfigError: If a size or the configuration is not allowed.
    """

    place: str | None = None
    """Path in the model, in a copy of it whose products are counted."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool,
        *,
        config: TileConfig | None,
        key: Key,
        columns: int | None = None,
        groups: int = 1,
    ) -> None:
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
                raise ConfigError(f"{name}={size!r} is not allowed: give a whole number of at least 1")
        key = random.as_key(key)
        config = SingleRPUConfig() if config is None else config
        if not isinstance(config, TileConfig):
            raise ConfigError(f"config={config!r} is not allowed: give a TileConfig, such as SingleRPUConfig()")
        self.in_features = int(in_features)
        self.out_features = int(out_features)
        self.rows = self.out_features
        """Rows of the matrix."""
        self.columns = self.in_features if columns is None else int(columns)
        """Columns of the matrix ``(out, columns)``."""
        self.groups = int(groups)
        """Number of groups."""
        self.in_parts = parts(self.columns, config.mapping.max_input_size)
        """Inputs of each column of tiles of a group."""
        self.out_parts = parts(self.rows // self.groups, config.mapping.max_output_size)
        """Outputs of each row of tiles of a group."""
        single = len(self.in_parts) == len(self.out_parts) == 1
        # spec: layers, section 2: an array turns an analog bias into a digital one
        self.analog_bias = bool(bias) and not config.mapping.digital_bias and single
        """Whether the bias is the last column of the tile."""
        digital = bias and not self.analog_bias
        self.bias = nnx.Param(jnp.zeros((self.rows,), jnp.float32)) if digital else None
        """Digital bias ``(out,)``, if there is one."""
        sizes = [(width, rows) for width in self.in_parts for rows in self.out_parts] * self.groups
        tiles = [
            AnalogTile(
                width,
                rows,
                analog_bias=self.analog_bias,
                config=config,
                key=jax.random.fold_in(random.fold(key, "tile"), index),
            )
            for index, (width, rows) in enumerate(sizes)
        ]
        self.tiles = nnx.List(tiles)
        """The tiles: all output parts of the first input part, then of the second, and so on; group by group."""
        self.call_key: CallKey | None = None
        """Key for calls without one, while :func:`aihwjax.nn.call` runs."""

    if not TYPE_CHECKING:  # a type checker would take any name for one that is there

        def __getattr__(self, name: str) -> NoReturn:
            text = f"{type(self).__name__!r} object has no attribute {name!r}{moved.hint(name, moved.ATTRIBUTES)}"
            raise AttributeError(text, name=name, obj=self)

    def multiply(self, x: Float[Array, "*batch in"], key: Noise) -> Float[Array, "*batch out"]:
        """Multiply inputs ``(..., columns of all groups)`` by the matrix and add the bias; outputs ``(..., out)``."""
        return self.biased(self.product(x, key))

    def product(self, x: Float[Array, "*batch in"], key: Noise) -> Float[Array, "*batch out"]:
        """Multiply inputs ``(..., columns of all groups)`` by the matrix; outputs ``(..., out)`` without the bias."""
        if self.place is not None:
            weights = self.tiles[0].state.get_value().weights
            x = marks.marked(self.place, x.size // (self.columns * self.groups), x, (weights, key))
        if slots.current() is None:
            x = self._watched(x)
        return self.tiles[0](x, key=key) if len(self.tiles) == 1 else self._by_parts(x, key)

    def biased(self, y: Float[Array, "*batch out"]) -> Float[Array, "*batch out"]:
        """Add the digital bias, if there is one, to outputs ``(..., out)``."""
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
        each, across = len(self.in_parts) * len(self.out_parts), len(self.out_parts)
        outputs: list[jax.Array] = []
        for group in range(self.groups):
            total: jax.Array | None = None
            for i, columns in enumerate(_slices(self.in_parts)):
                start = group * self.columns
                piece = x[..., start + columns.start : start + columns.stop]
                first = group * each + i * across
                tiles = range(first, first + across)
                y = _side_by_side([self.tiles[index](piece, key=random.derive(key, index)) for index in tiles])
                total = y if total is None else total + y
            assert total is not None
            outputs.append(total)
        return _side_by_side(outputs)

    def checked(self, x: Float[Array, "*batch in"], key: Noise | None) -> tuple[Float[Array, "*batch in"], Noise]:
        """Return inputs as float32 and the key, or say what is wrong with them.

        Raises:
            ModuleError: If there is no key.
            ConfigError: If the key is none.
            DataError: If ``x`` is no array of real numbers.
            ShapeError: If the last axis of ``x`` is not the number of inputs.
            NonFiniteError: If ``x`` has NaN or infinity (not checked inside a traced function).
        """
        if key is None and self.call_key is None:
            raise ModuleError(
                f"{self._name()} needs a key: call it as layer(x, key=jax.random.key(0)), "
                "or the model as aihwjax.nn.call(model, x, key=jax.random.key(0))"
            )
        key = None if key is None else random.as_noise(key)
        x = as_numbers(f"{self._name()}: x", x)
        shape = jnp.shape(x)
        if not self._fits(shape):
            raise ShapeError(f"{self._name()}: x has shape {shape}, give {self._wanted()}")
        require_finite(f"{self._name()}: x", x)
        if key is None:
            assert self.call_key is not None
            key = next_key(self.call_key, self._name())
        return jnp.asarray(x, jnp.float32), key

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return bool(shape) and shape[-1] == self.in_features

    def _wanted(self) -> str:
        return f"(..., {self.in_features})"

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
        matrix = self._shaped("weights", weights, (self.rows, self.columns), check_finite)
        if bias is not None:
            if self.bias is None and not self.analog_bias:
                raise ModuleError(f"{self._name()} has no bias: give bias=None")
            vector = self._shaped("bias", bias, (self.rows,), check_finite)
            if self.bias is not None:
                self.bias.set_value(vector)
        if self.analog_bias:
            column = jnp.zeros((self.rows,), jnp.float32) if bias is None else vector
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
        matrix = self._assembled(read)
        if self.analog_bias:
            return matrix[:, :-1], matrix[:, -1]
        return matrix, None if self.bias is None else self.bias.get_value()

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

    def stacked(self) -> tuple[int, ...]:
        """Return the leading axes of a stack of layers, such as ``nnx.vmap`` makes; ``()`` for one layer."""
        return self.tiles[0].state.get_value().weights.shape[:-2]

    # ------------------------------------------------------------- crosspoints
    def hidden_parameters(self) -> dict[str, Hidden]:
        """Return the parameters of each crosspoint by the reference's names, those of all tiles side by side.

        Each is ``(out, in)``, with one more column for an analog bias.
        """
        read = [tile.hidden_parameters() for tile in self.tiles]
        return {name: self._assembled([parameters[name] for parameters in read]) for name in read[0]}

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
        up, down = (self._assembled(list(arrays)) for arrays in zip(*((c.up, c.down) for c in counts), strict=True))
        return PulseCounts(up, down)

    def _assembled(self, arrays: list[jax.Array]) -> jax.Array:
        """Return one array of the size of the matrix, given those of the tiles."""
        across, deep = len(self.out_parts), len(self.in_parts)
        columns = [jnp.concatenate(arrays[i : i + across], axis=0) for i in range(0, len(arrays), across)]
        rows = [jnp.concatenate(columns[i : i + deep], axis=1) for i in range(0, len(columns), deep)]
        return jnp.concatenate(rows, axis=0)

    def _blocks(self) -> list[tuple[AnalogTile, slice, slice]]:
        rows, columns = _slices(self.out_parts * self.groups), _slices(self.in_parts)
        if self.analog_bias:
            columns = [slice(None)]  # with the bias as last one
        across = len(self.out_parts)
        places = [
            (rows[group * across + j], part) for group in range(self.groups) for part in columns for j in range(across)
        ]
        return [(tile, *place) for tile, place in zip(self.tiles, places, strict=True)]

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
        groups = "" if self.groups == 1 else f"{self.groups} groups of "
        return f"{device}, {groups}{grid} tiles of up to {self.in_parts[0]}x{self.out_parts[0]}"


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


def _side_by_side(outputs: list[jax.Array]) -> jax.Array:
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=-1)


def _slices(sizes: tuple[int, ...]) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
