"""Train hundreds of devices on whatever this machine has: every GPU or TPU core, or the CPU.

Run it anywhere; a run that was killed goes on from its folder, and ends with the same table:

    python examples/sweep_on_accelerator.py --devices 256 --epochs 5 --output outputs/accelerator

On a TPU pod each host runs a part of the configurations of its own: give ``--part 0/4`` to ``--part 3/4``.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from flax import nnx

import aihwjax as aj
from aihwjax.experiments import LogUniform, Uniform, sampled


def main() -> None:
    """Draw configurations, train them and print the best."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=256, help="configurations")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--examples", type=int, default=8000, help="training examples")
    parser.add_argument("--part", default="0/1", help="this host's share, such as 0/4")
    parser.add_argument("--output", type=Path, default=Path("outputs/accelerator"))
    options = parser.parse_args()

    config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(w_min=-1.0, w_max=1.0))
    rngs = nnx.Rngs(0)
    model = aj.nn.AnalogSequential(
        aj.nn.Flatten(),
        aj.nn.AnalogLinear(784, 256, config=config, rngs=rngs),
        aj.nn.Sigmoid(),
        aj.nn.AnalogLinear(256, 10, config=config, rngs=rngs),
        aj.nn.LogSoftmax(),
    )
    digits = aj.MNIST10K.load()
    data = digits.train_x[: options.examples], digits.train_y[: options.examples], digits.valid_x, digits.valid_y
    experiment = aj.BasicTraining(data, model, batch_size=64, epochs=options.epochs)

    space = {
        "device.dw_min": LogUniform(3e-4, 3e-2),
        "device.up_down": Uniform(-0.3, 0.3),
        "learning_rate": LogUniform(0.02, 0.5),
    }
    part, parts = map(int, options.part.split("/"))
    points = sampled(space, options.devices, key=0)[part::parts]
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("networks",))
    print(f"{len(points)} configurations on {len(jax.local_devices())} x {jax.local_devices()[0].device_kind}")
    table = aj.sweep(experiment, points, key=0, mesh=mesh, folder=options.output)
    table.to_csv(options.output / "table.csv")
    print(table.ranking(count=10))


if __name__ == "__main__":
    main()
