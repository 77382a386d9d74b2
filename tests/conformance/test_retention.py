"""Retention: what a prune removes, exactly, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from conformance.past import START, Past
from taskyard.access.caller import LOCAL
from taskyard.core.lifecycle import TaskStatus
from taskyard.runs import leftovers, retention, rollups, stats, surplus
from taskyard.runs.retention import Pruned, prune
from taskyard.settings import Retention, TypeRetention

DAY = 86_400.0


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    past = Past(lane)
    yield past
    past.db.close()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a handful of rows takes several chunks."""
    monkeypatch.setattr(surplus, "PART", 4)
    monkeypatch.setattr(retention, "_CHUNK", 3)
    monkeypatch.setattr(retention, "_READ_AHEAD", 4)


def rows(number: int) -> Retention:
    return Retention(runs_max_rows=number)


def age(seconds: float) -> Retention:
    return Retention(runs_max_rows=0, runs_max_age=seconds)


def second_ago(seconds: float) -> float:
    """So many seconds ago, as seconds after START."""
    return (datetime.now(UTC) - START).total_seconds() - seconds


def test_exactly_the_newest_runs_stay_with_their_logs(past: Past) -> None:
    for n in range(1, 13):
        past.run(n, second=n)
        past.log(n, "one\n", "two\n")
    assert prune(past.db, LOCAL, rows(5)) == Pruned(runs=7, log_chunks=14)
    assert past.ids("ty_runs") == [8, 9, 10, 11, 12]
    assert set(past.ids("ty_run_logs")) == {8, 9, 10, 11, 12}
    assert prune(past.db, LOCAL, rows(5)) == Pruned()


def test_newest_means_ended_last_not_started_last(past: Past) -> None:
    past.run(1, second=0, ended=100)  # long, and ended last
    for n in range(2, 9):
        past.run(n, second=n)
    prune(past.db, LOCAL, rows(3))
    assert past.ids("ty_runs") == [1, 7, 8]


def test_of_runs_that_ended_at_the_same_moment_the_larger_ids_are_newer(past: Past) -> None:
    for n in (4, 9, 2, 7, 5, 1):
        past.run(n, second=n, ended=50)
    prune(past.db, LOCAL, rows(2))
    assert past.ids("ty_runs") == [7, 9]


def test_a_running_run_is_neither_removed_nor_counted(past: Past) -> None:
    past.run(1, second=0, ended=None, status="running", origin="tracked")
    for n in range(2, 7):
        past.run(n, second=n)
    prune(past.db, LOCAL, rows(2))
    assert past.ids("ty_runs") == [1, 5, 6]
    prune(past.db, LOCAL, age(1.0))
    assert past.ids("ty_runs") == [1]


def test_runs_go_by_the_age_of_their_end(past: Past) -> None:
    past.run(1, second=second_ago(3 * DAY), ended=second_ago(60))
    past.run(2, second=second_ago(3 * DAY))
    past.run(3, second=second_ago(2 * DAY - 600))
    past.run(4, second=second_ago(2 * DAY + 600))
    assert prune(past.db, LOCAL, age(2 * DAY)).runs == 2
    assert past.ids("ty_runs") == [1, 3]


def test_number_and_age_both_hold(past: Past) -> None:
    for n in range(1, 5):
        past.run(n, second=second_ago(10 * DAY - n))
    past.run(5, second=second_ago(5))
    past.run(6, second=second_ago(4))
    prune(past.db, LOCAL, Retention(runs_max_rows=1, runs_max_age=100 * DAY))
    assert past.ids("ty_runs") == [6]


def test_zero_rows_and_no_age_keep_everything(past: Past) -> None:
    for n in range(1, 6):
        past.run(n, second=n)
    past.task(status=2, end_time=None)
    assert prune(past.db, LOCAL, Retention(runs_max_rows=0)) == Pruned()
    assert past.ids("ty_runs") == [1, 2, 3, 4, 5]


def test_a_dry_run_counts_what_would_go_and_removes_nothing(past: Past) -> None:
    for n in range(1, 9):
        past.run(n, second=n)
        past.log(n, "x\n")
    old = ended_task(past, days=3)
    keep = Retention(runs_max_rows=3, tasks_max_age=DAY)
    would = prune(past.db, LOCAL, keep, dry_run=True)
    assert would == Pruned(runs=5, log_chunks=5, tasks={"default_tasks": 1}, dry_run=True)
    assert len(past.ids("ty_runs")) == len(past.ids("ty_run_logs")) == 8
    assert past.ids("default_tasks") == [old]
    did = prune(past.db, LOCAL, keep)
    assert (did.runs, did.log_chunks, did.tasks) == (would.runs, would.log_chunks, would.tasks)


