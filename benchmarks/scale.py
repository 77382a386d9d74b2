"""Scale: does a drain stay as fast when the table holds what years leave behind?

Five databases stand side by side - empty; 1 and 5 million finished tasks with their runs; 200,000
future tasks of a higher priority; 100,000 pending tasks of one key that a running task holds - and
are drained in turns, so that they can be compared. The rows come from one finished task and its
run, cloned inside the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks import watch
from benchmarks.lanes import Db, Lane
from benchmarks.machine import Meter
from benchmarks.options import Options
from benchmarks.processes import Failed
from benchmarks.race import Bar, Sample, race, report
from benchmarks.site import Site

CHUNK = 250_000  # rows cloned in one transaction
FUTURE = 200_000
HELD = 100_000
MILLION = 1_000_000
RUNS = MILLION  # runs cloned at most: by default retention keeps a tenth of that
PATIENCE = 30.0  # seconds for the holder to start
EMPTY = "empty"

Fill = Callable[[Lane, Db, str], None]


class ScaleDrain:
    """One database with its load, kept from round to round; each measurement has its own server."""

    def __init__(self, name: str, lane: Lane, tasks: int, fill: Fill, holder: bool) -> None:
        self.name = name
        self.lane = lane
        self.site = Site(lane, max_workers=100)
        self._tasks = tasks
        self._fill = fill
        self._holder = holder

    def load(self) -> None:
        """Make the table through a server's own hands, then fill it."""
        began = time.monotonic()
        with self.lane.opened() as db:
            self.site.start()
            self.site.warm_up(db)
            self.site.stop()
            self._fill(self.lane, db, self.site.table)
            for table in (self.site.table, "ty_runs"):
                self.lane.settle_down(db, table)
        print(f"  {self.name}: loaded in {time.monotonic() - began:.0f} s", flush=True)

    def measure(self) -> Sample:
        lane, site = self.lane, self.site
        with lane.opened() as db:
            server = site.start(grace="1")  # the holder never ends by itself
            if self._holder:
                _wait_for_the_holder(db, site.table)
            site.warm_up(db)
            load = watch.put(lane, db, site.table, self._tasks)
            meter = Meter([server.pid], lane.store)
            seconds = watch.drained(lane, db, load)
            sample = Sample(load.tasks, seconds, meter.read())
            site.expect_runs(db, load)
            site.stop()
        return sample


def main(options: Options) -> None:
    """All five on each lane."""
    for lane in options.lanes:
        print(f"{lane.title}: {options.tasks:,} tasks")
        with ExitStack() as stack:
            drains = _drains(lane, options)
            for drain in drains:
                stack.enter_context(drain.site)
                drain.load()
            results = race(drains, options.rounds)
        bars = [Bar(drain.name, EMPTY, 0.8) for drain in drains[1:]]
        report(f"{lane.title}: drain of {options.tasks:,}", results, EMPTY, bars)


def _drains(lane: Lane, options: Options) -> list[ScaleDrain]:
    loads: list[tuple[str, Fill, bool]] = [
        (EMPTY, lambda lane, db, table: None, False),
        ("1 M finished", lambda lane, db, table: _finished(lane, db, table, MILLION), False),
        ("5 M finished", lambda lane, db, table: _finished(lane, db, table, 5 * MILLION), False),
        ("200 k future, higher priority", _future, False),
        ("100 k of one held key", _held, True),
    ]
    return [
        ScaleDrain(name, lane.sibling(str(number)), options.tasks, fill, holder)
        for number, (name, fill, holder) in enumerate(loads)
    ]


def _finished(lane: Lane, db: Db, table: str, tasks: int) -> None:
    task, run = db.rows(f"SELECT id, run_id FROM {table} WHERE status = 2 ORDER BY id LIMIT 1")[0]
    for offset in range(0, tasks, CHUNK):
        last = db.value(f"SELECT MAX(id) FROM {table}")
        _clone(lane, db, table, f"id = {task}", {})
        if offset < RUNS:
            ids = {"id": f"-({offset} + s.n)", "task_id": f"{last} + s.n"}
            _clone(lane, db, "ty_runs", f"id = {run}", ids)


def _clone(lane: Lane, db: Db, table: str, which: str, ids: dict[str, str]) -> None:
    """Clone one row CHUNK times; `ids` says what stands in the columns that may not be equal."""
    columns = [name for name in lane.columns(db, table) if name != "id" or "id" in ids]
    values = [ids.get(name, f"source.{name}") for name in columns]
    db.run(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
        f"FROM (SELECT * FROM {table} WHERE {which}) AS source CROSS JOIN {lane.series(CHUNK)}"
    )


def _future(lane: Lane, db: Db, table: str) -> None:
    db.run(
        f"INSERT INTO {table} (task_type, schedule_time, priority) "
        f"SELECT 'noop', {lane.tomorrow}, 50 FROM {lane.series(FUTURE)}"
    )


def _held(lane: Lane, db: Db, table: str) -> None:
    columns = f"INSERT INTO {table} (task_type, schedule_time, excl_key)"
    db.run(f"{columns} VALUES ('hold', {lane.now}, 'held')")
    db.run(f"{columns} SELECT 'noop', {lane.now}, 'held' FROM {lane.series(HELD)}")


def _wait_for_the_holder(db: Db, table: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not db.value(f"SELECT COUNT(*) FROM {table} WHERE status = 1 AND task_type = 'hold'"):
        if time.monotonic() > give_up:
            raise Failed("the holder of the key does not start")
        time.sleep(0.1)
