"""Sending a sweep to a composer, which runs it as one job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aihwjax import arguments
from aihwjax.cloud.runner import CloudRunner
from aihwjax.errors import ConfigError

if TYPE_CHECKING:
    from aihwjax.cloud.experiment import CloudExperiment
    from aihwjax.cloud.sweep_section import Halving
    from aihwjax.experiments.best import Extreme
    from aihwjax.experiments.training import BasicTraining
    from aihwjax.typing import Key


@arguments.answered
def run_sweep(
    experiment: BasicTraining,
    space: Any,
    seeds: int | Sequence[int] = 1,
    key: Key | int = 0,
    *,
    name: str | None = None,
    max_elements_train: int = 0,
    memory: int | None = None,
    halving: int | None = None,
    first: int = 1,
    metric: str = "valid_loss",
    extreme: Extreme | None = None,
    device: str = "cpu",
    api_url: str | None = None,
    api_token: str | None = None,
) -> CloudExperiment:
    """Submit a sweep to a composer and return at once.

    It is one job, whose progress counts networks. ``get_result()`` of what comes back is the table that
    :func:`aihwjax.sweep` returns with the same key, bit for bit on a CPU; a number that is not finite is NaN there.

    Args:
        experiment: What is varied; it travels as in :func:`aihwjax.run_cloud`.
        space: A list of values for each path, of which all combinations are trained, or a list of configurations, such
            as :func:`aihwjax.experiments.sampled` draws. Values are numbers, texts or configurations.
        seeds: Networks of each configuration, or their numbers.
        key: Seed or JAX key.
        name: For people; by default made of the data set and the number of networks.
        max_elements_train: If above 0, only so many first examples of both splits.
        memory: Bytes that the networks of a call may take; ``None``: as :func:`aihwjax.sweep` there.
        halving: Of so many configurations one goes on, as ``factor`` of
            :func:`aihwjax.experiments.successive_halving`, whose table is the result; ``None``: all go on.
        first: Of a halving, the epochs of all configurations.
        metric: Of a halving, by which configurations are judged.
        extreme: Of a halving, which value is the best; ``None``: as the name of the metric says.
        device: Kind of device to ask for, ``"cpu"`` or ``"gpu"``; a composer without one uses what it has.
        api_url: Address of the composer; by default as :class:`CloudRunner`.
        api_token: Token of the user; by default as :class:`CloudRunner`.

    Raises:
        ConfigError: If a path does not exist (with the nearest name), a value or an argument is not allowed or cannot
            travel; then nothing is sent.
        AihwjaxError: As :meth:`CloudRunner.run`.
    """
    from aihwjax.cloud.sweep_section import Halving
    from aihwjax.experiments.training import check_whole

    if halving is not None:
        check_whole("halving", halving, 2)
    runner = CloudRunner(api_url, api_token)
    given_up = None if halving is None else Halving(metric, halving, first, extreme)
    sent = to_document(experiment, space, seeds, key, max_elements_train, memory, given_up)
    if name is None:
        section = sent["sweep"]
        count = len(section["points"]) * len(section["seeds"])
        name = f"{sent['experiment']['dataset']}, sweep of {count} network{'s' if count > 1 else ''}"
    return runner.send(sent, experiment.model, name, device)


def to_document(
    experiment: BasicTraining,
    space: Any,
    seeds: int | Sequence[int] = 1,
    key: Key | int = 0,
    max_elements_train: int = 0,
    memory: int | None = None,
    halving: Halving | None = None,
) -> dict[str, Any]:
    """Return the document of a sweep, with ``parameters`` null.

    Args:
        experiment: What is varied.
        space: Values by path, or single configurations.
        seeds: Networks of each configuration, or their numbers.
        key: Whole number or JAX key of the sweep.
        max_elements_train: If above 0, only so many examples of each split.
        memory: Bytes that the networks of a call may take.
        halving: How configurations are given up; ``None``: they are not.

    Raises:
        AihwjaxError: As :func:`run_sweep`.
    """
    from aihwjax.cloud import document, sweep_section
    from aihwjax.experiments.training import BasicTraining

    if type(experiment) is not BasicTraining:
        kind = type(experiment).__name__
        instead = ", or sweep chips with aj.sweep" if kind == "BasicInferencing" else ""
        raise ConfigError(f"experiment={kind} is not allowed for a sweep in the cloud: give a BasicTraining{instead}")
    sent = document.to_document(experiment, key, max_elements_train)
    section = sweep_section.section_of(experiment, space, seeds, memory, halving)
    sent = {**sent, "kind": sweep_section.KIND, "sweep": section}
    document.dumps(sent)  # what has no JSON is the user's to know now
    return sent
