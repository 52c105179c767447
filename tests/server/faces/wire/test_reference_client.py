"""The reference's own client, unmodified, against a composer as its users run it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aihwjax.cloud import CloudRunner
from tests.server.live import Live, fashion, live
from tests.server.peer import needs_peer, run_peer

pytestmark = [needs_peer, pytest.mark.slow]

PRELUDE = """
import json, time
from torch.nn import Flatten, LogSoftmax, Sigmoid
from torchvision.datasets import FashionMNIST
from aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogSequential
from aihwkit.experiments import BasicTraining
from aihwkit.experiments.runners import CloudRunner
from aihwkit.cloud.client.entities import CloudJobStatus
from aihwkit.simulator.presets import IdealizedPreset

def linear(i, o):
    return AnalogLinear(i, o, bias=True, rpu_config=IdealizedPreset())
"""

TRAIN = """
my_experiment = BasicTraining(
    dataset=FashionMNIST,
    model=AnalogSequential(
        Flatten(), linear(784, 256), Sigmoid(), linear(256, 128), Sigmoid(), linear(128, 10), LogSoftmax(dim=1)),
    epochs=2, batch_size=16, learning_rate=0.1)
runner = CloudRunner()
cloud_experiment = runner.run(my_experiment, name="the user's document")
seen = [cloud_experiment.status().name]
end = time.monotonic() + 240
while seen[-1] in ("WAITING", "RUNNING") and time.monotonic() < end:
    time.sleep(0.3)
    seen.append(cloud_experiment.status().name)
result = cloud_experiment.get_result()
again = cloud_experiment.get_experiment()
listed = CloudRunner().list_cloud_experiments()
found = runner.get_cloud_experiment(cloud_experiment.id_)
print(json.dumps({
    "seen": seen, "result": result,
    "experiment": [type(again).__name__, again.dataset.__name__, again.batch_size, again.epochs, again.learning_rate,
                   again.loss_function.__name__, [type(layer).__name__ for layer in again.model]],
    "same": [type(layer).__name__ for layer in my_experiment.model],
    "shapes": [list(layer.get_weights()[0].shape) for layer in again.model if isinstance(layer, AnalogLinear)],
    "listed": [[entry.id_, entry.name, entry.status().name, entry.get_result() == result] for entry in listed],
    "found": [found.name, found.status().name, found.category.name],
    "id": cloud_experiment.id_,
}))
"""

IMAGES = """
from torch.nn import MaxPool2d, Tanh

def conv(i, o):
    return AnalogConv2d(i, o, 5, rpu_config=IdealizedPreset())

model = AnalogSequential(conv(1, 4), Tanh(), MaxPool2d(2), conv(4, 6), Tanh(), MaxPool2d(2), Flatten(), linear(96, 10),
                         LogSoftmax(dim=1))
job = CloudRunner().run(BasicTraining(dataset=FashionMNIST, model=model, epochs=1, batch_size=16, learning_rate=0.05))
end = time.monotonic() + 280
while job.status().name in ("WAITING", "RUNNING") and time.monotonic() < end:
    time.sleep(0.3)
again = job.get_experiment()
print(json.dumps({
    "status": job.status().name, "result": job.get_result(),
    "layers": [type(layer).__name__ for layer in again.model], "same": [type(layer).__name__ for layer in model],
    "shapes": [list(weight.shape) for weight, _ in again.model.get_weights().values()],
    "id": job.id_,
}))
"""

REFUSED = """
model = AnalogSequential(AnalogConv2d(1, 4, 5, rpu_config=IdealizedPreset()), Flatten(), linear(2305, 10),
                         LogSoftmax(dim=1))
try:
    CloudRunner().run(BasicTraining(dataset=FashionMNIST, model=model))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""

WRONG_TOKEN = """
try:
    CloudRunner()
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""

INFERENCE = """
from aihwkit.experiments.experiments.inferencing import BasicInferencing
from aihwkit.experiments.runners.i_cloud import InferenceCloudRunner
from aihwkit.simulator.presets.web import WebComposerInferenceRPUConfig

layer = AnalogLinear(784, 10, rpu_config=WebComposerInferenceRPUConfig())
model = AnalogSequential(Flatten(), layer, LogSoftmax(dim=1))
experiment = BasicInferencing(dataset=FashionMNIST, model=model, weight_template_id="TEMPLATE")
analog = {"output_noise_strength": 0.04, "adc": 9, "dac": 7}
noise = {"device_id": "pcm", "programming_noise_scale": 1.0, "read_noise_scale": 1.0, "drift_scale": 1.0,
         "drift_compensation": True, "poly_first_order_coef": 1.9650, "poly_second_order_coef": -1.1731,
         "poly_constant_coef": 0.2635}
