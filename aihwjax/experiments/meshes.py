"""Where the arrays of a run lie on a mesh of devices, and on the host.

Programs are those of one device: what is divided is said of their arguments and of the examples of each step, and XLA
divides the work. Random numbers are counted from keys and not drawn in order, so a run has the same ones on any mesh.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from aihwjax.errors import ConfigError, DataError, nearest
from aihwjax.experiments.batches import Split
from aihwjax.experiments.data import Splits
from aihwjax.nn.paths import analog_tiles, path_text

_Tree = TypeVar("_Tree")

BATCH = "batch"
"""Name of the axis along which the examples of a step are divided."""
TILES = "tiles"
"""Name of the axis along which the tiles of a stack are divided."""


def checked_mesh(mesh: object) -> Mesh:
    """Return a mesh whose shardings the compiler propagates.

    Args:
        mesh: From ``jax.make_mesh`` or ``jax.sharding.Mesh``.

    Raises:
        ConfigError: If it is none.
    """
    if not isinstance(mesh, Mesh):
        raise ConfigError(f"mesh={type(mesh).__name__} is not allowed: give a jax.sharding.Mesh, or None")
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def training_mesh(mesh: object, batch_size: int) -> Mesh:
    """Return a mesh for training, with axes that have a meaning there.

    Args:
        mesh: From ``jax.make_mesh`` or ``jax.sharding.Mesh``.
        batch_size: Examples in a training step.

    Raises:
        ConfigError: If it is no mesh, an axis has another name, or the examples cannot be divided.
    """
    found = checked_mesh(mesh)
    for name in found.axis_names:
        if name not in (BATCH, TILES):
            hint = nearest(str(name), (BATCH, TILES))
            raise ConfigError(f"mesh with an axis {name!r} is not allowed: name its axes {BATCH!r} and {TILES!r}{hint}")
    parts = found.shape.get(BATCH, 1)
    if batch_size % parts:
        raise ConfigError(
            f"batch_size={batch_size} is not allowed on a mesh of {parts} along {BATCH!r}: use a multiple"
        )
    return found


def by_example(mesh: Mesh | None, tree: _Tree) -> _Tree:
    """Divide the first axis of arrays in a compiled function; those that cannot be divided evenly are left alone.

    Args:
        mesh: The mesh; ``None``: there is one device.
        tree: Arrays ``(n, ...)``.
    """
    if mesh is None or BATCH not in mesh.axis_names:
        return tree
    parts = mesh.shape[BATCH]

    def divided(leaf: jax.Array) -> jax.Array:
        if leaf.shape[0] % parts:
            return leaf
        return lax.with_sharding_constraint(leaf, NamedSharding(mesh, PartitionSpec(BATCH)))

    return jax.tree.map(divided, tree)


def everywhere(mesh: Mesh | None, tree: _Tree) -> _Tree:
    """Let every device have all of some arrays, in a compiled function.

    Args:
        mesh: The mesh; ``None``: there is one device.
        tree: Arrays.
    """
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: lax.with_sharding_constraint(leaf, NamedSharding(mesh, PartitionSpec())), tree)


def in_place(mesh: Mesh | None, model: nnx.Module, tree: _Tree) -> _Tree:
    """Let the state of a model lie as :func:`shardings` says, in a compiled function.

    Args:
        mesh: The mesh; ``None``: there is one device.
        model: The model, for its tiles.
        tree: Its state.
    """
    if mesh is None:
        return tree
    return jax.tree.map(lax.with_sharding_constraint, tree, shardings(mesh, model, tree))


def shardings(mesh: Mesh, model: nnx.Module, tree: _Tree) -> _Tree:
    """Return where each array of the state of a model lies: stacks of tiles divided, everything else on every device.

    Args:
        mesh: The mesh.
        model: The model, for its tiles.
        tree: Its state, or one of model and optimizer together.
    """
    counts = {path: tile.count for path, tile in analog_tiles(model).items()}
    parts = mesh.shape.get(TILES, 1)

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        where = path_text(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry))) for entry in path)
        count = next((count for name, count in counts.items() if f"/{where}/".find(f"/{name}/") >= 0), None)
        divided = count is not None and count % parts == 0 and np.ndim(leaf) > 0 and np.shape(leaf)[0] == count
        return NamedSharding(mesh, PartitionSpec(TILES) if divided and parts > 1 else PartitionSpec())

    return jax.tree_util.tree_map_with_path(place, tree)


def placed(mesh: Mesh, tree: _Tree, where: Any = None) -> _Tree:
    """Return arrays of this process on a mesh, of which other processes have the same ones.

    Args:
        mesh: The mesh.
        tree: Arrays.
        where: Their shardings; ``None``: all of them on every device.
    """

    def put(leaf: Any, sharding: NamedSharding) -> Any:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
        if not mesh.is_multi_process:
            return jax.device_put(leaf, sharding)
        value = np.asarray(jnp.asarray(leaf))  # in the type that JAX gives a number
        return jax.make_array_from_callback(value.shape, sharding, lambda index: np.asarray(value[index]))

    everything = NamedSharding(mesh, PartitionSpec())
    where = jax.tree.map(lambda _: everything, tree) if where is None else where
    return jax.tree.map(put, tree, where)


def at_home(mesh: Mesh, tree: _Tree) -> _Tree:
    """Return arrays of a mesh as arrays of this process, whole.

    Args:
        mesh: The mesh.
        tree: Arrays on it.
    """

    def take(leaf: Any) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(take(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        return jnp.asarray(np.asarray(leaf))

    if mesh.is_multi_process:
        tree = jax.jit(lambda whole: whole, out_shardings=NamedSharding(mesh, PartitionSpec()))(tree)
    return jax.tree.map(take, tree)


def data_on(mesh: Mesh, split: Split | None, name: str) -> Split | None:
    """Return a split on a mesh: each device has a part of the examples.

    With several processes each gives examples of its own, all equally many, and the whole is those of one after the
    other. With one process, examples that cannot be divided evenly are on every device.

    Args:
        mesh: The mesh.
        split: Examples of this process.
        name: What it is called in an error.

    Raises:
        DataError: If processes have different numbers of examples, or numbers that cannot be divided.
    """
    if split is None:
        return None
    parts, count = mesh.shape.get(BATCH, 1), len(split.y)
    if not mesh.is_multi_process:
        spec = PartitionSpec() if BATCH not in mesh.axis_names or count % parts else PartitionSpec(BATCH)
        return jax.device_put(split, NamedSharding(mesh, spec))
    own = _own_parts(mesh)
    counts = multihost_utils.process_allgather(np.int32(count)).ravel()
    if (counts != count).any() or count % own:
        raise DataError(
            f"the processes have {', '.join(map(str, counts))} examples of the {name} set: give each as many, "
            f"a multiple of {own}"
        )
    sharding = NamedSharding(mesh, PartitionSpec(BATCH) if BATCH in mesh.axis_names else PartitionSpec())
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), split)


def of_all(mesh: Mesh, splits: Splits, train: Split, valid: Split | None) -> Splits:
    """Return splits with the targets of all processes, for what is said of an epoch; inputs are those of this process.

    Args:
        mesh: The mesh.
        splits: Of this process.
        train: Training set on the mesh.
        valid: Validation set on the mesh, if there is one.
    """
    if not mesh.is_multi_process:
        return splits
    targets = {"train_y": train.y} | ({} if valid is None else {"valid_y": valid.y})
    return splits._replace(**{name: np.asarray(at_home(mesh, y)) for name, y in targets.items()})


def one_for_all(mesh: Mesh, text: str) -> str:
    """Return one text for the texts of all processes, the same in each.

    Args:
        mesh: The mesh.
        text: Of this process, with as many characters in each.
    """
    if not mesh.is_multi_process:
        return text
    codes = np.frombuffer(text.encode(), np.uint8)
    every = multihost_utils.process_allgather(codes.astype(np.int32))
    return "+".join("".join(map(chr, row)) for row in np.asarray(every).reshape(-1, len(codes)))


def _own_parts(mesh: Mesh) -> int:
    """Return how many parts of the batch the devices of this process have."""
    if BATCH not in mesh.axis_names:
        return 1
    axis = mesh.axis_names.index(BATCH)
    own = jax.process_index()
    here = {place[axis] for place, device in np.ndenumerate(mesh.devices) if device.process_index == own}
    return max(1, len(here))
