"""Calls of the interface: what is repeated, what is refused and how it is said."""

from __future__ import annotations

import hashlib
import math

import pytest

import aihwjax as aj
from aihwjax.cloud import CloudJobStatus, CloudRunner
from aihwjax.cloud.session import Session
from aihwjax.cloud.settings import CloudSettings
from aihwjax.errors import (
    ApiResponseError,
    CloudError,
    ConfigError,
    CredentialsError,
    ExperimentStatusError,
    InvalidResponseFieldError,
    ResponseError,
)
from tests.cloud import networks
from tests.cloud.scripted import Answer, error, running

TOKEN = "aihwjax_12345678_verysecret"
ID = "0123456789abcdef0123456789abcdef"
WAITING = {"id": ID, "name": "first", "status": "waiting", "epochs": 2, "epochs_done": 0, "error": None}
METRICS = {"epoch": 0, "accuracy": 0.5, "train_loss": None, "valid_loss": 1.0, "time_epoch": 0.1}


@pytest.fixture
def server():
    with running() as script:
        yield script


def session(server, retries=4):
    return Session(CloudSettings(server.url, TOKEN), retries)


def experiment(server, **changes):
    server.on(f"GET /api/v1/experiments/{ID}", Answer(body={**WAITING, **changes}))
    return CloudRunner(server.url, TOKEN).get_cloud_experiment(ID)


def test_a_call_has_token_version_and_query(server):
    server.on("GET /api/v1/me", Answer(body={"user": "ann"}))
    assert session(server).get("me", limit=3, before=None) == {"user": "ann"}
    (asked,) = server.asked
    assert asked.path == "/api/v1/me?limit=3"
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["User-Agent"] == f"aihwjax/{aj.__version__}"


