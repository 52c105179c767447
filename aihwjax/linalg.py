"""A matrix on an analog tile, for linear algebra (spec: layers, section 10)."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from aihwjax import arguments, random, tile
from aihwjax.errors import DataError, MissingExtraError, ShapeError, warn
from aihwjax.nn.mapping import changed_entries, scale_down
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, require_finite
from aihwjax.tile.config import SingleRPUConfig, TileConfig
from aihwjax.tile.state import TileState
from aihwjax.transposable import Linear, linear
from aihwjax.typing import Key, Number


@arguments.answering
@jax.tree_util.register_pytree_node_class
class AnalogMatrix:
    """A matrix on an analog tile, whose products are one noisy step each.

    A pytree: it can be an argument of ``jax.jit`` and swept with ``jax.vmap``. A product that is given no key has the
    noise of the matrix's own key and of the vector: another vector, other noise; the same vector, the same. So it is a
    pure function, which solvers in ``jax.scipy.sparse.linalg`` take as it is; to derivatives it is linear, with the
    backward product as its transpose.

    With ``mapping.weight_scaling_omega`` above 0 the matrix is scaled so that its largest magnitude is that, for the
    whole matrix or each row (``weight_scaling_columnwise``), and products are scaled back in digital.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import aihwjax as aj
        >>> config = aj.InferenceRPUConfig(mapping=aj.MappingParameter(weight_scaling_omega=1.0))
        >>> a = aj.linalg.AnalogMatrix(jnp.eye(4) + 0.1, config, key=0)
        >>> x, _ = jax.scipy.sparse.linalg.gmres(a, jnp.ones(4), tol=1e-2)
        >>> x.shape
        (4,)

    Args:
        matrix: Entries ``(rows, columns)``, finite.
        config: Configuration of the tile; ``None``: ``SingleRPUConfig()``.
        key: Source of the devices, and of the noise of products that are given no key.

    Raises:
        ShapeError: If ``matrix`` does not have two axes.
        DataError: If it is no array of real numbers, or empty.
        NonFiniteError: If it has NaN or infinity.

    Warns:
        UserWarning: If the devices cannot hold some of the entries, which are clipped.
    """

    def __init__(
        self, matrix: Float[Array, "out in"] | np.ndarray, config: TileConfig | None = None, *, key: Key | int
    ) -> None:
        matrix = as_numbers("matrix", matrix)
        if jnp.ndim(matrix) != 2:
            raise ShapeError(f"matrix has shape {jnp.shape(matrix)}, give (rows, columns)")
        if 0 in jnp.shape(matrix):
            raise DataError(f"matrix has shape {jnp.shape(matrix)}, which is empty")
        require_finite("matrix", matrix)
        key, config = random.as_key(key), SingleRPUConfig() if config is None else config
        wanted = jnp.asarray(matrix, jnp.float32)
        state = tile.init(config, random.fold(key, "tile"), wanted.shape)  # type: ignore[arg-type]
        written, mapping = wanted, config.mapping
        if mapping.present("weight_scaling_omega"):
            written, scales = scale_down(wanted, mapping.weight_scaling_omega, mapping.weight_scaling_columnwise, None)
            state = dataclasses.replace(state, mapping_scales=jnp.broadcast_to(scales, wanted.shape[:1]))
        state = tile.set_weights(config, state, written, random.fold(key, "write"))
        self.config = config
        """Configuration of the tile."""
        self.state = state
        """The tile, with the scale of its outputs."""
        self.key = random.fold(key, "noise")
        """Source of the noise of products that are given no key."""
        _warn_of_clipped(written, tile.get_weights(config, state))

    def tree_flatten(self) -> tuple[tuple[TileConfig, TileState, Key], None]:
        """Return the parts, for ``jax.tree``."""
        return (self.config, self.state, self.key), None

    @classmethod
    def tree_unflatten(cls, _: None, parts: tuple[TileConfig, TileState, Key]) -> AnalogMatrix:
        """Return a matrix of its parts, for ``jax.tree``."""
        matrix = object.__new__(cls)
        matrix.config, matrix.state, matrix.key = parts
        return matrix

    def __repr__(self) -> str:
        return f"AnalogMatrix({self.shape[0]}x{self.shape[1]}, {type(self.config.device).__name__})"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        rows, columns = self.state.shape
        return rows, columns

    @property
    def dtype(self) -> Any:
        """Type of the products, float32."""
        return jnp.dtype(jnp.float32)

    def matvec(self, x: Float[Array, " in"], *, key: Noise | None = None) -> Float[Array, " out"]:
        """Multiply by a vector, through the converters of the forward product.

        Args:
            x: Vector ``(columns,)``.
            key: Source of the noise; ``None``: as the vector says.

        Raises:
            ShapeError: If the vector does not have the number of columns.
            DataError: If it is no array of real numbers.
        """
        x = self._vector("x", x, self.shape[1])
        return self._product(x, key, forward=True)

    def rmatvec(self, d: Float[Array, " out"], *, key: Noise | None = None) -> Float[Array, " in"]:
        """Multiply by a vector from the other side, ``d @ A``, through the converters of the backward product.

        Args:
            d: Vector ``(rows,)``.
            key: Source of the noise; ``None``: as the vector says.

        Raises:
            ShapeError: If the vector does not have the number of rows.
            DataError: If it is no array of real numbers.
        """
        d = self._vector("d", d, self.shape[0])
        return self._product(d, key, forward=False)

    def matmat(self, x: Float[Array, "in k"], *, key: Noise | None = None) -> Float[Array, "out k"]:
        """Multiply by the columns of a matrix, each an analog product of its own.

        Args:
            x: Matrix ``(columns, k)``.
            key: Source of the noise; ``None``: as the vectors say.

        Raises:
            ShapeError: If ``x`` has other than two axes, or not the number of columns.
            DataError: If it is no array of real numbers.
        """
        x = as_numbers("x", x)
        if jnp.ndim(x) != 2:
            raise ShapeError(f"AnalogMatrix{self.shape}: x has shape {jnp.shape(x)}, give ({self.shape[1]}, k)")
        columns = jnp.swapaxes(x, 0, 1)
        if key is None:
            return jax.vmap(self.matvec, out_axes=1)(columns)
        own = jax.vmap(lambda number: random.derive(key, number))(jnp.arange(columns.shape[0]))
        return jax.vmap(lambda x, key: self.matvec(x, key=key), out_axes=1)(columns, own)

    def update(
        self, x: Float[Array, " in"], d: Float[Array, " out"], alpha: Number = 1.0, *, key: Noise
    ) -> AnalogMatrix:
        """Return the matrix after the outer product ``alpha d x`` was added by pulses (BLAS: ``ger``).

        Args:
            x: Vector ``(columns,)``.
            d: Vector ``(rows,)``.
            alpha: Factor, of any sign.
            key: Source of pulses and noise.

        Raises:
            ShapeError: If a vector does not fit.
            DataError: If one is no array of real numbers.
            NonFiniteError: If one has NaN or infinity (not checked inside a traced function).
        """
        x, d = self._vector("x", x, self.shape[1]), self._vector("d", d, self.shape[0])
        scales = self.state.mapping_scales
        d = -jnp.sign(jnp.asarray(alpha)) * (d if scales is None else d / scales)
        state = tile.update(self.config, self.state, x[None], d[None], jnp.abs(jnp.asarray(alpha)), key)
        return AnalogMatrix.tree_unflatten(None, (self.config, state, self.key))

    def to_dense(self) -> Float[Array, "out in"]:
        """Return the entries as they are on the tile, without the noise of a product."""
        weights = tile.get_weights(self.config, self.state)
        return weights if self.state.mapping_scales is None else weights * self.state.mapping_scales[:, None]

    def as_lineax(self) -> Any:
        """Return it as an operator of the package ``lineax``, which has to be installed.

        Raises:
            MissingExtraError: If it is not.
        """
        try:
            lineax = importlib.import_module("lineax")
        except ImportError:
            raise MissingExtraError("lineax is not installed: pip install 'aihwjax[lineax]'") from None
        return lineax.FunctionLinearOperator(self.matvec, jax.ShapeDtypeStruct((self.shape[1],), jnp.float32))

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        """Multiply by a vector, as solvers call a matrix."""
        return self.matvec(x)

    def __matmul__(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """Return ``A @ x`` for a vector or a matrix."""
        return self.matvec(x) if jnp.ndim(x) == 1 else self.matmat(x)

    def __rmatmul__(self, d: Float[Array, ...]) -> Float[Array, ...]:
        """Return ``d @ A`` for a vector, or for a matrix row by row."""
        return self.rmatvec(d) if jnp.ndim(d) == 1 else jax.vmap(self.rmatvec)(d)

    # numpy arrays would take `array @ A` apart entry by entry
    __array_ufunc__ = None

    def _vector(self, name: str, value: Any, size: int) -> jax.Array:
        value = as_numbers(f"AnalogMatrix{self.shape}: {name}", value)
        if jnp.shape(value) != (size,):
            raise ShapeError(f"AnalogMatrix{self.shape}: {name} has shape {jnp.shape(value)}, give ({size},)")
        require_finite(f"AnalogMatrix{self.shape}: {name}", value)
        return jnp.asarray(value, jnp.float32)

    def _product(self, vector: jax.Array, key: Noise | None, forward: bool) -> jax.Array:
        noise = random.plain(self.key if key is None else key)
        # keys are no numbers to a primitive: their words are
        parts = self.config, self.state, jax.random.key_data(noise)
        kind = str(jax.random.key_impl(noise)), key is None
        ways = (_forward(*kind), _backward(*kind))
        return linear(*(ways if forward else ways[::-1]), parts, vector)


_Parts = tuple[TileConfig, TileState, jax.Array]


def _source(words: jax.Array, implementation: str, of_the_vector: bool, vector: jax.Array) -> Key:
    """Return the source of the noise: that of the words, or of the words and the bits of the vector."""
    key = jax.random.wrap_key_data(words, impl=implementation)
    if not of_the_vector:
        return key
    bits = lax.bitcast_convert_type(vector, jnp.uint32)
    place = random.spread(random.index(vector.shape))
    return jax.random.fold_in(key, jnp.sum(random.mix(bits ^ place), dtype=jnp.uint32))


@functools.cache  # one object for each kind: a program is compiled for it
def _forward(implementation: str, of_the_vector: bool) -> Linear:
    def product(parts: _Parts, x: jax.Array) -> jax.Array:
        config, state, words = parts
        key = random.fold(_source(words, implementation, of_the_vector, x), "forward")
        y = tile.forward(config, state, x, key)
        return y if state.mapping_scales is None else y * state.mapping_scales

    return product


@functools.cache
def _backward(implementation: str, of_the_vector: bool) -> Linear:
    """The transpose of the forward product, for solvers and derivatives: the analog one."""

    def product(parts: _Parts, d: jax.Array) -> jax.Array:
        config, state, words = parts
        key = random.fold(_source(words, implementation, of_the_vector, d), "backward")
        return tile.backward(config, state, d if state.mapping_scales is None else d * state.mapping_scales, key)

    return product


def _warn_of_clipped(wanted: jax.Array, held: jax.Array) -> None:
    """Say how many entries the devices do not hold, as far as that is known."""
    if isinstance(held, jax.core.Tracer):
        return
    changed = int(changed_entries(wanted, held))
    if changed:
        warn(
            f"{changed} of {wanted.size} entries are not what they were written as: devices clip them, or write "
            "noise changes them; mapping.weight_scaling_omega scales a matrix into the range of its devices"
        )
