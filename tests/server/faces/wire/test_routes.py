"""The calls of the wire protocol, one by one, as the reference's client makes them."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from aihwjax.chip_results import KIND, chip_entry
from aihwjax.server.core import leases
from aihwjax.server.core.validation import Checker
from aihwjax.server.errors import ServiceError
from aihwjax.server.faces.wire import messages
from aihwjax.server.faces.wire import routes as wire
from tests.server.faces.harness import METRICS, Server, serving
from tests.server.faces.wire.payloads import CONVOLUTIONS, inferencing, training

RECORDED = (Path(__file__).parent / "users_document.binpb").read_bytes()


class Reference:
    """A client that makes the calls in the reference's order."""

    def __init__(self, server: Server) -> None:
        server.user()
        self.http = server.client
        login = self.http.post("/token/login", json={"token": server.tokens["ann"]})
        assert login.status_code == 200
        self.headers = {"Authorization": f"Bearer {login.json()['jwt']}", "User-Agent": "aihwkit/1.2.0"}

    def get(self, path: str) -> Any:
        return self.http.get(path, headers=self.headers)

    def post(self, path: str, **content: Any) -> Any:
        return self.http.post(path, json=content, headers=self.headers)

    def send(self, payload: bytes, category: str = "train") -> str:
        """Make an experiment and send its payload."""
        made = self.post("/experiments", name="a name", category=category)
        assert made.status_code < 300, made.text
        where = self.post("/inputs", experiment=made.json()["id"], device="gpu").json()["url"]
        assert self.http.put(where, content=payload).status_code < 300
        return made.json()["id"]

    def start(self, experiment_id: str) -> Any:
        return self.post("/jobs", device="gpu", experiment=experiment_id)

    def refusal(self, experiment_id: str) -> Any:
        """Return the answer to which a refused job is sent on."""
        answer = self.start(experiment_id)
        assert answer.status_code == 303, answer.text
        return self.get(answer.headers["Location"])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(tmp_path / "data", monkeypatch) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Reference:
    return Reference(server)


def test_a_run_from_the_login_to_the_result(server: Server, client: Reference) -> None:
    experiment_id = client.send(RECORDED)
    assert client.get(f"/experiments/{experiment_id}").json()["job"] is None
    job = client.start(experiment_id).json()
    assert (job["status"], job["output"]) == ("waiting", None)
    held = server.start()
    assert client.get(f"/jobs/{job['id']}").json()["status"] == "running"
    assert client.get(f"/outputs/{experiment_id}/file").status_code == 409
    server.complete(held)
    done = client.get(f"/jobs/{job['id']}").json()
    assert done["status"] == "completed" and done["output"]
    where = client.get(f"/outputs/{done['output']}/file").json()["url"]
    output: Any = messages.parse(messages.TrainingOutput, client.http.get(where).content)  # no token here
    assert [entry.epoch for entry in output.epochs] == [0, 1]
    first = {metric.name: metric.f for metric in output.epochs[0].metrics}
    assert first == {name: METRICS[0][name] for name in ("accuracy", "train_loss", "valid_loss")}
    assert output.network == training().network
    listed = client.get("/experiments/me").json()
    assert [(entry["id"], entry["job"]["status"], entry["input"]["id"]) for entry in listed] == [
        (experiment_id, "completed", experiment_id)
    ]
    where = client.get(f"/inputs/{listed[0]['input']['id']}/file").json()["url"]
    assert client.http.get(where).content == RECORDED


def test_the_archive_that_is_made_is_one_that_the_check_takes(
    server: Server, client: Reference, tmp_path: Path
) -> None:
    from aihwjax.cloud.check import check

    experiment_id = client.send(training(epochs=3, lr=0.1).SerializeToString())
    assert client.start(experiment_id).status_code == 201
    who = server.core.authenticate(server.tokens["ann"])
    archive = tmp_path / "archive.tar"
    archive.write_bytes(server.core.read_artefact(who, experiment_id, "input"))
    found = check(str(archive), 1 << 30)
    assert found["ok"] is True, found
    assert (found["epochs"], found["dataset"]) == (3, "fashion_mnist")


