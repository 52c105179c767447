"""Noise from explicit keys: two engines behind one small interface.

A :class:`Stream` is made once per noisy operation from a JAX key and a name, and
gives arrays of normals, uniforms or raw bits. Every entry depends on the key, the
name and the *index of the entry* only: the same vector of a batch sees the same
noise alone, in a larger batch or under vmap.

Engines (static option ``TileConfig.noise_engine``):

``THREEFRY``
    ``jax.random``: exact, cryptographic quality, slow on CPU.
``COUNTER``
    a counter hash with a key of two words. The words come from one full call of
    ``jax.random`` on the user's key, so that streams of related keys are unrelated;
    the index is mixed with them by two rounds of multiply and shift. About twenty
    times cheaper than threefry on CPU. Normals come from the sum of the four bytes
    of a word, corrected by an odd polynomial (kurtosis 3.00, tails right to beyond
    four standard deviations). ``tests/test_random.py`` measures the quality.
"""

from __future__ import annotations

import enum
import math
import zlib
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Integer, UInt32

from aihwjax.errors import ConfigError
from aihwjax.typing import Key, Number, Shape

_GOLDEN = 0x9E3779B9
_SALT, _SALT_START, _SECOND_SALT = 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F
_U32, _F32 = np.uint32, np.float32


class NoiseEngine(enum.Enum):
    """How random numbers of the hot path are made."""

    COUNTER = "Counter"
    THREEFRY = "Threefry"


def named(name: str) -> int:
    """Return the 31-bit constant that a noise source folds into its key."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF


def fold(key: Key | int, name: str) -> Key:
    """Return the key of the noise source ``name``."""
    return jax.random.fold_in(as_key(key), named(name))


_Words = TypeVar("_Words", jax.Array, np.ndarray)


def _scrambled(word: _Words, shift: int) -> _Words:
    """Return ``word ^ (word >> shift)``.

    As primitives of ``lax``, as below: operators of arrays give the same program, but take three times as long to
    trace, and there are thousands of them in a training step.
    """
    if isinstance(word, np.ndarray):
        return word ^ (word >> _U32(shift))
    return lax.bitwise_xor(word, lax.shift_right_logical(word, _U32(shift)))


def _times(word: _Words, factor: int) -> _Words:
    return word * _U32(factor) if isinstance(word, np.ndarray) else lax.mul(word, _U32(factor))


def mix(word: _Words) -> _Words:
    """Scramble 32-bit words (a bijection with good avalanche)."""
    word = _times(_scrambled(word, 16), 0x7FEB352D)
    word = _times(_scrambled(word, 15), 0x846CA68B)
    return _scrambled(word, 16)


def _salts(label: int | jax.Array) -> tuple[jax.Array, jax.Array] | tuple[np.uint32, np.uint32]:
    """Return what the two words of a child's key are mixed with; constants if the label is known before tracing."""
    if isinstance(label, int):
        known = mix(np.array([label & 0xFFFFFFFF], np.uint32) * _U32(_SALT) + _U32(_SALT_START))
        return known[0], (known * _U32(_SECOND_SALT))[0]
    word = jnp.asarray(label).astype(jnp.uint32)
    salt = mix(lax.add(_times(word, _SALT), _U32(_SALT_START)))
    return salt, _times(salt, _SECOND_SALT)


def words(key: Key, count: int) -> UInt32[Array, " count"]:
    """Return ``count`` independent 32-bit words of a key, by one full call of ``jax.random``."""
    return jax.random.bits(key, (count,), jnp.uint32)


def index(shape: Shape) -> UInt32[Array, " ..."]:
    """Return the flat index of each entry of an array of ``shape``, as 32-bit words."""
    result, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        result = lax.add(result, _times(lax.broadcasted_iota(jnp.uint32, shape, axis), stride & 0xFFFFFFFF))
        stride *= shape[axis]
    return result


