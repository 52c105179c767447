"""What is too large, too much or not allowed is refused in one shape, and costs the others nothing."""

from __future__ import annotations

import asyncio
import errno
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aihwjax.server.errors import ServiceError
from aihwjax.server.faces import limits, transfers
from aihwjax.server.faces.limits import BodyLimit, Places
from tests.server.faces.harness import ARCHIVE, Server, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(tmp_path / "data", monkeypatch, max_archive_bytes=1000, max_jobs_per_user=2) as running:
        yield running


def refused(answer: Any, status: int) -> dict[str, Any]:
    """Check the shape of a refusal and return what it says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    content = answer.json()
    assert set(content) == {"error", "message"}
    assert set(content["error"]) == {"code", "message", "field"}
    assert content["message"] == content["error"]["message"]
    assert "\n" not in content["message"]
    return content["error"]


def pieces(count: int, size: int) -> Iterator[bytes]:
    """Yield a body without an announced length."""
    for _ in range(count):
        yield b" " * size


def scope(method: str, path: str, headers: dict[str, str], query: str = "") -> dict[str, Any]:
    """Return what a server tells an app about a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("test", 1),
        "server": ("test", 80),
    }


def test_an_announced_body_that_is_too_large_is_refused(server: Server) -> None:
    error = refused(server.api("POST", "/experiments", content=b" " * (limits.JSON_BYTES + 1)), 413)
    assert "at most 1048576 bytes" in error["message"]


def test_a_body_that_grows_too_large_is_refused_while_it_comes(server: Server) -> None:
    refused(server.api("POST", "/experiments", content=pieces(40, 1 << 16)), 413)


@pytest.mark.parametrize("announced", [True, False])
def test_an_archive_that_is_too_large_leaves_nothing(server: Server, announced: bool) -> None:
    experiment_id, url = server.created()
    error = refused(server.client.put(url, content=b"x" * 1001 if announced else pieces(2, 600)), 413)
    assert "at most 1000 bytes" in error["message"]
    assert server.api("GET", f"/experiments/{experiment_id}").json()["has_input"] is False
    assert not [path for path in (server.core.settings.data_dir / "artefacts").rglob("*") if path.is_file()]


def test_an_archive_that_is_too_large_by_its_announced_size_is_not_even_created(server: Server) -> None:
    assert refused(server.api("POST", "/experiments", json={"name": "x", "size": 1001}), 413)["field"] == "size"


def test_an_archive_with_another_hash_is_refused(server: Server) -> None:
    experiment_id, url = server.created(sha256="0" * 64)
    refused(server.client.put(url, content=ARCHIVE), 422)
    assert server.api("GET", f"/experiments/{experiment_id}").json()["has_input"] is False


def test_a_body_that_is_cut_off_leaves_nothing_and_can_be_sent_again(server: Server) -> None:
    experiment_id, url = server.created()
    path, _, query = url.partition("http://testserver")[2].partition("?")
    messages = [
        {"type": "http.request", "body": ARCHIVE[:10], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def put() -> None:
        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        asked = scope("PUT", path, {"host": "testserver", "content-length": str(len(ARCHIVE))}, query)
        await server.client.app(asked, receive, send)  # type: ignore[arg-type]

    asyncio.run(put())
    assert not [message for message in sent if message.get("status", 500) < 300]
    assert server.api("GET", f"/experiments/{experiment_id}").json()["has_input"] is False
    assert not [path for path in (server.core.settings.data_dir / "artefacts").rglob("*") if path.is_file()]
    assert server.client.put(url, content=ARCHIVE).status_code == 204


def test_a_full_disk_is_told_and_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def __init__(self, *arguments: Any, **fields: Any) -> None:
            super().__init__()

        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    experiment_id, url = server.created()
    with monkeypatch.context() as full:
        full.setattr(transfers.tempfile, "SpooledTemporaryFile", Full)
        answer = server.client.put(url, content=ARCHIVE)
    assert refused(answer, 507)["code"] == "storage_full"
    assert answer.headers["Retry-After"]
    assert server.api("GET", f"/experiments/{experiment_id}").json()["has_input"] is False
    assert server.client.put(url, content=ARCHIVE).status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": 3}, "name"),
        ({"name": "x", "sha256": "A" * 64}, "sha256"),
        ({"name": "x", "size": -1}, "size"),
        ({"name": "x", "size": "1"}, "size"),
        ({"name": "x", "category": "other"}, "category"),
        ({"name": "x", "submission": "a b"}, "submission"),
        ({"name": "x", "nmae": "y"}, "nmae"),
    ],
)
def test_a_field_that_is_not_allowed_is_named(server: Server, body: dict[str, Any], field: str) -> None:
    error = refused(server.api("POST", "/experiments", json=body), 422)
    assert error["field"] == field


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"null", b"\xff\xfe", b'{"name": NaN}'])
def test_a_body_that_is_no_object_is_refused(server: Server, content: bytes) -> None:
    refused(server.api("POST", "/experiments", content=content, headers={"Content-Type": "application/json"}), 422)


