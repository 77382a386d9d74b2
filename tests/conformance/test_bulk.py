"""Bulk verbs: over named tasks or a whole filter, counted before, each told about, audited."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from conformance.past import START, Past
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import ROLES, Role
from taskyard.core.errors import (
    CountChanged,
    NotAllowed,
    NotNow,
    QueryInvalid,
    QueueUnknown,
    TaskUnknown,
)
from taskyard.tasks import bulk as bulks
from taskyard.tasks import change
from taskyard.tasks.bulk import Action, Bulk, Skipped, bulk


@pytest.fixture
def past(lane: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Past]:
    monkeypatch.setattr(bulks, "_CHUNK", 3)  # so that a handful takes several transactions
    monkeypatch.setattr(bulks, "MAX_LIMIT", 2)
    past = Past(lane)
    past.queue("mail", "mail_tasks")
    yield past
    past.db.close()


def statuses(past: Past, table: str = "default_tasks") -> dict[int, int]:
    return dict(past.db.read(lambda tx: tx.all(f"SELECT id, status FROM {table}")))


def audited(past: Past) -> list[tuple[str, str]]:
    rows = past.db.read(lambda tx: tx.all("SELECT action, object FROM ty_audit ORDER BY id"))
    return [(row[0], row[1]) for row in rows]


def operator(*tenants: str) -> Caller:
    return Caller("o", Role.OPERATOR.value, ROLES[Role.OPERATOR], frozenset(tenants))


def test_all_that_a_filter_lets_through_is_cancelled(past: Past) -> None:
    mine = [past.task(task_type="report") for _ in range(7)]
    running = past.live(1, task_type="report")
    others = [past.task(), past.task("mail_tasks")]
    done = bulk(past.db, LOCAL, Action.CANCEL, filters={"task_type": "report"}, expected_count=8)
    assert done == Bulk(Action.CANCEL, count=8, done=8, skipped=[])
    found = statuses(past)
    assert {found[task] for task in (*mine, running)} == {4}
    assert found[others[0]] == 0 and statuses(past, "mail_tasks")[others[1]] == 0


def test_a_count_that_has_changed_does_nothing(past: Past) -> None:
    past.task()
    past.task()
    with pytest.raises(CountChanged) as changed:
        bulk(past.db, LOCAL, Action.CANCEL, filters={"status": "pending"}, expected_count=3)
    assert (changed.value.expected, changed.value.found) == (3, 2)
    assert set(statuses(past).values()) == {0}
    assert audited(past) == []


def test_those_that_cannot_be_are_skipped_with_the_reason(past: Past) -> None:
    failed = past.task(status=3, unique_key="k")
    past.task(unique_key="k")  # its twin, which lives
    again = past.task(status=2)
    pending = past.task()
    names = [f"default/{n}" for n in (failed, again, pending)]
    names += ["default/999", "nowhere/1", "odd", f"default/{again}"]
    done = bulk(past.db, LOCAL, Action.RETRY, refs=names)
    assert (done.count, done.done) == (6, 1)
    assert {skip.ref: skip.code for skip in done.skipped} == {
        f"default/{failed}": "TY315",
        f"default/{pending}": NotNow.code,
        "default/999": TaskUnknown.code,
        "nowhere/1": QueueUnknown.code,
        "odd": TaskUnknown.code,
    }
    why = next(skip.why for skip in done.skipped if skip.code == NotNow.code)
    assert why == f"Cannot retry task default/{pending}: it is pending."
    assert statuses(past)[again] == 0


def test_the_audit_has_the_operation_and_each_task(past: Past) -> None:
    tasks = [past.task(status=3) for _ in range(4)]
    bulk(past.db, LOCAL, Action.RETRY, filters={"status": "failed"}, expected_count=4)
    assert audited(past) == [
        ("task.bulk", "tasks/retry"),
        *(("task.retry", f"task/default/{task}") for task in reversed(tasks)),
    ]
    after = past.db.read(lambda tx: tx.value("SELECT after FROM ty_audit ORDER BY id"))
    assert orjson.loads(after) == {"count": 4, "filter": {"status": "failed"}}


def test_other_tenants_tasks_are_neither_found_nor_touched(past: Past) -> None:
    mine, theirs = past.task(tenant_id="acme"), past.task(tenant_id="beta")
    caller = operator("acme")
    names = [f"default/{mine}", f"default/{theirs}"]
    done = bulk(past.db, caller, Action.CANCEL, refs=names)
    assert done.skipped == [
        Skipped(f"default/{theirs}", TaskUnknown.code, TaskUnknown(f"default/{theirs}").text)
    ]
    assert statuses(past) == {mine: 4, theirs: 0}
    done = bulk(past.db, caller, Action.RETRY, filters={}, expected_count=1)
    assert (done.done, statuses(past)[mine]) == (1, 0)


def test_run_now_and_priority_are_for_what_waits(past: Past) -> None:
    later = past.db.dialect.after("3600")
    waits, ended = past.task(), past.task(status=2)
    past.db.run(lambda tx: tx.execute(f"UPDATE default_tasks SET schedule_time = {later}"))
    names = [f"default/{waits}", f"default/{ended}"]
    assert bulk(past.db, LOCAL, Action.RUN_NOW, refs=names).done == 1
    assert bulk(past.db, LOCAL, Action.PRIORITY, refs=names, priority=200).done == 1
    rows = dict(past.db.read(lambda tx: tx.all("SELECT id, priority FROM default_tasks")))
    assert rows == {waits: 100, ended: 0}
    due = past.db.dialect.age("schedule_time")
    ages = dict(past.db.read(lambda tx: tx.all(f"SELECT id, {due} FROM default_tasks")))
    assert ages[waits] > -60 > ages[ended]


def test_delete_takes_what_nobody_runs_and_its_notes(past: Past) -> None:
    ended, pending = past.task(status=2), past.task()
    running, stopping = past.live(1), past.live(2, status=4)
    row = {"task_table": "default_tasks", "task_id": ended, "checkpoint": "1"}
    past.insert("ty_progress", {**row, "updated_at": past.moment(START)})
    done = bulk(past.db, LOCAL, Action.DELETE, filters={}, expected_count=4)
    assert (done.done, len(done.skipped)) == (2, 2)
    assert sorted(statuses(past)) == [running, stopping]
    assert past.db.read(lambda tx: tx.value("SELECT COUNT(*) FROM ty_progress")) == 0
    assert ("task.delete", f"task/default/{pending}") in audited(past)
    with pytest.raises(NotAllowed):
        bulk(past.db, operator("acme"), Action.DELETE, refs=["default/1"])


@pytest.mark.parametrize(
    "which",
    [{}, {"filters": {}}, {"refs": ["default/1"], "filters": {}, "expected_count": 1}],
)
def test_it_must_be_clear_which_tasks_are_meant(past: Past, which: dict[str, Any]) -> None:
    with pytest.raises(QueryInvalid):
        bulk(past.db, LOCAL, Action.CANCEL, **which)


def test_a_part_that_breaks_is_undone_whole_and_the_parts_before_it_stay(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [past.task() for _ in range(6)]
    cancel = change.cancel

    def breaks(tx: Any, caller: Any, ref: Any, why: str) -> bool:
        if ref.id == tasks[1]:
            raise RuntimeError("the machine stops here")
        return cancel(tx, caller, ref, why)

    monkeypatch.setattr(change, "cancel", breaks)
    with pytest.raises(RuntimeError):
        bulk(past.db, LOCAL, Action.CANCEL, filters={}, expected_count=6)
    assert [statuses(past)[task] for task in tasks] == [0, 0, 0, 4, 4, 4]
    assert len(audited(past)) == 1 + 3
