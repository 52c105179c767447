"""A recurrent layer: cells over time, in both directions, one on top of the other (spec: layers, section 6)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn.recurrent import flip_sequences
from jaxtyping import Array, Float, Int

from aihwjax import random
from aihwjax.errors import ConfigError, DataError, ShapeError, nearest
from aihwjax.nn.recurrent.cells import CELLS, Carry, RecurrentCell
from aihwjax.nn.scan import scan
from aihwjax.nn.text import Readable
from aihwjax.nn.tile import AnalogTile
from aihwjax.nn.unfolding import positive
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers
from aihwjax.tile.config import TileConfig


class AnalogRNN(Readable):
    """Recurrent layers on analog tiles over sequences.

    Time is one loop. The products of the inputs, which do not wait for it, are made for all steps at once; at an update
    the x and d of all steps are one mini-batch, first step first.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from aihwjax import nn
        >>> layer = AnalogRNN(nn.AnalogLSTMCell, 3, 16, rngs=nnx.Rngs(0))
        >>> layer(jax.numpy.ones((8, 50, 3)), key=jax.random.key(1)).shape
        (8, 50, 16)

    Args:
        cell: Class of the cells, or its name: ``AnalogVanillaRNNCell``, ``AnalogLSTMCell``,
            ``AnalogLSTMCellCombinedWeight`` or ``AnalogGRUCell``.
        in_features: Number of inputs.
        hidden_features: Number of outputs of a cell.
        use_bias: Whether each matrix has a bias.
        num_layers: Layers on top of each other.
        bidirectional: Whether a second cell of each layer reads the sequence backward; outputs are twice as many.
        dropout: Part of the outputs that is dropped between layers while training, 0 to 1.
        time_major: Whether sequences are ``(time, batch, ...)`` instead of ``(batch, time, ...)``.
        return_carry: Whether a call returns ``(carry, outputs)``, as ``nnx.RNN`` does.
        config: Configuration of the tiles; ``None``: ``SingleRPUConfig()``.
        rngs: Source of initial weights, devices and dropout.

    Raises:
        ConfigError: If an argument is not allowed.
    """

    def __init__(
        self,
        cell: type[RecurrentCell] | str,
        in_features: int,
        hidden_features: int,
        *,
        use_bias: bool = True,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        time_major: bool = False,
        return_carry: bool = False,
        config: TileConfig | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        kind = CELLS.get(cell) if isinstance(cell, str) else cell
        if not isinstance(kind, type) or not issubclass(kind, RecurrentCell):
            near = nearest(cell, CELLS) if isinstance(cell, str) else ""
            raise ConfigError(
                f"cell={cell!r} is not allowed: give a class of cells, or one of {', '.join(CELLS)}{near}"
            )
        (self.in_features,) = positive("in_features", in_features, 1)
        (self.hidden_features,) = positive("hidden_features", hidden_features, 1)
        (self.num_layers,) = positive("num_layers", num_layers, 1)
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ConfigError(f"dropout={dropout!r} is not allowed: give a number from 0 to 1")
        self.cell = kind.__name__
        """Name of the class of the cells."""
        self.use_bias = bool(use_bias)
        """Whether each matrix has a bias."""
        self.bidirectional = bool(bidirectional)
        """Whether there is a cell for each direction."""
        self.dropout = float(dropout)
        """Part of the outputs that is dropped between layers."""
        self.time_major = bool(time_major)
        """Whether time is the first axis."""
        self.return_carry = bool(return_carry)
        """Whether calls return the carry too."""
        directions = 2 if self.bidirectional else 1
        sizes = [self.in_features, *[self.hidden_features * directions] * (self.num_layers - 1)]
        build = [
            nnx.List(
                [
                    kind(size, self.hidden_features, use_bias=use_bias, config=config, rngs=rngs)
                    for _ in range(directions)
                ]
            )
            for size in sizes
        ]
        self.cells = nnx.List(build)
        """The cells of each layer: forward, and backward if there are both."""
        self.drop = nnx.Dropout(self.dropout, rngs=rngs) if self.dropout > 0 and self.num_layers > 1 else None
        """Dropout between layers, if there is any."""

    def __call__(
        self,
        x: Float[Array, "first second in"],
        *,
        key: Noise | None = None,
        initial_carry: list[Any] | None = None,
        seq_lengths: Int[Array, " batch"] | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
    ) -> Any:
        """Run over sequences.

        Args:
            x: Inputs ``(batch, time, in)``, or ``(time, batch, in)`` if time-major.
            key: Source of the noise; equal keys give equal outputs.
            initial_carry: What each layer remembers before the first step: a list of carries, with both directions a
                list of pairs; ``None``: zeros.
            seq_lengths: Steps of each sequence that count, ``(batch,)``: the carry that is returned is the one after
                them, and the backward direction begins there. Outputs beyond are of no meaning.
            return_carry: Replaces the layer's own setting.
            time_major: Replaces the layer's own setting.

        Returns:
            Outputs ``(batch, time, hidden)`` in the order of the inputs' axes, twice as many with both directions; with
            ``return_carry`` a pair of the carries, a list as ``initial_carry``, and the outputs.

        Raises:
            ModuleError: If there is no key.
            ConfigError: If the key is none, or ``initial_carry`` does not have an entry for each layer.
            ShapeError: If ``x`` or ``seq_lengths`` has another shape.
            DataError: If a length is not from 0 to the number of steps (not checked inside a traced function).
        """
        x, name = as_numbers(f"{self._name()}: x", x), self._name()
        time_major = self.time_major if time_major is None else time_major
        if jnp.ndim(x) != 3 or x.shape[-1] != self.in_features:
            axes = "time, batch" if time_major else "batch, time"
            raise ShapeError(f"{name}: x has shape {jnp.shape(x)}, give ({axes}, {self.in_features})")
        x = x if time_major else jnp.swapaxes(x, 0, 1)
        if seq_lengths is not None and jnp.shape(seq_lengths) != x.shape[1:2]:
            raise ShapeError(f"{name}: seq_lengths has shape {jnp.shape(seq_lengths)}, give {x.shape[1:2]}")
        _check_lengths(name, seq_lengths, x.shape[0])
        if initial_carry is not None and len(initial_carry) != self.num_layers:
            raise ConfigError(f"{name}: initial_carry has {len(initial_carry)} entries, give {self.num_layers}")
        key, last = None if key is None else random.as_noise(key), []
        for number, cells in enumerate(self.cells):
            start = None if initial_carry is None else initial_carry[number]
            starts = start if self.bidirectional and start is not None else [start] * len(cells)
            ends, outputs = [], []
            for way, (cell, begin) in enumerate(zip(cells, starts, strict=True)):
                own = None if key is None else random.derive(random.derive(key, number), way)
                end, y = _over_time(cell, x, begin, seq_lengths, way == 1, own)
                ends.append(end)
                outputs.append(y)
            last.append(tuple(ends) if self.bidirectional else ends[0])
            x = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=-1)
            if self.drop is not None and number + 1 < self.num_layers:
                x = self.drop(x)
        y = x if time_major else jnp.swapaxes(x, 0, 1)
        return (last, y) if (self.return_carry if return_carry is None else return_carry) else y

    def analog_tiles(self) -> list[AnalogTile]:
        """Return the tiles of all cells."""
        return [tile for cells in self.cells for cell in cells for tile in cell.analog_tiles()]

    def _name(self) -> str:
        return f"AnalogRNN({self.cell}, {self.in_features}, {self.hidden_features})"

    def describe(self) -> str:
        """Return the text."""
        text = "" if self.num_layers == 1 else f", num_layers={self.num_layers}"
        text += ", bidirectional=True" if self.bidirectional else ""
        text += f", dropout={self.dropout:g}" if self.dropout else ""
        tiles = self.cells[0][0].hidden_layer._tiles_text()
        return f"{self._name()[:-1]}{text}, use_bias={self.use_bias}, {tiles})"


def _check_lengths(name: str, lengths: Int[Array, " batch"] | None, steps: int) -> None:
    """Refuse lengths that sequences of so many steps cannot have, as far as they are known."""
    if lengths is None or isinstance(lengths, jax.core.Tracer):
        return
    known = np.asarray(lengths)
    if not np.issubdtype(known.dtype, np.integer) or (known < 0).any() or (known > steps).any():
        raise DataError(f"{name}: seq_lengths={known.tolist()} is not allowed: give whole numbers from 0 to {steps}")


def _over_time(
    cell: RecurrentCell,
    x: Float[Array, "time batch in"],
    carry: Carry,
    lengths: Int[Array, " batch"] | None,
    backward: bool,
    key: Noise | None,
) -> tuple[Carry, Float[Array, "time batch hidden"]]:
    """Run a cell over sequences and return the last carry and the outputs, in the order of the inputs."""
    if backward:
        x = flip_sequences(x, lengths, num_batch_dims=1, time_major=True)
    if carry is None:
        carry = cell.initialize_carry(x.shape[1:])
    projected = cell.project(x, key=None if key is None else random.derive(key, "input"))

    def step(carry: Carry, inputs: tuple[jax.Array, jax.Array]) -> tuple[Carry, Any]:
        number, now = inputs
        own = None if key is None else random.derive(random.derive(key, "hidden"), number)
        carry = cell.step(carry, now, key=own)
        return carry, (cell.output(carry), None if lengths is None else carry)

    end, (outputs, carries) = scan(step, carry, (jnp.arange(x.shape[0]), projected))
    if lengths is not None:
        every = jax.tree.map(lambda first, after: jnp.concatenate([first[None], after]), carry, carries)
        batch = jnp.arange(x.shape[1])
        end = jax.tree.map(lambda values: values[jnp.asarray(lengths), batch], every)  # of length 0: the first
    if backward:
        outputs = flip_sequences(outputs, lengths, num_batch_dims=1, time_major=True)
    return end, outputs
