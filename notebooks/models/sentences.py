"""all-MiniLM-L6-v2 in Flax NNX: tokens, encoder and pooling, with the published weights.

It is the encoder of BERT (Devlin et al., 2018) with six layers, and the sentence is the mean over its tokens (Reimers
and Gurevych, 2019). Nothing in it knows of tiles.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


# ---------------------------------------------------------------------- tokens
class Tokenizer:
    """Lower-cased words in pieces (WordPiece), as BERT has them.

    Args:
        vocabulary: All pieces, in the order of their numbers; ``##`` begins what continues a word.
        longest: Most tokens of a sentence.
    """

    def __init__(self, vocabulary: Iterable[str], longest: int = 256) -> None:
        self.number = {piece: number for number, piece in enumerate(vocabulary)}
        self.longest = longest

    def __call__(self, sentences: Sequence[str]) -> tuple[jax.Array, jax.Array]:
        """Return tokens ``(n, length)`` and which of them are there; the others fill up."""
        first, last = self.number["[CLS]"], self.number["[SEP]"]
        rows = []
        for sentence in sentences:
            pieces = [piece for word in _words(sentence) for piece in self._pieces(word)]
            rows.append([first, *pieces[: self.longest - 2], last])
        length = max(map(len, rows))
        tokens = np.full((len(rows), length), self.number["[PAD]"])
        for row, pieces in zip(tokens, rows, strict=True):
            row[: len(pieces)] = pieces
        there = np.arange(length) < np.asarray([len(pieces) for pieces in rows])[:, None]
        return jnp.asarray(tokens), jnp.asarray(there)

    def _pieces(self, word: str) -> list[int]:
        """Return the longest known piece of a word, then that of the rest, and so on."""
        found, start = [], 0
        while start < len(word):
            ends = range(len(word), start, -1)
            begin = "##" if start else ""
            end = next((end for end in ends if begin + word[start:end] in self.number), None)
            if end is None or len(word) > 100:
                return [self.number["[UNK]"]]
            found.append(self.number[begin + word[start:end]])
            start = end
        return found


def _words(sentence: str) -> list[str]:
    """Return the words and signs of a sentence, in lower case and without accents."""
    letters = []
    for letter in unicodedata.normalize("NFD", sentence.lower()):
        kind = unicodedata.category(letter)
        if kind == "Mn" or letter in "\0\ufffd" or (kind.startswith("C") and letter not in "\t\n\r"):
            continue
        ascii_sign = letter.isascii() and not letter.isalnum() and letter.isprintable() and letter != " "
        alone = ascii_sign or kind.startswith("P") or _is_ideograph(letter)
        letters.append(f" {letter} " if alone else letter)
    return "".join(letters).split()


def _is_ideograph(letter: str) -> bool:
    code = ord(letter)
    ranges = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
    return any(low <= code <= high for low, high in ranges)


# --------------------------------------------------------------------- encoder
class Layer(nnx.Module):
    """Attention and two matrices, each with a norm behind its sum.

    Args:
        width: Features of a token.
        inner: Features between the two matrices.
        heads: Number of heads.
        rngs: Source of initial weights.
    """

    def __init__(self, width: int, inner: int, heads: int, rngs: nnx.Rngs) -> None:
        self.attend = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.attend_norm = nnx.LayerNorm(width, epsilon=1e-12, rngs=rngs)
        self.wide = nnx.Linear(width, inner, rngs=rngs)
        self.back = nnx.Linear(inner, width, rngs=rngs)
        self.norm = nnx.LayerNorm(width, epsilon=1e-12, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Return tokens ``(n, length, width)``."""
        x = self.attend_norm(x + self.attend(x, mask=mask))
        return self.norm(x + self.back(nnx.gelu(self.wide(x), approximate=False)))


