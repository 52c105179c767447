"""Does LeNet-5 learn as well as in the reference? ``python -m benchmarks.accuracy [--peer DIR] [--seeds N]``.

With the reference, that is run again, and its accuracies are written to ``lenet_reference.json`` beside this file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from aihwjax.experiments import BasicTraining, run_local
from aihwjax.experiments.data import MNIST10K
from benchmarks import ours
from benchmarks.peer import PeerWorker
from benchmarks.problem import Digits, Network, Problem, digits

PROBLEM = Problem(batch=8, network=Network.LENET, learning_rate=0.01)
"""LeNet-5 on ConstantStep devices."""

EPOCHS = 3
"""Passes over the 8,000 digits."""

RECORD = Path(__file__).with_name("lenet_reference.json")
"""Accuracies of the reference, one for each seed."""


def unseen() -> Digits:
    """Return the 2,000 digits that nothing is trained on."""
    splits = MNIST10K.load()
    return Digits(splits.valid_x.reshape(len(splits.valid_x), -1), splits.valid_y.astype(np.int32))


def of_ours(seed: int) -> float:
    """Return our accuracy."""
    data, test = digits(), unseen()
    experiment = BasicTraining(
        dataset=(data.images, data.labels, test.images, test.labels),
        model=ours.network(PROBLEM, ours.tile_config(PROBLEM.device, single_tile=False)),
        batch_size=PROBLEM.batch,
        learning_rate=PROBLEM.learning_rate,
        epochs=EPOCHS,
    )
    return float(run_local(experiment, key=seed, progress=False)[-1]["accuracy"])


def of_the_reference(worker: PeerWorker, seed: int) -> float:
    """Return the reference's accuracy."""
    name = f"seed {seed}"
    worker.prepare(name, PROBLEM, digits().arrays(), single_tile=False, seed=seed)
    worker.measure(name, EPOCHS)
    return worker.accuracy(name, unseen().arrays())


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--peer", type=Path, metavar="DIR", help="virtual environment in which aihwkit is installed")
    parser.add_argument("--seeds", type=int, default=5, help="number of runs (default: %(default)s)")
    options = parser.parse_args()
    if options.peer is not None:
        with PeerWorker(options.peer, threads=1) as worker:
            reference = [of_the_reference(worker, seed) for seed in range(options.seeds)]
        RECORD.write_text(json.dumps(reference) + "\n")
    if not RECORD.exists():
        parser.error(f"{RECORD.name} is not there: give --peer DIR")
    reference = json.loads(RECORD.read_text())
    for who, found in (("reference", reference), ("ours", [of_ours(seed) for seed in range(options.seeds)])):
        print(f"{who}: {np.mean(found):.4f} ± {np.std(found, ddof=1):.4f}  {found}", flush=True)


if __name__ == "__main__":
    main()
