"""How long do 200 pollers wait for the status of a job while 1,000 jobs are queued, and does the server's memory grow?

``python -m benchmarks.composer_load --minutes 60`` runs a composer without workers in a process of its own, fills
its queue, and asks. It prints a line every while and a summary as JSON at the end. ``wait %`` is the time for which the
server's threads could have run but had no core: where it is high, others have the cores, and the times say little.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

LIMIT_MS = 250.0
"""99 of 100 answers must be there by then, on two cores."""

_COMMAND = [sys.executable, "-c", "from aihwjax.cli import main; main()", "composer", "serve"]
_START_SECONDS = 60
_SETTLE_SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class Options:
    """What is asked."""

    minutes: float
    jobs: int
    pollers: int
    interval: float
    """Seconds between two questions of a poller."""
    report: float
    """Seconds between two lines."""


@dataclasses.dataclass
class Record:
    """What was seen since the last line."""

    milliseconds: list[float] = dataclasses.field(default_factory=list)
    failures: int = 0


def main() -> int:
    """Run the load; return 1 if the bound is missed or an answer was an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--pollers", type=int, default=200)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two questions of a poller")
    parser.add_argument("--report", type=float, default=10.0, help="seconds between two lines")
    options = Options(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="composer-load-") as name:
        folder = Path(name)
        token, ids = fill(folder / "data", options.jobs)
        with server(folder) as (process, port):
            summary = asyncio.run(load(options, token, ids, process, port))
    print(json.dumps(summary))
    return 0 if summary["p99_ms"] < LIMIT_MS and not summary["failures"] else 1


def fill(data_dir: Path, jobs: int) -> tuple[str, list[str]]:
    """Put jobs into the queue of a composer that is not running; return a token and their ids."""
    from aihwjax.server.core import leases
    from aihwjax.server.core.service import Composer
    from aihwjax.server.settings import ServerSettings
    from aihwjax.server.storage.tables import Experiment

    core = Composer(ServerSettings(data_dir))
    token = core.create_token("load", limits={"max_jobs": jobs + 1})
    who = core.authenticate(token)
    ids = [core.create(who, name=f"job {number}").id for number in range(jobs)]
    with core._store.writing() as session:
        for experiment_id in ids:
            leases.add(session, session.get_one(Experiment, experiment_id), "cpu", 30)
    core.close()
    return token, ids


@contextmanager
def server(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Run a composer on a free port; yields its process and port."""
    log = folder / "server.log"
    command = [*_COMMAND, "--port", "0", "--workers", "0", "--data-dir", str(folder / "data")]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "200"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        yield psutil.Process(process.pid), _port(process, log)
    finally:
        process.terminate()
        process.wait(60)


async def load(options: Options, token: str, ids: list[str], process: psutil.Process, port: int) -> dict[str, float]:
    """Let the pollers ask; return the summary."""
    record, total = Record(), Record()
    end = time.monotonic() + _SETTLE_SECONDS + 60 * options.minutes
    pollers = [
        asyncio.create_task(poll(record, token, random.Random(number), ids, port, options.interval, end))
        for number in range(options.pollers)
    ]
    await asyncio.sleep(_SETTLE_SECONDS)  # the first connections
    record.milliseconds.clear()
    started, first_mib, last_mib = time.monotonic(), _mib(process), 0.0
    line, waited = started, _waited(process)
    first_waited = waited
    process.cpu_percent()
    print(" seconds  answers   p50 ms   p99 ms   max ms  failed  cpu %  wait %     MiB")
    while time.monotonic() < end:
        await asyncio.sleep(min(options.report, max(0.1, end - time.monotonic())))
        seen, failures = record.milliseconds, record.failures
        record.milliseconds, record.failures = [], 0
        total.milliseconds += seen
        total.failures += failures
        last_mib = _mib(process)
        p50, p99, most = np.percentile(seen, [50, 99, 100]) if seen else (0.0, 0.0, 0.0)
        share = 100 * (_waited(process) - waited) / (time.monotonic() - line)
        line, waited = time.monotonic(), _waited(process)
        print(
            f"{time.monotonic() - started:8.0f} {len(seen):8} {p50:8.1f} {p99:8.1f} {most:8.1f} {failures:7} "
            f"{process.cpu_percent():6.0f} {share:7.0f} {last_mib:7.1f}",
            flush=True,
        )
    await asyncio.gather(*pollers)
    p50, p99 = np.percentile(total.milliseconds, [50, 99])
    return {
        "answers": len(total.milliseconds),
        "failures": total.failures,
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "wait_percent": round(100 * (waited - first_waited) / (line - started)),
        "first_mib": round(first_mib, 1),
        "last_mib": round(last_mib, 1),
    }


async def poll(
    record: Record, token: str, chance: random.Random, ids: list[str], port: int, interval: float, end: float
) -> None:
    """Ask for the status of jobs, one a time, over one connection.

    A client in a few lines: a real one would take more of the two cores than the server does.
    """
    reader = writer = None
    await asyncio.sleep(chance.uniform(0, interval))
    while time.monotonic() < end:
        start = time.monotonic()
        try:
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            path = f"/api/v1/experiments/{chance.choice(ids)}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: load\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length[1])) if length else b""
            if b" 200 " not in head.split(b"\r\n", 1)[0] or json.loads(body)["status"] != "waiting":
                record.failures += 1
        except (OSError, asyncio.IncompleteReadError):
            record.failures += 1
            reader = writer = None
        record.milliseconds.append(1000 * (time.monotonic() - start))
        await asyncio.sleep(max(0.0, start + interval * chance.uniform(0.8, 1.2) - time.monotonic()))
    if writer is not None:
        writer.close()


def _mib(process: psutil.Process) -> float:
    """Return the resident memory of the server's process."""
    return process.memory_info().rss / (1 << 20)


def _waited(process: psutil.Process) -> float:
    """Return the seconds for which the server's threads had no core to run on; 0 where the system doesn't tell."""
    total = 0.0
    for thread in process.threads():
        try:
            text = Path(f"/proc/{process.pid}/task/{thread.id}/schedstat").read_text(encoding="ascii")
            total += int(text.split()[1]) / 1e9
        except (OSError, IndexError):
            continue  # it has ended, or this isn't Linux
    return total


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(10 * _START_SECONDS):
        found = re.search(r"http://[0-9.]+:(\d+)", log.read_text(encoding="utf-8"))
        if found:
            return int(found[1])
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')}")


if __name__ == "__main__":
    sys.exit(main())
