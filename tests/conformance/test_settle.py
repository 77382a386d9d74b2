"""Settle: the end of an attempt, written once, under the fence, with its Run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from conformance.spine import TABLE, Spine, ended, together
from harness.sql import Database as Stranger
from harness.sql import create_task_table
from taskyard.core.errors import DatabaseUnreachable, OutcomeUnknown
from taskyard.core.lifecycle import Kind
from taskyard.db.database import Tx
from taskyard.db.rows import ClaimedRow
from taskyard.tasks import claim, settle

VERDICTS = [
    # what it came to, the Task's state, its Run's status, retry_count, crashes, due again in
    (Kind.COMPLETED, 2, "completed", 0, 0, None),
    (Kind.FAILED, 0, "failed", 1, 0, 30.0),
    (Kind.REJECTED, 3, "failed", 0, 0, None),
    (Kind.TIMEOUT, 0, "timeout", 1, 0, 30.0),
    (Kind.CANCELLED, 4, "cancelled", 0, 0, None),
    (Kind.RETRY, 0, "failed", 1, 0, 30.0),
    (Kind.SNOOZE, 0, "interrupted", 0, 0, 30.0),
    (Kind.CRASHED, 0, "failed", 1, 0, 30.0),
    (Kind.LOST, 0, "lost", 0, 1, None),
    (Kind.SUSPECTED, 0, "lost", 0, 1, None),
    (Kind.INTERRUPTED, 0, "interrupted", 0, 0, None),
]


def test_every_verdict_is_written_to_the_task_and_its_run(spine: Spine) -> None:
    rows = {}
    for kind, *_ in VERDICTS:
        task = spine.put(kind.value, max_retries=1, task_params=f'{{"kind": "{kind}"}}')
        rows[kind] = spine.take(task, known=frozenset({kind.value}))
    endings = [
        ended(
            rows[kind],
            kind,
            output='{"done": 1}' if kind is Kind.COMPLETED else None,
            error=None if kind is Kind.COMPLETED else f"because {kind}",
            delay=delay,
        )
        for kind, *_, delay in VERDICTS
    ]
    assert spine.settle(endings) == settle.Settled(written=len(endings), superseded=[])

    for kind, status, run_status, retry_count, crashes, delay in VERDICTS:
        row = rows[kind]
        stored = spine.row(row.id)
        error = None if kind is Kind.COMPLETED else f"because {kind}"
        wanted = {
            "status": status,
            "owner": None,
            "retry_count": retry_count,
            "crashes": crashes,
            "error_msg": None if status == 2 else error,
            "fence": 1,
            "suspect": int(kind is Kind.SUSPECTED),
        }
        assert {name: stored[name] for name in wanted} == wanted, kind
        assert (stored["end_time"] is None) == (status == 0), kind
        due = float(
            spine.value(
                f"SELECT {spine.db.dialect.age('schedule_time')} FROM {TABLE} WHERE id = {row.id}"
            )
        )
        assert (-30 <= due < -20) if delay else (0 <= due < 30), kind
        [run] = spine.runs(row.id)
        written = {
            "id": row.run_id,
            "task_table": TABLE,
            "task_id": row.id,
            "fence": 1,
            "attempt": 1,
            "task_type": kind.value,
            "queue": "default",
            "status": run_status,
            "origin": "enqueued",
            "tenant_id": "",
            "server_id": "server-me",
            "session": "me",
            "pid": 77,
            "payload": f'{{"kind": "{kind}"}}',
            "output": '{"done": 1}' if kind is Kind.COMPLETED else None,
            "error": error,
            "memory_usage": 4096,
            "cpu_time": 0.125,
            "execution_time": 0.25,
            "claimed_at": stored["claimed_at"],
        }
        assert {name: run[name] for name in written} == written, kind


def test_attempts_are_counted_until_none_is_left(spine: Spine) -> None:
    task = spine.put(max_retries=2)
    for attempt in (1, 2, 3):
        spine.finish(spine.take(task), Kind.FAILED, error=f"no {attempt}", delay=0.0)
    row = spine.row(task)
    assert (row["status"], row["retry_count"], row["error_msg"]) == (3, 2, "no 3")
    assert [run["attempt"] for run in spine.runs(task)] == [1, 2, 3]
    assert [run["error"] for run in spine.runs(task)] == ["no 1", "no 2", "no 3"]


def test_an_attempt_that_never_started_has_a_run_without_times(spine: Spine) -> None:
    task = spine.put()
    row = spine.take(task)
    spine.finish(row, Kind.INTERRUPTED, age=None, duration=None, error="handed back", wait=None)
    [run] = spine.runs(task)
    assert (run["started_at"], run["execution_time"], run["wait_time"]) == (None, None, None)
    assert run["completed_at"] is not None


def test_a_masked_payload_stands_in_for_the_parameters(spine: Spine) -> None:
    task = spine.put(task_params='{"password": "secret"}')
    spine.finish(spine.take(task), payload='{"password": "***"}')
    assert spine.runs(task)[0]["payload"] == '{"password": "***"}'
    assert spine.row(task)["task_params"] == '{"password": "secret"}'


def test_the_tenant_and_origin_of_a_task_are_those_of_its_run(spine: Spine) -> None:
    task = spine.put(tenant_id="acme", origin="scheduled")
    spine.finish(spine.take(task))
    [run] = spine.runs(task)
    assert (run["tenant_id"], run["origin"]) == ("acme", "scheduled")


# --- the fence -----------------------------------------------------------------------------------


def test_under_a_wrong_fence_owner_or_status_nothing_is_written(spine: Spine) -> None:
    spine.session("other")
    for wrong in ("fence below", "fence above", "owner", "pending", "ended", "owner gone"):
        task = spine.put()
        row = spine.take(task)
        session, ending = "me", ended(row, output='"stale"')
        if wrong == "fence below":
            spine.change(task, "fence = fence + 1")
        elif wrong == "fence above":
            ending = ending._replace(fence=row.fence + 1)
        elif wrong == "owner":
            session = "other"
        elif wrong == "pending":
            spine.change(task, "status = 0, owner = NULL")
        elif wrong == "ended":
            spine.change(task, "status = 4, owner = NULL")
        elif wrong == "owner gone":
            spine.change(task, "owner = NULL")
        before = spine.row(task)
        result = spine.settle(ending, session)
        assert (result.written, result.superseded) == (0, [task]), wrong
        assert spine.row(task) == before, wrong
        assert spine.statuses(task) == [], wrong
        spine.change(task, "status = 4, owner = NULL")


def test_a_stale_attempt_cannot_touch_the_one_that_followed(spine: Spine) -> None:
    task = spine.put()
    stale = spine.take(task)
    spine.change(task, "status = 0, owner = NULL")
    spine.session("heir")
    fresh = spine.take(task, session="heir")
    assert spine.settle(ended(stale)).superseded == [task]
    assert spine.row(task)["owner"] == "heir"
    spine.finish_as("heir", fresh)
    assert [(run["fence"], run["status"]) for run in spine.runs(task)] == [(2, "completed")]


def test_one_stale_ending_does_not_hold_back_the_batch(spine: Spine) -> None:
    spine.put_many(5)
    rows = spine.claim(5)
    spine.change(rows[1].id, "fence = fence + 1")
    spine.delete(rows[3].id)
    result = spine.settle([ended(row) for row in rows])
    assert (result.written, sorted(result.superseded)) == (3, [rows[1].id, rows[3].id])
    assert spine.column("status") == [2, 1, 2, 2]


def test_settling_twice_writes_once(spine: Spine) -> None:
    task = spine.put()
    ending = ended(spine.take(task), output='"once"')
    for _ in range(3):
        assert spine.settle(ending) == settle.Settled(written=1, superseded=[])
    assert spine.statuses(task) == ["completed"]


def test_the_same_end_from_two_threads_is_written_once(spine: Spine) -> None:
    spine.put_many(20)
    endings = [ended(row) for row in spine.claim(20)]
    results = together(*[partial(spine.settle, endings)] * 3)
    assert [result.superseded for result in results] == [[], [], []]
    assert spine.value("SELECT COUNT(*) FROM ty_runs") == 20


def test_an_ending_that_was_overtaken_by_another_is_not_taken_for_written(spine: Spine) -> None:
    task = spine.put()
    row = spine.take(task)
    spine.finish(row, Kind.REJECTED, error="first")
    assert spine.settle(ended(row)).superseded == [task]
    assert spine.statuses(task) == ["failed"]


def test_an_empty_batch_is_no_mistake(spine: Spine) -> None:
    assert spine.settle([]) == settle.Settled(written=0, superseded=[])


# --- a lost answer -------------------------------------------------------------------------------


class LostAnswer(Exception):
    """What a driver raises when the connection breaks after COMMIT was sent."""


def lose_an_answer(spine: Spine, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The next `times` writes are committed, and their answers never come."""
    left = [times]

    def cut(scope: Any) -> Any:
        @contextmanager
        def cutting(**options: Any) -> Iterator[Tx]:
            with scope(**options) as tx:
                yield tx
            if left[0]:
                left[0] -= 1
                raise LostAnswer

        return cutting

    scope = "autocommit" if spine.db.dialect.claims_alone else "transaction"
    monkeypatch.setattr(spine.db, scope, cut(getattr(spine.db, scope)))
    monkeypatch.setattr(spine.db.dialect, "is_disconnect", lambda e: isinstance(e, LostAnswer))


