"""Cells of recurrent layers: matrices on analog tiles, gates in digital (spec: layers, section 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from aihwjax import random
from aihwjax.nn.layer import params_key
from aihwjax.nn.linear import AnalogLinear
from aihwjax.nn.text import Readable
from aihwjax.nn.tile import AnalogTile
from aihwjax.nn.unfolding import positive
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig

Carry: TypeAlias = Any
"""What a cell remembers from step to step: h ``(..., hidden)``, or (c, h) for an LSTM."""


class RecurrentCell(Readable):
    """Base of cells: ``(carry, x) -> (carry, output)``, as the cells of Flax.

    A step has two parts, so that the inputs of all steps can be multiplied at once: :meth:`project`, which does not
    know the carry, and :meth:`step`.

    Args:
        in_features: Number of inputs.
        hidden_features: Number of outputs.
        use_bias: Whether each matrix has a bias.
        config: Configuration of the tiles; ``None``: ``SingleRPUConfig()``.
        rngs: Source of initial weights and of the devices.

    Raises:
        ConfigError: If an argument is not allowed.
    """

    gates: ClassVar[int] = 1
    """Vectors of hidden size that the matrices give."""
    joined: ClassVar[bool] = False
    """Whether inputs and hidden values share one matrix."""

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        use_bias: bool = True,
        config: TileConfig | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        (self.in_features,) = positive("in_features", in_features, 1)
        (self.hidden_features,) = positive("hidden_features", hidden_features, 1)
        self.use_bias = bool(use_bias)
        rows, limit = self.gates * self.hidden_features, 1 / math.sqrt(self.hidden_features)

        def matrix(columns: int) -> AnalogLinear:
            key = params_key(rngs)
            layer = AnalogLinear(columns, rows, self.use_bias, config=config, rngs=nnx.Rngs(params=key))
            weights = random.uniform(random.fold(key, "cell weights"), (rows, columns), -limit, limit)
            bias = random.uniform(random.fold(key, "cell bias"), (rows,), -limit, limit) if self.use_bias else None
            layer.set_weights(weights, bias, key=random.fold(key, "cell write"), check_finite=False)
            return layer

        self.hidden_layer = matrix(self.hidden_features + (self.in_features if self.joined else 0))
        """Matrix of the hidden values, of inputs and hidden values if they share one."""
        self.input_layer = None if self.joined else matrix(self.in_features)
        """Matrix of the inputs."""

    @property
    def num_feature_axes(self) -> int:
        """Number of feature axes of the input, for ``nnx.RNN``."""
        return 1

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None) -> Carry:
        """Return the carry before the first step: zeros.

        Args:
            input_shape: Shape of the input of a step, ``(..., in)``.
            rngs: Not used; for ``nnx.RNN``.
            carry_init: Not used; for ``nnx.RNN``.
        """
        return jnp.zeros((*input_shape[:-1], self.hidden_features), jnp.float32)

    def project(self, x: Float[Array, "*batch in"], *, key: Noise | None = None) -> Float[Array, "*batch gates"]:
        """Return what the inputs give without the carry.

        Args:
            x: Inputs ``(..., in)`` of one step, or of many.
            key: Source of the noise.
        """
        if self.input_layer is None:
            return jnp.asarray(x, jnp.float32)
        return self.input_layer(x, key=key)

    def step(self, carry: Carry, projected: Float[Array, "*batch gates"], *, key: Noise | None = None) -> Carry:
        """Return the carry after a step.

        Args:
            carry: That before it.
            projected: From :meth:`project`.
            key: Source of the noise.
        """
        raise AssertionError

    def output(self, carry: Carry) -> Float[Array, "*batch hidden"]:
        """Return the output of a step, given the carry after it."""
        return carry

    def __call__(
        self, carry: Carry, x: Float[Array, "*batch in"], *, key: Noise | None = None
    ) -> tuple[Carry, Float[Array, "*batch hidden"]]:
        """Do a step.

        Args:
            carry: What is remembered, from :meth:`initialize_carry` or the last step.
            x: Inputs ``(..., in)``.
            key: Source of the noise; equal keys give equal outputs.

        Returns:
            The carry after the step and the output ``(..., hidden)``.

        Raises:
            ModuleError: If there is no key.
            ShapeError: If the last axis of ``x`` is not ``in_features``.
        """
        first, second = (None, None) if key is None else (random.derive(key, "input"), random.derive(key, "hidden"))
        carry = self.step(carry, self.project(x, key=first), key=second)
        return carry, self.output(carry)

    def analog_tiles(self) -> list[AnalogTile]:
        """Return the tiles of the cell, those of its hidden values first."""
        layers = (self.hidden_layer, self.input_layer)
        return [tile for layer in layers if layer is not None for tile in layer.analog_tiles()]

    def describe(self) -> str:
        """Return the text."""
        tiles = self.hidden_layer._tiles_text()
        sizes = f"{self.in_features}, {self.hidden_features}"
        return f"{type(self).__name__}({sizes}, use_bias={self.use_bias}, {tiles})"


class AnalogVanillaRNNCell(RecurrentCell):
    """The plain cell, ``h = tanh(W_x x + W_h h)``, on analog tiles; arguments as :class:`RecurrentCell`."""

    def step(
        self, carry: Float[Array, "*batch hidden"], projected: Float[Array, "*batch gates"], *, key: Noise | None = None
    ) -> Float[Array, "*batch hidden"]:
        return jnp.tanh(projected + self.hidden_layer(carry, key=key))


class AnalogLSTMCell(RecurrentCell):
    """The LSTM cell on analog tiles, one matrix for inputs and one for hidden values.

    With i, f, g, o the four parts of ``W_x x + W_h h``: ``c = s(f) c + s(i) tanh(g)``, ``h = s(o) tanh(c)``. The carry
    is (c, h). Arguments as :class:`RecurrentCell`.
    """

    gates = 4

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None) -> Carry:
        zeros = super().initialize_carry(input_shape)
        return zeros, zeros

    def step(self, carry: Carry, projected: Float[Array, "*batch gates"], *, key: Noise | None = None) -> Carry:
        return _lstm(carry[0], projected + self.hidden_layer(carry[1], key=key))

    def output(self, carry: Carry) -> Float[Array, "*batch hidden"]:
        return carry[1]


class AnalogLSTMCellCombinedWeight(AnalogLSTMCell):
    """:class:`AnalogLSTMCell` with one matrix for inputs and hidden values together: one product a step, one bias."""

    joined = True

    def step(self, carry: Carry, projected: Float[Array, "*batch gates"], *, key: Noise | None = None) -> Carry:
        return _lstm(carry[0], self.hidden_layer(jnp.concatenate([projected, carry[1]], axis=-1), key=key))


class AnalogGRUCell(RecurrentCell):
    """The gated recurrent unit on analog tiles.

    With r, z, n the three parts of each matrix's result: ``n = tanh(n_x + s(r) n_h)``, ``h = n + s(z) (h - n)``.
    Arguments as :class:`RecurrentCell`.
    """

    gates = 3

    def step(
        self, carry: Float[Array, "*batch hidden"], projected: Float[Array, "*batch gates"], *, key: Noise | None = None
    ) -> Float[Array, "*batch hidden"]:
        reset_x, keep_x, new_x = jnp.split(projected, 3, axis=-1)
        reset_h, keep_h, new_h = jnp.split(self.hidden_layer(carry, key=key), 3, axis=-1)
        new = jnp.tanh(new_x + jax.nn.sigmoid(reset_x + reset_h) * new_h)
        return new + jax.nn.sigmoid(keep_x + keep_h) * (carry - new)


def _lstm(c: Float[Array, "*batch hidden"], sums: Float[Array, "*batch gates"]) -> Carry:
    i, f, g, o = jnp.split(sums, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return c, jax.nn.sigmoid(o) * jnp.tanh(c)


CELLS: Mapping[str, type[RecurrentCell]] = {
    cell.__name__: cell for cell in (AnalogVanillaRNNCell, AnalogLSTMCell, AnalogLSTMCellCombinedWeight, AnalogGRUCell)
}
"""Cells by name."""
