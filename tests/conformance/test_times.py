"""Times: task tables follow the database's own convention, our tables are UTC, and both agree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.spine import TABLE, Spine
from harness.sql import Database as Stranger
from harness.sql import create_task_table, insert_tasks
from taskyard.access.caller import LOCAL
from taskyard.core.lifecycle import Kind
from taskyard.db.listing import Query
from taskyard.runs import browse
from taskyard.tasks import browse as tasks

zones = pytest.mark.parametrize(
    ("lane", "zone"),
    [
        ("sqlite", "UTC"),
        ("postgres", "its own"),
        ("postgres", "+08:00"),
        ("mariadb", "its own"),
        ("mariadb", "+08:00"),
    ],
    indirect=["lane"],
)
"""A database whose zone is what it is, and one that is eight hours ahead; SQLite has none."""


@pytest.fixture
def zoned(lane: str, zone: str) -> Iterator[Spine]:
    spine = Spine(shifted(lane) if zone == "+08:00" else lane)
    yield spine
    spine.db.close()


def shifted(url: str) -> str:
    """The same database, spoken to by clients in the zone +08:00."""
    if url.startswith("mysql"):
        return f"{url}?init_command=SET%20SESSION%20time_zone%3D'%2B08:00'"
    admin = Stranger(url)
    admin.run(f"ALTER DATABASE {url.rsplit('/', 1)[1]} SET timezone = 'Asia/Shanghai'")
    admin.close()
    return url


def now(spine: Spine) -> float:
    """Seconds since 1970 by the database's clock."""
    return float(spine.value(f"SELECT {spine.db.dialect.epoch(spine.db.dialect.utc_now)}"))


@zones
def test_what_is_enqueued_now_is_due_now_and_in_an_hour_in_an_hour(zoned: Spine) -> None:
    due = zoned.put()
    planned = zoned.put(at=now(zoned) - 5)
    zoned.put(at=now(zoned) + 3600)
    zoned.put(delay=3600)
    rows = {row.id: row for row in zoned.claim()}
    assert sorted(rows) == [due, planned]
    assert all(0 <= row.waited < 30 for row in rows.values())


@zones
def test_the_times_of_a_run_are_utc_and_in_order(zoned: Spine) -> None:
    before = now(zoned)
    task = zoned.put()
    zoned.finish(zoned.take(task), age=0.5, duration=0.25)
    after = now(zoned)
    epoch = zoned.db.dialect.epoch
    names = ("started_at", "completed_at", "created_at", "updated_at")
    [times] = zoned.rows(f"SELECT {', '.join(f'{epoch(n)} AS {n}' for n in names)} FROM ty_runs")
    started, completed, created = (float(times[n]) for n in names[:3])
    assert completed - started == pytest.approx(0.25, abs=0.002)
    assert before - 1 < started < completed <= created <= after + 0.002
    claimed = zoned.runs(task)[0]["claimed_at"] / 1e6
    assert before - 0.002 <= claimed <= after + 0.002


@zones
def test_the_times_of_a_task_are_the_databases_own_and_read_as_utc(zoned: Spine) -> None:
    before = now(zoned)
    task = zoned.ref()
    zoned.finish(zoned.take(task.id))
    shown = tasks.show_task(zoned.db, LOCAL, task)
    for name in ("schedule_time", "created_at", "start_time", "end_time", "updated_at"):
        assert before - 2 <= shown[name].timestamp() <= now(zoned) + 2, name
    age = zoned.value(f"SELECT {zoned.db.dialect.age('end_time')} FROM {TABLE}")
    assert 0 <= float(age) < 30


@zones
def test_a_live_run_started_when_it_was_claimed(zoned: Spine) -> None:
    before = now(zoned)
    zoned.take(zoned.put())
    [live] = browse.list_runs(zoned.db, LOCAL, Query()).rows
    assert live["status"] == "running"
    assert before - 0.01 <= live["started_at"].timestamp() <= now(zoned) + 0.01


@zones
def test_a_retry_is_due_after_its_delay(zoned: Spine) -> None:
    task = zoned.put(max_retries=1)
    zoned.finish(zoned.take(task), Kind.FAILED, error="x", delay=90.0)
    age = zoned.value(f"SELECT {zoned.db.dialect.age('schedule_time')} FROM {TABLE}")
    assert -90.01 <= float(age) < -60


@zones
def test_rows_by_sql_with_the_databases_now_are_due_at_once(zoned: Spine) -> None:
    """Requirement 5: anybody INSERTs, with base columns only, into a table of their own."""
    stranger = Stranger(zoned.url.split("?")[0])
    if zoned.url != stranger.url:
        stranger.run("SET SESSION time_zone = '+08:00'")
    create_task_table(stranger, "jobs")
    zoned.queue("jobs", "jobs")
    [due] = insert_tasks(stranger, "jobs", "work", [None])
    later = {
        "mysql": "NOW() + INTERVAL 1 HOUR",
        "postgresql": "now() + interval '1 hour'",
        "sqlite": "datetime('now', '+1 hour')",
    }
    insert_tasks(stranger, "jobs", "work", [None], due=later[stranger.family])
    stranger.close()
    # A column without fractions of a second rounds to the nearest.
    zoned.change(due, f"schedule_time = {zoned.due_in(-1)}", "jobs")
    row = zoned.take(due, table="jobs", queue="jobs")
    assert 0 <= row.waited < 30


def test_no_wait_is_negative(spine: Spine) -> None:
    """A creation in the future (a writer's clock or zone is wrong) is no reason for one."""
    for created in (3600, 0.5):
        task = spine.put()
        spine.change(task, f"created_at = {spine.due_in(created)}")
        row = spine.take(task)
        assert row.waited >= 0
        spine.finish(row)
        assert spine.runs(task)[0]["wait_time"] >= 0


def test_a_wait_counts_from_when_the_task_could_have_started(spine: Spine) -> None:
    planned = spine.put()
    spine.change(
        planned, f"created_at = {spine.due_in(-500)}, schedule_time = {spine.due_in(-100)}"
    )
    backdated = spine.put()
    spine.change(backdated, f"schedule_time = {spine.due_in(-900)}")
    rows = {row.id: row.waited for row in spine.claim()}
    assert 99 < rows[planned] < 130
    assert 0 <= rows[backdated] < 30


def test_two_lists_agree_on_when_a_run_was(spine: Spine) -> None:
    """`claimed_at` is the sort key of live and finished Runs alike."""
    first, second = spine.put(), spine.put()
    one = spine.take(first, limit=1)
    two = spine.take(second, limit=1)
    order = [row["task_id"] for row in browse.list_runs(spine.db, LOCAL, Query()).rows]
    spine.finish(two)
    assert [row["task_id"] for row in browse.list_runs(spine.db, LOCAL, Query()).rows] == order
    spine.finish(one)
    assert [row["task_id"] for row in browse.list_runs(spine.db, LOCAL, Query()).rows] == order
