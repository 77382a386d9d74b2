"""Statistics: every end is counted once, and what is read is what the Runs say."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from math import ceil
from typing import Any

import pytest

from conformance.past import START, Past
from conformance.spine import Spine, ended, together
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import NotAllowed, QueryInvalid
from taskyard.core.histogram import LAST
from taskyard.core.lifecycle import Kind
from taskyard.db.database import Database, Tx
from taskyard.runs import record, rollups, stats
from taskyard.runs.grains import DAY, GRAINS, HOUR, MINUTE
from taskyard.tasks import rescue, settle

KINDS = [kind for kind in Kind if kind is not Kind.SETTLED]

BY_HISTORY = """
SELECT task_type, COALESCE(queue, '') AS queue, tenant_id, status, COUNT(*) AS runs,
       COUNT(execution_time) AS known, SUM(execution_time) AS total, MAX(execution_time) AS peak,
       COUNT(wait_time) AS waits, SUM(wait_time) AS waited, COUNT(memory_usage) AS sizes,
       MAX(memory_usage) AS largest
  FROM ty_runs
 WHERE status <> 'running' AND (status <> 'interrupted' OR started_at IS NOT NULL)
 GROUP BY task_type, COALESCE(queue, ''), tenant_id, status
"""

BY_COUNTS = """
SELECT task_type, queue, tenant_id, status,
       SUM(CASE WHEN measure = 'run' THEN count END) AS runs,
       SUM(CASE WHEN measure = 'run' AND bin >= 0 THEN count ELSE 0 END) AS known,
       SUM(CASE WHEN measure = 'run' AND bin >= 0 THEN total END) AS total,
       MAX(CASE WHEN measure = 'run' AND bin >= 0 THEN peak END) AS peak,
       SUM(CASE WHEN measure = 'wait' THEN count ELSE 0 END) AS waits,
       SUM(CASE WHEN measure = 'wait' THEN total END) AS waited,
       SUM(CASE WHEN measure = 'memory' THEN count ELSE 0 END) AS sizes,
       MAX(CASE WHEN measure = 'memory' THEN peak END) AS largest
  FROM ty_stats WHERE grain = :grain GROUP BY task_type, queue, tenant_id, status