def test_a_second_prune_at_the_same_time_removes_nothing_more(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1, 13):
        past.run(n, second=n)
    remove = retention._remove_runs
    once: list[int] = []

    def interleaved(*arguments: object) -> tuple[int, int]:
        if not once:
            once.append(1)
            prune(past.db, LOCAL, rows(5))
            past.run(13, second=13)
        return remove(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "_remove_runs", interleaved)
    prune(past.db, LOCAL, rows(5))
    assert past.ids("ty_runs") == [8, 9, 10, 11, 12, 13]


def ended_task(past: Past, *, days: float, status: int = TaskStatus.COMPLETED) -> int:
    """A Task that ended so many days ago by the clock and in the words of its table."""
    task = past.task(status=int(status))
    when = past.db.dialect.after(f"-{days * DAY}")
    past.db.run(
        lambda tx: tx.execute(
            f"UPDATE default_tasks SET end_time = {when}, created_at = {when} WHERE id = :id",
            id=task,
        )
    )
    return task


def test_ended_tasks_go_by_age_and_all_others_stay(past: Past) -> None:
    gone = [ended_task(past, days=3, status=s) for s in (2, 3, 4, 2, 2, 2)]
    pending = ended_task(past, days=3, status=TaskStatus.PENDING)
    running = ended_task(past, days=3, status=TaskStatus.RUNNING)
    past.db.run(
        lambda tx: tx.execute(
            "UPDATE default_tasks SET owner = 's' WHERE id IN (:a, :b)", a=running, b=gone[0]
        )
    )
    young = [ended_task(past, days=0.5) for _ in range(6)]
    done = prune(past.db, LOCAL, Retention(runs_max_rows=0, tasks_max_age=DAY))
    assert done.tasks == {"default_tasks": 5}
    assert past.ids("default_tasks") == [gone[0], pending, running, *young]


def test_what_is_kept_of_a_task_goes_with_it(past: Past) -> None:
    gone, stays = ended_task(past, days=3), ended_task(past, days=0.1)
    for task in (gone, stays):
        row = {"task_table": "default_tasks", "task_id": task, "checkpoint": "1"}
        past.insert("ty_progress", {**row, "updated_at": past.moment(START)})
    prune(past.db, LOCAL, Retention(tasks_max_age=DAY))
    left = past.db.read(lambda tx: tx.all("SELECT task_id FROM ty_progress"))
    assert [row[0] for row in left] == [stays]


def test_a_task_cancelled_by_sql_goes_by_the_age_of_its_last_change(past: Past) -> None:
    task = past.task(status=4)
    when = past.db.dialect.after(f"-{3 * DAY}")
    past.db.run(
        lambda tx: tx.execute(f"UPDATE default_tasks SET updated_at = {when}, created_at = {when}")
    )
    prune(past.db, LOCAL, Retention(tasks_max_age=4 * DAY))
    assert past.ids("default_tasks") == [task]
    prune(past.db, LOCAL, Retention(tasks_max_age=2 * DAY))
    assert past.ids("default_tasks") == []


def test_the_handler_gives_back_what_was_removed(past: Past) -> None:
    for n in range(1, 5):
        past.run(n, second=n)
    done = retention.prune_handler(past.db, rows(1))
    assert done == {"runs": 3, "log_chunks": 0, "tasks": {}, "dry_run": False}


def test_a_run_claimed_just_before_the_clock_was_set_back_is_found(past: Past) -> None:
    past.run(1, second=10, ended=5)  # ended "before" its claim
    past.run(2, second=6)
    past.run(3, second=7)
    prune(past.db, LOCAL, rows(2))
    assert past.ids("ty_runs") == [2, 3]


def test_runs_a_microsecond_apart_are_told_apart(past: Past) -> None:
    for n in range(1, 8):
        past.run(n, second=0, ended=n / 1_000_000)
    prune(past.db, LOCAL, rows(4))
    assert past.ids("ty_runs") == [4, 5, 6, 7]


