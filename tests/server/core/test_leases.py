"""Jobs change hands by their leases, on each kind of database."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import update

from aihwjax.server.core import leases
from aihwjax.server.core.leases import Claim, Cursor, LeaseLost, News
from aihwjax.server.core.service import Composer
from aihwjax.server.storage.artefacts import Stored
from aihwjax.server.storage.clock import database_now
from aihwjax.server.storage.tables import Job
from aihwjax.server.views import Status
from tests.server.helpers import queued, refused

OUTPUT = Stored("ab/output", "0" * 64, 5)


def claim(composer: Composer, worker: str = "first", seconds: float = 30.0) -> Claim | None:
    with composer._store.writing() as session:
        return leases.claim(session, worker, seconds)


def news(before: Cursor, *, epochs: int = 0, lines: tuple[str, ...] = (), lease: int = 1) -> News:
    entries = [{"epoch": before.epochs + i, "accuracy": 0.5} for i in range(epochs)]
    after = Cursor(before.epochs + epochs, lease, before.log_offset + 10 * len(lines), before.log_lines + len(lines))
    return News(before, after, 1.5, entries, list(lines))


def report(composer: Composer, held: Claim, told: News) -> tuple[Cursor, bool]:
    with composer._store.writing() as session:
        return leases.report(session, held, told, 30.0)


def complete(composer: Composer, held: Claim, told: News) -> bool:
    with composer._store.writing() as session:
        return leases.complete(session, held, told, OUTPUT)


def fail(composer: Composer, held: Claim, final: bool = False, attempts: int = 3) -> None:
    with composer._store.writing() as session:
        leases.fail(session, held, "it broke", final=final, attempts=attempts)


def expire(composer: Composer, attempts: int = 3) -> int:
    with composer._store.writing() as session:
        return leases.expire(session, attempts, 30.0)


def change(composer: Composer, **values: object) -> None:
    with composer._store.writing() as session:
        session.execute(update(Job).values(**values))


def kinds(composer: Composer, who, job_id: str) -> list[object]:
    return [event.data.get("status") or event.kind for event in composer.events(who, job_id)]


def test_a_job_is_claimed_by_one_of_two_workers(composer, ada):
    for _ in range(20):
        queued(composer, ada)
    claims: list[Claim] = []
    ready = threading.Barrier(4)

    def work(name: str) -> None:
        ready.wait()
        while (held := claim(composer, name)) is not None:
            claims.append(held)

    threads = [threading.Thread(target=work, args=(f"worker {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (held := claim(composer)) is not None:  # PostgreSQL: one that was locked just then
        claims.append(held)
    assert len(claims) == len({held.job_id for held in claims}) == 20
    assert all(held.lease == held.attempts == 1 for held in claims)
    assert composer.counts()["running"] == 20


def test_users_take_turns_and_each_of_theirs_is_in_order(composer, ada):
    bob = composer.authenticate(composer.create_token("bob"))
    first = [queued(composer, ada, f"a{i}") for i in range(3)]
    second = [queued(composer, bob, f"b{i}") for i in range(2)]
    order = [claim(composer).job_id for _ in range(5)]
    assert [job for job in order if job in {view.id for view in first}] == [view.id for view in first]
    assert [job for job in order if job in {view.id for view in second}] == [view.id for view in second]
    owners = [job in {view.id for view in first} for job in order]
    assert owners[0] != owners[1] and owners[2] != owners[3]
    assert claim(composer) is None


def test_a_job_goes_from_waiting_to_completed(composer, ada):
    view = queued(composer, ada)
    assert (view.status, view.attempts, view.started_at) == (Status.WAITING, 0, None)
    held = claim(composer)
    assert composer.experiment(ada, view.id).status == Status.RUNNING
    cursor, cancel = report(composer, held, news(held.cursor, epochs=2, lines=("one", "two")))
    assert not cancel and cursor == Cursor(2, 1, 20, 2)
    assert composer.experiment(ada, view.id).metrics == {"epoch": 1, "accuracy": 0.5}
    refused(lambda: composer.result(ada, view.id), 409, "running")
    assert complete(composer, held, news(cursor, epochs=1))
    done = composer.experiment(ada, view.id)
    assert (done.status, done.epochs_done, done.output_id) == (Status.COMPLETED, 3, f"{view.id}-output")
    assert done.created_at <= done.started_at <= done.finished_at
    assert [entry["epoch"] for entry in composer.result(ada, view.id)] == [0, 1, 2]
    said = composer.events(ada, view.id)
    assert [event.data.get("status") or event.kind for event in said] == [
        "waiting", "running", "log", "log", "epoch", "epoch", "epoch", "completed",
    ]  # fmt: skip
    assert [event.id for event in said] == sorted({event.id for event in said})
    assert composer.events(ada, view.id, after=said[-2].id) == said[-1:]
    assert [event.data for event in said if event.kind == "log"] == [{"text": "one"}, {"text": "two"}]


def test_the_same_news_are_written_once(composer, ada):
    view = queued(composer, ada)
    held = claim(composer)
    told = news(held.cursor, epochs=2, lines=("one",))
    once, twice = report(composer, held, told), report(composer, held, told)
    assert once == twice
    assert kinds(composer, ada, view.id) == ["waiting", "running", "log", "epoch", "epoch"]
    assert not complete(composer, held, told)
    assert complete(composer, held, news(once[0], epochs=1))


def test_an_expired_lease_gives_the_job_to_another_and_the_first_can_write_nothing(composer, ada):
    view = queued(composer, ada)
    first = claim(composer, "first", seconds=-1.0)
    cursor, _ = first.cursor, None
    change(composer, lease_expires=database_now() - 1)
    assert expire(composer) == 1
    assert composer.experiment(ada, view.id).status == Status.WAITING
    for write in (
        lambda: report(composer, first, news(cursor, epochs=1)),
        lambda: complete(composer, first, news(cursor, epochs=3)),
        lambda: fail(composer, first, final=True),
    ):
        with pytest.raises(LeaseLost):
            write()
    second = claim(composer, "second")
    assert (second.lease, second.attempts) == (2, 2)
    for write in (
        lambda: report(composer, first, news(cursor, epochs=1)),
        lambda: complete(composer, first, news(cursor, epochs=3)),
        lambda: fail(composer, first, final=True),
    ):
        with pytest.raises(LeaseLost):
            write()
    view = composer.experiment(ada, view.id)
    assert (view.status, view.epochs_done, view.output_id) == (Status.RUNNING, 0, None)
    assert complete(composer, second, news(second.cursor, epochs=3))


def test_a_lease_that_is_renewed_does_not_expire(composer, ada):
    queued(composer, ada)
    held = claim(composer)
    assert expire(composer) == 0
    change(composer, lease_expires=database_now() - 1)
    report(composer, held, news(held.cursor))  # late, but nobody took the job
    assert expire(composer) == 0


def test_a_clock_that_was_set_back_keeps_no_job_from_others(composer, ada):
    queued(composer, ada)
    claim(composer)
    change(composer, lease_renewed=database_now() + 3600, lease_expires=database_now() + 3630)
    with composer._store.reading() as session:
        assert leases.pending(session)
    assert expire(composer) == 0  # counted anew from now: its worker may be alive
    with composer._store.reading() as session:
        job = session.query(Job).one()
        assert job.lease_expires - job.lease_renewed == pytest.approx(30, abs=0.01)
        assert not leases.pending(session)


def test_a_job_fails_after_attempts_without_a_finished_epoch(composer, ada):
    view = queued(composer, ada)
    for number in range(3):
        held = claim(composer)
        if number == 0:
            report(composer, held, news(held.cursor, epochs=1))
        fail(composer, held)
        waiting = composer.experiment(ada, view.id)
        assert (waiting.status, waiting.error) == (Status.WAITING, None)
    fail(composer, claim(composer))
    failed = composer.experiment(ada, view.id)
    assert (failed.status, failed.error, failed.attempts) == (Status.FAILED, "it broke", 4)
    assert "it broke" in refused(lambda: composer.result(ada, view.id), 409, "failed").message
    assert claim(composer) is None


def test_lost_workers_end_in_failure_too(composer, ada):
    view = queued(composer, ada)
    for _ in range(2):
        claim(composer, seconds=-1.0)
        assert expire(composer, attempts=2) == 1
    failed = composer.experiment(ada, view.id)
    assert failed.status == Status.FAILED and "worker was lost (2 attempts" in failed.error


def test_a_final_failure_is_not_tried_again(composer, ada):
    view = queued(composer, ada)
    fail(composer, claim(composer), final=True)
    assert composer.experiment(ada, view.id).status == Status.FAILED
    assert kinds(composer, ada, view.id) == ["waiting", "running", "failed"]


def test_a_released_job_waits_and_the_attempt_does_not_count_against_it(composer, ada):
    view = queued(composer, ada)
    for _ in range(5):
        held = claim(composer)
        with composer._store.writing() as session:
            leases.release(session, held)
    assert composer.experiment(ada, view.id).status == Status.WAITING
    fail(composer, claim(composer), attempts=2)
    assert composer.experiment(ada, view.id).status == Status.WAITING


def test_cancelling(composer, ada):
    waiting, running, ended = (queued(composer, ada, name) for name in ("waiting", "running", "ended"))
    change_order = [claim(composer) for _ in range(2)]
    held = {entry.job_id: entry for entry in change_order}
    first, second = held
    (third,) = {waiting.id, running.id, ended.id} - set(held)
    assert composer.cancel(ada, third).status == Status.CANCELLED  # at once
    assert not composer.experiment(ada, first).cancel_requested
    asked = composer.cancel(ada, first)
    assert asked.status == Status.RUNNING and asked.cancel_requested  # its worker has to stop first
    assert report(composer, held[first], news(held[first].cursor))[1]
    with composer._store.writing() as session:
        leases.release(session, held[first])
    assert composer.experiment(ada, first).status == Status.CANCELLED
    complete(composer, held[second], news(held[second].cursor, epochs=3))
    assert composer.cancel(ada, second).status == Status.COMPLETED  # too late
    assert composer.cancel(ada, third).status == Status.CANCELLED  # again
    assert claim(composer) is None


def test_a_job_to_be_cancelled_whose_worker_is_lost_is_cancelled(composer, ada):
    view = queued(composer, ada)
    claim(composer, seconds=-1.0)
    composer.cancel(ada, view.id)
    assert expire(composer) == 1
    assert composer.experiment(ada, view.id).status == Status.CANCELLED


def test_two_publications_of_one_job_leave_one_result(composer, ada):
    view = queued(composer, ada)
    held = claim(composer)
    told = news(held.cursor, epochs=3)
    results: list[object] = []
    ready = threading.Barrier(2)

    def publish() -> None:
        ready.wait()
        try:
            results.append(complete(composer, held, told))
        except LeaseLost:
            results.append("lost")

    threads = [threading.Thread(target=publish) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["True", "lost"]
    assert len(composer.result(ada, view.id)) == 3
