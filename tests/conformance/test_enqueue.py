"""Enqueue: a Task is there once, as it was given, and never more than once for a unique key."""

from __future__ import annotations

import pytest

from conformance.spine import TABLE, Spine, together
from taskyard.access.caller import LOCAL
from taskyard.core.errors import DuplicateTask, ParamsInvalid, QueueUnknown, TableInvalid
from taskyard.core.lifecycle import Kind
from taskyard.tasks import manage
from taskyard.tasks.enqueue import NewTask, TaskRef, enqueue_many


def test_a_task_is_stored_as_it_was_given(spine: Spine) -> None:
    ref = spine.ref(
        "mail",
        task_params='{"to": "grüße@例え.jp", "icon": "🚀"}',
        priority=7,
        max_retries=9,
        timeout=2.5,
        retry_interval=0.5,
        unique_key="once",
        excl_key="one at a time",
        tenant_id="acme",
        origin="manual",
        context='{"trace": "abc"}',
    )
    assert str(ref) == f"default/{ref.id}" and ref.table == TABLE
    row = spine.row(ref.id)
    stored = {
        "task_type": "mail",
        "task_params": '{"to": "grüße@例え.jp", "icon": "🚀"}',
        "priority": 7,
        "max_retries": 9,
        "timeout": 2.5,
        "retry_interval": 0.5,
        "unique_key": "once",
        "excl_key": "one at a time",
        "tenant_id": "acme",
        "origin": "manual",
        "context": '{"trace": "abc"}',
    }
    assert {name: row[name] for name in stored} == stored
    untouched = {"status": 0, "fence": 0, "owner": None, "retry_count": 0, "crashes": 0, "hold": 0}
    assert {name: row[name] for name in untouched} == untouched


def test_a_task_needs_no_more_than_its_type(spine: Spine) -> None:
    task = spine.put("work")
    row = spine.row(task)
    assert (row["task_params"], row["priority"], row["max_retries"]) == (None, 0, 3)
    assert (row["tenant_id"], row["origin"]) == ("", "enqueued")
    assert spine.take(task).task_params is None


def test_many_tasks_come_back_in_the_order_given(spine: Spine) -> None:
    spine.queue("other", "other_tasks")
    tasks = [
        NewTask("work", task_params=f'"{n}"', queue="other" if n % 3 == 0 else "default")
        for n in range(2_500)
    ]
    refs = enqueue_many(spine.db, LOCAL, tasks)
    stored = {
        (table, row["id"]): row["task_params"]
        for table in (TABLE, "other_tasks")
        for row in spine.rows(f"SELECT id, task_params FROM {table}")
    }
    assert len(stored) == len(tasks)
    assert [stored[(ref.table, ref.id)] for ref in refs if ref] == [t.task_params for t in tasks]


def test_many_tasks_are_stored_all_or_none(spine: Spine) -> None:
    tasks = [NewTask("work"), NewTask("work", unique_key="k"), NewTask("work", max_retries=2**70)]
    with pytest.raises(Exception, match=r".+"):
        enqueue_many(spine.db, LOCAL, tasks)
    assert spine.column("id") == []


def test_a_key_that_no_column_holds_is_refused_everywhere_alike(spine: Spine) -> None:
    fits = {"unique_key": "ü" * 190, "excl_key": "ü" * 190, "tenant_id": "ü" * 64}
    spine.put("ü" * 255, **fits)
    for name, value in fits.items():
        with pytest.raises(ParamsInvalid, match=name):
            spine.put(**{name: value + "x"})
    with pytest.raises(ParamsInvalid, match="task_type"):
        spine.put("x" * 256)
    with pytest.raises(ParamsInvalid, match="unique_key"):
        enqueue_many(spine.db, LOCAL, [NewTask("work"), NewTask("work", unique_key="x" * 200)])
    assert len(spine.column("id")) == 1


def test_many_large_parameters_go_in_at_once(spine: Spine) -> None:
    """20 MiB in one call: more than a packet of MySQL may have (16 MiB)."""
    text = '"' + "x" * (1024 * 1024 - 2) + '"'
    enqueue_many(spine.db, LOCAL, [NewTask("work", task_params=text)] * 20)
    assert spine.value(f"SELECT COUNT(*) FROM {TABLE} WHERE LENGTH(task_params) = 1048576") == 20


def test_an_empty_list_of_tasks_is_no_mistake(spine: Spine) -> None:
    assert enqueue_many(spine.db, LOCAL, []) == []


def test_an_unknown_queue_is_an_error_that_names_the_nearest(spine: Spine) -> None:
    with pytest.raises(QueueUnknown, match="default"):
        spine.ref("work", queue="defualt")


def test_a_queue_whose_table_name_is_unsafe_takes_nothing(spine: Spine) -> None:
    """Who may write `queue_configs` must not thereby run SQL with the application's rights."""
    spine.execute(
        "INSERT INTO queue_configs (queue_name, table_name) VALUES ('evil', :name)",
        name='default_tasks" (task_type) VALUES (1); DROP TABLE default_tasks; --',
    )
    with pytest.raises(TableInvalid, match="identifier"):
        spine.ref("work", queue="evil")


def test_priority_is_clamped_to_a_hundred(spine: Spine) -> None:
    for given, stored in [(-101, -100), (-100, -100), (100, 100), (101, 100), (10**9, 100)]:
        assert spine.row(spine.put(priority=given))["priority"] == stored


