"""What holds for every answer, and what never gets into a log."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from aihwjax.server.core.service import Composer
from tests.server.faces.harness import ARCHIVE, Server, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(tmp_path / "data", monkeypatch) as running:
        yield running


@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/me", "/nowhere", "/refused/why", "/experiments/me"])
def test_every_answer_tells_browsers_to_be_careful(server: Server, path: str) -> None:
    headers = server.client.get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


def test_an_error_of_the_program_tells_the_log_where_and_the_client_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Composer) -> dict[str, int]:
        raise RuntimeError("first line\nsecond line with a secret")

    monkeypatch.setattr(Composer, "counts", broken)
    answer = server.client.get("/api/v1/health?signature=secret")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "first line" not in answer.text
    record = next(record for record in caplog.records if record.name == "aihwjax.server.errors")
    assert "RuntimeError: first line" in record.getMessage() and "test_guard.py" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_the_access_log_has_a_line_a_request_without_its_query(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.client.get("/api/v1/health?a=b")
    server.client.get("/a%0Aforged%20line")
    lines = [record.getMessage() for record in caplog.records if record.name == "aihwjax.server.access"]
    assert re.fullmatch(r"GET /api/v1/health 200 [0-9.]+ ms", lines[0])
    assert lines[1].startswith("GET /a%0Aforged%20line 404")


def test_no_log_has_a_token_a_login_or_a_signature(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):  # the test's own client writes URLs
        logging.getLogger(name).setLevel(logging.WARNING)
    signatures = []

    def link(url: str) -> str:
        signatures.extend(parse_qs(urlsplit(url).query)["signature"])
        return url

    experiment_id, url = server.created()
    login = server.client.post("/token/login", json={"token": server.tokens["ann"]}).json()["jwt"]
    headers = {"Authorization": f"Bearer {login}"}
    server.client.put(link(url), content=b"")
    server.client.put(link(url), content=ARCHIVE)
    server.client.put(link(url) + "0", content=ARCHIVE)
    server.api("POST", f"/experiments/{experiment_id}/submit")
    server.complete(server.start())
    for path in ("", "/events", "/stream", "/result"):
        assert server.api("GET", f"/experiments/{experiment_id}{path}").status_code == 200
    for kind in ("input", "output"):
        server.client.get(link(server.api("GET", f"/experiments/{experiment_id}/files/{kind}").json()["url"]))
    made = server.client.post("/experiments", json={"name": "x"}, headers=headers).json()
    sent = server.client.post("/inputs", json={"experiment": made["id"]}, headers=headers).json()
    server.client.put(link(sent["url"]), content=b"no message")
    server.client.get(link(server.client.get(f"/inputs/{made['id']}/file", headers=headers).json()["url"]))
    server.client.get(link(server.client.get(f"/outputs/{experiment_id}/file", headers=headers).json()["url"]))
    server.client.post("/token/login", json={"token": f"{server.tokens['ann']}x"})
    server.client.get("/api/v1/me", headers={"Authorization": f"Bearer {login}x"})

    def broken(self: Composer) -> dict[str, int]:
        raise RuntimeError("it broke")

    monkeypatch.setattr(Composer, "counts", broken)
    server.client.get(f"/api/v1/health?token={server.tokens['ann']}", headers=server.user())
    text = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert len(caplog.records) >= 20 and len(signatures) >= 8
    for secret in (server.tokens["ann"], server.tokens["ann"].split("_", 2)[2], login, *signatures):
        assert secret not in text


def test_a_browser_is_sent_to_the_pages(server: Server) -> None:
    answer = server.client.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui")
    assert server.client.get("/ui", follow_redirects=True).headers["Content-Type"].startswith("text/html")


def test_the_openapi_document_has_the_calls_of_programs_only(server: Server) -> None:
    paths = server.client.get("/api/v1/openapi.json").json()["paths"]
    assert "/api/v1/experiments" in paths and "/token/login" in paths
    assert not [path for path in paths if path == "/" or path.startswith("/ui")]
