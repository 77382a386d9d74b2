"""Claim: which rows are taken, in which order, by whom, and that nobody takes a row twice."""

from __future__ import annotations

import random
from functools import partial

import pytest

from conformance.spine import TABLE, Spine, together
from taskyard import servers
from taskyard.core.lifecycle import Kind
from taskyard.db.rows import ClaimedRow


def test_a_claim_stamps_the_row_and_hands_over_what_a_runner_needs(spine: Spine) -> None:
    task = spine.put(
        task_params='{"n": 1}',
        max_retries=2,
        timeout=1.5,
        retry_interval=0.5,
        tenant_id="acme",
        origin="manual",
        context="{}",
        excl_key="k",
    )
    ask = spine.ask(1)
    [row] = spine.claim(1)
    assert row.run_id == ask.first_run_id + 1
    assert row._replace(waited=0.0) == ClaimedRow(
        id=task,
        fence=1,
        run_id=row.run_id,
        task_type="work",
        task_params='{"n": 1}',
        params_bytes=8,
        retry_count=0,
        max_retries=2,
        crashes=0,
        retry_interval=0.5,
        timeout=1.5,
        tenant_id="acme",
        origin="manual",
        context="{}",
        excl_key="k",
        waited=0.0,
    )
    stored = spine.row(task)
    stamped = {
        "status": 1,
        "fence": 1,
        "owner": "me",
        "server_id": "server-me",
        "queue": "default",
        "run_id": row.run_id,
        "end_time": None,
    }
    assert {name: stored[name] for name in stamped} == stamped
    assert stored["start_time"] is not None
    now = float(spine.value(f"SELECT {spine.db.dialect.epoch(spine.db.dialect.utc_now)}"))
    assert now - 30 < stored["claimed_at"] / 1e6 < now + 0.002  # SQLite says milliseconds


def test_each_claim_of_a_task_raises_its_fence(spine: Spine) -> None:
    task = spine.put(max_retries=5)
    for fence in (1, 2, 3):
        row = spine.take(task)
        assert row.fence == fence == spine.row(task)["fence"]
        spine.finish(row, Kind.FAILED, error="again", delay=0.0)


# --- order ---------------------------------------------------------------------------------------


def test_rows_are_taken_by_priority_then_time_then_id(spine: Spine) -> None:
    late = spine.put(at=2_000.0)
    early = spine.put(at=1_000.0)
    low = spine.put(priority=-5, at=500.0)
    high = spine.put(priority=5, at=3_000.0)
    twin = spine.put(at=1_000.0)
    order = [high, early, twin, late, low]
    for expected in order[:2]:
        assert [row.id for row in spine.claim(1)] == [expected]
    assert [row.id for row in spine.claim(10)] == order[2:]


def test_keyed_and_plain_rows_share_one_order(spine: Spine) -> None:
    plain = spine.put(at=2_000.0)
    keyed = spine.put(at=1_000.0, excl_key="a")
    urgent = spine.put(priority=1, at=3_000.0)
    urgent_keyed = spine.put(priority=1, at=2_500.0, excl_key="b")
    last = spine.put(priority=-1, excl_key="c", at=10.0)
    assert [row.id for row in spine.claim(3)] == [urgent_keyed, urgent, keyed]
    assert [row.id for row in spine.claim(10)] == [plain, last]


def test_a_claim_takes_no_more_than_it_was_asked_for(spine: Spine) -> None:
    ids = [spine.put(priority=n % 3) for n in range(9)]
    taken = [spine.taken(4), spine.taken(4), spine.taken(4)]
    assert [len(t.rows) for t in taken] == [4, 4, 1]
    assert [t.full for t in taken] == [True, True, False]
    assert sorted(row.id for t in taken for row in t.rows) == ids


def test_run_ids_of_a_claim_are_those_reserved_and_all_different(spine: Spine) -> None:
    for n in range(12):
        spine.put(priority=n % 3, excl_key=f"k{n}" if n % 2 else None)
    ask = spine.ask(12)
    rows = spine.claim(12)
    run_ids = [row.run_id for row in rows]
    assert sorted(run_ids) == list(range(ask.first_run_id + 12, ask.first_run_id + 24))
    assert {row["id"]: row["run_id"] for row in spine.rows(f"SELECT id, run_id FROM {TABLE}")} == {
        row.id: row.run_id for row in rows
    }


def test_many_levels_have_run_ids_of_their_own(spine: Spine) -> None:
    for priority in (3, 2, 1):
        spine.put_many(2, priority=priority)
    rows = spine.claim(6)
    assert [row.run_id for row in rows] == list(range(rows[0].run_id, rows[0].run_id + 6))


# --- what is not taken ---------------------------------------------------------------------------


def test_what_is_not_due_held_or_not_pending_is_not_taken(spine: Spine) -> None:
    spine.insert(schedule_time="2999-01-01 00:00:00")
    for number in (1, 2, 3, 4):
        spine.change(spine.put(), f"status = {number}")
    spine.change(spine.put(), "hold = 1")
    spine.change(spine.put(excl_key="k"), "hold = 1")
    spine.change(spine.put(), "owner = 'somebody'")  # SQL wrote 1 -> 0 while it was running
    spine.put("other")
    wanted = spine.put()
    assert [row.id for row in spine.claim()] == [wanted]
    assert spine.claim() == []


