"""Fires: each due instant once, whoever looks; what the policies make of those that are late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from conformance.planned import NOON, Planned, at, moments, seconds
from conformance.spine import Spine, ended, together
from support import wait_for
from taskyard.access import tenants
from taskyard.access.caller import LOCAL
from taskyard.core.lifecycle import Kind
from taskyard.schedules import fire, manage, retention


@pytest.fixture
def planned(spine: Spine) -> Planned:
    return Planned(spine)


def test_a_fire_is_a_task_a_row_and_the_next_instant(planned: Planned) -> None:
    tick = planned.add(
        cron_expression="0 2 * * *",
        time_zone="Asia/Shanghai",
        task_params={"n": 1},
        retry_count=3,
        retry_interval="5m",
        timeout=60,
        monitor_timeout=1800,
    )
    planned.set_clock(tick)
    assert planned.look(at(0.25)) == fire.Fired(1, frozenset({"default_tasks"}), more=False)
    [task] = planned.tasks()
    assert (task["task_type"], task["task_params"], task["origin"]) == (
        "work",
        '{"n":1}',
        "scheduled",
    )
    assert (task["max_retries"], task["retry_interval"], task["timeout"]) == (3, 300.0, 60.0)
    assert (task["schedule_id"], task["execute_index"], task["monitor_timeout"]) == (tick, 1, 1800)
    assert task["fire_time"] == "2026-06-10T12:00:00+00:00"
    assert planned.fires(tick) == [NOON]
    [fired] = planned.spine.rows("SELECT * FROM ty_fires")
    assert (fired["task_table"], fired["task_id"]) == ("default_tasks", task["id"])
    assert fired["lateness"] == pytest.approx(0.25)
    row = planned.row(tick)
    assert seconds([row["next_fire_at"], row["last_fire_at"]]) == [6 * 3600, 0.0]  # 02:00 there
    assert (row["fired"], row["missed"], row["skipped"]) == (1, 0, 0)
    assert row["last_lateness"] == pytest.approx(0.25)
    assert planned.look(at(1)) == fire.Fired()


def test_what_is_not_due_does_not_fire(planned: Planned) -> None:
    tick = planned.add()
    planned.set_clock(tick)
    assert planned.fire(at(-0.001)) == 0
    assert planned.fire(at(0)) == 1
    assert planned.fire(at(0.999)) == 0


def test_the_databases_clock_decides(planned: Planned) -> None:
    later = planned.add("later", interval="1h")
    tick = planned.add(interval=0.1)
    left = fire.first_due(planned.db)
    assert left is not None and left < 0.2
    assert wait_for(lambda: planned.fire(), what="a fire by the database's clock")
    assert planned.fires(tick) and not planned.fires(later)
    manage.stop_schedule(planned.db, LOCAL, tick)
    left = fire.first_due(planned.db)
    assert left is not None and 3000 < left < 3601
    manage.stop_schedule(planned.db, LOCAL, later)
    assert fire.first_due(planned.db) is None


def test_many_servers_look_at_once_and_each_instant_fires_once(planned: Planned) -> None:
    ids = [planned.add(f"tick {n}", misfire="all") for n in range(10)]
    for schedule in ids:
        planned.set_clock(schedule)
    counts = together(*[partial(planned.fire, at(29)) for _ in range(4)])
    assert sum(counts) == 300
    for schedule in ids:
        assert seconds(planned.fires(schedule)) == list(range(30))
    made = sorted((task["schedule_id"], task["execute_index"]) for task in planned.tasks())
    assert made == [(schedule, n) for schedule in ids for n in range(1, 31)]


# --- misfires -------------------------------------------------------------------------------------

TENS = {"cron_expression": "*/10 * * * * *"}
NOONS = {"cron_expression": "0 12 * * *"}
THRICE = {"cron_expression": "0 4,12,20 * * *"}

MISFIRES: list[tuple[dict[str, Any], float, list[float], int]] = [
    ({"misfire": "skip"}, 0.5, [0], 0),
    ({"misfire": "one"}, 0.5, [0], 0),
    ({"misfire": "all"}, 0.5, [0], 0),
    ({"misfire": "skip", **TENS}, 25, [], 3),
    ({"misfire": "one", **TENS}, 25, [20], 2),
    ({"misfire": "all", **TENS}, 25, [0, 10, 20], 0),
    ({"misfire": "skip"}, 20.5, [20], 20),
    ({"misfire": "one"}, 20.5, [20], 20),
    ({"misfire": "skip", **NOONS}, 59, [0], 0),
    ({"misfire": "skip", **NOONS}, 61, [], 1),
    ({"misfire": "one", **NOONS}, 80_000, [0], 0),
    ({"misfire": "skip", "misfire_window": "10m", **NOONS}, 599, [0], 0),
    ({"misfire": "one", "misfire_window": "10m", **NOONS}, 601, [], 1),
    ({"misfire": "all", "misfire_window": 5}, 20, [15, 16, 17, 18, 19, 20], 15),
    ({"misfire": "all", **THRICE}, 90_000, [28_800, 57_600, 86_400], 1),
]


@pytest.mark.parametrize(("fields", "now", "fires", "missed"), MISFIRES)
def test_misfires(
    planned: Planned, fields: dict[str, Any], now: float, fires: list[float], missed: int
) -> None:
    tick = planned.add(**fields)
    planned.set_clock(tick)
    planned.fire(at(now))
    assert seconds(planned.fires(tick)) == fires
    row = planned.row(tick)
    assert row["missed"] == missed
    assert (row["last_missed_at"] == at(now)) == bool(missed)
    assert row["next_fire_at"] > at(now)


def test_all_looks_back_a_day_unless_told_otherwise(planned: Planned) -> None:
    tick = planned.add(misfire="all", cron_expression="0 * * * *")
    planned.set_clock(tick)
    planned.fire(at(100 * 3600))
    assert len(planned.fires(tick)) == 25
    assert planned.row(tick)["missed"] == 76
    wide = planned.add("wide", misfire="all", misfire_window="200h", cron_expression="0 * * * *")
    planned.set_clock(wide)
    planned.fire(at(100 * 3600))
    assert len(planned.fires(wide)) == 101


def test_an_outage_of_a_month_is_caught_up_in_a_moment(planned: Planned) -> None:
    tick = planned.add()
    planned.set_clock(tick)
    now = NOON + timedelta(days=30, milliseconds=300)
    assert planned.fire(now) == 1
    assert planned.fires(tick) == [NOON + timedelta(days=30)]
    assert planned.row(tick)["missed"] >= 10_000


# --- overlapping ----------------------------------------------------------------------------------


def test_overlap_allow_lets_them_run_side_by_side(planned: Planned) -> None:
    tick = planned.add(overlap="allow", misfire="all")
    planned.set_clock(tick)
    planned.fire(at(2))
    assert len(planned.spine.claim()) == 3


def test_overlap_skip_fires_when_the_last_one_has_ended(planned: Planned) -> None:
    tick = planned.add(overlap="skip", misfire="all", retry_count=1)
    planned.set_clock(tick)
    planned.fire(at(0))
    [row] = planned.spine.claim()
    planned.fire(at(2))
    assert (seconds(planned.fires(tick)), planned.row(tick)["skipped"]) == ([0], 2)
    planned.spine.finish(row, Kind.FAILED, error="no", delay=3600.0)
    planned.fire(at(3))
    assert planned.row(tick)["skipped"] == 3, "one that will be tried again is not over"
    planned.spine.change(row.id, "status = 4")
    planned.fire(at(4))
    assert seconds(planned.fires(tick)) == [0, 4]
    assert planned.row(tick)["missed"] == 0, "what was held back on purpose is not missed"


def test_overlap_skip_takes_the_first_of_several(planned: Planned) -> None:
    tick = planned.add(overlap="skip", misfire="all")
    planned.set_clock(tick)
    planned.fire(at(3))
    assert (seconds(planned.fires(tick)), planned.row(tick)["skipped"]) == ([0], 3)


def test_overlap_queue_runs_every_one_of_them_one_after_the_other(planned: Planned) -> None:
    tick = planned.add(overlap="queue", misfire="all")
    planned.set_clock(tick)
    planned.fire(at(2))
    order = []
    for _ in range(3):
        [row] = planned.spine.claim()
        assert planned.spine.claim() == []
        order.append(row.id)
        planned.spine.finish(row)
    assert order == [task["id"] for task in planned.tasks()]
    assert seconds(planned.fires(tick)) == [0, 1, 2]


def test_overlap_replace_cancels_the_one_that_runs(planned: Planned) -> None:
    tick = planned.add(overlap="replace")
    planned.set_clock(tick)
    planned.fire(at(0))
    [row] = planned.spine.claim()
    planned.fire(at(1))
    first, second = planned.tasks()
    assert (first["status"], first["error_msg"]) == (4, "replaced by the next fire of its schedule")
    assert first["owner"] == planned.spine.me, "only its server ends it"
    assert planned.spine.claim() == [], "the next one waits until the handler is stopped"
    planned.spine.settle(ended(row))
    [after] = planned.spine.claim()
    assert after.id == second["id"]
    planned.fire(at(2))
    planned.fire(at(3))
    assert [task["status"] for task in planned.tasks()] == [4, 4, 4, 0]
    assert seconds(planned.fires(tick)) == [0, 1, 2, 3]


# --- what keeps one from firing -------------------------------------------------------------------


def test_a_disabled_tenant_fires_nothing_and_catches_up_nothing(planned: Planned) -> None:
    tenants.create_tenant(planned.db, LOCAL, "acme")
    tick = planned.add(tenant_id="acme", misfire="all")
    planned.set_clock(tick)
    tenants.update_tenant(planned.db, LOCAL, "acme", status=0)
    planned.fire(at(3))
    assert planned.tasks() == []
    assert planned.row(tick)["skipped"] == 4
    tenants.update_tenant(planned.db, LOCAL, "acme", status=1)
    planned.fire(at(4))
    assert seconds(planned.fires(tick)) == [4]
    assert planned.tasks()[0]["tenant_id"] == "acme"


def test_start_and_end_bound_it(planned: Planned) -> None:
    coming = datetime.now(UTC) + timedelta(days=1)
    ahead = planned.add("ahead", start_at=coming, cron_expression="0 0 29 2 *", time_zone="UTC")
    assert planned.row(ahead)["next_fire_at"] >= coming
    tick = planned.add(misfire="all")
    planned.db.run(
        lambda tx: tx.execute(
            f"UPDATE ty_schedules SET end_at = {tx.dialect.utc_from(':end')} WHERE id = :id",
            id=tick,
            end=at(4).timestamp(),
        )
    )
    planned.notice()
    planned.set_clock(tick, at(2))
    planned.fire(at(60))
    assert seconds(planned.fires(tick)) == [2, 3, 4]
    assert planned.row(tick)["next_fire_at"] is None
    assert planned.fire(at(99)) == 0


def test_jitter_moves_the_task_and_not_the_fire(planned: Planned) -> None:
    ids = [planned.add(f"tick {n}", jitter=30) for n in range(20)]
    for schedule in ids:
        planned.set_clock(schedule)
    planned.fire(at(0))
    dialect = planned.db.dialect
    due = planned.spine.rows(f"SELECT {dialect.iso('schedule_time')} AS due FROM default_tasks")
    offsets = seconds(moments(row["due"] for row in due))
    assert all(0 <= offset <= 30.001 for offset in offsets)
    assert len(set(offsets)) > 10
    assert all(seconds(planned.fires(schedule)) == [0] for schedule in ids)


def test_one_that_cannot_fire_keeps_no_other_from_it(planned: Planned) -> None:
    planned.spine.queue("gone", "gone_tasks")
    broken = planned.add("broken", queue="gone")
    fine = planned.add("fine")
    for schedule in (broken, fine):
        planned.set_clock(schedule)
    planned.spine.execute("DELETE FROM queue_configs WHERE queue_name = 'gone'")
    planned.db.cache.clear()
    assert planned.fire(at(0)) == 1
    assert planned.fires(fine) == [NOON]
    row = planned.row(broken)
    assert "gone" in row["problem"] and row["next_fire_at"] is None
    planned.notice()
    assert planned.row(broken)["problem"] is not None, "it is not mended by looking at it"
    planned.spine.queue("gone", "gone_tasks")
    planned.notice()
    row = planned.row(broken)
    assert row["problem"] is None and row["next_fire_at"] is not None


def test_an_instant_that_has_fired_is_passed_over(planned: Planned) -> None:
    tick, other = planned.add(), planned.add("other")
    for schedule in (tick, other):
        planned.set_clock(schedule)
    planned.fire(at(0))
    planned.set_clock(tick)  # the clock was set back
    planned.set_clock(other, at(1))
    planned.fire(at(1))
    assert (seconds(planned.fires(tick)), seconds(planned.fires(other))) == ([0, 1], [0, 1])


def test_fires_are_remembered_for_a_week_and_as_long_as_a_schedule_looks_back(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_CHUNK", 3)
    week = 7 * 86_400
    tick = planned.add(misfire="all", misfire_window=week)
    long = planned.add("long", misfire="all", misfire_window=2 * week)
    gone = planned.add("gone", misfire="all", misfire_window=week)
    for schedule in (tick, long, gone):
        planned.set_clock(schedule)
    assert planned.fire(at(9)) == 30
    manage.delete_schedule(planned.db, LOCAL, gone)
    assert retention.prune_fires(planned.db, at(week)) == 0
    assert retention.prune_fires(planned.db, at(week + 8)) == 16
    assert seconds(planned.fires(tick)) == [8, 9]
    assert len(planned.fires(long)) == 10
    assert retention.prune_fires(planned.db, at(3 * week)) == 14
