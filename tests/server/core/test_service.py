"""What the core does for its faces, on each kind of database."""

from __future__ import annotations

import dataclasses
import sys
import threading
from subprocess import run

import pytest
import sqlalchemy
from sqlalchemy import update

from aihwjax.server.core.service import Composer
from aihwjax.server.settings import ServerSettings
from aihwjax.server.storage.clock import database_now
from aihwjax.server.storage.tables import Token
from aihwjax.server.views import Identity, Status
from tests.server.helpers import CONTENT, SUMMARY, link, put, queued, refused, sha256


class Approving:
    """Approves of every archive."""

    def __init__(self, meanwhile=lambda: None) -> None:
        self.count = 0
        self._meanwhile = meanwhile

    def check(self, path) -> dict[str, object]:
        assert path.read_bytes() == CONTENT
        self.count += 1
        self._meanwhile()
        return SUMMARY

    def close(self) -> None: ...


@pytest.fixture
def lenient(composer: Composer) -> Composer:
    composer._checker = Approving()
    return composer


@pytest.fixture
def bob(composer: Composer) -> Identity:
    return composer.authenticate(composer.create_token("bob"))


def files(settings: ServerSettings) -> list[str]:
    return sorted(path.name for path in (settings.data_dir / "artefacts").rglob("*") if path.is_file())


def test_the_core_imports_no_jax():
    modules = "aihwjax.server.core.service, aihwjax.server.workers.worker"
    code = f"import sys, {modules}; print([m for m in sys.modules if m == 'jax'])"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_submission_from_the_first_request_to_the_queue(lenient, ada):
    made = lenient.create(ada, name=" first ", submission="s1", sha256=sha256(CONTENT), size=len(CONTENT))
    assert (made.name, made.status, made.has_input, made.job_id) == ("first", Status.CREATED, False, None)
    stored = put(lenient, ada, made.id, [CONTENT[:10], CONTENT[10:]], length=len(CONTENT))
    assert (stored.sha256, stored.size) == (sha256(CONTENT), len(CONTENT))
    view = lenient.submit(ada, made.id)
    assert (view.status, view.job_id, view.epochs, view.summary) == (Status.WAITING, made.id, 3, SUMMARY)
    assert lenient.read_artefact(ada, made.id, "input") == CONTENT
    opened = lenient.open_file(*link(lenient.download_url(ada, made.id, "input")))
    assert (b"".join(opened.chunks), opened.size, opened.sha256) == (CONTENT, len(CONTENT), sha256(CONTENT))


def test_the_same_submission_twice_is_one_experiment_and_one_job(lenient, ada, bob):
    announced = {"name": "x", "submission": "s1", "sha256": sha256(CONTENT), "size": len(CONTENT)}
    views = [lenient.create(ada, **announced) for _ in range(2)]
    for view in views:
        put(lenient, ada, view.id, [CONTENT])
    views += [lenient.submit(ada, views[0].id) for _ in range(2)]
    put(lenient, ada, views[0].id, [CONTENT])  # a late repetition
    assert len({view.id for view in views}) == 1
    assert lenient.counts()["waiting"] == 1 and lenient._checker.count == 1
    refused(lambda: lenient.create(ada, **{**announced, "sha256": "0" * 64}), 409, "other_submission", "submission")
    assert lenient.create(bob, **announced).id != views[0].id


def test_submissions_at_the_same_time_are_one(lenient, ada, settings):
    results: list[str] = []
    ready = threading.Barrier(6)

    def send() -> None:
        ready.wait()
        view = lenient.create(ada, name="x", submission="s1")
        put(lenient, ada, view.id, [CONTENT])
        results.append(lenient.submit(ada, view.id).id)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6 and len(set(results)) == 1
    assert lenient.counts()["waiting"] == 1
    assert len(lenient.events(ada, results[0])) == 1
    assert len(files(settings)) == 1


@pytest.mark.parametrize(
    ("chunks", "status", "code", "field"),
    [
        ([CONTENT[:500]], 400, "cut_off", None),
        ([CONTENT, b"more"], 422, "bad_size", "size"),
        ([CONTENT[:-1] + b"?"], 422, "bad_hash", "sha256"),
    ],
)
def test_what_was_not_announced_is_refused_and_leaves_nothing(composer, settings, ada, chunks, status, code, field):
    made = composer.create(ada, name="x", sha256=sha256(CONTENT), size=len(CONTENT))
    refused(lambda: put(composer, ada, made.id, chunks), status, code, field)
    assert files(settings) == []
    refused(lambda: composer.submit(ada, made.id), 409, "no_input")
    put(composer, ada, made.id, [CONTENT])
    assert len(files(settings)) == 1


def test_a_sender_who_goes_away_leaves_nothing(composer, settings, ada):
    made = composer.create(ada, name="x")

    def chunks():
        yield CONTENT
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        put(composer, ada, made.id, chunks())
    assert files(settings) == []
    refused(lambda: put(composer, ada, made.id, [CONTENT], length=len(CONTENT) + 1), 400, "cut_off")
    assert files(settings) == []


