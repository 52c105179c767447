"""Sending experiments to a composer and finding them again."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihwjax import arguments
from aihwjax.cloud.experiment import CloudExperiment
from aihwjax.cloud.session import Session
from aihwjax.cloud.settings import resolve
from aihwjax.cloud.submitting import submit
from aihwjax.errors import ConfigError, InvalidResponseFieldError

if TYPE_CHECKING:
    from flax import nnx

    from aihwjax.experiments.best import Extreme
    from aihwjax.experiments.inferencing import BasicInferencing
    from aihwjax.experiments.training import BasicTraining
    from aihwjax.typing import Key

_PAGE = 100
_DEVICES = ("cpu", "gpu")
_LONGEST_NAME = 200


@arguments.answering
class CloudRunner:
    """Runs experiments on a composer.

    Address and token come from the arguments, the environment variables ``AIHWJAX_API_URL`` and
    ``AIHWJAX_API_TOKEN``, or a file ``~/.config/aihwjax.conf``.

    Example:
        >>> import aihwjax as aj
        >>> aj.CloudRunner(api_url="https://composer.example.org", api_token="aihwjax_12345678_secret").url
        'https://composer.example.org/'
    """

    def __init__(self, api_url: str | None = None, api_token: str | None = None) -> None:
        """Prepare; nothing is sent yet.

        Args:
            api_url: Address of the composer.
            api_token: Token of the user.

        Raises:
            CredentialsError: If there is no token; says where to put one.
            ConfigError: If the address is none.
        """
        self._session = Session(resolve(api_url, api_token))

    @property
    def url(self) -> str:
        """Address of the composer."""
        return self._session.url

    def run(
        self,
        experiment: BasicTraining | BasicInferencing,
        name: str | None = None,
        key: Key | int = 0,
        max_elements_train: int = 0,
        device: str = "cpu",
        keep_best: str | None = None,
        best: Extreme | None = None,
    ) -> CloudExperiment:
        """Submit an experiment and return at once.

        The weights of its model travel with it; those of a template are read here, and travel in their place. The
        result is that of :func:`aihwjax.run_local` or :func:`aihwjax.run_local_inference` with the same key, bit for
        bit on the same kind of device.

        Args:
            experiment: What to do; its model stays as it is.
            name: For people; by default made of the data set and the epochs.
            key: Seed or JAX key.
            max_elements_train: If above 0, only so many first examples of both splits, or of what is evaluated.
            device: Kind of device to ask for, ``"cpu"`` or ``"gpu"``; a composer without one uses what it has.
            keep_best: Name of a metric: the model of the epoch that is the best by it is kept, too, for
                :meth:`CloudExperiment.get_best`.
            best: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as the name says.

        Raises:
            ConfigError: If the loss, a learning rate, the optimizer or a metric is a function, or an argument is not
                allowed.
            DataError: If the data set has no name of its own.
            ModuleError: If a layer is not one of the library's.
            CredentialsError: If the token is not accepted.
            CloudError: If the composer cannot be reached or refuses; says why.
        """
        from aihwjax.cloud import document

        _check_device(device)
        experiment = _with_weights(experiment, key)
        sent = document.to_document(experiment, key, max_elements_train, keep_best, best)
        chips = sent["kind"] != document.KIND
        if name is None:
            section = sent["experiment"]
            count = f"{section['inference_repeats']} chips" if chips else f"{section['epochs']} epochs"
            name = f"{section['dataset']}, {count}"
        return self.send(sent, experiment.model, name, device, "inference" if chips else "train")

    def send(
        self, document: dict[str, Any], model: nnx.Module, name: str, device: str = "cpu", category: str = "train"
    ) -> CloudExperiment:
        """Submit what a document says and return at once; :meth:`run` and :func:`~aihwjax.cloud.run_sweep` do it.

        Args:
            document: From :mod:`aihwjax.cloud.document`.
            model: The model whose numbers go with it.
            name: For people.
            device: Kind of device to ask for, ``"cpu"`` or ``"gpu"``.
            category: ``"train"`` or ``"inference"``.

        Raises:
            ConfigError: If an argument is not allowed.
            CloudError: If the composer cannot be reached or refuses; says why.
        """
        from aihwjax.cloud import archive

        _check_device(device)
        if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME:
            raise ConfigError(f"name={str(name)[:60]!r} is not allowed: give a text of 1 to {_LONGEST_NAME} characters")
        with tempfile.TemporaryDirectory(prefix="aihwjax-") as folder:
            path = Path(folder) / "experiment.tar"
            archive.pack(path, document, model)
            return submit(self._session, path, name, device, {} if category == "train" else {"category": category})

    def get_cloud_experiment(self, experiment_id: str) -> CloudExperiment:
        """Return an experiment that was submitted before.

        Args:
            experiment_id: Its id, or the start of it if that is enough.

        Raises:
            ApiResponseError: If there is none, or several begin so.
            CloudError: If the composer does not tell.
        """
        start = experiment_id.strip().lower()
        if not re.fullmatch("[0-9a-f]{4,32}", start):
            raise ConfigError(
                f"id={experiment_id!r} is not allowed: give the id of an experiment, 32 hexadecimal digits, "
                "or its start, at least 4 of them"
            )
        return CloudExperiment(self._session, self._session.get(f"experiments/{start}"))

    def list_experiments(self, status: str | None = None, limit: int | None = None) -> list[CloudExperiment]:
        """Return the user's experiments, newest first.

        Args:
            status: Only with this status, such as ``"running"``.
            limit: At most so many; ``None``: all.

        Raises:
            CloudError: If the composer does not tell.
        """
        found: list[CloudExperiment] = []
        before: str | None = None
        while limit is None or len(found) < limit:
            count = _PAGE if limit is None else min(_PAGE, limit - len(found))
            answer = self._session.get("experiments", status=status, limit=count, before=before)
            entries = answer.get("experiments")
            if not isinstance(entries, list):
                raise InvalidResponseFieldError("the composer's answer has no list 'experiments'")
            found += [CloudExperiment(self._session, entry) for entry in entries]
            before = answer.get("next")
            if not entries or before is None:
                break
        return found

    list_cloud_experiments = list_experiments


def _check_device(device: str) -> None:
    if device not in _DEVICES:
        raise ConfigError(f"device={device!r} is not allowed: give 'cpu' or 'gpu'")


def _with_weights(experiment: BasicTraining | BasicInferencing, key: Key | int) -> BasicTraining | BasicInferencing:
    """Return an inference experiment with the weights of its template, and any other one as it is."""
    if not str(getattr(experiment, "weight_template_id", "")):
        return experiment
    from aihwjax.experiments.inferring import with_template

    return with_template(experiment, key)  # type: ignore[arg-type]


@arguments.answered
def run_cloud(
    experiment: BasicTraining | BasicInferencing,
    name: str | None = None,
    key: Key | int = 0,
    max_elements_train: int = 0,
    api_url: str | None = None,
    api_token: str | None = None,
    keep_best: str | None = None,
    best: Extreme | None = None,
) -> CloudExperiment:
    """Submit an experiment to a composer and return at once; see :meth:`CloudRunner.run`.

    Args:
        experiment: What to do; its model stays as it is.
        name: For people.
        key: Seed or JAX key.
        max_elements_train: If above 0, only so many first examples of both splits, or of what is evaluated.
        api_url: Address of the composer; by default as :class:`CloudRunner`.
        api_token: Token of the user; by default as :class:`CloudRunner`.
        keep_best: Name of a metric, by which the model of the best epoch is kept.
        best: Whether the ``"smallest"`` or the ``"largest"`` value is the best; ``None``: as the name says.

    Raises:
        AihwjaxError: As :meth:`CloudRunner.run`.
    """
    runner = CloudRunner(api_url, api_token)
    return runner.run(experiment, name, key, max_elements_train, keep_best=keep_best, best=best)


@arguments.answered
def list_experiments(
    status: str | None = None, limit: int | None = None, api_url: str | None = None, api_token: str | None = None
) -> list[CloudExperiment]:
    """Return the user's experiments on a composer, newest first; see :meth:`CloudRunner.list_experiments`.

    Args:
        status: Only with this status, such as ``"running"``.
        limit: At most so many; ``None``: all.
        api_url: Address of the composer.
        api_token: Token of the user.

    Raises:
        CloudError: If the composer does not tell.
    """
    return CloudRunner(api_url, api_token).list_experiments(status, limit)