def test_two_runs_have_keys_of_their_own(server: Server, client: Reference) -> None:
    who = server.core.authenticate(server.tokens["ann"])
    keys = set()
    for _ in range(2):
        experiment_id = client.send(RECORDED)
        client.start(experiment_id)
        with tarfile.open(fileobj=BytesIO(server.core.read_artefact(who, experiment_id, "input"))) as tar:
            document = tar.extractfile("experiment.json")
            assert document is not None
            keys.add(json.load(document)["experiment"]["key"])
    assert len(keys) == 2


def test_starting_twice_is_starting_once(server: Server, client: Reference) -> None:
    experiment_id = client.send(RECORDED)
    assert client.start(experiment_id).json() == client.start(experiment_id).json()
    assert server.core.counts()["waiting"] == 1


def test_the_reply_to_a_new_experiment_has_its_input_already(client: Reference) -> None:
    made = client.post("/experiments", name="a name", category="train").json()
    assert made["input"]["id"] == made["id"]
    assert datetime.strptime(made["createdAt"], "%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_time_without_a_fraction_has_one_all_the_same() -> None:
    from aihwjax.server.faces.schemas import moment

    assert wire._time(moment(1_700_000_000.0)) == "2023-11-14T22:13:20.000000Z"


def test_a_name_may_be_anything(client: Reference) -> None:
    for name, kept in [
        ("", "experiment"),
        ("two\nlines", "two lines"),
        ("x" * 500, "x" * 200),
        ("Ärger 🙂", "Ärger 🙂"),
    ]:
        assert client.post("/experiments", name=name, category="train").json()["name"] == kept


def test_a_wrong_token_is_a_400_with_a_message(server: Server) -> None:
    answer = server.client.post("/token/login", json={"token": "aihwjax_wrong"})
    assert answer.status_code == 400
    assert answer.json()["message"] == "this token is not valid"


def test_a_url_that_ends_with_a_slash_works(server: Server) -> None:
    server.user()
    answer = server.client.post("http://testserver//token/login", json={"token": server.tokens["ann"]})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (training((("AvgPool2d", {}), ("Flatten", {}))), "layer-0-AvgPool2d-is-not-supported"),
        (training((("GELU", {}), ("Conv3d", {}))), "layer-0-GELU-and-layer-1-Conv3d-are-not-supported"),
        (training((("Conv2d", {}),)), "layer-0-Conv2d-needs-the-argument-in-channels"),
        (training(preset="NoPreset"), "layer-1-AnalogLinear-has-the-unknown-preset-NoPreset"),
        (training(batch_size=0), "the-batch-size-0-is-not-allowed"),
        (b"no message", "is-no-TrainingInput"),
        (b"", "TrainingInput.version-is-missing"),
    ],
)
def test_a_refused_job_is_sent_on_to_where_the_user_sees_why(client: Reference, payload: Any, words: str) -> None:
    experiment_id = client.send(payload if isinstance(payload, bytes) else payload.SerializeToString())
    answer = client.refusal(experiment_id)
    assert answer.status_code == 422
    assert words in answer.url.path
    assert words.replace("-", " ") in answer.json()["message"]
    assert client.get(f"/experiments/{experiment_id}").json()["job"] is None