def test_too_large_a_file_is_refused_while_it_comes(composer, settings, ada):
    small = composer.authenticate(composer.create_token("ada", limits={"max_archive_bytes": 5000}))
    made = composer.create(small, name="x")
    read: list[int] = []

    def chunks():
        for number in range(1000):
            read.append(number)
            yield bytes(1000)

    refused(lambda: put(composer, small, made.id, chunks()), 413, "too_large")
    assert len(read) == 6
    refused(lambda: put(composer, small, made.id, [], length=5001), 413, "too_large")
    refused(lambda: composer.create(small, name="y", size=5001), 413, "too_large", "size")
    assert files(settings) == []


def test_a_replaced_archive_leaves_only_the_new_one(composer, settings, ada):
    made = composer.create(ada, name="x")
    put(composer, ada, made.id, [b"old"])
    put(composer, ada, made.id, [CONTENT])
    assert len(files(settings)) == 1
    assert composer.read_artefact(ada, made.id, "input") == CONTENT


def test_an_archive_that_is_replaced_while_it_is_checked_is_not_run(composer, ada):
    made = composer.create(ada, name="x")
    put(composer, ada, made.id, [CONTENT])
    composer._checker = Approving(lambda: put(composer, ada, made.id, [b"another"]))
    refused(lambda: composer.submit(ada, made.id), 409, "replaced")
    assert composer.experiment(ada, made.id).status == Status.CREATED


def test_an_archive_cannot_be_changed_after_it_was_submitted(lenient, settings, ada):
    made = lenient.create(ada, name="x")
    put(lenient, ada, made.id, [CONTENT])
    lenient.submit(ada, made.id)
    refused(lambda: put(lenient, ada, made.id, [b"another"]), 409, "submitted")
    assert len(files(settings)) == 1


def test_links_allow_one_thing_for_a_while(composer, ada):
    made = composer.create(ada, name="x")
    artefact, query = link(composer.upload_url(ada, made.id))
    refused(lambda: composer.open_file(artefact, query), 403, "bad_link")
    refused(lambda: composer.receive(artefact, {**query, "limit": "9" * 9}, [CONTENT]), 403, "bad_link")
    refused(lambda: composer.receive(artefact, {}, [CONTENT]), 403, "bad_link")
    refused(lambda: composer.receive(f"{'0' * 32}-input", query, [CONTENT]), 403, "bad_link")
    refused(lambda: composer.receive(artefact, {**query, "signature": "é"}, [CONTENT]), 403, "bad_link")
    composer.settings = dataclasses.replace(composer.settings, link_seconds=1)
    artefact, query = link(composer._signer.sign(f"/files/{made.id}-input", "PUT", -5, limit=100))
    refused(lambda: composer.receive(artefact, query, [CONTENT]), 403, "expired_link")


def test_others_experiments_do_not_exist(composer, ada, bob):
    view = queued(composer, ada)
    for call in (
        lambda: composer.experiment(bob, view.id),
        lambda: composer.experiment(bob, view.id[:8]),
        lambda: composer.events(bob, view.id),
        lambda: composer.result(bob, view.id),
        lambda: composer.cancel(bob, view.id),
        lambda: composer.submit(bob, view.id),
        lambda: composer.upload_url(bob, view.id),
        lambda: composer.download_url(bob, view.id, "input"),
        lambda: composer.experiment(ada, "0" * 32),
        lambda: composer.experiment(ada, "%"),
    ):
        refused(call, 404, "not_found")
    assert composer.experiments(bob) == []
    chief = composer.authenticate(composer.create_token("chief", "admin"))
    assert [entry.user for entry in composer.experiments(chief)] == ["ada"]
    assert composer.cancel(chief, view.id).status == Status.CANCELLED
    worker = composer.authenticate(composer.create_token("machine", "worker"))
    refused(lambda: composer.create(worker, name="x"), 403, "wrong_scope")


def test_lists_come_in_pages_newest_first(composer, ada):
    ids = [composer.create(ada, name=f"x{i}").id for i in range(5)]
    first = composer.experiments(ada, limit=2)
    rest = composer.experiments(ada, before=first[-1].id)
    assert [view.id for view in first + rest] == ids[::-1]
    cancelled = composer.cancel(ada, queued(composer, ada).id)
    assert [view.id for view in composer.experiments(ada, status="cancelled")] == [cancelled.id]
    assert len(composer.experiments(ada, status="created")) == 5
    refused(lambda: composer.experiments(ada, status="gone"), 422, "bad_value", "status")
    refused(lambda: composer.experiments(ada, limit=0), 422, "bad_value", "limit")
    refused(lambda: composer.experiments(ada, before="0" * 32), 422, "bad_value", "before")


