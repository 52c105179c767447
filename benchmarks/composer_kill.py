"""Does a composer lose or double anything when its processes are killed again and again?

``python -m benchmarks.composer_kill --jobs 50 --kills 100 [--database postgresql://… --servers 2]``

Servers, workers and jobs are killed by SIGKILL at random moments while jobs are run; a server that
was killed is started again. Several servers have folders of their own and share the database and the
artefacts. In the end every job has to have ended once, with every epoch told
once, and with the numbers of a run that nobody disturbed. Linux only.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from aihwjax.server.core.service import Composer
from aihwjax.server.settings import ServerSettings
from aihwjax.server.views import ExperimentView, Identity
from tests.server.helpers import queued
from tests.server.workers.jobs import Outcome, packed

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = 4
"""Different experiments, so that results which are mixed up are noticed."""
MODULES = {
    "server": b"composer\0serve",
    "worker": b"aihwjax.server.workers.worker",
    "job": b"aihwjax.server.workers.job",
}


class Processes:
    """The processes of a server on a folder."""

    def __init__(self, settings: ServerSettings, workers: int) -> None:
        self._settings = settings
        self._workers = workers
        self._server: subprocess.Popen[bytes] | None = None
        settings.prepare()
        (settings.data_dir / "tmp").mkdir()
        self.start()

    def start(self) -> None:
        folder = self._settings.data_dir
        command = [sys.executable, "-m", "aihwjax.cli", "composer", "serve", "--port", "0", "--lease", "3"]
        command += ["--data-dir", str(folder), "--workers", str(self._workers), "--attempts", "100000"]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "NPROC": "1", "OMP_NUM_THREADS": "1"}
        environment |= {"TMPDIR": str(folder / "tmp"), "AIHWJAX_COMPOSER_ARTEFACTS": self._settings.artefacts}
        if self._settings.database_url:
            environment["AIHWJAX_COMPOSER_DATABASE"] = self._settings.database_url
        with (folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)

    def kill(self, kind: str, moment: random.Random) -> bool:
        """Kill one process of a kind; return whether there was one."""
        assert self._server is not None
        if kind == "server":
            self._server.kill()
            self._server.wait()
            self.start()
            return True
        found = self.find(kind)
        if not found:
            return False
        try:
            os.kill(moment.choice(found), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def find(self, kind: str) -> list[int]:
        """Return the numbers of the processes of a kind, by their ancestors."""
        assert self._server is not None
        commands, parents = {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                commands[int(folder.name)] = (folder / "cmdline").read_bytes()
            except (OSError, ValueError):
                continue
        own = [self._server.pid]
        for pid in own:
            own += [child for child, parent in parents.items() if parent == pid]
        return [pid for pid in own if MODULES[kind] in commands.get(pid, b"")]

    def stop(self) -> None:
        assert self._server is not None
        self._server.terminate()
        self._server.wait()

    def left(self) -> int:
        """Return how many files and folders stayed in its places for what is in progress."""
        folders = (self._settings.work_dir, self._settings.data_dir / "tmp")
        return sum(1 for folder in folders for _ in folder.iterdir())


def undisturbed(folder: Path, archives: list[bytes]) -> list[Outcome]:
    """Return the outcomes of the archives when nobody kills anything."""
    settings = ServerSettings(folder / "calm")
    composer = Composer(settings)
    who = composer.authenticate(composer.create_token("bench"))
    views = [queued(composer, who, f"calm {i}", epochs(archive), archive) for i, archive in enumerate(archives)]
    processes = Processes(settings, 1)
    wait(composer, who, len(views))
    processes.stop()
    outcomes = [Outcome(composer, who, view.id, folder) for view in views]
    composer.close()
    return outcomes


def epochs(archive: bytes) -> int:
    """Return the number of epochs that stands in an archive's document."""
    text = archive.partition(b'"epochs"')[2].lstrip(b": ")
    return int(text[: min(text.index(end) for end in (b",", b"}") if end in text[:20])])


