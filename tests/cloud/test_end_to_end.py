"""A fresh composer and our client: an experiment goes there and comes back trained."""

from __future__ import annotations

import io
import json

import jax
import jax.numpy as jnp
import pytest
import requests
from flax import nnx

import aihwjax as aj
from aihwjax import cli, nn
from aihwjax.cloud import CloudJobStatus, CloudRunner, archive, document, list_experiments
from aihwjax.errors import (
    ApiResponseError,
    CredentialsError,
    ExperimentStatusError,
    ResponseError,
)
from aihwjax.experiments import fit, load, load_best
from aihwjax.experiments.arrays import digest
from aihwjax.experiments.storing import arrays_of
from tests.cloud import networks
from tests.cloud.test_damaged_archives import members, packed
from tests.server.live import live
from tests.test_cli import EXPERIMENT

EXAMPLES = 120
EXACT = aj.FloatingPointRPUConfig()
SLOW_EPOCHS = 10_000


@pytest.fixture(scope="module")
def composer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("composer")
    with live(folder, folder) as server:
        yield server


@pytest.fixture(scope="module")
def token(composer):
    return composer.token("ann")


@pytest.fixture(autouse=True)
def configured(composer, token, monkeypatch, tmp_path):
    """Give address and token as a user does: in the environment."""
    monkeypatch.setenv("AIHWJAX_API_URL", composer.url)
    monkeypatch.setenv("AIHWJAX_API_TOKEN", token)
    monkeypatch.setenv("HOME", str(tmp_path))


def accuracy(model, splits, count=256):
    """Return the fraction of the validation set that a model without noise gets right."""
    right = 0
    for start in range(0, len(splits.valid_y), count):
        x, y = splits.valid_x[start : start + count], splits.valid_y[start : start + count]
        right += int((jnp.argmax(model(x, key=jax.random.key(0)), axis=1) == y).sum())
    return right / len(splits.valid_y)


def untimed(metrics):
    return [{**entry, "time_epoch": 0} for entry in metrics]


def test_an_experiment_comes_back_trained(token):
    experiment = networks.experiment(EXACT, epochs=3)
    sent = aj.run_cloud(
        experiment, name="exact", key=5, max_elements_train=EXAMPLES, keep_best="valid_loss", best="largest"
    )
    assert sent.wait(timeout=300) is CloudJobStatus.COMPLETED
    result = sent.get_result()
    assert [entry["epoch"] for entry in result] == [0, 1, 2]
    assert result == sent.metrics()
    splits = experiment.dataset.load(max_elements=EXAMPLES)
    returned = sent.get_experiment()
    assert accuracy(returned.model, splits) == result[-1]["accuracy"] > 0.2
    assert accuracy(experiment.model, splits) != result[-1]["accuracy"]
    assert (returned.epochs, returned.batch_size, returned.learning_rate) == (3, 16, 0.1)
    assert returned.dataset == experiment.dataset
    model, entry = sent.get_best()
    assert entry == max(result, key=lambda each: each["valid_loss"]) != result[-1]
    assert accuracy(model, splits) == entry["accuracy"]
    lines = list(sent.logs(follow=True))
    assert sum("epoch" in line for line in lines) >= 3
    assert token not in "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("key", [7, jax.random.key(9)], ids=["number", "words"])
def test_the_cloud_gives_what_this_machine_gives(key, tmp_path):
    rates, weights = {"layers/1": 0.0, "default": 0.3}, [0.7] + [1.0] * 9
    experiment = networks.experiment(epochs=2, learning_rate=rates, class_weights=weights)
    best = {"keep_best": "train_loss"}
    sent = CloudRunner().run(experiment, key=key, max_elements_train=60, **best)
    splits = experiment.dataset.load(max_elements=60)
    model, metrics = fit(experiment, splits, key, checkpoint_dir=tmp_path / "run", **best)
    assert sent.wait(timeout=300) is CloudJobStatus.COMPLETED
    assert untimed(sent.get_result()) == untimed(metrics)
    assert digest(arrays_of(sent.get_experiment().model)) == digest(arrays_of(model))
    assert digest(arrays_of(sent.get_best()[0])) == digest(arrays_of(load_best(tmp_path / "run")[0]))


@pytest.mark.slow
def test_experiments_are_found_again():
    runner = CloudRunner()
    sent = runner.run(networks.experiment(epochs=0), name="nothing to do, ünï ✓ [bold]")
    sent.wait(timeout=300)
    again = runner.get_cloud_experiment(sent.id[:12])
    assert (again.id, again.name) == (sent.id, sent.name)
    listed = runner.list_experiments()
    assert listed[0].id == sent.id
    assert [entry.id for entry in runner.list_cloud_experiments(limit=1)] == [sent.id]
    assert list_experiments(status="completed")[0].id == sent.id
    assert sent.get_result() == []
    with pytest.raises(
        ExperimentStatusError, match=f"experiment {sent.id} kept no best epoch: submit it with keep_best"
    ):
        sent.get_best()


