"""Rescue: what dead Sessions held goes back to the line, once, and nothing of the living does."""

from __future__ import annotations

from functools import partial

import pytest

from conformance.spine import TABLE, Spine, ended, together
from harness.waiting import wait_until
from taskyard import servers
from taskyard.access.caller import LOCAL
from taskyard.core.lifecycle import Kind
from taskyard.tasks import rescue

ONCE = {"name": "once", "delivery": "at_most_once"}


def test_what_a_dead_session_held_goes_back_and_its_run_is_lost(spine: Spine) -> None:
    task = spine.put(max_retries=0, tenant_id="acme", task_params='"p"')
    spine.session("gone")
    row = spine.take(task, session="gone")
    spine.kill("gone")
    assert rescue.rescue(spine.db, TABLE, max_crashes=5) == 1
    after = spine.row(task)
    wanted = {"status": 0, "owner": None, "retry_count": 0, "crashes": 1, "fence": 1}
    assert {name: after[name] for name in wanted} == wanted
    assert "server-gone" in after["error_msg"]
    [run] = spine.runs(task)
    written = {
        "id": row.run_id,
        "status": "lost",
        "attempt": 1,
        "session": "gone",
        "server_id": "server-gone",
        "queue": "default",
        "tenant_id": "acme",
        "payload": '"p"',
    }
    assert {name: run[name] for name in written} == written
    assert "server-gone" in run["error"]
    assert spine.take(task).fence == 2


def test_the_lost_run_spans_from_its_claim_to_its_rescue(spine: Spine) -> None:
    task = spine.put()
    spine.session("gone")
    spine.take(task, session="gone")
    spine.change(task, f"start_time = {spine.due_in(-3)}")
    spine.kill("gone")
    rescue.rescue(spine.db, TABLE, max_crashes=5)
    epoch = spine.db.dialect.epoch
    started, completed, now = (
        float(value)
        for value in spine.db.read(
            lambda tx: tx.all(
                f"SELECT {epoch('started_at')}, {epoch('completed_at')},"
                f" {epoch(tx.dialect.utc_now)} FROM ty_runs"
            )
        )[0]
    )
    assert 2 < completed - started < 30
    assert now - 30 < completed <= now + 0.01


def test_what_living_and_draining_sessions_hold_is_left_alone(spine: Spine) -> None:
    spine.session("draining")
    spine.put_many(2)
    spine.claim(1)
    spine.claim(1, session="draining")
    servers.start_draining(spine.db, "draining")
    assert rescue.rescue(spine.db, TABLE, max_crashes=5) == 0
    assert spine.column("owner") == ["me", "draining"]


def test_an_owner_that_nobody_has_heard_of_is_dead(spine: Spine) -> None:
    task = spine.put()
    spine.take(task)
    spine.change(task, "owner = 'unheard of'")
    assert rescue.rescue(spine.db, TABLE, max_crashes=5) == 1
    assert (spine.row(task)["status"], spine.row(task)["crashes"]) == (0, 1)
    assert spine.statuses(task) == ["lost"]


def test_lost_attempts_are_counted_apart_and_parked_at_the_limit(spine: Spine) -> None:
    task = spine.put(max_retries=0)
    for crash in (1, 2, 3):
        session = spine.session(f"s{crash}")
        spine.take(task, session=session)
        spine.kill(session)
        assert rescue.rescue(spine.db, TABLE, max_crashes=3) == 1
        row = spine.row(task)
        assert (row["crashes"], row["retry_count"]) == (crash, 0)
        assert row["status"] == (3 if crash == 3 else 0)
    assert "parked after 3 lost attempts" in spine.row(task)["error_msg"]
    assert spine.row(task)["end_time"] is not None
    assert spine.statuses(task) == ["lost"] * 3
    assert [run["attempt"] for run in spine.runs(task)] == [1, 1, 1]


def test_failures_and_losses_do_not_add_up(spine: Spine) -> None:
    task = spine.put(max_retries=1)
    spine.session("gone")
    spine.take(task, session="gone")
    spine.kill("gone")
    rescue.rescue(spine.db, TABLE, max_crashes=2)
    spine.finish(spine.take(task), Kind.FAILED, error="x", delay=0.0)
    row = spine.row(task)
    assert (row["status"], row["retry_count"], row["crashes"]) == (0, 1, 1)