def test_what_the_check_refuses_is_told_in_the_same_way(client: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(self: Checker, path: Path) -> dict[str, Any]:
        raise ServiceError(422, "bad_experiment", "model: 4000000000 bytes are too many: give at most 1073741824")

    monkeypatch.setattr(Checker, "check", check)
    answer = client.refusal(client.send(RECORDED))
    assert answer.url.path == "/refused/model-4000000000-bytes-are-too-many-give-at-most-1073741824"


def test_the_check_names_the_layers_of_the_payload(client: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(self: Checker, path: Path) -> dict[str, Any]:
        raise ServiceError(422, "bad_experiment", "layers/7: AnalogLinear(73, 10): x has shape (2, 72)", "model[7]")

    monkeypatch.setattr(Checker, "check", check)
    answer = client.refusal(client.send(training(CONVOLUTIONS).SerializeToString()))
    assert answer.url.path == "/refused/layers-5-AnalogLinear-73-10-x-has-shape-2-72"


def test_inferencing_from_the_payload_to_the_result(
    server: Server, client: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"epochs": 2, "parameters": 40, "dataset": "fashion_mnist", "kind": KIND, "layers": []}
    monkeypatch.setattr(Checker, "check", lambda self, path: told)
    experiment_id = client.send(inferencing(repeats=2).SerializeToString(), category="inference")
    assert client.start(experiment_id).json()["status"] == "waiting"
    held = server.start()
    entries = [chip_entry([{"chip": n, "time": 1.0, "loss": 0.5, "accuracy": 90.0 + n}], 1.0) for n in range(2)]
    stored = server.core._artefacts.write(f"{held.job_id}-output", [b"the result"], 100)
    with server.core._store.writing() as session:
        assert leases.complete(session, held, server.say(held, entries, []), stored)
    where = client.get(f"/outputs/{experiment_id}/file").json()["url"]
    output: Any = messages.parse(messages.InferencingOutput, client.http.get(where).content)
    assert output.inference_runs.inference_repeat == 2
    assert output.inference_runs.inference_results[0].avg_accuracy == 90.5


def test_inferencing_with_a_template_that_is_not_here_is_refused_when_it_is_started(client: Reference) -> None:
    content = inferencing(weight_template_id="lenet5").SerializeToString()
    answer = client.refusal(client.send(content, category="inference"))
    assert answer.url.path.startswith("/refused/the-weight-template-lenet5-is-not-here")


def test_words_of_a_refusal_are_safe_in_a_path() -> None:
    class Request:
        base_url = "http://testserver/"

    target = wire._elsewhere(Request(), "a/../b\r\nX: <script>? %2e " + "x" * 500).headers["location"]  # type: ignore[arg-type]
    assert target.startswith("http://testserver/refused/a-..-b-X-script-2e-xxx")
    assert len(target) < 250


def test_a_job_without_its_payload_is_refused(client: Reference) -> None:
    made = client.post("/experiments", name="a name", category="train").json()
    assert client.start(made["id"]).status_code == 409


def test_a_job_that_was_given_back_is_waiting_and_not_failed(server: Server, client: Reference) -> None:
    experiment_id = client.send(RECORDED)
    client.start(experiment_id)
    held = server.start()
    with server.core._store.writing() as session:
        leases.fail(session, held, "its process was killed", final=False, attempts=3)
    assert client.get(f"/jobs/{experiment_id}").json()["status"] == "waiting"
    server.fail(server.start(), "it cannot work")
    assert client.get(f"/jobs/{experiment_id}").json()["status"] == "failed"


def test_none_is_no_id(client: Reference) -> None:
    for path in ("/inputs/None/file", "/outputs/None/file", "/jobs/None", "/experiments/None"):
        assert client.get(path).status_code == 404


def test_a_link_to_a_result_allows_that_one_only(server: Server, client: Reference) -> None:
    first, second = server.completed(), server.completed()
    where = client.get(f"/outputs/{first}/file").json()["url"]
    assert client.http.get(where).status_code == 200
    assert client.http.get(where.replace(first, second)).status_code == 403


def test_the_process_of_the_api_never_imports_jax(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
import pytest
sys.path.insert(0, {str(Path(__file__).parents[4])!r})
from tests.server.faces.harness import serving
from tests.server.faces.wire.test_routes import RECORDED, Reference
with serving(Path({str(tmp_path / "data")!r}), pytest.MonkeyPatch()) as server:
    client = Reference(server)
    experiment_id = client.send(RECORDED)
    assert client.start(experiment_id).status_code == 201
    server.complete(server.start())
    assert client.http.get(client.get(f"/outputs/{{experiment_id}}/file").json()["url"]).status_code == 200
assert "jax" not in sys.modules and "flax" not in sys.modules
print("without")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "without", done.stderr