try:
    job = InferenceCloudRunner().run(experiment, analog, noise)
    end = time.monotonic() + 280
    while job.status().name in ("WAITING", "RUNNING") and time.monotonic() < end:
        time.sleep(0.3)
    found = {"status": job.status().name, "result": job.get_result(), "kind": type(job.get_experiment()).__name__}
    print(json.dumps(found))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("composer")
    with live(folder, fashion(folder / "datasets")) as running:
        yield running


def run(script: str, server: Live, folder: Path, token: str) -> Any:
    """Run a script of a user whose settings are in a file; return what it prints as JSON."""
    settings = folder / "config" / "aihwkit" / "aihwkit.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[cloud]\napi_token = {token}\napi_url = {server.url}\n")
    printed = run_peer(PRELUDE + script, folder, {"XDG_CONFIG_HOME": str(folder / "config")})
    return json.loads(printed.splitlines()[-1])


def test_the_users_document_is_trained_fetched_and_listed(server: Live, tmp_path: Path) -> None:
    token = server.token()
    told = run(TRAIN, server, tmp_path, token)
    assert told["seen"][-1] == "COMPLETED"
    assert set(told["seen"]) <= {"WAITING", "RUNNING", "COMPLETED"}
    assert [entry["epoch"] for entry in told["result"]] == [0, 1]
    for entry in told["result"]:
        assert set(entry["metrics"]) == {"accuracy", "train_loss", "valid_loss"}
        assert 0 <= entry["metrics"]["accuracy"] <= 1
        assert 0 < entry["metrics"]["train_loss"] < 5
    assert told["experiment"] == ["BasicTraining", "FashionMNIST", 16, 2, pytest.approx(0.1), "NLLLoss", told["same"]]
    assert told["shapes"] == [[256, 784], [128, 256], [10, 128]]
    assert told["listed"] == [[told["id"], "the user's document", "COMPLETED", True]]
    assert told["found"] == ["the user's document", "COMPLETED", "BASIC_TRAINING"]
    log = server.log()
    assert token not in log and token.split("_", 2)[2] not in log
    assert "signature" not in log and "Bearer" not in log and "eyJ" not in log  # how every login starts


def test_convolutions_are_trained_and_fetched(server: Live, tmp_path: Path) -> None:
    token = server.token("cid")
    told = run(IMAGES, server, tmp_path, token)
    assert told["status"] == "COMPLETED"
    (entry,) = told["result"]
    assert set(entry["metrics"]) == {"accuracy", "train_loss", "valid_loss"}
    assert 0 < entry["metrics"]["train_loss"] < 5
    assert told["layers"] == told["same"]
    assert told["shapes"] == [[4, 25], [6, 100], [10, 96]]
    # and the weights, for our own client, in the same shapes
    trained: Any = CloudRunner(server.url, token).get_cloud_experiment(told["id"]).get_experiment().model
    assert [list(weights.shape) for weights, _ in trained.get_weights().values()] == told["shapes"]


def test_a_network_that_does_not_fit_is_refused_and_the_user_sees_which_layer(server: Live, tmp_path: Path) -> None:
    kind, message = run(REFUSED, server, tmp_path, server.token("bob"))
    assert kind == "ApiResponseError"
    assert "layers-2-AnalogLinear" in message
    assert "signature" not in message


def test_a_wrong_token_is_a_credentials_error(server: Live, tmp_path: Path) -> None:
    kind, message = run(WRONG_TOKEN, server, tmp_path, "aihwjax_wrong")
    assert (kind, message) == ("CredentialsError", "Error while trying to log in: this token is not valid")


def test_inferencing_gives_the_client_its_result(server: Live, tmp_path: Path) -> None:
    told = run(INFERENCE.replace("TEMPLATE", ""), server, tmp_path, server.token("eve"))
    assert told["status"] == "COMPLETED"
    assert [entry["t_inference"] for entry in told["result"]][::9] == [0, 86400]
    assert len(told["result"]) == 10
    for entry in told["result"]:
        assert set(entry) == {"t_inference", "avg_accuracy", "std_accuracy", "avg_error", "avg_loss"}
        assert 0 <= entry["avg_accuracy"] <= 100
        assert entry["avg_accuracy"] + entry["avg_error"] == pytest.approx(100, abs=1e-3)
        assert 0 < entry["avg_loss"] < 20
    assert told["kind"] == "BasicInferencing"


def test_a_template_that_is_not_here_is_refused_and_the_user_sees_why(server: Live, tmp_path: Path) -> None:
    kind, message = run(INFERENCE.replace("TEMPLATE", "none"), server, tmp_path, server.token("fay"))
    assert kind == "ApiResponseError", message
    assert "the-weight-template-none-is-not-here" in message