def test_a_task_that_must_not_run_twice_ends_failed(spine: Spine) -> None:
    known = frozenset({"once", "work"})
    tasks = [spine.put("once", max_retries=9), spine.put("work")]
    spine.session("gone", specs=[ONCE, {"name": "work"}])
    assert len(spine.claim(session="gone", known=known)) == 2
    spine.kill("gone")
    assert rescue.rescue(spine.db, TABLE, max_crashes=5) == 2
    assert [spine.row(task)["status"] for task in tasks] == [3, 0]
    assert [spine.statuses(task) for task in tasks] == [["lost"], ["lost"]]


def test_a_task_that_must_not_run_twice_ends_failed_though_its_session_is_forgotten(
    spine: Spine,
) -> None:
    """Its row in ty_servers is gone; another Server's handlers say what the type promises."""
    task = spine.put("once", max_retries=9)
    spine.session("heir", specs=[ONCE])
    spine.take(task, known=frozenset({"once"}))
    spine.change(task, "owner = 'forgotten'")
    assert rescue.rescue(spine.db, TABLE, max_crashes=5) == 1
    assert spine.row(task)["status"] == 3


def test_rescue_goes_through_everything_page_by_page(spine: Spine) -> None:
    spine.queue("same", TABLE)
    spine.session("gone")
    spine.put_many(1_203)
    spine.put_many(100, queue="same")
    for queue in ("default", "same") * 3:
        spine.claim(400, session="gone", queue=queue)
    held = spine.column("owner").count("gone")
    assert held == 1_303
    spine.kill("gone")
    assert rescue.rescue(spine.db, TABLE, max_crashes=5) == held
    assert set(spine.column("owner")) == {None}
    assert spine.value("SELECT COUNT(*) FROM ty_runs WHERE status = 'lost'") == held
    queues = {row["queue"] for row in spine.rows("SELECT DISTINCT queue FROM ty_runs")}
    assert queues == {"default", "same"}


def test_many_rescuers_at_once_give_each_task_back_once(spine: Spine) -> None:
    spine.session("gone")
    spine.put_many(60)
    spine.claim(60, session="gone")
    spine.kill("gone")
    rescuers = [partial(rescue.rescue, spine.db, TABLE, max_crashes=5)] * 3
    assert sum(together(*rescuers)) >= 60
    assert set(spine.column("crashes")) == {1}
    assert spine.value("SELECT COUNT(*) FROM ty_runs") == 60


def test_the_late_result_of_a_rescued_attempt_is_rejected(spine: Spine) -> None:
    task = spine.put()
    spine.session("gone")
    row = spine.take(task, session="gone")
    spine.kill("gone")
    rescue.rescue(spine.db, TABLE, max_crashes=5)
    assert spine.settle(ended(row), "gone").superseded == [task]
    assert spine.row(task)["status"] == 0
    assert spine.statuses(task) == ["lost"]


def test_rows_of_a_dead_session_that_sql_has_changed_are_closed(spine: Spine) -> None:
    spine.session("gone")
    tasks = spine.put_many(4, tenant_id="acme", origin="batch")
    spine.claim(4, session="gone")
    spine.kill("gone")
    for task, status in zip(tasks, (0, 2, 4), strict=False):
        spine.change(task, f"status = {status}")
    assert rescue.rescue(spine.db, TABLE, max_crashes=5) == 4
    assert spine.column("status") == [0, 2, 4, 0]
    assert set(spine.column("owner")) == {None}
    assert [spine.statuses(task) for task in tasks] == [["cancelled"]] * 3 + [["lost"]]
    for run in spine.runs():
        told = (run["task_type"], run["tenant_id"], run["origin"], run["queue"])
        assert told == ("work", "acme", "batch", "default")


# --- what a Session owns without knowing ---------------------------------------------------------