def test_a_running_experiment_is_too_early_to_ask_and_can_be_cancelled():
    sent = aj.run_cloud(networks.experiment(epochs=SLOW_EPOCHS), max_elements_train=20)
    for call in (sent.get_result, sent.get_experiment):
        with pytest.raises(ExperimentStatusError, match=r"is (waiting|running) \(\d+ of 10000 epochs\)"):
            call()
    with pytest.raises(ExperimentStatusError, match="the time is over"):
        sent.wait(timeout=0.01)
    sent.cancel()
    assert sent.wait(timeout=120) is CloudJobStatus.CANCELLED
    with pytest.raises(ExperimentStatusError, match="was cancelled"):
        sent.get_result()


@pytest.mark.slow
def test_a_diverged_experiment_fails_with_the_step():
    rngs = nnx.Rngs(0)
    layers = nn.AnalogLinear(784, 4, config=EXACT, rngs=rngs), nnx.Linear(4, 10, rngs=rngs)  # no tanh that bounds
    model = nn.AnalogSequential(nn.Flatten(), *layers, nn.LogSoftmax(dim=1))
    sent = aj.run_cloud(networks.experiment(model=model, learning_rate=1e18), max_elements_train=60)
    assert sent.wait(timeout=300) is CloudJobStatus.FAILED
    with pytest.raises(
        ExperimentStatusError, match=r"failed: the training diverged in epoch \d+: .*not finite from step"
    ):
        sent.get_result()


def test_a_failed_experiment_says_why():
    sent = aj.run_cloud(networks.experiment(dataset=aj.MNIST, epochs=1), name="no data here")
    assert sent.wait(timeout=300) is CloudJobStatus.FAILED
    for call in (sent.get_result, sent.get_experiment):
        with pytest.raises(ExperimentStatusError, match=f"experiment {sent.id} failed: .*MNIST"):
            call()
    assert cli.main(["cloud", "result", sent.id[:8]]) == 1


def test_a_network_that_does_not_fit_is_refused_at_once():
    model = aj.nn.AnalogSequential(aj.nn.Flatten(), *list(networks.model(EXACT))[2:])
    with pytest.raises(ApiResponseError, match=r"refused \(422\): .*layers/2: nnx.Linear") as caught:
        aj.run_cloud(networks.experiment(model=model))
    assert caught.value.response.json()["error"]["field"] == "model[2]"


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ('"learning_rate":0.1', "experiment.learning_rate"),
        ('"dw_min":0.01', "model.layers[1].config.device.dw_min"),
        ('"epochs":2', "experiment.epochs"),
    ],
)
@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e999"])
def test_a_number_that_is_not_finite_is_refused_and_no_job_is_made(composer, token, entry, field, number):
    file = io.BytesIO()
    archive.pack(file, document.to_document(networks.experiment()))
    files = members(file.getvalue())
    text = files["experiment.json"].decode()
    assert entry in text
    files["experiment.json"] = text.replace(entry, f"{entry.split(':')[0]}:{number}", 1).encode()
    api, headers = f"{composer.url}/api/v1/experiments", {"Authorization": f"Bearer {token}"}
    made = requests.post(api, json={"name": "odd"}, headers=headers, timeout=60).json()
    assert requests.put(made["upload"]["url"], data=packed(files), timeout=60).ok
    refused = requests.post(f"{api}/{made['experiment']['id']}/submit", headers=headers, timeout=60)
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, field)
    assert f"{field} is NaN, infinite or too large: give a finite number" in refused.json()["message"]
    now = requests.get(f"{api}/{made['experiment']['id']}", headers=headers, timeout=60).json()
    assert (now["status"], now["job_id"]) == ("created", None)


def test_tokens_are_needed_and_checked(composer, token, monkeypatch):
    with pytest.raises(CredentialsError, match="does not accept the API token") as caught:
        CloudRunner(api_token=token[:-1] + ("a" if token[-1] != "a" else "b")).list_experiments()
    assert token[:-1] not in str(caught.value)
    monkeypatch.delenv("AIHWJAX_API_TOKEN")
    with pytest.raises(CredentialsError, match="AIHWJAX_API_TOKEN"):
        aj.run_cloud(networks.experiment())
    stranger = CloudRunner(api_token=composer.token("eve"))
    assert stranger.list_experiments() == []
    mine = CloudRunner(api_token=token).list_experiments(limit=1)[0]
    with pytest.raises(ApiResponseError, match=r"\(404\)"):
        stranger.get_cloud_experiment(mine.id)


def test_a_full_queue_and_a_composer_that_is_gone(tmp_path, capsys):
    with live(tmp_path, tmp_path, workers=0) as server:
        words = ["composer", "token", "create", "ann", "--max-jobs", "2", "--data-dir", str(server.data_dir)]
        assert cli.main(words) == 0
        runner = CloudRunner(server.url, capsys.readouterr().out.split()[-1])
        first, _ = (runner.run(networks.experiment(epochs=1)) for _ in range(2))
        assert first.status() is CloudJobStatus.WAITING
        with pytest.raises(ApiResponseError, match=r"refused \(429\): ") as caught:
            runner.run(networks.experiment(epochs=1))
        assert caught.value.response.status_code == 429
        first.cancel()
        assert runner.run(networks.experiment(epochs=1)).status() is CloudJobStatus.WAITING
    with pytest.raises(ResponseError, match=f"cannot reach the composer at {server.url}"):
        runner.list_experiments()


