"""Holds: a row that no Server can run shows why, and stands in nobody's way."""

from __future__ import annotations

import pytest

from conformance.spine import TABLE, WORK, Spine
from harness.sql import Database as Stranger
from harness.sql import create_task_table
from taskyard.core.lifecycle import Hold
from taskyard.tasks import holds


def test_a_task_of_an_unknown_type_is_held_and_says_why(spine: Spine) -> None:
    plain, keyed = spine.put("wrok"), spine.put("wrok", excl_key="k")
    known = spine.put()
    assert holds.hold_blocked(spine.db, TABLE, WORK) == 2
    for task in (plain, keyed):
        row = spine.row(task)
        assert (row["status"], row["hold"]) == (0, Hold.HANDLER_UNKNOWN)
        assert "TY201" in row["error_msg"] and "wrok" in row["error_msg"]
        assert "work" in row["error_msg"]  # the nearest name
    assert spine.row(known)["hold"] == 0
    assert holds.hold_blocked(spine.db, TABLE, WORK) == 0
    spine.take(known)


def test_a_task_that_another_server_can_run_is_not_held(spine: Spine) -> None:
    task = spine.put("there")
    assert holds.hold_blocked(spine.db, TABLE, WORK | {"there"}) == 0
    assert spine.claim() == []
    spine.take(task, known=frozenset({"there"}))


def test_a_task_that_is_not_due_is_not_held_yet(spine: Spine) -> None:
    spine.put("wrok", delay=3600)
    assert holds.hold_blocked(spine.db, TABLE, WORK) == 0


def test_holds_are_taken_back_when_a_server_knows_the_type(spine: Spine) -> None:
    first, second = spine.put("late"), spine.put("late", excl_key="k")
    never = spine.put("never")
    assert holds.hold_blocked(spine.db, TABLE, WORK) == 3
    assert holds.release_holds(spine.db, TABLE, WORK) == 0
    assert holds.release_holds(spine.db, TABLE, WORK | {"late"}) == 2
    assert holds.release_holds(spine.db, TABLE, WORK | {"late"}) == 0
    for task in (first, second):
        row = spine.row(task)
        assert (row["hold"], row["error_msg"]) == (0, None)
    assert len(spine.claim(known=frozenset({"late"}))) == 2
    assert spine.row(never)["hold"] == Hold.HANDLER_UNKNOWN


def test_types_that_differ_by_case_are_held_and_freed_apart(spine: Spine) -> None:
    """Also in an adopted table, whose own collation may not tell them apart."""
    stranger = Stranger(spine.url)
    create_task_table(stranger, "jobs")
    for task_type in ("Mail", "mail", "MAIL"):
        stranger.run(
            f"INSERT INTO jobs (task_type, schedule_time) VALUES ('{task_type}', {stranger.now})"
        )
    stranger.close()
    spine.queue("jobs", "jobs")
    assert holds.hold_blocked(spine.db, "jobs", WORK) == 3
    assert holds.release_holds(spine.db, "jobs", WORK | {"mail"}) == 1
    assert spine.column("hold", "jobs") == [1, 0, 1]
    rows = spine.claim(table="jobs", queue="jobs", known=frozenset({"mail", "work"}))
    assert [row.task_type for row in rows] == ["mail"]


def test_a_crowd_of_unknown_tasks_is_held_in_passes(spine: Spine) -> None:
    spine.put_many(1_100, "wrok")
    behind = spine.put()
    passes: list[int] = []
    while passes[-1:] != [0]:
        passes.append(holds.hold_blocked(spine.db, TABLE, WORK))
    assert sum(passes) == 1_100 and max(passes) >= 500
    spine.take(behind)


def test_a_hold_is_written_whatever_the_column_takes(spine: Spine) -> None:
    """varchar(50) latin1 for error_msg, and a type of four-byte characters: degraded, not stuck."""
    short = {"mysql": "varchar(50) CHARACTER SET latin1", "sqlite": "text"}
    stranger = Stranger(spine.url)
    create_task_table(stranger, "jobs")
    if stranger.family != "sqlite":
        verb = "MODIFY error_msg" if stranger.family == "mysql" else "ALTER error_msg TYPE"
        stranger.run(f"ALTER TABLE jobs {verb} {short.get(stranger.family, 'varchar(50)')}")
    stranger.run(
        "INSERT INTO jobs (task_type, schedule_time)"
        f" VALUES ('🚀 to the moon and further on', {stranger.now})"
    )
    stranger.run(f"INSERT INTO jobs (task_type, schedule_time) VALUES ('odd', {stranger.now})")
    stranger.close()
    spine.queue("jobs", "jobs")
    assert holds.hold_blocked(spine.db, "jobs", WORK) == 2
    assert all("TY201" in text for text in spine.column("error_msg", "jobs"))


# --- times that cannot be read (SQLite) ----------------------------------------------------------


loose = pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
"""Elsewhere the column's type refuses what is no time."""


@loose
def test_a_time_that_is_none_is_held_and_says_why(spine: Spine) -> None:
    bad = [
        spine.insert(schedule_time="tomorrow"),
        spine.insert(schedule_time="01/02/2026", priority=3),
        spine.insert(schedule_time="", excl_key="k"),
    ]
    good = spine.insert(schedule_time="2020-01-01T10:00:00Z")
    assert holds.hold_blocked(spine.db, TABLE, WORK) == 3
    for task in bad:
        row = spine.row(task)
        assert row["hold"] == Hold.TIME_UNREADABLE
        assert "schedule_time" in row["error_msg"]
    spine.take(good)
    assert spine.claim() == []


@loose
def test_a_row_whose_time_was_mended_is_let_go(spine: Spine) -> None:
    task = spine.insert(schedule_time="tomorrow")
    holds.hold_blocked(spine.db, TABLE, WORK)
    assert holds.release_holds(spine.db, TABLE, WORK) == 0
    spine.change(task, "schedule_time = '2020-01-01 10:00:00'")
    assert holds.release_holds(spine.db, TABLE, WORK) == 1
    assert spine.row(task)["error_msg"] is None
    spine.take(task)


@loose
def test_every_form_that_sqlite_reads_is_understood(spine: Spine) -> None:
    past = ["2020-01-01", "2020-01-01 10:00", "2020-01-01T10:00:00", "2020-01-01 10:00:00.5"]
    past += ["2020-01-01T10:00:00Z", "2020-01-01T10:00:00.123456+08:00", "2458849.5"]
    future = ["2999-01-01", "2999-01-01T00:00:00Z", "2999-12-31T23:59:59+14:00"]
    due = [spine.insert(schedule_time=text) for text in past]
    for text in future:
        spine.insert(schedule_time=text)
    assert holds.hold_blocked(spine.db, TABLE, WORK) == 0
    assert sorted(row.id for row in spine.claim(20)) == due


@loose
def test_an_offset_counts(spine: Spine) -> None:
    later = "strftime('%Y-%m-%dT%H:%M:%S', 'now', '+7 hours')"
    spine.execute(
        f"INSERT INTO {TABLE} (task_type, schedule_time) VALUES ('work', {later} || '+08:00')"
    )
    assert len(spine.claim()) == 1