def test_a_forgotten_claim_is_handed_back_at_no_cost(spine: Spine) -> None:
    task = spine.put(max_retries=0, timeout=1.0)
    spine.take(task)
    owned = rescue.owned(spine.db, TABLE, "me")
    assert {i: row[:2] for i, row in owned.items()} == {task: (1, 1)}
    assert rescue.release_forgotten(spine.db, spine.place(), owned) == 1
    row = spine.row(task)
    assert (row["status"], row["retry_count"], row["crashes"], row["owner"]) == (0, 0, 0, None)
    [run] = spine.runs(task)
    assert (run["status"], run["started_at"], run["queue"]) == ("interrupted", None, "default")
    assert rescue.owned(spine.db, TABLE, "me") == {}


def test_only_what_was_forgotten_is_handed_back(spine: Spine) -> None:
    """However much the Session holds besides; and not a row that was claimed anew meanwhile."""
    spine.put_many(1_100)
    rows = [row for _ in range(3) for row in spine.claim(400)]
    last, stale = rows[-1], rows[-2]
    forgotten = {
        last.id: rescue.Owned(last.fence, 1, last.run_id),
        stale.id: rescue.Owned(stale.fence - 1, 1, stale.run_id),
    }
    assert rescue.release_forgotten(spine.db, spine.place(), forgotten) == 1
    assert [n for n, owner in enumerate(spine.column("owner")) if owner is None] == [last.id - 1]


def test_a_forgotten_row_that_sql_has_changed_is_closed(spine: Spine) -> None:
    task = spine.put()
    spine.take(task)
    spine.change(task, "status = 4")
    owned = rescue.owned(spine.db, TABLE, "me")
    assert {i: row[:2] for i, row in owned.items()} == {task: (1, 4)}
    assert rescue.release_forgotten(spine.db, spine.place(), owned) == 1
    assert (spine.row(task)["status"], spine.row(task)["owner"]) == (4, None)
    assert spine.statuses(task) == ["cancelled"]


# --- who is dead ---------------------------------------------------------------------------------


def test_a_session_is_declared_dead_only_when_its_lease_has_ended(spine: Spine) -> None:
    spine.session("short", lease=0.3)
    assert not servers.certify_expired(spine.db, "short")
    assert not servers.certify_expired(spine.db, "me")
    wait_until(lambda: servers.certify_expired(spine.db, "short"), 5, "its lease ends", every=0.02)
    assert not servers.certify_expired(spine.db, "short")
    found = servers.find_session(spine.db, "short")
    assert found is not None and found.state == "dead" and not found.alive
    assert found.lease_left < 0


def test_a_beat_prolongs_the_lease_and_a_dead_session_never_beats_again(spine: Spine) -> None:
    spine.session("s", lease=0.5)
    with spine.db.autocommit() as tx:
        assert servers.beat(tx, "s", 60.0)
    row = servers.find_session(spine.db, "s")
    assert row is not None and 50 < row.lease_left < 60.1 and 0 <= row.beat_age < 10
    assert not servers.certify_expired(spine.db, "s")
    spine.kill("s")
    with spine.db.autocommit() as tx:
        assert not servers.beat(tx, "s", 60.0)
    found = servers.find_session(spine.db, "s")
    assert found is not None and found.state == "dead"


def test_a_draining_session_beats_on(spine: Spine) -> None:
    assert servers.drain(spine.db, LOCAL, "server-me") == 1
    with spine.db.autocommit() as tx:
        assert servers.beat(tx, "me", 60.0)
    found = servers.find_session(spine.db, "me")
    assert found is not None and found.state == "draining" and found.alive


@pytest.mark.parametrize("end", ["beat", "certify"])
def test_of_a_late_beat_and_a_certificate_one_wins(spine: Spine, end: str) -> None:
    """Whichever comes first: never is a Session dead that was told it lives."""
    spine.session("s", lease=-1.0 if end == "certify" else 0.5)

    def beat() -> bool:
        with spine.db.transaction() as tx:
            return servers.beat(tx, "s", 60.0)

    beaten, certified = together(beat, partial(servers.certify_expired, spine.db, "s"))
    row = servers.find_session(spine.db, "s")
    assert row is not None and row.alive == (not certified)
    assert beaten or certified
    with spine.db.autocommit() as tx:
        assert servers.beat(tx, "s", 60.0) == row.alive
