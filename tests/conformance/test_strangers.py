"""Strangers: rows that no program of ours would write. Each shows what is wrong, none stops others.

SQLite keeps anything in any column, so most of these can only stand there.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any

import orjson
import pytest

from conformance.spine import TABLE, WORK, Spine, ended
from taskyard.core.lifecycle import Kind
from taskyard.tasks import holds, rescue

ANYTHING: list[dict[str, Any]] = [
    {"task_params": b"\xff\xfe"},
    {"task_params": b'{"n": 1}'},
    {"task_params": 7},
    {"retry_count": "none"},
    {"retry_count": b"\xff"},
    {"retry_count": 1.5},
    {"max_retries": "three"},
    {"priority": "high"},
    {"priority": 2.5},
    {"timeout": "soon"},
    {"timeout": b"\xff"},
    {"retry_interval": "later"},
    {"tenant_id": b"\xff"},
    {"tenant_id": 7},
    {"context": b"\xff"},
    {"origin": 7},
    {"origin": b"\xff"},
    {"created_at": "never"},
    {"created_at": b"\xff"},
    {"created_at": 7},
    {"schedule_time": 7},
    {"schedule_time": b"\xff"},
    {"excl_key": 7},
    {"excl_key": b"\xff"},
    {"unique_key": b"\xff"},
    {"task_type": b"\xff"},
    {"task_type": 7},
    {"crashes": "many"},
    {"fence": "high"},
    {"hold": "yes"},
    {"status": "pending"},
    {"status": None},
]


def put(spine: Spine, name: str, expression: str, value: object) -> None:
    """A row with this in one of its columns, unless the table refuses it where it is written."""
    columns = {"task_type": "'work'", name: expression}
    sql = f"INSERT INTO {TABLE} ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"
    with suppress(sqlite3.IntegrityError):
        spine.execute(sql, value=value)


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_whatever_a_row_holds_the_next_one_runs(spine: Spine) -> None:
    for columns in ANYTHING:
        [(name, value)] = columns.items()
        put(spine, name, ":value", value)
        if isinstance(value, bytes):  # Text that is not UTF-8 can also be typed as text.
            put(spine, name, "CAST(:value AS TEXT)", value)
        good = spine.put()
        taken = []
        for _ in range(3):
            holds.hold_blocked(spine.db, TABLE, WORK)
            holds.release_holds(spine.db, TABLE, WORK)
            taken += spine.claim(20)
        rows = {row.id: row for row in taken}
        assert good in rows, columns
        for row in taken:
            orjson.dumps([*row])  # it goes over a pipe to a Runner
            assert row.waited >= 0, columns
        endings = [ended(row, Kind.FAILED, error="x", delay=0.0) for row in taken]
        assert spine.settle(endings).superseded == [], columns
        again = spine.claim(20)
        spine.session("gone")
        spine.execute(f"UPDATE {TABLE} SET owner = 'gone' WHERE owner = 'me'")
        spine.kill("gone")
        assert rescue.rescue(spine.db, TABLE, max_crashes=5) == len(again), columns
        spine.execute("DELETE FROM ty_servers WHERE session = 'gone'")
        spine.execute(f"DELETE FROM {TABLE}")


def test_parameters_that_are_no_json_are_handed_over_as_they_are(spine: Spine) -> None:
    """The Runner says what is wrong with them (TY204); the claim does not care."""
    for text in ("{", "not json", "", "   ", "[1,", "'single'"):
        task = spine.insert(task_params=text)
        row = spine.take(task)
        assert row.task_params == text
        spine.finish(row, Kind.REJECTED, error="TY204")
        assert spine.runs(task)[0]["payload"] == text


def test_numbers_out_of_bounds_harm_only_themselves(spine: Spine) -> None:
    tasks = [
        spine.insert(priority=-32_768),
        spine.insert(priority=32_767),
        spine.insert(max_retries=-1),
        spine.insert(retry_count=2_147_483_000),
        spine.insert(timeout=-5.0),
        spine.insert(timeout=1e300),
        spine.insert(retry_interval=-60.0),
    ]
    good = spine.put()
    rows = {row.id: row for row in spine.claim(20)}
    assert sorted(rows) == sorted([*tasks, good])
    endings = [ended(row, Kind.FAILED, error="x") for row in rows.values()]
    assert spine.settle(endings).superseded == []
    assert spine.row(tasks[2])["status"] == 3
    assert spine.row(tasks[3])["status"] == 3


def test_a_wait_before_a_retry_that_no_calendar_holds_blocks_nothing(spine: Spine) -> None:
    """`retry_interval` is anybody's to write: the end of the attempt is written all the same."""
    tasks = [spine.insert(retry_interval=wait, max_retries=3) for wait in (1e12, 1e300, -1e300)]
    rows = spine.claim(20)
    assert [row.id for row in rows] == tasks
    endings = [ended(row, Kind.FAILED, error="x") for row in rows]
    spine.settle(endings)
    assert set(spine.column("owner")) == {None}
    assert all(status in (0, 3) for status in spine.column("status"))
    assert [spine.statuses(task) for task in tasks] == [["failed"]] * 3