# --- time ----------------------------------------------------------------------------------------


def test_without_a_time_a_task_is_due_at_once(spine: Spine) -> None:
    spine.take(spine.put())


def test_a_delayed_task_is_due_after_its_delay_and_not_before(spine: Spine) -> None:
    task = spine.put(delay=3600)
    age = spine.value(f"SELECT {spine.db.dialect.age('schedule_time')} FROM {TABLE}")
    assert -3600.01 < float(age) < -3590
    assert spine.claim() == []
    spine.change(task, f"schedule_time = {spine.due_in(-0.001)}")
    spine.take(task)


def test_a_delay_of_a_few_milliseconds_is_kept_to_the_millisecond(spine: Spine) -> None:
    spine.put(delay=0.25)
    age = spine.value(f"SELECT {spine.db.dialect.age('schedule_time')} FROM {TABLE}")
    # SQLite's clock and its days as floats have a millisecond's error each.
    assert -0.252 <= float(age) < 0.2


def test_a_time_is_kept_whatever_its_year(spine: Spine) -> None:
    """MySQL's FROM_UNIXTIME knows no instant after 2038-01-19."""
    dialect, due = spine.db.dialect, []
    for year in (1960, 2001, 2037, 2039, 2120):
        at = (year - 1970) * 365.2425 * 86400 + 0.5
        task = spine.put(at=at)
        age = f"SELECT {dialect.age('schedule_time')} FROM {TABLE} WHERE id = {task}"
        now = float(spine.value(f"SELECT {dialect.epoch(dialect.utc_now)}"))
        assert now - float(spine.value(age)) == pytest.approx(at, abs=1.0), year
        due += [task] if year < 2026 else []
    assert [row.id for row in spine.claim()] == due


# --- unique keys ---------------------------------------------------------------------------------


def test_a_second_task_with_a_live_unique_key_is_refused_and_names_the_first(spine: Spine) -> None:
    first = spine.ref(unique_key="daily")
    with pytest.raises(DuplicateTask) as caught:
        spine.ref(unique_key="daily", task_params='{"other": 1}')
    assert caught.value.existing == str(first)
    spine.take(first.id)
    with pytest.raises(DuplicateTask):
        spine.ref(unique_key="daily")
    assert spine.column("id") == [first.id]


def test_a_unique_key_is_free_after_the_end(spine: Spine) -> None:
    for end in (Kind.COMPLETED, Kind.REJECTED, Kind.CANCELLED):
        task = spine.put(unique_key="daily")
        with pytest.raises(DuplicateTask):
            spine.ref(unique_key="daily")
        spine.finish(spine.take(task), end)
    assert spine.column("status") == [2, 3, 4]


def test_a_unique_key_stays_taken_while_its_task_is_retried(spine: Spine) -> None:
    first = spine.put(unique_key="daily")
    spine.finish(spine.take(first), Kind.FAILED, error="once more")
    with pytest.raises(DuplicateTask):
        spine.ref(unique_key="daily")


def test_a_unique_key_is_freed_by_sql_that_nulls_nothing(spine: Spine) -> None:
    """Strangers end rows by UPDATE and don't know our columns."""
    first = spine.put(unique_key="daily")
    spine.change(first, "status = 4")
    spine.put(unique_key="daily")


def test_the_scope_of_a_unique_key_is_table_and_tenant(spine: Spine) -> None:
    spine.queue("other", "other_tasks")
    spine.queue("same", TABLE)
    for fields in ({}, {"tenant_id": "acme"}, {"tenant_id": "Acme"}, {"queue": "other"}):
        spine.put(unique_key="daily", **fields)
    with pytest.raises(DuplicateTask):
        spine.put(unique_key="daily", queue="same")


def test_unique_keys_are_compared_byte_by_byte(spine: Spine) -> None:
    keys = ["key", "Key", "kéy", "ke\u0301y", "key-", "😀", "😁"]
    for key in keys:
        spine.put(unique_key=key)
    assert spine.column("unique_key") == keys


def test_bulk_skips_duplicates_and_says_which(spine: Spine) -> None:
    spine.put(unique_key="b")
    given: list[str | None] = ["a", "b", "a", None, "c", None]
    refs = enqueue_many(spine.db, LOCAL, [NewTask("work", unique_key=key) for key in given])
    assert [ref is not None for ref in refs] == [True, False, False, True, True, True]
    assert sorted(str(key) for key in spine.column("unique_key")) == [
        "None",
        "None",
        "a",
        "b",
        "c",
    ]


def test_of_many_at_once_with_one_unique_key_exactly_one_gets_in(spine: Spine) -> None:
    def put() -> TaskRef | None:
        try:
            return spine.ref(unique_key="once")
        except DuplicateTask:
            return None

    for _ in range(5):
        refs = together(*[put] * 6)
        [winner] = [ref for ref in refs if ref]
        spine.finish(spine.take(winner.id))


def test_a_retry_of_an_ended_task_whose_key_is_taken_anew_is_refused(spine: Spine) -> None:
    first = spine.ref(unique_key="daily")
    spine.finish(spine.take(first.id))
    second = spine.ref(unique_key="daily")
    with pytest.raises(DuplicateTask) as caught:
        manage.retry(spine.db, LOCAL, first)
    assert caught.value.existing == str(second)
    assert spine.row(first.id)["status"] == 2