def test_future_rows_of_higher_priority_hide_nothing(spine: Spine) -> None:
    for priority in (100, 50, 10):
        spine.put(priority=priority, delay=3600)
    wanted = spine.put(priority=-3)
    spine.put(priority=-100, delay=3600)
    spine.take(wanted)


def test_a_server_without_handlers_takes_nothing(spine: Spine) -> None:
    spine.put()
    assert spine.claim(known=frozenset()) == []
    assert spine.claim(known=frozenset({"other"})) == []


def test_task_types_are_told_apart_by_case(spine: Spine) -> None:
    task = spine.put("Work")
    assert spine.claim(known=frozenset({"work", "WORK"})) == []
    spine.take(task, known=frozenset({"Work"}))


def test_a_session_that_is_not_live_takes_nothing(spine: Spine) -> None:
    spine.put()
    spine.put(excl_key="k")
    spine.session("draining")
    servers.start_draining(spine.db, "draining")
    spine.session("dead")
    spine.kill("dead")
    for session in ("draining", "dead", "never registered"):
        assert spine.claim(session=session) == []
    assert set(spine.column("owner")) == {None}
    assert len(spine.claim()) == 2


def test_parameters_above_the_limit_stay_in_the_database(spine: Spine) -> None:
    """The dispatcher fails that Task; no Server reads a gigabyte that somebody has INSERTed."""
    big = spine.insert(task_params='"' + "ü" * 524_288 + '"')
    fits = spine.insert(task_params='"' + "x" * 1_048_574 + '"')
    rows = {row.id: row for row in spine.claim()}
    assert (rows[big].task_params, rows[big].params_bytes) == (None, 1_048_578)
    assert (len(rows[fits].task_params or ""), rows[fits].params_bytes) == (1_048_576, 1_048_576)


def test_numbers_that_strangers_left_null_count_as_nothing(spine: Spine) -> None:
    from harness.sql import Database as Stranger
    from harness.sql import create_task_table

    stranger = Stranger(spine.url)
    create_task_table(stranger, "jobs")
    stranger.run(
        "INSERT INTO jobs (task_type, schedule_time, retry_count, max_retries, created_at)"
        f" VALUES ('work', {stranger.now}, NULL, NULL, NULL)"
    )
    stranger.close()
    spine.queue("jobs", "jobs")
    [row] = spine.claim(table="jobs", queue="jobs")
    assert (row.retry_count, row.max_retries) == (0, 0)
    assert 0 <= row.waited < 30


# --- many at once --------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "mixed with keys"])
def test_two_claimers_never_get_the_same_row(spine: Spine, keyed: bool) -> None:
    spine.put_many(60, priority=1, excl_key="key-{n}" if keyed else None)
    spine.put_many(60)
    names = [spine.session(f"s{n}") for n in range(3)]

    def drain(session: str) -> list[ClaimedRow]:
        rows: list[ClaimedRow] = []
        while taken := spine.taken(7, session=session).rows:
            rows += taken
        return rows

    lots = together(*[partial(drain, name) for name in names])
    everything = [row.id for rows in lots for row in rows]
    # A claimer passes over what another has locked and may end early: the rest is still there.
    everything += [row.id for row in spine.claim(120)]
    assert sorted(everything) == spine.column("id")
    assert set(spine.column("fence")) == {1}
    assert len(set(spine.column("run_id"))) == 120


def test_claiming_and_settling_at_once_completes_everything_once(spine: Spine) -> None:
    from conformance.spine import ended

    count = 150
    for key in (None, "a", "b", "c", "d"):
        spine.put_many(count // 5, excl_key=key)
    names = [spine.session(f"s{n}") for n in range(3)]

    def work(session: str) -> None:
        dice = random.Random(session)
        while spine.value(f"SELECT COUNT(*) FROM {TABLE} WHERE status < 2"):
            rows = spine.claim(6, session=session)
            endings = [
                ended(row, Kind.FAILED if dice.random() < 0.1 else Kind.COMPLETED, delay=0.0)
                for row in rows
            ]
            if endings:
                assert spine.settle(endings, session).superseded == []

    together(*[partial(work, name) for name in names])
    assert set(spine.column("owner")) == {None}
    runs = spine.value("SELECT COUNT(*) FROM ty_runs")
    assert sum(spine.column("fence")) == runs >= count
    done = spine.value("SELECT COUNT(*) FROM ty_runs WHERE status = 'completed'")
    assert done == spine.column("status").count(2)


@pytest.mark.parametrize("lane", ["postgres", "mariadb"], indirect=True)
def test_a_lock_that_a_stranger_holds_is_passed_over(spine: Spine) -> None:
    locked, free = spine.put(), spine.put()
    with spine.db.transaction() as tx:
        tx.value(f"SELECT id FROM {TABLE} WHERE id = {locked} FOR UPDATE")
        spine.take(free)
    spine.take(locked)
