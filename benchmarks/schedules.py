"""Schedules: what do 10,000 of them cost, how late do they fire, and how many fires a second?

The schedules are rows by plain SQL, as the contract allows, and a server takes them in before
anything is measured. What a fire's task costs beside its fire is held against the raw driver, which
inserts the same tasks and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median, quantiles

from benchmarks.lanes import Db, Lane
from benchmarks.machine import Meter
from benchmarks.options import Options
from benchmarks.processes import Failed, Process
from benchmarks.site import Site

MANY = 10_000
TOGETHER = 100  # schedules that are due in the same second …
EVERY = 3  # … every so many seconds …
TIMES = 6  # … so many times
IDLE = 20.0  # seconds an idle server is watched
PATIENCE = 300.0  # seconds for a server to take the rows in, and for all to fire

CPU_BAR = 0.05  # of a core, of a server with 10,000 schedules of which none is due
LATE_BAR = 1.0  # seconds, p99

UTC_NOW = {
    "postgres": "now()",
    "mariadb": "UTC_TIMESTAMP(3)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
}

NAME = {"postgres": "'{}-' || n", "mariadb": "CONCAT('{}-', n)", "sqlite": "'{}-' || n"}


def main(options: Options) -> None:
    """Idle CPU, lateness, and fires a second against bare INSERTs."""
    for lane in options.lanes:
        print(f"{lane.title}: {MANY:,} schedules")
        with Site(lane, max_workers=100, scan_interval=5.0) as site, lane.opened() as db:
            server = site.start()
            site.warm_up(db)
            _insert(lane, db, "yearly", "0 0 1 1 *", MANY)
            _idle(lane, server)
            _late(lane, db, options.rounds)
            _rate(lane, db, site, options.rounds)
        print(flush=True)


def _insert(lane: Lane, db: Db, name: str, cron: str, count: int) -> None:
    """Schedules by SQL; returns when a server has planned them all."""
    began = time.monotonic()
    db.run(
        "INSERT INTO ty_schedules (name, task_type, queue, cron_expression) "
        f"SELECT {NAME[lane.name].format(name)}, 'noop', '{Site.queue}', '{cron}' "
        f"FROM {lane.series(count)}"
    )
    planned = "SELECT COUNT(*) FROM ty_schedules WHERE next_fire_at IS NULL AND status = 1"
    _wait(lambda: db.value(planned) == 0, "the rows were not taken in")
    print(f"  {count:,} rows by SQL were taken in within {time.monotonic() - began:.0f} s")


def _idle(lane: Lane, server: Process) -> None:
    meter = Meter([server.pid], lane.store)
    time.sleep(IDLE)
    usage = meter.read()
    share, store = usage.worker / usage.wall, usage.store / usage.wall
    reached = _reached(share < CPU_BAR)
    print(f"{reached}  idle CPU {share:.2%} of a core, less than {CPU_BAR:.0%}; ", end="")
    print(f"database {store:.2%}, others {usage.others:.0%}")


def _late(lane: Lane, db: Db, rounds: int) -> None:
    """How late 100 fire that are due in the same second, and how late their handlers start."""
    _insert(lane, db, "together", f"*/{EVERY} * * * * *", TOGETHER)
    start = int(db.value("SELECT COUNT(*) FROM ty_fires"))
    wanted = start + TOGETHER * TIMES * rounds
    _wait_fired(db, wanted)
    db.run("UPDATE ty_schedules SET status = 0 WHERE cron_expression LIKE '*/%'")
    fired = [float(row[0]) for row in db.rows("SELECT lateness FROM ty_fires")]
    late = quantiles(fired, n=100)
    reached = _reached(late[98] <= LATE_BAR)
    print(f"{reached}  fires late p50 {late[49]:.3f}, p99 {late[98]:.3f} s, ", end="")
    print(f"max {max(fired):.3f}; at most {LATE_BAR:g} s at p99 of {len(fired):,}")
    starts = quantiles(_starts(lane, db), n=100)
    print(f"  handlers start p50 {starts[49]:.3f}, p99 {starts[98]:.3f} s after the instant")


def _starts(lane: Lane, db: Db) -> list[float]:
    started, planned = lane.epoch("r.started_at"), lane.epoch("f.fire_time")
    sql = (
        f"SELECT {started} - {planned} FROM ty_fires f JOIN ty_runs r "
        "ON r.task_id = f.task_id AND r.task_table = f.task_table WHERE r.started_at IS NOT NULL"
    )
    return [float(row[0]) for row in db.rows(sql)]


def _rate(lane: Lane, db: Db, site: Site, rounds: int) -> None:
    """Fires a second when all are due at once, and the same tasks by bare INSERTs."""
    found, bare = [], []
    for _ in range(rounds):
        before = int(db.value("SELECT COUNT(*) FROM ty_fires"))
        db.run(
            f"UPDATE ty_schedules SET next_fire_at = {UTC_NOW[lane.name]} "
            "WHERE cron_expression = '0 0 1 1 *'"
        )
        began = time.monotonic()
        _wait_fired(db, before + MANY)
        found.append(MANY / (time.monotonic() - began))
        _wait_done(db, site)
        began = time.monotonic()
        lane.insert_many(db, site.table, ["{}"] * MANY)
        bare.append(MANY / (time.monotonic() - began))
        _wait_done(db, site)
    rate, insert = median(found), median(bare)
    print(f"  {rate:,.0f} fires/s when all are due at once, while their tasks run; ", end="")
    print(f"{insert / rate:.0f} x slower than bare INSERTs of the tasks ({insert:,.0f}/s)")


def _wait_fired(db: Db, count: int) -> None:
    _wait(lambda: db.value("SELECT COUNT(*) FROM ty_fires") >= count, "they did not fire")


def _wait_done(db: Db, site: Site) -> None:
    left = f"SELECT COUNT(*) FROM {site.table} WHERE status IN (0, 1)"
    _wait(lambda: db.value(left) == 0, "the tasks were not done")


def _wait(fact: Callable[[], bool], complaint: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not fact():
        if time.monotonic() > give_up:
            raise Failed(f"{complaint} within {PATIENCE:g} s")
        time.sleep(0.02)


def _reached(yes: bool) -> str:
    return "reached" if yes else "MISSED "
