"""A small HTTP server whose answers a test writes down beforehand."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server says once."""

    status: int = 200
    body: Any = None
    """JSON values, or bytes."""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """Content-Length, if it is to be a lie."""
    hang_up: bool = False
    """Close the connection without a word."""


@dataclass
class Asked:
    """What the server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Scripted:
    """A running server: its answers by method and path, the last of each repeated; and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, list[Answer]] = {}
        self.url = ""

    def on(self, call: str, *answers: Answer) -> None:
        """Answer ``"METHOD path"`` in this way."""
        self.answers[call] = list(answers)

    def calls(self) -> list[str]:
        return [f"{entry.method} {entry.path}" for entry in self.asked]


@contextlib.contextmanager
def running() -> Iterator[Scripted]:
    """Run a scripted server on a free port."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            script.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            row = script.answers.get(f"{self.command} {path}") or [Answer(404, error("not_found", f"no {path}"))]
            answer = row.pop(0) if len(row) > 1 else row[0]
            if answer.hang_up:
                self.close_connection = True
                return
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) if answer.length is None else answer.length))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the output of the tests clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        script.url = f"http://127.0.0.1:{server.server_address[1]}/"
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def error(code: str, message: str, at: str | None = None) -> dict[str, Any]:
    """Return the body of a refusal."""
    return {"error": {"code": code, "message": message, "field": at}}
