"""One tile as a module: the tile's state with its digital periphery (spec: tile_ops)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from aihwjax import moved, random, showing, tile
from aihwjax.derivatives import only_in_reverse
from aihwjax.devices.counts import PulseCounts
from aihwjax.errors import ConfigError, ModuleError
from aihwjax.nn import one_tile, programmed_tile, slots, verified, watching
from aihwjax.nn.changes import changed, refuse_new_layout
from aihwjax.nn.mapping import along, is_scaled
from aihwjax.nn.patches import Patches, all_rows, in_parts
from aihwjax.nn.product import TileInput, plain_product, refuse_forward_mode, tile_product, with_own_derivative
from aihwjax.nn.quantized import OutputQuantizer, PeripheryQuantizer, merged_scales
from aihwjax.nn.slots import Tag
from aihwjax.nn.stacks import each, keys
from aihwjax.nn.text import Readable
from aihwjax.nn.variables import (
    ChipVariable,
    FixedInputRange,
    InputRange,
    InputRangeCount,
    RangeWatch,
    TileConfigVariable,
    TileVariable,
)
from aihwjax.pulses import UpdateMode
from aihwjax.random import Noise
from aihwjax.tile.calibration import seen
from aihwjax.tile.checks import as_numbers, check_learning_rate, checked_count, require_finite
from aihwjax.tile.config import TileConfig, quantized_outputs
from aihwjax.tile.hidden_checks import checked, device_text
from aihwjax.tile.lifecycle import required_key
from aihwjax.tile.matching import averages, check, working_device
from aihwjax.tile.product.input_range import adapted, check_input_range
from aihwjax.tile.product.periphery import quantized_periphery
from aihwjax.tile.state import TileState
from aihwjax.tile.verified_writing import WriteResult
from aihwjax.typing import EachHidden, EachWeights, Key, Number


class AnalogTile(Readable):
    """A tile with its mapping scale, learned output scale and input range; or a stack of equal ones.

    Layers are made of these; one is rarely used by itself. The tiles of a stack share their configuration. All else is
    of each: arrays have the tiles as first axis, in what the module holds, takes and returns.

    Args:
        in_features: Number of inputs, without the bias.
        out_features: Number of outputs.
        analog_bias: Whether there is one more column with a constant input.
        config: The tile's configuration.
        key: Source of all draws.
        count: Number of tiles in the stack; ``None``: one tile, without an axis for it.
        weights: First logical weights ``(out, in)``, with the bias as last column if it is analog; of a stack
            ``(tiles, out, in)``; ``None``: drawn.
        write: Source of write noise, with ``weights``; ``None``: ``key``.
        summed: Whether its outputs are put together with those of others, so that quantised ones are quantised here,
            and once more together.

    Raises:
        ConfigError: If the input range is to manage output clipping but the forward product manages it.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {**moved.MODULES, **moved.TILES}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        analog_bias: bool,
        config: TileConfig,
        key: Key,
        count: int | None = None,
        weights: EachWeights | None = None,
        write: Noise | None = None,
        summed: bool = False,
    ) -> None:
        parameter = config.pre_post.input_range
        check_input_range(parameter, config.forward)
        self.in_features = in_features
        self.out_features = out_features
        self.analog_bias = analog_bias
        self.count = count
        """Number of tiles in the stack; ``None``: one tile."""
        stack = self._stack
        self.config = TileConfigVariable(config)
        """The configuration."""
        noise = random.as_noise(key)
        source = keys(noise, count)
        if weights is None:
            shape = out_features, in_features + analog_bias
            state = each(count, one_tile.drawn, (shape,), (config,), (source,))
        else:
            own = source, weights, keys(noise if write is None else random.as_noise(write), count)
            state = each(count, one_tile.started, (), (config,), own)
        self.state = TileVariable(state)
        """The tile itself."""
        mapping = config.mapping
        scales = jnp.ones((*stack, out_features if mapping.out_scaling_columnwise else 1), jnp.float32)
        self.out_scaling = nnx.Param(scales) if mapping.learn_out_scaling else None
        """Learned output scale ``(1,)`` or ``(out,)``, if there is one."""
        kind = InputRange if parameter.learn_input_range else FixedInputRange
        start = jnp.broadcast_to(jnp.asarray(parameter.init_value, jnp.float32), stack)
        self.input_range = kind(start) if parameter.enable else None
        """Input range, one number, if there is one."""
        from_data = parameter.enable and parameter.init_from_data > 0
        self.input_range_count = InputRangeCount(jnp.zeros(stack, jnp.int32)) if from_data else None
        """Batches that have initialised it, if it is initialised from data."""
        periphery = quantized_periphery(config.pre_post) is not None
        self.scale_quantizer = PeripheryQuantizer(config, count) if periphery else None
        """Quantiser of the product of all scales, if they are quantised."""
        outputs = summed and quantized_outputs(config) is not None
        self.output_quantizer = OutputQuantizer(config, count) if outputs else None
        """Quantiser of the outputs, if they are quantised before those of several tiles are put together."""
        self.chip: ChipVariable | None = None
        """What is kept of the chip, once the tile is programmed; see :func:`aihwjax.program`."""
        self.watch: RangeWatch | None = None
        """What is known of its inputs, while :func:`aihwjax.calibrate` runs."""
        self._tag: Tag | None = None

    @property
    def _stack(self) -> tuple[int, ...]:
        return () if self.count is None else (self.count,)

    @property
    def training(self) -> bool:
        """Whether its calls belong to a gradient of :func:`aihwjax.nn.value_and_grad`."""
        return slots.training(self._tag)

    @property
    def averages_forward(self) -> bool:
        """Whether the forward product scales its input by a running average."""
        return averages(self.config.get_value().forward)

    @property
    def averages_backward(self) -> bool:
        """Whether the backward product scales its input by a running average."""
        return averages(self.config.get_value().backward)

    # ------------------------------------------------------------------ product
    def __call__(self, x: TileInput, *, key: Noise) -> Float[Array, "*batch out"]:
        """Multiply inputs ``(..., in)`` by the tile; outputs ``(..., out)`` without digital bias.

        Args:
            x: The inputs; of a stack ``(tiles, n, in)``. Or images, whose patches ``(n, in)`` are the inputs.
            key: Source of the noise.
        """
        x = x if isinstance(x, Patches) else as_numbers("x", x)
        rows = (*self._stack, x.length) if isinstance(x, Patches) else x.shape[:-1]
        seen = self.state.get_value().weights.shape if self.config.get_value().differentiated else None
        slot = slots.take(self._tag, x, (*rows, self.out_features), self.averages_backward, seen)
        if slot is not None and self.input_range_count is not None:
            self._adapt_input_range(x)
        config, state = self.config.get_value(), self.state.get_value()
        limit = self._range() if self.watch is None else self._watched_range(self.watch, all_rows(x), key)
        operands = config, state, limit, x
        key = keys(key, self.count)
        if slot is None and config.update_mode is UpdateMode.DIFFERENTIABLE:
            y = plain_product(self.analog_bias, self.count, *operands, key)
        else:
            if slot is None:
                operands = only_in_reverse(operands, refuse_forward_mode)
            y = tile_product(self.analog_bias, self.count, *operands, slot, key)
            if slot is None:
                y = with_own_derivative(y, self.analog_bias, self.count, config, state, limit, x, key)
        training = slot is not None
        if self.chip is not None:
            y = self._compensated(y, training)
        scales = None if self.out_scaling is None else self.out_scaling.get_value()
        if self.scale_quantizer is not None:
            scales = merged_scales(self.scale_quantizer, config, limit, state.mapping_scales, scales, training)
        if scales is not None:
            y = y * (along(scales, y) if self.count is None else scales[:, None])
        if self.output_quantizer is None:
            return y
        return self.output_quantizer(config, y, training=training, place=str(self))

    def _compensated(self, y: Float[Array, "*batch out"], training: bool) -> Float[Array, "*batch out"]:
        """Return outputs times the factor of the compensation.

        Raises:
            ModuleError: If the product belongs to training.
        """
        assert self.chip is not None
        if training:
            raise ModuleError(
                f"{self} is programmed, so it is not trained: train the model that was given to aihwjax.program, and "
                "program it again"
            )
        alpha = self.chip.get_value().alpha
        return y * (along(jnp.atleast_1d(alpha), y) if self.count is None else alpha.reshape(self.count, 1, -1))

    def _range(self) -> Float[Array, "*stack"] | None:
        return None if self.input_range is None else self.input_range.get_value()

    def _watched_range(
        self, watch: RangeWatch, x: Float[Array, "*batch in"], key: Noise
    ) -> Float[Array, "*stack"] | None:
        """Note inputs of a calibration and return the range of the product, which may be the one of the search."""
        how, statistics = watching.read(watch, str(self))
        own = statistics, x, keys(random.derive(key, "calibration"), self.count)
        statistics = each(self.count, seen, (), (how,), own)
        watching.write(watch, (how, statistics), str(self))
        return statistics.value if how.method.moving else self._range()

    def set_input_range(self, value: Number | Float[Array, " tiles"]) -> None:
        """Set the input range; its magnitude counts.

        Args:
            value: One number, in units of the input; of a stack also one number for each tile.

        Raises:
            ModuleError: If the tile has no input range.
            ConfigError: If a number is 0 or not finite (a traced one is not checked), or there are more or fewer than
                tiles.
        """
        if self.input_range is None:
            raise ModuleError(
                f"{self} has no input range: build its layer with pre_post.input_range.enable=True, or take "
                "aihwjax.calibrate"
            )
        present = self.input_range.get_value()
        limits = jnp.abs(jnp.asarray(as_numbers("value", value), jnp.float32))
        if limits.size != 1 and limits.shape != present.shape:
            raise ConfigError(f"value of shape {limits.shape} is not allowed: give one number, or {present.shape}")
        known = None if isinstance(limits, jax.core.Tracer) else np.asarray(limits)
        if known is not None and not (np.isfinite(known) & (known > 0)).all():
            raise ConfigError(f"value={value} is not allowed as an input range: give finite numbers other than 0")
        self.input_range.set_value(
            jnp.broadcast_to(limits.reshape(-1)[0] if limits.size == 1 else limits, present.shape)
        )

    def _adapt_input_range(self, x: TileInput) -> None:
        """Move the range towards a multiple of the spread of x, for the first batches of training."""
        assert self.input_range is not None and self.input_range_count is not None
        recorder = slots.current()
        if recorder is not None and recorder.in_loop:
            raise ModuleError(
                "pre_post.input_range.init_from_data is not allowed in a layer inside aihwjax.nn.scan: set it to 0"
            )
        old, count = self.input_range.get_value(), self.input_range_count.get_value()
        parameter = self.config.get_value().pre_post.input_range

        def moving(x: TileInput) -> tuple[jax.Array, jax.Array]:
            return each(self.count, adapted, (), (parameter,), (old, count, all_rows(x)))

        if isinstance(x, Patches):  # patches of later batches are not made
            images = jax.lax.stop_gradient(x.images)
            early = (count < parameter.init_from_data).any()
            seen = dataclasses.replace(x, images=images)
            value, moved = jax.lax.cond(early, moving, lambda _: (old, count), seen)
        else:
            value, moved = moving(x)
        # the value changes, its gradient is that of the parameter
        self.input_range.set_value(jax.lax.stop_gradient(value - old) + old)
        self.input_range_count.set_value(moved)

    # ------------------------------------------------------------------ update
    def update(self, x: TileInput, d: Float[Array, "*n out"], learning_rate: Number, key: Noise) -> None:
        """Apply the pulsed update (spec: update, section 8.3).

        The scales are divided out, so that the logical weights move as in plain gradient descent.

        Args:
            x: Inputs ``(n, in)`` as they reached the tile; of a stack ``(tiles, n, in)``. Or images, whose patches they
                are.
            d: Gradients ``(n, out)`` at its output, before the learned scale; of a stack ``(tiles, n, out)``.
            learning_rate: One finite number of at least 0.
            key: Source of pulses and noise.

        Raises:
            ConfigError: If the learning rate or the key is not allowed, or the tile was drawn with another
                configuration.
            NonFiniteError: If x or d has NaN or infinity (not checked inside a traced function).
        """
        x, d = checked_pair(x, d)
        learning_rate, key = check_learning_rate(learning_rate), random.as_noise(key)
        config, state = self.config.get_value(), self.checked_state()
        limit, keys_of_tiles = self._range(), keys(key, self.count)

        def run(
            state: TileState, part: Int[Array, ""] | None, x: Float[Array, "*n in"], d: Float[Array, "*n out"]
        ) -> TileState:
            own = state, limit, x, d, keys_of_tiles
            return each(self.count, one_tile.updated, (self.analog_bias,), (config, learning_rate, part), own)

        if isinstance(x, Patches) and x.parts > 1 and not working_device(config).counts_vectors:
            self.state.set_value(in_parts(run, state, x, d))
        else:
            self.state.set_value(run(state, None, all_rows(x), d))

    def observe(self, x: Float[Array, "*n in"], read: Float[Array, "*m out"] | None) -> None:
        """Advance the running averages of the noise management by the vectors of a gradient.

        Args:
            x: Inputs ``(n, in)``; of a stack ``(tiles, n, in)``.
            read: Vectors of the backward product ``(n, out)``, if it averages.
        """
        config, state = self.config.get_value(), self.state.get_value()
        if averages(config.forward) or read is not None:
            own = state, self._range(), x, read
            self.state.set_value(each(self.count, one_tile.observed, (self.analog_bias,), (config,), own))

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
        own = state, keys(key, self.count)
        self.state.set_value(each(self.count, one_tile.after_batch, (), (config,), own))

    # -------------------------------------------------------------------- chip
    def program(self, key: Noise) -> None:
        """Program the exact weights as conductances, in place; see :func:`aihwjax.program`.

        Args:
            key: Source of all draws.

        Raises:
            ConfigError: If the configuration has no noise model.
        """
        config, state = programmed_tile.checked_config(self.config.get_value(), str(self)), self.state.get_value()
        exact = state.weights if self.chip is None else self.chip.get_value().exact
        own = state, exact, keys(random.as_noise(key), self.count)
        state, chip = each(self.count, programmed_tile.programmed, (), (config,), own)
        self.state.set_value(state)
        self.chip = nnx.data(ChipVariable(chip))

    def _forget_chip(self) -> None:
        if self.chip is not None:
            self.chip = nnx.static(None)

    def drift(self, t: Number, key: Noise) -> None:
        """Let time pass since the tile was programmed, in place; see :func:`aihwjax.drift`.

        Args:
            t: Seconds after programming.
            key: Source of read noise and of the noise of the read-out.

        Raises:
            ModuleError: If the tile was not programmed.
        """
        if self.chip is None:
            raise ModuleError(f"{self} was not programmed: call its program(key) before")
        own = self.state.get_value(), self.chip.get_value(), keys(random.as_noise(key), self.count)
        config = self.config.get_value()
        state, chip = each(self.count, programmed_tile.drifted, (), (config, t), own)
        self.state.set_value(state)
        self.chip.set_value(chip)

    # ----------------------------------------------------------------- weights
    def set_weights(
        self, weights: EachWeights, key: Noise, *, apply_weight_scaling: bool = True, omega: Number | None = None
    ) -> None:
        """Write logical weights ``(out, in)``, with the bias as last column if it is analog.

        A tile that was programmed is no chip any more. Without weight scaling the weights are written as given and
        existing scales stay, so that the logical weights are then ``scales * weights`` (spec: tile_ops, section 2 and
        trap 1).

        Args:
            weights: What to write.
            key: Source of write noise.
            apply_weight_scaling: Whether to scale, if configured.
            omega: Replaces ``mapping.weight_scaling_omega``.

        Raises:
            ConfigError: If the tile was drawn with another configuration.
        """
        key = random.as_noise(key)
        config, state = self.config.get_value(), self.checked_state()
        weights = jnp.asarray(as_numbers("weights", weights), jnp.float32)
        scaled = apply_weight_scaling and is_scaled(config.mapping, omega)
        if scaled and self.out_scaling is not None:
            self.out_scaling.set_value(jnp.ones_like(self.out_scaling.get_value()))
        own = state, weights, keys(key, self.count)
        self.state.set_value(each(self.count, one_tile.written, (scaled,), (config, omega), own))
        self._forget_chip()

    def redraw(self, config: TileConfig | Mapping[str, Any] | None = None, *, key: Noise) -> None:
        """Draw the devices and the frozen values of the converters anew and keep the weights and scales.

        What a new device cannot hold is clipped; see :func:`aihwjax.tile.redraw`. The weights of a tile that was
        programmed are its exact ones.

        Args:
            config: The configuration from now on, or new values by dotted path; ``None``: the present one.
            key: Source of all draws.

        Raises:
            ConfigError: If the change is not allowed, or needs another layout of the layer.
        """
        old = self.config.get_value()
        new = changed(old, config)
        refuse_new_layout(old, new)
        state = self.state.get_value()
        if self.chip is not None:
            state = dataclasses.replace(state, weights=self.chip.get_value().exact)
            self._forget_chip()
        own = state, keys(key, self.count)
        self.state.set_value(each(self.count, one_tile.redrawn, (), (new,), own))
        self.config.exchange(new)

    def get_weights(
        self,
        *,
        apply_weight_scaling: bool = True,
        realistic: bool = False,
        key: Noise | None = None,
        over_sampling: int = 10,
    ) -> EachWeights:
        """Return the weights ``(out, in)``, with the bias as last column if it is analog.

        Args:
            apply_weight_scaling: Logical weights; ``False``: as they are on the tile.
            realistic: Whether to read them through the converters, by products of evaluation; see
                :func:`aihwjax.tile.get_weights`.
            key: Source of the noise of a realistic read.
            over_sampling: Vectors of a realistic read for each input.

        Raises:
            ConfigError: If there is no key for a realistic read, or ``over_sampling`` is no whole number of at least 1.
        """
        state = self.state.get_value()
        if realistic:
            options = self.analog_bias, checked_count("over_sampling", over_sampling), self.in_features
            chip = None if self.chip is None else self.chip.get_value()
            config, source = self.config.get_value(), required_key(key)
            weights = verified.read_tiles(options, self.count, config, state, self._range(), chip, source)
            weights = weights if self.out_scaling is None else weights * self.out_scaling.get_value()[..., None]
            return weights if apply_weight_scaling else weights / self._scales()[..., None]
        weights = slots.watched(self._tag, state.weights)
        return weights * self._scales()[..., None] if apply_weight_scaling else weights

    def _scales(self) -> Float[Array, "*stack scales"]:
        """Return the product of mapping scale and learned output scale; 1 without."""
        state = self.state.get_value()
        scales = jnp.ones((1,) * (state.weights.ndim - 1), jnp.float32)
        mapping = state.mapping_scales
        scales = scales if mapping is None else scales * mapping
        return scales if self.out_scaling is None else scales * self.out_scaling.get_value()

    def program_weights(
        self, target: EachWeights | None = None, *, key: Noise, reads: int = 1, **settings: Any
    ) -> WriteResult:
        """Write analog weights by pulses, in place; see :func:`aihwjax.tile.program_weights`.

        Args:
            target: Analog weights ``(out, in)``, with the column of an analog bias; of a stack ``(tiles, out, in)``;
                ``None``: those that the tile has.
            key: Source of all noise.
            reads: Number of reads that are averaged before a correction.
            **settings: ``tolerance``, ``max_iterations``, ``learning_rate`` and ``w_init``, as there.

        Returns:
            How it went; of a stack one number for each tile.

        Raises:
            ConfigError: If an argument is not allowed, or the tile was drawn with another configuration.
            ShapeError: If the target does not fit the tile.
            ModuleError: If the tile is programmed as a chip.
        """
        verified.refuse_chip(str(self), self.chip)
        config, state = self.config.get_value(), self.checked_state()
        state, result = verified.write_tiles(str(self), self.count, config, state, target, key, reads, settings)
        self.state.set_value(state)
        return result

    def hidden_parameters(self) -> dict[str, EachHidden]:
        """Return the parameters of each crosspoint by the reference's names."""
        return each(self.count, tile.hidden_parameters, (), (self.config.get_value(),), (self.state.get_value(),))

    def set_hidden_parameters(self, parameters: Mapping[str, EachHidden]) -> None:
        """Set parameters of each crosspoint; see :func:`aihwjax.tile.set_hidden_parameters`.

        Args:
            parameters: Arrays ``(out, in)`` by name, with one more column for an analog bias; of a stack
                ``(tiles, out, in)``.

        Raises:
            AihwjaxError: If a name, a shape or a number is not allowed.
        """
        self.state.set_value(self.with_hidden_parameters(parameters))

    def with_hidden_parameters(self, parameters: Mapping[str, EachHidden]) -> TileState:
        """Return the state with parameters of each crosspoint, without setting it; as :meth:`set_hidden_parameters`.

        Args:
            parameters: Arrays by name.
        """
        config, state = self.config.get_value(), self.state.get_value()
        if self.count is None:
            return tile.set_hidden_parameters(config, state, parameters)
        # one by one: what is wrong with bounds is seen outside of a loop only
        values = checked(parameters, self.hidden_parameters(), device_text(config))
        after = [tile.set_hidden_parameters(config, _of(state, n), _of(values, n)) for n in range(self.count)]
        return jax.tree.map(lambda *arrays: jnp.stack(arrays), *after)

    def pulse_counts(self) -> PulseCounts:
        """Return the pulses that each crosspoint got since the tile was drawn; see :func:`aihwjax.tile.pulse_counts`.

        Raises:
            ConfigError: If no device of the tile counts its pulses.
        """
        return each(self.count, tile.pulse_counts, (), (self.config.get_value(),), (self.state.get_value(),))

    def checked_state(self) -> TileState:
        """Return the state, if its devices are not known to be others than configured."""
        state = self.state.get_value()
        one = state if self.count is None else dataclasses.replace(state, drawn=_of(state.drawn, 0))
        check(self.config.get_value(), one)
        return state

    def __treescope_repr__(self, path: str | None, subtree_renderer: showing.Renderer) -> showing.Rendering:
        weights = self.state.get_value().weights
        config = self.config.get_value()
        digital: dict[str, Any] = {"out_scaling": self.out_scaling, "input_range": self.input_range}
        digital |= {"scale_quantizer": self.scale_quantizer, "output_quantizer": self.output_quantizer}
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
        size = size if self.count is None else f"{self.count} of {size}"
        return f"AnalogTile({size}, {device_name(self.config.get_value())})"


def checked_pair(x: TileInput, d: Float[Array, "*n out"]) -> tuple[TileInput, Float[Array, "*n out"]]:
    """Return what a tile learns from, refused if it is no finite numbers.

    Args:
        x: Inputs ``(n, in)``, or images.
        d: Gradients ``(n, out)``.

    Raises:
        DataError: If one of them is no array of real numbers.
        NonFiniteError: If one of them has NaN or infinity (not checked inside a traced function).
    """
    x, d = x if isinstance(x, Patches) else as_numbers("x", x), as_numbers("d", d)
    require_finite("x", x.images if isinstance(x, Patches) else x)
    require_finite("d", d)
    return x, d


def _of(stack: Any, index: int) -> Any:
    """Return one tile's part of a pytree of a stack."""
    return jax.tree.map(lambda array: array[index], stack)


def device_name(config: TileConfig) -> str:
    """Return the class of a tile's device, for people."""
    return type(config.device).__name__
