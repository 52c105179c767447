"""The reference's runners: thin shells around the functions that run experiments on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jax.sharding import Mesh

from aihwjax import arguments
from aihwjax.chip_results import InferenceReport, InferenceResult
from aihwjax.experiments.best import Extreme
from aihwjax.experiments.devices import DeviceChoice, find_device, on_device
from aihwjax.experiments.fitting import run_local
from aihwjax.experiments.inferencing import BasicInferencing
from aihwjax.experiments.inferring import run_local_inference
from aihwjax.experiments.metrics import EpochMetrics, Report
from aihwjax.experiments.training import BasicTraining
from aihwjax.experiments.watching import StepReport
from aihwjax.typing import Key


@arguments.answering
class LocalRunner:
    """Runs experiments on a device of this machine.

    Example:
        >>> import aihwjax as aj
        >>> runner = aj.LocalRunner(device="cpu")
        >>> runner.device.platform
        'cpu'
    """

    def __init__(self, device: DeviceChoice = None) -> None:
        """Choose the device.

        Args:
            device: A JAX device, ``"cpu"``, ``"gpu"``, ``"cuda"``, ``"tpu"``, ``"gpu:1"``, or ``None`` for
                JAX's default.

        Raises:
            ConfigError: If there is no such device; names those that there are.
        """
        self.device = find_device(device)

    def run(
        self,
        experiment: BasicTraining,
        max_elements_train: int = 0,
        dataset_root: str | Path | None = None,
        stdout: bool = False,
        key: Key | int = 0,
        checkpoint_dir: str | Path | None = None,
        reports: Iterable[Report] = (),
        progress: bool = True,
        step_reports: Iterable[StepReport] = (),
        report_every: int = 0,
        keep_best: str | None = None,
        best: Extreme | None = None,
        mesh: Mesh | None = None,
    ) -> list[EpochMetrics]:
        """Run a training experiment; arguments and result as :func:`run_local`.

        Args:
            experiment: What to do; its model stays as it is.
            max_elements_train: If above 0, only so many first examples of both splits.
            dataset_root: Folder of the data set's files.
            stdout: Print three lines after each epoch.
            key: Seed or JAX key.
            checkpoint_dir: Folder where each epoch is saved and from which a run continues.
            reports: Further reports, called with the metrics so far; one that returns ``False`` ends the run.
            progress: Show a bar of epochs on a terminal, a line of them in a notebook; not with ``stdout``.
            step_reports: Functions that are called every ``report_every`` steps; one that returns ``False`` ends the
                run.
            report_every: Training steps between two of their calls.
            keep_best: Name of a metric, by which the model of the best epoch is kept.
            best: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as the name says.
            mesh: Devices among which the run is divided; see :func:`aihwjax.fit`.
        """
        with on_device(self.device):
            return run_local(
                experiment,
                key,
                dataset_root,
                max_elements_train,
                stdout,
                checkpoint_dir,
                reports,
                progress,
                step_reports,
                report_every,
                keep_best,
                best,
                mesh,
            )


@arguments.answering
class InferenceLocalRunner:
    """Runs inference experiments on a device of this machine.

    Example:
        >>> import aihwjax as aj
        >>> runner = aj.InferenceLocalRunner(device="cpu")
        >>> runner.device.platform
        'cpu'
    """

    def __init__(self, device: DeviceChoice = None) -> None:
        """Choose the device.

        Args:
            device: As for :class:`LocalRunner`.

        Raises:
            ConfigError: If there is no such device; names those that there are.
        """
        self.device = find_device(device)

    def run(
        self,
        experiment: BasicInferencing,
        max_elements: int = 0,
        dataset_root: str | Path | None = None,
        stdout: bool = False,
        key: Key | int = 0,
        n_inference_times: int = 10,
        reports: Iterable[InferenceReport] = (),
        progress: bool = True,
        memory: int | None = None,
    ) -> InferenceResult:
        """Run an inference experiment; arguments and result as :func:`run_local_inference`.

        Args:
            experiment: What to do; its model stays as it is.
            max_elements: If above 0, only so many first examples.
            dataset_root: Folder of the data set's files.
            stdout: Print one line of JSON after each chip.
            key: Seed or JAX key.
            n_inference_times: How many times there are.
            reports: Functions that are called with the result so far after each chip; ``False`` ends the run.
            progress: Show a bar of chips on a terminal, a line of them in a notebook; not with ``stdout``.
            memory: Bytes that chips evaluated at once may take.
        """
        with on_device(self.device):
            return run_local_inference(
                experiment, key, dataset_root, max_elements, stdout, n_inference_times, reports, progress, memory
            )
