"""Experiments of others do not exist, whoever asks and however."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.faces.harness import Server, serving

API = [
    ("GET", "/api/v1/experiments/{id}"),
    ("POST", "/api/v1/experiments/{id}/submit"),
    ("GET", "/api/v1/experiments/{id}/events"),
    ("GET", "/api/v1/experiments/{id}/stream"),
    ("GET", "/api/v1/experiments/{id}/result"),
    ("GET", "/api/v1/experiments/{id}/files/input"),
    ("GET", "/api/v1/experiments/{id}/files/output"),
    ("POST", "/api/v1/experiments/{id}/cancel"),
]
WIRE = [
    ("GET", "/experiments/{id}"),
    ("POST", "/inputs"),
    ("GET", "/inputs/{id}/file"),
    ("POST", "/jobs"),
    ("GET", "/jobs/{id}"),
    ("GET", "/outputs/{id}/file"),
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(tmp_path / "data", monkeypatch) as running:
        yield running


def _status(server: Server, user: str, method: str, path: str, experiment_id: str) -> int:
    fields = {"json": {"experiment": experiment_id, "device": "cpu"}} if path in ("/inputs", "/jobs") else {}
    url = path.replace("{id}", experiment_id)
    return server.client.request(method, url, headers=server.user(user), **fields).status_code


def test_these_are_all_the_routes_that_have_an_experiment(server: Server) -> None:
    paths = server.client.get("/api/v1/openapi.json").json()["paths"]
    signed = {"/files/{id}", "/outputs/{id}/message"}
    listed = {(method.upper(), path) for path, methods in paths.items() for method in methods if "{id}" in path}
    asked = {(method, path.replace("files/input", "files/{kind}")) for method, path in API + WIRE if "{id}" in path}
    asked -= {("GET", "/api/v1/experiments/{id}/files/output")}
    assert {entry for entry in listed if entry[1] not in signed} == asked


@pytest.mark.parametrize(("method", "path"), API + WIRE)
def test_another_user_gets_404_where_the_owner_gets_an_answer(server: Server, method: str, path: str) -> None:
    experiment_id = server.completed("ann")
    before = server.core.experiment(server.core.authenticate(server.tokens["ann"]), experiment_id)
    assert _status(server, "bob", method, path, experiment_id) == 404
    assert _status(server, "bob", method, path, "f" * 32) == 404
    after = server.core.experiment(server.core.authenticate(server.tokens["ann"]), experiment_id)
    assert after == before
    if path != "/inputs/{id}/file":  # this one was not made by the wire protocol
        assert _status(server, "ann", method, path, experiment_id) < 300


def test_a_shortened_id_does_not_find_it_either(server: Server) -> None:
    experiment_id = server.completed("ann")
    assert server.api("GET", f"/experiments/{experiment_id[:6]}", "bob").status_code == 404


def test_lists_have_ones_own_only(server: Server) -> None:
    experiment_id = server.completed("ann")
    assert server.api("GET", "/experiments", "bob").json()["experiments"] == []
    assert server.client.get("/experiments/me", headers=server.user("bob")).json() == []
    server.user("root", scope="admin")
    listed = server.api("GET", "/experiments", "root").json()["experiments"]
    assert [entry["id"] for entry in listed] == [experiment_id]
    assert server.client.get("/experiments/me", headers=server.user("root")).json() == []


def test_anothers_experiment_is_no_cursor_of_a_list(server: Server) -> None:
    experiment_id = server.completed("ann")
    there = server.api("GET", "/experiments", "bob", params={"before": experiment_id})
    nowhere = server.api("GET", "/experiments", "bob", params={"before": "f" * 32})
    assert (there.status_code, there.json()) == (nowhere.status_code, nowhere.json())
