"""Models of all kinds, as people write them who know nothing of tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tests.nn.models import inputs

TOKENS = jnp.arange(10).reshape(2, 5) % 7


class Case(NamedTuple):
    """A model, what it is called with, and which of its layers become analog."""

    build: Callable[[nnx.Rngs], nnx.Module]
    arguments: tuple[Any, ...]
    converted: list[str]


class Contractions(nnx.Module):
    """Einsums: heads from tokens, heads to tokens, one output, other orders."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.heads = nnx.Einsum("nta,hab->nthb", (3, 4, 2), (3, 2), rngs=rngs)
        self.joined = nnx.Einsum("...thb,hbc->...ct", (3, 2, 5), rngs=rngs)
        self.one = nnx.Einsum("n c t, c -> t n", (5,), kernel_init=nnx.initializers.normal(), rngs=rngs)
        assert self.heads.bias is not None
        self.heads.bias.set_value(inputs(3, 2, seed=3))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.one(jnp.tanh(self.joined(self.heads(x))))


class Adapted(nnx.Module):
    """Low-rank parts beside layers, inside and outside."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        b: Any = nnx.initializers.normal(0.5)
        base = nnx.Linear(4, 6, rngs=rngs)
        self.outer = nnx.LoRA(4, 2, 6, base_module=base, b_initializer=b, rngs=rngs)
        self.inner = nnx.LoRALinear(6, 3, lora_rank=2, b_initializer=b, rngs=rngs)
        self.alone = nnx.LoRA(3, 1, 3, b_initializer=b, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.alone(self.inner(jnp.tanh(self.outer(x))))


class Dense(nnx.Linear):
    """A layer that is only built in another way."""

    def __init__(self, size: int, rngs: nnx.Rngs) -> None:
        super().__init__(size, size, use_bias=False, rngs=rngs)


class Containers(nnx.Module):
    """Layers in every container that a module can have, some of them in two."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        own = Dense(4, rngs)
        self.list = nnx.List([own, nnx.relu, nnx.LayerNorm(4, rngs=rngs)])
        self.dict = nnx.Dict(a=nnx.Linear(4, 4, rngs=rngs), b=own)
        self.plain = nnx.data([nnx.Linear(4, 4, rngs=rngs), {"c": nnx.Linear(4, 4, rngs=rngs)}])
        self.tuple = nnx.data((self.plain[0], (nnx.Linear(4, 4, rngs=rngs), own)))

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.list:
            x = layer(x)
        x = self.dict["b"](self.dict["a"](x))
        x = self.plain[1]["c"](self.plain[0](x))
        return self.tuple[1][1](self.tuple[1][0](self.tuple[0](x)))


class Block(nnx.Module):
    """A layer of a transformer, in the type that it is given."""

    def __init__(self, rngs: nnx.Rngs, dtype: Any = None) -> None:
        self.norm = nnx.LayerNorm(8, dtype=dtype, rngs=rngs)
        self.attend = nnx.MultiHeadAttention(2, 8, decode=False, normalize_qk=True, dtype=dtype, rngs=rngs)
        self.wide = nnx.LoRALinear(8, 12, lora_rank=2, lora_dtype=dtype, dtype=dtype, rngs=rngs)
        self.back = nnx.Linear(12, 8, dtype=dtype, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attend(self.norm(x))
        return x + self.drop(self.back(nnx.gelu(self.wide(x))))


class Scanned(nnx.Module):
    """A stack of such layers, in half precision."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        @nnx.split_rngs(splits=3)
        @nnx.vmap
        def make(rngs: nnx.Rngs) -> Block:
            return Block(rngs, jnp.bfloat16)

        self.blocks = make(rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        step = nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return step(x, self.blocks)


class Attention(nnx.Module):
    """Attention as Flax has it, with dropout and its own keys; tokens by a matrix that is used twice."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(7, 8, rngs=rngs)
        self.attend = nnx.MultiHeadAttention(
            4, 8, qkv_features=16, num_kv_heads=2, dropout_rate=0.3, normalize_qk=True, decode=False, rngs=rngs
        )
        self.norm = nnx.RMSNorm(8, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed(tokens)
        mask = nnx.make_causal_mask(tokens)
        return self.embed.attend(self.norm(x + self.attend(x, mask=mask)))


class Decoder(nnx.Module):
    """Attention that writes one token after the other and remembers the others."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.attend = nnx.MultiHeadAttention(2, 8, decode=True, rngs=rngs)
        self.attend.init_cache((2, 5, 8))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.concatenate([self.attend(x[:, n : n + 1]) for n in range(3)], axis=1)


def both_ways(rngs: nnx.Rngs) -> nnx.Module:
    """Return two recurrent layers of Flax, one for each direction."""
    cells = nnx.SimpleCell(4, 3, rngs=rngs), nnx.GRUCell(4, 3, rngs=rngs)
    return nnx.Bidirectional(*(nnx.RNN(cell) for cell in cells))


_ATTENTION = [f"attend/{name}" for name in ("query", "key", "value", "out")]
MODELS: dict[str, Case] = {
    "einsums": Case(Contractions, (inputs(2, 5, 4),), ["heads", "joined", "one"]),
    "low rank": Case(Adapted, (inputs(5, 4),), ["outer/base_module", "inner"]),
    "containers": Case(Containers, (inputs(5, 4),), ["dict/a", "dict/b", "plain/0", "plain/1/c", "tuple/1/0"]),
    "attention": Case(Attention, (TOKENS,), _ATTENTION),
    "decoder": Case(Decoder, (inputs(2, 3, 8),), _ATTENTION),
    "scanned": Case(
        Scanned,
        (inputs(2, 3, 8).astype(jnp.bfloat16),),
        [*(f"blocks/{path}" for path in _ATTENTION), "blocks/wide", "blocks/back"],
    ),
    "both ways": Case(
        both_ways,
        (inputs(2, 5, 4),),
        [
            *(f"forward_rnn/cell/dense_{name}" for name in "hi"),
            *(f"backward_rnn/cell/dense_{name}" for name in "hi"),
        ],
    ),
}
