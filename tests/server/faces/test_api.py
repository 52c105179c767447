"""The API: what each call does and answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from aihwjax.server.core import leases
from tests.server.faces.harness import ARCHIVE, METRICS, Server, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(tmp_path / "data", monkeypatch) as running:
        yield running


def test_health_needs_no_token_and_counts_jobs(server: Server) -> None:
    server.waiting()
    answer = server.client.get("/api/v1/health").json()
    assert answer["status"] == "ok"
    assert answer["jobs"] == {"waiting": 1, "running": 0, "completed": 0, "failed": 0, "cancelled": 0}


def test_me_tells_the_limits_of_the_token(server: Server) -> None:
    server.user("ann", limits={"max_jobs": 3})
    answer = server.api("GET", "/me").json()
    assert (answer["user"], answer["scope"], answer["limits"]["max_jobs"]) == ("ann", "user", 3)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}])
def test_without_a_valid_token_nothing_is_told(server: Server, header: dict[str, str]) -> None:
    for method, path in [
        ("GET", "/me"),
        ("GET", "/experiments"),
        ("POST", "/experiments"),
        ("GET", "/experiments/abcd"),
    ]:
        fields = {"json": {"name": "x"}} if method == "POST" else {}
        answer = server.client.request(method, f"/api/v1{path}", headers=header, **fields)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_revoked_token_ends_at_once_and_its_login_too(server: Server) -> None:
    headers = server.user()
    login = server.client.post("/token/login", json={"token": server.tokens["ann"]}).json()["jwt"]
    signed_in = {"Authorization": f"Bearer {login}"}
    assert server.client.get("/api/v1/me", headers=signed_in).json()["user"] == "ann"
    server.core.revoke_token(server.tokens["ann"])
    assert server.client.get("/api/v1/me", headers=headers).status_code == 401
    assert server.client.get("/api/v1/me", headers=signed_in).status_code == 401


def test_an_experiment_from_its_creation_to_its_result(server: Server) -> None:
    experiment_id, url = server.created(sha256=hashlib.sha256(ARCHIVE).hexdigest(), size=len(ARCHIVE))
    path = f"/experiments/{experiment_id}"
    assert server.api("POST", f"{path}/submit").status_code == 409  # nothing to submit yet
    assert server.client.put(url, content=ARCHIVE).status_code == 204
    assert server.api("GET", path).json()["has_input"] is True
    waiting = server.api("POST", f"{path}/submit", json={"device": "gpu"}).json()
    assert (waiting["status"], waiting["epochs"], waiting["device"]) == ("waiting", 2, "gpu")
    held = server.start()
    assert server.api("GET", path).json()["status"] == "running"
    early = server.api("GET", f"{path}/result")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "running")
    server.complete(held)
    done = server.api("GET", path).json()
    assert (done["status"], done["epochs_done"], done["metrics"]["accuracy"]) == ("completed", 2, 0.75)
    assert server.api("GET", f"{path}/result").json() == {"metrics": METRICS}
    link = server.api("GET", f"{path}/files/output").json()
    content = server.client.get(link["url"])  # without a token
    assert content.content == b"the result"
    assert (link["size"], link["sha256"]) == (10, hashlib.sha256(b"the result").hexdigest())
    assert content.headers["ETag"] == f'"{link["sha256"]}"'
    head = server.client.head(link["url"])
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "10", b"")
    assert server.client.get(server.api("GET", f"{path}/files/input").json()["url"]).content == ARCHIVE


def test_a_result_has_the_metrics_that_there_are(server: Server) -> None:
    experiment_id, entry = server.waiting(), {"epoch": 0, "train_loss": None, "valid_loss": 1.5, "f1": 0.5}
    held = server.start()
    stored = server.core._artefacts.write(f"{held.job_id}-output", [b"the result"], 100)
    with server.core._store.writing() as session:
        assert leases.complete(session, held, server.say(held, [entry], []), stored)
    assert server.api("GET", f"/experiments/{experiment_id}/result").json() == {"metrics": [entry]}


def test_times_are_iso_8601_in_utc(server: Server) -> None:
    experiment = server.api("GET", f"/experiments/{server.completed()}").json()
    for name in ("created_at", "started_at", "finished_at"):
        assert experiment[name].endswith("Z")
        assert datetime.fromisoformat(experiment[name]).utcoffset() is not None


def test_the_same_submission_again_is_the_same_experiment(server: Server) -> None:
    fields = {"submission": "once", "sha256": hashlib.sha256(ARCHIVE).hexdigest(), "size": len(ARCHIVE)}
    experiment_id, url = server.created(**fields)
    again = server.api("POST", "/experiments", json={"name": "a name", **fields})
    assert again.json()["experiment"]["id"] == experiment_id
    for _ in range(2):
        assert server.client.put(url, content=ARCHIVE).status_code == 204
    for _ in range(2):
        assert server.api("POST", f"/experiments/{experiment_id}/submit").json()["status"] == "waiting"
    afterwards = server.api("POST", "/experiments", json={"name": "a name", **fields})
    assert (afterwards.status_code, afterwards.json()["upload"]) == (200, None)
    assert len(server.api("GET", "/experiments").json()["experiments"]) == 1
    other = server.api("POST", "/experiments", json={"name": "a name", **fields, "sha256": "0" * 64})
    assert other.status_code == 409


def test_experiments_are_listed_in_pages_newest_first(server: Server) -> None:
    ids = [server.waiting() for _ in range(5)]
    first = server.api("GET", "/experiments", params={"limit": 3}).json()
    second = server.api("GET", "/experiments", params={"limit": 3, "before": first["next"]}).json()
    assert [entry["id"] for entry in first["experiments"] + second["experiments"]] == ids[::-1]
    assert second["next"] is None
    server.api("POST", f"/experiments/{ids[0]}/cancel")
    found = server.api("GET", "/experiments", params={"status": "cancelled"}).json()["experiments"]
    assert [entry["id"] for entry in found] == ids[:1]


def test_the_start_of_an_id_is_enough(server: Server) -> None:
    experiment_id = server.waiting()
    assert server.api("GET", f"/experiments/{experiment_id[:8]}").json()["id"] == experiment_id
    assert server.api("GET", f"/experiments/{experiment_id[:8]}/events").json()["status"] == "waiting"


def test_cancelling_twice_is_cancelling_once(server: Server) -> None:
    experiment_id = server.waiting()
    for _ in range(2):
        answer = server.api("POST", f"/experiments/{experiment_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    early = server.api("GET", f"/experiments/{experiment_id}/result")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "cancelled")


def test_a_failure_has_its_reason(server: Server) -> None:
    experiment_id = server.waiting()
    server.fail(server.start(), "the loss is not a number")
    assert server.api("GET", f"/experiments/{experiment_id}").json()["error"] == "the loss is not a number"
    early = server.api("GET", f"/experiments/{experiment_id}/result").json()["error"]
    assert early["code"] == "failed" and "the loss is not a number" in early["message"]


def test_events_are_read_by_cursor_each_once(server: Server) -> None:
    experiment_id = server.completed()
    seen, after = [], 0
    while True:
        answer = server.api("GET", f"/experiments/{experiment_id}/events", params={"after": after, "limit": 2}).json()
        if not answer["events"]:
            break
        seen += answer["events"]
        after = answer["cursor"]
    assert [event["kind"] for event in seen] == ["state", "state", "log", "epoch", "epoch", "state"]
    assert [event["data"]["status"] for event in seen if event["kind"] == "state"] == [
        "waiting",
        "running",
        "completed",
    ]
    assert [event["data"] for event in seen if event["kind"] == "epoch"] == METRICS
    assert len({event["id"] for event in seen}) == len(seen)


def test_a_link_allows_one_thing_on_one_file(server: Server) -> None:
    experiment_id, url = server.created()
    other_id, _ = server.created()
    assert server.client.get(url).status_code in (403, 422)
    assert server.client.put(url.replace(experiment_id, other_id), content=ARCHIVE).status_code == 403
    assert server.client.put(url.replace("limit=", "limit=9"), content=ARCHIVE).status_code == 403
    assert server.client.put(url[:-1] + ("0" if url[-1] != "0" else "1"), content=ARCHIVE).status_code == 403
    assert server.api("GET", f"/experiments/{other_id}").json()["has_input"] is False


def test_a_submitted_archive_cannot_be_replaced(server: Server) -> None:
    experiment_id, url = server.created()
    server.client.put(url, content=ARCHIVE)
    server.api("POST", f"/experiments/{experiment_id}/submit")
    assert server.client.put(url, content=ARCHIVE).status_code == 204  # the same again
    assert server.client.put(url, content=b"another").status_code == 409


def test_slashes_before_the_path_do_not_matter(server: Server) -> None:
    assert server.client.get("http://testserver//api/v1/health").status_code == 200