def test_an_ambiguous_commit_is_read_back(spine: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = {kind: spine.put(max_retries=1) for kind in (Kind.COMPLETED, Kind.FAILED)}
    endings = [ended(row, k, delay=60.0) for k, row in zip(tasks, spine.claim(2), strict=True)]
    lose_an_answer(spine, monkeypatch, 1)
    assert spine.settle(endings) == settle.Settled(written=2, superseded=[])
    assert [spine.statuses(task) for task in tasks.values()] == [["completed"], ["failed"]]


def test_an_outage_after_the_commit_is_survived(
    spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, the database stays away, and meanwhile the next attempt runs."""
    task = spine.put(max_retries=1)
    ending = ended(spine.take(task), Kind.FAILED, error="x", delay=0.0)
    lose_an_answer(spine, monkeypatch, 1_000)
    with pytest.raises(DatabaseUnreachable):
        spine.settle(ending)
    monkeypatch.undo()
    assert spine.take(task).fence == 2
    assert spine.settle(ending) == settle.Settled(written=1, superseded=[])
    assert (spine.row(task)["fence"], spine.row(task)["status"]) == (2, 1)
    assert spine.statuses(task) == ["failed"]


def test_a_lost_answer_of_a_claim_is_no_second_claim(
    spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows the row was taken: reconcile finds it, and its run id is not used again."""
    task, ask = spine.put(), spine.ask(5)
    lose_an_answer(spine, monkeypatch, 1)
    with pytest.raises((OutcomeUnknown, LostAnswer)) as caught:
        claim.claim(spine.db, ask)
    assert spine.db.is_away(caught.value)
    monkeypatch.undo()
    assert spine.claim() == []
    assert spine.row(task)["status"] == 1


# --- rows that SQL has changed -------------------------------------------------------------------


def closed(spine: Spine, row: ClaimedRow) -> settle.Settled:
    """Settle as the dispatcher that holds the row does."""
    ending = ended(row, output='"late"')
    return settle.settle(spine.db, spine.place(), [ending], lambda task: row)


@pytest.mark.parametrize("status", [0, 4, 2, 3])
def test_a_running_row_that_sql_has_changed_is_closed_as_it_stands(
    spine: Spine, status: int
) -> None:
    task = spine.put(tenant_id="acme", origin="batch", task_params='"p"', excl_key="k")
    row = spine.take(task)
    claimed_at = spine.row(task)["claimed_at"]
    spine.change(task, f"status = {status}")
    assert closed(spine, row).superseded == [task]
    after = spine.row(task)
    assert (after["status"], after["owner"], after["fence"]) == (status, None, 1)
    [run] = spine.runs(task)
    written = {
        "id": row.run_id,
        "fence": 1,
        "attempt": 1,
        "status": "cancelled",
        "task_type": "work",
        "tenant_id": "acme",
        "origin": "batch",
        "payload": '"p"',
        "claimed_at": claimed_at,
    }
    assert {name: run[name] for name in written} == written
    assert ("cancelled" if status == 4 else "changed") in run["error"]
    again = spine.claim()
    assert [row.fence for row in again] == ([2] if status == 0 else [])


def test_a_deleted_running_row_leaves_a_cancelled_run(spine: Spine) -> None:
    task = spine.put(tenant_id="acme", task_params='"p"')
    row = spine.take(task)
    spine.delete(task)
    assert closed(spine, row).superseded == [task]
    [run] = spine.runs(task)
    written = {"id": row.run_id, "status": "cancelled", "tenant_id": "acme", "payload": '"p"'}
    assert {name: run[name] for name in written} == written
    assert "deleted" in run["error"]
    closed(spine, row)
    assert len(spine.runs(task)) == 1


def test_who_closes_a_deleted_row_second_is_told_so(spine: Spine) -> None:
    """A reconcile and a late settle at the same moment: the Run's key decides."""
    task = spine.put()
    row = spine.take(task)
    spine.delete(task)
    ends = [settle.close_edited(spine.db, spine.place(), ended(row), row) for _ in range(2)]
    assert ends == [True, False]
    assert len(spine.runs(task)) == 1


def test_other_columns_that_sql_changes_harm_no_end(spine: Spine) -> None:
    task = spine.put(max_retries=0)
    row = spine.take(task)
    spine.change(task, "max_retries = 9, priority = 5, error_msg = 'note', task_params = '2'")
    assert closed(spine, row).superseded == []
    after = spine.row(task)
    assert (after["status"], after["max_retries"], after["priority"]) == (2, 9, 5)


# --- texts that no column takes ------------------------------------------------------------------

HOSTILE = "NUL \0, a lone surrogate \ud800, 🚀, \\ ' \" {} %s :id $1 \x01 \x1f \x7f \u2028 \ufffe"


def test_no_text_blocks_a_settle(spine: Spine) -> None:
    """PostgreSQL refuses NUL, no driver encodes a lone surrogate."""
    for kind in (Kind.COMPLETED, Kind.REJECTED):
        tasks = spine.put_many(3)
        rows = spine.claim(3)
        endings = [
            ended(row, kind, error="fine" if kind is Kind.REJECTED else None) for row in rows
        ]
        endings[1] = ended(
            rows[1], kind, output=f'"{HOSTILE}"', error=HOSTILE, payload=f'"{HOSTILE}"'
        )
        assert spine.settle(endings).written == 3
        assert [spine.row(task)["status"] for task in tasks] == [
            2 if kind is Kind.COMPLETED else 3
        ] * 3
        [run] = spine.runs(tasks[1])
        kept = "🚀, \\ ' \" {} %s :id $1 \x01 \x1f \x7f \u2028 \ufffe"
        for text in (run["output"], run["error"], run["payload"]):
            assert kept in text and "NUL" in text and "\0" not in text
        if kind is Kind.REJECTED:
            assert kept in spine.row(tasks[1])["error_msg"]


def test_no_text_blocks_the_closing_of_an_edited_row(spine: Spine) -> None:
    task = spine.put()
    row = spine.take(task)
    spine.change(task, "status = 4")
    ending = ended(row, output=f'"{HOSTILE}"', error=HOSTILE)
    assert spine.settle(ending).superseded == [task]
    assert spine.statuses(task) == ["cancelled"]


def test_large_texts_of_many_endings_fit_into_the_wire(spine: Spine) -> None:
    """120 outputs of 256 KiB: more than a packet of MySQL may have (16 MiB)."""
    spine.put_many(120)
    output = '"' + "x" * (256 * 1024 - 2) + '"'
    endings = [
        ended(row, Kind.REJECTED if n % 2 else Kind.COMPLETED, output=output, error="e" * 9_000)
        for n, row in enumerate(spine.claim(120))
    ]
    assert spine.settle(endings).written == 120
    assert spine.value("SELECT COUNT(*) FROM ty_runs WHERE LENGTH(output) = 262144") == 120


@pytest.mark.parametrize("lane", ["postgres", "mariadb"], indirect=True)
@pytest.mark.parametrize("size", [50, 255])
def test_a_column_too_small_for_the_error_gets_a_shorter_one(spine: Spine, size: int) -> None:
    """An adopted table with a small error_msg: the Run, which is ours, keeps everything."""
    stranger = Stranger(spine.url)
    create_task_table(stranger, "jobs")
    verb = "MODIFY" if stranger.family == "mysql" else "ALTER"
    kind = f"varchar({size})" + (" CHARACTER SET latin1" if stranger.family == "mysql" else "")
    type_word = "" if stranger.family == "mysql" else "TYPE"
    stranger.run(f"ALTER TABLE jobs {verb} error_msg {type_word} {kind}")
    stranger.close()
    spine.queue("jobs", "jobs")
    spine.put_many(3, queue="jobs", max_retries=0)
    rows = spine.claim(3, table="jobs", queue="jobs")
    error = (
        "Traceback (most recent call last):\n" + "  File …\n" * 40 + "ValueError: 🚀 " + "x" * 40
    )
    endings = [ended(row, Kind.FAILED, error="short") for row in rows]
    endings[1] = ended(rows[1], Kind.FAILED, error=error, output='"o"')
    assert spine.settle(endings, table="jobs", queue="jobs").written == 3
    assert spine.column("status", "jobs") == [3, 3, 3]
    short, long, _ = spine.column("error_msg", "jobs")
    assert short == "short"
    assert long.startswith("ValueError: ?") and len(long) <= size
    [run] = spine.runs(rows[1].id, "jobs")
    assert (run["error"], run["output"]) == (error, '"o"')
