"""Dispatcher: a table's thread, with a pool that only notes what it is given to run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import pytest

from conformance.spine import TABLE, Spine
from harness.waiting import stays_true, wait_until
from taskyard.core.errors import OutcomeUnknown
from taskyard.core.lifecycle import Kind, Outcome
from taskyard.engine.dispatcher import Dispatcher, Post
from taskyard.engine.work import Work
from taskyard.handlers import HandlerSpec
from taskyard.queues import Queue, get_queue
from taskyard.tasks import claim


class NotedPool:
    """Runs nothing: the test says when and how a Work ends."""

    def __init__(self) -> None:
        self.specs = {
            "work": HandlerSpec(name="work"),
            "keyed": HandlerSpec(name="keyed", excl_key="k", on_lost="stop"),
        }
        self.started: list[Work] = []
        self.cancelled: list[Work] = []

    def submit(self, works: Sequence[Work]) -> None:
        for work in works:
            work.sent = time.monotonic()
        self.started += works

    def cancel(self, works: Iterable[Work], why: str, grace: float = 3.0) -> None:
        self.cancelled += works

    def interrupt(self, works: Iterable[Work]) -> None:
        self.cancelled += works


class NoSpool:
    """Nothing goes wrong here that a spool would be needed for."""

    def keep(self, *arguments: Any) -> None: ...
    def forget(self, *arguments: Any) -> None: ...


class Desk:
    """A dispatcher at work, and what a test can see and do around it."""

    def __init__(self, spine: Spine) -> None:
        self.spine = spine
        self.pool = NotedPool()
        self.trust = True
        post = Post(
            db=spine.db,
            session=spine.me,
            server_id="server-me",
            pool=cast(Any, self.pool),
            run_ids=spine.ids,
            spool=cast(Any, NoSpool()),
            max_crashes=5,
            trusted=lambda: self.trust,
            fleet=lambda: frozenset(self.pool.specs),
            flush_notes=lambda: None,
        )
        self.dispatcher = Dispatcher(post, TABLE)
        self.dispatcher.start()

    def work_on(self, **settings: Any) -> None:
        """Give it the default queue with these settings."""
        queue = get_queue(self.spine.db, "default")
        fields = {"max_workers": 2, "scan_interval": 0.1, **settings}
        self.dispatcher.set_queues([Queue(**(queue.to_dict() | fields))])

    def end(self, work: Work, kind: Kind = Kind.COMPLETED, error: str | None = None) -> None:
        assert work.sent is not None
        work.outcome = Outcome(
            work.run_id, kind, error=error, started=work.sent, finished=work.sent + 0.2, pid=7
        )
        self.dispatcher.deliver([work])

    def wait_started(self, count: int) -> None:
        wait_until(lambda: len(self.pool.started) >= count, 10, f"{count} are started")

    def wait_status(self, task: int, status: int) -> None:
        wait_until(lambda: self.spine.row(task)["status"] == status, 10, f"{task} is at {status}")


@pytest.fixture
def desk(spine: Spine) -> Iterator[Desk]:
    desk = Desk(spine)
    yield desk
    desk.dispatcher.abandon()
    desk.dispatcher.stop(5.0)


def test_what_is_claimed_is_run_and_settled(desk: Desk) -> None:
    task = desk.spine.put()
    desk.work_on()
    desk.wait_started(1)
    [work] = desk.pool.started
    assert work.row.id == task and desk.dispatcher.running == 1
    desk.end(work)
    desk.wait_status(task, 2)
    wait_until(lambda: desk.dispatcher.held == 0, 5, "it is let go")
    assert desk.spine.statuses(task) == ["completed"]


def test_no_more_run_at_once_than_max_workers(desk: Desk) -> None:
    tasks = desk.spine.put_many(4)
    desk.work_on(max_workers=2)
    desk.wait_started(2)
    stays_true(lambda: len(desk.pool.started) == 2, 0.4, "two run")
    assert desk.spine.column("status") == [1, 1, 0, 0]
    for n in range(4):
        desk.wait_started(n + 1)
        desk.end(desk.pool.started[n])
    for task in tasks:
        desk.wait_status(task, 2)


def test_who_is_not_trusted_claims_nothing(desk: Desk) -> None:
    desk.trust = False
    task = desk.spine.put()
    desk.work_on()
    desk.dispatcher.ring()
    stays_true(lambda: desk.spine.row(task)["status"] == 0, 0.5, "it waits")
    desk.trust = True
    desk.wait_started(1)


def test_what_was_claimed_is_not_started_when_trust_ended_meanwhile(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is started when trust has come back: nobody else will ever start it."""
    taking = claim.claim

    def slow(*arguments: Any) -> claim.Taken:
        taken = taking(*arguments)
        if taken.rows:
            desk.trust = False
        return taken

    monkeypatch.setattr(claim, "claim", slow)
    task = desk.spine.put()
    desk.work_on()
    desk.wait_status(task, 1)
    stays_true(lambda: not desk.pool.started, 0.5, "it is not started")
    monkeypatch.undo()
    desk.trust = True
    desk.wait_started(1)


def test_a_worker_that_becomes_free_gets_nothing_without_trust(desk: Desk) -> None:
    """What was taken ahead of short Tasks is handed over on the pool's thread."""
    desk.work_on(max_workers=1)
    for n in range(3):  # learns that these are short
        desk.spine.put()
        desk.wait_started(n + 1)
        work = desk.pool.started[n]
        work.outcome = Outcome(work.run_id, Kind.COMPLETED, started=1.0, finished=1.0001)
        desk.dispatcher.deliver([work])
    desk.spine.put_many(5)
    desk.wait_started(4)
    wait_until(lambda: desk.dispatcher.held == 5, 5, "the others are taken ahead")
    desk.trust = False
    desk.end(desk.pool.started[3])
    stays_true(lambda: len(desk.pool.started) == 4, 0.4, "nothing starts")
    desk.trust = True
    desk.wait_started(5)