def wait(composer: Composer, who: Identity, count: int) -> None:
    """Wait until so many jobs have ended."""
    while (left := count - ended(composer)) > 0:
        time.sleep(1.0)
        print(f"\r{left} jobs left   ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def ended(composer: Composer) -> int:
    counts = composer.counts()
    return sum(counts[word] for word in ("completed", "failed", "cancelled"))


def problems(composer: Composer, who: Identity, view: ExperimentView, wanted: Outcome, folder: Path) -> list[str]:
    """Return what is wrong with a job."""
    view = composer.experiment(who, view.id)
    if view.status != "completed":
        return [f"{view.id} is {view.status}: {view.error}"]
    events = composer.events(who, view.id, limit=10_000)
    words = [event.data["status"] for event in events if event.kind == "state"]
    told = [event.data["epoch"] for event in events if event.kind == "epoch"]
    wrong = []
    if words.count("completed") != 1 or words[-1] != "completed":
        wrong.append(f"{view.id} went through {words}")
    if told != list(range(view.epochs)):
        wrong.append(f"{view.id} told the epochs {told}")
    if Outcome(composer, who, view.id, folder) != wanted:
        wrong.append(f"{view.id} has other numbers than the undisturbed run")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--servers", type=int, default=1, help="more than one need a database")
    parser.add_argument("--workers", type=int, default=2, help="of all servers")
    parser.add_argument("--pause", type=float, default=6.0, help="mean seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", help="URL of an empty database; by default SQLite")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    if options.servers > 1 and not options.database:
        parser.error("--servers above 1 needs --database")
    folder = Path(tempfile.mkdtemp(prefix="composer-kill-"))
    archives = [packed(options.epochs, key=key) for key in range(VARIANTS)]
    wanted = undisturbed(folder, archives)
    shared = (folder / "artefacts").as_uri()
    settings = [
        ServerSettings(folder / f"stormy {i}", database_url=options.database, artefacts_url=shared)
        for i in range(options.servers)
    ]
    composer = Composer(settings[0])
    who = composer.authenticate(composer.create_token("bench"))
    views = [queued(composer, who, f"job {i}", options.epochs, archives[i % VARIANTS]) for i in range(options.jobs)]
    share = -(-options.workers // options.servers)
    servers = [Processes(each, share) for each in settings]
    moment, killed = random.Random(options.seed), collections.Counter()
    start, early = time.monotonic(), 0
    while killed.total() < options.kills:
        time.sleep(moment.expovariate(1 / options.pause))
        kind = moment.choices(("server", "worker", "job"), (2, 2, 1))[0]
        before = ended(composer)
        if moment.choice(servers).kill(kind, moment):
            killed[kind] += 1
            early += before < options.jobs
        done = f"{killed.total()} kills, {ended(composer)} of {options.jobs} jobs have ended"
        print(f"\r{done}   ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    wait(composer, who, options.jobs)
    seconds = time.monotonic() - start
    for processes in servers:
        processes.stop()
    wrong = [
        text for i, view in enumerate(views) for text in problems(composer, who, view, wanted[i % VARIANTS], folder)
    ]
    files = sum(path.is_file() for path in (folder / "artefacts").rglob("*"))
    figures = {
        "database": "postgresql" if options.database else "sqlite",
        "servers": options.servers,
        "jobs": options.jobs,
        "completed": composer.counts()["completed"],
        "kills": dict(killed),
        "kills while jobs were left": early,
        "attempts": sum(view.attempts for view in composer.experiments(who, limit=1000)),
        "files without a row": files - 2 * options.jobs,
        "left in progress": sum(processes.left() for processes in servers),
        "seconds": round(seconds),
        "wrong": len(wrong),
    }
    for name, value in figures.items():
        print(f"{name:28} {value}")
    for text in wrong:
        print(text)
    if options.json is not None:
        options.json.write_text(json.dumps({**figures, "problems": wrong}, indent=2) + "\n")
    composer.close()
    shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
