"""A layer around one logical matrix: tiles, splitting, bias, weights (spec: layers, sections 1, 2 and 5)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from aihwjax import moved, random
from aihwjax.derivatives import on_derivative
from aihwjax.devices.counts import PulseCounts
from aihwjax.errors import ConfigError, ModuleError, NonFiniteError, ShapeError
from aihwjax.nn import marks, slots, verified
from aihwjax.nn.call_keys import CallKey, next_key
from aihwjax.nn.derived import left_out, place_in_model
from aihwjax.nn.dtypes import name_of, returned
from aihwjax.nn.grid import TileGrid
from aihwjax.nn.mapping import along
from aihwjax.nn.product import TileInput
from aihwjax.nn.quantized import OutputQuantizer, PeripheryQuantizer
from aihwjax.nn.text import Readable
from aihwjax.nn.tile import AnalogTile, device_name
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, checked_count, require_finite
from aihwjax.tile.config import SingleRPUConfig, TileConfig, quantized_outputs
from aihwjax.tile.hidden_checks import checked, device_text
from aihwjax.tile.lifecycle import required_key
from aihwjax.tile.product.periphery import quantized_periphery
from aihwjax.tile.verified_writing import WriteResult, write_arguments
from aihwjax.typing import Hidden, Key, Number, Weights

Start: TypeAlias = tuple[Float[Array | np.ndarray, "out in"], Float[Array | np.ndarray, " out"] | None]
"""Matrix ``(out, in)`` and bias ``(out,)`` that a layer begins with."""


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
        weights: First weights ``(out, columns)`` and bias ``(out,)`` or ``None``; ``None``: both uniform within one
            over the square root of ``columns``, as logical values.
        dtype: Type of the outputs; ``None``: that of inputs and weights together, at most float32.
        param_dtype: Type of the weights, as far as outputs follow it; tiles hold float32.

    Raises:
        ConfigError: If a size, the configuration or ``weights`` is not allowed.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {**moved.MODULES, **moved.ATTRIBUTES}
    unset: ClassVar[frozenset[str]] = frozenset({"config", "weight", "weights"})
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
        weights: Start | None = None,
        dtype: Any = None,
        param_dtype: Any = "float32",
    ) -> None:
        self.dtype = None if dtype is None else name_of("dtype", dtype)
        """Type of the outputs; ``None``: that of inputs and weights together."""
        self.param_dtype = name_of("param_dtype", param_dtype)
        """Type of the weights, as far as outputs follow it."""
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
        most = config.mapping.max_output_size, config.mapping.max_input_size
        self.grid = TileGrid(self.rows // self.groups, self.columns, self.groups, *most)
        """How the matrix lies on the tiles."""
        single = len(self.in_parts) == len(self.out_parts) == 1
        # spec: layers, section 2: an array turns an analog bias into a digital one
        self.analog_bias = bool(bias) and not config.mapping.digital_bias and single
        """Whether the bias is the last column of the tile."""
        matrix, vector = self._drawn(bool(bias), key) if weights is None else self._given(weights, bool(bias))
        self.bias = None if vector is None or self.analog_bias else nnx.Param(vector)
        """Digital bias ``(out,)``, if there is one."""
        if self.analog_bias:
            matrix = _with_column(matrix, vector)
        tiles = []
        for index, (place, part) in enumerate(zip(self.grid.stacks, self.grid.cut(matrix), strict=True)):
            count = self.grid.count(place)
            tile = AnalogTile(
                place.inputs.size,
                place.outputs.size,
                analog_bias=self.analog_bias,
                config=config,
                key=jax.random.fold_in(random.fold(key, "tile"), index),
                count=None if count == 1 else count,
                weights=part,
                write=random.derive(random.fold(key, "write"), index),
                summed=not self.grid.one,
            )
            tiles.append(tile)
        self.tiles = nnx.List(tiles)
        """The tiles: one, or stacks of equal ones, each a tile module with its tiles as first axis."""
        periphery = self.bias is not None and quantized_periphery(config.pre_post) is not None
        self.bias_quantizer = PeripheryQuantizer(config) if periphery else None
        """Quantiser of the digital bias, if it is quantised."""
        self.output_quantizer = OutputQuantizer(config) if quantized_outputs(config) is not None else None
        """Quantiser of the outputs, if they are quantised."""
        self.call_key: CallKey | None = None
        """Key for calls without one, while :func:`aihwjax.nn.call` runs."""

    @property
    def in_parts(self) -> tuple[int, ...]:
        """Inputs of each column of tiles of a group."""
        return self.grid.in_parts

    @property
    def out_parts(self) -> tuple[int, ...]:
        """Outputs of each row of tiles of a group."""
        return self.grid.out_parts

    def multiply(self, x: Float[Array, "*batch in"], key: Noise) -> Float[Array, "*batch out"]:
        """Multiply inputs ``(..., columns of all groups)`` by the matrix and add the bias; outputs ``(..., out)``.

        Bias and outputs are quantised, if they are to be.
        """
        return self.finished(self.product(x, key))

    def product(self, x: Float[Array, "*batch in"], key: Noise) -> Float[Array, "*batch out"]:
        """Multiply inputs ``(..., columns of all groups)`` by the matrix; outputs ``(..., out)`` without the bias."""
        x = self.marked(x, x.size // (self.columns * self.groups), key)
        if self.grid.one:
            return self.tiles[0](self.watched(x), key=key)
        rows = self.watched(x).reshape(-1, x.shape[-1])
        y = self.product_of([self.grid.input(index, rows) for index in range(len(self.tiles))], key)
        return y.reshape(*x.shape[:-1], self.rows)

    def marked(self, x: Float[Array, "*shape"], vectors: int, key: Noise) -> Float[Array, "*shape"]:
        """Return x; where products are counted, with a mark of how many vectors the matrix is multiplied by."""
        if self.place is None:
            return x
        return marks.marked(self.place, vectors, x, (self.tiles[0].state.get_value().weights, key))

    def product_of(self, inputs: Sequence[TileInput], key: Noise) -> Float[Array, "n out"]:
        """Return the outputs ``(n, out)`` without the bias, given what each of the tile modules receives."""
        several = len(inputs) > 1
        sources = [random.derive(key, index) if several else key for index in range(len(inputs))]
        return self.grid.outputs([t(x, key=own) for t, x, own in zip(self.tiles, inputs, sources, strict=True)])

    def finished(self, y: Float[Array, "*batch out"]) -> Float[Array, "*batch out"]:
        """Add the digital bias, if there is one, to outputs ``(..., out)``, and quantise both as configured."""
        config, training = self.tiles[0].config.get_value(), self.tiles[0].training
        if self.bias is not None:
            bias = self.bias.get_value()
            if jnp.shape(bias) != (self.rows,):
                raise ShapeError(f"{self._name()}: bias has shape {jnp.shape(bias)}, give ({self.rows},)")
            if self.bias_quantizer is not None:
                bias = self.bias_quantizer(config, bias, training=training)
            y = y + along(bias, y)
        if self.output_quantizer is None:
            return y
        return self.output_quantizer(config, y, training=training, place=self._name())

    def typed(self, y: Float[Array, "*batch out"], inputs: Any) -> Float[Array, "*batch out"]:
        """Return outputs in the type that they have for these inputs."""
        return returned(y, inputs, self.dtype, self.param_dtype)

    def watched(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch in"]:
        """Return x; a gradient with respect to parameters of this layer that leaves its tiles out is told so."""
        if slots.current() is not None:
            return x
        parameters = [self.bias] + [part for tile in self.tiles for part in (tile.out_scaling, tile.input_range)]
        digital = [part.get_value() for part in parameters if isinstance(part, nnx.Param)]
        weights = [tile.state.get_value().weights for tile in self.tiles]
        return on_derivative(x, digital, lambda: warnings.warn(self._left_out(), stacklevel=2), unless=weights)

    def _left_out(self) -> str:
        path = place_in_model(self)
        return f"{f'{path}: ' if path else ''}{self}: {left_out(self.tiles[0].config.get_value())}"

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
            matrix = _with_column(matrix, None if bias is None else vector)
        for index, (tile, part) in enumerate(zip(self.tiles, self.grid.cut(matrix), strict=True)):
            tile.set_weights(
                part,
                random.derive(key, index),
                apply_weight_scaling=apply_weight_scaling,
                omega=weight_scaling_omega,
            )

    def get_weights(
        self,
        *,
        apply_weight_scaling: bool = True,
        realistic: bool = False,
        key: Noise | None = None,
        over_sampling: int = 10,
    ) -> tuple[Weights, Float[Array, " out"] | None]:
        """Return copies of the weights ``(out, in)`` and the bias ``(out,)``, if there is one; exact, or as read.

        A realistic read multiplies Gaussian vectors on each tile, as evaluation does, and solves for the weights by
        least squares; of a model that is programmed with the factor of the compensation. A digital bias is exact.

        Args:
            apply_weight_scaling: Logical weights; ``False``: as they are on the tiles.
            realistic: Whether to read through the converters.
            key: Source of the noise of a realistic read.
            over_sampling: Vectors of a realistic read for each input of a tile.

        Raises:
            ConfigError: If there is no key for a realistic read, or ``over_sampling`` is no whole number of at least 1.
        """
        options: dict[str, Any] = {"apply_weight_scaling": apply_weight_scaling}
        source = required_key(key) if realistic else None
        read = []
        for index, tile in enumerate(self.tiles):
            if source is not None:
                own = random.derive(source, index)
                options |= {"realistic": True, "key": own, "over_sampling": over_sampling}
            read.append(tile.get_weights(**options))
        matrix = self.grid.assembled(read)
        if self.analog_bias:
            return matrix[:, :-1], matrix[:, -1]
        return matrix, None if self.bias is None else self.bias.get_value()

    def program_weights(
        self,
        weights: Float[Array | np.ndarray, "out in"] | None = None,
        bias: Float[Array | np.ndarray, " out"] | None = None,
        *,
        key: Noise,
        tolerance: Number = 0.01,
        max_iterations: int = 10000,
        learning_rate: Number = 0.1,
        w_init: Number = 0.01,
        reads: int = 1,
    ) -> WriteResult:
        """Write weights as a chip can: by pulses that correct what reads through the converters show.

        The target is what each device can hold of the weights, and the scales are those of :meth:`set_weights`. See
        :func:`aihwjax.tile.program_weights` for the loop, and for what noise does to its end.

        Args:
            weights: Logical matrix ``(out, in)``; ``None``: the present one.
            bias: Vector ``(out,)``, with ``weights``; a digital one is set exactly.
            key: Source of all noise.
            tolerance: Error of a read, relative to the largest output, at which a tile is done; 0: never.
            max_iterations: Most corrections.
            learning_rate: Learning rate of the corrections, of analog weights.
            w_init: Analog weights start uniform between this and its negative.
            reads: Number of reads that are averaged before a correction.

        Returns:
            How it went, with one number for each tile; pulses ``(out, in)`` as :meth:`pulse_counts` has them.

        Raises:
            ConfigError: If an argument is not allowed.
            DataError: If weights or bias are no arrays of real numbers.
            ShapeError: If a shape does not fit the layer.
            NonFiniteError: If a value is NaN or infinite.
            ModuleError: If a bias is given without weights or to a layer without one, or the layer is programmed as a
                chip.
        """
        key = random.as_noise(key)
        settings: dict[str, Any] = {"tolerance": tolerance, "max_iterations": max_iterations, "w_init": w_init}
        settings |= {"learning_rate": learning_rate}
        write_arguments(**settings)
        checked_count("reads", reads)
        for tile in self.tiles:
            verified.refuse_chip(self._name(), tile.chip)
        if weights is None and bias is not None:
            raise ModuleError(f"{self._name()}: bias without weights is not allowed: give both, or none of them")
        if weights is not None:
            self.set_weights(weights, bias, key=random.derive(key, "target"))
        each = enumerate(self.tiles)
        results = [tile.program_weights(key=random.derive(key, n), reads=reads, **settings) for n, tile in each]
        return verified.of_layer(self.grid, results)

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
        own = 2 if self.tiles[0].count is None else 3
        return self.tiles[0].state.get_value().weights.shape[:-own]

    # ------------------------------------------------------------- crosspoints
    def hidden_parameters(self) -> dict[str, Hidden]:
        """Return the parameters of each crosspoint by the reference's names, those of all tiles side by side.

        Each is ``(out, in)``, with one more column for an analog bias.
        """
        read = [tile.hidden_parameters() for tile in self.tiles]
        return {name: self.grid.assembled([parameters[name] for parameters in read]) for name in read[0]}

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
        cut = {name: self.grid.cut(value) for name, value in values.items()}
        states = [
            tile.with_hidden_parameters({name: parts[index] for name, parts in cut.items()})
            for index, tile in enumerate(self.tiles)
        ]
        for tile, state in zip(self.tiles, states, strict=True):  # when all of them are known to be right
            tile.state.set_value(state)

    def pulse_counts(self) -> PulseCounts:
        """Return the pulses that each crosspoint got since its tile was drawn, those of all tiles side by side.

        Each ``(out, in)``, with one more column for an analog bias; see :func:`aihwjax.tile.pulse_counts`.

        Raises:
            ConfigError: If no device of the layer counts its pulses.
        """
        counts = [tile.pulse_counts() for tile in self.tiles]
        up, down = (self.grid.assembled(list(arrays)) for arrays in zip(*((c.up, c.down) for c in counts), strict=True))
        return PulseCounts(up, down)

    def _drawn(self, bias: bool, key: Key) -> tuple[Weights, Float[Array, " out"] | None]:
        limit = 1 / math.sqrt(self.columns)

        def uniform(name: str, shape: tuple[int, ...]) -> jax.Array:
            return random.uniform(random.fold(key, name), shape, -limit, limit)

        return uniform("weights", (self.rows, self.columns)), uniform("bias", (self.rows,)) if bias else None

    def _given(self, weights: Start, bias: bool) -> tuple[Weights, Float[Array, " out"] | None]:
        if not isinstance(weights, tuple | list) or len(weights) != 2 or (weights[1] is None) is bias:
            what = "a matrix and a bias" if bias else "a matrix and None, for there is no bias"
            raise ConfigError(f"weights of {self._name()} are not allowed: give a pair of {what}")
        matrix, vector = weights
        matrix = self._shaped("weights", matrix, (self.rows, self.columns), True)
        return matrix, None if vector is None else self._shaped("bias", vector, (self.rows,), True)

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
        if self.grid.one:
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


def _with_column(matrix: Float[Array, "out in"], bias: Float[Array, " out"] | None) -> Float[Array, "out columns"]:
    """Return a matrix with its bias as last column; ``None``: zeros."""
    column = jnp.zeros(matrix.shape[:1], jnp.float32) if bias is None else bias
    return jnp.concatenate([matrix, column[:, None]], axis=1)
