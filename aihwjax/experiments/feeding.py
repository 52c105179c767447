"""Pieces of any size from a generator become chunks of whole training steps, in a thread beside the training."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aihwjax.errors import DataError
from aihwjax.experiments.batches import Split
from aihwjax.experiments.data import Splits
from aihwjax.experiments.data.dataset import StreamedSplits
from aihwjax.experiments.data.streams import Piece, Stream
from aihwjax.experiments.parts import Chunk, Parts, array_chunks
from aihwjax.experiments.program import Program
from aihwjax.experiments.watching import Watch
from aihwjax.experiments.weighting import example_weights
from aihwjax.layer_rates import LayerRates
from aihwjax.random import fold
from aihwjax.typing import Key, Number

_MOST_STEPS = 64
_BYTES = 2**24
"""A chunk has at most so many steps, and about so many bytes of inputs; three of them are in memory."""
_PATIENCE = 0.05


class Labels(NamedTuple):
    """What is known of the labels of a stream before they come."""

    limit: int | None
    """They have to be below; ``None``: any goes."""
    class_weights: Sequence[float] | np.ndarray | None
    """Weight of each class, if there are any."""

    def weighed(self, piece: Piece) -> Piece:
        """Return a piece with the weights of its classes.

        Raises:
            DataError: If a label is too large.
        """
        if self.limit is not None and len(piece.y) and not piece.y.max() < self.limit:
            raise DataError(
                f"label {piece.y.max()} is out of range: the model's {self.limit} outputs allow 0 to {self.limit - 1}"
            )
        return piece._replace(weight=example_weights(self.class_weights, piece.y, piece.weight))


class _Failure(NamedTuple):
    error: BaseException


def in_parts(
    program: Program,
    numbers: tuple[nnx.State, Number | LayerRates],
    splits: Splits,
    train: Split,
    key: Key,
    watch: Watch,
    labels: Labels,
) -> Parts | None:
    """Return what trains epochs in parts, ``None`` if they are trained undivided.

    Args:
        program: What to compile for.
        numbers: Tile configurations and learning rate.
        splits: The data.
        train: Training set on the device; of a stream, not used.
        key: Key of the run.
        watch: Calls reports between steps.
        labels: What is known of the labels of a stream.
    """
    if isinstance(splits, StreamedSplits):
        return Parts(program, numbers, key, stream_chunks(program, splits.stream, key, labels), watch)
    return Parts(program, numbers, key, array_chunks(program, train, key), watch) if watch else None


def stream_chunks(
    program: Program, stream: Stream, key: Key, labels: Labels
) -> Callable[[int], Generator[Chunk, None, None]]:
    """Return a function that yields the chunks of an epoch over a stream.

    Args:
        program: What is compiled for.
        stream: Training examples.
        key: Key of the run.
        labels: What is known of its labels.
    """
    seed = int(jax.random.bits(fold(key, "batches"), (), jnp.uint32) >> 1)  # positive in 32 bits, for any library

    def chunks(number: int) -> Generator[Chunk, None, None]:
        with closing(ahead(_chunks(program, stream.pieces(number, seed), labels))) as made:
            for chunk in made:  # on the device from this thread, whose default device may be another one
                data, rows, rest = jax.device_put((chunk.data, chunk.rows, chunk.rest))
                yield chunk._replace(data=data, rows=rows, rest=rest)

    return chunks


def ahead(chunks: Generator[Chunk, None, None]) -> Generator[Chunk, None, None]:
    """Yield what an iterator yields, which is made in another thread in the meantime; its errors are raised here.

    Args:
        chunks: The iterator; it is closed in its thread when this one is.
    """
    made: queue.Queue[Chunk | _Failure | None] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def put(value: Chunk | _Failure | None) -> bool:
        while not stopped.is_set():
            try:
                made.put(value, timeout=_PATIENCE)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for chunk in chunks:
                if not put(chunk):
                    break
            put(None)
        except BaseException as error:  # raised where the examples are asked for
            put(_Failure(error))
        finally:
            chunks.close()

    thread = threading.Thread(target=work, name="aihwjax batches", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stopped.set()
        thread.join(timeout=5)  # a generator that waits for something is left behind


def _chunks(program: Program, pieces: Iterator[Piece], labels: Labels) -> Generator[Chunk, None, None]:
    """Yield the examples of pieces as chunks of one shape."""
    size = program.step_size
    rows: np.ndarray | None = None
    waiting: list[Piece] = []
    held = 0
    for piece in map(labels.weighed, pieces):
        if rows is None:
            steps = max(1, min(_MOST_STEPS, _BYTES // max(1, size * piece.x[0].nbytes)))
            rows = np.arange(steps * size, dtype=np.int32).reshape(steps, size)
        waiting.append(piece)
        held += len(piece.y)
        while held >= rows.size:
            joined = _joined(waiting)
            yield _chunk(program, rows, _cut(joined, 0, rows.size))
            waiting, held = [_cut(joined, rows.size, held)], held - rows.size
    if held:
        assert rows is not None
        yield _chunk(program, rows, _joined(waiting))


def _joined(pieces: list[Piece]) -> Piece:
    parts = zip(*pieces, strict=True)
    return Piece(*(None if part[0] is None else np.concatenate(part) for part in parts))  # type: ignore[arg-type]


def _cut(piece: Piece, start: int, end: int) -> Piece:
    return Piece(*(None if part is None else part[start:end] for part in piece))  # type: ignore[arg-type]


def _chunk(program: Program, rows: np.ndarray, piece: Piece) -> Chunk:
    """Return a chunk with these examples, filled up to the shape of all chunks; still on the host."""
    count, size = len(piece.y), rows.shape[1]
    full, left = divmod(count, size)
    rest = None
    if left and program.pad:
        full += 1
    elif left:
        rest = np.arange(full * size, count, dtype=np.int32)
    data = [None if part is None else _filled(part, rows.size) for part in piece]
    return Chunk(Split(*data), rows, full, rest, program.pad, count)  # type: ignore[arg-type]


def _filled(part: np.ndarray, count: int) -> np.ndarray:
    return np.pad(part, [(0, count - len(part))] + [(0, 0)] * (part.ndim - 1))
