"""What made a Run: the schedule and the number of its fire, taken from its Task's context."""

from __future__ import annotations

import pytest

from conformance.spine import Spine, ended
from taskyard.access.caller import LOCAL
from taskyard.core.lifecycle import Kind
from taskyard.db.listing import Query
from taskyard.runs import browse
from taskyard.tasks import rescue, settle

CONTEXT = '{"schedule_id":17,"execute_index":3,"fire_time":"2026-11-22T02:00:00+00:00"}'

MADE = {"schedule_id": 17, "execute_index": 3, "batch_id": None}
NOTHING = {"schedule_id": None, "execute_index": None, "batch_id": None}


def made(spine: Spine, task: int) -> list[dict[str, object]]:
    return [{name: run[name] for name in MADE} for run in spine.runs(task)]


def test_every_attempt_of_a_schedules_task_says_so(spine: Spine) -> None:
    task = spine.put(context=CONTEXT, origin="scheduled", max_retries=1)
    spine.finish(spine.take(task), Kind.FAILED, error="no", delay=0)
    spine.finish(spine.take(task))
    assert made(spine, task) == [MADE, MADE]
    assert [run["attempt"] for run in spine.runs(task)] == [1, 2]


def test_a_live_run_says_so_as_well(spine: Spine) -> None:
    task = spine.put(context=CONTEXT, origin="scheduled")
    spine.put(context='{"batch_id":5}', origin="batch")
    row = spine.claim()[0]
    asked = browse.list_runs(spine.db, LOCAL, Query({"schedule_id": 17})).rows
    assert [(run["task_id"], run["execute_index"], run["status"]) for run in asked] == [
        (task, 3, "running")
    ]
    spine.finish(row)
    asked = browse.list_runs(spine.db, LOCAL, Query({"schedule_id": 17})).rows
    assert [run["status"] for run in asked] == ["completed"]


def test_a_rescued_and_a_deleted_task_keep_what_made_them(spine: Spine) -> None:
    lost, deleted = (spine.put(context=CONTEXT, origin="scheduled") for _ in range(2))
    rows = {row.id: row for row in spine.claim(session=spine.session("other"))}
    spine.delete(deleted)
    settle.settle(spine.db, spine.place("other"), [ended(rows[deleted])], lambda _: rows[deleted])
    spine.kill("other")
    assert rescue.rescue(spine.db, "default_tasks", max_crashes=5) == 1
    assert made(spine, lost) == made(spine, deleted) == [MADE]


@pytest.mark.parametrize(
    "context",
    [
        None,
        "",
        "{}",
        "no json",
        "[17]",
        '{"schedule_id":"seven"}',
        '{"schedule_id":null}',
        '"schedule_id"',
    ],
)
def test_whatever_a_stranger_writes_there_a_run_is_recorded(
    spine: Spine, context: str | None
) -> None:
    task = spine.insert(context=context)
    spine.finish(spine.take(task))
    assert made(spine, task) == [NOTHING]
