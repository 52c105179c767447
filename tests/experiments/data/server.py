"""A web server on this machine that can misbehave on purpose."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server serves and how."""

    content: dict[str, bytes]
    ranges: bool = True
    """Whether it knows range requests."""
    cut_after: list[int] = field(default_factory=list)
    """For each of the next requests, the number of body bytes after which the connection is closed."""
    status: int = 200
    content_encoding: str = ""
    delay: float = 0.0
    """Seconds to wait before the body."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range header of all requests so far."""
    url: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(content: dict[str, bytes], **how: object) -> Iterator[Behaviour]:
    behaviour = Behaviour(content, **how)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[-1]
            asked = self.headers.get("Range", "")
            behaviour.requests.append((name, asked))
            if behaviour.status != 200 or name not in behaviour.content:
                self.send_error(behaviour.status if behaviour.status != 200 else 404)
                return
            body = behaviour.content[name]
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and behaviour.ranges else 0
            if asked and behaviour.ranges and start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if asked and behaviour.ranges else 200)
            if asked and behaviour.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            if behaviour.content_encoding:
                self.send_header("Content-Encoding", behaviour.content_encoding)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            behaviour.stopped.wait(behaviour.delay)
            end = start + behaviour.cut_after.pop(0) if behaviour.cut_after else len(body)
            self.wfile.write(body[start:end])
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    behaviour.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield behaviour
    finally:
        behaviour.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