@pytest.mark.parametrize("change", ["status = 4", "status = 0", "DELETE", "fence = fence + 1"])
def test_a_running_row_that_sql_has_changed_is_stopped(desk: Desk, change: str) -> None:
    task = desk.spine.put()
    desk.work_on()
    desk.wait_started(1)
    if change == "DELETE":
        desk.spine.delete(task)
    else:
        desk.spine.change(task, change)
    wait_until(lambda: desk.pool.cancelled == desk.pool.started, 10, "its handler is told")
    desk.end(desk.pool.started[0], Kind.CANCELLED, "stopped")
    wait_until(lambda: desk.dispatcher.held == 0 or len(desk.pool.started) > 1, 10, "it is closed")
    if "fence" not in change:
        wait_until(lambda: desk.spine.statuses(task)[:1] == ["cancelled"], 5, "its Run is there")
    if change == "status = 0":
        desk.wait_started(2)
        assert desk.pool.started[1].row.fence == 2


def test_what_it_owns_without_knowing_is_handed_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim whose answer was lost: the row is ours, and nobody here has it."""
    taking = claim.claim

    def lossy(*arguments: Any) -> claim.Taken:
        if taking(*arguments).rows:
            monkeypatch.undo()
            raise OutcomeUnknown("the answer was lost")
        return claim.NOTHING

    monkeypatch.setattr(claim, "claim", lossy)
    task = desk.spine.put()
    desk.work_on()
    desk.wait_started(1)
    assert desk.pool.started[0].row.fence == 2
    assert desk.spine.statuses(task) == ["interrupted"]
    assert desk.spine.row(task)["retry_count"] == 0


def test_only_what_must_not_run_without_trust_is_stopped_at_its_end(desk: Desk) -> None:
    desk.spine.put()
    desk.spine.put("keyed", excl_key="k")
    desk.work_on()
    desk.wait_started(2)
    desk.dispatcher.cancel_exclusive("the server lost touch with the database", 1.0)
    assert [work.row.task_type for work in desk.pool.cancelled] == ["keyed"]


def test_a_queue_that_was_taken_away_finishes_what_it_runs_and_takes_no_more(desk: Desk) -> None:
    first = desk.spine.put()
    desk.work_on()
    desk.wait_started(1)
    desk.dispatcher.set_queues([])
    second = desk.spine.put()
    desk.dispatcher.ring()
    desk.end(desk.pool.started[0])
    desk.wait_status(first, 2)
    stays_true(lambda: desk.spine.row(second)["status"] == 0, 0.4, "it waits for another server")


def test_a_drained_dispatcher_ends_when_all_is_settled(desk: Desk) -> None:
    task = desk.spine.put()
    desk.work_on()
    desk.wait_started(1)
    desk.dispatcher.drain()
    desk.spine.put()
    desk.end(desk.pool.started[0])
    desk.dispatcher.stop(5.0)
    assert not desk.dispatcher._thread.is_alive()
    assert desk.spine.column("status") == [2, 0] and desk.spine.statuses(task) == ["completed"]


def test_parameters_above_the_limit_fail_that_task_alone(desk: Desk) -> None:
    big = desk.spine.insert(task_params='"' + "x" * 1_100_000 + '"')
    good = desk.spine.put()
    desk.work_on()
    desk.wait_started(1)
    assert desk.pool.started[0].row.id == good
    desk.wait_status(big, 3)
    assert "TY205" in desk.spine.row(big)["error_msg"]


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_a_task_type_that_nobody_has_is_held_and_says_so(desk: Desk) -> None:
    task = desk.spine.put("wrok")
    desk.work_on()
    wait_until(lambda: desk.spine.row(task)["hold"] == 1, 10, "it is held")
    assert "TY201" in desk.spine.row(task)["error_msg"]


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE default_tasks DROP COLUMN context", "DROP TABLE default_tasks"],
    ids=["a column", "the table"],
)
def test_what_somebody_dropped_is_made_again_and_work_goes_on(desk: Desk, change: str) -> None:
    desk.work_on(max_workers=5)
    if "COLUMN" in change:
        desk.trust = False
        desk.spine.insert()
    desk.spine.execute(change)
    desk.trust = True
    desk.dispatcher.ring()

    def can_enqueue() -> bool:
        with suppress(Exception):
            return bool(desk.spine.put())
        return False

    wait_until(can_enqueue, 15, "the table is whole")
    desk.wait_started(1)


def test_a_table_that_cannot_be_mended_does_not_end_the_thread(desk: Desk) -> None:
    desk.trust = False  # so that it does not look in between
    desk.work_on()
    desk.spine.execute("ALTER TABLE default_tasks RENAME TO theirs")
    desk.spine.execute("CREATE TABLE default_tasks (id int)")
    desk.trust = True
    desk.dispatcher.ring()
    wait_until(
        lambda: (
            not desk.spine.value(f"SELECT ready FROM ty_task_tables WHERE table_name = '{TABLE}'")
        ),
        10,
        "the trouble is noticed",
    )
    stays_true(desk.dispatcher._thread.is_alive, 0.5, "the thread goes on")
    desk.spine.execute("DROP TABLE default_tasks")
    desk.spine.execute("ALTER TABLE theirs RENAME TO default_tasks")
    desk.spine.put()
    desk.wait_started(1)