def test_a_body_that_is_nested_too_deeply_is_refused(server: Server) -> None:
    refused(
        server.api("POST", "/experiments", content=b"[" * 100_000, headers={"Content-Type": "application/json"}), 400
    )


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/experiments?limit=0", "limit"),
        ("/experiments?limit=1001", "limit"),
        ("/experiments?status=done", "status"),
        ("/experiments?before=x", "before"),
        ("/experiments/not-an-id", "id"),
        ("/experiments/abcd/events?after=-1", "after"),
        (f"/experiments/abcd/events?after={1 << 63}", "after"),
        ("/experiments/abcd/files/payload", "kind"),
    ],
)
def test_a_parameter_that_is_not_allowed_is_named(server: Server, path: str, field: str) -> None:
    assert refused(server.api("GET", path), 422)["field"] == field


def test_more_jobs_than_allowed_wait_for_the_others(server: Server) -> None:
    server.waiting()
    server.waiting()
    experiment_id, url = server.created()
    server.client.put(url, content=ARCHIVE)
    answer = server.api("POST", f"/experiments/{experiment_id}/submit")
    assert refused(answer, 429)["code"] == "too_many_jobs"
    assert int(answer.headers["Retry-After"]) > 0
    server.complete(server.start())
    assert server.api("POST", f"/experiments/{experiment_id}/submit").status_code == 200


def test_wrong_tokens_are_refused_for_a_while_and_right_ones_never(server: Server) -> None:
    headers = server.user()
    statuses = [server.client.post("/token/login", json={"token": f"wrong {i}"}).status_code for i in range(25)]
    assert statuses[:20] == [400] * 20 and statuses[-1] == 429
    wrong = {"Authorization": "Bearer aihwjax_wrong"}
    answer = server.client.get("/api/v1/me", headers=wrong)
    assert refused(answer, 429)["code"] == "too_many_failures"
    assert int(answer.headers["Retry-After"]) > 0
    assert server.client.get("/api/v1/me", headers={"Authorization": "Bearer no.login.either"}).status_code == 429
    assert server.client.get("/api/v1/me", headers=headers).status_code == 200


def test_unknown_paths_and_methods_have_the_same_shape(server: Server) -> None:
    refused(server.client.get("/nowhere"), 404)
    answer = server.client.delete("/api/v1/health")
    refused(answer, 405)
    assert "GET" in answer.headers["Allow"]


def test_places_are_few_and_the_line_is_short() -> None:
    async def scene() -> None:
        places, inside, most, leave = Places(2, 1, "things"), 0, 0, asyncio.Event()

        async def visit() -> None:
            nonlocal inside, most
            async with places.place():
                inside += 1
                most = max(most, inside)
                await leave.wait()
                inside -= 1

        visitors = [asyncio.create_task(visit()) for _ in range(3)]
        while inside < 2:
            await asyncio.sleep(0)
        with pytest.raises(ServiceError) as caught:
            await visit()
        assert (caught.value.status, caught.value.retry_after) == (503, 5)
        leave.set()
        await asyncio.gather(*visitors)
        assert most == 2
        await visit()  # there is room again

    asyncio.run(scene())


def test_a_body_that_does_not_go_on_is_given_up(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"name": '
        await asyncio.Event().wait()

    sent: list[Any] = []

    async def scene() -> None:
        body = slow()

        async def receive() -> Any:
            return {"type": "http.request", "body": await anext(body), "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = {"content-type": "application/json", "authorization": server.user()["Authorization"]}
        asked = scope("POST", "/api/v1/experiments", headers)
        await server.client.app(asked, receive, send)  # type: ignore[arg-type]

    asyncio.run(scene())
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"]["code"] == "request_timeout"


def test_a_socket_is_passed_on_as_it_is() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(BodyLimit(app)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]
