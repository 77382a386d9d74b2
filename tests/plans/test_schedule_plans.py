"""Plans of a Scheduler's look: it reads what is due, however many schedules are not."""

from __future__ import annotations

import pytest

from conformance.planned import Planned
from conformance.spine import Spine
from harness.sql import Database as Stranger
from plans.crowd import analyze, before, fill, later
from plans.test_plans import MOST
from plans.watching import watching
from taskyard.schedules import fire
from taskyard.schedules.retention import prune_fires

TABLE = "ty_schedules"
DUE = 10


def schedules(stranger: Stranger, size: int) -> None:
    """Half of them are stopped, the others fire tomorrow."""
    number = "'{part}-' || i" if stranger.family != "mysql" else "CONCAT('{part}-', i)"
    columns = {
        "name": number,
        "task_type": "'work'",
        "cron_expression": "'0 2 * * *'",
        "time_zone": "'UTC'",
    }
    fill(stranger, TABLE, size // 2, **columns, next_fire_at=later(stranger))
    columns["name"] = number.replace("-", "stopped-")
    fill(stranger, TABLE, size // 2, **columns, status="0", next_fire_at=before(stranger))


SIZES = [10_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size:,}")
@pytest.mark.parametrize("known", [True, False], ids=["known", "statistics of an empty table"])
def test_a_look_reads_what_is_due(spine: Spine, stranger: Stranger, size: int, known: bool) -> None:
    planned = Planned(spine)
    if not known:
        analyze(stranger, TABLE)
    schedules(stranger, size)
    due = [planned.add(f"due-{n}", overlap="skip") for n in range(DUE)]
    if known:
        analyze(stranger, TABLE)
    for schedule in due:
        planned.set_clock(schedule)
    with watching() as watch:
        first = fire.first_due(spine.db)
        assert first is not None
        assert first < 0
        assert planned.look().count == DUE
    statements = watch.on(TABLE)
    assert len(statements) >= 4
    scanned = [one for one in statements if any(TABLE in scan for scan in one.scans)]
    assert not scanned, "\n".join(map(str, scanned))
    greedy = [one for one in statements if one.read > MOST[stranger.family] * DUE]
    assert not greedy, "\n".join(map(str, greedy))


def test_an_idle_look_reads_one_row(spine: Spine, stranger: Stranger) -> None:
    schedules(stranger, 10_000)
    analyze(stranger, TABLE)
    with watching() as watch:
        assert fire.first_due(spine.db) is not None
    assert watch.read < 20, "\n".join(map(str, watch.statements))


def test_old_fires_are_found_by_their_key(spine: Spine, stranger: Stranger) -> None:
    columns = {"task_table": "'default_tasks'", "lateness": "0", "fired_at": before(stranger)}
    ago = {
        "postgresql": "now() - i * interval '1 second'",
        "mysql": "UTC_TIMESTAMP(3) - INTERVAL i SECOND",
        "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || i || ' seconds')",
    }
    moment = ago[stranger.family]
    fill(
        stranger,
        "ty_fires",
        20_000,
        schedule_id="1 + i % 5",
        task_id="i",
        fire_time=moment,
        **columns,
    )
    analyze(stranger, "ty_fires")
    with watching() as watch:
        assert prune_fires(spine.db) == 0
    scanned = [one for one in watch.on("ty_fires") if "ty_fires" in one.scans]
    assert not scanned, "\n".join(map(str, scanned))
    assert watch.read < 400, "\n".join(map(str, watch.statements))
