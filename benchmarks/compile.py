"""How long does an epoch compile, and does a change of numbers compile anything again?"""

from __future__ import annotations

import statistics

import jax

from aihwjax import config as configs
from aihwjax.experiments import BasicTraining, fit
from benchmarks import compilations, digital, ours
from benchmarks.problem import BATCHES, DEVICES, Digits, Problem, digits
from benchmarks.rates import Options
from benchmarks.record import Record


def records(options: Options) -> list[Record]:
    """Measure the compile time of an epoch at every device and batch size, and count what compiles again."""
    data = digits()
    batches = BATCHES[:1] if options.quick else BATCHES
    timed = [duration(Problem(device=device, batch=batch), data, options) for device in DEVICES for batch in batches]
    return timed + [again(device, data) for device in DEVICES]


def duration(problem: Problem, data: Digits, options: Options) -> Record:
    """Measure how much longer a first epoch takes than a second; every round begins without compiled programs.

    Args:
        problem: What is compiled.
        data: The examples.
        options: Rounds and sizes.
    """
    rounds = 1 if options.quick else min(options.rounds, 5)
    part = data.cut(problem.batch * 8)
    seen: dict[str, list[float]] = {"ours": [], "digital": [], "in the compiler": []}
    for _ in range(rounds):
        jax.clear_caches()
        seen["digital"].append(digital.DigitalRunner(problem, part, digital.settings()[0]).compile_s)
        jax.clear_caches()
        runner = ours.TrainRunner(problem, part, ours.OurSetting(single_tile=True))
        seen["ours"].append(runner.first_epoch_s - runner.measure(1).seconds)
        seen["in the compiler"].append(runner.compile_s)
        runner.close()
    medians = {name: statistics.median(values) for name, values in seen.items()}
    return Record(
        name=f"compile/{problem.device}/batch{problem.batch}",
        unit="s",
        higher_is_better=False,
        ours=medians["ours"],
        digital=medians["digital"],
        rounds=rounds,
        our_setting="one tile a layer",
        digital_setting=digital.settings()[0].name,
        details={"in_the_compiler_s": medians["in the compiler"], "all_s": seen},
    )


def again(device: str, data: Digits) -> Record:
    """Count the programs that compile when only numbers of the model, the run and the key change.

    Args:
        device: Name of the device.
        data: The examples.
    """
    part = data.cut(64 * 4)
    arrays = (part.images, part.labels, part.images[:64], part.labels[:64])
    first = ours.tile_config(device)
    other = configs.replace(
        first,
        {"device.dw_min": 0.002, "device.dw_min_std": 0.1, "forward.out_noise": 0.03, "update.desired_bl": 10},
    )
    counts = []
    for number, (tile, rate) in enumerate([(first, 0.05), (other, 0.02)]):
        layers = Problem().layers
        model = ours.classifier(layers, tile)
        before = compilations.so_far()
        fit(BasicTraining(dataset=arrays, model=model, epochs=1, learning_rate=rate), key=number)
        counts.append((compilations.so_far() - before).count)
    return Record(
        name=f"compile/{device}/again",
        unit="programs",
        higher_is_better=False,
        ours=counts[1],
        details={"first_run": counts[0]},
    )
