"""The smaller parts of the core: settings, migrations, logs and metrics, checks, tidying, limits."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select

from aihwjax.errors import AihwjaxError, ConfigError
from aihwjax.server.core.leases import Cursor
from aihwjax.server.core.service import Composer
from aihwjax.server.core.throttle import Throttle
from aihwjax.server.core.tokens import add_user
from aihwjax.server.core.validation import Checker
from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.storage.artefacts import Artefacts
from aihwjax.server.storage.store import Store
from aihwjax.server.storage.tables import Base, User
from aihwjax.server.workers import progress
from aihwjax.server.workers.tidy import tidy
from tests.server.helpers import queued, refused


@pytest.fixture
def plain(tmp_path: Path) -> ServerSettings:
    """Return settings on SQLite, where the database plays no part."""
    settings = ServerSettings(tmp_path / "plain")
    settings.prepare()
    return settings


# settings


def test_settings_travel_as_json(plain):
    settings = dataclasses.replace(plain, dataset_root=Path("data"), database_url="postgres://me@host/x")
    assert ServerSettings.from_json(settings.to_json()) == settings
    assert settings.database == "postgresql+psycopg://me@host/x"
    assert settings.dataset_root.is_absolute()


@pytest.mark.parametrize(
    "values", [{"workers": -1}, {"attempts": 0}, {"lease_seconds": 0.0}, {"executor": "cloud"}, {"database_url": "x"}]
)
def test_settings_that_are_not_allowed(tmp_path, values):
    with pytest.raises(ConfigError):
        ServerSettings(tmp_path, **values)


def test_the_secret_is_made_once_and_only_its_owner_reads_it(plain):
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(plain.secret())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 8
    mode = stat.S_IMODE((plain.data_dir / "secret.key").stat().st_mode)
    assert mode == 0o600
    assert not list(plain.data_dir.glob(".secret-*"))
    (plain.data_dir / "secret.key").write_bytes(b"short")
    with pytest.raises(ConfigError, match="too short"):
        plain.secret()


# the store


def test_migrations_build_the_tables(settings):
    store = Store(settings)
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    store.close()


def test_servers_that_start_together_migrate_once(settings):
    stores: list[Store] = []
    threads = [threading.Thread(target=lambda: stores.append(Store(settings))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 4
    for store in stores:
        store.close()


def test_databases_that_cannot_be_used(tmp_path):
    for url in ("mysql://x/y", "postgresql://127.0.0.1:1/x", "sqlite:////nowhere/at/all.sqlite"):
        with pytest.raises(AihwjaxError) as caught:
            Store(ServerSettings(tmp_path, database_url=url))
        assert "\n" not in str(caught.value)


def test_a_failed_transaction_changes_nothing(composer):
    def change() -> None:
        with composer._store.writing() as session:
            add_user(session, "ghost")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        change()
    with composer._store.reading() as session:
        assert session.scalar(select(User).where(User.name == "ghost")) is None


# logs and metrics


def test_metrics_are_read_line_by_line_and_never_torn(tmp_path):
    cursor = Cursor(1, 0, 0, 0)
    assert progress.further_epochs(tmp_path, cursor) == []
    entries = [{"epoch": i, "train_loss": float("nan") if i == 2 else 0.5} for i in range(4)]
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (tmp_path / "metrics.jsonl").write_text(text[:-3])
    assert progress.further_epochs(tmp_path, cursor) == [
        {"epoch": 1, "train_loss": 0.5},
        {"epoch": 2, "train_loss": None},
    ]


def test_damaged_metrics_are_as_good_as_none(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": 0}\n' + bytes(40) + b"\n")
    assert progress.further_epochs(tmp_path, Cursor(0, 0, 0, 0)) == []


def test_logs_are_read_across_leases(tmp_path):
    (tmp_path / progress.log_name(1)).write_bytes(b"eins\nzwei\nhalb")
    lines, cursor = progress.further_lines(tmp_path, 1, Cursor(0, 0, 0, 0))
    assert (lines, cursor) == (["eins", "zwei"], Cursor(0, 1, 10, 2))
    assert progress.further_lines(tmp_path, 1, cursor) == ([], cursor)
    (tmp_path / progress.log_name(2)).write_bytes(b"drei\n\xff\0\n")
    lines, cursor = progress.further_lines(tmp_path, 2, cursor)
    assert lines == ["halb", "drei", "\N{REPLACEMENT CHARACTER}" * 2]
    assert cursor == Cursor(0, 2, 8, 5)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / progress.log_name(3)).write_bytes(b"vier\n")
    assert progress.further_lines(elsewhere, 3, cursor) == (["vier"], Cursor(0, 3, 5, 6))


def test_long_logs_are_cut(tmp_path):
    (tmp_path / progress.log_name(1)).write_bytes(b"x" * 5000 + b"\n" + b"line\n" * 20_000)
    cursor, lines = Cursor(0, 0, 0, 0), []
    while (found := progress.further_lines(tmp_path, 1, cursor)) and found[0]:
        lines += found[0]
        cursor = found[1]
    assert len(lines) == cursor.log_lines == 10_000
    assert len(lines[0]) == 2000 and "not kept" in lines[-1]


# checks


def checker(settings: ServerSettings, tmp_path: Path, monkeypatch, code: str, seconds: float = 20.0) -> Checker:
    """Return a checker whose processes run this code for each line."""
    text = f"import json, os, sys, time\nfor line in sys.stdin:\n{textwrap.indent(textwrap.dedent(code), '    ')}\n"
    (tmp_path / "made_up_checker.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Checker(settings, module="made_up_checker", seconds=seconds)


def test_a_process_checks_many(plain, tmp_path, monkeypatch):
    code = "print(json.dumps({'ok': True, 'epochs': 1, 'pid': os.getpid(), **json.loads(line)}), flush=True)"
    checks = checker(plain, tmp_path, monkeypatch, code)
    answers = [checks.check(Path("a")) for _ in range(3)]
    assert len({answer["pid"] for answer in answers}) == 1
    assert answers[0]["max_parameters"] == plain.max_parameter_bytes
    checks.close()


def test_what_the_check_says_is_passed_on(plain, tmp_path, monkeypatch):
    code = "print(json.dumps({'ok': False, 'field': 'model.layers[0]', 'message': 'no\\nsuch layer'}), flush=True)"
    checks = checker(plain, tmp_path, monkeypatch, code)
    assert str(refused(lambda: checks.check(Path("a")), 422, "bad_experiment", "model.layers[0]")) == "no such layer"
    checks.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.kill(os.getpid(), 11)", "ended the process"),
        ("print('{', flush=True)", "ended the process"),
        ("time.sleep(1000)", "took too long"),
    ],
)
def test_a_check_that_crashes_or_hangs_refuses_the_experiment(plain, tmp_path, monkeypatch, code, words):
    checks = checker(plain, tmp_path, monkeypatch, code, seconds=1.0)
    assert words in str(refused(lambda: checks.check(Path("a")), 422, "bad_experiment"))
    checks.close()


def test_a_checker_that_died_meanwhile_is_replaced(plain, tmp_path, monkeypatch):
    code = """
        print(json.dumps({'ok': True, 'epochs': 1, 'pid': os.getpid()}), flush=True)
        os._exit(0)
    """
    checks = checker(plain, tmp_path, monkeypatch, code)
    assert checks.check(Path("a"))["pid"] != checks.check(Path("a"))["pid"]
    checks.close()


def test_too_many_epochs_are_refused(plain, tmp_path, monkeypatch):
    checks = checker(plain, tmp_path, monkeypatch, "print(json.dumps({'ok': True, 'epochs': 10**6}), flush=True)")
    refused(lambda: checks.check(Path("a")), 422, "bad_experiment", "experiment.epochs")
    checks.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of address space")
def test_the_real_check_refuses_rubbish_and_stays(plain, tmp_path):
    (tmp_path / "a.tar").write_bytes(b"rubbish")
    checks = Checker(plain)
    for _ in range(2):
        refused(lambda: checks.check(tmp_path / "a.tar"), 422, "bad_experiment")
    assert [process.asked for process in checks._free] == [2]
    checks.close()


# tidying and limits


def test_tidying_keeps_what_is_needed(composer, settings, ada):
    view = queued(composer, ada)
    gone = composer.cancel(ada, queued(composer, ada).id)
    for name in (view.id, gone.id, "f" * 32, "check-old", "check-young"):
        (settings.work_dir / name).mkdir()
    os.utime(settings.work_dir / "check-old", (0, 0))
    tidy(settings, composer._store, Artefacts(settings.artefacts))
    assert sorted(path.name for path in settings.work_dir.iterdir()) == sorted([view.id, "check-young"])
    assert composer.read_artefact(ada, view.id, "input")


def test_failures_are_forgotten_with_time():
    now = 0.0
    throttle = Throttle(3, 10.0, lambda: now)
    for _ in range(3):
        throttle.fail("a")
    with pytest.raises(ServiceError) as caught:
        throttle.fail("a")
    assert caught.value.retry_after == 10
    throttle.fail("b")
    now = 10.0
    throttle.fail("a")
    with pytest.raises(ServiceError):
        throttle.fail("a")


def test_composers_on_one_database_share_everything(composer, settings, ada):
    other = Composer(settings)
    view = queued(composer, ada)
    assert other.experiment(ada, view.id).status == "waiting"
    assert other.cancel(ada, view.id).status == "cancelled"
    assert composer.experiment(ada, view.id).status == "cancelled"
    other.close()