"""


def told(db: Database, sql: str, **values: Any) -> dict[tuple[Any, ...], Any]:
    """The rows of a statement, by what Runs are told apart by."""
    rows = db.read(lambda tx: tx.all(sql, **values))
    return {
        row[:4]: [None if value is None else pytest.approx(float(value)) for value in row[4:]]
        for row in rows
    }


def assert_counted(db: Database) -> None:
    """Each grain says what history says."""
    rollups.count_ended(db)
    history = told(db, BY_HISTORY)
    assert history
    for grain in GRAINS:
        assert told(db, BY_COUNTS, grain=grain) == history
    assert db.read(lambda tx: tx.value("SELECT COUNT(*) FROM ty_uncounted")) == 0


# --- counting ------------------------------------------------------------------------------------


def end_by_settling(spine: Spine) -> None:
    for number, kind in enumerate(KINDS):
        task = spine.put(kind.value, max_retries=1, tenant_id="acme" if number % 2 else "")
        row = spine.take(task, known=frozenset({kind.value}))
        spine.finish(row, kind, error="because", delay=60.0, duration=0.01 * 3**number)


def end_before_the_start(spine: Spine) -> None:
    for kind in (Kind.REJECTED, Kind.CANCELLED, Kind.INTERRUPTED):
        never = {"age": None, "duration": None, "wait": None, "memory": None}
        spine.finish(spine.take(spine.put(max_retries=0)), kind, error="too early", **never)


def end_stale_and_twice(spine: Spine) -> None:
    spine.put_many(3)
    first, second, third = spine.claim(3)
    spine.change(second.id, "fence = fence + 1")
    for _ in range(2):
        spine.settle([ended(first), ended(second), ended(third, Kind.CANCELLED, error="no")])


def end_by_sql(spine: Spine) -> None:
    changed, deleted = (spine.take(spine.put(excl_key=key)) for key in ("a", "b"))
    spine.change(changed.id, "status = 4")
    spine.delete(deleted.id)
    for row in (changed, deleted):
        for _ in range(2):
            settle.settle(spine.db, spine.place(), [ended(row)], {row.run_id: row}.get)


def end_in_a_handlers_transaction(spine: Spine) -> None:
    spine.put_many(2)
    kept, undone = spine.claim(2)
    with spine.db.transaction() as tx:
        assert settle.settle_in(tx, spine.place(), ended(kept))

    def settle_and_fail() -> None:
        with spine.db.transaction() as tx:
            assert settle.settle_in(tx, spine.place(), ended(undone))
            raise KeyError

    with pytest.raises(KeyError):
        settle_and_fail()


def end_by_the_death_of_a_server(spine: Spine) -> None:
    spine.session("doomed")
    spine.put_many(3)
    spine.claim(3, session="doomed")
    spine.kill("doomed")
    assert rescue.rescue(spine.db, "default_tasks", max_crashes=5) == 3


def end_tracked(spine: Spine) -> None:
    spine.session("gone")
    spine.execute("UPDATE ty_servers SET kind = 'client', state = 'dead' WHERE session = 'gone'")
    first = spine.ids.reserve(4)
    runs = [
        {"id": first + n, "task_type": "sync", "session": "gone" if n == 2 else "me"}
        for n in range(4)
    ]
    end = {"status": "completed", "execution_time": 2.5, "memory_usage": 5_000_000}
    for run in runs[:3]:
        spine.db.run(partial(record.open_tracked, run=run))
    for run in runs[:1]:
        assert spine.db.run(partial(record.close_tracked, run={**run, **end}))
    assert rescue.close_lost_tracked(spine.db) == 1
    assert not spine.db.run(partial(record.close_tracked, run={**runs[2], **end}))
    whole = {**runs[3], **end, "age": 2.5, "origin": "tracked", "status": "failed"}
    assert spine.db.run(partial(record.insert_ended, run=whole))
    assert not spine.db.run(partial(record.insert_ended, run=whole))


ENDS: list[Callable[[Spine], None]] = [
    end_by_settling,
    end_before_the_start,
    end_stale_and_twice,
    end_by_sql,
    end_in_a_handlers_transaction,
    end_by_the_death_of_a_server,
    end_tracked,
]


def test_every_kind_of_end_is_counted_once(spine: Spine) -> None:
    for end in ENDS:
        end(spine)
        assert_counted(spine.db)
        spine.execute("DELETE FROM default_tasks")
    never = "SELECT COUNT(*) FROM ty_runs WHERE started_at IS NULL AND status = 'interrupted'"
    assert spine.value(never) == 1


def test_a_count_that_breaks_counts_nothing(spine: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    end_by_settling(spine)
    among = type(spine.db.dialect).among

    def broken(self: Any, column: str, numbers: Any) -> str:
        if spine.db.dialect is self and numbers and broken_at:
            broken_at.pop()
            return among(self, column, numbers)
        raise RuntimeError("killed between counting and taking the notes away")

    broken_at = [1]
    monkeypatch.setattr(type(spine.db.dialect), "among", broken)
    with pytest.raises(RuntimeError, match="killed"):
        rollups.count_ended(spine.db)
    monkeypatch.undo()
    assert spine.value("SELECT COUNT(*) FROM ty_stats") == 0
    assert_counted(spine.db)


def test_servers_that_count_and_settle_at_once_count_each_run_once(spine: Spine) -> None:
    spine.put_many(400)

    def work() -> None:
        while rows := spine.claim(20):
            spine.settle([ended(row, duration=0.01 * (row.id % 40)) for row in rows])

    def count() -> None:
        while spine.value("SELECT COUNT(*) FROM default_tasks WHERE status <> 2"):
            rollups.count_ended(spine.db)

    together(work, count, count)
    assert_counted(spine.db)
    assert spine.value("SELECT COUNT(*) FROM ty_runs") == 400


def test_bins_are_what_percentiles_take_them_for(spine: Spine) -> None:
    edges = [0.001 * 2.0 ** (n / 2) for n in range(0, 70, 7)]
    seconds = [0.0, *(edge * near for edge in edges for near in (0.999, 1.001))]
    spine.put_many(len(seconds))
    rows = spine.claim(len(seconds))
    pairs = zip(rows, seconds, strict=True)
    spine.settle([ended(row, duration=duration) for row, duration in pairs])
    rollups.count_ended(spine.db)
    found = spine.db.read(
        lambda tx: tx.all(
            "SELECT bin, total, peak FROM ty_stats WHERE grain = 60 AND measure = 'run'"
        )
    )
    assert sum(total for _, total, _ in found) == pytest.approx(sum(seconds))
    for number, _, peak in found:
        assert number == 0 or 0.001 * 2.0 ** ((number - 1) / 2) <= peak * 1.000001
        assert number == LAST or peak < 0.001 * 2.0 ** (number / 2)


def test_who_reads_counts_the_few_that_just_ended(spine: Spine) -> None:
    for number in range(5):
        assert stats.summary(spine.db, LOCAL)["runs"] == number
        spine.finish(spine.take(spine.put()))


def test_runs_that_are_pruned_stay_counted(spine: Spine) -> None:
    end_by_settling(spine)
    rollups.count_ended(spine.db)
    runs = stats.summary(spine.db, LOCAL)["runs"]
    spine.execute("DELETE FROM ty_runs")
    assert stats.summary(spine.db, LOCAL)["runs"] == runs > 0


# --- reading -------------------------------------------------------------------------------------


class World(Past):
    """Runs at any time of the last weeks, as rows of history and as Python knows them."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.now = self.db.read(rollups.now_of)
        self.known: list[dict[str, Any]] = []

    def ran(self, ago: float, **columns: Any) -> None:
        """A Run that started so many seconds ago."""
        second = self.now - ago - START.timestamp()
        run_id = len(self.known) + 1
        self.run(run_id, second=second, **columns)
        self.db.run(
            lambda tx: tx.execute("INSERT INTO ty_uncounted (run_ids) VALUES (:id)", id=str(run_id))
        )
        self.known.append({"started": self.now - ago, **DEFAULTS, **columns})

    def of(self, found: dict[str, Any], **filters: Any) -> list[dict[str, Any]]:
        """The Runs of an answer's range."""
        start, end = found["from"].timestamp(), found["to"].timestamp()
        return [
            run
            for run in self.known
            if start <= run["started"] < end
            and all(run[name] == value for name, value in filters.items())
        ]


