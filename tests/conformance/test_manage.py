"""Manage: what people do to a Task: find it, wait for it, cancel it, run it again."""

from __future__ import annotations

import threading
import time

import pytest

from conformance.spine import Spine, ended
from taskyard.access.caller import LOCAL
from taskyard.core.errors import (
    NotNow,
    QueueUnknown,
    TaskFailed,
    TaskUnknown,
    WaitTimedOut,
)
from taskyard.core.lifecycle import Kind, TaskStatus
from taskyard.tasks import manage


def test_a_task_is_found_by_its_name(spine: Spine) -> None:
    spine.queue("a queue", "spaced_tasks")
    ref = spine.ref(queue="a queue")
    assert manage.parse_ref(spine.db, f"a queue/{ref.id}") == ref
    for text in ("", "7", "/7", "default/", "default/x", "default/-1", "default/1.5"):
        with pytest.raises(TaskUnknown):
            manage.parse_ref(spine.db, text)
    with pytest.raises(QueueUnknown):
        manage.parse_ref(spine.db, "nowhere/7")
    with pytest.raises(TaskUnknown):
        manage.state(spine.db, manage.parse_ref(spine.db, "default/999"))


def test_a_pending_task_is_cancelled_at_once(spine: Spine) -> None:
    ref = spine.ref(unique_key="k")
    state = manage.cancel(spine.db, LOCAL, ref, "not wanted")
    assert (state.status, state.error, state.ended) == (TaskStatus.CANCELLED, "not wanted", True)
    assert spine.row(ref.id)["end_time"] is not None
    assert spine.claim() == [] and spine.runs() == []
    spine.put(unique_key="k")


def test_a_running_task_is_cancelled_and_stays_its_servers_until_it_stopped(
    spine: Spine,
) -> None:
    ref = spine.ref()
    row = spine.take(ref.id)
    state = manage.cancel(spine.db, LOCAL, ref)
    assert (state.status, state.owner, state.ended) == (TaskStatus.CANCELLED, "me", False)
    assert spine.settle(ended(row, Kind.CANCELLED, error="stopped")).superseded == [ref.id]
    assert manage.state(spine.db, ref).ended
    assert spine.statuses(ref.id) == ["cancelled"]


def test_a_result_that_comes_after_a_cancel_does_not_count(spine: Spine) -> None:
    ref = spine.ref()
    row = spine.take(ref.id)
    manage.cancel(spine.db, LOCAL, ref)
    spine.settle(ended(row, output='"late"'))
    assert manage.state(spine.db, ref).status is TaskStatus.CANCELLED
    assert spine.statuses(ref.id) == ["cancelled"]


def test_what_has_ended_cannot_be_cancelled(spine: Spine) -> None:
    ref = spine.ref()
    spine.finish(spine.take(ref.id))
    with pytest.raises(NotNow, match="completed"):
        manage.cancel(spine.db, LOCAL, ref)
    assert spine.row(ref.id)["status"] == 2


def test_a_task_that_has_ended_runs_again_with_all_its_attempts(spine: Spine) -> None:
    for end in (Kind.COMPLETED, Kind.REJECTED, Kind.CANCELLED):
        ref = spine.ref(max_retries=1)
        spine.finish(spine.take(ref.id), Kind.FAILED, error="x", delay=0.0)
        spine.finish(spine.take(ref.id), end, error="y")
        state = manage.retry(spine.db, LOCAL, ref)
        assert (state.status, state.retry_count, state.error) == (TaskStatus.PENDING, 0, None)
        row = spine.take(ref.id)
        assert (row.fence, row.retry_count, row.origin) == (3, 0, "manual")
        spine.finish(row)
        assert len(spine.statuses(ref.id)) == 3


def test_a_parked_task_runs_again_with_its_crashes_forgotten(spine: Spine) -> None:
    ref = spine.ref()
    spine.finish(spine.take(ref.id), Kind.SUSPECTED, error="died", max_crashes=1)
    assert spine.row(ref.id)["status"] == 3
    manage.retry(spine.db, LOCAL, ref)
    row = spine.take(ref.id)
    assert (row.crashes, row.suspect) == (0, 0)


def test_what_has_not_ended_cannot_be_run_again(spine: Spine) -> None:
    ref = spine.ref()
    with pytest.raises(NotNow, match="pending"):
        manage.retry(spine.db, LOCAL, ref)
    spine.take(ref.id)
    with pytest.raises(NotNow, match="running"):
        manage.retry(spine.db, LOCAL, ref)
    manage.cancel(spine.db, LOCAL, ref)
    with pytest.raises(NotNow):  # Its handler has not stopped yet.
        manage.retry(spine.db, LOCAL, ref)


def test_waiting_gives_the_output_or_says_how_it_ended(spine: Spine) -> None:
    done, failed = spine.ref(), spine.ref()
    spine.finish(spine.take(done.id, limit=1), output='{"n": 1}')
    spine.finish(spine.take(failed.id, limit=1), Kind.REJECTED, error="bad parameters")
    assert manage.wait(spine.db, done, 5) == {"n": 1}
    with pytest.raises(TaskFailed, match="bad parameters"):
        manage.wait(spine.db, failed, 5)


def test_waiting_ends_when_the_task_does(spine: Spine) -> None:
    ref = spine.ref()
    row = spine.take(ref.id)
    timer = threading.Timer(0.2, lambda: spine.finish(row, output="7"))
    timer.start()
    began = time.monotonic()
    assert manage.wait(spine.db, ref, 30) == 7
    assert time.monotonic() - began < 10
    timer.join()


def test_waiting_has_an_end(spine: Spine) -> None:
    with pytest.raises(WaitTimedOut):
        manage.wait(spine.db, spine.ref(), 0.1)


def test_the_output_is_that_of_the_attempt_that_completed(spine: Spine) -> None:
    ref = spine.ref(max_retries=1)
    spine.finish(spine.take(ref.id), Kind.FAILED, output='"first"', error="x", delay=0.0)
    spine.finish(spine.take(ref.id), output='"second"')
    assert manage.wait(spine.db, ref, 5) == "second"
