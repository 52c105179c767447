"""What runs in processes with several virtual devices; see ``test_meshes.py``.

``python -m tests.experiments.meshes one FOLDER`` or ``... part NUMBER PORT FOLDER``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

import aihwjax as aj
from aihwjax import nn
from aihwjax.experiments import meshes
from tests.experiments.small import data
from tests.experiments.small import experiment as small

EXAMPLES, BATCH = 48, 16


def experiment(part: int = 0, parts: int = 1, valid: bool = True, **fields: Any) -> aj.BasicTraining:
    """Return an experiment on a layer of two tiles in a stack, with a share of the examples."""
    config = aj.SingleRPUConfig(
        device=aj.SoftBoundsDevice(dw_min=0.01), mapping=aj.MappingParameter(max_input_size=3, max_output_size=0)
    )
    layer = nn.AnalogLinear(6, 3, config=config, rngs=nnx.Rngs(0))
    assert [tile.count for tile in nn.analog_tiles(layer).values()] == [2]
    every = data(EXAMPLES, 24)[: 4 if valid else 2]
    own = tuple(array[len(array) * part // parts : len(array) * (part + 1) // parts] for array in every)
    fields = {"batch_size": BATCH, "epochs": 2, "learning_rate": 0.2, **fields}
    return aj.BasicTraining(own, nn.AnalogSequential(layer, nn.LogSoftmax()), **fields)


def mesh(shape: tuple[int, ...], *names: str) -> Mesh:
    return Mesh(np.array(jax.devices()).reshape(shape), names)


def told(model: nnx.Module, metrics: list[Any]) -> dict[str, Any]:
    """Return a run as plain values."""
    weights = [np.asarray(layer.get_weights()[0]).tolist() for layer in nn.analog_layers(model).values()]
    return {"metrics": [{k: v for k, v in each.items() if k != "time_epoch"} for each in metrics], "weights": weights}


def one_process(folder: Path) -> dict[str, Any]:
    """Return runs and sweeps on one device and on several."""
    assert len(jax.devices()) == 8
    alone, divided = mesh((8,), "batch"), mesh((4, 2), "batch", "tiles")
    one, two = experiment(valid=False, epochs=1), experiment(valid=False)  # without validation there is less to compile
    found = {"one device": told(*aj.fit(two, key=1, progress=False))}
    aj.fit(one, key=1, progress=False, mesh=alone, checkpoint_dir=folder)
    model, metrics = aj.fit(two, key=1, progress=False, mesh=divided, checkpoint_dir=folder)
    found["meshes, one after the other"] = told(model, metrics)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(nnx.state(model)) if isinstance(leaf, jax.Array))
    places = jax.tree.leaves(meshes.shardings(divided, model, nnx.state(model, nn.TileVariable)))
    assert any(place.spec == jax.sharding.PartitionSpec("tiles") for place in places)
    space = {"learning_rate": [0.1, 0.2, 0.3]}
    tables = [aj.sweep(small(epochs=1), space, 3, key=2, progress=False, mesh=m) for m in (None, divided)]
    found["sweeps"] = [table.rows for table in tables]
    return found


def part_of_two(number: int, port: int, folder: Path) -> dict[str, Any]:
    """Return a run of two processes, seen from one of them."""
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=number)
    assert len(jax.local_devices()) == 4 and len(jax.devices()) == 8
    run = aj.fit(
        experiment(number, 2), key=1, progress=False, mesh=mesh((8,), "batch"), checkpoint_dir=folder / "shared"
    )
    return told(*run)


if __name__ == "__main__":
    if sys.argv[1] == "one":
        place = Path(sys.argv[2])
        answer = one_process(place / "checkpoints")
    else:
        place = Path(sys.argv[4])
        answer = part_of_two(int(sys.argv[2]), int(sys.argv[3]), place)
    name = "one" if sys.argv[1] == "one" else sys.argv[2]
    (place / f"{name}.json").write_text(json.dumps(answer))
