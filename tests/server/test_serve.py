"""``aihwjax composer``: the command, its worker processes, and what is left when it is killed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from aihwjax import cli
from aihwjax.server.core.service import Composer
from aihwjax.server.settings import ServerSettings
from aihwjax.server.workers.supervisor import Supervisor
from tests.server.faces.pages.site import csrf_of
from tests.server.helpers import eventually, queued
from tests.server.workers.jobs import ROOT, Outcome, ended, packed, share_compiled

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")


@pytest.fixture
def database() -> None:
    """The command is tested on SQLite."""


class Server:
    """``aihwjax composer serve`` on a free port."""

    def __init__(self, settings: ServerSettings, *options: str) -> None:
        share_compiled(settings)
        command = [sys.executable, "-m", "aihwjax.cli", "composer", "serve", "--port", "0", "--lease", "2"]
        command += ["--data-dir", str(settings.data_dir), "--artefacts", settings.artefacts, *options]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "NPROC": "1", "OMP_NUM_THREADS": "1"}
        if settings.database_url:
            environment["AIHWJAX_COMPOSER_DATABASE"] = settings.database_url
        with (settings.data_dir / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, env=environment
            )
        self.text = ""
        while "Pages at" not in self.text:
            line = self.process.stdout.readline()
            assert line, (settings.data_dir / "server.log").read_text()
            self.text += line
        self.url = re.search(r"Composer at (\S+)", self.text)[1]

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(120)
        self.process.stdout.close()
        return code


def workers(settings: ServerSettings, server: int) -> list[int]:
    """Return the numbers of a server's worker processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == server and b"aihwjax.server.workers.worker" in command:
            found.append(int(folder.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_tokens_are_made_listed_and_revoked(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AIHWJAX_COMPOSER_DATA_DIR", str(tmp_path / "composer"))
    for command in (["create", "ada"], ["list"], ["revoke", "aihwjax_"]):
        assert cli.main(["composer", "token", *command]) == 2
        assert f"--data-dir={str(tmp_path / 'composer')!r} is no folder" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "composer").mkdir()
    for command in (["list"], ["list", "--json"], ["revoke", "aihwjax_"]):
        assert cli.main(["composer", "token", *command]) == 2
        told = capsys.readouterr()
        assert f"--data-dir={str(tmp_path / 'composer')!r} has no composer: give that of one" in told.err
        assert told.err.count("\n") == 1 and told.out == ""
        assert list((tmp_path / "composer").iterdir()) == []
    assert cli.main(["composer", "token", "create", "ada", "--days", "3", "--max-jobs", "2"]) == 0
    text = capsys.readouterr().out.strip()
    composer = Composer(ServerSettings(tmp_path / "composer"))
    identity = composer.authenticate(text)
    assert (identity.user, identity.limits.max_jobs) == ("ada", 2)
    assert cli.main(["composer", "token", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["token"], row["user"], row["revoked"]) == (text[:16], "ada", None)
    assert cli.main(["composer", "token", "revoke", text[:16]]) == 0
    assert cli.main(["composer", "token", "list"]) == 0
    assert text[:16] in capsys.readouterr().out
    assert cli.main(["composer", "token", "revoke", "nothing"]) == 2
    assert capsys.readouterr().err == "aihwjax: there is no such token: see the list\n"
    assert cli.main(["composer", "token", "create", "two\nlines"]) == 2
    composer.close()


@pytest.mark.parametrize("option", ["--max-upload", "--max-hours", "--max-parameters", "--memory", "--lease"])
@pytest.mark.parametrize("value", ["inf", "nan", "0", "1e300"])
def test_limits_are_finite_and_above_0(tmp_path, capsys, option, value):
    assert cli.main(["composer", "serve", "--data-dir", str(tmp_path / "new"), option, value]) == 2
    if option in ("--max-upload", "--max-hours"):
        assert cli.main(["composer", "token", "create", "ada", "--data-dir", str(tmp_path), option, value]) == 2
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith("aihwjax: Invalid value") and option in line
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path, capsys):
    from aihwjax.server.serving import listen

    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["composer", "serve", "--port", port, "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"aihwjax: cannot listen on 127.0.0.1, port {port}") and error.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_worker_that_dies_is_started_again_and_all_stop_with_the_server(tmp_path):
    settings = ServerSettings(tmp_path / "composer", workers=2)
    settings.prepare()
    with Supervisor(settings):
        first = eventually(lambda: len(found := workers(settings, os.getpid())) == 2 and found)
        os.kill(first[0], signal.SIGKILL)
        second = eventually(lambda: len(found := workers(settings, os.getpid())) == 2 and found != first and found)
        assert first[0] not in second
    assert not any(alive(pid) for pid in {*first, *second})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_server_that_is_killed_goes_on_where_it_was(tmp_path):
    settings = ServerSettings(tmp_path / "composer")
    composer = Composer(settings)
    who = composer.authenticate(composer.create_token("ada"))
    view = queued(composer, who, "tiny", 25, packed(25))
    server = Server(settings)
    assert requests.get(f"{server.url}api/v1/health", timeout=10).json()["status"] == "ok"
    assert "token create" not in server.text  # there is one already
    (worker,) = eventually(lambda: workers(settings, server.process.pid))
    eventually(lambda: composer.experiment(who, view.id).epochs_done)
    server.end(signal.SIGKILL)
    eventually(lambda: not alive(worker))
    again = Server(settings)
    assert ended(composer, who, view.id).status == "completed"
    assert [entry["epoch"] for entry in Outcome(composer, who, view.id, tmp_path).metrics] == list(range(25))
    assert again.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    composer.close()


@pytest.mark.slow
def test_two_servers_are_one_composer(tmp_path, empty_postgres, s3):
    """Each step of an experiment goes to the other server; they share database, files and secret."""
    settings = [
        ServerSettings(tmp_path / name, database_url=empty_postgres, artefacts_url=s3) for name in ("here", "there")
    ]
    composer = Composer(settings[0])
    token, secret = composer.create_token("ada"), settings[0].secret()
    composer.close()
    settings[1].prepare()
    (settings[1].data_dir / "secret.key").write_bytes(secret)
    here, there = Server(settings[0], "--workers", "0"), Server(settings[1], "--workers", "1")
    client = requests.Session()

    def ask(method: str, server: Server, path: str, **more: object) -> requests.Response:
        answer = client.request(method, server.url + path, timeout=60, **more)
        assert answer.status_code < 400, answer.text
        return answer

    known = {"headers": {"Authorization": f"Bearer {token}"}}
    made = ask("POST", here, "api/v1/experiments", json={"name": "tiny"}, **known).json()
    path = made["upload"]["url"].removeprefix(here.url)
    ask("PUT", there, path, data=packed(2))
    place = f"api/v1/experiments/{made['experiment']['id']}"
    ask("POST", here, f"{place}/submit", json={}, **known)
    done = eventually(lambda: (found := ask("GET", here, place, **known).json())["finished_at"] and found, 120)
    assert (done["status"], done["error"]) == ("completed", None)
    link = ask("GET", there, f"{place}/files/output", **known).json()
    content = ask("GET", here, link["url"].removeprefix(there.url)).content
    assert hashlib.sha256(content).hexdigest() == link["sha256"]
    form = csrf_of(ask("GET", here, "ui/sign-in").text)
    ask("POST", here, "ui/sign-in", data={"token": token, "csrf": form})
    assert "tiny" in ask("GET", there, "ui").text
    assert [server.end(signal.SIGTERM) in (0, -signal.SIGTERM) for server in (here, there)] == [True, True]


def test_a_bare_server_says_what_to_do_next(tmp_path):
    settings = ServerSettings(tmp_path / "composer")
    settings.prepare()
    server = Server(settings, "--workers", "0")
    assert "composer token create NAME --data-dir" in server.text
    assert requests.get(f"{server.url}api/v1/me", timeout=10).status_code == 401
    server.end(signal.SIGINT)
