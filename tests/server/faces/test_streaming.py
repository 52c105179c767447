"""Events as they happen."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from aihwjax.server.core import leases
from aihwjax.server.faces import streaming
from tests.server.faces.harness import METRICS, Server, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(streaming, "_LOOK_SECONDS", 0.02)
    with serving(tmp_path / "data", monkeypatch) as running:
        yield running


def events(text: str) -> list[dict[str, Any]]:
    """Return the events of a stream's text."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append(fields)
    return found


def test_a_stream_tells_all_and_ends(server: Server) -> None:
    experiment_id = server.completed()
    answer = server.api("GET", f"/experiments/{experiment_id}/stream")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    told = events(answer.text)
    assert [event["event"] for event in told] == ["state", "state", "log", "epoch", "epoch", "state", "end"]
    assert json.loads(told[3]["data"])["data"] == METRICS[0]
    assert told[-1]["data"] == "completed"


def test_a_stream_goes_on_after_the_last_event_that_was_seen(server: Server) -> None:
    experiment_id = server.completed()
    told = events(server.api("GET", f"/experiments/{experiment_id}/stream").text)
    path = f"/experiments/{experiment_id}/stream"
    rest = events(server.api("GET", path, headers={"Last-Event-ID": told[2]["id"]}).text)
    assert rest == told[3:]
    assert events(server.api("GET", path, params={"after": told[4]["id"]}).text) == told[5:]


@pytest.mark.parametrize("value", ["x", "-1", "9" * 30, "1.5"])
def test_a_last_event_that_is_no_number_is_refused(server: Server, value: str) -> None:
    answer = server.api("GET", f"/experiments/{server.completed()}/stream", headers={"Last-Event-ID": value})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "Last-Event-ID")


def test_too_many_streams_are_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_MOST_STREAMS", 0)
    answer = server.api("GET", f"/experiments/{server.completed()}/stream")
    assert answer.status_code == 503 and answer.headers["Retry-After"]


@pytest.fixture
def running(server: Server) -> Iterator[tuple[Server, str]]:
    """The same app behind a real socket."""
    config = uvicorn.Config(server.client.app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=2)  # type: ignore[arg-type]
    real = uvicorn.Server(config)
    thread = threading.Thread(target=real.run)
    ready = threading.Event()
    startup = real.startup

    async def started(sockets: Any = None) -> None:
        await startup(sockets)
        ready.set()

    real.startup = started  # type: ignore[method-assign]
    thread.start()
    try:
        assert ready.wait(20)
        port = real.servers[0].sockets[0].getsockname()[1]
        yield server, f"http://127.0.0.1:{port}"
    finally:
        real.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def test_events_come_while_the_job_runs(running: tuple[Server, str]) -> None:
    server, url = running
    experiment_id = server.waiting()
    held, seen = None, []
    path = f"{url}/api/v1/experiments/{experiment_id}/stream"
    with httpx.stream("GET", path, headers=server.user(), timeout=20) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: "):
                continue
            seen.append(line)
            if len(seen) == 1:  # it waits: start it, and only then go on
                held = server.start()
            elif len(seen) == 2:  # it runs
                assert held is not None
                with server.core._store.writing() as session:
                    leases.report(session, held, server.say(held, METRICS[:1], []), 60.0)
            elif len(seen) == 3:  # an epoch is done
                assert '"accuracy":0.5' in line
                server.api("POST", f"/experiments/{experiment_id}/cancel")
                assert held is not None
                with server.core._store.writing() as session:
                    leases.release(session, held)
    assert [json.loads(line[6:])["kind"] for line in seen[:-1]] == ["state", "state", "epoch", "state"]
    assert seen[-1] == "data: cancelled"


def test_a_revoked_token_ends_a_stream(running: tuple[Server, str]) -> None:
    server, url = running
    path = f"{url}/api/v1/experiments/{server.waiting()}/stream"
    with httpx.stream("GET", path, headers=server.user(), timeout=20) as answer:
        lines = answer.iter_lines()
        assert any(line.startswith("data: ") for line in lines)
        server.core.revoke_token(server.tokens["ann"])
        assert not [line for line in lines if line.startswith("event: end")]


def test_a_client_that_leaves_a_stream_leaves_nothing_behind(running: tuple[Server, str]) -> None:
    server, url = running
    path = f"{url}/api/v1/experiments/{server.waiting()}/stream"
    with httpx.stream("GET", path, headers=server.user(), timeout=20) as answer:
        lines = answer.iter_lines()  # kept: without it the client leaves at once
        assert next(lines)
        assert server.client.app.state.streams == 1  # type: ignore[attr-defined]
    left = threading.Event()
    for _ in range(200):
        if server.client.app.state.streams == 0:  # type: ignore[attr-defined]
            break
        left.wait(0.05)
    assert server.client.app.state.streams == 0  # type: ignore[attr-defined]