DEFAULTS = {
    "task_type": "mail",
    "queue": "default",
    "tenant_id": "",
    "status": "completed",
    "execution_time": 1.0,
    "wait_time": 0.5,
    "memory_usage": None,
}


@pytest.fixture
def world(lane: str) -> Iterator[World]:
    world = World(lane)
    yield world
    world.db.close()


def crowd(world: World) -> None:
    """Some hundred Runs of all sorts: half of them of today, the others up to 100 days old."""
    dice = random.Random(7)
    for number in range(360):
        ago = dice.uniform(1, DAY) if number % 2 else dice.uniform(1, 10 ** dice.uniform(5, 6.9))
        world.ran(
            ago,
            task_type=f"type-{min(int(dice.expovariate(0.5)), 9)}",
            queue=dice.choice(["default", "mail"]),
            tenant_id=dice.choice(["", "acme", "umbrella"]),
            status=dice.choice(
                ["completed", "completed", "failed", "timeout", "cancelled", "lost"]
            ),
            execution_time=dice.choice([None, dice.lognormvariate(0, 2), dice.uniform(0, 5)]),
            wait_time=dice.expovariate(1.0),
            memory_usage=dice.choice([None, int(dice.lognormvariate(18, 1))]),
        )
    rollups.count_ended(world.db)


def assert_times(found: dict[str, Any], truth: list[float]) -> None:
    """The figures of times are those of these values."""
    if not truth:
        assert set(found.values()) == {None}
        return
    assert found["avg"] == pytest.approx(sum(truth) / len(truth))
    assert found["max"] == pytest.approx(max(truth))
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        exact = sorted(truth)[max(1, ceil(share * len(truth))) - 1]
        assert exact < 0.001 or exact / 1.42 <= found[name] <= exact * 1.42


def test_a_summary_says_what_history_says(world: World) -> None:
    crowd(world)
    now = datetime.fromtimestamp(world.now, UTC)
    ranges = [
        (None, None),
        (now - timedelta(minutes=3), now),
        (now - timedelta(hours=7, minutes=13), now - timedelta(minutes=2, seconds=17)),
        (now - timedelta(days=3, hours=5), now - timedelta(hours=1)),
        (now - timedelta(days=30), None),
        (now - timedelta(days=99), now - timedelta(days=61)),
    ]
    for from_, to in ranges:
        for filters in ({}, {"task_type": "type-0"}, {"queue": "mail", "status": "failed"}):
            found = stats.summary(world.db, LOCAL, from_, to, filters)
            for one in (found, found["previous"]):
                runs = world.of(one, **filters)
                statuses = Counter(run["status"] for run in runs)
                assert one["runs"] == len(runs)
                for status in ("completed", "failed", "timeout", "lost", "cancelled"):
                    assert one[status] == statuses[status]
                judged = len(runs) - statuses["cancelled"]
                rate = statuses["completed"] / judged if judged else None
                assert one["success_rate"] == (rate if rate is None else pytest.approx(rate))
                times = [run["execution_time"] for run in runs]
                assert_times(one["execution_time"], [time for time in times if time is not None])
                assert_times(one["wait_time"], [run["wait_time"] for run in runs])
    assert len(world.of(stats.summary(world.db, LOCAL))) > 100