def test_the_last_prune_is_told_with_what_it_removed(past: Past) -> None:
    assert retention.last_prune(past.db, LOCAL) is None
    past.run(1, second=1, task_type=retention.HANDLER, output='{"runs": 3}')
    past.run(2, second=2, task_type=retention.HANDLER, status="failed", error="disk full")
    last = retention.last_prune(past.db, LOCAL)
    assert last is not None
    assert (last.run_id, last.status, last.pruned, last.error) == (2, "failed", None, "disk full")
    past.run(3, second=3, task_type=retention.HANDLER, output='{"runs": 5}')
    newest = retention.last_prune(past.db, LOCAL)
    assert newest is not None
    assert newest.pruned == {"runs": 5}


def of_type(**limits: TypeRetention) -> Retention:
    return Retention(runs_max_rows=2, task_types=limits)


def test_a_type_with_limits_of_its_own_is_kept_by_these_alone(past: Past) -> None:
    for n in range(1, 11):
        past.run(n, second=n, task_type="often" if n % 2 else "rare")
    keep = of_type(rare=TypeRetention(runs_max_rows=4))
    assert prune(past.db, LOCAL, keep, dry_run=True).runs == 4
    assert prune(past.db, LOCAL, keep).runs == 4
    assert past.ids("ty_runs") == [4, 6, 7, 8, 9, 10]
    assert prune(past.db, LOCAL, keep).runs == 0


def test_a_type_may_be_kept_by_age_or_for_ever(past: Past) -> None:
    for n in range(1, 4):
        past.run(n, second=second_ago(3 * DAY), task_type="old")
        past.run(n + 10, second=second_ago(3 * DAY), task_type="for.ever")
        past.run(n + 20, second=second_ago(3 * DAY), task_type="others")
    past.run(4, second=second_ago(DAY), task_type="old")
    limits = {"old": TypeRetention(runs_max_age=2 * DAY), "for.ever": TypeRetention()}
    prune(past.db, LOCAL, Retention(runs_max_rows=2, task_types=limits))
    assert past.ids("ty_runs") == [4, 11, 12, 13, 22, 23]


def test_what_is_removed_has_been_counted(past: Past) -> None:
    for n in range(1, 6):
        past.run(n, second=second_ago(3600))
    past.insert("ty_uncounted", {"run_ids": "1,2,3,4,5"})
    prune(past.db, LOCAL, rows(1))
    assert past.ids("ty_runs") == [5]
    rollups.count_ended(past.db)
    assert stats.summary(past.db, LOCAL, None, None)["runs"] == 5


def test_exactly_the_newest_of_many_in_disorder_stay(past: Past) -> None:
    """Ends lie minutes apart from the claims, many in one minute, ids without order."""
    ends = {n: (n * 37) % 101 * 17.3 for n in range(1, 60)}
    for n, second in ends.items():
        past.run(n, second=-(n * 13 % 50) * 7.0, ended=second, task_type=f"t{n % 3}")
    running = past.run(99, ended=None, status="running")
    newest = sorted(ends, key=lambda n: (ends[n], n), reverse=True)
    for keep in (40, 23, 22, 7, 1):
        prune(past.db, LOCAL, rows(keep))
        assert past.ids("ty_runs") == sorted([*newest[:keep], running])


def test_logs_and_progress_that_nothing_refers_to_go(past: Past) -> None:
    past.run(1, second=1)
    stays = past.task()
    live = past.live(7)
    past.log(1, "of a run")
    past.log(7, "of a live run")
    past.log(8, "of none")
    for table, task in (("default_tasks", stays), ("default_tasks", live + 9), ("gone", 1)):
        row = {"task_table": table, "task_id": task, "updated_at": past.moment(START)}
        past.insert("ty_progress", row)
    young = {"run_id": 9, "seq": 0, "text": "x", "created_at": past.moment(datetime.now(UTC))}
    past.insert("ty_run_logs", young)
    prune(past.db, LOCAL, Retention(), dry_run=True)
    assert past.ids("ty_run_logs") == [1, 7, 8, 9]
    prune(past.db, LOCAL, Retention())
    assert past.ids("ty_run_logs") == [1, 7, 9]
    left = past.db.read(lambda tx: tx.all("SELECT task_table, task_id FROM ty_progress"))
    assert [tuple(row) for row in left] == [("default_tasks", stays)]
    assert leftovers.remove_leftovers(past.db) == 0


def test_a_slow_transaction_makes_the_next_one_smaller() -> None:
    assert retention._next_chunk(800, 0.5) == 400
    assert retention._next_chunk(1, 9.0) == 1
    assert retention._next_chunk(2, 0.01) == 3  # as far as the most, which is 3 here
    assert retention._next_chunk(2, 0.1) == 2