@pytest.mark.parametrize(
    "trouble",
    [Answer(503), Answer(502), Answer(504), Answer(429, headers={"Retry-After": "0"}), Answer(hang_up=True)],
    ids=["503", "502", "504", "429", "hang up"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_call_is_repeated_after_trouble_that_passes(server, trouble, method):
    server.on(f"{method} /api/v1/x", trouble, Answer(body={"ok": 1}))
    found = session(server).get("x") if method == "GET" else session(server).post("x", {"a": 1})
    assert found == {"ok": 1} and len(server.asked) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_an_hour_is_not_given_it(server, status):
    server.on("GET /api/v1/x", Answer(status, error("busy", "come later"), {"Retry-After": "3600"}))
    with pytest.raises(ApiResponseError, match=r"come later \(try again in 3600 s\)"):
        session(server).get("x")
    assert len(server.asked) == 1


def test_a_queue_that_stays_full_is_said(server):
    body = error("queue_full", "there are 10000 waiting jobs: try later")
    server.on("POST /api/v1/x", Answer(429, body, {"Retry-After": "0"}))
    with pytest.raises(ApiResponseError, match=r"refused \(429\): there are 10000 waiting jobs") as caught:
        session(server, retries=2).post("x")
    assert caught.value.response.status_code == 429 and len(server.asked) == 3


def test_a_wrong_token_is_a_matter_of_credentials(server):
    server.on("GET /api/v1/x", Answer(401, error("unauthorized", "this token was revoked")))
    with pytest.raises(CredentialsError, match="does not accept the API token: this token was revoked") as caught:
        session(server).get("x")
    assert TOKEN not in str(caught.value) and len(server.asked) == 1


REFUSALS = [
    (Answer(422, error("bad", "give 1 to 5", "experiment.epochs")), "(422): experiment.epochs: give 1 to 5"),
    (Answer(404, error("not_found", "there is\nno such experiment")), "(404): there is no such experiment"),
    (Answer(500, b"<html>" * 10**5), "(500): Internal Server Error"),
    (Answer(403, {"error": "odd"}), "(403): Forbidden"),
    (Answer(400, {"error": {"message": "x" * 10**5}}), "(400): " + "x" * 500),
]


@pytest.mark.parametrize(("answer", "text"), REFUSALS, ids=[row[0].status for row in REFUSALS])
def test_a_refusal_is_one_line_with_the_reason(server, answer, text):
    server.on("GET /api/v1/x", answer)
    with pytest.raises(ApiResponseError) as caught:
        session(server).get("x")
    assert str(caught.value).endswith(text) and isinstance(caught.value, ResponseError)
    assert caught.value.response.status_code == answer.status


@pytest.mark.parametrize("body", [b"", b"<html>", [], 3], ids=range(4))
def test_an_answer_that_is_no_object_is_refused(server, body):
    server.on("GET /api/v1/x", Answer(body=body))
    with pytest.raises(InvalidResponseFieldError, match="no JSON object"):
        session(server).get("x")


def test_a_composer_that_is_not_there_is_said():
    with running() as script:
        url = script.url
    with pytest.raises(ResponseError, match=r"cannot reach the composer at http.*refused") as caught:
        Session(CloudSettings(url, TOKEN), retries=1).get("x")
    assert caught.value.response is None and "\n" not in str(caught.value) and "0x" not in str(caught.value)


def test_a_name_that_does_not_exist_is_said():
    with pytest.raises(ResponseError, match="cannot reach the composer at http://composer.invalid/"):
        Session(CloudSettings("http://composer.invalid/", TOKEN), retries=0).get("x")


def test_the_token_does_not_go_to_signed_links(server, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    (tmp_path / "a").write_bytes(b"content")
    server.on("PUT /files/1", Answer(503), Answer(204, b""))
    server.on("GET /files/1", Answer(body=b"content"))
    server.on("GET /api/v1/x", Answer(body={}))
    own = session(server)
    own.upload("/files/1?signature=s", tmp_path / "a")
    own.download(f"{server.url}files/1?signature=s", tmp_path / "b", hashlib.sha256(b"content").hexdigest(), 7)
    own.get("x")
    assert (tmp_path / "b").read_bytes() == b"content"
    assert [entry.body for entry in server.asked if entry.method == "PUT"] == [b"content", b"content"]
    assert [entry.headers.get("Authorization") for entry in server.asked] == [None, None, None, f"Bearer {TOKEN}"]


@pytest.mark.parametrize(
    "answer",
    [Answer(body=b"conten"), Answer(body=b"contents"), Answer(body=b"kontent"), Answer(body=b"con", length=7)],
    ids=["short", "long", "other", "cut off"],
)
def test_a_damaged_download_is_refused(server, tmp_path, answer):
    server.on("GET /files/1", answer)
    with pytest.raises(ResponseError, match="damaged|cut off") as caught:
        session(server).download("files/1?signature=s", tmp_path / "b", hashlib.sha256(b"content").hexdigest(), 7)
    assert "signature" not in str(caught.value)


def test_a_submit_sends_one_submission_whatever_happens(server):
    created = {"experiment": {**WAITING, "status": "created"}, "upload": {"url": f"{server.url}files/1?s=1"}}
    server.on("POST /api/v1/experiments", Answer(hang_up=True), Answer(503), Answer(201, created))
    server.on("PUT /files/1", Answer(403, error("expired", "the link is too old")), Answer(204, b""))
    server.on(f"POST /api/v1/experiments/{ID}/submit", Answer(hang_up=True), Answer(body=WAITING))
    found = CloudRunner(server.url, TOKEN).run(networks.experiment(), name="first", device="gpu")
    assert (found.id, found.name) == (ID, "first")
    wanted = [entry.json() for entry in server.asked if entry.path == "/api/v1/experiments"]
    assert len(wanted) == 4 and len({entry["submission"] for entry in wanted}) == 1
    bodies = [entry.body for entry in server.asked if entry.method == "PUT"]
    assert {hashlib.sha256(body).hexdigest() for body in bodies} == {wanted[0]["sha256"]}
    assert {len(body) for body in bodies} == {wanted[0]["size"]}
    assert server.asked[-1].json() == {"device": "gpu"}


def test_what_is_there_already_is_not_sent_again(server):
    server.on("POST /api/v1/experiments", Answer(200, {"experiment": WAITING, "upload": None}))
    server.on(f"POST /api/v1/experiments/{ID}/submit", Answer(body=WAITING))
    CloudRunner(server.url, TOKEN).run(networks.experiment(), name="first")
    assert [entry.method for entry in server.asked] == ["POST", "POST"]


def test_a_refused_upload_is_not_repeated(server):
    created = {"experiment": WAITING, "upload": {"url": "/files/1"}}
    server.on("POST /api/v1/experiments", Answer(201, created))
    server.on("PUT /files/1", Answer(413, error("too_large", "the archive is too large")))
    with pytest.raises(ApiResponseError, match="the archive is too large"):
        CloudRunner(server.url, TOKEN).run(networks.experiment())
    assert len(server.asked) == 2


@pytest.mark.parametrize("fields", [{"name": ""}, {"name": "x" * 201}, {"device": "tpu"}], ids=str)
def test_arguments_are_checked_before_anything_is_sent(server, fields):
    with pytest.raises(ConfigError):
        CloudRunner(server.url, TOKEN).run(networks.experiment(), **fields)
    assert server.asked == []


def test_an_id_may_be_copied_with_blanks_and_in_capitals(server):
    experiment(server)
    assert CloudRunner(server.url, TOKEN).get_cloud_experiment(f" {ID.upper()}\n").id == ID


@pytest.mark.parametrize("id_", ["", "../me", "a/b", "a?b", "abc", "digits", "0" * 33])
def test_an_id_is_no_path(server, id_):
    with pytest.raises(ConfigError, match="id="):
        CloudRunner(server.url, TOKEN).get_cloud_experiment(id_)
    assert server.asked == []


STATES = [
    ({"status": "waiting"}, "is waiting (0 of 2 epochs)"),
    ({"status": "running", "epochs_done": 1}, "is running (1 of 2 epochs)"),
    ({"status": "created"}, "is created"),
    ({"status": "failed", "error": "layer 2 melted"}, "failed: layer 2 melted"),
    ({"status": "cancelled"}, "was cancelled"),
]


@pytest.mark.parametrize(("changes", "text"), STATES, ids=[row[0]["status"] for row in STATES])
@pytest.mark.parametrize("call", ["get_result", "get_experiment"])
def test_a_result_that_is_not_there_is_said(server, changes, text, call):
    with pytest.raises(ExperimentStatusError) as caught:
        getattr(experiment(server, **changes), call)()
    assert text in str(caught.value) and ID in str(caught.value)


def test_numbers_that_were_not_finite_come_back_as_nan(server):
    found = experiment(server, status="completed")
    server.on(f"GET /api/v1/experiments/{ID}/result", Answer(body={"metrics": [METRICS]}))
    (entry,) = found.get_result()
    assert math.isnan(entry["train_loss"]) and entry["accuracy"] == 0.5


def test_metrics_need_no_accuracy_and_may_have_names_of_their_own(server):
    found = experiment(server, status="completed")
    wanted = {"epoch": 0, "train_loss": 1.0, "valid_loss": 2.0, "f1": 0.5, "time_epoch": 0.1}
    server.on(f"GET /api/v1/experiments/{ID}/result", Answer(body={"metrics": [wanted]}))
    assert found.get_result() == [wanted]
    found.answer["metrics"] = wanted
    assert found._told() == "completed  f1 0.5"


def test_waiting_outlasts_a_composer_that_is_started_again(server):
    found = experiment(server)
    states = [Answer(body=WAITING), *[Answer(500)] * 2, Answer(body={**WAITING, "status": "running"})]
    server.on(f"GET /api/v1/experiments/{ID}", *states, Answer(body={**WAITING, "status": "completed"}))
    assert found.wait(stdout=False) is CloudJobStatus.COMPLETED


def test_waiting_ends_when_the_time_is_over_or_the_token_is_refused(server):
    found = experiment(server)
    with pytest.raises(ExperimentStatusError, match="is still waiting: the time is over"):
        found.wait(timeout=0.1, stdout=False)
    server.on(f"GET /api/v1/experiments/{ID}", Answer(401, error("unauthorized", "revoked")))
    with pytest.raises(CredentialsError):
        found.wait(stdout=False)


def test_waiting_for_what_was_never_submitted_is_refused(server):
    with pytest.raises(ExperimentStatusError, match="was never submitted"):
        experiment(server, status="created").wait(stdout=False)


def test_events_are_read_to_their_end(server):
    found = experiment(server, status="completed")
    kinds = [("log", {"text": "one"}), ("epoch", METRICS), ("log", {"text": "two"}), ("epoch", {**METRICS, "epoch": 1})]
    events = [{"id": 3 * i + 1, "kind": kind, "data": data} for i, (kind, data) in enumerate(kinds)]
    pages = [Answer(body={"events": page}) for page in (events[:3], events[3:], [])]
    for read, wanted in (
        (lambda: list(found.logs()), ["one", "two"]),
        (lambda: list(found.logs(follow=True)), ["one", "two"]),
        (lambda: [entry["epoch"] for entry in found.metrics()], [0, 1]),
    ):
        server.asked.clear()
        server.on(f"GET /api/v1/experiments/{ID}/events", *pages)
        assert read() == wanted
        assert [path for path in server.calls() if "events" in path] == [
            f"GET /api/v1/experiments/{ID}/events?after={cursor}" for cursor in (0, 7, 10)
        ]


def test_a_list_is_read_page_by_page(server):
    ids = [f"{number:032x}" for number in range(5)]
    entries = [{**WAITING, "id": id_} for id_ in ids]
    pages = [
        Answer(body={"experiments": entries[:3], "next": ids[2]}),
        Answer(body={"experiments": entries[3:], "next": None}),
    ]
    server.on("GET /api/v1/experiments", *pages)
    found = CloudRunner(server.url, TOKEN).list_cloud_experiments(status="waiting")
    assert [entry.id for entry in found] == ids
    assert server.calls() == [
        "GET /api/v1/experiments?status=waiting&limit=100",
        f"GET /api/v1/experiments?status=waiting&limit=100&before={ids[2]}",
    ]


@pytest.mark.parametrize("changes", [{"id": 3}, {"name": None}, {"status": "frozen"}, {"status": None}], ids=str)
def test_an_answer_with_a_wrong_field_is_refused(server, changes):
    with pytest.raises(InvalidResponseFieldError):
        experiment(server, **changes).status()


def test_errors_have_the_names_of_the_reference():
    for kind in (ResponseError, CredentialsError, ExperimentStatusError, InvalidResponseFieldError):
        assert issubclass(kind, CloudError) and issubclass(kind, aj.AihwjaxError)
    assert issubclass(ApiResponseError, ResponseError)