def test_the_example_of_the_manual(world: World) -> None:
    outcomes = [("completed", 60), ("failed", 12), ("timeout", 3)]
    for status, count in outcomes:
        for number in range(count):
            world.ran(60.0 + number, status=status, task_type=f"type-{number % 3}")
    found = stats.summary(world.db, LOCAL)
    figures = ("runs", "success_rate", "completed", "failed", "timeout", "lost", "running")
    assert [found[name] for name in figures] == [75, 0.8, 60, 12, 3, 0, 0]


def test_ranges_are_whole_minutes_and_further_back_longer_steps(world: World) -> None:
    def edges(**ago: float) -> tuple[int, int]:
        moment = datetime.fromtimestamp(world.now, UTC) - timedelta(**ago)
        found = stats.summary(world.db, LOCAL, moment, moment + timedelta(seconds=1))
        start, end = int(found["from"].timestamp()), int(found["to"].timestamp())
        assert start <= moment.timestamp() < end
        return start, end

    for ago, step in (({"hours": 5}, MINUTE), ({"days": 5}, 600), ({"days": 20}, HOUR)):
        start, end = edges(**ago)
        assert (start % step, end - start) == (0, step)
    start, end = edges(days=100)
    assert (start % DAY, end - start) == (0, DAY)


def test_a_series_adds_up_to_what_history_says(world: World) -> None:
    crowd(world)
    now = datetime.fromtimestamp(world.now, UTC)
    for step, back in (("1m", 1.0), ("10m", 24.0), ("1h", 60.0), ("1d", 24.0 * 90)):
        for by in (None, "status", "queue", "task_type"):
            from_ = now - timedelta(hours=back)
            found = stats.series(world.db, LOCAL, "runs", by, from_, now, step, most=3)
            expected: Counter[tuple[Any, datetime]] = Counter()
            listed = {line["name"] for line in found["series"]}
            for run in world.of(found):
                name = run[by] if by else None
                index = int((run["started"] - found["from"].timestamp()) // found["step"])
                expected[name if name in listed else None, found["times"][index]] += 1
            told_ = {
                (line["name"], time): value
                for line in found["series"]
                for time, value in zip(found["times"], line["values"], strict=True)
                if value
            }
            assert told_ == dict(expected)
            assert len(found["series"]) <= (1 if by is None else 4)


def test_a_series_of_times_and_rates(world: World) -> None:
    at = world.now // HOUR * HOUR - 3 * HOUR
    for minute, status, seconds in ((0, "completed", 1.0), (1, "failed", 3.0), (61, "lost", None)):
        world.ran(world.now - at - minute * 60, status=status, execution_time=seconds)
    start = datetime.fromtimestamp(at, UTC)

    def values(metric: str) -> list[Any]:
        end = start + timedelta(hours=3)
        found = stats.series(world.db, LOCAL, metric, None, start, end, 3600)
        assert (found["times"][0], found["step"]) == (start, 3600)
        [line] = found["series"]
        values: list[Any] = line["values"]
        return values

    assert values("runs") == [2, 1, 0]
    assert values("failed") == [1, 0, 0]
    assert values("throughput") == pytest.approx([2 / 3600, 1 / 3600, 0.0])
    assert values("success_rate") == [0.5, 0.0, None]
    assert values("execution_time_avg") == [2.0, None, None]
    assert values("execution_time_max") == [3.0, None, None]
    assert values("execution_time_p95") == [3.0, None, None]
    assert values("wait_time_p99") == [0.5, 0.5, None]
    assert values("memory_usage_p95") == [None, None, None]


def test_days_are_those_of_the_offset_that_is_asked_in(world: World) -> None:
    east = timezone(timedelta(hours=8))
    midnight = datetime.fromtimestamp(world.now, east).replace(hour=0, minute=0, second=0)
    first = midnight.replace(microsecond=0) - timedelta(days=3)
    for hours in (-0.1, 0.1, 23.9, 24.1):
        world.ran(world.now - first.timestamp() - hours * 3600)
    found = stats.series(world.db, LOCAL, "runs", from_=first, to=midnight, step="1d")
    assert found["times"][0] == first
    assert found["series"][0]["values"] == [2, 1, 0]


def test_the_top_of_types_and_queues(world: World) -> None:
    crowd(world)
    by_type: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    today = world.of(stats.summary(world.db, LOCAL))
    for run in today:
        by_type[run["task_type"]] += 1
        wrong[run["task_type"]] += run["status"] in ("failed", "timeout", "lost")
    rows = stats.top(world.db, LOCAL, limit=4)
    assert [row["runs"] for row in rows] == sorted(by_type.values(), reverse=True)[:4]
    for row in rows:
        mine = [run for run in today if run["task_type"] == row["task_type"]]
        assert row["runs"] == len(mine)
        assert_times(
            row["execution_time"],
            [run["execution_time"] for run in mine if run["execution_time"] is not None],
        )
    failing = stats.top(world.db, LOCAL, order="failed", limit=500)
    counts = [row["failed"] + row["timeout"] + row["lost"] for row in failing]
    assert counts == sorted((n for n in wrong.values() if n), reverse=True)
    slow = [
        row["execution_time"]["avg"] or 0
        for row in stats.top(world.db, LOCAL, "queue", "execution_time")
    ]
    assert slow == sorted(slow, reverse=True) and len(slow) == 2


def test_a_caller_sees_the_numbers_of_its_tenants(world: World) -> None:
    crowd(world)
    acme = Caller("ann", "viewer", frozenset({Permission.RUNS_READ}), frozenset({"acme"}))
    found = stats.summary(world.db, acme)
    assert found["runs"] == len(world.of(found, tenant_id="acme")) > 0
    assert stats.summary(world.db, acme, filters={"tenant_id": "umbrella"})["runs"] == 0
    [line] = stats.series(world.db, acme, "runs", "tenant_id")["series"]
    assert (line["name"], sum(line["values"])) == ("acme", found["runs"])
    assert [row["tenant_id"] for row in stats.top(world.db, acme, "tenant_id")] == ["acme"]
    nobody = Caller("eve", "none", frozenset(), None)
    for ask in (
        partial(stats.summary, world.db, nobody),
        partial(stats.series, world.db, nobody, "runs"),
        partial(stats.top, world.db, nobody),
    ):
        with pytest.raises(NotAllowed):
            ask()


def test_what_runs_now_is_told(world: World) -> None:
    world.live(1_000, task_type="mail")
    world.live(1_001, task_type="sync", tenant_id="acme")
    assert stats.summary(world.db, LOCAL)["running"] == 2
    assert stats.summary(world.db, LOCAL, filters={"task_type": "sync"})["running"] == 1


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("metric", {"metric": "run"}),
    ("by", {"by": "server"}),
    ("filter", {"filters": {"origin": "manual"}}),
    ("status", {"filters": {"status": "done"}}),
    ("step", {"step": "90s"}),
    ("step", {"step": "soon"}),
    ("step", {"step": "90m"}),
    ("step", {"step": "1m", "from_": "-10d"}),
    ("step", {"step": "1h", "from_": "-100d"}),
    ("step", {"step": "10m", "from_": "-20d"}),
    ("from", {"from_": "-1d", "to": "-2d"}),
    ("from", {"from_": "yesterday"}),
    ("to", {"to": "2026-01-31T08:00:00"}),
    ("from", {"from_": "0001-01-01T00:00:00+00:00"}),
    ("from", {"to": "9999-12-31T00:00:00+00:00"}),
]


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_what_cannot_be_asked_is_said(lane: str) -> None:
    world = World(lane)
    for field, asked in WRONG:
        ago = {
            name: (datetime.fromtimestamp(world.now, UTC) - timedelta(days=int(text[1:-1])))
            for name, text in asked.items()
            if name in ("from_", "to") and text.startswith("-")
        }
        with pytest.raises(QueryInvalid) as caught:
            stats.series(world.db, LOCAL, **{"metric": "runs", **asked, **ago})
        assert caught.value.name == field, asked
        assert caught.value.fix
    world.db.close()


# --- forgetting ----------------------------------------------------------------------------------


def test_each_grain_is_kept_for_its_time(world: World) -> None:
    for days in (0.5, 3, 20, 100, 400):
        world.ran(days * DAY)
    rollups.count_ended(world.db)
    assert rollups.forget_old(world.db) > 0
    assert rollups.forget_old(world.db) == 0

    def kept(tx: Tx) -> dict[int, int]:
        return {
            int(grain): int(count)
            for grain, count in tx.all(
                "SELECT grain, SUM(count) FROM ty_stats WHERE measure = 'run' GROUP BY grain"
            )
        }

    assert world.db.read(kept) == {MINUTE: 1, 600: 2, HOUR: 3, DAY: 4}


def test_a_long_range_has_a_point_a_day(world: World) -> None:
    steps = []
    for days in (1, 14, 30, 200):
        start = datetime.fromtimestamp(world.now, UTC) - timedelta(days=days)
        steps.append(stats.series(world.db, LOCAL, "runs", None, start)["step"])
    assert steps == [600, 21_600, 86_400, 604_800]