class Encoder(nnx.Module):
    """Sentences to vectors of length 1.

    Args:
        vocabulary: Number of tokens.
        places: Most tokens of a sentence.
        width: Features of a token.
        inner: Features between the two matrices of a layer.
        heads: Number of heads.
        layers: Number of layers.
        rngs: Source of initial weights.
    """

    def __init__(
        self,
        vocabulary: int = 30522,
        places: int = 512,
        width: int = 384,
        inner: int = 1536,
        heads: int = 12,
        layers: int = 6,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.words = nnx.Embed(vocabulary, width, rngs=rngs)
        self.places = nnx.Embed(places, width, rngs=rngs)
        self.kinds = nnx.Embed(2, width, rngs=rngs)
        self.norm = nnx.LayerNorm(width, epsilon=1e-12, rngs=rngs)
        self.layers = nnx.List([Layer(width, inner, heads, rngs) for _ in range(layers)])

    def __call__(self, tokens: jax.Array, there: jax.Array) -> jax.Array:
        """Return ``(n, width)``, given tokens ``(n, length)`` and which of them are there."""
        places = self.places(jnp.arange(tokens.shape[1]))
        x = self.norm(self.words(tokens) + places + self.kinds(jnp.zeros_like(tokens)))
        for layer in self.layers:
            x = layer(x, there[:, None, None, :])
        mean = (x * there[..., None]).sum(axis=1) / there.sum(axis=1)[:, None]
        return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)


# --------------------------------------------------------------------- weights
def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file in the format safetensors, by name.

    The file begins with the length of a JSON text and the text, which says where each array lies.
    """
    data = np.memmap(path, mode="r")
    length = int(data[:8].view("<u8")[0])
    entries = json.loads(bytes(data[8 : 8 + length]))
    kinds = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
    arrays = {}
    for name, entry in entries.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            arrays[name] = data[start:end].view(kinds[entry["dtype"]]).reshape(entry["shape"])
    return arrays


_Turn = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


def _as_it_is(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return array.reshape(shape)


def _turned(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a matrix ``(out, in)`` as a kernel, whose inputs come first."""
    return array.T.reshape(shape)


def names(layers: int) -> dict[str, tuple[str, _Turn]]:
    """Return for each parameter of the encoder, by path, its published name and how it is turned."""
    found: dict[str, tuple[str, _Turn]] = {
        "words/embedding": ("embeddings.word_embeddings.weight", _as_it_is),
        "places/embedding": ("embeddings.position_embeddings.weight", _as_it_is),
        "kinds/embedding": ("embeddings.token_type_embeddings.weight", _as_it_is),
        "norm/scale": ("embeddings.LayerNorm.weight", _as_it_is),
        "norm/bias": ("embeddings.LayerNorm.bias", _as_it_is),
    }
    matrices = {
        "attend/query": "attention.self.query",
        "attend/key": "attention.self.key",
        "attend/value": "attention.self.value",
        "attend/out": "attention.output.dense",
        "wide": "intermediate.dense",
        "back": "output.dense",
    }
    norms = {"attend_norm": "attention.output.LayerNorm", "norm": "output.LayerNorm"}
    for number in range(layers):
        here, there = f"layers/{number}", f"encoder.layer.{number}"
        for path, name in matrices.items():
            found[f"{here}/{path}/kernel"] = f"{there}.{name}.weight", _turned
            found[f"{here}/{path}/bias"] = f"{there}.{name}.bias", _as_it_is
        for path, name in norms.items():
            found[f"{here}/{path}/scale"] = f"{there}.{name}.weight", _as_it_is
            found[f"{here}/{path}/bias"] = f"{there}.{name}.bias", _as_it_is
    return found


def load(encoder: Encoder, arrays: Mapping[str, np.ndarray]) -> None:
    """Write published weights into an encoder."""
    known = names(len(encoder.layers))
    for path, variable in nnx.iter_graph(encoder):
        if isinstance(variable, nnx.Param):
            name, turn = known["/".join(map(str, path))]
            variable.set_value(jnp.asarray(turn(arrays[name], variable.get_value().shape), jnp.float32))