def spread(position: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Return what counts of a position: the part of :func:`counter_bits` that is the same for all streams."""
    return _times(position, _GOLDEN)


def counter_bits(
    pair: tuple[UInt32[Array, ""], UInt32[Array, ""]], spread_position: UInt32[Array, "*shape"]
) -> UInt32[Array, "*shape"]:
    """Return the random word at each position of the stream with the key words ``pair``; see :func:`spread`."""
    word = _scrambled(lax.add(spread_position, pair[0]), 16)
    word = _scrambled(lax.add(_times(word, 0x7FEB352D), pair[1]), 15)
    return _scrambled(_times(word, 0x846CA68B), 16)


def _number(word: UInt32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Return words below 2**31 as numbers; signed on the way, which processors convert faster."""
    return lax.convert_element_type(lax.convert_element_type(word, jnp.int32), jnp.float32)


def _polynomial(at: Float32[Array, "*shape"], *coefficients: float) -> Float32[Array, "*shape"]:
    """Return ``c0 + at (c1 + at (c2 + ...))``."""
    result: jax.Array = lax.mul(at, _F32(coefficients[-1]))
    for coefficient in reversed(coefficients[1:-1]):
        result = lax.mul(at, lax.add(_F32(coefficient), result))
    return lax.add(_F32(coefficients[0]), result)


def normal_of(word: UInt32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Turn random words into standard normals (sum of four bytes, corrected)."""
    mask = _U32(0x00FF00FF)
    pairs = lax.add(lax.bitwise_and(word, mask), lax.bitwise_and(lax.shift_right_logical(word, _U32(8)), mask))
    total = lax.bitwise_and(lax.add(pairs, lax.shift_right_logical(pairs, _U32(16))), _U32(0xFFFF))
    s = lax.mul(lax.sub(_number(total), _F32(510.0)), _F32(1.0 / 510.0))
    return lax.mul(s, _polynomial(lax.mul(s, s), 3.32067, 0.38088, 0.87662, -2.10785, 2.63882))


def uniform_of(word: UInt32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Turn random words into uniforms in [0, 1) with 24 bits."""
    return lax.mul(_number(lax.shift_right_logical(word, _U32(8))), _F32(2.0**-24))


def exponential_of(word: UInt32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Turn random words into standard exponentials with 24 bits, right to 2e-5."""
    number = _number(lax.add(lax.shift_right_logical(word, _U32(8)), _U32(1)))
    bits = lax.bitcast_convert_type(number, jnp.uint32)
    exponent = _number(lax.shift_right_logical(bits, _U32(23)))
    mantissa = lax.bitwise_or(lax.bitwise_and(bits, _U32(0x007FFFFF)), _U32(0x3F800000))
    t = lax.sub(lax.bitcast_convert_type(mantissa, jnp.float32), _F32(1))
    # minus the logarithm of the mantissa 1 + t, least squares
    tail = lax.mul(t, _polynomial(t, -0.99901045, 0.48915685, -0.28330432, 0.13011942, -0.030102625))
    whole = lax.mul(lax.sub(_F32(24 + 127), exponent), _F32(math.log(2)))
    return lax.max(lax.add(whole, tail), _F32(0))


@jax.jit
def _child(
    first: jax.Array, second: jax.Array, low: jax.Array | np.uint32, high: jax.Array | np.uint32
) -> tuple[jax.Array, jax.Array]:
    """Return the key words of a child: a function of its own, so that a program traces it once for hundreds of uses."""
    return mix(lax.add(first, low)), mix(lax.bitwise_xor(second, high))


class Stream(NamedTuple):
    """A source of noise for one operation: key words, or a key, and the engine.

    Make it with :func:`stream`. All methods are pure: the same call gives the same numbers,
    different names give unrelated numbers.
    """

    key: Key
    pair: tuple[UInt32[Array, ""], UInt32[Array, ""]] | None

    def child(self, name: str | int | Integer[Array, ""]) -> Stream:
        """Return the unrelated stream called ``name``; a number may be traced."""
        label = named(name) if isinstance(name, str) else name
        if self.pair is None:
            return Stream(jax.random.fold_in(self.key, label), None)
        low, high = _salts(label)
        first, second = self.pair
        return Stream(self.key, _child(first, second, low, high))

    def normal(self, shape: Shape) -> Float32[Array, " ..."]:
        """Standard normals (float32)."""
        if self.pair is None:
            return jax.random.normal(self.key, shape, jnp.float32)
        return normal_of(counter_bits(self.pair, spread(index(shape))))

    def normal_at(self, position: UInt32[Array, "*shape"]) -> Float32[Array, "*shape"]:
        """Standard normals at flat positions (uint32); what :meth:`normal` gives there. ``COUNTER`` only."""
        assert self.pair is not None
        return normal_of(counter_bits(self.pair, spread(position)))

    def uniform(self, shape: Shape) -> Float32[Array, " ..."]:
        """Uniforms in [0, 1) (float32)."""
        if self.pair is None:
            return jax.random.uniform(self.key, shape, jnp.float32)
        return uniform_of(counter_bits(self.pair, spread(index(shape))))

    def exponential(self, shape: Shape) -> Float32[Array, " ..."]:
        """Standard exponentials (float32)."""
        if self.pair is None:
            return jax.random.exponential(self.key, shape, jnp.float32)
        return exponential_of(counter_bits(self.pair, spread(index(shape))))

    def exact_normal(self, shape: Shape) -> Float32[Array, " ..."]:
        """Standard normals by the inverse error function: exact tails, for what is drawn once."""
        # 23 bits and a half are exact in single precision; with 24 the largest rounds to 1, whose normal is infinite
        middle = _number(lax.shift_right_logical(self.bits(shape), _U32(9))) + 0.5
        return jnp.sqrt(2.0) * lax.erf_inv(middle * jnp.float32(2.0**-22) - 1.0)

    def bits(self, shape: Shape, place: UInt32[Array, "*shape"] | None = None) -> UInt32[Array, "*shape"]:
        """Random 32-bit words.

        Args:
            shape: Of what is returned.
            place: ``spread(index(shape))``, if it was computed before for many streams.
        """
        if self.pair is None:
            return jax.random.bits(self.key, shape, jnp.uint32)
        return counter_bits(self.pair, spread(index(shape)) if place is None else place)


class Draws(Protocol):
    """What a product asks of its noise: a :class:`Stream` has it, and what gives the same numbers once more."""

    def child(self, name: str, /) -> Draws:
        """Return the unrelated source called ``name``."""

    def normal(self, shape: Shape, /) -> Float32[Array, " ..."]:
        """Standard normals (float32)."""

    def uniform(self, shape: Shape, /) -> Float32[Array, " ..."]:
        """Uniforms in [0, 1) (float32)."""


Noise: TypeAlias = Key | Stream | int
"""A source of randomness: a JAX key, the whole number of one, or a stream derived from one (cheaper inside a step)."""


def as_key(key: Key | int, name: str = "key") -> Key:
    """Return the JAX key that an argument stands for: wherever one is asked for, ``7`` means ``jax.random.key(7)``.

    Args:
        key: A JAX key, typed or raw, or a whole number; either may be traced.
        name: What the message calls the argument.

    Raises:
        ConfigError: If it is neither, or several keys.
    """
    problem, whole = "", "a whole number"
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        if -(2**63) <= key < 2**63:
            return jax.random.key(int(key))
        whole += " of 64 bits"
    elif isinstance(key, jax.Array | np.ndarray):
        typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
        raw = not typed and key.dtype == np.uint32 and key.shape == (_raw_words(),)
        if raw or (typed and key.shape == ()):
            return key  # type: ignore[return-value]
        if not typed and np.issubdtype(key.dtype, np.integer) and key.shape == ():
            return jax.random.key(key)
        problem = f" of shape {key.shape}"
    text = " ".join(repr(key).split())
    text = text if len(text) <= 60 else text[:57] + "..."
    hint = ", such as rngs()" if type(key).__name__ in ("Rngs", "RngStream") else ", such as jax.random.key(0)"
    raise ConfigError(f"{name}={text}{problem} is not allowed: give one JAX key{hint}, or {whole}")


def _raw_words() -> int:
    return 2 if jax.config.jax_default_prng_impl == "threefry2x32" else 4  # type: ignore[attr-defined]


def as_noise(key: Noise, name: str = "key") -> Key | Stream:
    """Return a stream as it is, and anything else as :func:`as_key` does.

    Args:
        key: A stream, a JAX key, or a whole number.
        name: What the message calls the argument.

    Raises:
        ConfigError: If it is none of them.
    """
    return key if isinstance(key, Stream) else as_key(key, name)


def plain(source: Noise) -> Key:
    """Return a source as a JAX key, for code of others, which splits keys with ``jax.random``.

    Args:
        source: A stream, a JAX key, or a whole number.
    """
    if not isinstance(source, Stream):
        return as_key(source)
    return stream(source, NoiseEngine.THREEFRY).key


def stream(source: Noise, engine: NoiseEngine) -> Stream:
    """Return the stream of one operation.

    Args:
        source: The operation's key or stream; derive it by name or index before (see :func:`derive`).
        engine: ``COUNTER`` or ``THREEFRY``.
    """
    if isinstance(source, Stream):
        if engine is NoiseEngine.THREEFRY and source.pair is not None:
            return Stream(jax.random.wrap_key_data(jnp.stack(source.pair), impl="threefry2x32"), None)
        if engine is NoiseEngine.COUNTER and source.pair is None:
            return stream(source.key, engine)
        return source
    source = as_key(source)
    if engine is NoiseEngine.THREEFRY:
        return Stream(source, None)
    pair = words(source, 2)
    return Stream(source, (pair[0], pair[1]))


def derive(source: Noise, label: str | int | Integer[Array, ""]) -> Noise:
    """Return the unrelated source called ``label``: folded into a key, or a child of a stream."""
    if isinstance(source, Stream):
        return source.child(label)
    return jax.random.fold_in(as_key(source), named(label) if isinstance(label, str) else label)


def normals(key: Noise, names: Sequence[str], shape: Shape) -> dict[str, Float32[Array, " ..."]]:
    """Return exact standard normals for each name: what a tile draws once, quick to compile."""
    source = stream(key, NoiseEngine.COUNTER)
    return {name: source.child(name).exact_normal(shape) for name in names}


def uniforms(key: Noise, names: Sequence[str], shape: Shape) -> dict[str, Float32[Array, " ..."]]:
    """Return uniforms in [0, 1) for each name."""
    source = stream(key, NoiseEngine.COUNTER)
    return {name: source.child(name).uniform(shape) for name in names}


def uniform(key: Noise, shape: Shape, low: Number, high: Number) -> Float[Array, " ..."]:
    """Return uniforms between ``low`` and ``high``: initial weights, quick to compile."""
    return _uniform(as_noise(key), shape, low, high)


@partial(jax.jit, static_argnames="shape")
def _uniform(key: Key | Stream, shape: Shape, low: Number, high: Number) -> jax.Array:
    return stream(key, NoiseEngine.COUNTER).uniform(shape) * (high - low) + low
