"""One tile as a module: the tile's state with its digital periphery (spec: tile_ops)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from aihwjax import random, showing, tile
from aihwjax.derivatives import only_in_reverse
from aihwjax.devices.counts import PulseCounts
from aihwjax.errors import ModuleError
from aihwjax.nn import slots
from aihwjax.nn.changes import changed, check_input_range, refuse_new_layout
from aihwjax.nn.mapping import along, is_scaled, scale_down
from aihwjax.nn.product import refuse_forward_mode, tile_inputs, tile_product, with_own_derivative
from aihwjax.nn.slots import Tag
from aihwjax.nn.text import Readable
from aihwjax.nn.variables import FixedInputRange, InputRange, InputRangeCount, TileConfigVariable, TileVariable
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, check_learning_rate, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import averages, check
from aihwjax.tile.state import TileState
from aihwjax.typing import Hidden, Key, Number, Weights

# compiled once for each kind of tile and shape
_init = jax.jit(tile.init, static_argnames="shape")
_set_weights = jax.jit(tile.set_weights)
_update = jax.jit(tile.update)
_redraw = jax.jit(tile.redraw)


@jax.jit
def _start(config: TileConfig, key: Noise, weights: Weights, write: Noise) -> TileState:
    """Return a tile that is drawn and written at once, so that its first weights are never in memory."""
    state = tile.init(config, key, weights.shape)  # type: ignore[arg-type]
    if is_scaled(config.mapping, None):
        weights, state = _scaled(config, state, weights, config.mapping.weight_scaling_omega)
    return tile.set_weights(config, state, weights, write)


def _scaled(config: TileConfig, state: TileState, weights: Weights, omega: Number) -> tuple[Weights, TileState]:
    """Return analog weights of logical ones, and the tile with their scales."""
    weights, scales = scale_down(weights, omega, config.mapping.weight_scaling_columnwise, state.mapping_scales)
    return weights, dataclasses.replace(state, mapping_scales=scales)


class AnalogTile(Readable):
    """A tile with its mapping scale, learned output scale and input range.

    Layers are made of these; one is rarely used by itself.

    Args:
        in_features: Number of inputs, without the bias.
        out_features: Number of outputs.
        analog_bias: Whether there is one more column with a constant input.
        config: The tile's configuration.
        key: Source of all draws.
        weights: First logical weights ``(out, in)``, with the bias as last column if it is analog; ``None``: drawn.
        write: Source of write noise, with ``weights``; ``None``: ``key``.

    Raises:
        ConfigError: If the input range is to manage output clipping but the forward product manages it.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        analog_bias: bool,
        config: TileConfig,
        key: Key,
        weights: Weights | None = None,
        write: Noise | None = None,
    ) -> None:
        parameter = config.pre_post.input_range
        check_input_range(parameter, config.forward)
        self.in_features = in_features
        self.out_features = out_features
        self.analog_bias = analog_bias
        self.config = TileConfigVariable(config)
        """The configuration."""
        noise = random.as_noise(key)
        if weights is None:
            state = _init(config, noise, shape=(out_features, in_features + analog_bias))
        else:
            state = _start(config, noise, weights, noise if write is None else random.as_noise(write))
        self.state = TileVariable(state)
        """The tile itself."""
        mapping = config.mapping
        scales = jnp.ones((out_features if mapping.out_scaling_columnwise else 1,), jnp.float32)
        self.out_scaling = nnx.Param(scales) if mapping.learn_out_scaling else None
        """Learned output scale ``(1,)`` or ``(out,)``, if there is one."""
        kind = InputRange if parameter.learn_input_range else FixedInputRange
        self.input_range = kind(jnp.asarray(parameter.init_value, jnp.float32)) if parameter.enable else None
        """Input range, one number, if there is one."""
        from_data = parameter.enable and parameter.init_from_data > 0
        self.input_range_count = InputRangeCount(jnp.zeros((), jnp.int32)) if from_data else None
        """Batches that have initialised it, if it is initialised from data."""
        self._tag: Tag | None = None

    @property
    def averages_backward(self) -> bool:
        """Whether the backward product scales its input by a running average."""
        return averages(self.config.get_value().backward)

    # ------------------------------------------------------------------ product
    def __call__(self, x: Float[Array, "*batch in"], *, key: Noise) -> Float[Array, "*batch out"]:
        """Multiply inputs ``(..., in)`` by the tile; outputs ``(..., out)`` without digital bias."""
        x = as_numbers("x", x)
        slot = slots.take(self._tag, x, (*x.shape[:-1], self.out_features), self.averages_backward)
        if slot is not None and self.input_range_count is not None:
            self._adapt_input_range(x)
        config, state, limit = self.config.get_value(), self.state.get_value(), self._range()
        operands = config, state, limit, x
        if slot is None:
            operands = only_in_reverse(operands, refuse_forward_mode)
        y = tile_product(self.analog_bias, *operands, slot, key)
        if slot is None:
            y = with_own_derivative(y, self.analog_bias, config, state, limit, x, key)
        return y if self.out_scaling is None else y * along(self.out_scaling.get_value(), y)

    def _range(self) -> Float[Array, ""] | None:
        return None if self.input_range is None else self.input_range.get_value()

    def _adapt_input_range(self, x: Float[Array, "*batch in"]) -> None:
        """Move the range towards a multiple of the spread of x, for the first batches of training."""
        assert self.input_range is not None and self.input_range_count is not None
        recorder = slots.current()
        if recorder is not None and recorder.in_loop:
            raise ModuleError(
                "pre_post.input_range.init_from_data is not allowed in a layer inside aihwjax.nn.scan: set it to 0"
            )
        parameter = self.config.get_value().pre_post.input_range
        old, count = self.input_range.get_value(), self.input_range_count.get_value()
        spread = jnp.std(x, ddof=1)
        early = count < parameter.init_from_data
        moves = early & (spread > 0)
        new = jnp.where(moves, (count * old + parameter.init_std_alpha * spread) / (count + 1), old)
        new = jnp.where(early, jnp.abs(new), new)
        # the value changes, its gradient is that of the parameter
        self.input_range.set_value(jax.lax.stop_gradient(new - old) + old)
        self.input_range_count.set_value(count + moves)

    # ------------------------------------------------------------------ update
    def update(self, x: Float[Array, "n in"], d: Float[Array, "n out"], learning_rate: Number, key: Noise) -> None:
        """Apply the pulsed update (spec: update, section 8.3).

        The scales are divided out, so that the logical weights move as in plain gradient descent.

        Args:
            x: Inputs ``(n, in)`` as they reached the tile.
            d: Gradients ``(n, out)`` at its output, before the learned scale.
            learning_rate: One finite number of at least 0.
            key: Source of pulses and noise.

        Raises:
            ConfigError: If the learning rate or the key is not allowed, or the tile was drawn with another
                configuration.
            NonFiniteError: If x or d has NaN or infinity (not checked inside a traced function).
        """
        x, d = as_numbers("x", x), as_numbers("d", d)
        require_finite("x", x)
        require_finite("d", d)
        learning_rate, key = check_learning_rate(learning_rate), random.as_noise(key)
        config, state, limit = self.config.get_value(), self.state.get_value(), self._range()
        check(config, state)
        if limit is not None and not config.reference_quirks:
            d = d * limit  # spec: update, bug 4: the reference leaves the range out
        scales = state.mapping_scales
        if scales is not None:
            if config.mapping.weight_scaling_lr_compensation:
                compensation = 1 / scales.mean()
                d, learning_rate = d / along(scales * compensation, d), learning_rate * compensation
            else:
                d = d / along(scales, d)
        rows = tile_inputs(x, limit, self.analog_bias, config.reference_quirks)
        self.state.set_value(_update(config, state, rows, d, learning_rate, key))

    def observe(self, x: Float[Array, "n in"], read: Float[Array, "m out"] | None) -> None:
        """Advance the running averages of the noise management by the vectors of a gradient.

        Args:
            x: Inputs ``(n, in)``.
            read: Vectors of the backward product ``(n, out)``, if it averages.
        """
        config, state = self.config.get_value(), self.state.get_value()
        new = state
        if averages(config.forward):
            new = tile.observe(config, new, tile_inputs(x, self._range(), self.analog_bias, config.reference_quirks))
        if read is not None:
            new = tile.observe(config, new, read, backward=True)
        if new is not state:
            self.state.set_value(new)

    def end_of_batch(self, key: Noise) -> None:
        """Run what follows every mini-batch: diffusion, decay, clip, remap and modifier, if configured.

        A remap folds the learned output scale into the mapping scale; it starts again at 1
        (spec: tile_ops, section 9).
        """
        config, state = self.config.get_value(), self.state.get_value()
        if config.remap.acts() and self.out_scaling is not None and state.mapping_scales is not None:
            learned = self.out_scaling.get_value()
            state = dataclasses.replace(state, mapping_scales=state.mapping_scales * learned)
            self.out_scaling.set_value(jnp.ones_like(learned))
        self.state.set_value(tile.end_of_batch(config, state, key))

    # ----------------------------------------------------------------- weights
    def set_weights(
        self, weights: Weights, key: Noise, *, apply_weight_scaling: bool = True, omega: Number | None = None
    ) -> None:
        """Write logical weights ``(out, in)``, with the bias as last column if it is analog.

        Without weight scaling the weights are written as given and existing scales stay, so that the
        logical weights are then ``scales * weights`` (spec: tile_ops, section 2 and trap 1).

        Args:
            weights: What to write.
            key: Source of write noise.
            apply_weight_scaling: Whether to scale, if configured.
            omega: Replaces ``mapping.weight_scaling_omega``.

        Raises:
            ConfigError: If the tile was drawn with another configuration.
        """
        key = random.as_noise(key)
        config, state = self.config.get_value(), self.state.get_value()
        check(config, state)
        weights = jnp.asarray(as_numbers("weights", weights), jnp.float32)
        if apply_weight_scaling and is_scaled(config.mapping, omega):
            target = config.mapping.weight_scaling_omega if omega is None else omega
            weights, state = _scaled(config, state, weights, target)
            if self.out_scaling is not None:
                self.out_scaling.set_value(jnp.ones_like(self.out_scaling.get_value()))
        self.state.set_value(_set_weights(config, state, weights, key))

    def redraw(self, config: TileConfig | Mapping[str, Any] | None = None, *, key: Noise) -> None:
        """Draw the devices and the frozen values of the converters anew and keep the weights and scales.

        What a new device cannot hold is clipped; see :func:`aihwjax.tile.redraw`.

        Args:
            config: The configuration from now on, or new values by dotted path; ``None``: the present one.
            key: Source of all draws.

        Raises:
            ConfigError: If the change is not allowed, or needs another layout of the layer.
        """
        old = self.config.get_value()
        new = changed(old, config)
        refuse_new_layout(old, new)
        self.state.set_value(_redraw(new, self.state.get_value(), key))
        self.config.exchange(new)

    def get_weights(self, *, apply_weight_scaling: bool = True) -> Weights:
        """Return the weights ``(out, in)``, with the bias as last column if it is analog.

        Args:
            apply_weight_scaling: Logical weights; ``False``: as they are on the tile.
        """
        config, state = self.config.get_value(), self.state.get_value()
        weights = slots.watched(self._tag, tile.get_weights(config, state))
        if apply_weight_scaling:
            if state.mapping_scales is not None:
                weights = weights * state.mapping_scales[:, None]
            if self.out_scaling is not None:
                weights = weights * self.out_scaling.get_value()[:, None]
        return weights

    def hidden_parameters(self) -> dict[str, Hidden]:
        """Return the parameters of each crosspoint by the reference's names."""
        return tile.hidden_parameters(self.config.get_value(), self.state.get_value())

    def set_hidden_parameters(self, parameters: Mapping[str, Hidden]) -> None:
        """Set parameters of each crosspoint; see :func:`aihwjax.tile.set_hidden_parameters`.

        Args:
            parameters: Arrays ``(out, in)`` by name, with one more column for an analog bias.

        Raises:
            AihwjaxError: If a name, a shape or a number is not allowed.
        """
        new = tile.set_hidden_parameters(self.config.get_value(), self.state.get_value(), parameters)
        self.state.set_value(new)

    def pulse_counts(self) -> PulseCounts:
        """Return the pulses that each crosspoint got since the tile was drawn; see :func:`aihwjax.tile.pulse_counts`.

        Raises:
            ConfigError: If no device of the tile counts its pulses.
        """
        return tile.pulse_counts(self.config.get_value(), self.state.get_value())

    def __treescope_repr__(self, path: str | None, subtree_renderer: showing.Renderer) -> showing.Rendering:
        weights = self.state.get_value().weights
        config = self.config.get_value()
        digital = {"out_scaling": self.out_scaling, "input_range": self.input_range}
        return showing.tree(
            type(self),
            {"weights": weights} | {name: value for name, value in digital.items() if value is not None},
            {"config": self.config, "state": self.state},
            path,
            subtree_renderer,
            comment=f"{showing.size(weights)}, {device_name(config)}",
            folded_as="more: config, state",
            pictures=showing.pictures(weights),
        )

    def describe(self) -> str:
        """Return the text."""
        size = f"{self.out_features}x{self.in_features + self.analog_bias}"
        return f"AnalogTile({size}, {device_name(self.config.get_value())})"


def device_name(config: TileConfig) -> str:
    """Return the class of a tile's device, for people."""
    return type(config.device).__name__