FILE = EXPERIMENT.replace("max_elements_train = 120", "max_elements_train = 60")


@pytest.fixture
def run(capsys):
    """Run a command and return its exit code, output and errors."""

    def call(*words):
        code = cli.main(["cloud", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_all_of_it_from_the_command_line(run, tmp_path, capsys):
    file = tmp_path / "digits.toml"
    file.write_text(FILE)
    code, out, _ = run("submit", file, "--set", "learning_rate=0.2", "--key", 3, "--keep-best", "accuracy")
    assert code == 0
    id_ = out.strip()
    code, out, err = run("wait", id_[:8], "--timeout", 300)
    assert (code, err) == (0, "") and "completed" in out and "2/2 epochs" in out and "digits" in out
    code, out, _ = run("result", id_[:8])
    assert code == 0 and "training loss" in out and out.count("%") == 2
    code, out, _ = run("fetch", id_[:8], "-o", tmp_path / "out")
    assert code == 0
    metrics = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert out.split() == [str(tmp_path / "out" / name) for name in ("model", "metrics.jsonl", "best")]
    splits = aj.MNIST10K.load(max_elements=60)
    assert accuracy(load(tmp_path / "out" / "model"), splits) == metrics[-1]["accuracy"]
    assert accuracy(load(tmp_path / "out" / "best"), splits) == max(entry["accuracy"] for entry in metrics)
    code, out, _ = run("status", id_[:8], "--json")
    answer = json.loads(out)
    assert code == 0 and answer["id"] == id_ and answer["status"] == "completed" and answer["name"] == "digits"
    code, out, _ = run("result", id_[:8], "--json")
    assert json.loads(out) == {"id": id_, "metrics": metrics}
    code, out, _ = run("list", "--json", "--limit", 1)
    assert [entry["id"] for entry in json.loads(out)] == [id_]
    code, out, _ = run("list")
    assert code == 0 and id_[:8] in out and "completed" in out
    code, out, _ = run("logs", "-f", id_[:8])
    assert code == 0 and "epoch 1: training loss" in out
    code, out, _ = run("logs", id_[:8], "--json")
    assert all(set(json.loads(line)) == {"text"} for line in out.splitlines()) and out
    # the same as on this machine
    words = [
        "train",
        str(file),
        "--set",
        "learning_rate=0.2",
        "--key",
        "3",
        "--output",
        str(tmp_path / "here"),
        "--quiet",
    ]
    assert cli.main(words) == 0
    capsys.readouterr()
    local = [json.loads(line) for line in (tmp_path / "here" / "metrics.jsonl").read_text().splitlines()]
    assert untimed(local) == untimed(metrics)


@pytest.mark.slow
def test_submit_can_wait(run, tmp_path):
    file = tmp_path / "digits.toml"
    file.write_text(FILE)
    code, out, err = run("submit", file, "--wait", "--name", "patient")
    assert (code, err) == (0, "") and out.count("%") == 2
    code, out, _ = run("submit", file, "--wait", "--json", "--set", "dataset=mnist", "--set", "max_elements_train=0")
    assert code == 1 and json.loads(out)["status"] == "failed"


def test_mistakes_are_one_line_and_end_with_2(run, tmp_path):
    file = tmp_path / "digits.toml"
    file.write_text(FILE)
    for words, text in (
        (("status", "ffffffffffff"), "(404)"),
        (("status", "../me"), "id='../me'"),
        (("status", "abcd", "--url", "ftp://x"), "api_url="),
        (("submit", tmp_path / "missing.toml"), "missing.toml"),
        (("submit", file, "--set", "epoch=3"), "did you mean 'epochs'?"),
        (("submit", file, "--keep-best", "f1"), "keep_best='f1' is no metric of this run"),
        (("submit", file, "--set", "epochs=3000000000"), "(422)"),
        (("list", "--status", "frozen"), "frozen"),
    ):
        code, out, err = run(*words)
        assert code == 2 and out == "" and text in err and err.count("\n") == 1, (words, out, err)


def test_cancel_from_the_command_line(run, tmp_path):
    file = tmp_path / "digits.toml"
    file.write_text(FILE)
    _, out, _ = run("submit", file, "--set", f"epochs={SLOW_EPOCHS}", "--json")
    id_ = json.loads(out)["id"]
    code, out, err = run("result", id_)
    assert code == 2 and "wait() until it is completed" in err
    assert run("cancel", id_)[0] == 0
    code, out, err = run("wait", id_, "--timeout", 120)
    assert code == 1 and "cancelled" in out and "was cancelled" in err
    assert run("fetch", id_, "-o", tmp_path / "out")[0] == 1 and not (tmp_path / "out").exists()