def test_ids_may_be_shortened_while_they_are_clear(composer, ada):
    views = [composer.create(ada, name=f"x{i}") for i in range(2)]
    for view in views:
        assert composer.experiment(ada, view.id[:12]).id == view.id
    refused(lambda: composer.experiment(ada, views[0].id[:3]), 404, "not_found")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"category": "dream"}, "category"),
        ({"submission": "a b"}, "submission"),
        ({"sha256": "xyz"}, "sha256"),
        ({"size": 0}, "size"),
    ],
)
def test_wrong_values_are_named(composer, ada, values, field):
    refused(lambda: composer.create(ada, **{"name": "x", **values}), 422, "bad_value", field)


def test_limits_of_jobs(lenient, ada):
    few = lenient.authenticate(lenient.create_token("few", limits={"max_jobs": 2}))
    views = [lenient.create(few, name=f"x{i}") for i in range(2)]
    error = refused(lambda: lenient.create(few, name="y"), 429, "too_many_experiments")
    assert error.retry_after > 0
    for view in views:
        put(lenient, few, view.id, [CONTENT])
        lenient.submit(few, view.id)
    third = lenient.create(few, name="z")
    put(lenient, few, third.id, [CONTENT])
    assert refused(lambda: lenient.submit(few, third.id), 429, "too_many_jobs").retry_after > 0
    lenient.cancel(few, views[0].id)
    lenient.submit(few, third.id)
    lenient.settings = dataclasses.replace(lenient.settings, max_queue=2)
    made = lenient.create(ada, name="x")
    put(lenient, ada, made.id, [CONTENT])
    refused(lambda: lenient.submit(ada, made.id), 429, "queue_full")


def test_tokens_and_logins_end(composer):
    text = composer.create_token("ada", days=1)
    login = composer.login(text)
    assert composer.identify(login) == composer.authenticate(text)
    assert text not in str(composer.list_tokens())
    with composer._store.writing() as session:
        session.execute(update(Token).values(expires_at=database_now() - 1))
    refused(lambda: composer.authenticate(text), 401, "unauthorized")
    refused(lambda: composer.identify(login), 401, "unauthorized")
    other = composer.create_token("ada")
    login = composer.login(other)
    assert composer.revoke_token(other[:16]) == other[:16]
    refused(lambda: composer.authenticate(other), 401, "unauthorized")
    refused(lambda: composer.identify(login), 401, "unauthorized")
    refused(lambda: composer.identify(login + "x"), 401, "unauthorized")
    refused(lambda: composer.authenticate("\udcff"), 401, "unauthorized")
    refused(lambda: composer.revoke_token("aihwjax_"), 409, "ambiguous")
    refused(lambda: composer.revoke_token("nothing"), 404, "not_found")
    for values, field in (
        ({"scope": "god"}, "scope"),
        ({"days": -1.0}, "days"),
        ({"limits": {"max_jobs": -1}}, "max_jobs"),
    ):
        refused(lambda values=values: composer.create_token("ada", **values), 422, "bad_value", field)


def test_a_login_outlasts_a_restart(composer, settings):
    login = composer.login(composer.create_token("ada"))
    again = Composer(settings)
    assert again.identify(login).user == "ada"
    again.close()


def test_failures_are_limited_by_address_and_valid_tokens_are_not(composer):
    text = composer.create_token("ada")
    for _ in range(20):
        refused(lambda: composer.authenticate("wrong", "10.0.0.1"), 401, "unauthorized")
    error = refused(lambda: composer.authenticate("wrong", "10.0.0.1"), 429, "too_many_failures")
    assert 0 < error.retry_after <= 60
    refused(lambda: composer.identify("wrong", "10.0.0.1"), 429, "too_many_failures")
    refused(lambda: composer.authenticate("wrong", "10.0.0.2"), 401, "unauthorized")
    assert composer.authenticate(text, "10.0.0.1").user == "ada"


def test_paths_of_a_face_are_signed(composer):
    path, _, query = composer.sign("/own/path").partition("?")
    values = dict(pair.split("=") for pair in query.split("&"))
    composer.check_signature(path, "GET", values)
    composer.check_signature(path, "HEAD", values)
    refused(lambda: composer.check_signature(path, "PUT", values), 403, "bad_link")
    refused(lambda: composer.check_signature("/other", "GET", values), 403, "bad_link")


def test_a_database_out_of_reach_is_a_refusal_that_can_be_tried_again(settings, database):
    composer = Composer(settings)
    text = composer.create_token("ada")
    composer.close()
    if database is None:
        path = settings.data_dir / "composer.sqlite"
        path.rename(path.with_suffix(".away"))
        path.mkdir()  # a file that cannot be opened
    else:
        url = sqlalchemy.make_url(database)
        server = sqlalchemy.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
        server.dispose()
    assert refused(lambda: composer.authenticate(text), 503, "database").retry_after > 0
