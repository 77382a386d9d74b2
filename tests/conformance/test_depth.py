"""What monitoring is told: tasks that wait, and runs counted since the month began."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from conformance.spine import TABLE, Spine, ended
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import NotAllowed
from taskyard.core.lifecycle import Hold, Kind
from taskyard.db import tables
from taskyard.runs import counters as counting
from taskyard.runs import rollups
from taskyard.runs.counters import OTHERS, counters
from taskyard.tasks import depth as depths_of
from taskyard.tasks.depth import Depth, depths


def depth(spine: Spine, table: str = TABLE) -> Depth:
    [found] = [one for one in depths(spine.db, LOCAL) if one.table == table]
    return found


def test_an_empty_table_has_nothing(spine: Spine) -> None:
    assert depth(spine) == Depth(("default",), TABLE, 0, 0, 0, 0.0, 0.0)


def test_tasks_are_counted_by_what_keeps_them(spine: Spine) -> None:
    spine.put("work", delay=-120)
    spine.put("work", delay=3_600, priority=5)
    spine.put("work", excl_key="k", delay=-300)
    held = spine.put("work", delay=-9_000)
    spine.change(held, "hold = :hold", hold=int(Hold.HANDLER_UNKNOWN))
    spine.put("other", delay=-7_200)
    spine.claim(1, known=frozenset({"other"}))
    found = depth(spine)
    assert (found.pending, found.held, found.running) == (3, 1, 1)
    assert 299 < found.oldest_wait < 330
    assert found.oldest_orphan == 0.0


def test_the_oldest_of_every_priority_counts(spine: Spine) -> None:
    spine.put("work", delay=-10, priority=9)
    spine.put("work", delay=-600, priority=-9)
    assert 599 < depth(spine).oldest_wait < 630


def test_what_runs_without_a_living_server_is_told(spine: Spine) -> None:
    spine.put_many(2)
    gone = spine.session("gone", lease=60)
    spine.claim(1)
    spine.claim(1, session=gone)
    assert depth(spine).oldest_orphan == 0.0
    spine.execute("UPDATE ty_servers SET state = 'dead' WHERE session = :s", s=gone)
    spine.execute(f"UPDATE {TABLE} SET claimed_at = claimed_at - 90000000 WHERE owner = :s", s=gone)
    assert 89 < depth(spine).oldest_orphan < 120


def test_counting_ends_somewhere(spine: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depths_of, "MOST", 4)
    spine.put_many(3)
    spine.put_many(3, excl_key="k{n}")
    assert depth(spine).pending == 4


def test_queues_of_one_table_are_told_together_and_a_lost_table_not_at_all(spine: Spine) -> None:
    spine.queue("b", "shared_tasks")
    spine.execute("INSERT INTO queue_configs (queue_name, table_name) VALUES ('a', 'shared_tasks')")
    spine.queue("c", "lost_tasks")
    spine.execute("DROP TABLE lost_tasks")
    spine.execute("INSERT INTO queue_configs (queue_name, table_name) VALUES ('d', 'new_tasks')")
    assert [(one.queues, one.table) for one in depths(spine.db, LOCAL)] == [
        (("default",), TABLE),
        (("a", "b"), "shared_tasks"),
    ]
    assert tables.columns_of(spine.db, "shared_tasks") is not None


def test_runs_are_counted_by_type_status_time_and_queue(spine: Spine) -> None:
    for duration, kind in ((0.0005, Kind.COMPLETED), (0.25, Kind.COMPLETED), (3.0, Kind.REJECTED)):
        spine.put("work")
        [row] = spine.claim(1)
        spine.settle(ended(row, kind, duration=duration, wait=1.5))
    rollups.count_ended(spine.db)
    found = counters(spine.db, LOCAL)
    assert found.ended == {("work", "completed"): 2, ("work", "failed"): 1}
    assert found.took["work"].total == pytest.approx(3.2505)
    assert sorted(found.took["work"].by_bin.values()) == [1, 1, 1]
    assert list(found.waited) == ["default"]
    assert found.waited["default"].total == pytest.approx(4.5)
    assert sum(found.waited["default"].by_bin.values()) == 3


def test_the_counters_begin_with_the_month(spine: Spine) -> None:
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    row = "86400, 'run', {}, 'work', 'default', '', 'completed', 3, 7, 7.0, 1.0"
    for day in (-1, 0):
        start = int(first.timestamp()) + day * 86_400
        spine.execute(
            "INSERT INTO ty_stats (grain, measure, start, task_type, queue, tenant_id, status, bin,"
            f" count, total, peak) VALUES ({row.format(start)})"
        )
    assert counters(spine.db, LOCAL).ended == {("work", "completed"): 7}


def test_beyond_so_many_names_there_are_others(
    spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST", 2)
    names = frozenset({"a", "b", "c", "d"})
    for name in names:
        spine.put(name)
    for row in spine.claim(4, known=names):
        spine.finish(row)
    rollups.count_ended(spine.db)
    found = counters(spine.db, LOCAL)
    assert found.ended == {
        ("a", "completed"): 1,
        ("b", "completed"): 1,
        (OTHERS, "completed"): 2,
    }


def test_they_are_for_those_who_monitor(spine: Spine) -> None:
    viewer = Caller("v", "viewer", frozenset({Permission.RUNS_READ}), None)
    for verb in (depths, counters):
        with pytest.raises(NotAllowed):
            verb(spine.db, viewer)
